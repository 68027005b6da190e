"""`greenmail.index`: what was saved comes back, and damage is noticed."""

import os
import struct
import zlib
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index, from_snapshot
from greenmail.storage.snapshot import MAGIC, Snapshot, pack, read, unpack, write

OWNER = Ownership(0o640, 0o750, None)
NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)


@given(
    st.lists(NAMES, max_size=8), st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=5)
)
def test_what_is_packed_is_unpacked(names: list[bytes], meta: dict[str, int | str]) -> None:
    columns = {"uids": array("I", range(len(names))), "modseqs": array("Q", [1 << 50] * len(names))}
    found = unpack(pack(Snapshot(meta, columns, names)))
    assert found is not None
    assert (found.meta, found.columns, found.files) == (meta, columns, names)


@given(st.data())
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    octets = pack(Snapshot({"a": 1}, {"uids": array("I", [1, 2])}, [b"one", b"two"]))
    place = data.draw(st.integers(0, len(octets) - 1))
    damaged = bytes((octets[place] ^ data.draw(st.integers(1, 255)),))
    assert unpack(octets[:place] + damaged + octets[place + 1 :]) is None
    assert unpack(octets[:place]) is None


@pytest.mark.parametrize(
    "header", [b"", b"17", b"{}", b"[" * 3000, b'{"order": 1}', b'{"order": "little", "columns": [["x", "?", 1]]}']
)
def test_a_right_sum_over_anything_else_is_no_snapshot(header: bytes) -> None:
    octets = MAGIC + struct.pack("<I", len(header)) + header
    assert unpack(octets + struct.pack("<I", zlib.crc32(octets))) is None


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "greenmail.index")
    assert read(Files(), path) is None
    for number in range(2):
        write(Files(), path, Snapshot({"number": number}, {}, []), OWNER)
        found = read(Files(), path)
        assert found is not None and found.meta == {"number": number} and found.files == []
    assert os.listdir(tmp_path) == ["greenmail.index"]
    assert os.stat(path).st_mode & 0o777 == 0o640


def filled() -> Index:
    index = Index()
    index.uidvalidity, index.mailbox_id = 7, "ab" * 16
    change = Change()
    for uid in (1, 2, 5, 9):
        change.came(uid, b"%d.x\xff" % uid, uid == 9, frozenset({"\\Seen", "kw"} if uid % 2 else ()), (uid * 10, uid))
    change.value("next", 12)
    index.apply(change.batch(100))
    gone = Change()
    gone.went([2, 3])
    gone.became(9, b"9.x\xff:2,S", False, frozenset({"\\Seen"}))
    gone.value("letters", {97: "kw"})
    gone.value("times", [1, 2, 3, 4, 5, 6, 7])
    gone.value("recent", 9)
    index.apply(gone.batch(101))
    return index


def test_an_index_comes_back_whole() -> None:
    index = filled()
    found = from_snapshot(unpack(pack(index.snapshot())) or pytest.fail("damaged"))
    for key in (
        "uidvalidity",
        "mailbox_id",
        "uidnext",
        "modseq",
        "first_recent",
        "times",
        "letters",
        "names",
        "in_new",
    ):
        assert getattr(found, key) == getattr(index, key), key
    for key in ("unseen", "deleted", "octets", "unknown_sizes"):
        assert getattr(found, key) == getattr(index, key), key
    assert list(found.table.uids) == [1, 5, 9]
    assert [found.table.flags_of(row) for row in range(3)] == [index.table.flags_of(row) for row in range(3)]
    assert list(found.table.modseqs) == [100, 100, 101]
    assert found.history.changes(100, found.table).expunged == [2, 3]
    assert found.history.changes(100, found.table).changed == [9]


def test_a_batch_may_be_applied_twice() -> None:
    once, twice = filled(), filled()
    change = Change()
    change.came(12, b"12.x", True, frozenset(), (5, 5))
    change.became(5, b"5.x:2,F", False, frozenset({"\\Flagged"}))
    change.went([1])
    batch = change.batch(102)
    once.apply(batch)
    twice.apply(batch)
    twice.apply(batch)
    assert once.snapshot().columns == twice.snapshot().columns
    assert (once.names, once.in_new, once.unseen, once.octets) == (
        twice.names,
        twice.in_new,
        twice.unseen,
        twice.octets,
    )


def test_many_deletions_at_once_equal_single_ones() -> None:
    one, other = Index(), Index()
    change = Change()
    for uid in range(1, 101):
        change.came(uid, b"%d" % uid, False, frozenset({"\\Deleted"} if uid % 3 else ()), (uid, -1))
    batch = change.batch(1)
    one.apply(batch)
    other.apply(batch)
    doomed = [uid for uid in range(1, 101) if uid % 3]
    together = Change()
    together.went(doomed)
    one.apply(together.batch(2))
    for uid in doomed:
        single = Change()
        single.went([uid])
        other.apply(single.batch(2))
    assert one.snapshot().columns == other.snapshot().columns and one.names == other.names
    assert (one.unseen, one.deleted, one.octets) == (other.unseen, other.deleted, other.octets)
    assert one.history.changes(1, one.table).expunged == other.history.changes(1, other.table).expunged == doomed
