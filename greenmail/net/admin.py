"""The admin process: `/metrics` and `/healthz` at `metrics-bind`, so that a hung worker can still be seen."""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket
from gevent import get_hub
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from greenmail import metrics
from greenmail.net import register

log = logging.getLogger(__name__)

_green: Any = gevent.socket  # whose names are made at run time

TIMEOUT = 5.0  # seconds for a request, and between two of them
_TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Health:
    """What the parent last said of the workers."""

    ready: int = 0
    wanted: int = 0

    def line(self) -> tuple[str, bytes]:
        """Status line and body of /healthz: good as long as somebody answers clients."""
        word, status = ("ok", "200 OK") if self.ready else ("down", "503 Service Unavailable")
        return status, f"{word}: {self.ready} of {self.wanted} workers answer\n".encode()


class _Server(WSGIServer):
    """gevent's, whose own would wait for a silent client for ever."""

    def handle(self, client: Any, address: Any) -> None:
        client.settimeout(TIMEOUT)
        super().handle(client, address)


def application(health: Health) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The WSGI application."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = "404 Not Found", _TEXT, b"There are /metrics and /healthz here.\n"
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"Only GET and HEAD.\n"
        elif environ["PATH_INFO"] == "/metrics":
            status, (body, kind) = "200 OK", metrics.render(environ.get("HTTP_ACCEPT", ""))
        elif environ["PATH_INFO"] == "/healthz":
            status, body = health.line()
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    return answer


def run(listener: socket.socket, control: socket.socket) -> int:
    """Serve until SIGTERM or the end of the parent; the exit status. After `children.settle`."""
    stop: Any = Event()
    health = Health()
    loop = get_hub().loop  # made before a signal can ask for it
    signal.signal(signal.SIGTERM, lambda number, frame: loop.run_callback_threadsafe(stop.set))
    parent = _green.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=os.dup(control.fileno()))
    control.close()
    server = _Server(
        listener, application(health), log=None, error_log=log, spawn=64, environ={"SERVER_NAME": "localhost"}
    )
    # Without SERVER_NAME above gevent would ask the DNS for this machine's.
    server.start()
    gevent.spawn(_listen_to_parent, parent, health, stop)
    parent.send(register.encode({"op": "ready"}))
    stop.wait()
    server.stop(timeout=1)
    return 0


def _listen_to_parent(parent: Any, health: Health, stop: Any) -> None:
    while True:
        try:
            data = parent.recv(register.LARGEST)
        except OSError:
            data = b""
        if not data:
            stop.set()
            return
        message = register.decode(data)
        if message.get("op") == "health":
            health.ready, health.wanted = message["ready"], message["wanted"]
