"""The octets of one message with CRLF line ends, whatever its file has. The way back is `to_disk`.

A Maildir file may have LF, CRLF or mixed line ends (`formats.md` 1.4). What clients see always has CRLF: a LF that no
CR stands before is sent as CRLF; a lone CR stays, and no line end is added at the end of the file.

    file    a LF  b CR LF  c CR d        octets    a CR LF  b CR LF  c CR d

`FileContent` finds a place in that stream without reading what lies before it: for a file that has CRLF only the two
offsets are the same; for others `Checkpoints` hold the octet offset of every 64 KiB of the file. They are made while
reading forward, so that the first slice of a message costs that slice and every later one costs its own length. A file
never changes, so a caller may keep the `checkpoints` of one `FileContent` and give them to the next one of that file.
Small files, which is what most mail is, are read once as a whole.

A compressed file (`message.compressed`) is seen by its first octets when they are read, and read unpacked from then on:
all of the above is about the octets in it. A plain file costs no read more for that, unless a large one is read from
its middle on first.
"""

import logging
import os
import re
from array import array
from bisect import bisect_right
from io import BytesIO

from greenmail.errors import Reason, StorageError
from greenmail.message.compressed import MAGIC, Kind, kind_of, reads_like_text
from greenmail.message.turn import turn
from greenmail.message.unpacked import INLINE, Key, Unpacked, Unpacking

log = logging.getLogger(__name__)

BLOCK = 65536  # octets of file that are read at once
FIRST = 8192  # most headers fit into this
SMALL = 1 << 17  # a file up to here is read at once
STEP = BLOCK  # octets that are looked through before others get their turn
_HEADER_END = re.compile(rb"\n\r?\n")
_DIRECT = Unpacking()
_ALL = 1 << 62  # octets


class Checkpoints:
    """`starts[n]` is the octet offset of file offset `n * BLOCK`; `complete` once the file's end was reached."""

    __slots__ = ("after_cr", "complete", "size", "starts")

    def __init__(self) -> None:
        self.starts = array("q", [0])
        self.after_cr = bytearray(b"\0")  # for each block: whether the octet before it is a CR
        self.complete = False
        self.size = 0  # octets in all, once complete

    def add(self, block: bytes, octets: int = -1) -> None:
        """Take up the file's next block; one shorter than BLOCK is its last. `octets`: how many it has, if known."""
        if octets < 0:
            octets = len(block) + bare_line_feeds(block, bool(self.after_cr[-1]))
        if len(block) < BLOCK:
            self.complete = True
            self.size = self.starts[-1] + octets
            return
        self.starts.append(self.starts[-1] + octets)
        self.after_cr.append(block.endswith(b"\r"))


class BytesContent:
    """A `storage.api.Content` over octets in memory."""

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = to_crlf(data)
        self.size = len(self._data)

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Octets `start` up to but not including `end`, cut at the message's end."""
        start = max(start, 0)
        # Compiled, a slice may not end before it begins: docs/decisions/0016-compiled-modules.md
        return self._data[start : self.size if end is None else max(start, end)]

    def header(self) -> bytes:
        """The header with the empty line that ends it; all of it if there is no such line."""
        end = header_end(self._data)
        return self._data if end < 0 else self._data[:end]

    def check(self) -> None:
        """Nothing can go wrong."""

    def close(self) -> None:
        self._data = b""
        self.size = 0


