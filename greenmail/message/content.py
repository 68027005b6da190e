"""The octets of one message with CRLF line ends, whatever its file has; and the way back for APPEND.

A Maildir file may have LF, CRLF or mixed line ends (`formats.md` 1.4). What clients see always has CRLF: a LF that no
CR stands before is sent as CRLF; a lone CR stays, and no line end is added at the end of the file.

    file    a LF  b CR LF  c CR d        octets    a CR LF  b CR LF  c CR d

`FileContent` finds a place in that stream without reading what lies before it: for a file that has CRLF only the two
offsets are the same; for others `Checkpoints` hold the octet offset of every 64 KiB of the file. They are made while
reading forward, so that the first slice of a message costs that slice and every later one costs its own length. A file
never changes, so a caller may keep the `checkpoints` of one `FileContent` and give them to the next one of that file.
Small files, which is what most mail is, are read once as a whole.
"""

import os
import re
from array import array
from bisect import bisect_right

from greenmail.errors import Reason, StorageError

BLOCK = 65536  # octets of file that are read at once
FIRST = 8192  # most headers fit into this
SMALL = 1 << 17  # a file up to here is read at once
_CRLF_AFTER_OTHER = re.compile(rb"(?<!\r)\r\n")
_HEADER_END = re.compile(rb"\n\r?\n")


class Checkpoints:
    """`starts[n]` is the octet offset of file offset `n * BLOCK`; `complete` once the file's end was reached."""

    __slots__ = ("after_cr", "complete", "size", "starts")

    def __init__(self) -> None:
        self.starts = array("q", [0])
        self.after_cr = bytearray(b"\0")  # for each block: whether the octet before it is a CR
        self.complete = False
        self.size = 0  # octets in all, once complete

    def add(self, block: bytes) -> None:
        """Take up the file's next block; one shorter than BLOCK is its last."""
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
        return self._data[max(start, 0) : self.size if end is None else max(end, 0)]

    def header(self) -> bytes:
        """The header with the empty line that ends it; all of it if there is no such line."""
        end = header_end(self._data)
        return self._data if end < 0 else self._data[:end]

    def close(self) -> None:
        self._data = b""
        self.size = 0


