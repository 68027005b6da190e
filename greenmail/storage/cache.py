"""`greenmail.cache`: what was worked out of messages, so that their files need not be read again.

    cache  = "GMCACHE2" generation owner *record
    record = uid kind length crc32 data

`generation` (16 random octets) names this file, `owner` (16 octets) the mailbox and its UIDVALIDITY. A record's fields
are little-endian: uid 32 bit, kind 32 bit (`api.CacheKind`), length 32 bit, and the CRC of the three and the data.

Anybody may append at any time without a lock: one write with O_APPEND a record. Nothing is ever changed, and the file
is never truncated: another process may be reading it. A record cut short (full disk, crash) ends what can be found;
`rewrite` then makes a new file of another generation and puts it in the place of the old one. A reader of the old file
finds st_nlink 0 and opens the new one. What was written into the old one meanwhile is lost, as a cache may be.

To find records, the file is scanned once; where they are is kept in two sorted columns (saved with the snapshot), by
kind first, so that one kind of many neighbours is one slice of the columns and, most often, one piece of the file. A
record is checked when it is first read; the columns of a snapshot may name places that a power cut has left empty.
"""

import hashlib
import os
import secrets
import struct
import time
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import lt
from typing import Any

from greenmail.storage.api import CacheKind
from greenmail.storage.filesystem import Files, Ownership, is_stale
from greenmail.storage.snapshot import replace_cache_file

MAGIC = b"GMCACHE2"
HEADER = len(MAGIC) + 32
_RECORD = struct.Struct("<IIII")
_CRC_OF = struct.Struct("<III")
_CRC = struct.Struct("<I")
_HEAD = _RECORD.size
_KIND_SHIFT = 32  # a key is the kind and 32 bit of UID
_PLACE_SHIFT = 25  # a place is an offset in the file and 25 bit of length
_LENGTH = (1 << _PLACE_SHIFT) - 1
_UID = (1 << _KIND_SHIFT) - 1
MAX_DATA = 16 << 20  # longer values are not kept
_SCAN = 1 << 16  # octets read at once while scanning
_STEP = 256  # records that are scanned before others may run ...
_STEP_OCTETS = 1 << 20  # ... or so many octets of them
_PIECE = 1 << 18  # octets read at once for several records
_FEW = 512  # keys out of order that are found by hash before they are put into the columns
_ABANDONED = 60.0  # seconds after which a half-made file is of one who died


def owner_of(mailbox_id: str, uidvalidity: int) -> bytes:
    """What the header says of the mailbox: UIDs of another UIDVALIDITY are other messages."""
    return hashlib.sha256(f"{mailbox_id} {uidvalidity}".encode()).digest()[:16]


Place = tuple[int, int, int, int]  # UID, kind, offset, octets with head


def nothing() -> None:
    """Lets nobody run."""


def at_once(function: Callable[..., Any], *args: Any) -> Any:
    """Where there is no pool."""
    return function(*args)


def _key(uid: int, kind: int) -> int:
    return kind << _KIND_SHIFT | uid


def _crc(uid: int, kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_CRC_OF.pack(uid, kind, len(data))))


def _record(uid: int, kind: int, data: bytes) -> bytes:
    return _RECORD.pack(uid, kind, len(data), _crc(uid, kind, data)) + data


