"""One client's connection: `runtime.Wire` over a gevent socket, plain or TLS.

The socket is always non-blocking; all waiting is done in one place (`readiness`), because a wait can end for four
reasons: the socket is ready, time is over, there is news for the session (`interrupt`), or the worker is to end
(`drain`). One green thread uses a stream, or none while it sleeps (`sleep`); others may call `interrupt`, `drain`,
`dismiss` and `cut`.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from greenmail import metrics
from greenmail.errors import Disconnected
from greenmail.net import closing, proxy, tls
from greenmail.net.addresses import own_name, plain_address
from greenmail.net.deflate import Deflate
from greenmail.net.readiness import READ, WRITE, Readiness
from greenmail.net.shared import Shared
from greenmail.net.sleep import Sleep, has_room
from greenmail.runtime import Dormant, Places, Wake, Watch

log = logging.getLogger(__name__)

GATHER = 1 << 16  # octets that come together before anything is sent
SLICE = 1 << 18  # octets offered to the kernel at once, plain
SLICE_TLS = 1 << 16
KERNEL_UNSENT = 1 << 17  # TCP_NOTSENT_LOWAT: with GATHER and a chunk of an engine below 512 KiB, see architecture.md
RECEIVE = 1 << 16
INJECTED = 1 << 18  # octets before a handshake that are thrown away; beyond them the connection is closed
LINGER = 1.0  # seconds that a farewell may take to arrive


class Stream:
    """A `runtime.Wire`; also what the connection loops, the watch and the server need."""

    __slots__ = (  # a dictionary of so many takes 1.2 KB more
        *("_ahead", "_audible", "_broken", "_chunks", "_deflate", "_dismissal", "_draining", "_gathered", "_heard_all"),
        *("_is_check", "_is_drained", "_is_tls", "_line", "_line_ended", "_plain", "_readiness", "_reported"),
        *("_shared", "_sleep", "_sock", "_stirred", "carried", "certified", "end_point", "exporter"),
        *("is_answered", "local", "local_port", "may_sleep", "peer", "peer_port", "protocol", "received", "sent"),
        *("session", "since", "timeout", "tls_cipher", "tls_version", "trusted", "crowd", "woken"),
    )

    def __init__(self, sock: Any, address: tuple[Any, ...], shared: Shared) -> None:
        sock.settimeout(0.0)
        self._sock = sock
        self._plain = getattr(sock, "_sock", sock)  # what gevent's socket is around: it never waits, as here none may
        self._shared = shared
        self._readiness = Readiness(sock.fileno(), shared.clock)
        self._sleep: Sleep | None = None
        self.woken: Callable[[], None] | None = None  # told when it is `awake`
        self._stirred = time.monotonic()  # when something happened last
        self.may_sleep = False
        self._deflate: Deflate | None = None
        self._ahead = b""  # octets that were received while waiting for news
        self._is_drained = False  # the last that was received was all there was: nothing can be had without a wait
        self._chunks: list[bytes] = []
        self._gathered = 0
        self._line = b""  # how the line begins that was sent last
        self._line_ended = True
        self.is_answered = True  # something was sent after the last octet that was received
        self._draining = False
        self._broken: Disconnected | None = None
        self._heard_all = False  # the client has closed its half
        self._audible = True
        self.peer = plain_address(address[0])
        self.peer_port = int(address[1])
        self.local, self.local_port = own_name(sock)
        self.trusted = shared.trusts(self.peer)
        self.timeout = 60.0
        self.since = time.time()
        self.session: Any = None  # of the engine that serves it
        self.crowd = ""  # `server.Crowds`
        self._dismissal: tuple[bytes, str] | None = None
        self.protocol = shared.protocol
        self.received = 0
        self.sent = 0
        self._reported = (0, 0)
        self.carried = False  # the session goes on in another process, which says its own farewell
        self._is_check = False  # a load balancer's own connection, with which it looks whether we are alive
        self._is_tls = False  # the socket; else `tls_version` is that between the client and a proxy
        self.tls_version = ""
        self.tls_cipher = ""
        self.end_point = b""
        self.exporter = b""
        self.certified: tuple[str, ...] = ()

    # --- runtime.Wire ---

    @property
    def secure(self) -> bool:
        """Whether TLS is in use, here or by a proxy that ended it."""
        return bool(self.tls_version)

    @property
    def can_start_tls(self) -> bool:
        """A certificate is configured and TLS is not yet in use."""
        return not self.tls_version and self._shared.context() is not None

    def write(self, data: bytes) -> None:
        """Gather `data`; sends when 64 KiB have come together. Raises Disconnected."""
        if self._broken is not None:
            raise self._broken
        self._chunks.append(data)
        self._gathered += len(data)
        if self._gathered >= GATHER:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered. Raises Disconnected if the client takes nothing for `timeout-write`."""
        if self._broken is not None:
            raise self._broken
        if not self._chunks:
            return
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        self._gathered = 0
        self.is_answered = True
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        if start or self._line_ended:
            self._line = data[start : start + 2]
        self._line_ended = data.endswith(b"\n")
        self._send(data)

    def receive(self) -> bytes:
        """The next octets from the client, at most 64 KiB, after a flush. Raises Disconnected."""
        self.flush()
        data = self._ahead
        if data:
            self._ahead = b""
        elif not self._is_drained or self._draining:
            data = self._unpack_now()
        if data:
            self._shared.clock.breathe()  # who has to wait gives way by that
        else:
            end = time.monotonic() + self.timeout
            while not data:
                self._say_farewell(self._at_rest())
                if self._await(end, self.may_sleep) is Wake.TIMEOUT:
                    raise Disconnected("idle for too long")  # the engine may still say so
                data = self._unpack_now()
        self.is_answered = False
        self._stirred = time.monotonic()
        return data

    def start_tls(self) -> None:
        """Send what was gathered, throw away every octet received so far, and shake hands. Raises Disconnected.

        The client must wait for the answer before it says anything, so all that is here by now was put there by
        someone who wants it to be taken for the protected client's: RFC 9051 6.2.1, RFC 2595 4.
        """
        context = self._shared.context()
        if context is None:
            raise self._lost("no certificate")
        self._throw_away()
        self.flush()
        self.handshake(context)

    @property
    def can_compress(self) -> bool:
        """Compression is not in use, and `max-compressed` streams of this worker are not compressed yet."""
        return self._deflate is None and len(self._shared.compressed) < self._shared.max_compressed

    @property
    def compressed(self) -> bool:
        """Whether compression is in use."""
        return self._deflate is not None

    def start_compression(self) -> None:
        """Send what was gathered; from then on both directions are compressed, RFC 4978."""
        self.flush()
        self._deflate = Deflate()
        self._shared.compressed.add(self)

    def stop_compression(self) -> None:
        """Send what was gathered; from then on neither direction is compressed, RFC 8437 4.1."""
        if self._deflate is None:
            return
        self.flush()
        self._ahead += self._deflate.rest()
        self._deflate = None
        self._shared.compressed.discard(self)

    def watch(self, mailbox: Any, places: Places | None = None) -> Watch:
        """Register for news of `mailbox`, or of none if it is None; and of `places`."""
        return self._shared.watch(self, mailbox, places)

    def places(self) -> Places:
        """No registrations yet."""
        return self._shared.places()

    # --- for the shell ---

    def handshake(self, context: Any) -> None:
        """Become TLS, within `timeout-handshake`. Raises Disconnected; the reason is one line of the log."""
        end = time.monotonic() + self._shared.timeout_handshake
        try:
            self._is_drained = False
            self._sock = self._plain = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            end_point = tls.end_point(context)  # now: the connection keeps this certificate, the context may not
            self._sock.settimeout(0.0)
            while (wants_input := tls.wants_input(self._sock)) is not None:
                if self._wait(READ if wants_input else WRITE, end - time.monotonic()) is Wake.TIMEOUT:
                    raise self._no_tls("timeout", "TLS handshake took too long")
        except OSError as error:
            closed = isinstance(error, ConnectionError | ssl.SSLEOFError)
            raise self._no_tls("closed" if closed else "failed", closing.why(error)) from None
        users = self._shared.users(self._sock, self.peer)
        if users is None:
            raise self._no_tls("certificate", "tls-client-certificate wants one that is good")
        self.certified = users
        self.end_point = getattr(self._sock, "greenmail_end_point", end_point)  # of another one, by name (`sni`)
        self.exporter = getattr(self._sock, "exporter", b"")  # of a connection that can tell it
        self._is_tls = True
        self.tls_version = self._sock.version() or "TLS"
        self.tls_cipher = (self._sock.cipher() or ("",))[0]
        metrics.handshake(self._shared.protocol, "ok")

    def learn_origin(self) -> None:
        """Take the header of the PROXY protocol, within `timeout-handshake`: from there on the peer is the client.

        Raises Disconnected; without a header that can be used nobody knows who this is.
        """
        end = time.monotonic() + self._shared.timeout_handshake

        def wait() -> None:
            if self._wait(READ, end - time.monotonic()) is Wake.TIMEOUT:
                raise proxy.BadHeader("it did not come in time")

        try:
            if not self._shared.is_proxy(self.peer):
                raise proxy.BadHeader("the peer is not in proxy-networks")
            origin = proxy.read(self._sock, wait)
        except proxy.BadHeader as bad:
            metrics.refused(self._shared.protocol, "proxy")
            log.warning("proxy-refused protocol=%s rip=%s reason=%r", self._shared.protocol, self.peer, str(bad))
            raise self._lost("no PROXY header", audible=False) from None
        except (proxy.Closed, OSError) as closed:  # how some load balancers look whether a server is alive
            raise self._lost(str(closed), audible=False) from None
        self._is_check = origin is None
        if origin is not None:
            self.peer, self.peer_port = plain_address(origin.peer), origin.peer_port
            self.local, self.local_port = plain_address(origin.local), origin.local_port
            self.trusted = self._shared.trusts(self.peer)
            self.tls_version, self.tls_cipher = origin.tls_version, origin.tls_cipher

    def unreported(self) -> tuple[int, int]:
        """Octets received and sent since the last call."""
        found = self.received - self._reported[0], self.sent - self._reported[1]
        self._reported = self.received, self.sent
        return found

    def rest(self, seconds: float, may_sleep: bool = False) -> Wake:
        """Wait for input (INPUT, also at the end of the stream), for `interrupt` (CHANGED), or until time is over.

        Decrypts what arrives: a record without data, say a new session ticket, is not input. May raise Dormant if
        `may_sleep`.
        """
        self.flush()
        end = time.monotonic() + seconds
        while not self._ahead:
            self._say_farewell(True)
            self._ahead = self._unpack_now()
            if self._ahead:
                break
            wake = self._await(end, may_sleep)
            if wake is Wake.TIMEOUT or (wake is Wake.CHANGED and not (self._draining and not self.carried)):
                return wake
        return Wake.INPUT

    def _await(self, end: float, may_sleep: bool) -> Wake:
        """`_wait` for input until `end`; raises Dormant if nothing has happened for a while before that."""
        now, stirred = time.monotonic(), self._stirred
        latest = min(end, max(now, stirred + self._shared.quiet)) if may_sleep else end
        wake = self._wait(READ, latest - now)
        if wake is Wake.TIMEOUT and latest < end:
            if self._stirred != stirred:  # `interrupt` came in the turn of the loop in which the time was over
                return Wake.CHANGED
            raise Dormant(end - latest)
        return wake

    def sleep(self, seconds: float, wake: Callable[[], None], due: Callable[[], float | None]) -> None:
        """Have `wake` called on the loop where a `rest` would have ended, unless `due` says for how long it goes on.

        Nobody uses the stream until `awake`.
        """
        self._sleep = self._readiness.sleep(seconds, wake, due)

    @property
    def can_whisper(self) -> bool:
        """Something short can be sent at once, where no green thread is."""
        return not (self._draining or self.compressed or self._broken) and has_room(self._plain)

    def whisper(self, line: bytes) -> bool:
        """Send it then; False: the connection is lost, as the next `receive` will say."""
        with suppress(OSError):
            if self._plain.send(line) == len(line):
                self.sent += len(line)
                return True
        self._lost("client does not read", audible=False)
        return False

    def awake(self) -> None:
        """A green thread has it again."""
        self._shared.clock.resumed()
        self._sleep = None
        self._is_drained = False
        woken, self.woken = self.woken, None
        if woken is not None:
            woken()

    def interrupt(self, delay: float = 0.0) -> None:
        """End a `rest`, now, or a `sleep` after so many seconds; no more. May be called by any green thread."""
        self._stirred = time.monotonic()
        if not self._readiness.interrupt() and self._sleep is not None:
            self._sleep.sooner(delay)

    def may_listen(self) -> bool:
        """Whether the client has only said its last: then it can be written to again, and may take what is coming."""
        if not self._heard_all:
            return False
        self._broken = None
        return True

    def drain(self) -> None:
        """The worker is to end: say farewell at the next idle point, which may be now."""
        self._draining = True
        self.interrupt()

    def dismiss(self, words: bytes, why: str) -> None:
        """End this connection at its next idle point, which may be now, with these words."""
        self._dismissal = words, why
        self.drain()

    def cut(self) -> None:
        """End the connection now, if it is still there: whoever uses it finds that the client is gone."""
        if not self._readiness.is_closed:
            closing.cut(self._sock, self.peer)

    def farewell(self, data: bytes) -> None:
        """Last words, if the client still listens. Never raises, and takes a second at most."""
        if not self._audible:
            return
        try:
            words = b"".join((*self._chunks, data))
            self._sock.send(self._deflate.whole(words, self._shared.clock.breathe) if self._deflate else words)
        except OSError as error:
            log.debug("farewell-lost peer=%s reason=%s", self.peer, error)

    def close(self) -> None:
        """End the connection so that what was sent last still arrives."""
        self._chunks = []
        self._shared.compressed.discard(self)
        try:
            if self._is_tls:
                closing.end_tls(self._sock)
            self._sock.shutdown(socket.SHUT_WR)
            if self._audible:
                end = time.monotonic() + LINGER
                closing.linger(self._sock, lambda: self._wait(READ, end - time.monotonic()) is not Wake.TIMEOUT)
        except (OSError, Disconnected) as error:
            log.debug("close peer=%s reason=%s", self.peer, error)
        self._readiness.close()
        self._sock.close()

    # --- inside ---

    def _lost(self, text: str, audible: bool = True) -> Disconnected:
        """Remember that the connection is over; the exception to raise. `audible`: last words can still arrive."""
        self._broken = Disconnected(text)
        self._audible = self._audible and audible
        return self._broken

    def _no_tls(self, result: str, text: str) -> Disconnected:
        metrics.handshake(self._shared.protocol, result)
        level = logging.DEBUG if self._is_check and result == "closed" else logging.INFO
        log.log(level, "tls-failed protocol=%s rip=%s reason=%r", self._shared.protocol, self.peer, text)
        return self._lost(text, audible=False)

    def _wait(self, event: int, seconds: float) -> Wake:
        """Wait until the socket is ready (INPUT), `interrupt` was called (CHANGED) or time is over (TIMEOUT)."""
        return self._readiness.wait(event, seconds, self._sock.fileno())

    def _receive_now(self) -> bytes:
        """What is there, or nothing. Raises Disconnected at the end of the stream."""
        try:
            data: bytes = self._plain.recv(RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except ssl.SSLWantWriteError:  # OpenSSL answers a key update before it reads on
            self._wait(WRITE, self._shared.timeout_write)
            return b""
        except OSError as error:
            raise self._lost(closing.why(error), audible=False) from None
        if not data:
            self._heard_all = True
            raise self._lost("connection closed by peer", audible=False)
        self.received += len(data)
        # Of TLS a record more may be in OpenSSL's hands, of what is compressed more may be in zlib's.
        self._is_drained = len(data) < RECEIVE and not self._is_tls and self._deflate is None
        return data

    def _unpack_now(self) -> bytes:
        """`_receive_now`, behind compression: nothing may also mean that what came is not enough yet."""
        deflate = self._deflate
        if deflate is None:
            return self._receive_now()
        data = deflate.unpack()
        if not data:
            deflate.feed(self._receive_now())
            data = deflate.unpack()
        return data

    def _send(self, data: bytes) -> None:
        if self._deflate is not None:
            data = self._deflate.whole(data, self._shared.clock.breathe)
        size = SLICE_TLS if self.tls_version else SLICE
        view = data if len(data) <= size else memoryview(data)
        position = 0
        while position < len(view):
            # OpenSSL wants the same octets at the same place again after it had to wait: so the slice stays the same.
            piece = view[position : position + size]
            try:
                taken = self._plain.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait_for_reader(WRITE)
                continue
            except ssl.SSLWantReadError:
                self._wait_for_reader(READ)
                continue
            except OSError as error:
                raise self._lost(closing.why(error), audible=False) from None
            if not taken:  # gevent's TLS socket says so and does not raise
                self._wait_for_reader(WRITE)
                continue
            position += taken
            self.sent += taken
            if position < len(view):
                self._shared.clock.breathe()

    def _wait_for_reader(self, event: int) -> None:
        end = time.monotonic() + self._shared.timeout_write
        while True:
            wake = self._wait(event, end - time.monotonic())
            if wake is Wake.INPUT:
                return
            if wake is Wake.TIMEOUT:
                # Nothing can follow, not even a farewell: half a response is on its way.
                raise self._lost("client does not read", audible=False)

    def _throw_away(self) -> None:
        thrown = len(self._ahead)
        self._ahead = b""
        while data := self._receive_now():
            thrown += len(data)
            if thrown > INJECTED:
                raise self._lost("too many octets before the TLS handshake")
        if thrown:
            log.warning("tls-injection protocol=%s rip=%s octets=%d", self._shared.protocol, self.peer, thrown)

    def _at_rest(self) -> bool:
        """Whether the client has its answer and no command is under way, as far as the octets show.

        Half a command that came together with a whole one is not seen; it was not carried out, so nothing is lost.
        """
        return self.is_answered and self._line not in (b"+ ", b"+\r", b"+\n")

    def _say_farewell(self, idle: bool) -> None:
        if self._draining and idle and not self.carried:
            words, why = self._dismissal or (self._shared.farewell, "server is shutting down")
            gone = self._lost(why)
            if words:
                self.farewell(words)
            raise gone
