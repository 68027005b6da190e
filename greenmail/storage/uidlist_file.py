"""The file `dovecot-uidlist` as it is on disk: what tells that it is another one, and names searched in its text.

A long list is not taken apart for a few names: `uidlist_format.find` finds them in its octets.
"""

import logging
import os
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from greenmail.storage.filesystem import Files

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_TAIL = 1 << 16  # octets in which the last line is looked for


class Refreshed(Enum):
    """What `Uidlist.refresh` found."""

    UNCHANGED = "as it was"
    APPENDED = "only new lines behind the old ones"
    REREAD = "another file: everything may be different"
    MISSING = "no such file; what was known before is still known"


class Seen(NamedTuple):
    """The file as it was when it was last read or written."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Seen":
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def same_file(self, other: "Seen") -> bool:
        return (self.device, self.inode) == (other.device, other.inode)

    def read(self, files: Files, path: bytes, size: int, last_line: bytes) -> bytes | None:
        """The first `size` octets, which end with `last_line`; None if this file is not there any more."""
        try:
            descriptor = files.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            found = Seen.of(files.fstat(descriptor))
            if not self.same_file(found) or found.size < size:
                return None
            data = files.read_from(descriptor, 0)[:size]
        finally:
            files.close_quietly(descriptor)
        return data if data.endswith(last_line) else None


@dataclass(frozen=True, slots=True)
class Ends:
    """What can be told of a file without taking it apart."""

    first: bytes  # line
    last: bytes  # line; empty if it has no end
    lines: int


def read_ends(files: Files, descriptor: int) -> Ends:
    """Of an open file, read in pieces: no other thread can run while 100 MB are put together."""
    first, tail, lines, offset = b"", b"", 0, 0
    while piece := files.pread(descriptor, _PIECE, offset):
        first = first or piece[: piece.find(b"\n") + 1]
        tail = (tail + piece)[-_TAIL:]
        lines += piece.count(b"\n")
        offset += len(piece)
    before = tail.rfind(b"\n", 0, -1)
    return Ends(first, tail[before + 1 :] if before >= 0 and tail.endswith(b"\n") else b"", lines)


def append(files: Files, path: bytes, seen: Seen, data: bytes) -> Seen | None:
    """Write behind the end, durably; what the file is then. None: it is not as it was seen, or not ours to append to.

    If it fails with OSError the file is as it was, as far as that can be done: others ignore a line without its end,
    but would append to it.
    """
    try:
        descriptor = files.open(path, os.O_WRONLY | os.O_APPEND)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        if Seen.of(files.fstat(descriptor)) != seen:
            return None
        try:
            files.write_all(descriptor, data)
            files.fdatasync(descriptor)
        except OSError:
            _take_back(files, descriptor, path, seen.size)
            raise
        return Seen.of(files.fstat(descriptor))
    finally:
        files.close(descriptor)


def _take_back(files: Files, descriptor: int, path: bytes, size: int) -> None:
    try:
        files.truncate(descriptor, size)
    except OSError as error:
        log.error("uidlist-truncate path=%r error=%s", path, error)
