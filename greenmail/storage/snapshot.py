"""`greenmail.index`: everything known of a mailbox at one moment, so that opening it costs no listing.

    snapshot = "GMSNAP01" size-of-header header *column names crc32

`header` is JSON: `meta` (what the mailbox object keeps beside its columns), `columns` (name, type code and count of
each array, in file order), `names` (octets of the blob of file names, which NUL separates), `order` (of octets).
Integers outside JSON are little-endian 32 bit. Columns are arrays in the byte order named by `order`; columns with
names unknown to the reader are kept apart and forgotten.

The file is replaced by rename and never changed, so a reader sees all of an old one or all of a new one. It is a cache
without an fsync: after a power cut it may be empty or mixed, which the CRC over all that stands before it finds.
"""

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from greenmail.message.turn import rest
from greenmail.storage.filesystem import Files, Ownership

MAGIC = b"GMSNAP01"
_NAMES = 2048  # that are joined at once
_NUMBERS = 1 << 16  # of a column, that are written at once
_SPLIT = 1 << 19  # octets that are taken apart at once
_SIZE = struct.Struct("<I")


@dataclass(slots=True)
class Snapshot:
    """`columns` and `files` are parallel; `meta` is anything JSON can say."""

    meta: dict[str, Any]
    columns: dict[str, "array[int]"]
    files: list[bytes]  # names of files without their directory; `meta` says which are in `new/`


def _parts(snapshot: Snapshot) -> Iterator[bytes]:
    """The octets of the file, in pieces: no other thread can run while a piece is made."""
    count = len(snapshot.files)
    names = []
    for start in range(0, count, _NAMES):
        names.append(b"\0".join(snapshot.files[start : start + _NAMES]))
        rest(start)
    header = json.dumps(
        {
            "order": sys.byteorder,
            "meta": snapshot.meta,
            "columns": [[name, column.typecode, len(column)] for name, column in snapshot.columns.items()],
            "names": sum(map(len, names)) + max(0, len(names) - 1),
            "files": count,
        },
        separators=(",", ":"),
    ).encode()
    crc = 0
    for part in chain((MAGIC, _SIZE.pack(len(header)), header), _octets_of(snapshot.columns.values())):
        crc = zlib.crc32(part, crc)
        yield part
    for number, piece in enumerate(names):
        for part in (b"\0", piece) if number else (piece,):
            crc = zlib.crc32(part, crc)
            yield part
        rest(number * _NAMES)
    yield _SIZE.pack(crc)


def _octets_of(columns: Iterable["array[int]"]) -> Iterator[bytes]:
    for column in columns:
        for start in range(0, len(column), _NUMBERS):
            yield column[start : start + _NUMBERS].tobytes()


def pack(snapshot: Snapshot) -> bytes:
    """The octets of the file."""
    return b"".join(_parts(snapshot))


def unpack(data: bytes) -> Snapshot | None:
    """The snapshot, or None for octets that `pack` of this byte order did not make."""
    start = len(MAGIC) + _SIZE.size
    if len(data) < start + _SIZE.size or not data.startswith(MAGIC):
        return None
    if _SIZE.unpack_from(data, len(data) - _SIZE.size)[0] != zlib.crc32(memoryview(data)[: -_SIZE.size]):
        return None
    try:
        return _understood(data, start)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None  # the sum is right, and yet it is another program's


def _understood(data: bytes, start: int) -> Snapshot | None:
    """Raises ValueError, LookupError, TypeError and RecursionError for what `pack` did not make."""
    header = json.loads(data[start : start + _SIZE.unpack_from(data, len(MAGIC))[0]])
    if header["order"] != sys.byteorder:
        return None
    place = start + _SIZE.unpack_from(data, len(MAGIC))[0]
    columns: dict[str, array[int]] = {}
    octets = memoryview(data)
    for name, typecode, count in header["columns"]:
        column: array[int] = array(typecode)
        end = place + count * column.itemsize
        column.frombytes(octets[place:end])
        columns[name] = column
        place = end
    files = _split(data, place, place + header["names"]) if header["files"] else []
    return Snapshot(header["meta"], columns, files)


def _split(data: bytes, start: int, end: int) -> list[bytes]:
    """What NUL separates from `start` to `end`, in slices."""
    found: list[bytes] = []
    while (cut := data.find(b"\0", start + _SPLIT, end)) >= 0:
        found += data[start:cut].split(b"\0")
        start = cut + 1
    return found + data[start:end].split(b"\0")


def read(files: Files, path: bytes) -> Snapshot | None:
    """The snapshot at `path`, or None if there is none or it is damaged."""
    try:
        return unpack(files.read_file(path))
    except OSError:
        return None


def write(files: Files, path: bytes, snapshot: Snapshot, owner: Ownership) -> None:
    """Replace the file at `path`. Raises OSError; the old file stands then."""
    is_small = len(snapshot.files) <= _NAMES
    replace_cache_file(files, path, [pack(snapshot)] if is_small else _parts(snapshot), owner)


def replace_cache_file(files: Files, path: bytes, parts: Iterable[bytes], owner: Ownership) -> None:
    """Replace a file that may be lost: as `Files.replace_file`, without any sync, and with a lock held as there."""
    temporary = path + b".tmp"
    try:
        descriptor = files.create_exclusive(temporary, owner)
    except FileExistsError:
        files.unlink(temporary)  # of one who died
        descriptor = files.create_exclusive(temporary, owner)
    try:
        try:
            for part in parts:
                files.write_all(descriptor, part)
        finally:
            files.close(descriptor)
        files.rename(temporary, path)
    except OSError:
        files.unlink_quietly(temporary)
        raise
