"""The admin process: `/metrics`, `/healthz` and the status page at `metrics-bind`.

It is a process of its own so that a hung worker can still be seen. What the page shows is told by the parent.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import base64
import hmac
import ipaddress
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket
from gevent import get_hub
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from greenmail import metrics
from greenmail.auth.api import Secret
from greenmail.net import register
from greenmail.net.figures import resident
from greenmail.net.status_page import HEADERS, Story, page

log = logging.getLogger(__name__)

_green: Any = gevent.socket  # whose names are made at run time

TIMEOUT = 5.0  # seconds for a request, and between two of them
_MEMORY_EVERY = 5.0
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


@dataclass(frozen=True, slots=True)
class Access:
    """Who may see the status page: programs and people on this machine, and who knows the token."""

    token: Secret | None = None

    def refusal(self, environ: dict[str, Any]) -> tuple[str, bytes] | None:
        """Status line and body for who may not; None: he may."""
        if _is_local(environ):
            return None
        if self.token is None:
            return "403 Forbidden", b"Only from the loopback, or with a token: see status-token-path.\n"
        kind, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
            except ValueError:
                given = ""
        elif kind.lower() != "bearer":
            given = ""
        if hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self.token.reveal()):
            return None
        return "401 Unauthorized", b"The user does not matter; the password is the token.\n"


def _is_local(environ: dict[str, Any]) -> bool:
    """A client on this machine that was not sent by a proxy, nor by a page that gave its own name our address."""
    if any(environ.get(name) for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA")):
        return False
    host = environ.get("HTTP_HOST", "localhost")
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback) and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


Headers = tuple[tuple[str, str], ...]


def _status(environ: dict[str, Any], story: Story, access: Access) -> tuple[str, str, bytes, Headers]:
    """Status line, type, body and headers of the page, or of what is on it as JSON."""
    refusal = access.refusal(environ)
    if refusal is not None:
        ask = (("WWW-Authenticate", 'Basic realm="GreenMail", charset="UTF-8"'),) if access.token is not None else ()
        return refusal[0], _TEXT, refusal[1], (*HEADERS, *ask)
    if environ["PATH_INFO"] == "/":
        return "200 OK", "text/html; charset=utf-8", page(story, time.time()), HEADERS
    return "200 OK", "application/json", json.dumps(story.status).encode("ascii") + b"\n", HEADERS


def application(
    health: Health, story: Story, access: Access
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The WSGI application."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = "404 Not Found", _TEXT, b"There are /, /status.json, /metrics and /healthz here.\n"
        more: Headers = ()
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"Only GET and HEAD.\n"
        elif environ["PATH_INFO"] == "/metrics":
            status, (body, kind) = "200 OK", metrics.render(environ.get("HTTP_ACCEPT", ""))
        elif environ["PATH_INFO"] == "/healthz":
            status, body = health.line()
        elif environ["PATH_INFO"] in ("/", "/status.json"):
            status, kind, body, more = _status(environ, story, access)
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    return answer


def run(listener: socket.socket, control: socket.socket, token: Secret | None = None) -> int:
    """Serve until SIGTERM or the end of the parent; the exit status. After `children.settle`."""
    stop: Any = Event()
    health, story = Health(), Story()
    loop = get_hub().loop  # made before a signal can ask for it
    signal.signal(signal.SIGTERM, lambda number, frame: loop.run_callback_threadsafe(stop.set))
    parent = _green.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=os.dup(control.fileno()))
    control.close()
    server = _Server(
        listener,
        application(health, story, Access(token)),
        log=None,
        error_log=log,
        spawn=64,
        environ={"SERVER_NAME": "localhost"},
    )
    # Without SERVER_NAME above gevent would ask the DNS for this machine's.
    server.start()
    gevent.spawn(_listen_to_parent, parent, health, story, stop)
    gevent.spawn(_count_memory)
    parent.send(register.encode({"op": "ready"}))
    stop.wait()
    server.stop(timeout=1)
    return 0


def _count_memory() -> None:
    while True:
        metrics.resident_memory(resident())
        gevent.sleep(_MEMORY_EVERY)


def _listen_to_parent(parent: Any, health: Health, story: Story, stop: Any) -> None:
    parts: list[str] = []
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
        elif message.get("op") == "status":  # in parts, since a message has a largest size
            parts = [*(parts if message["part"] else []), message["text"]]
            if len(parts) == message["of"]:
                story.tell(json.loads("".join(parts)), time.time())
