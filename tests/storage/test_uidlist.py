"""dovecot-uidlist: formats.md 2, the damage table of 2.6, checks 35 to 37."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least
from support.trees import unpack

from greenmail.errors import Reason, StorageError
from greenmail.storage import uidlist_format, uidlist_records
from greenmail.storage.filesystem import Files
from greenmail.storage.uidlist import Refreshed, Uidlist
from greenmail.storage.uidlist_format import format_fields, new_guid, parse, parse_fields, parse_header

GUID = b"513ef33294c3026bc318000074170df8"
HEADER = b"3 V1795343254 N21 G" + GUID + b"\n"


@pytest.fixture(scope="module", autouse=True, params=[(65_536, 64), (2, 3), (0, 1)], ids=["few", "many", "all-packed"])
def sizes(request):
    """Every test with records in a dict, and packed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uidlist_records, "YOUNG", request.param[0])
        patch.setattr(uidlist_format, "YOUNG", request.param[0])
        patch.setattr(uidlist_records, "BLOCK", request.param[1])
        yield


def fields_of(uids):
    return {uid: raw for uid, raw, _ in uids.records() if raw}


@pytest.fixture
def path(tmp_path):
    return os.fsencode(tmp_path / "dovecot-uidlist")


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def opened(path, data, locked=True, files=None):
    write(path, data)
    uidlist = Uidlist(files or Files(), path)
    assert uidlist.refresh(locked) is Refreshed.REREAD
    return uidlist


@pytest.mark.parametrize(
    "line, expected",
    [
        (HEADER, (3, 1795343254, 21, GUID, ())),
        (b"3 N21 V7 Xfoo G" + GUID + b" Pabc yz\r\n", (3, 7, 21, GUID, (b"Xfoo", b"Pabc", b"yz"))),
        (b"3 V7 N2\n", (3, 7, 2, b"", ())),
        (b"3 V7 N2 Gshort\n", (3, 7, 2, b"", ())),
        (b"1 795343556 14\n", (1, 795343556, 14, b"", ())),
        (b"3 V0 N2\n", (3, 0, 2, b"", ())),
        (b"3 V4294967296 N2\n", (3, 0, 2, b"", ())),
        (b"2 V7 N2\n", (0, 0, 0, b"", ())),
        (b"9 V7 N2\n", (0, 0, 0, b"", ())),
        (b"1 7\n", (0, 0, 0, b"", ())),
        (b"", (0, 0, 0, b"", ())),
        (b"\0\0\0\n", (0, 0, 0, b"", ())),
    ],
)
def test_header(line, expected):
    header = parse_header(line)
    assert (header.version, header.uidvalidity, header.next_uid, header.guid, header.others) == expected


@pytest.mark.parametrize(
    "line, uids, fields",
    [
        (b"17 W755 :1704300000.4711_2.otherhost,S=755\n", {b"1704300000.4711_2.otherhost,S=755": 17}, {17: b"W755"}),
        (b"3 :a\n", {b"a": 3}, {}),
        (b"3 :a:2,FS\n", {b"a": 3}, {}),  # an old server's last full name is a hint
        (b"3 :a b,S=1\n", {b"a b,S=1": 3}, {}),
        (b"3 P :a\n", {b"a": 3}, {3: b"P"}),  # empty value: the base name
        (b"3 Px:y W1 :a\n", {b"a": 3}, {3: b"Px:y W1"}),
        (b"2 G1.a,S=7 :b\n", {b"b": 2}, {2: b"G1.a,S=7"}),
        (b"3 Znew W5 :a\r\n", {b"a": 3}, {3: b"Znew W5"}),
    ],
)
def test_records(line, uids, fields):
    parsed = parse(HEADER + line)
    assert (parsed.uids, fields_of(parsed.uids), parsed.damage) == (uids, fields, ())


