"""`greenmail.log`: what happened in a mailbox since the snapshot, one record a change.

    journal = "GMLOG001" *record
    record = length crc32 payload

`length` and `crc32` (of the payload) are little-endian 32 bit; a payload is a JSON object. The first record is the
header: `ident` (random, names this journal), `previous` (the ident of the journal that this one continues, or "").

Only the holder of the mailbox's locks appends, and only when it has read everything before; so the records of all
processes stand in one order. A crash leaves at most one broken record, at the end: readers stop before it, the next
lock holder cuts it off. A journal ends by being replaced (rename) or removed; its readers see st_nlink 0, read the rest
through the descriptor they have, and go on in the file that has their ident as `previous`, or take the snapshot anew.
There is no fsync: what is lost in a power cut is found again by listing the Maildir.
"""

import errno
import json
import logging
import os
import secrets
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from greenmail.storage.filesystem import Files, Ownership, is_stale
from greenmail.storage.snapshot import replace_cache_file

log = logging.getLogger(__name__)

MAGIC = b"GMLOG001"
_HEAD = struct.Struct("<II")
MAX_RECORD = 64 << 20
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # made once: `dumps` makes one a call

Batch = dict[str, Any]


def new_ident() -> str:
    return secrets.token_hex(16)


def pack(batch: Batch) -> bytes:
    """One record."""
    payload = _encode(batch).encode()
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def unpack(data: bytes) -> tuple[list[Batch], int]:
    """The whole records at the start of `data`, and how many octets they take."""
    batches: list[Batch] = []
    place = 0
    while len(data) - place >= _HEAD.size:
        length, crc = _HEAD.unpack_from(data, place)
        end = place + _HEAD.size + length
        if not 2 <= length <= MAX_RECORD or end > len(data):  # zeros, as a power cut leaves them, are no record
            break
        payload = data[place + _HEAD.size : end]
        if zlib.crc32(payload) != crc:
            break
        try:
            batch = json.loads(payload)
        except (ValueError, RecursionError):
            break
        if not isinstance(batch, dict):
            break
        batches.append(batch)
        place = end
    return batches, place


class Journal:
    """An open journal, read up to `offset`."""

    def __init__(self, files: Files, fd: int, header: Batch, offset: int) -> None:
        self._files = files
        self._fd = fd
        self.ident: str = header["ident"]
        self.previous: str = header["previous"]
        self.start = offset  # where the header ends
        self.offset = offset
        self.records = 0

    def state(self, path: bytes = b"") -> tuple[bool, bool]:
        """(there is more to read, it was replaced or removed); one fstat.

        `path` is given where an open file that was replaced keeps a name (`mounts`): then that path is looked at, too.
        """
        try:
            found = self._files.glance_at(self._fd)
            replaced = found.st_nlink == 0 or bool(path and not self._is_at(path, found))
        except OSError as error:
            if not is_stale(error):
                raise
            return False, True
        return found.st_size != self.offset, replaced

    def is_as_read(self) -> bool:
        """Whether `state` would find nothing, on a local disk. Raises OSError."""
        found = self._files.glance_at(self._fd)
        return found.st_size == self.offset and found.st_nlink != 0

    def complete(self) -> tuple[int, int, int] | None:
        """Device, inode and size of the file, if it was read to its end and stands at its path."""
        found = self._files.glance_at(self._fd)
        is_read = found.st_size == self.offset and found.st_nlink
        return (found.st_dev, found.st_ino, found.st_size) if is_read else None

    def _is_at(self, path: bytes, mine: os.stat_result) -> bool:
        try:
            found = self._files.stat(path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def read(self) -> list[Batch]:
        """The whole records that follow; none if another machine has removed the file."""
        try:
            size = self._files.glance_at(self._fd).st_size
            if size <= self.offset:
                return []
            data = self._files.pread(self._fd, size - self.offset, self.offset)
        except OSError as error:
            if not is_stale(error):
                raise
            return []
        batches, taken = unpack(data)
        self.offset += taken
        self.records += len(batches)
        return batches

    def seek(self, offset: int) -> bool:
        """Go on reading at `offset`; False if the file is shorter than that."""
        self.offset = max(offset, self.start)
        return self._files.fstat(self._fd).st_size >= offset

    def append(self, batches: Iterable[Batch]) -> None:
        """Write records behind everything there is. The caller holds the locks and has read to the end.

        A broken record at the end is cut off first. Raises OSError; what was written of the records is cut off then.
        """
        if self._files.fstat(self._fd).st_size > self.offset:
            self._files.truncate(self._fd, self.offset)
        written = list(batches)
        data = b"".join(pack(batch) for batch in written)
        try:
            self._files.write_all(self._fd, data)
        except OSError:
            self._files.truncate(self._fd, self.offset)
            raise
        self.offset += len(data)
        self.records += len(written)

    def close(self) -> None:
        if self._fd >= 0:
            self._files.close_quietly(self._fd)
            self._fd = -1


def open_journal(files: Files, path: bytes) -> Journal | None:
    """The journal at `path`, at its first record; None if there is none, or none that can be read."""
    for flags in (os.O_RDWR | os.O_APPEND, os.O_RDONLY):
        try:
            fd = files.open(path, flags)
            break
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None
    else:
        return None
    try:
        data = files.pread(fd, 4096, 0)
    except OSError as error:
        log.warning("journal path=%r error=%s", path, error)
        data = b""
    batches, _ = unpack(data[len(MAGIC) :]) if data.startswith(MAGIC) else ([], 0)
    if not batches or not all(isinstance(batches[0].get(key), str) for key in ("ident", "previous")):
        files.close_quietly(fd)
        return None
    # Not `pack` of it: JSON can be spelled in several ways.
    return Journal(files, fd, batches[0], len(MAGIC) + _HEAD.size + _HEAD.unpack_from(data, len(MAGIC))[0])


def create(files: Files, path: bytes, ident: str, previous: str, owner: Ownership) -> None:
    """Put a new journal in the place of the one at `path`. Raises OSError."""
    header = pack({"ident": ident, "previous": previous})
    replace_cache_file(files, path, [MAGIC + header], owner)
