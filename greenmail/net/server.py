"""Accepting connections, in a worker.

All workers accept from the same inherited sockets, a few connections at a turn, so that an idle worker gets its share.
How many are open in all stands in memory that the workers share: each writes only its own place, so there is nothing
to lock and nothing to ask.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import errno
import logging
import math
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event
from gevent.server import StreamServer

from greenmail import metrics
from greenmail.auth.penalties import network
from greenmail.errors import Disconnected
from greenmail.net.addresses import plain_address
from greenmail.net.shared import Shared
from greenmail.net.stream import Stream
from greenmail.net.work import Clock
from greenmail.runtime import Dormant, Sign

log = logging.getLogger(__name__)

SLOTS = 512  # processes that may live at the same time, old ones that drain included
ACCEPT_PAUSE = 0.5  # seconds without accepting when there are no descriptors left
MOST_REFUSALS = 32  # clients that are told at the same time that there are too many; more are just closed
LOOKS = 0.5  # seconds between two looks for connections that are quiet, in a worker that retires
_LOG_EVERY = 10.0  # seconds between two lines about the same limit


Talk = Callable[[], Dormant | None]
"""A session of an engine: to be called, and again when there is something to do; until it gives None. May raise
Disconnected."""


class Board:
    """How many connections each worker has open; made before the fork, shared by all."""

    def __init__(self) -> None:
        self._places = memoryview(mmap.mmap(-1, SLOTS * 8)).cast("Q")

    def total(self) -> int:
        """Connections over all workers, as good as now."""
        return sum(self._places)

    def put(self, slot: int, connections: int) -> None:
        """A worker's own number; the parent puts 0 when a worker has ended."""
        self._places[slot] = connections


@dataclass(frozen=True, slots=True)
class Service:
    """What one listener does with a connection."""

    name: str
    implicit_tls: bool
    is_proxied: bool  # each connection begins with a header of the PROXY protocol
    shared: Shared
    begin: Callable[[Stream], Talk]  # an engine; may raise Disconnected
    full: bytes  # what a client is told when there are too many connections


class Crowds:
    """How many connections of a worker come from one address, or of IPv6 from one /48."""

    def __init__(self, limit: int, exempt: Callable[[str], bool]) -> None:
        self._limit = limit  # 0: any number
        self._exempt = exempt
        self._counts: dict[str, int] = {}

    def join(self, address: str) -> str | None:
        """One more: the crowd that it is to `leave` at its end, empty if that does not matter; None: it is too many."""
        if not self._limit or self._exempt(address):
            return ""
        crowd = network(address)
        count = self._counts.get(crowd, 0)
        if count >= self._limit:
            return None
        self._counts[crowd] = count + 1
        return crowd

    def leave(self, crowd: str) -> None:
        """One less."""
        if crowd:
            self._counts[crowd] -= 1
            if not self._counts[crowd]:
                del self._counts[crowd]


