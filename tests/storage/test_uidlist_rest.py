"""The UID list of a mailbox that nobody has open: its records are on disk alone, and it does what it always does."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import StorageError
from greenmail.storage import uidlist as uidlist_module
from greenmail.storage.filesystem import Files
from greenmail.storage.uidlist import Refreshed, Uidlist


def read(path):
    uidlist = Uidlist(Files(), os.fsencode(path))
    assert uidlist.refresh(True) is Refreshed.REREAD
    return uidlist


def test_a_list_that_rests_is_searched_and_not_read(tmp_path):
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef\n1 :a\n2 W9 :b,S=1\n3 :ab\n")
    uidlist = read(path)
    uidlist.rest()
    assert (uidlist.rests, uidlist.memory()) == (True, 0)
    assert [uidlist.uid_of(base) for base in (b"a", b"b,S=1", b"ab", b"b", b"S=1")] == [1, 2, 3, None, None]
    with path.open("ab") as file:
        file.write(b"5 :c\n")
    assert uidlist.refresh(True) is Refreshed.APPENDED
    assert uidlist.assign([b"d", b"b"]) == [6, 7]
    assert uidlist.rests
    assert dict(uidlist.uids.items()) == {b"a": 1, b"b,S=1": 2, b"ab": 3, b"c": 5, b"d": 6, b"b": 7}
    assert not uidlist.rests
    assert uidlist.field(2, b"W") == b"9"


@pytest.mark.parametrize(
    "lines",
    [
        b"1 :a:2,S\n2 W9 :b,S=1:x :c\n3 :ab\n",  # what stands behind a name's colon is a hint
        b"1 :a\r\n2 W9 :b,S=1\r\n3 :ab\r\n",
        b"1 :a\n2 W9 Xa:b :b,S=1:c\n3 :ab:a\n",
    ],
)
def test_a_list_in_every_form_that_is_read_is_searched(tmp_path, lines):
    """A message that is not found would get a second UID."""
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef :c\n" + lines)
    names = (b"a", b"b,S=1", b"ab", b"b", b"c", b"x", b"2,S")
    wanted = [read(path).uids.get(base) for base in names]
    assert wanted == [1, 2, 3, None, None, None, None]
    uidlist = read(path)
    uidlist.rest()
    assert uidlist.rests
    assert [uidlist.uid_of(base) for base in names] == wanted


def test_many_names_are_looked_for_in_one_reading(tmp_path):
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef\n1 :a\n2 W9 :b,S=1\n3 :ab\n")
    opened = []

    def call(name, function, *args):
        opened.extend([name] if name == "open" else [])
        return function(*args)

    uidlist = Uidlist(Files(call), os.fsencode(path))
    uidlist.refresh(True)
    uidlist.rest()
    opened.clear()
    assert uidlist.uids_of([b"ab", b"b", b"a", b"c"]) == [3, None, 1, None]
    assert uidlist.uids_of([b"b", b"c"]) == [None, None], "known by now"
    assert len(opened) == 1
    assert uidlist.assign([b"b", b"c"]) == [4, 5]
    assert len(opened) == 2, "nothing is looked for once more"
    assert uidlist.rests
    many = [b"%d" % number for number in range(40)]
    assert uidlist.uids_of([*many, b"c"]) == [None] * 40 + [5]
    assert not uidlist.rests, "for so many it is taken apart"


def test_a_list_that_rests_and_is_replaced(tmp_path):
    """Also with as many octets, between the look and the search."""
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef\n1 :a\n")
    uidlist = read(path)
    uidlist.rest()
    other = path.with_name("other")
    other.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef\n2 :b\n")
    other.rename(path)
    with pytest.raises(StorageError, match="replaced"):
        uidlist.uid_of(b"a")
    assert uidlist.refresh(True) is Refreshed.REREAD
    assert dict(uidlist.uids.items()) == {b"b": 2}
    uidlist.rest()
    path.unlink()
    assert uidlist.refresh(True) is Refreshed.MISSING
    with pytest.raises(StorageError, match="replaced"):
        uidlist.rewrite()  # what it had is not known: nothing is better than an empty list
    assert not path.exists()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("assign"), st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), unique=True, max_size=3)
        ),
        st.tuples(st.just("foreign"), st.sampled_from([b"f", b"g", b"h"])),
        st.tuples(st.just("rewrite"), st.sets(st.sampled_from([b"a", b"b", b"c", b"f"]))),
        st.tuples(st.just("field"), st.sampled_from([b"a", b"f"])),
        st.tuples(st.just("uid_of"), st.sampled_from([b"a", b"d", b"f"])),
        st.tuples(st.just("uids_of"), st.lists(st.sampled_from([b"a", b"b", b"d", b"f"]), max_size=5)),
    ),
    max_size=12,
)


@given(operations=OPERATIONS)
def test_resting_changes_nothing(tmp_path_factory, operations):
    """The same is done to two lists; one of them rests before each step."""
    place = tmp_path_factory.mktemp("rest")
    lists = []
    for name in ("awake", "resting"):
        file = place / name
        file.write_bytes(b"3 V7 N1 G0123456789abcdef0123456789abcdef\n")
        lists.append((read(file), file))
    for what, value in operations:
        results = []
        for uidlist, file in lists:
            if file.name == "resting":
                uidlist.rest()
            if what == "foreign" and value not in dict(uidlist.uids.items()):
                uidlist.rest() if file.name == "resting" else None
                with file.open("ab") as stream:
                    stream.write(b"%d W1 :%b\n" % (uidlist.next_uid, value))
                results.append(uidlist.refresh(True))
            elif what == "assign":
                results.append(uidlist.assign(value))
            elif what == "rewrite":
                uidlist.rewrite(value)
            elif what == "field" and (uid := uidlist.uid_of(value)) is not None:
                uidlist.set_field(uid, b"P", b"x")
            else:
                results.append(getattr(uidlist, what)(value) if what in ("uid_of", "uids_of") else None)
        assert results == [] or results[0] == results[1]
    awake, resting = (uidlist for uidlist, _ in lists)
    assert list(awake.uids.records()) == list(resting.uids.records())
    assert (awake.next_uid, awake.must_rewrite, awake.lines()) == (
        resting.next_uid,
        resting.must_rewrite,
        resting.lines(),
    )
    if not awake.must_rewrite:
        assert lists[0][1].read_bytes() == lists[1][1].read_bytes()


GUID = b"0123456789abcdef0123456789abcdef"
LINES = b"1 :a\n2 W9 :b,S=1\n7 :ab\n"


def trusting(path, known, uidvalidity=7, guid=GUID):
    uidlist = Uidlist(Files(), os.fsencode(path))
    uidlist.trust(known, uidvalidity, guid)
    return uidlist


def test_a_long_list_that_somebody_took_up_is_not_taken_apart_again(tmp_path, monkeypatch):
    monkeypatch.setattr(uidlist_module, "_LONG", 3)
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G" + GUID + b" Xfoo\n" + LINES)
    known = read(path).print()
    uidlist = trusting(path, known)
    assert uidlist.refresh(True) is Refreshed.UNCHANGED and uidlist.rests and uidlist.print() == known
    assert (uidlist.uidvalidity, uidlist.guid, uidlist.next_uid, uidlist.lines()) == (7, GUID, 8, 3)
    assert [uidlist.uid_of(base) for base in (b"a", b"b,S=1", b"ab", b"b")] == [1, 2, 7, None]
    with path.open("ab") as file:
        file.write(b"9 :c\n")
    assert uidlist.refresh(True) is Refreshed.APPENDED and uidlist.uid_of(b"c") == 9
    assert uidlist.assign([b"d"]) == [10] and uidlist.rests
    uidlist.rewrite()
    whole = b"3 V7 N11 G" + GUID + b" Xfoo\n" + LINES + b"9 :c\n10 :d\n"
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("data", "uidvalidity", "guid", "change"),
    [
        (b"3 V7 N4 G" + GUID + b"\n" + LINES, 8, GUID, None),
        (b"3 V7 N4 G" + GUID + b"\n" + LINES, 7, GUID[::-1], None),
        (b"3 V7 N4 G" + GUID + b"\n" + LINES[:-1], 7, GUID, None),
        (b"3 V7 N4 G" + GUID + b"\n" + LINES + b"rubbish\n", 7, GUID, None),
        (b"3 V7 N4\n" + LINES, 7, GUID, None),
        (b"1 7 8\n" + LINES.replace(b" W9", b"").replace(b":", b""), 7, GUID, None),
        (b"3 V7 N4 G" + GUID + b"\n1 :a\n2 :b\n", 7, GUID, None),  # short: the records may be asked for at once
        (b"3 V7 N4 G" + GUID + b"\n" + LINES, 7, GUID, lambda path: os.utime(path, (5, 5))),
        (b"3 V7 N4 G" + GUID + b"\n" + LINES, 7, GUID, lambda path: path.open("ab").write(b"9 :c\n")),
    ],
)
def test_a_list_that_may_be_another_is_read(tmp_path, monkeypatch, data, uidvalidity, guid, change):
    monkeypatch.setattr(uidlist_module, "_LONG", 3)
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(data)
    known = read(path).print()
    if change is not None:
        change(path)
    uidlist = trusting(path, known, uidvalidity, guid)
    assert uidlist.refresh(True) is Refreshed.REREAD and not uidlist.rests
    assert dict(uidlist.uids.items()) == dict(read(path).uids.items())


def test_fields_are_looked_for_in_a_list_that_rests(tmp_path):
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(b"3 V7 N4 G0123456789abcdef0123456789abcdef Oabc\n1 :a Pb\n2 W9 :b,S=1\n")
    uidlist = read(path)
    awake = [uidlist.may_have(key) for key in (b"W", b"G", b"O", b"id")]
    uidlist.rest()
    assert [uidlist.may_have(key) for key in (b"W", b"G", b"O", b"id")] == awake == [True, False, False, False]
    assert uidlist.rests
    path.unlink()
    assert uidlist.may_have(b"O"), "nobody can tell"
