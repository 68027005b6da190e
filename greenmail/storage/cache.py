"""`greenmail.cache`: what was worked out of messages, so that their files need not be read again.

    cache  = "GMCACHE1" generation owner *record
    record = uid kind length crc32 data

`generation` (16 random octets) names this file, `owner` (16 octets) the mailbox and its UIDVALIDITY. A record's fields
are little-endian: uid 32 bit, kind 32 bit (`api.CacheKind`), length 32 bit, and the CRC of the three and the data.

Anybody may append at any time without a lock: one write with O_APPEND a record. Nothing is ever changed, and the file
is never truncated: another process may be reading it. A record cut short (full disk, crash) ends what can be found;
`rewrite` then makes a new file of another generation and puts it in the place of the old one. A reader of the old file
finds st_nlink 0 and opens the new one. What was written into the old one meanwhile is lost, as a cache may be.

To find records, the file is scanned once; where they are is kept in two sorted columns (saved with the snapshot) and a
dictionary of what came since.
"""

import hashlib
import os
import secrets
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator

from greenmail.storage.api import CacheKind
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.snapshot import replace_cache_file

MAGIC = b"GMCACHE1"
HEADER = len(MAGIC) + 32
_RECORD = struct.Struct("<IIII")
_CRC_OF = struct.Struct("<III")
_KIND_BITS = 8
MAX_DATA = 16 << 20  # longer values are not kept
_SCAN = 1 << 20  # octets read at once while scanning


def owner_of(mailbox_id: str, uidvalidity: int) -> bytes:
    """What the header says of the mailbox: UIDs of another UIDVALIDITY are other messages."""
    return hashlib.sha256(f"{mailbox_id} {uidvalidity}".encode()).digest()[:16]


def _key(uid: int, kind: int) -> int:
    return uid << _KIND_BITS | kind


def _crc(uid: int, kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_CRC_OF.pack(uid, kind, len(data))))


def _record(uid: int, kind: int, data: bytes) -> bytes:
    return _RECORD.pack(uid, kind, len(data), _crc(uid, kind, data)) + data