class Connections:
    """All connections of a worker."""

    def __init__(self, board: Board, slot: int, limit: int, crowds: Crowds) -> None:
        self._board = board
        self._slot = slot
        self._limit = limit
        self._crowds = crowds
        self._open: set[Stream] = set()
        # Who sleeps, and what he counts as (`Figures`) since he was looked at: thousands of them do nothing for long,
        # so nobody goes through them every few seconds.
        self._asleep: dict[Stream, tuple[str, bool] | None] = {}
        self.sleepers: dict[tuple[str, bool], int] = {}  # how many sleep and count as that
        self._stirred: set[Stream] = set()  # all others
        self._refusing = 0
        self._told: dict[str, float] = {}  # when a limit was last spoken of in the log
        self.draining = False
        self.closed: Callable[[Stream], None] = _nothing  # told of each connection that ends
        self.none_left: Any = Event()

    def __len__(self) -> int:
        return len(self._open)

    def run(self, service: Service, sock: Any, address: tuple[Any, ...]) -> None:
        """One connection from its first octet to its last, on its own green thread."""
        protocol = service.shared.protocol
        if self._board.total() >= self._limit:
            self._refuse(service, sock, address)
            return
        stream = Stream(sock, address, service.shared)
        self._opened(stream)
        self._board.put(self._slot, len(self._open))
        metrics.connection_opened(protocol, service.implicit_tls)
        _Life(self, stream, self._counted_out).live(lambda: self._begin(service, stream))

    def _opened(self, stream: Stream) -> None:
        self._open.add(stream)
        self._stirred.add(stream)
        if self.draining:
            stream.drain()

    def _begin(self, service: Service, stream: Stream) -> Talk | None:
        """The engine's part; None: the client has been told that there is none for him."""
        _prepare(service, stream)
        crowd = self._crowds.join(stream.peer)
        if crowd is None:
            metrics.refused(stream.protocol, "address")
            self._tell_limit("address-limit", stream.protocol, stream.peer)
            stream.farewell(service.full)
            return None
        stream.crowd = crowd
        return service.begin(stream)

    def ended(self, stream: Stream) -> None:
        """A connection is over."""
        self._crowds.leave(stream.crowd)
        stream.close()
        self._open.discard(stream)
        self._stirred.discard(stream)
        self.closed(stream)
        stream.session = None  # which refers to the stream
        if self.draining and not self._open:
            self.none_left.set()

    def _counted_out(self, stream: Stream) -> None:
        self._board.put(self._slot, len(self._open))
        metrics.connection_closed(stream.protocol, *stream.unreported())

    def _tell_limit(self, event: str, protocol: str, peer: str) -> None:
        """In the log, but not for each client of many."""
        now = time.monotonic()
        if now - self._told.get(event, 0.0) >= _LOG_EVERY:
            self._told[event] = now
            log.warning("%s protocol=%s rip=%s", event, protocol, peer)

    def host(self, stream: Stream, begin: Callable[[Stream], Talk]) -> None:
        """A session that another process has accepted, and counts."""
        self._opened(stream)
        _Life(self, stream, _nothing).live(lambda: begin(stream))

    def streams(self) -> list[Stream]:
        """Those that are open now, and whose sessions are here."""
        return [stream for stream in self._open if not stream.carried]

    def stirred(self) -> list[Stream]:
        """Of `streams` all that do not count among the `sleepers`."""
        return [stream for stream in self._stirred if not stream.carried]

    def fell_asleep(self, stream: Stream) -> None:
        """No green thread is with it any more."""
        self._asleep[stream] = None

    def woke(self, stream: Stream) -> None:
        """A green thread has it again."""
        known = self._asleep.pop(stream, None)
        if known is not None:
            self.sleepers[known] -= 1
            self._stirred.add(stream)

    def count_as(self, stream: Stream, kind: tuple[str, bool]) -> None:
        """Who sleeps is that, until it wakes, and need not be looked at again."""
        if stream in self._asleep:
            self._asleep[stream] = kind
            self.sleepers[kind] = self.sleepers.get(kind, 0) + 1
            self._stirred.discard(stream)

    def drain(self) -> None:
        """Have every session end at its next idle point; `none_left` is set when all have."""
        self.draining = True
        for stream in list(self._open):
            stream.drain()
        if not self._open:
            self.none_left.set()

    def retire(self, seconds: float) -> None:
        """Have every session end when it is quiet, spread over `seconds`: all their clients will come back.

        Quiet is who has neither sent nor received anything between two looks, and waits for no answer. Returns when
        nobody is left, or the time is over.
        """
        end, before = time.monotonic() + seconds, dict[Stream, tuple[int, int]]()
        pause = min(LOOKS, seconds / 4)
        while self._open and not self.draining and (left := end - time.monotonic()) > 0:
            gevent.sleep(pause)
            quiet = [stream for stream in self.streams() if before.get(stream) == (stream.received, stream.sent)]
            before = {one: (one.received, one.sent) for one in self.streams() if one.is_answered}
            for stream in quiet[: math.ceil(len(quiet) * pause / left)]:
                stream.drain()

    def report(self, clock: Clock) -> None:
        """Add the octets of living connections to the metrics."""
        for stream in list(self._stirred):
            clock.breathe()
            metrics.octets(stream.protocol, *stream.unreported())

    def _refuse(self, service: Service, sock: Any, address: tuple[Any, ...]) -> None:
        protocol = service.shared.protocol
        metrics.refused(protocol, "connections")
        self._tell_limit("connections-limit", protocol, plain_address(address[0]))
        if self._refusing >= MOST_REFUSALS:
            sock.close()
            return
        self._refusing += 1
        stream = Stream(sock, address, service.shared)
        try:
            _prepare(service, stream)
            stream.farewell(service.full)
        except Disconnected as gone:
            log.debug("refusal-lost rip=%s reason=%r", stream.peer, gone.text)
        finally:
            stream.close()
            self._refusing -= 1


