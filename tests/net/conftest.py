"""What the tests of the shell share: a pair of a client's socket and our stream, on the loopback; and whole servers."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.ssl import SSLContext
from support.pki import make_certificate
from support.server import Server, start

from greenmail.net import tls
from greenmail.net.shared import Shared
from greenmail.net.stream import Stream
from greenmail.net.watch import SessionWatch, Watcher
from greenmail.net.work import Clock


def _no_watch(stream: Stream, mailbox: Any) -> Any:
    raise AssertionError("this stream has no watcher")


@dataclass
class Loop:
    """Makes connected pairs; everything runs on this thread's event loop."""

    cert: Path
    context: Any
    shared: Shared
    opened: list[Any] = field(default_factory=list)

    def pair(self, **changes: Any) -> tuple[Any, Stream]:
        """(the client's gevent socket, the server's stream)."""
        client, accepted, address = self.connected()
        stream = Stream(accepted, address, replace(self.shared, **changes))
        self.opened.append(stream)
        return client, stream

    def connected(self) -> tuple[Any, Any, Any]:
        """The two ends of a connection, and the client's address."""
        with gevent.socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            client = gevent.socket.create_connection(listener.getsockname())
            accepted, address = listener.accept()
        client.settimeout(20)
        self.opened.append(client)
        return client, accepted, address

    def secure(self, client: Any, stream: Stream) -> Any:
        """Shake hands on both sides; the client's TLS socket."""
        server = gevent.spawn(stream.handshake, self.context)
        wrapped = self.trusting().wrap_socket(client, server_hostname="localhost")
        server.get(timeout=20)
        return wrapped

    def trusting(self) -> Any:
        """A client's context."""
        trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(str(self.cert))
        return trusting


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def loop(pki: tuple[Path, Path]) -> Iterator[Loop]:
    cert, key = pki
    context = tls.context(tls.read(tls.Pair(str(cert), str(key))), "1.2", "HIGH")
    shared = Shared(
        protocol="imap",
        clock=Clock(),
        timeout_write=20.0,
        timeout_handshake=20.0,
        context=lambda: context,
        trusts=lambda address: False,
        is_proxy=lambda address: False,
        is_banned=lambda address: False,
        watch=_no_watch,
        places=_no_watch,
        farewell=b"* BYE the end\r\n",
        compressed=set(),
        max_compressed=10,
        quiet=60.0,
        users=lambda sock, peer: (),
    )
    made = Loop(cert, context, shared)
    yield made
    for thing in made.opened:
        thing.close()


@pytest.fixture
def watching(loop: Loop) -> Iterator[Callable[..., tuple[Any, SessionWatch]]]:
    """A function that gives (client, watch) for a mailbox."""
    watchers: list[Watcher] = []
    watches: list[SessionWatch] = []

    def make(mailbox: Any, watcher: Watcher | None = None, poll_interval: float = 60.0) -> tuple[Any, SessionWatch]:
        if watcher is None:
            watcher = Watcher(poll_interval)
            watchers.append(watcher)
        client, stream = loop.pair()
        watch = SessionWatch(stream, watcher, mailbox)
        watches.append(watch)
        return client, watch

    yield make
    for watch in watches:
        watch.close()
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server with these settings; `serve(...)` gives it."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            start(tmp_path / "server", str(tmp_path / "mail" / "%u"), **settings)
        )


@pytest.fixture
def serve_others() -> Iterator[Callable[..., Server]]:
    """As `serve`, in a directory that other users than root may come to, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="greenmail-test-") as made, contextlib.ExitStack() as stack:
        os.chmod(made, 0o755)
        yield lambda **settings: stack.enter_context(start(Path(made, "server"), f"{made}/mail/%u", **settings))