# What stands behind the header; the UIDs that survive; the next UID; formats.md 2.6 and checks 35 to 37.
DAMAGE = [
    (b"1 :a\n2 :b\ngarbage\n", {b"a": 1, b"b": 2}, 21),
    (b"1 :a\n2 garbage\n3 :c\n", {b"a": 1, b"c": 3}, 21),
    (b"1 :a\n30 garbage\n", {b"a": 1}, 31),  # a client may know UID 30
    (b"1 :a\n4000000000 garbage\n", {b"a": 1}, 21),  # not to be believed
    (b"1 :a\n3 :c\n2 :b\n", {b"a": 1, b"b": 2, b"c": 3}, 21),  # not ascending: Dovecot renumbers b
    (b"1 :a\n2 :b\n2 :c\n4 :d\n", {b"a": 1, b"b": 2, b"d": 4}, 21),  # one UID, two messages: the first has it
    (b"1 :a\n2 :b\n3 :a\n", {b"b": 2, b"a": 3}, 21),  # same name twice: the later line
    (b"1 :a\n25 :b", {b"a": 1, b"b": 25}, 26),  # no LF
    (b"1 :a\n25", {b"a": 1}, 26),
    (b"1 :a\n2 :x/y\n3 :c\n", {b"a": 1, b"c": 3}, 21),
    (b"1 :a\n0 :b\n", {b"a": 1}, 21),
    (b"1 :a\n4294967295 :b\n", {b"a": 1}, 21),
    (b"1 :a\n99999999999 :b\n", {b"a": 1}, 21),
    (b"1 :a\n2 lower W5 :b\n", {b"a": 1, b"b": 2}, 21),  # a field that is none is dropped
    (b"1 :a\n\n2 :b\n", {b"a": 1, b"b": 2}, 21),
    (b"1 :a\n2 :b\n" + b"\0" * 40, {b"a": 1, b"b": 2}, 21),  # after a power cut
    (b"1 :a\n2 :\n", {b"a": 1}, 21),
    (b"1 :a\n1 :a\n", {b"a": 1}, 21),
]


@pytest.mark.parametrize("records, uids, next_uid", DAMAGE)
def test_damage_is_repaired_and_costs_no_other_message_its_uid(path, records, uids, next_uid):
    uidlist = opened(path, HEADER + records)
    assert (uidlist.uids, uidlist.next_uid, uidlist.uidvalidity) == (uids, next_uid, 1795343254)
    assert uidlist.must_rewrite and uidlist.should_rewrite(100)
    assert uidlist.assign([b"new"]) == [next_uid]
    parsed = parse(read(path))
    assert not parsed.damage
    assert parsed.uids == {**uids, b"new": next_uid} and parsed.header.guid == GUID


def test_a_damaged_line_keeps_its_good_fields(path):
    uidlist = opened(path, HEADER + b"2 x W5 9 P1 :b\n3 :c\n")
    assert fields_of(uidlist.uids) == {2: b"W5 P1"}


def test_crlf_is_read_and_goes_with_the_next_rewrite(path):
    uidlist = opened(path, HEADER.replace(b"\n", b"\r\n") + b"1 W5 :a\r\n2 :b:2,S\r\n")
    assert uidlist.uids == {b"a": 1, b"b": 2}
    uidlist.rewrite()
    assert read(path) == b"3 V1795343254 N21 G" + GUID + b"\n1 W5 :a\n2 :b\n"


def test_version_1_becomes_version_3_with_all_uids(path):
    uidlist = opened(path, b"1 795343556 14\n1 1704103200.V801I2f00M100001.mx1\n13 b c,S=155\n")
    assert uidlist.must_rewrite and uidlist.next_uid == 14
    uidlist.rewrite()
    lines = read(path).split(b"\n")
    assert lines[0].startswith(b"3 V795343556 N14 G") and len(lines[0]) == len(b"3 V795343556 N14 G") + 32
    assert lines[1:] == [b"1 :1704103200.V801I2f00M100001.mx1", b"13 :b c,S=155", b""]


def test_version_1_with_uids_beyond_its_next_uid(path):
    assert opened(path, b"1 7 3\n1 a\n9 b\n").next_uid == 10


@pytest.mark.parametrize("header", [b"2 V7 N9\n", b"9\n", b"\n", b"3 N5\n", b"3 V0 N5\n", b"", b"\0\0\0\0\n"])
def test_a_broken_header_costs_no_uid_if_the_uidvalidity_is_known(path, header):
    write(path, header + b"1 :a\n4 :b\n")
    uidlist = Uidlist(Files(), path)
    uidlist.remember(77, 30)
    uidlist.refresh(locked=True)
    assert (uidlist.uidvalidity, uidlist.next_uid, uidlist.uids) == (77, 30, {b"a": 1, b"b": 4})
    assert uidlist.must_rewrite
    uidlist.rewrite()
    assert read(path).startswith(b"3 V77 N30 G")


def test_a_broken_header_without_memory_needs_a_new_uidvalidity(path):
    uidlist = opened(path, b"2 x\n1 :a\n")
    assert uidlist.uidvalidity == 0
    with pytest.raises(ValueError, match="UIDVALIDITY"):
        uidlist.assign([b"b"])
    uidlist.start(99)
    assert read(path).startswith(b"3 V99 N2 G") and read(path).endswith(b"\n1 :a\n")


