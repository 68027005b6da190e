"""GreenMail as a process of its own, on free ports of the loopback."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.forked import Forked, fork
from support.pki import make_certificate

_PORTS = range(20000, 32000)  # below those that the kernel gives to clients
_SHARE = 1000  # ports of each pytest-xdist worker, so that two never choose the same
_numbers = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """A port that nobody has now, another one at each call."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    share = _PORTS[worker * _SHARE % len(_PORTS) :][:_SHARE]
    for number in itertools.islice(_numbers, _SHARE):
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = share[number % _SHARE]
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port is free in {share}")


@dataclass
class Server:
    """A running GreenMail; users and their Maildirs are those of `start`."""

    directory: Path
    process: subprocess.Popen[bytes] | Forked
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    metrics: int
    cert: Path
    log: Path
    config: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def scrape(self) -> str:
        """The metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise


def wait_for_port(port: int, process: subprocess.Popen[bytes] | Forked, log: Path, seconds: float = 30) -> None:
    """Return when something accepts on `port`; fail with the log if the process ends first."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"server did not start: {log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.05)


def wait_until_healthy(port: int, process: subprocess.Popen[bytes] | Forked, log: Path, seconds: float = 30) -> None:
    """Return when /healthz says that workers answer clients."""
    wait_for_port(port, process, log, seconds)
    deadline = time.monotonic() + seconds
    while True:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),  # the latter: the port is another server's
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"server did not start: {log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.02)


@contextlib.contextmanager
def start(
    directory: Path,
    mail_path: str,
    passwd: str = "alice:{PLAIN}secret\n",
    workers: int = 2,
    enter: Callable[[], None] | None = None,
    fresh: bool = False,
    **settings: Any,
) -> Iterator[Server]:
    """Serve `mail_path` to the users of `passwd`, lines of a passwd-file. In names of settings `_` stands for `-`.

    `enter` runs in the new process before it becomes the server. A `fresh` one is not forked from one that has the
    server's modules already (`support.forked`): for tests of the process itself, and of how much memory it takes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    cert, key = make_certificate(directory)
    (directory / "passwd").write_text(passwd, encoding="utf-8")
    (directory / "run").mkdir(exist_ok=True)
    ports = {name: free_port() for name in ("imap", "imaps", "pop3", "pop3s", "metrics")}
    listener = {
        name: {"bind": [f"127.0.0.1:{ports[name]}"], "protocol": name[:4], "tls": {"implicit": name.endswith("s")}}
        for name in ("imap", "imaps", "pop3", "pop3s")
    }
    wanted: dict[str, Any] = {
        "cert-path": str(cert),
        "key-path": str(key),
        "passwd-file": str(directory / "passwd"),
        "mail-path": mail_path,
        "run-path": str(directory / "run"),
        "metrics-bind": f"127.0.0.1:{ports['metrics']}",
        "processes": workers,
        "server": {"listener": listener},
    }
    wanted.update({name.replace("_", "-"): value for name, value in settings.items()})
    config = directory / "imap.yaml"
    config.write_text(json.dumps(wanted), encoding="utf-8")  # JSON is YAML
    log = directory / "log"
    with log.open("wb") as sink:
        forked = None if fresh or enter is not None else fork(["-c", str(config)], sink)
        process = forked or subprocess.Popen(
            [sys.executable, "-m", "greenmail", "-c", str(config)],
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=enter,
        )
    server = Server(directory, process, cert=cert, log=log, config=config, settings=wanted, **ports)
    try:
        wait_until_healthy(ports["metrics"], process, log)
        yield server
    finally:
        server.stop()
    assert "Traceback" not in server.logged(), server.logged()[-6000:]