class _Places:
    """Where the records of one kind are: `keys` ascends, and what comes in another order waits in `loose`."""

    __slots__ = ("checked", "keys", "loose", "places")

    def __init__(self, keys: "array[int]", places: "array[int]") -> None:
        self.keys = keys
        self.places = places
        self.checked = bytearray(len(keys))  # 1: the record was seen whole
        self.loose: dict[int, int] = {}

    def add(self, key: int, place: int) -> None:
        """A record that was written here, or seen whole."""
        if not self.keys or key > self.keys[-1]:
            self.keys.append(key)
            self.places.append(place)
            self.checked.append(1)
            return
        self.loose[key] = place
        if len(self.loose) > max(_FEW, len(self.keys) >> 8):
            self.keys, self.places, self.checked = self.merged()
            self.loose = {}

    def add_many(self, keys: Sequence[int], places: Sequence[int]) -> None:
        """Several of them; nearly always new ones, that come in order."""
        is_behind = not self.keys or not keys or keys[0] > self.keys[-1]
        if is_behind and all(map(lt, keys, islice(keys, 1, None))):
            self.keys.extend(keys)
            self.places.extend(places)
            self.checked.extend(b"\1" * len(keys))
            return
        for key, place in zip(keys, places, strict=True):
            self.add(key, place)

    def merged(self) -> tuple["array[int]", "array[int]", bytearray]:
        """The columns with what is loose in its place: whole runs are copied, so it is no long step."""
        count = len(self.checked)
        keys, places, checked = array("Q"), array("Q"), bytearray()
        start = 0
        for key, place in sorted(self.loose.items()):
            row = bisect_left(self.keys, key, start, count)
            if row > start:
                keys.extend(self.keys[start:row])
                places.extend(self.places[start:row])
                checked.extend(self.checked[start:row])
            keys.append(key)
            places.append(place)
            checked.append(1)
            start = row + 1 if row < count and self.keys[row] == key else row
        keys.extend(self.keys[start:count])
        places.extend(self.places[start:count])
        checked.extend(self.checked[start:count])
        return keys, places, checked

    def find(self, key: int) -> int | None:
        place = self.loose.get(key)
        if place is not None:
            return place
        row = bisect_left(self.keys, key)
        return self.places[row] if row < len(self.keys) and self.keys[row] == key else None

    def ends_before(self, key: int) -> bool:
        """Whether nothing is known of this key and of all behind it."""
        return not self.loose and (not self.keys or self.keys[-1] < key)

    def rows(self, keys: "array[int]") -> slice | None:
        """The rows of the columns that hold exactly `keys` (ascending, not empty), if some do."""
        first = bisect_left(self.keys, keys[0])
        last = first + len(keys)
        is_there = self.keys[first:last] == keys and (not self.loose or self.loose.keys().isdisjoint(keys))
        return slice(first, last) if is_there else None