def test_an_unfinished_header_is_not_believed(path):
    assert opened(path, b"3 V17953").uidvalidity == 0


def test_a_missing_file_is_started(path):
    uidlist = Uidlist(Files(), path)
    assert uidlist.refresh(locked=True) is Refreshed.MISSING
    uidlist.start(1795343254, GUID)
    assert read(path) == b"3 V1795343254 N1 G" + GUID + b"\n"
    assert uidlist.refresh(locked=True) is Refreshed.UNCHANGED
    assert uidlist.assign([b"a", b"b"]) == [1, 2]
    assert read(path) == b"3 V1795343254 N1 G" + GUID + b"\n1 :a\n2 :b\n"  # N stays low, as Dovecot does it


def test_a_file_that_goes_away_is_put_back(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    os.unlink(path)
    assert uidlist.refresh(locked=True) is Refreshed.MISSING
    uidlist.rewrite()
    assert read(path) == HEADER + b"1 :a\n"


def test_a_file_that_goes_away_while_it_is_opened(path):
    write(path, HEADER)

    def vanish(name, function, *args):
        if name == "open":
            os.unlink(path)
        return function(*args)

    assert Uidlist(Files(vanish), path).refresh(locked=False) is Refreshed.MISSING


def test_without_the_lock_an_unfinished_line_is_left_alone(path):
    uidlist = opened(path, HEADER + b"1 :a\n2 :hal", locked=False)
    assert uidlist.uids == {b"a": 1} and not uidlist.must_rewrite
    with open(path, "ab") as other:
        other.write(b"f\n")
    uidlist.refresh(locked=False)
    assert uidlist.uids == {b"a": 1, b"half": 2} and not uidlist.must_rewrite


def test_with_the_lock_the_same_bytes_are_repaired(path):
    uidlist = opened(path, HEADER + b"1 :a\n2 :hal", locked=False)
    assert uidlist.refresh(locked=True) is Refreshed.REREAD
    assert uidlist.assign([b"b"]) == [21]
    assert read(path) == HEADER.replace(b"N21", b"N22") + b"1 :a\n2 :hal\n21 :b\n"


def test_appended_lines_are_read_on(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    known = uidlist.uids
    with open(path, "ab") as other:
        other.write(b"30 :b\n31 W5 :c\n")
    assert uidlist.refresh(locked=True) is Refreshed.APPENDED
    assert uidlist.uids is known and known == {b"a": 1, b"b": 30, b"c": 31}
    assert (fields_of(uidlist.uids), uidlist.next_uid) == ({31: b"W5"}, 32)
    assert uidlist.refresh(locked=True) is Refreshed.UNCHANGED


@pytest.mark.parametrize("more", [b"1 :b\n", b"2 :a\n", b"junk\n", b"5 :x\n4 :y\n", b"9 :x\n10 :x\n"])
def test_other_appended_lines_mean_reading_all(path, more):
    uidlist = opened(path, HEADER + b"1 :a\n")
    with open(path, "ab") as other:
        other.write(more)
    assert uidlist.refresh(locked=True) is Refreshed.REREAD
    assert uidlist.must_rewrite


def test_a_replaced_file_is_read_anew(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    write(path + b".new", HEADER + b"1 :b\n")
    os.rename(path + b".new", path)
    assert uidlist.refresh(locked=True) is Refreshed.REREAD
    assert uidlist.uids == {b"b": 1}


def test_a_longer_file_with_the_same_inode_number_is_not_taken_for_an_append(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    with open(path, "r+b") as other:  # as if the number had been used again
        other.write(HEADER + b"7 :b\n8 :c\n")
    assert uidlist.refresh(locked=True) is Refreshed.REREAD
    assert uidlist.uids == {b"b": 7, b"c": 8}


def test_the_next_uid_never_falls(path):
    uidlist = opened(path, HEADER + b"1 :a\n40 :b\n")
    uidlist.rewrite(live={b"a"})
    assert read(path) == HEADER.replace(b"N21", b"N41") + b"1 :a\n"
    write(path, HEADER + b"1 :a\n")  # an old backup
    uidlist.refresh(locked=True)
    assert uidlist.next_uid == 41
    fresh = Uidlist(Files(), path)
    fresh.remember(1795343254, 50)
    fresh.refresh(locked=True)
    assert fresh.next_uid == 50
    fresh.remember(1795343254, 45)
    assert fresh.next_uid == 50


def test_another_uidvalidity_begins_anew(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    uidlist.remember(1795343254, 500)
    write(path, b"3 V1795343299 N2 G" + GUID + b"\n1 :a\n")
    uidlist.refresh(locked=True)
    assert (uidlist.uidvalidity, uidlist.next_uid) == (1795343299, 2)


@pytest.mark.parametrize(
    "lines, live, due", [(4, 4, False), (4, 3, True), (100, 76, False), (100, 75, True), (0, 0, False)]
)
def test_rewrite_at_three_quarters(path, lines, live, due):
    records = b"".join(b"%d :m%d\n" % (number, number) for number in range(1, lines + 1))
    assert opened(path, HEADER + records).should_rewrite(live) is due


def test_a_reused_name_gets_a_new_uid_by_a_rewrite(path):
    uidlist = opened(path, HEADER + b"1 W3 :a\n2 :b\n")
    assert uidlist.assign([b"a"], {b"a": b"W9"}) == [21]
    assert read(path) == HEADER.replace(b"N21", b"N22") + b"2 :b\n21 W9 :a\n"
    assert (uidlist.uids, fields_of(uidlist.uids)) == ({b"b": 2, b"a": 21}, {21: b"W9"})


def test_fields_of_records(path):
    uidlist = opened(path, HEADER + b"1 Zkeep W3 :a\n2 :b\n")
    assert (uidlist.field(1, b"W"), uidlist.field(1, b"P"), uidlist.field(2, b"W")) == (b"3", None, None)
    uidlist.set_field(1, b"W", b"4")
    uidlist.set_field(1, b"P", b"")
    uidlist.set_field(2, b"O", b"1")
    assert uidlist.must_rewrite
    uidlist.rewrite()
    assert read(path) == HEADER + b"1 Zkeep W4 P :a\n2 O1 :b\n"
    with pytest.raises(ValueError, match="field"):
        uidlist.set_field(1, b"P", b"a b")


def test_unknown_header_keys_stay(path):
    uidlist = opened(path, b"3 Xfoo V7 N2 yBar G" + GUID + b"\n1 :a\n")
    uidlist.rewrite()
    assert read(path) == b"3 V7 N2 G" + GUID + b" Xfoo yBar\n1 :a\n"


def test_uids_run_out(path):
    uidlist = opened(path, b"3 V7 N4294967293 G" + GUID + b"\n")
    with pytest.raises(StorageError) as caught:
        uidlist.assign([b"a", b"b", b"c"])
    assert caught.value.reason is Reason.LIMIT
    assert uidlist.assign([b"a", b"b"]) == [4294967293, 4294967294]
    assert uidlist.next_uid == 4294967295


@pytest.mark.parametrize("base", [b"", b"a:2,S", b"a/b", b"a\nb"])
def test_what_is_no_base_name_is_not_written(path, base):
    with pytest.raises(ValueError, match="base name"):
        opened(path, HEADER).assign([base])
    assert read(path) == HEADER


def test_a_line_written_without_the_lock_is_not_lost(path):
    uidlist = opened(path, HEADER + b"1 :a\n")
    with open(path, "ab") as other:
        other.write(b"21 :foreign\n")
    assert uidlist.assign([b"b"]) == [22]
    assert parse(read(path)).uids == {b"a": 1, b"foreign": 21, b"b": 22}


class Full:
    """A disk that takes `room` more octets."""

    def __init__(self, room, failing="write"):
        self.room, self.failing = room, failing

    def __call__(self, name, function, *args):
        if name == self.failing and name != "write":
            raise OSError(errno.EIO, "broken")
        if name == "write" and self.failing == "write":
            data = bytes(args[1])[: self.room]
            self.room -= len(data)
            if not data:
                raise OSError(errno.ENOSPC, "full")
            return function(args[0], data)
        return function(*args)


@pytest.mark.parametrize("room", [0, 1, 5, 6, 9])
def test_half_an_append_is_taken_back_and_its_uids_are_not_used_again(path, room):
    uidlist = opened(path, HEADER + b"1 :a\n", files=Files(Full(room)))
    with pytest.raises(StorageError) as caught:
        uidlist.assign([b"b", b"c"])
    assert caught.value.reason is Reason.NO_SPACE
    assert read(path) == HEADER + b"1 :a\n"
    assert (uidlist.uids, uidlist.next_uid) == ({b"a": 1}, 23)


def test_an_append_that_was_not_synced_is_taken_back(path):
    uidlist = opened(path, HEADER + b"1 :a\n", files=Files(Full(0, "fdatasync")))
    with pytest.raises(StorageError) as caught:
        uidlist.assign([b"b"])
    assert caught.value.reason is Reason.UNAVAILABLE
    assert read(path) == HEADER + b"1 :a\n" and uidlist.must_rewrite


def test_a_failed_rewrite_changes_nothing(path):
    uidlist = opened(path, HEADER + b"1 W3 :a\n", files=Files(Full(10)))
    with pytest.raises(StorageError):
        uidlist.assign([b"a"])
    assert read(path) == HEADER + b"1 W3 :a\n"
    assert (uidlist.uids, fields_of(uidlist.uids)) == ({b"a": 1}, {1: b"W3"})
    assert os.listdir(os.path.dirname(path)) == [b"dovecot-uidlist"]


def test_records_can_be_loaded(path):
    uidlist = Uidlist(Files(), path)
    uidlist.load(7, 3, [(5, b"", b"b"), (2, b"O1 PUID1-9 W315", b"a")])
    uidlist.rewrite()
    assert parse(read(path)).uids == {b"a": 2, b"b": 5}
    assert read(path).startswith(b"3 V7 N6 G") and b"\n2 O1 PUID1-9 W315 :a\n5 :b\n" in read(path)


KEYS = st.sampled_from([b"W12", b"S7", b"P", b"Zx:y", b"O3", b"G1.2,S=3"])
BASES = st.binary(min_size=1, max_size=12).filter(lambda base: not set(base) & set(b":/\n\r"))


@given(
    st.dictionaries(BASES, st.lists(KEYS, unique=True, max_size=3), max_size=20),
    st.lists(st.sampled_from([b"Xa", b"qq", b"P%v"]), max_size=2),
    st.booleans(),
)
def test_what_is_rewritten_is_what_was_read(tmp_path_factory, records, others, hints):
    path = os.fsencode(tmp_path_factory.getbasetemp() / "property-uidlist")
    lines = [
        b" ".join([b"%d" % (3 * number + 1), *keys, b":" + base + (b":2,S" if hints else b"")]) + b"\n"
        for number, (base, keys) in enumerate(records.items())
    ]
    head = b" ".join([b"3 V7 N%d G%b" % (3 * len(records) + 9, GUID), *others]) + b"\n"
    uidlist = opened(path, head + b"".join(lines))
    assert not uidlist.must_rewrite
    uidlist.rewrite()
    assert read(path) == head + b"".join(line.replace(b":2,S\n", b"\n") if hints else line for line in lines)


@given(
    st.lists(st.sampled_from([b"1", b"23", b" ", b":", b"a", b"b,S=2", b"\n", b"\r", b"\0", b"W9", b"3 V7 N4\n", b"/"]))
)
def test_any_bytes_can_be_read(pieces):
    parsed = parse(b"".join(pieces))
    assert list(parsed.uids.values()) == sorted(set(parsed.uids.values()))
    assert fields_of(parsed.uids).keys() <= set(parsed.uids.values())


@given(st.dictionaries(st.sampled_from([b"W", b"P", b"G", b"Z"]), st.binary(max_size=5)))
def test_fields_round_trip_or_are_refused(fields):
    try:
        raw = format_fields(fields)
    except ValueError:
        assert any(set(value) & set(b" \r\n") for value in fields.values())
        return
    assert parse_fields(raw) == fields


def test_guids_are_32_hex_digits():
    assert len(new_guid()) == 32 and int(new_guid(), 16) and new_guid() != new_guid()


def test_every_list_that_dovecot_wrote_is_kept_byte_for_byte(tmp_path):
    unpack("dovecot", tmp_path)
    found = sorted(tmp_path.rglob("dovecot-uidlist"))
    assert len(found) > 10
    for file in found:
        before = file.read_bytes()
        uidlist = Uidlist(Files(), os.fsencode(file))
        uidlist.refresh(locked=True)
        assert not uidlist.must_rewrite
        uidlist.rewrite()
        after = file.read_bytes()
        assert after.split(b"\n")[1:] == before.split(b"\n")[1:]
        assert parse_header(after).uidvalidity == parse_header(before).uidvalidity
        assert parse_header(after).next_uid == max(parse_header(before).next_uid, parse(before).highest + 1)


def test_a_hundred_thousand_lines_are_cheap(path):
    """Some 100 ms each, for time in proportion; were it the square, it would be minutes."""
    records = b"".join(b"%d :1795343252.M%dP6.mx.example.org,S=%d,W=7\n" % (n, n, n) for n in range(1, 100_001))
    write(path, HEADER + records)
    uidlist = Uidlist(Files(), path)
    assert least(lambda: Uidlist(Files(), path).refresh(locked=True), 3) < 3
    uidlist.refresh(locked=True)
    assert least(uidlist.rewrite, 3) < 3
    assert read(path) == HEADER.replace(b"N21", b"N100001") + records