class FileContent:
    """A `storage.api.Content` over an open file, which belongs to it from now on, also if this raises UNAVAILABLE.

    `crlf_size` is what a file name or a table claims (-1: unknown). It is believed only if `disk_size`, the claim
    about the file's size, is right: then nothing is read before it is asked for. Otherwise the file is looked into
    here, so a caller has this made in the pool if the file is large. A false claim that comes out in reading corrects
    `size`. Claims about a compressed file are about what is in it.
    `checkpoints` of the same file are used if they are complete: only then two threads may share them.
    `found` is what fstat says of the file, if the caller has asked already.
    """

    __slots__ = (
        "_all_crlf", "_claims", "_disk", "_fd", "_is_known", "_is_settled", "_key", "_last", "_left", "_points",
        "_unpacked", "_unpacking", "_whole", "size",
    )  # fmt: skip

    def __init__(
        self,
        fd: int,
        crlf_size: int = -1,
        disk_size: int = -1,
        checkpoints: Checkpoints | None = None,
        unpacking: Unpacking = _DIRECT,
        found: os.stat_result | None = None,
    ) -> None:
        self._fd = fd
        self._claims = crlf_size, disk_size
        self._unpacking = unpacking
        self._unpacked: Unpacked | None = None  # of a compressed file, once it is known as one
        self._is_settled = False  # all of it is unpacked, and `_disk` is right
        self._points = checkpoints if checkpoints is not None and checkpoints.complete else None
        self._is_known = self._points is not None  # whether it is compressed: callers keep checkpoints of plain files
        self._whole: bytes | None = None  # all octets of a small file, once they were asked for
        self._last = -1, b""  # number and octets of the block that was read last
        self._left = b""  # what can be had of a small compressed file that is damaged
        self.size = -1
        is_open = False
        try:
            self._open(crlf_size, disk_size, found)
            is_open = True
        finally:
            if not is_open:
                self.close()

    @property
    def checkpoints(self) -> Checkpoints:
        """What is known of the line ends of a large file; nothing is made for others."""
        if self._points is None:
            self._points = Checkpoints()
        return self._points

    def _open(self, crlf_size: int, disk_size: int, found: os.stat_result | None) -> None:
        try:
            found = found or os.fstat(self._fd)
        except OSError as error:
            raise _unreadable(error) from error
        self._key: Key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        self._disk = found.st_size  # of a compressed file: octets in it
        if self._points is not None:  # then they are complete
            self.size = self._points.size
        elif disk_size == self._disk and self._fits(crlf_size):
            self.size = crlf_size
        else:
            self._find_size(disk_size)
        self._all_crlf = self.size == self._disk

    def _fits(self, crlf_size: int) -> bool:
        return 0 <= self._disk <= crlf_size <= 2 * self._disk

    def _find_size(self, disk_size: int) -> None:
        if disk_size not in (-1, self._disk):
            self._look()  # a wrong name, or a compressed file
        if self._disk <= SMALL:
            self._take_whole()
        self._look()
        if self.size < 0:
            self.size = self._count()

    @property
    def is_compressed(self) -> bool:
        """As far as was looked."""
        return self._unpacked is not None

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Octets `start` up to but not including `end`, cut at the message's end. Raises UNAVAILABLE, CORRUPT."""
        start = max(start, 0)
        if self._whole is None and self._disk <= SMALL:
            self._read_small(end)
        if self._whole is not None:
            return self._whole[start : None if end is None else max(end, 0)]
        if self._left and end is not None and end < len(self._left):
            return self._left[start : max(start, end)]  # as in BytesContent
        self._look()
        if self._unpacked is not None and (end is None or end >= self.size):
            self._reach(_ALL)  # then sizes are right
        if self._all_crlf:
            data = self._pread(start, (self._disk if end is None else end) - start)
            if not bare_line_feeds(data, start > 0 and data[:1] == b"\n" and self._pread(start - 1, 1) == b"\r"):
                return data
            self._all_crlf = False  # the claim was false
            self.size = self._count()
        if end is not None and start >= end:
            return b""
        return self._read_converted(start, end)

    def header(self) -> bytes:
        """The header with the empty line that ends it; all of it if there is no such line. Reads no body."""
        if self._whole is not None:
            end = header_end(self._whole)
            return self._whole if end < 0 else self._whole[:end]
        data = b""
        step = FIRST
        while True:
            more = self._pread(len(data), step, whole=False)
            looked = max(len(data) - 2, 0)
            data += more
            if data.startswith((b"\n", b"\r\n")):
                return b"\r\n"
            if empty := _HEADER_END.search(data, looked):
                return to_crlf(data[: empty.end()])
            if len(more) < step:
                self._pread(len(data), 1)  # which raises if there should be more
                return to_crlf(data)
            step = min(step * 2, 16 * BLOCK)

    def check(self) -> None:
        """Raises what a compressed file that is damaged would raise in the midst of reading."""
        self._look()
        if self._unpacked is not None:
            self._reach(_ALL)
            if self._unpacked.trouble is not None:
                raise StorageError(*self._unpacked.trouble)

    def close(self) -> None:
        """Give back the file. Nothing can be read afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        unpacked, self._unpacked = self._unpacked, None
        if unpacked is not None:
            self._disk = 0
            if self._unpacking.kept is None:
                unpacked.close()
            else:
                unpacked.checkpoints = self.checkpoints
                self._unpacking.kept.keep(self._key, unpacked)
        self._whole = None
        self._last = -1, b""

    def _read_small(self, end: int | None) -> None:
        """All of a small file, or of what is in it; of a damaged one if `end` is before the damage."""
        self._take_whole()
        if self._unpacked is not None and self._whole is None:
            self._take_unpacked(end)

    def _take_whole(self) -> None:
        """All of a small file; it may turn out to be compressed."""
        if self._unpacked is not None:
            return
        data = self._pread_file(0, self._disk)
        if self._look(data) is None:
            self._whole = to_crlf(data)
            self.size = len(self._whole)

    def _take_unpacked(self, end: int | None) -> None:
        """The same of a compressed one; of a damaged one if `end` is before the damage."""
        self._reach(_ALL)
        if self._disk > SMALL or self._unpacked is None:
            return
        octets = to_crlf(self._pread(0, self._disk, whole=False))
        if self._unpacked.trouble is None:
            self._whole = octets
            self.size = len(octets)
        elif end is None or end >= len(octets):
            raise StorageError(*self._unpacked.trouble)
        else:
            self._left = octets

    # Compressed files

    def _look(self, head: bytes | None = None) -> Unpacked | None:
        """What is in the file if it is compressed; `head`: its first octets, if they were read."""
        if not self._is_known:
            self._is_known = True
            kind = kind_of(self._pread_file(0, MAGIC) if head is None else head)
            if kind is not None:
                self._unpack(kind)
        return self._unpacked

    def _unpack(self, kind: Kind) -> None:
        """Read what is in the file from now on, unless it only begins like a compressed one."""
        crlf_size, disk_size = self._claims
        kept = self._unpacking.kept
        unpacked = kept.take(self._key) if kept is not None else None
        is_kept = unpacked is not None
        if unpacked is None:
            unpacked = Unpacked(self._fd, kind, max(disk_size, self._unpacking.largest))
        self._grow(unpacked, 1)
        is_empty = not unpacked.octets and unpacked.trouble is not None
        if is_empty and reads_like_text(self._pread_file(0, FIRST)):
            unpacked.leave_file()
            return
        if is_kept:
            os.close(self._fd)
        self._fd = -1
        self._unpacked = unpacked
        self._points = unpacked.checkpoints
        self._disk = disk_size
        if not self._fits(crlf_size) or disk_size == self._key[2]:  # what is claimed is not about what is in it
            self._disk = -1
            self._reach(_ALL)
        self.size = crlf_size if self._fits(crlf_size) else self._count()
        self._all_crlf = self.size == self._disk

    def _reach(self, until: int) -> None:
        """Have the file unpacked up to there; all of it, if that is where it is said to end."""
        unpacked = self._unpacked
        assert unpacked is not None
        if until >= self._disk:  # whether that is right shows behind it
            if self._key[2] <= INLINE:
                self._grow(unpacked, INLINE)  # most messages are small, and the pool need not be asked
            until = _ALL
        self._grow(unpacked, until)
        if unpacked.is_done and not self._is_settled:
            self._is_settled = True
            self._settle(unpacked)

    def _settle(self, unpacked: Unpacked) -> None:
        """All that can be had is there: say what is wrong, and know the size."""
        if unpacked.trouble is not None:
            reason, text = unpacked.trouble
            log.error("compressed file=%r reason=%s error=%r", self._unpacking.label, reason.name, text)
        if self._disk < 0:
            self._disk = unpacked.octets
        elif unpacked.trouble is None and unpacked.octets != self._disk:
            log.warning("wrong-size file=%r claimed=%d real=%d", self._unpacking.label, self._disk, unpacked.octets)
            self._disk = unpacked.octets
            self._points = None
            self._last = -1, b""
            self.size = self._count()
            self._all_crlf = self.size == self._disk

    def _grow(self, unpacked: Unpacked, until: int) -> None:
        """Have so much unpacked; what may take long in the pool."""
        wanted = unpacked.wants(until)
        if wanted and (unpacked.is_slow or wanted > INLINE):
            self._unpacking.offload(unpacked.grow, until)
        elif wanted:
            unpacked.grow(until)

    def _pread(self, offset: int, length: int, whole: bool = True) -> bytes:
        """Up to `length` octets of the file, or of what is in it: fewer only at its end.

        `whole`: raises CORRUPT if there are fewer because the file is damaged.
        """
        unpacked = self._unpacked
        if unpacked is None:
            data = self._pread_file(offset, length)
            unpacked = self._look(data if offset == 0 and length >= MAGIC else None)
            if unpacked is None:
                return data
        self._reach(offset + length)
        trouble = unpacked.trouble
        if whole and trouble is not None and offset + length >= unpacked.octets:
            raise StorageError(*trouble)
        try:
            return unpacked.pread(length, offset)
        except OSError as error:
            raise _unreadable(error) from error

    def _pread_file(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        try:
            piece = os.pread(self._fd, max(length, 0), offset)  # also nothing: what is no file says so
            while piece:
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
                piece = os.pread(self._fd, length, offset) if length > 0 else b""
        except OSError as error:
            raise _unreadable(error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # Line ends

    def _read_converted(self, start: int, end: int | None) -> bytes:
        number = self._block_of(start)
        if number < 0:
            return b""
        place = self.checkpoints.starts[number]
        # It grows, and gives what it has: to join the pieces of a large message would be one long step.
        gathered = BytesIO()
        while end is None or place < end:
            piece = self._block(number)
            gathered.write(piece[max(start - place, 0) : None if end is None else end - place])
            place += len(piece)
            number += 1
            if number >= len(self.checkpoints.starts):  # others than before, if a claim turned out to be false
                break
        return gathered.getvalue()

    def _block(self, number: int) -> bytes:
        """A block of the file as octets. The last one is kept: the next slice begins in it, where this one ended."""
        if number == self._last[0]:
            return self._last[1]
        points = self.checkpoints
        block = self._pread(number * BLOCK, BLOCK)
        piece = to_crlf(block, bool(points.after_cr[number]))
        if not points.complete and number == len(points.starts) - 1:
            points.add(block, len(piece))
            self._correct()
        self._last = number, piece
        return piece

    def _block_of(self, start: int) -> int:
        """The number of the block that octet `start` is in; -1 if the message ends before it."""
        points = self.checkpoints
        while not points.complete and points.starts[-1] < start:
            points.add(self._pread((len(points.starts) - 1) * BLOCK, BLOCK))
        self._correct()
        if points.complete and start >= points.size:
            return -1
        return bisect_right(points.starts, start) - 1

    def _count(self) -> int:
        """The size with CRLF line ends; of a damaged file that of what is left."""
        points = self.checkpoints
        while not points.complete:
            points.add(self._pread((len(points.starts) - 1) * BLOCK, BLOCK, whole=False))
        return points.size

    def _correct(self) -> None:
        if self.checkpoints.complete:
            self.size = self.checkpoints.size


def line_feeds(data: bytes, start: int, end: int) -> int:
    """The number of LFs between two offsets, the first one first; in a third of the time of `count`.

    That compares octet by octet (up to Python 3.12), and to remove one octet the interpreter jumps from each to the
    next. Where lines are shorter than twenty octets it takes longer, up to 8 ns an octet.
    """
    piece = data[start:end]
    return len(piece) - len(piece.replace(b"\n", b""))


def bare_line_feeds(data: bytes, after_cr: bool = False) -> int:
    """The number of LFs that no CR stands before; `after_cr`: a CR stands before `data`."""
    found = -1 if after_cr and data.startswith(b"\n") else 0
    for start in range(0, len(data), STEP):
        end = start + STEP
        found += line_feeds(data, start, end)
        if data.find(b"\r", max(start - 1, 0), end) >= 0:  # one octet is found much faster than two
            found -= data.count(b"\r\n", max(start - 1, 0), end)
        turn()
    return found


def to_crlf(data: bytes, after_cr: bool = False) -> bytes:
    """`data` with CR before every bare LF; `after_cr`: a CR stands before `data`."""
    if after_cr and data.startswith(b"\n"):
        return b"\n" + to_crlf(data[1:])
    if b"\r" not in data:
        return data.replace(b"\n", b"\r\n")
    if not bare_line_feeds(data):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def header_end(data: bytes, looked: int = 0) -> int:
    """The offset behind the empty line that ends the header, -1 if there is none; `looked`: search from here."""
    if data.startswith(b"\r\n"):
        return 2
    place = data.find(b"\r\n\r\n", looked)
    return -1 if place < 0 else place + 4


def _unreadable(error: OSError) -> StorageError:
    return StorageError(Reason.UNAVAILABLE, f"message cannot be read: {error.strerror}")