class _Life:
    """A connection from its first octet to its last; while it sleeps no green thread is with it (`sleep`)."""

    __slots__ = ("_connections", "_ended", "_sign", "_stream", "_talk")

    def __init__(self, connections: Connections, stream: Stream, ended: Callable[[Stream], None]) -> None:
        """`ended` is told at last."""
        self._connections, self._stream, self._ended = connections, stream, ended
        self._talk: Talk | None = None
        self._sign: Sign = _no_sign

    def live(self, begin: Callable[[], Talk | None] | None = None) -> None:
        """Begin, or go on; on a green thread."""
        stream, dormant = self._stream, None
        try:
            if begin is not None:
                self._talk = begin()
            dormant = self._talk() if self._talk is not None else None
        except Disconnected as gone:
            log.debug("disconnected protocol=%s rip=%s reason=%r", stream.protocol, stream.peer, gone.text)
        except Exception:
            log.exception("bug protocol=%s rip=%s", stream.protocol, stream.peer)
        finally:
            if dormant is None:
                self._end()
        if dormant is not None:
            self._sign = dormant.sign
            self._connections.fell_asleep(stream)
            stream.sleep(dormant.seconds, self._wake, self._due)

    def _wake(self) -> None:
        """On the loop."""
        gevent.spawn_raw(self._go_on)

    def _due(self) -> float | None:
        """On the loop, when only time has passed: a sign of life is sent if that is all; how long to sleep on then."""
        stream = self._stream
        try:
            if stream.can_whisper and (sign := self._sign()) is not None:
                line, seconds = sign
                if line:
                    if not stream.whisper(line):
                        return None
                    metrics.octets(stream.protocol, *stream.unreported())  # nobody looks at who sleeps
                return seconds
        except Exception:  # nobody else would ever wake it
            log.exception("bug protocol=%s rip=%s asleep", stream.protocol, stream.peer)
        return None

    def _go_on(self) -> None:
        self._connections.woke(self._stream)
        self._stream.awake()
        self.live()

    def _end(self) -> None:
        try:
            self._connections.ended(self._stream)
        finally:
            self._ended(self._stream)


def _prepare(service: Service, stream: Stream) -> None:
    """What comes before the protocol's own first octet."""
    if service.is_proxied:
        stream.learn_origin()
    if service.shared.is_banned(stream.peer):
        metrics.refused(stream.protocol, "banned")
        raise Disconnected("banned")
    if service.implicit_tls:
        stream.handshake(service.shared.context())


def _nothing(stream: Stream) -> None:
    return None


def _no_sign() -> None:
    return None


class Acceptor(StreamServer):
    """gevent's server with our options: few accepts at a turn, the handshake in our hands."""

    max_accept = 2

    def __init__(self, listener: Any, service: Service, connections: Connections) -> None:
        self._service = service
        self._connections = connections
        ssl_args = {"ssl_context": service.shared.context()} if service.implicit_tls else {}
        super().__init__(listener, self._plain, spawn=gevent.spawn_raw, **ssl_args)

    def do_read(self) -> Any:
        """The next connection, or None. Without descriptors gevent would print a traceback, or spin."""
        try:
            return super().do_read()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.error("accept-failed listener=%s reason=%r", self._service.name, error.strerror)
                self.stop_accepting()
                gevent.spawn_later(ACCEPT_PAUSE, self._go_on)
            return None

    def _go_on(self) -> None:
        if self.started:
            self.start_accepting()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """gevent's own would wait for a silent client for ever and print a traceback for garbage."""
        self._connections.run(self._service, client_socket, address)

    def do_close(self, client_socket: Any, *address: Any) -> None:
        """gevent's own closes it when the green thread ends: but then it may only sleep. `Stream.close` does it."""

    def _plain(self, client_socket: Any, address: Any) -> None:
        self._connections.run(self._service, client_socket, address)
