"""`greenmail.log` and the snapshot beside it: any octets are records or the end of them, in memory and on disk."""

import contextlib
import errno
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any

from fuzz.place import fresh

from greenmail.storage import journal, snapshot
from greenmail.storage.filesystem import Files, Ownership

logging.disable(logging.CRITICAL)

_HEAD = struct.Struct("<II")
OWNER = Ownership(0o600, 0o700, None)
FILES = Files()


def check(data: bytes) -> None:
    _records(data)
    # With a checksum that is right, which no mutation finds by itself.
    payloads = data.split(b"\n")
    _records(_framed(payloads))
    for octets in (data, snapshot.MAGIC + data, _with_sum(snapshot.MAGIC + data), _with_header(data)):
        found = snapshot.unpack(octets)
        if found is not None:
            again = snapshot.unpack(snapshot.pack(found))
            assert again is not None and again.files == found.files and again.columns == found.columns
    here = fresh()
    _snapshot_on_disk(here + b"/greenmail.index", data)
    _foreign(here + b"/foreign.log", data)
    _written(here + b"/greenmail.log", data)
    if data:
        _failing(here + b"/failing.log", data)


def _framed(payloads: list[bytes]) -> bytes:
    return b"".join(_HEAD.pack(len(one), zlib.crc32(one)) + one for one in payloads)


def _with_sum(octets: bytes) -> bytes:
    return octets + struct.pack("<I", zlib.crc32(octets))


def _with_header(data: bytes) -> bytes:
    """A snapshot whose header has the length that it says."""
    header, _, rest = data.partition(b"\n")
    return _with_sum(snapshot.MAGIC + struct.pack("<I", len(header)) + header + rest)


def _records(data: bytes) -> None:
    batches, taken = journal.unpack(data)
    assert 0 <= taken <= len(data)
    assert all(isinstance(batch, dict) for batch in batches), "a record is an object"
    written = b"".join(map(journal.pack, batches))
    again, end = journal.unpack(written)
    assert json.dumps(again) == json.dumps(batches) and end == len(written)
    assert journal.unpack(data[:taken])[1] == taken


def _snapshot_on_disk(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(_with_header(data))
    found = snapshot.read(FILES, path)
    if found is None:
        return
    with open(path + b".tmp", "wb"):
        pass  # of one who died
    snapshot.write(FILES, path, found, OWNER)
    again = snapshot.read(FILES, path)
    assert again is not None and (again.meta, again.columns, again.files) == (found.meta, found.columns, found.files)
    assert not os.path.exists(path + b".tmp")


def _foreign(path: bytes, data: bytes) -> None:
    """A journal of somebody else's: where it is taken for one, what a lock holder appends is read."""
    for octets in (data, journal.MAGIC + data, journal.MAGIC + _framed(data.split(b"\n"))):
        with open(path, "wb") as file:
            file.write(octets)
        found = journal.open_journal(FILES, path)
        if found is None:
            continue
        before = found.read()
        assert found.offset <= len(octets)
        found.append([{"m": 1}])
        reader = journal.open_journal(FILES, path)
        assert reader is not None and json.dumps(reader.read()) == json.dumps([*before, {"m": 1}])
        found.close()
        reader.close()


def _written(path: bytes, data: bytes) -> None:
    """One writes, another reads along; a power cut leaves a piece of a record, and a third one goes on."""
    assert journal.open_journal(FILES, path) is None
    journal.create(FILES, path, journal.new_ident(), "", OWNER)
    writer, reader = journal.open_journal(FILES, path), journal.open_journal(FILES, path)
    assert writer is not None and reader is not None
    batches = [{"m": number, "t": line.decode("latin-1")} for number, line in enumerate(data.split(b"\n")[:20])]
    read = []
    for at in range(0, len(batches), 3):
        writer.append(batches[at : at + 3])
        assert reader.state() == (True, False)
        read += reader.read()
        assert reader.state(path) == (False, False)
    assert read == batches == _all(path)
    size = os.path.getsize(path)
    assert writer.complete() is not None and writer.records == len(batches)
    with open(path, "ab") as file:
        file.write(data[: len(data) % 97])  # what a crash left, or who knows
    left = _all(path)
    assert left[: len(batches)] == batches
    if left == batches:
        assert reader.read() == [] and reader.offset == size
        writer.append([{"m": 99}])
        assert reader.seek(size) and reader.read() == [{"m": 99}]
        assert not reader.seek(size + 10_000)
    journal.create(FILES, path, journal.new_ident(), writer.ident, OWNER)
    assert reader.state()[1] and writer.state(path)[1] and reader.complete() is None
    os.unlink(path)
    assert writer.state(path)[1]
    for one in (writer, reader):
        one.close()
        one.close()


def _failing(path: bytes, data: bytes) -> None:
    """A system call that fails: what is there afterwards are whole changes from the beginning on, and it goes on."""
    calls = 0
    wrong = (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES)[data[0] & 3]

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == data[0] >> 2:
            raise OSError(wrong, name)
        return function(*args)

    files = Files(call)
    batches = [{"m": number, "t": line.decode("latin-1")} for number, line in enumerate(data.split(b"\n")[:6])]
    written = 0
    with contextlib.suppress(OSError):
        journal.create(files, path, "one", "", OWNER)
    writer = journal.open_journal(files, path)
    if writer is None:
        return
    try:
        for batch in batches:
            writer.state(path)
            writer.append([batch])
            written += 1
            writer.seek(writer.offset)
            writer.read()
    except OSError:
        pass
    assert _all(path) in (batches[:written], batches[: written + 1])
    with contextlib.suppress(OSError):
        snapshot.write(files, path + b".index", snapshot.Snapshot({}, {}, [data[:9]]), OWNER)
    assert not os.path.exists(path + b".index.tmp") or calls >= data[0] >> 2
    writer.close()


def _all(path: bytes) -> list[journal.Batch]:
    found = journal.open_journal(FILES, path)
    assert found is not None
    batches = found.read()
    found.close()
    return batches
