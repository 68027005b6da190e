"""A connection in memory: what the shell gives to an engine, with the client's end for a test."""

from collections.abc import Callable, Sequence
from typing import Any

from harness.green import Scheduler

from greenmail.errors import Disconnected
from greenmail.net.deflate import Deflate
from greenmail.runtime import Dormant, Wake


class MemoryWire:
    """See `runtime.Wire` for the engine's end. `feed`, `hang_up` and `take` are the client's."""

    def __init__(self, scheduler: Scheduler, secure: bool = True, chunk: int = 65536) -> None:
        self._scheduler = scheduler
        self.peer, self.peer_port = "192.0.2.7", 40000
        self.local, self.local_port = "192.0.2.1", 143
        self.trusted = False
        self.timeout = 60.0
        self.may_sleep = False
        self.naps = 0  # waits in which the session was left
        self._waits = 0
        self.secure = secure
        self.can_start_tls = not secure
        self.end_point = b""
        self.exporter = b""
        self.certified: tuple[str, ...] = ()
        self.chunk = chunk  # the most that `receive` gives at once
        self.refuses_writes = False  # the client went away while the server sends
        self.closed = False  # the server closed it
        self.watches: list[MemoryWatch] = []
        self.can_compress = True
        self._deflate: Deflate | None = None
        self._input = bytearray()
        self._ended = False
        self._consumed = False  # input was taken since the last rest
        self._gathered = bytearray()
        self._sent = bytearray()

    def feed(self, data: bytes) -> None:
        self._input += data

    def hang_up(self) -> None:
        """The client closes its side."""
        self._ended = True

    def take(self) -> bytes:
        """What was sent since the last time. What was written and not sent does not count."""
        sent = bytes(self._sent)
        self._sent.clear()
        return sent

    @property
    def has_input(self) -> bool:
        return bool(self._input) or self._ended

    @property
    def has_output(self) -> bool:
        return bool(self._sent)

    def write(self, data: bytes) -> None:
        if self.refuses_writes:
            raise Disconnected
        self._gathered += data
        if len(self._gathered) >= 65536:
            self.flush()
        self._scheduler.pause()

    def flush(self) -> None:
        if self.refuses_writes:
            raise Disconnected
        data = bytes(self._gathered)
        self._gathered.clear()
        if self._deflate is not None and data:
            data = self._deflate.pack(memoryview(data)) + self._deflate.flush()
        self._sent += data

    def rest(self) -> None:
        """What was asked for is done."""
        if self._consumed:
            self._consumed = False
            self._scheduler.epoch += 1

    def nap(self, seconds: float, is_due: Callable[[], bool]) -> None:
        """Every second time that a session can be left where it has to wait, it is, however short the wait."""
        if self.may_sleep and seconds > 0 and not self.has_input and not is_due():
            self._waits += 1
            if self._waits % 2 == 0:
                self.naps += 1
                self._is_due = is_due
                raise Dormant(seconds)

    def sleep(self, dormant: Dormant) -> None:
        """The shell's part: wait until the session is to be called again; signs are given meanwhile."""
        clock, is_due, seconds = self._scheduler.clock, self._is_due, dormant.seconds
        while True:
            end = clock.now() + seconds
            self._scheduler.wait(lambda end=end: self.has_input or is_due() or clock.now() >= end)
            sign = None if self.has_input or is_due() or self._deflate is not None else dormant.sign()
            if sign is None:
                return
            line, seconds = sign
            self._sent += line

    def receive(self) -> bytes:
        self.flush()
        self.rest()
        clock = self._scheduler.clock
        if self._deflate is None:
            self.nap(self.timeout, lambda: False)
        deadline = clock.now() + self.timeout
        while True:
            if self._deflate is not None and (data := self._deflate.unpack()):
                return data
            self._scheduler.wait(lambda: self.has_input or clock.now() >= deadline)
            if not self._input:
                break
            self._consumed = True
            data = bytes(self._input[: self.chunk])
            del self._input[: self.chunk]
            if self._deflate is None:
                return data
            self._deflate.feed(data)
        raise Disconnected("connection closed by peer" if self._ended else "timed out")

    def start_tls(self) -> None:
        self.flush()
        self._input.clear()
        self.secure, self.can_start_tls = True, False

    @property
    def compressed(self) -> bool:
        return self._deflate is not None

    def start_compression(self) -> None:
        self.flush()
        self._deflate = Deflate()
        self.can_compress = False

    def stop_compression(self) -> None:
        self.flush()
        if self._deflate is not None:
            self._input[:0] = self._deflate.rest()
        self._deflate = None
        self.can_compress = True

    def places(self) -> "MemoryPlaces":
        return MemoryPlaces(self._scheduler)

    def watch(self, mailbox: Any, places: "MemoryPlaces | None" = None) -> "MemoryWatch":
        watch = MemoryWatch(self, self._scheduler, mailbox, places)
        self.watches.append(watch)
        return watch


class MemoryPlaces:
    """See `runtime.Places`: whatever anybody does may have changed any of them."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.names: set[str] = set()
        self._seen = scheduler.epoch
        self.marked = False
        self._again = float("inf")

    @property
    def due(self) -> bool:
        return self.marked or self._seen != self._scheduler.epoch or self._scheduler.clock.now() >= self._again

    def add(self, name: str, paths: Sequence[str]) -> None:
        self.names.add(name)

    def drop(self, name: str) -> None:
        self.names.discard(name)

    def again(self, name: str, seconds: float) -> None:
        self._again = min(self._again, self._scheduler.clock.now() + seconds)

    def changed(self) -> set[str]:
        if not self.due:
            return set()
        self.marked, self._seen, self._again = False, self._scheduler.epoch, float("inf")
        return set(self.names)

    def close(self) -> None:
        self.names.clear()


class MemoryWatch:
    """See `runtime.Watch`."""

    def __init__(self, wire: MemoryWire, scheduler: Scheduler, mailbox: Any, places: MemoryPlaces | None) -> None:
        self._wire = wire
        self._places = places
        self._scheduler = scheduler
        self._changed = False
        self._cancel: Callable[[], None] | None = mailbox.subscribe(self.notify) if mailbox is not None else None

    def notify(self) -> None:
        """An event, of this process or of the file system."""
        self._changed = True
        if self._places is not None:
            self._places.marked = True

    @property
    def _news(self) -> bool:
        return self._changed or (self._places is not None and self._places.due)

    def wait(self, timeout: float) -> Wake:
        self._wire.flush()
        self._wire.rest()
        clock = self._scheduler.clock
        self._wire.nap(timeout, lambda: self._news)
        deadline = clock.now() + timeout
        self._scheduler.wait(lambda: self._wire.has_input or self._news or clock.now() >= deadline)
        if self._wire.has_input:
            return Wake.INPUT
        if self._news:
            self._changed = False
            return Wake.CHANGED
        return Wake.TIMEOUT

    @property
    def news_age(self) -> float:
        """Nobody else looks for it."""
        return 0.0

    def looks_in(self) -> float:
        return float("inf")

    def has_looked(self) -> bool:
        return False

    def close(self) -> None:
        self._wire.watches.remove(self)
        if self._cancel is not None:
            self._cancel()
