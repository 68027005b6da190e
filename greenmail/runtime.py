"""What the shell hands down to the layers below it, which import neither gevent nor sockets.

`Runtime` is made once a worker; `Wire` once a connection. `direct()` is the runtime of tests and of the
command line: everything runs at once, in the caller.
"""

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class Lock(Protocol):
    """A mutual exclusion between green threads of one worker; not reentrant."""

    def __enter__(self) -> Any: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """Waiting and working, as the process at hand does it."""

    blocking: Callable[..., Any]  # blocking(function, *args): run long work in the pool, give back its result
    lock: Callable[[], Lock]  # a new green lock
    sleep: Callable[[float], None]  # seconds; lets every other green thread run
    breathe: Callable[[], None]  # between chunks: yields only if 2 ms passed since this green thread was resumed
    now: Callable[[], float]  # seconds since 1970, the wall clock
    current: Callable[[], object] = threading.get_ident  # the present green thread, to tell it from others
    used: Callable[[], float] = time.thread_time  # seconds of work for the present green thread
    elapsed: Callable[[], float] = time.monotonic  # seconds since some moment, whoever sets the clock


class Wake(Enum):
    """Why `Watch.wait` came back."""

    INPUT = "the client sent something, or closed the connection"
    CHANGED = "the watched mailbox may have changed: look"
    TIMEOUT = "nothing happened"


Sign = Callable[[], tuple[bytes, float] | None]  # see `Dormant`


class Dormant(Exception):
    """Nothing has happened for a while where a session can be left, and taken up again: `Wire.may_sleep`.

    It passes through the engine to the shell, which gives up the green thread, and calls the engine anew when there is
    something to do, or after `seconds`. No error: that nothing happens is what ten thousand clients in IDLE want.

    `sign` may be asked when the time is over: what is to be sent then, if anything, and after how many seconds more the
    engine is to be called, if that was all there was to do. It neither waits nor raises.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.sign: Sign = _nothing


class Watch(Protocol):
    """A registration for news of one mailbox (inotify, other green threads), or of none."""

    def wait(self, timeout: float) -> Wake:
        """Wait for the client or for news, at most `timeout` seconds. Sends what was written before waiting.

        May raise Dormant if `Wire.may_sleep`; news that come from then on are those of the next `wait`.
        """

    @property
    def news_age(self) -> float:
        """Seconds: a look at the mailbox that began since then, by whomever, is enough after `wait` said CHANGED."""

    def looks_in(self) -> float:
        """Seconds until `wait` says CHANGED although there is no news."""

    def has_looked(self) -> bool:
        """Where that time is over: whether there is nothing for certain, so that nobody has to look; at once."""

    def close(self) -> None:
        """End the registration."""


class Places(Protocol):
    """Registrations for news of many things, each by a name; they count from their making on."""

    def add(self, name: str, paths: Sequence[str]) -> None:
        """Register for what happens at `paths`, `watched` of a mailbox or an account; in place of others."""

    def drop(self, name: str) -> None:
        """End that registration, if there is one."""

    def again(self, name: str, seconds: float) -> None:
        """Have the name among those of `changed` in so many seconds, though nothing happens there."""

    def changed(self) -> set[str]:
        """The names for which there may be news since they were asked for last; at once."""

    def close(self) -> None:
        """End all registrations."""


class Wire(Protocol):
    """One client's connection, as an engine sees it."""

    peer: str  # the client's IP address
    peer_port: int
    local: str  # the server's IP address
    local_port: int
    trusted: bool  # in `secure-networks`, or `allow-plain-text`: counts as TLS for passwords
    timeout: float  # seconds that `receive` waits for the client
    may_sleep: bool  # the engine can be called anew where it waits now: `receive` and `Watch.wait` may raise Dormant

    @property
    def secure(self) -> bool:
        """Whether TLS is in use."""

    def write(self, data: bytes) -> None:
        """Gather `data`; sends when 64 KiB have come together. Raises Disconnected if the client does not read."""

    def flush(self) -> None:
        """Send what was gathered."""

    def receive(self) -> bytes:
        """The next octets from the client, at most 64 KiB, after a flush.

        Raises Disconnected at the end of the stream, or when `timeout` is over; Dormant if `may_sleep`.
        """

    def start_tls(self) -> None:
        """Send what was gathered, throw away every octet received so far, and shake hands. Raises Disconnected."""

    @property
    def end_point(self) -> bytes:
        """`tls-server-end-point` of this connection's TLS, RFC 5929 4; empty: no TLS, or a certificate without one."""

    @property
    def exporter(self) -> bytes:
        """`tls-exporter` of this connection, RFC 9266; empty: it cannot be told."""

    @property
    def certified(self) -> tuple[str, ...]:
        """The users for whom the client has shown a certificate that is trusted; none: it has not."""

    @property
    def can_start_tls(self) -> bool:
        """A certificate is configured and TLS is not yet in use."""

    @property
    def can_compress(self) -> bool:
        """Compression may begin here: it is not in use, and the worker has room for one more."""

    @property
    def compressed(self) -> bool:
        """Whether compression is in use."""

    def start_compression(self) -> None:
        """Send what was gathered; from then on both directions are compressed, RFC 4978."""

    def stop_compression(self) -> None:
        """Send what was gathered; from then on neither direction is. Does nothing if they are not."""

    def watch(self, mailbox: Any, places: Places | None = None) -> Watch:
        """Register for news of `mailbox` (a `storage.api.Mailbox`), or of none if it is None; and of `places`."""

    def places(self) -> Places:
        """No registrations yet."""


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _nothing() -> None:
    return None


def direct() -> Runtime:
    """The runtime of tests and of the command line: no green threads, no pool."""
    return Runtime(blocking=_call, lock=threading.Lock, sleep=time.sleep, breathe=_nothing, now=time.time)


@contextlib.contextmanager
def sparing_collections(is_large: bool) -> Iterator[None]:
    """Within it no cycles are looked for: that visits each of a million objects at a stretch, and they form none.

    Two threads in it at once only mean that the first to leave lets the search begin again.
    """
    if not is_large:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
