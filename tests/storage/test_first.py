"""The first look in columns gives what the look at message by message gives."""

import errno
import os
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.maildir_site import Site

from greenmail.storage import maildir_first, maildir_slices
from greenmail.storage import uidlist as uidlist_module
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_first import First, columns
from greenmail.storage.maildir_name import base_name, is_message, sizes_of, uid_order
from greenmail.storage.uidlist_format import parse

SECONDS = st.sampled_from([b"1700000000.", b"1700000001.", b"1700000012.", b"0000000000."])
UNIQUE = st.sampled_from(
    [b"M1P2.mx", b"M20P1.mx", b"M3P1.mx", b"V8I2M3.mx", b"", b"a", b"a,b", b"M000003P1", b"M000020P1"]
)
SIZES = st.sampled_from(
    [b"", b"", b",S=7,W=9", b",S=7", b",W=12", b",W=x", b",W=1,W=2", b",W=5,S=3", b",W=" + b"9" * 19]
)
INFOS = st.sampled_from([b":2,", b":2,S", b":2,FS", b":2,ab", b":1,x", b":2,S,W=3", b":"])
BASES = st.tuples(SECONDS, UNIQUE, SIZES).map(b"".join)
USUAL_CUR = st.lists(st.tuples(BASES, INFOS).map(b"".join), max_size=25, unique_by=base_name)
ODD = st.sampled_from([
    b"", b":2,S", b"2,S", b"x", b"x:y:2,S", b"1700000000.a:2,S:", b"1700000000.a", b".hidden", b".", b"1.a:2,S",
    b"1700000000.a\n:2,S", b"1700000000.a:2,S\n", b"1700000000.\r:2,S", b"17000000001.a:2,", b"1700000000",
    b":", b"::", b"\n:",
])  # fmt: skip


@pytest.fixture(autouse=True, params=[8, 4096])
def _slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir_slices, "SLICE", request.param)
    monkeypatch.setattr(maildir_first, "SLICE", request.param)


def told(first: First) -> list[tuple[bytes, bytes, bytes, int, bool]]:
    """Row by row: file name, base name, info, size, whether in `new/`."""
    kinds = list(first.kinds)
    new = set(first.new)
    return [
        (name, base, b"" if row in new else kinds[kind][:-1], size, row in new)
        for row, (name, base, kind, size) in enumerate(
            zip(first.names, first.bases, first.infos, first.sizes, strict=True)
        )
    ]


def expected(new: list[bytes], cur: list[bytes]) -> list[tuple[bytes, bytes, bytes, int, bool]]:
    """The same, message by message."""
    files = [(name, True) for name in new if is_message(name)] + [(name, False) for name in cur if is_message(name)]
    found = []
    for name, is_new in sorted(files, key=lambda file: uid_order(file[0])):
        size = sizes_of(base_name(name)).with_crlf
        found.append((name, base_name(name), name.partition(b":")[2], -1 if size is None else size, is_new))
    return found


@given(st.lists(BASES, max_size=5, unique=True), USUAL_CUR)
@example([], [])
@example([b"1700000000.a"], [])
@example([b"1700000000.a"], [b"1700000000.a,b:2,S", b"1700000000.a.b:2,S"])
def test_usual_names_are_taken_as_columns(new: list[bytes], cur: list[bytes]) -> None:
    bases = set(map(base_name, cur))
    new = [name for name in new if name not in bases]
    found = columns(new, cur)
    # Which are in `new/` could not be told from the others; and where a base name begins with another the colon counts.
    is_unclear = any(name.endswith(b":") for name in cur)
    ordered = sorted([*new, *bases])
    if is_unclear or any(after.startswith(before) for before, after in pairwise(ordered)):
        assert found is None or told(found) == expected(new, cur)
    else:
        assert found is not None and told(found) == expected(new, cur)


@given(
    st.lists(BASES | ODD, max_size=5, unique=True), st.lists(st.tuples(BASES, INFOS).map(b"".join) | ODD, max_size=8)
)
@example([b"x"], [b"2,S", b"y:2,S:z"])
@example([], [b"2,S", b"2,T", b"y:2,:2,"])
@example([b"1700000000.a:"], [])
@example([], [b"1700000000.a", b"1700000001.b:2,S:c"])
def test_whatever_is_taken_as_columns_is_what_it_is(new: list[bytes], cur: list[bytes]) -> None:
    found = columns(new, cur)
    bases = [base_name(name) for name in (*new, *cur) if is_message(name)]
    if found is None:
        return
    assert told(found) == expected(new, cur)
    assert len(set(bases)) == len(bases) and b"" not in bases and not any(b":" in name for name in new)


@pytest.mark.parametrize("name", [
    b"1700000000.a:2,F", b"1700000000.a", b"x:2,S", b":2,S", b"1700000005.a", b"1700000005.a:2,S:",
    b"1700000005.a\n:2,", b"1700000005.a\r:2,", b"99999999999.a:2,S",
])  # fmt: skip
def test_what_takes_a_closer_look(name: bytes) -> None:
    """The same base name twice, none, no info, two colons, line ends, no time."""
    cur = [b"170000000%d.a:2,S" % number for number in range(5)]
    assert columns([b".hidden"], [*cur, b".hidden"]) is not None and columns([], [*cur, name]) is None


