"""File names in the index files: who shares a mailbox can write there, and what he writes must not lead elsewhere."""

from array import array
from pathlib import Path

import pytest
from support.maildir_site import Site, put

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.journal import MAGIC, pack
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index, from_snapshot
from greenmail.storage.snapshot import Snapshot, read, write

ELSEWHERE = "../../../secret"


@pytest.mark.parametrize("first", [ELSEWHERE, "/etc/passwd", "a/", "/", "\u20ac"])
def test_each_row_keeps_its_own_name(first: str) -> None:
    """A name with a slash was two, and each message behind it had the file of another."""
    index = Index()
    rows = [[1, first, 0, 0, 1, 1], [2, "two", 0, 0, 1, 1], [3, "three", 1, 0, 1, 1]]
    index.apply({"m": 1, "flags": [[]], "new": rows})
    assert len(index.names) == 3
    assert index.names[1:] == [b"two", b"three"]
    index.apply({"m": 2, "flags": [[]], "new": [[1, first, 0, 0, 1, 1]], "set": [[2, first, 0, -1]]})
    assert not any(b"/" in name for name in index.names)
    assert index.where(3) == (b"three", True)


def test_a_snapshot_with_such_a_name_counts_for_nothing() -> None:
    index = Index()
    index.mailbox_id = "0" * 32
    change = Change()
    for uid in (1, 2):
        change.came(uid, b"name%d" % uid, False, frozenset())
    index.apply(change.batch(1))
    good = index.snapshot()
    assert from_snapshot(good).names == [b"name1", b"name2"]
    with pytest.raises(ValueError, match="leads elsewhere"):
        from_snapshot(Snapshot(good.meta, good.columns, [b"name1", ELSEWHERE.encode()]))


@pytest.mark.parametrize("part", ["journal", "snapshot"])
def test_no_file_elsewhere_is_read_or_removed(site: Site, part: str) -> None:
    secret = site.path.parent / "secret"
    secret.write_bytes(b"Subject: secret\n\n")
    for number in range(2):
        site.deliver(name=f"170000000{number}.M1P1.mx:2,T", where="cur")
    site.age()
    first = site.inbox()
    first.look()
    first.close()
    path = site.path / ("greenmail.log" if part == "journal" else "greenmail.index")
    leads = "../../secret"
    if part == "journal":
        assert path.read_bytes().startswith(MAGIC)
        with path.open("ab") as file:
            file.write(pack({"set": [[1, leads, 0, -1]]}))
    else:
        saved = read(Files(), bytes(path))
        assert saved is not None
        saved.columns["uids"] = array("I", [1, 2])
        saved.files[0] = leads.encode()
        write(Files(), bytes(path), saved, Ownership(0o600, 0o700, None))
    inbox = site.inbox()
    inbox.look()
    for uid in inbox.table.uids:
        try:
            assert b"secret" not in inbox.content(uid).read()
        except StorageError:
            continue
    inbox.expunge([1], flagged=False)
    assert secret.exists()
    assert Path(site.path / "cur" / "1700000001.M1P1.mx:2,T").exists()


NO_CHANGES = [
    {"new": [[1]]},
    {"new": [["x", "name", 0, 0, 1, 1]], "flags": [[]]},
    {"new": [[3, "name", 0, 7, 1, 1]]},
    {"new": [[1 << 40, "name", 0, 0, 1, 1]], "flags": [[]]},
    {"set": 7},
    {"set": [[1, 2, 0, -1]]},
    {"gone": "x"},
    {"fact": [[1]]},
    {"letters": []},
    {"times": "x"},
    {"m": "x"},
]


@pytest.mark.parametrize("record", NO_CHANGES, ids=str)
def test_a_record_that_is_no_change_costs_nobody_his_mailbox(site: Site, record: dict[str, object]) -> None:
    """Its checksum is right, so somebody wrote it so. The index is made anew."""
    site.deliver(name="1700000000.M1P1.mx:2,S", where="cur")
    site.age()
    first = site.inbox()
    first.look()
    first.close()
    with (site.path / "greenmail.log").open("ab") as file:
        file.write(pack(record))
    inbox = site.inbox()
    inbox.look()
    assert list(inbox.table.uids) == [1]
    assert inbox.table.flags_of(0) == {"\\Seen"}
    assert inbox.content(1).read()


@pytest.mark.parametrize("record", [*NO_CHANGES, {"new": [[2, "a", 0, 0, 1, 1], [1 << 40, "b", 0, 0, 1, 1]]}], ids=str)
def test_nor_those_who_have_it_open(site: Site, record: dict[str, object]) -> None:
    """Half of it may have been taken up: nobody goes on with that, and whoever opens the mailbox again has it whole."""
    site.deliver(name="1700000000.M1P1.mx:2,S", where="cur")
    site.age()
    account = site.worker()
    inbox = account.open("INBOX")
    with (site.path / "greenmail.log").open("ab") as file:
        file.write(pack({"flags": [[]], **record}))
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            inbox.look()
        assert caught.value.reason is Reason.GONE
    again = account.open("INBOX")
    assert list(again.table.uids) == [1]
    assert again.table.flags_of(0) == {"\\Seen"}


LACKS: list[tuple[str, object]] = [
    ("uidvalidity", "7"),
    ("uidnext", None),
    ("modseq", [1]),
    ("first_recent", 1.5),
    ("expunged_floor", {}),
    ("mailbox_id", None),
    ("mailbox_id", 7),
    ("times", [1]),
    ("times", ["x"] * 10),
    ("letters", []),
    ("in_new", [[1]]),
    ("flag_sets", []),
    ("expunged", [[1]]),
    ("expunged", [["x", "y", "z"]]),
    ("cache", ["x"]),
    ("journal", None),
]


@pytest.mark.parametrize("key, value", LACKS, ids=str)
def test_a_snapshot_of_another_kind_costs_nobody_his_mailbox(
    site: Site, caplog: pytest.LogCaptureFixture, key: str, value: object
) -> None:
    """Its checksum is right, so somebody wrote it so: another version of this program, or who shares the mailbox."""
    site.deliver(name="1700000000.M1P1.mx:2,S", where="cur")
    site.age()
    first = site.inbox()
    first.look()
    first.close()
    path = bytes(site.path / "greenmail.index")
    saved = read(Files(), path)
    assert saved is not None
    saved.meta[key] = value
    if value is None:
        del saved.meta[key]
    write(Files(), path, saved, Ownership(0o600, 0o700, None))
    inbox = site.inbox()
    inbox.look()
    assert "index-damaged" in caplog.text
    assert list(inbox.table.uids) == [1]
    assert inbox.table.flags_of(0) == {"\\Seen"}
    assert put(inbox) == 2
    assert inbox.changes(0).changed == [1, 2]


@pytest.mark.parametrize("name", ["uids", "flags", "modseqs", "sizes", "dates"])
def test_a_column_of_another_kind_counts_for_nothing(name: str) -> None:
    index = Index()
    index.mailbox_id = "0" * 32
    saved = index.snapshot()
    saved.columns[name] = array("d")
    with pytest.raises(ValueError, match=name):
        from_snapshot(saved)