class FileContent:
    """A `storage.api.Content` over an open file, which belongs to it from now on.

    `crlf_size` is what a file name or a table claims (-1: unknown). It is believed only if `disk_size`, the claim
    about the file's size, is right: then nothing is read before it is asked for. Otherwise the file is read once here,
    so a caller has this made in the pool if the file is large. A false claim that comes out in
    reading corrects `size`.
    `checkpoints` of the same file are used if they are complete: only then two threads may share them.
    """

    __slots__ = ("_all_crlf", "_disk", "_fd", "_whole", "checkpoints", "size")

    def __init__(
        self, fd: int, crlf_size: int = -1, disk_size: int = -1, checkpoints: Checkpoints | None = None
    ) -> None:
        self._fd = fd
        self.checkpoints = checkpoints if checkpoints and checkpoints.complete else Checkpoints()
        try:
            self._disk = os.fstat(fd).st_size
        except OSError as error:
            raise _unreadable(error) from error
        self._all_crlf = False
        self._whole: bytes | None = None  # all octets of a small file, once they were asked for
        if self.checkpoints.complete:
            self.size = self.checkpoints.size
        elif crlf_size >= 0 and disk_size == self._disk and self._disk <= crlf_size <= 2 * self._disk:
            self.size = crlf_size
        elif self._disk <= SMALL:
            self._take_whole()
        else:
            self.size = self._count()
        self._all_crlf = self.size == self._disk

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Octets `start` up to but not including `end`, cut at the message's end. Raises UNAVAILABLE."""
        start = max(start, 0)
        if self._whole is None and self._disk <= SMALL:
            self._take_whole()
        if self._whole is not None:
            return self._whole[start : None if end is None else max(end, 0)]
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
            more = self._pread(len(data), step)
            looked = max(len(data) - 2, 0)
            data += more
            if data.startswith((b"\n", b"\r\n")):
                return b"\r\n"
            if empty := _HEADER_END.search(data, looked):
                return to_crlf(data[: empty.end()])
            if len(more) < step:
                return to_crlf(data)
            step = min(step * 2, 16 * BLOCK)

    def _take_whole(self) -> None:
        try:
            data = os.pread(self._fd, self._disk, 0)
        except OSError as error:
            raise _unreadable(error) from error
        self._whole = to_crlf(data if len(data) == self._disk else self._pread(0, self._disk))
        self.size = len(self._whole)

    def close(self) -> None:
        """Give back the file. Nothing can be read afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._whole = None

    def _read_converted(self, start: int, end: int | None) -> bytes:
        number = self._block_of(start)
        if number < 0:
            return b""
        points = self.checkpoints
        skip = start - points.starts[number]
        wanted = None if end is None else end - points.starts[number]
        pieces: list[bytes] = []
        have = 0
        while wanted is None or have < wanted:
            block = self._pread(number * BLOCK, BLOCK)
            if not points.complete and number == len(points.starts) - 1:
                points.add(block)
                self._correct()
            pieces.append(to_crlf(block, bool(points.after_cr[number])))
            have += len(pieces[-1])
            number += 1
            if len(block) < BLOCK or number >= len(points.starts):
                break
        return b"".join(pieces)[skip:wanted]

    def _block_of(self, start: int) -> int:
        """The number of the block that octet `start` is in; -1 if the message ends before it."""
        points = self.checkpoints
        while not points.complete and points.starts[-1] <= start:
            points.add(self._pread((len(points.starts) - 1) * BLOCK, BLOCK))
        self._correct()
        if points.complete and start >= points.size:
            return -1
        return bisect_right(points.starts, start) - 1

    def _count(self) -> int:
        points = self.checkpoints
        while not points.complete:
            points.add(self._pread((len(points.starts) - 1) * BLOCK, BLOCK))
        return points.size

    def _correct(self) -> None:
        if self.checkpoints.complete:
            self.size = self.checkpoints.size

    def _pread(self, offset: int, length: int) -> bytes:
        """Up to `length` octets of the file: fewer only at its end."""
        pieces: list[bytes] = []
        try:
            while length > 0:
                piece = os.pread(self._fd, length, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        except OSError as error:
            raise _unreadable(error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ToDisk:
    """Message octets on their way to the disk: CRLF becomes LF, lone CR and lone LF stay. `formats.md` 1.4.

    CR CR LF stays whole: it is CR and a line end, and as CR LF on disk it would come back without the first CR.
    `disk_size` and `crlf_size` count what was given out: they are the name's `,S=` and `,W=`.
    """

    __slots__ = ("_after_cr", "_held", "_out_after_cr", "crlf_size", "disk_size")

    def __init__(self) -> None:
        self.disk_size = 0
        self.crlf_size = 0
        self._held = b""  # a CR at the end of the last piece: what follows it decides
        self._after_cr = False  # the octet before `_held`, or before the next piece, is a CR
        self._out_after_cr = False

    def feed(self, data: bytes) -> bytes:
        """What of the octets so far can be written now."""
        if not data:
            return b""
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        if not data:
            return b""
        lead = b""
        last_cr = data.endswith(b"\r")
        if self._after_cr and data.startswith(b"\r\n"):
            lead, data = b"\r\n", data[2:]
        self._after_cr = last_cr
        whole = b"\r\r\n" in data
        data = _CRLF_AFTER_OTHER.sub(b"\n", data) if whole else data.replace(b"\r\n", b"\n")
        return self._counted(lead + data)

    def end(self) -> bytes:
        """The rest, after the last octet was fed."""
        held, self._held = self._held, b""
        return self._counted(held)

    def _counted(self, out: bytes) -> bytes:
        if out:
            self.disk_size += len(out)
            self.crlf_size += len(out) + bare_line_feeds(out, self._out_after_cr)
            self._out_after_cr = out.endswith(b"\r")
        return out


def sizes(fd: int) -> tuple[int, int]:
    """(octets on disk, octets with CRLF line ends) of an open file, by counting. Raises OSError."""
    disk = crlf = 0
    after_cr = False
    while block := os.pread(fd, BLOCK, disk):
        crlf += len(block) + bare_line_feeds(block, after_cr)
        disk += len(block)
        after_cr = block.endswith(b"\r")
    return disk, crlf


def crlf_size(fd: int) -> int:
    """RFC822.SIZE of an open file, by counting. Raises OSError."""
    return sizes(fd)[1]


def bare_line_feeds(data: bytes, after_cr: bool = False) -> int:
    """The number of LFs that no CR stands before; `after_cr`: a CR stands before `data`."""
    shared = 1 if after_cr and data.startswith(b"\n") else 0
    if b"\r" not in data:  # one octet is found much faster than two
        return data.count(b"\n") - shared
    return data.count(b"\n") - data.count(b"\r\n") - shared


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
