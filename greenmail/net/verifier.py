"""The process that asks PAM. It stays as privileged as the server was started: modules read /etc/shadow.

Questions come over one socket that all workers have, each with a descriptor for the answer:

    worker      JSON + descriptor ──► [SOCK_SEQPACKET] ──► verifier ──fork──► child: auth.pam.answer ──► descriptor

One process for each question, which ends with it or by the alarm: a module that hangs, leaks or crashes takes nobody
with it. The service must be one that the settings name. The socket's ends are made by the parent and kept by it, so
that what is asked while a process is started again waits, and is answered.
"""

import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenmail.auth import pam
from greenmail.config import Config
from greenmail.net import register

log = logging.getLogger(__name__)

MOST = 16  # processes at the same time; further questions wait in the socket
_LARGEST = 16384
_ALIVE_EVERY = 5.0
_MORE = 1.0  # seconds beyond the limit of the settings, for the way there and back


@dataclass(frozen=True, slots=True)
class Line:
    """The two ends."""

    worker: socket.socket
    verifier: socket.socket

    @staticmethod
    def make() -> "Line":
        """In the parent. Nobody waits on either end: the flags are shared by all processes that have it."""
        worker, verifier = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker.setblocking(False)
        verifier.setblocking(False)
        return Line(worker, verifier)

    @property
    def ends(self) -> tuple[socket.socket, socket.socket]:
        """Both."""
        return self.worker, self.verifier

    def close(self) -> None:
        """Both."""
        self.worker.close()
        self.verifier.close()


def wanted(config: Config) -> bool:
    """Whether there is anything to ask."""
    return any(table.type == "pam" for table in config.auth)


def asker(line: socket.socket) -> pam.Ask:
    """How a worker asks; on a thread of a pool, since it waits."""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            try:
                socket.send_fds(line, [json.dumps(request).encode("utf-8")], [theirs.fileno()])
                theirs.close()
                ours.settimeout(float(request["timeout"]) + _MORE)
                said = json.loads(ours.recv(_LARGEST) or b"{}")
            except BlockingIOError:
                return {"text": "too many questions wait for the process that asks PAM"}
            except (OSError, ValueError) as error:
                return {"text": str(error) or "no answer in time"}
        return said if isinstance(said, dict) else {}

    return ask


def run(config: Config, line: socket.socket, control: socket.socket) -> int:
    """Answer until SIGTERM or the end of the parent; the exit status. After `children.settle`."""
    return _Verifier(config, line, control).serve()


class _Verifier:
    def __init__(self, config: Config, line: socket.socket, control: socket.socket) -> None:
        self._line = line
        self._control = control
        tables = [table for table in config.auth if table.type == "pam"]
        self._services = {
            (table.directory, service): table.timeout
            for table in tables
            for service in ([table.service] if table.service else ["imap", "pop3"])
        }
        self._children: set[int] = set()
        self._ends = False

    def serve(self) -> int:
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        if os.geteuid() != 0:
            log.warning("pam-unprivileged uid=%d text=%r", os.geteuid(), "modules such as pam_unix need root")
        self._control.send(register.encode({"op": "ready"}))
        alive_at = time.monotonic() + _ALIVE_EVERY
        while not self._ends:
            self._reap()
            inputs = [wake, self._control] + ([self._line] if len(self._children) < MOST else [])
            ready = _readable(inputs, max(0.0, alive_at - time.monotonic()))
            if wake in ready:
                _empty(wake)
            if self._control in ready and not self._control.recv(register.LARGEST):
                return 0  # the parent is gone
            if self._line in ready:
                self._take()
            if time.monotonic() >= alive_at:
                alive_at = time.monotonic() + _ALIVE_EVERY
                self._show_life()
        return 0

    def _show_life(self) -> None:
        try:
            self._control.send(register.encode({"op": "alive"}))
        except OSError:  # the parent is gone
            self._ends = True

    def _end(self, number: int, frame: object) -> None:
        self._ends = True

    def _take(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._line, _LARGEST, 1)
        except BlockingIOError:
            return
        if not data or len(descriptors) != 1:
            self._ends = self._ends or not data
            return
        try:
            request = json.loads(data)
            limit = self._services[request["directory"], request["service"]]
        except (ValueError, KeyError, TypeError):
            log.error("bug pam-question of no configured service")
            os.close(descriptors[0])
            return
        try:
            pid = os.fork()
        except OSError as error:  # EAGAIN, ENOMEM: this login is told to come back, and the next one is tried again
            self._not_asked(error, descriptors[0])
            return
        if pid == 0:
            _answer(request, limit, descriptors[0], [self._line, self._control])
        os.close(descriptors[0])
        self._children.add(pid)

    def _not_asked(self, error: OSError, descriptor: int) -> None:
        reason = error.strerror or str(error)
        log.error("pam-not-asked reason=%r", f"there is no process for it: {reason}")
        try:
            os.write(descriptor, json.dumps({"text": f"there is no process to ask PAM: {reason}"}).encode("utf-8"))
        except OSError as lost:
            log.debug("pam-answer-lost reason=%s", lost)
        finally:
            os.close(descriptor)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            if status:
                log.warning("pam-process-ended pid=%d status=%d", pid, os.waitstatus_to_exitcode(status))


def _answer(request: Mapping[str, Any], limit: float, descriptor: int, foreign: list[socket.socket]) -> None:
    """In the child; never comes back."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limit)
        for end in foreign:
            end.close()
        said = pam.answer(dict(request))
        os.write(descriptor, json.dumps(said).encode("utf-8"))
        status = 0
    except BaseException:
        log.exception("bug in a question to PAM")
    finally:
        os._exit(status)


def _readable(sockets: list[socket.socket], seconds: float) -> list[socket.socket]:
    """Those of them that have something to read, or ended, within that time; whatever their descriptors' numbers."""
    poll = select.poll()
    for one in sockets:
        poll.register(one, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
    return [one for one in sockets if one.fileno() in ready]


def _empty(reader: socket.socket) -> None:
    try:
        while reader.recv(4096):
            pass
    except BlockingIOError:
        return
