"""`greenmail.log` and the snapshot beside it: octets of any kind are records or the end of them."""

import json
import struct
import zlib

from greenmail.storage import snapshot
from greenmail.storage.journal import pack, unpack

_HEAD = struct.Struct("<II")


def check(data: bytes) -> None:
    _records(data)
    # With a checksum that is right, which no mutation finds by itself.
    payloads = data.split(b"\n")
    _records(b"".join(_HEAD.pack(len(one), zlib.crc32(one)) + one for one in payloads))
    for octets in (data, snapshot.MAGIC + data, _with_sum(snapshot.MAGIC + data), _with_header(data)):
        found = snapshot.unpack(octets)
        if found is not None:
            again = snapshot.unpack(snapshot.pack(found))
            assert again is not None and again.files == found.files and again.columns == found.columns


def _with_sum(octets: bytes) -> bytes:
    return octets + struct.pack("<I", zlib.crc32(octets))


def _with_header(data: bytes) -> bytes:
    """A snapshot whose header has the length that it says."""
    header, _, rest = data.partition(b"\n")
    return _with_sum(snapshot.MAGIC + struct.pack("<I", len(header)) + header + rest)


def _records(data: bytes) -> None:
    batches, taken = unpack(data)
    assert 0 <= taken <= len(data)
    assert all(isinstance(batch, dict) for batch in batches), "a record is an object"
    written = b"".join(map(pack, batches))
    again, end = unpack(written)
    assert json.dumps(again) == json.dumps(batches) and end == len(written)
    assert unpack(data[:taken])[1] == taken