def test_very_many_kinds_of_infos_take_a_closer_look() -> None:
    names = [b"17%08d.a:2,S,%d" % (number, number) for number in range(256)]
    assert columns([], names[:255]) is not None and columns([], names) is None


def state(mailbox: MaildirMailbox) -> dict[str, Any]:
    """What the index has, without what differs from run to run."""
    index = mailbox.box.index
    saved = index.snapshot()
    again = type(index)()
    again.adopt(index)
    counted = [(each.unseen, each.deleted, each.octets, each.unknown_sizes) for each in (index, again)]
    assert counted[0] == counted[1], "the counters are those of the columns"
    flags = [sorted(index.table.flags_of(row)) for row in range(len(index.table))]
    return {
        "columns": [list(saved.columns[name]) for name in ("uids", "sizes", "dates")],
        "modseqs": {modseq - index.modseq for modseq in saved.columns["modseqs"]},
        "flags": flags,
        "files": saved.files,
        "meta": [saved.meta[key] for key in ("uidnext", "first_recent", "letters", "in_new")],
        "new": index.new_names,
        "counted": counted[0],
        "changed": index.history.changes(index.modseq - 1, index.table),
        "keywords": mailbox.keywords,
    }


GUID = b"0123456789abcdef0123456789abcdef"
KNOWN = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([b"", b"W755 ", b"W7x Pa ", b"G1 "])), max_size=6)


@settings(max_examples=12, deadline=None)
@given(st.lists(BASES, max_size=4, unique=True), USUAL_CUR, KNOWN)
@example([b"1700000000.a"], [b"1700000001.b:2,Sc", b"1700000000.a,b:2,T"], [])
@example([b"1700000001.a"], [b"1700000000.a:2,S", b"1700000012.a:2,"], [(0, b"W9 "), (1, b""), (9, b"")])
@example([b"1700000012.a"], [b"1700000000.a:2,S", b"1700000001.a:2,"], [(1, b"W9 "), (0, b"")])
@example([], [b"1700000000.a:2,S"], [(0, b"")])
@example([], [], [(0, b"")])
def test_a_mailbox_is_the_same_whichever_way_it_was_met(
    new: list[bytes], cur: list[bytes], known: list[tuple[int, bytes]]
) -> None:
    """A directory among the messages has the other way taken. `known`: what the uidlist has, by place, with fields."""
    new = sorted(set(new).difference(map(base_name, cur)))
    bases = [*map(base_name, cur), *new, b"1600000000.gone"]
    lines = {bases[place % len(bases)]: fields for place, fields in known}
    records = [b"%d %b:%b\n" % (3 * uid, fields, base) for uid, (base, fields) in enumerate(lines.items(), 1)]
    with TemporaryDirectory() as path:
        seen = []
        for name in ("one", "other"):
            site = Site(Path(path) / name)
            site.worker().close()
            for part, names in (("new", new), ("cur", cur)):
                for each in names:
                    (site.path / part / os.fsdecode(each)).touch()
            if name == "other":
                (site.path / "cur" / "directory").mkdir()
            uidlist = site.path / "dovecot-uidlist"
            if records:
                uidlist.write_bytes(b"3 V7 N40 G" + GUID + b"\n" + b"".join(records))
            inbox = site.inbox()
            again = site.inbox()
            seen.append((state(inbox), state(again)["files"], uidlist.read_bytes().partition(b"\n")[2]))
            assert inbox.box.uidlist.uids == parse(uidlist.read_bytes()).uids
        assert seen[0] == seen[1]


@pytest.mark.parametrize("records", [1, 70_000])
def test_many_names_are_looked_up_at_once(records: int) -> None:
    known = parse(
        b"3 V7 N1 G" + GUID + b"\n" + b"".join(b"%d :a%d\n" % (uid, uid) for uid in range(1, records + 1))
    ).uids
    bases = [b"a%d" % number for number in range(records + 2, -1, -1)]
    assert list(known.uids_of(bases)) == [0, 0, *range(records, 0, -1), 0]


def test_messages_without_room_for_a_uid_wait(tmp_path: Path) -> None:
    site = Site(tmp_path / "Maildir")
    site.worker().close()
    for number in range(3):
        site.deliver(name=f"170000000{number}.a:2,S", where="cur")
    (site.path / "dovecot-uidlist").write_bytes(b"3 V7 N9 G" + GUID + b"\n5 :1700000001.a\n7 :1700000000.a\n")
    site.fail["fdatasync"] = errno.ENOSPC
    inbox = site.inbox()
    assert list(inbox.table.uids) == [5, 7]
    assert inbox.box.index.names == [b"1700000001.a:2,S", b"1700000000.a:2,S"]
    site.fail.clear()
    inbox.look()
    assert list(inbox.table.uids)[:2] == [5, 7] and len(inbox.table) == 3


def test_a_long_list_rests_as_soon_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uidlist_module, "_LONG", 3)
    site = Site(tmp_path / "Maildir")
    site.worker().close()
    names = [site.deliver(name=f"170000000{number}.a:2,S", where="cur") for number in range(4)]
    inbox = site.inbox()
    known = inbox.box.uidlist
    assert known.rests and known.has_records and known.lines() == 4
    site.deliver(name="1700000009.b")
    inbox.look()
    assert known.rests and list(inbox.table.uids) == [1, 2, 3, 4, 5]
    assert list(known.uids.items()) == [
        (os.fsencode(name[:12]), uid) for uid, name in enumerate([*names, "1700000009.b"], 1)
    ]