class Cache:
    """The cache file of one mailbox; missing, damaged or unwritable, it is only slower."""

    def __init__(
        self,
        files: Files,
        path: bytes,
        owner: bytes,
        ownership: Ownership,
        is_remote: bool = False,
        breathe: Callable[[], None] = nothing,
    ) -> None:
        self._files = files
        self._breathe = breathe  # called between the steps of a scan that `get_many` needs
        self._is_remote = is_remote  # a file that is replaced while it is open keeps a name: see `mounts`
        self._path = path
        self._owner = owner
        self._ownership = ownership
        self._fd = -1
        self._scanned = 0
        self._is_broken = False
        self.generation = b""
        self._kinds: dict[int, _Places] = {}

    def restore(self, generation: bytes, keys: "array[int]", places: "array[int]", scanned: int) -> None:
        """Take over what the snapshot knows of the file, if it is of the generation that is there."""
        self._open()
        if self._fd < 0 or generation != self.generation or scanned > os.fstat(self._fd).st_size:
            return
        self._kinds = {}
        self._scanned = scanned
        start = 0
        while start < len(keys):
            kind = keys[start] >> _KIND_SHIFT
            end = bisect_left(keys, _key(0, kind + 1), start)
            self._kinds[kind] = _Places(keys[start:end], places[start:end])
            start = end

    def saved(self) -> tuple[bytes, "array[int]", "array[int]", int]:
        """What `restore` wants: generation, keys, places, and how far the file was scanned."""
        keys, places = array("Q"), array("Q")
        for kind in sorted(self._kinds):
            some_keys, some_places, _ = self._kinds[kind].merged()
            keys.extend(some_keys)
            places.extend(some_places)
        return self.generation, keys, places, self._scanned

    def get(self, uid: int, kind: CacheKind) -> bytes | None:
        """The value last kept for this message, or None."""
        return self.get_many((uid,), kind)[0]

    def get_many(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        """The values last kept for `uids`, which ascend; None where there is none.

        Lets others run if there is much that has to be scanned first.
        """
        if self._fd < 0:
            self._open()
        if not uids or self._fd < 0:
            return [None] * len(uids)
        try:
            return self._known(uids, kind)
        except OSError as error:
            if not is_stale(error):
                raise
            self.close()  # another machine has replaced the file: the next question finds the new one
            return [None] * len(uids)

    def _known(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        base = _key(0, kind.value)
        known = self._kinds.get(kind.value)
        has_looked = known is None or known.ends_before(base | uids[0])
        if has_looked:
            self.refresh()
            if not self._grow():  # as it is while a mailbox is read for the first time
                return [None] * len(uids)
            known = self._kinds.get(kind.value)
        keys = array("Q", [base | uid for uid in uids])
        rows = known.rows(keys) if known is not None else None
        if known is None or rows is None:
            return self._scattered(keys, kind.value, has_looked)
        if known.checked.find(0, rows.start, rows.stop) < 0:
            return self._values(known.places[rows], None)
        values = self._values(known.places[rows], keys)
        if None not in values:
            known.checked[rows] = b"\1" * len(keys)
        return values

    def _scattered(self, keys: "array[int]", kind: int, has_looked: bool) -> list[bytes | None]:
        """As `get_many`, for keys of one kind of which some may be missing; `has_looked` for what others wrote."""
        places = self._find(keys, kind)
        if None in places and not has_looked:
            before = self.generation
            self.refresh()
            if self._grow() or self.generation != before:
                places = self._find(keys, kind)
        there = [(key, place) for key, place in zip(keys, places, strict=True) if place is not None]
        if not there:
            return [None] * len(keys)
        values = self._values(array("Q", [place for _, place in there]), array("Q", [key for key, _ in there]))
        found = dict(zip((key for key, _ in there), values, strict=True))
        return [found.get(key) for key in keys]

    def _find(self, keys: "array[int]", kind: int) -> list[int | None]:
        known = self._kinds.get(kind)
        return [None] * len(keys) if known is None else [known.find(key) for key in keys]

    def _values(self, places: "array[int]", keys: "array[int] | None") -> list[bytes | None]:
        """The data of the records at `places`; each is made sure to be whole, unless `keys` is None.

        Records that are near each other are read at once.
        """
        first, top = min(places) >> _PLACE_SHIFT, max(places)
        last = (top >> _PLACE_SHIFT) + _RECORD.size + (top & _LENGTH)
        if last - first > _PIECE and len(places) > 1:
            half = len(places) // 2
            before, behind = (None, None) if keys is None else (keys[:half], keys[half:])
            return self._values(places[:half], before) + self._values(places[half:], behind)
        block = os.pread(self._fd, last - first, first)
        if keys is None and len(block) == last - first:
            base = first - _RECORD.size
            return [block[(start := (place >> _PLACE_SHIFT) - base) : start + (place & _LENGTH)] for place in places]
        if keys is None:  # somebody cut the file off
            self._is_broken = True
            return [None] * len(places)
        values = [
            _checked(block, (place >> _PLACE_SHIFT) - first, key) for place, key in zip(places, keys, strict=True)
        ]
        self._is_broken = self._is_broken or None in values
        return values

    def put(self, uid: int, kind: CacheKind, data: bytes) -> None:
        """Keep `data`. Raises OSError when the file cannot be written."""
        self.put_many([(uid, kind, data)])

    def put_many(self, values: Iterable[tuple[int, CacheKind, bytes]]) -> None:
        """Keep several values with one write. Raises OSError when the file cannot be written."""
        if self._fd < 0:
            self._open()
        if self._fd < 0:
            self._create()
        pieces: list[bytes] = []
        fresh: dict[int, tuple[list[int], list[int]]] = {}  # by kind: keys, and places behind the end of the file
        number, keys, places = -1, list[int](), list[int]()
        at = 0
        for uid, kind, data in values:
            length = len(data)
            if length > MAX_DATA:
                continue
            if kind != number:
                number = int(kind)
                keys, places = fresh.setdefault(number, ([], []))
            head = _CRC_OF.pack(uid, number, length)
            pieces += (head, _CRC.pack(zlib.crc32(data, zlib.crc32(head))), data)
            keys.append(number << _KIND_SHIFT | uid)
            places.append(at << _PLACE_SHIFT | length)
            at += _HEAD + length
        self._files.write_all(self._fd, b"".join(pieces))
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        start = end - at
        if start == self._scanned:  # nobody else wrote since we looked
            self._scanned = end
        for number, (keys, places) in fresh.items():
            self._of_kind(number).add_many(keys, [(start << _PLACE_SHIFT) + place for place in places])

    def _of_kind(self, kind: int) -> _Places:
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Places(array("Q"), array("Q"))
        return known

    def _add(self, uid: int, kind: int, start: int, length: int) -> None:
        self._of_kind(kind).add(_key(uid, kind), start << _PLACE_SHIFT | length)

    def refresh(self) -> None:
        """Go over to the file that took the place of ours, if one did; one fstat."""
        if self._fd >= 0 and self._was_replaced(os.fstat(self._fd)):
            self.close()
            self._open()

    def _was_replaced(self, mine: os.stat_result) -> bool:
        if not self._is_remote or mine.st_nlink == 0:
            return mine.st_nlink == 0
        try:
            found = self._files.stat(self._path)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)

    def memory(self) -> int:
        """Octets that it takes up in memory, estimated."""
        return sum(17 * len(known.keys) + 150 * len(known.loose) for known in self._kinds.values())

    def wants_rewrite(self, is_live: Callable[[int], bool]) -> bool:
        """Whether the file is damaged, or more than half of what was scanned is of no use. Reads nothing."""
        total = self._scanned - HEADER
        if self._is_broken or total <= 65536:
            return self._is_broken
        live = 0
        for known in self._kinds.values():
            keys, places, _ = known.merged()
            lives = list(compress(places, map(is_live, map(_UID.__and__, keys))))
            live += sum(map(_LENGTH.__and__, lives)) + _RECORD.size * len(lives)
        return live * 2 < total

    def rewrite(self, is_live: Callable[[int], bool], blocking: Callable[..., Any] = at_once) -> None:
        """Replace the file by one with the records of live messages only. Raises OSError.

        `blocking` runs the work. Meanwhile others may read here and write, which is lost, or find the new file; so
        the work has a descriptor of its own, and knows nothing of this object.
        """
        descriptor = os.dup(self._fd) if self._fd >= 0 else -1
        try:
            blocking(_write_live, self._files, self._path, (self._owner, self._ownership), descriptor, is_live)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
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
        self._kinds = {}

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
        """No lock is held: of two processes that do this at once one makes the file, and the other does without."""
        header = MAGIC + secrets.token_bytes(16) + self._owner
        temporary = self._path + b".new"
        try:
            descriptor = self._files.create_exclusive(temporary, self._ownership)
        except FileExistsError:
            if time.time() - self._files.lstat(temporary).st_mtime > _ABANDONED:
                self._files.unlink_quietly(temporary)  # the next attempt finds the way free
            raise
        try:
            try:
                self._files.write_all(descriptor, header)
            finally:
                self._files.close(descriptor)
            self._files.rename(temporary, self._path)
        except OSError:
            self._files.unlink_quietly(temporary)
            raise
        self._open()
        if self._fd < 0:
            raise FileNotFoundError(self._path)

    def _grow(self) -> bool:
        """Find the records that were appended since, in steps; whether anything is known now that was not."""
        before = self.generation, self._scanned
        while self._scan():
            self._breathe()  # whatever others did here meanwhile, the next step goes on from there
        return (self.generation, self._scanned) != before

    def _scan(self) -> bool:
        """One step of it, always whole records; whether there may be more."""
        if self._fd < 0 or self._is_broken or os.fstat(self._fd).st_size <= self._scanned:
            return False
        start = self._scanned
        for uid, kind, place, length in islice(self._records(start), _STEP):
            self._add(uid, kind, place, length - _RECORD.size)
            self._scanned = place + length
            if self._scanned - start > _STEP_OCTETS:
                break
        return self._scanned > start

    def _records(self, start: int) -> Iterator[Place]:
        return _whole_records(self._fd, start, self._broke)

    def _broke(self) -> None:
        self._is_broken = True


def _whole_records(fd: int, start: int, broke: Callable[[], None]) -> Iterator[Place]:
    """Each whole record from `start` on; stops at a damaged one, and calls `broke`."""
    place, block, first = start, b"", start
    size = os.fstat(fd).st_size
    while place + _RECORD.size <= size:
        if place + _RECORD.size > first + len(block) or place < first:
            block, first = os.pread(fd, _SCAN, place), place
            if len(block) < _RECORD.size:  # cut off since its size was asked for
                return
        uid, kind, length, crc = _RECORD.unpack_from(block, place - first)
        end = place + _RECORD.size + length
        if length > MAX_DATA:
            broke()
            return
        if end > size:
            return
        if end > first + len(block):
            data = os.pread(fd, length, place + _RECORD.size)
        else:
            data = block[place + _RECORD.size - first : end - first]
        if _crc(uid, kind, data) != crc:
            broke()
            return
        yield uid, kind, place, end - place
        place = end


def _write_live(
    files: Files, path: bytes, owner: tuple[bytes, Ownership], fd: int, is_live: Callable[[int], bool]
) -> None:
    """Runs in the pool: put a file with the records of live messages in the place of the one open as `fd`, or -1."""
    values: dict[int, bytes] = {}
    for uid, kind, place, length in _whole_records(fd, HEADER, nothing) if fd >= 0 else ():
        if is_live(uid):
            values[_key(uid, kind)] = os.pread(fd, length - _RECORD.size, place + _RECORD.size)
    parts = [MAGIC, secrets.token_bytes(16), owner[0]]
    parts.extend(_record(key & _UID, key >> _KIND_SHIFT, values[key]) for key in sorted(values))
    replace_cache_file(files, path, [b"".join(parts)], owner[1])


def _checked(block: bytes, start: int, key: int) -> bytes | None:
    """The data of the record at `start`, if that record is whole and the one of `key`."""
    if start + _RECORD.size > len(block):
        return None
    uid, kind, length, crc = _RECORD.unpack_from(block, start)
    data = block[start + _RECORD.size : start + _RECORD.size + length]
    is_whole = _key(uid, kind) == key and len(data) == length and _crc(uid, kind, data) == crc
    return data if is_whole else None
