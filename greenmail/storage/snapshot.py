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
from dataclasses import dataclass
from typing import Any

from greenmail.storage.filesystem import Files, Ownership

MAGIC = b"GMSNAP01"
_SIZE = struct.Struct("<I")


@dataclass(slots=True)
class Snapshot:
    """`columns` and `files` are parallel; `meta` is anything JSON can say."""

    meta: dict[str, Any]
    columns: dict[str, "array[int]"]
    files: list[bytes]  # "new/..." and "cur/...", as the disk had them


def pack(snapshot: Snapshot) -> bytes:
    """The octets of the file."""
    names = b"\0".join(snapshot.files)
    header = json.dumps(
        {
            "order": sys.byteorder,
            "meta": snapshot.meta,
            "columns": [[name, column.typecode, len(column)] for name, column in snapshot.columns.items()],
            "names": len(names),
            "files": len(snapshot.files),
        },
        separators=(",", ":"),
    ).encode()
    parts = [MAGIC, _SIZE.pack(len(header)), header, *(column.tobytes() for column in snapshot.columns.values()), names]
    data = b"".join(parts)
    return data + _SIZE.pack(zlib.crc32(data))


def unpack(data: bytes) -> Snapshot | None:
    """The snapshot, or None for octets that `pack` of this byte order did not make."""
    start = len(MAGIC) + _SIZE.size
    if len(data) < start + _SIZE.size or not data.startswith(MAGIC):
        return None
    if _SIZE.unpack_from(data, len(data) - _SIZE.size)[0] != zlib.crc32(memoryview(data)[: -_SIZE.size]):
        return None
    header = json.loads(data[start : start + _SIZE.unpack_from(data, len(MAGIC))[0]])
    if header["order"] != sys.byteorder:
        return None
    place = start + _SIZE.unpack_from(data, len(MAGIC))[0]
    columns: dict[str, array[int]] = {}
    for name, typecode, count in header["columns"]:
        column: array[int] = array(typecode)
        end = place + count * column.itemsize
        column.frombytes(data[place:end])
        columns[name] = column
        place = end
    names = data[place : place + header["names"]]
    return Snapshot(header["meta"], columns, names.split(b"\0") if header["files"] else [])


def read(files: Files, path: bytes) -> Snapshot | None:
    """The snapshot at `path`, or None if there is none or it is damaged."""
    try:
        return unpack(files.read_file(path))
    except OSError:
        return None


def write(files: Files, path: bytes, snapshot: Snapshot, owner: Ownership) -> None:
    """Replace the file at `path`. Raises OSError; the old file stands then."""
    replace_cache_file(files, path, pack(snapshot), owner)


def replace_cache_file(files: Files, path: bytes, data: bytes, owner: Ownership) -> None:
    """Replace a file that may be lost: as `Files.replace_file`, without any sync, and with a lock held as there."""
    temporary = path + b".tmp"
    try:
        descriptor = files.create_exclusive(temporary, owner)
    except FileExistsError:
        files.unlink(temporary)  # of one who died
        descriptor = files.create_exclusive(temporary, owner)
    try:
        try:
            files.write_all(descriptor, data)
        finally:
            files.close(descriptor)
        files.rename(temporary, path)
    except OSError:
        files.unlink_quietly(temporary)
        raise
