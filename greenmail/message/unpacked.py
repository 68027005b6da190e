"""What is in a compressed message file, read like a file: unpacked as far as somebody asked.

Compressed octets can only be unpacked from their beginning. So that a slice of a large message costs that slice, what
was unpacked is held as long as the message is open, and by `Kept` a while longer for the next slice. Few octets are
held in memory; more in a file without a name in the temporary directory (TMPDIR), which goes with its descriptor.
"""

import io
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from greenmail.errors import Reason
from greenmail.message.compressed import Damaged, Kind, Stream

LARGEST = 1 << 28  # octets that a message may unpack to, unless its name says that it has more: a default
IN_MEMORY = 1 << 17
INLINE = 1 << 17  # octets that are unpacked at once without asking the pool

_MOST = 8  # that are kept
_MOST_OCTETS = 1 << 28  # of all of them together, unless it is one
_AGE = 300.0  # seconds

Key = tuple[int, int, int, int]  # of a file: device, inode, size, mtime


class Unpacked:
    """The octets of one file. Its descriptor belongs to it from now on. One thread at a time may use it."""

    def __init__(self, fd: int, kind: Kind, limit: int) -> None:
        self._fd = fd
        self._stream: Stream | None = Stream(fd, kind)
        self._memory = bytearray()
        self._spool: io.FileIO | None = None
        self._busy = threading.Lock()  # held by the thread that unpacks
        self._is_closed = False
        self._limit = limit
        self.is_slow = kind.is_slow
        self.octets = 0  # that are there
        self.checkpoints: Any = None  # for whoever reads it next; a `content.Checkpoints`
        self.trouble: tuple[Reason, str] | None = None  # why there are no more, although there should be

    @property
    def is_done(self) -> bool:
        """Nothing more will come."""
        return self._stream is None

    def wants(self, until: int) -> int:
        """How many octets have to be unpacked before so many are there."""
        return 0 if self._stream is None else max(until - self.octets, 0)

    def grow(self, until: int) -> None:
        """Unpack until so many octets are there, or no more can be had: see `trouble`."""
        with self._busy:
            while self._stream is not None and self.octets < until:
                self._take(self._stream)
        if self._is_closed:
            self.close()

    def _take(self, stream: Stream) -> None:
        try:
            piece = stream.next()
        except Damaged as damage:
            self._end(Reason.CORRUPT, f"The message is damaged on disk ({damage}).")
            return
        except OSError as error:
            self._end(Reason.UNAVAILABLE, f"The message cannot be read: {error.strerror}.")
            return
        if not piece:
            self._stream = None
            self._close_file()
        elif self.octets + len(piece) > self._limit:
            self._end(Reason.LIMIT, f"The message unpacks to more than {self._limit} octets.")
        else:
            self._hold(piece)

    def _end(self, reason: Reason, text: str) -> None:
        self.trouble = reason, text
        self._stream = None

    def _hold(self, piece: bytes) -> None:
        if self._spool is None and self.octets + len(piece) <= IN_MEMORY:
            self._memory += piece
        else:
            try:
                self._write(piece)
            except OSError as error:
                text = f"The message cannot be unpacked in the server's temporary directory: {error.strerror}."
                self._end(Reason.NO_SPACE, text)
                return
        self.octets += len(piece)

    def _write(self, piece: bytes) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - `close` closes it
            piece = bytes(self._memory) + piece
            self._memory.clear()
        left = memoryview(piece)
        while left:
            left = left[self._spool.write(left) :]

    def pread(self, length: int, offset: int) -> bytes:
        """Those octets that are there. Raises OSError."""
        length = max(min(length, self.octets - offset), 0)
        if self._spool is None:
            return bytes(self._memory[offset : offset + length])
        return os.pread(self._spool.fileno(), length, offset)

    def leave_file(self) -> None:
        """The descriptor stays with whoever gave it: the file is no compressed one."""
        self._fd = -1
        self.close()

    def close(self) -> None:
        """Give back file and room, now or when the thread that is at work has finished."""
        self._is_closed = True
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._stream = None
            self._close_file()
            if self._spool is not None:
                self._spool.close()
            self._memory.clear()
            self.octets = 0
        finally:
            self._busy.release()

    def _close_file(self) -> None:
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def is_worth_keeping(self) -> bool:
        """It is whole so far, took some work, and nobody is at it."""
        return self._spool is not None and self.trouble is None and not self._is_closed and not self._busy.locked()


@dataclass(slots=True)
class _Entry:
    unpacked: Unpacked
    since: float


class Kept:
    """Unpacked messages that nobody has open, for whoever asks for the next slice. Each has one user at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def take(self, key: Key) -> Unpacked | None:
        """What was kept of this file; it belongs to the caller now."""
        with self._lock:
            found = self._entries.pop(key, None)
        return found.unpacked if found is not None else None

    def keep(self, key: Key, unpacked: Unpacked) -> None:
        """For a while. Gives up the oldest if there are too many, or they are too large."""
        if not unpacked.is_worth_keeping:
            unpacked.close()
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self._entries[key] = _Entry(unpacked, self._now())
            given_up = [old] if old is not None else []
            while self._is_too_much():
                given_up.append(self._entries.popitem(last=False)[1])
        for entry in given_up:
            entry.unpacked.close()

    def _is_too_much(self) -> bool:
        if len(self._entries) < 2:
            return False
        octets = sum(entry.unpacked.octets for entry in self._entries.values())
        oldest = next(iter(self._entries.values()))
        return len(self._entries) > _MOST or octets > _MOST_OCTETS or self._now() - oldest.since > _AGE

    def close(self) -> None:
        """Give up everything."""
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            entry.unpacked.close()


def _directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class Unpacking(NamedTuple):
    """What unpacking needs from outside. `offload(function, *args)` runs long work in the pool."""

    offload: Callable[..., Any] = _directly
    kept: Kept | None = None
    label: bytes = b""  # the file's name, for the log
    largest: int = LARGEST