class Cache:
    """The cache file of one mailbox; missing, damaged or unwritable, it is only slower."""

    def __init__(self, files: Files, path: bytes, owner: bytes, ownership: Ownership) -> None:
        self._files = files
        self._path = path
        self._owner = owner
        self._ownership = ownership
        self._fd = -1
        self._scanned = 0
        self._is_broken = False
        self.generation = b""
        self.keys: array[int] = array("Q")  # of the saved part, ascending
        self.places: array[int] = array("Q")
        self._recent: dict[int, int] = {}

    def restore(self, generation: bytes, keys: "array[int]", places: "array[int]", scanned: int) -> None:
        """Take over what the snapshot knows of the file, if it is of the generation that is there."""
        self._open()
        if self._fd >= 0 and generation == self.generation and scanned <= os.fstat(self._fd).st_size:
            self.keys, self.places, self._scanned = keys, places, scanned
            self._recent = {}

    def saved(self) -> tuple[bytes, "array[int]", "array[int]", int]:
        """What `restore` wants: generation, keys, places, and how far the file was scanned."""
        if self._recent:
            found = dict(zip(self.keys, self.places, strict=True)) | self._recent
            self.keys = array("Q", sorted(found))
            self.places = array("Q", [found[key] for key in self.keys])
            self._recent = {}
        return self.generation, self.keys, self.places, self._scanned

    def get(self, uid: int, kind: CacheKind) -> bytes | None:
        """The value last kept for this message, or None."""
        if self._fd < 0:
            self._open()
        key = _key(uid, kind.value)
        place = self._place(key)
        if place is None:
            self.refresh()
            place = self._place(key) if self._grow() else None
        if place is None:
            return None
        data = self._value(place, uid, kind.value)
        if data is None:
            self._is_broken = True
        return data

    def _place(self, key: int) -> int | None:
        place = self._recent.get(key)
        if place is not None:
            return place
        row = bisect_left(self.keys, key)
        return self.places[row] if row < len(self.keys) and self.keys[row] == key else None

    def _value(self, place: int, uid: int, kind: int) -> bytes | None:
        """The data of the record at `place`, if that record is whole and of this message."""
        head = os.pread(self._fd, _RECORD.size, place)
        if len(head) < _RECORD.size:
            return None
        found_uid, found_kind, length, crc = _RECORD.unpack(head)
        if (found_uid, found_kind) != (uid, kind) or length > MAX_DATA:
            return None
        data = os.pread(self._fd, length, place + _RECORD.size)
        return data if len(data) == length and _crc(uid, kind, data) == crc else None

    def put(self, uid: int, kind: CacheKind, data: bytes) -> None:
        """Keep `data`. Raises OSError when the file cannot be written."""
        if len(data) > MAX_DATA:
            return
        if self._fd < 0:
            self._open()
        if self._fd < 0:
            self._create()
        record = _record(uid, kind.value, data)
        self._files.write_all(self._fd, record)
        self._recent[_key(uid, kind.value)] = os.lseek(self._fd, 0, os.SEEK_CUR) - len(record)

    def refresh(self) -> None:
        """Go over to the file that took the place of ours, if one did; one fstat."""
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            self.close()
            self._open()

    def octets(self) -> int:
        """The size of the file."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def wants_rewrite(self, is_live: Callable[[int], bool]) -> bool:
        """Whether the file is damaged, or more than half of it is of messages that are gone. Reads every record."""
        if self._fd < 0 or self._is_broken:
            return self._is_broken
        self._grow()
        total = self.octets() - HEADER
        live = sum(length for uid, _, _, length in self._records() if is_live(uid))
        return total > 65536 and live * 2 < total

    def rewrite(self, is_live: Callable[[int], bool]) -> None:
        """Replace the file by one with the records of live messages only. Raises OSError."""
        values: dict[int, bytes] = {}
        if self._fd >= 0:
            for uid, kind, place, _ in self._records():
                data = self._value(place, uid, kind) if is_live(uid) else None
                if data is not None:
                    values[_key(uid, kind)] = data
        parts = [MAGIC, secrets.token_bytes(16), self._owner]
        parts.extend(_record(key >> _KIND_BITS, key & (1 << _KIND_BITS) - 1, values[key]) for key in sorted(values))
        replace_cache_file(self._files, self._path, b"".join(parts), self._ownership)
        self.close()
        self._open()

    def close(self) -> None:
        """Give back the descriptor, and forget where things are."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._scanned = 0
        self._is_broken = False
        self.generation = b""
        self.keys, self.places, self._recent = array("Q"), array("Q"), {}

    def _open(self) -> None:
        for flags in (os.O_RDWR | os.O_APPEND, os.O_RDONLY):
            try:
                fd = self._files.open(self._path, flags)
            except FileNotFoundError:
                return
            except OSError:
                continue
            header = os.pread(fd, HEADER, 0)
            if len(header) == HEADER and header.startswith(MAGIC) and header[-16:] == self._owner:
                self._fd, self.generation, self._scanned = fd, header[len(MAGIC) : -16], HEADER
                return
            os.close(fd)
            return

    def _create(self) -> None:
        """Of two processes that do this at once the later wins; the earlier finds its file gone."""
        header = MAGIC + secrets.token_bytes(16) + self._owner
        replace_cache_file(self._files, self._path, header, self._ownership)
        self._open()
        if self._fd < 0:
            raise FileNotFoundError(self._path)

    def _grow(self) -> bool:
        """Find the records that were appended since; whether there were any."""
        if self._fd < 0 or self._is_broken or os.fstat(self._fd).st_size <= self._scanned:
            return False
        before = self._scanned
        for uid, kind, place, length in self._records(self._scanned):
            self._recent[_key(uid, kind)] = place
            self._scanned = place + length
        return self._scanned > before

    def _records(self, start: int = HEADER) -> Iterator[tuple[int, int, int, int]]:
        """(uid, kind, place, octets with head) of each whole record from `start` on; stops at a damaged one."""
        place, block, first = start, b"", start
        size = os.fstat(self._fd).st_size
        while place + _RECORD.size <= size:
            if place + _RECORD.size > first + len(block) or place < first:
                block, first = os.pread(self._fd, _SCAN, place), place
            uid, kind, length, crc = _RECORD.unpack_from(block, place - first)
            end = place + _RECORD.size + length
            if length > MAX_DATA:
                self._is_broken = True
                return
            if end > size:
                return
            if end > first + len(block):
                data = os.pread(self._fd, length, place + _RECORD.size)
            else:
                data = block[place + _RECORD.size - first : end - first]
            if _crc(uid, kind, data) != crc:
                self._is_broken = True
                return
            yield uid, kind, place, end - place
            place = end
