"""GreenMail as a process that is forked from one that has imported it already: half of what a start costs is imports.

`forking.py` is that other process; each process that runs tests has one.
"""

import contextlib
import functools
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

_PROGRAM = Path(__file__).with_name("forking.py")
_lock = threading.Lock()


class Forked:
    """What is used of `subprocess.Popen`, of a server that is another process's child."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended  # a pipe: its exit status comes when it has ended, and was waited for

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._ended, select.POLLIN)
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("greenmail", timeout or 0)
            said = os.read(self._ended, 100)
            os.close(self._ended)
            assert said, "whoever forks servers has died"
            self.returncode = int(said)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


@functools.cache
def _parent(pid: int) -> tuple[socket.socket, dict[str, str]]:
    """The process that forks, for the process `pid`, and the environment that it has."""
    ours, theirs = socket.socketpair()
    environment = present()
    with theirs:
        subprocess.Popen([sys.executable, str(_PROGRAM)], stdin=theirs, env=environment, start_new_session=True)
    return ours, environment


def present() -> dict[str, str]:
    """The environment, but for what pytest changes with each test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def fork(arguments: list[str], output: IO[bytes]) -> Forked | None:
    """A server with this command line; None if it would have another environment here than there."""
    with _lock:
        parent, environment = _parent(os.getpid())
        if environment != present():
            return None
        reader, writer = os.pipe()
        request = json.dumps({"arguments": arguments, "directory": os.getcwd()}).encode()
        socket.send_fds(parent, [request], [output.fileno(), writer])
        os.close(writer)
        answer = parent.recv(100)
    assert answer, "whoever forks servers has died"
    return Forked(int(answer), reader)
