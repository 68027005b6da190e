"""`greenmail.log`: whole records are read, a broken end is left alone by readers and cut off by the next writer."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.journal import Batch, Journal, create, open_journal, pack, unpack

OWNER = Ownership(0o600, 0o700, None)
BATCHES: list[Batch] = [{"m": 1}, {"m": 2, "gone": [[1, 3]]}, {"m": 3, "new": [[4, "\xff,S=1:2,", 0, 0, 1, -1]]}]


def begin(tmp_path: Path, ident: str = "one", previous: str = "") -> Journal:
    create(Files(), path(tmp_path), ident, previous, OWNER)
    journal = open_journal(Files(), path(tmp_path))
    assert journal is not None
    return journal


def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "greenmail.log")


def reader(tmp_path: Path) -> Journal:
    journal = open_journal(Files(), path(tmp_path))
    assert journal is not None
    return journal


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())), max_size=5), st.data())
def test_any_cut_gives_the_whole_records_before_it(batches: list[Batch], data: st.DataObject) -> None:
    records = [pack(batch) for batch in batches]
    octets = b"".join(records)
    cut = data.draw(st.integers(0, len(octets)))
    found, taken = unpack(octets[:cut])
    assert found == batches[: len(found)]
    assert taken == sum(len(record) for record in records[: len(found)])
    assert len(found) == len(batches) or cut - taken < len(records[len(found)])


@given(st.binary(max_size=200))
def test_any_octets_are_read_without_an_error(octets: bytes) -> None:
    try:
        unpack(octets)
    except ValueError:
        pytest.fail("a record with a right CRC by chance")


def test_one_writes_and_another_reads(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    other = reader(tmp_path)
    assert other.state() == (False, False)
    writer.append(BATCHES[:2])
    assert other.state() == (True, False)
    assert other.read() == BATCHES[:2]
    assert other.state() == (False, False)
    writer.append(BATCHES[2:])
    assert other.read() == BATCHES[2:] and other.read() == []
    assert (writer.records, other.records) == (3, 3)
    other.append([{"m": 4}])
    assert writer.read() == [{"m": 4}]


@pytest.mark.parametrize("rest", [b"\x01", b"\x05\0\0\0\0\0\0\0abcde", pack(BATCHES[1])[:-1], b"\0" * 64, b"\xff" * 64])
def test_a_torn_end_is_left_by_readers_and_cut_by_the_next_writer(tmp_path: Path, rest: bytes) -> None:
    writer = begin(tmp_path)
    writer.append(BATCHES[:1])
    with open(path(tmp_path), "ab") as file:
        file.write(rest)
    other = reader(tmp_path)
    assert other.read() == BATCHES[:1]
    assert other.read() == []
    other.append(BATCHES[1:])
    assert writer.read() == BATCHES[1:]
    assert reader(tmp_path).read() == BATCHES


def test_a_removed_or_replaced_journal_is_noticed(tmp_path: Path) -> None:
    first = begin(tmp_path)
    first.append(BATCHES[:1])
    second = begin(tmp_path, "two", "one")
    assert first.state() == (False, True)
    assert second.state() == (False, False)
    assert second.previous == first.ident == "one"
    os.unlink(path(tmp_path))
    assert second.state() == (False, True)
    assert open_journal(Files(), path(tmp_path)) is None


@pytest.mark.parametrize(
    "octets", [b"", b"GMLOG001", b"GMLOG001" + pack({"x": 1}), b"something else entirely", b"GMLOG"]
)
def test_what_is_no_journal_is_none(tmp_path: Path, octets: bytes) -> None:
    Path(os.fsdecode(path(tmp_path))).write_bytes(octets)
    assert open_journal(Files(), path(tmp_path)) is None


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    calls = []

    def call(name: str, function: object, *args: object) -> object:
        calls.append(name)
        if name == "write" and len(calls) > 2:
            os.write(args[0], bytes(args[1])[:5])  # type: ignore[arg-type,call-overload]  # what a full disk takes
            raise OSError(28, "No space left on device")
        return function(*args)  # type: ignore[operator]  # as plain_call does

    begin(tmp_path).append(BATCHES[:1])
    journal = open_journal(Files(call), path(tmp_path))
    assert journal is not None
    calls.extend(["", ""])
    assert journal.read() == BATCHES[:1]
    with pytest.raises(OSError, match="No space"):
        journal.append(BATCHES[1:])
    assert reader(tmp_path).read() == BATCHES[:1]
    assert journal.state() == (False, False)


@pytest.mark.parametrize("payload", [b"[1]", b"17", b'"text"', b"null", b"[" * 3000])
def test_a_record_that_is_no_object_is_the_end(payload: bytes) -> None:
    """Its sum is right: another program wrote it."""
    good = pack({"ident": "a"})
    foreign = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    assert unpack(good + foreign + good) == ([{"ident": "a"}], len(good))


@pytest.mark.parametrize("header", [b'{"ident": "one", "previous": ""}', b'{"ident":"\\u006fne","previous":""}'])
def test_a_header_that_another_program_has_spelled_otherwise_is_as_long_as_it_is(tmp_path: Path, header: bytes) -> None:
    """Where the records begin is not where they would if we had written the header: and nothing is cut off."""
    record = struct.pack("<II", len(header), zlib.crc32(header)) + header
    (tmp_path / "greenmail.log").write_bytes(b"GMLOG001" + record + pack({"m": 1}))
    journal = reader(tmp_path)
    assert journal.read() == [{"m": 1}]
    journal.append([{"m": 2}])
    assert reader(tmp_path).read() == [{"m": 1}, {"m": 2}]


def test_a_header_with_an_ident_that_is_no_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "greenmail.log").write_bytes(b"GMLOG001" + pack({"ident": 5, "previous": []}) + pack({"m": 1}))
    assert open_journal(Files(), path(tmp_path)) is None
