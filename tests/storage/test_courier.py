"""What Courier left behind: formats.md 6, checks 46 to 49."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import unpack

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import courier, mutf7
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.courier import Imported, Maildrop, MaildropEntry
from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import Encoding, Layout
from greenmail.storage.folders import Folders
from greenmail.storage.keywords import Keywords, OverflowKeywords
from greenmail.storage.maildir_name import base_name
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.uidlist import Uidlist
from greenmail.storage.uidlist_format import parse, parse_fields

CAROL = Path(__file__).parent.parent / "data" / "maildirs" / "courier"
EXPECTED = json.loads((CAROL / "expected.json").read_text())


@pytest.fixture
def carol(tmp_path):
    return os.fsencode(unpack("courier", tmp_path))


@pytest.fixture
def mailbox(tmp_path):
    for name in ("cur", "new", "tmp", "courierimapkeywords"):
        (tmp_path / name).mkdir()
    return tmp_path


def imported(folder, inbox=True) -> Imported:
    return courier.import_mailbox(Files(), os.fsencode(folder), inbox)


@pytest.mark.parametrize(
    "data, next_number, uidvalidity, entries",
    [
        (
            b"/3 13 1795343589\n1704103200.a:2,S 315 1:1795343589:0\nb c,S=7:2, 9 2:0:1\n",
            13,
            1795343589,
            [(b"1704103200.a", 315, b"UID1-1795343589"), (b"b c,S=7", 9, b"UID2")],
        ),
        (b"/2 5 77\na 3 4:77\n", 5, 77, [(b"a", 3, b"UID4-77")]),
        (b"/1 5\na:2,S 3 4\n", 5, 0, [(b"a", 3, b"UID4")]),
        (b"a:2,S 3\nb'\"+\xe4 c 4\n", 0, 0, [(b"a", 3, b"a"), (b"b'\"+\xe4 c", 4, b"b+27+22+2B+E4+20c")]),
        (b"", 0, 0, []),
        (b"/3\njunk\n\n", 0, 0, []),
        (b"/3 x y\na 5 1:7:0", 0, 0, [(b"a", 5, b"UID1-7")]),
    ],
)
def test_pop3_list_of_every_version(data, next_number, uidvalidity, entries):
    expected = Maildrop(next_number, uidvalidity, tuple(MaildropEntry(*entry) for entry in entries))
    assert courier.parse_maildrop(data) == expected


@given(st.binary(max_size=80))
def test_any_bytes_can_be_read(data):
    for entry in courier.parse_maildrop(data).entries + courier.parse_maildrop(b"/3 1 2\n" + data).entries:
        assert entry.size >= 0 and b" " not in entry.uidl
    courier.parse_keyword_list(data)
    courier.parse_subscriptions(data)


@pytest.mark.parametrize(
    "list_file, updates, order, keywords",
    [
        (b"A\nB\n\nm1,S=3:0 1\nm2:1\n", {}, ["A", "B"], {b"m1,S=3": {"A", "B"}, b"m2": {"B"}}),
        (b"A\nB\n\nm1:0\n", {"m1": b"B\n"}, ["A", "B"], {b"m1": {"B"}}),  # a plain update file wins
        (b"A\n\nm1:0\n", {"m1": b""}, ["A"], {}),  # an empty one removes all
        (b"A\n\nm1:0\n", {".5.m1": b"C\n", ".40.m1": b"D\n"}, ["A", "D"], {b"m1": {"D"}}),  # the largest number
        (b"A\n\nm1:0\n", {".40.m1": b"D\n", "m1": b"E\n"}, ["A", "E"], {b"m1": {"E"}}),
        (None, {"m1": b"x\ny\n", ".7.1704.a": b"z"}, ["z", "x", "y"], {b"m1": {"x", "y"}, b"1704.a": {"z"}}),
        (b"$Label1\n$label1\n\nm1:1\n", {}, ["$Label1"], {b"m1": {"$Label1"}}),
        (b"A\n\nm1:7 0 x\nm2:\n", {".tmpfile": b"q", ":list.new": b"q"}, ["A"], {b"m1": {"A"}}),
        (b"a b\nok\n\nm1:0 1\n", {}, ["ok"], {b"m1": {"ok"}}),
        (b"\n", {}, [], {}),
    ],
)
def test_keywords(mailbox, list_file, updates, order, keywords):
    if list_file is not None:
        (mailbox / "courierimapkeywords" / ":list").write_bytes(list_file)
    for name, content in updates.items():
        (mailbox / "courierimapkeywords" / name).write_bytes(content)
    assert courier.read_keywords(Files(), os.fsencode(mailbox)) == (order, keywords)


def test_of_many_keywords_those_in_use_come_first(mailbox):
    names = [f"k{number}" for number in range(30)]
    lines = "\n".join(names) + "\n\nm1:29 28\nm2:29 5\n"
    (mailbox / "courierimapkeywords" / ":list").write_text(lines)
    order, _ = courier.read_keywords(Files(), os.fsencode(mailbox))
    assert order[:4] == ["k29", "k5", "k28", "k0"]
    assert sorted(order) == sorted(names)


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, False),
        ({"courierimapuiddb": 5}, True),
        ({"courierimapuiddb": 5, "dovecot-uidlist": 6}, False),
        ({"courierimapuiddb": 5, "dovecot-uidlist": 5}, False),
        ({"courierimapuiddb": 7, "dovecot-uidlist": 6}, True),
        ({"courierpop3dsizelist": 5}, True),
        ({"courierpop3dsizelist": 7, "dovecot-uidlist": 6}, False),
        ({"courierpop3dsizelist": 9, "courierimapuiddb": 5, "dovecot-uidlist": 6}, False),
        ({"dovecot-uidlist": 6}, False),
    ],
)
def test_which_mailboxes_are_couriers(tmp_path, files, expected):
    for name, mtime in files.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (mtime, mtime))
    assert courier.is_courier(Files(), os.fsencode(tmp_path)) is expected


def all_mailboxes(root):
    layout = Layout(root, ".", "INBOX.", Encoding.UTF8)
    folders = Folders(Files(), layout)
    return {
        mutf7.encode(folder.name).decode(): folders.find(folder.name)
        for folder in folders.listing()
        if folder.selectable
    }


def flag_names(flags):
    return {flag for flag in flags if not flag.startswith("\\")}


def test_everything_that_courier_answered(carol):
    for name, folder in all_mailboxes(carol).items():
        expected = EXPECTED["mailboxes"][name]
        assert courier.is_courier(Files(), folder)
        found = imported(folder, name == "INBOX")
        assert found.uidvalidity == int(expected["uidvalidity"]), name
        present = {base_name(file) for part in (b"/new", b"/cur") for file in os.listdir(folder + part)}
        messages = {uid: base for uid, _, base in found.records if base in present}
        assert sorted(messages) == [message["UID"] for message in expected["messages"]], name
        assert {uid: set(found.keywords.get(base, ())) for uid, base in messages.items()} == {
            message["UID"]: flag_names(message["FLAGS"]) for message in expected["messages"]
        }, name


def test_pop3_identifiers_order_and_sizes(carol):
    found = imported(carol)
    fields = [(uid, parse_fields(raw)) for uid, raw, _ in found.records]
    by_order = sorted((int(field[b"O"]), uid, field) for uid, field in fields)
    assert [f"{order} {field[b'P'].decode()}" for order, _, field in by_order] == EXPECTED["pop3_uidl"]
    sizes = {f"{order} {field[b'W'].decode()}" for order, _, field in by_order if b"W" in field}
    assert len(sizes) == 12 and sizes < set(EXPECTED["pop3_list"])
    assert by_order[2][1] == 14  # UID13-… is the mail that Courier had not seen


def test_an_import_can_be_written_and_read(carol):
    folder = all_mailboxes(carol)["INBOX.ManyKeywords"]
    before = {name: (Path(os.fsdecode(folder)) / name).stat().st_mtime_ns for name in ("courierimapuiddb",)}
    found = imported(folder, False)
    uidlist = Uidlist(Files(), folder + b"/dovecot-uidlist")
    uidlist.load(found.uidvalidity, found.next_uid, found.records)
    uidlist.rewrite()
    left = Keywords(Files(), folder + b"/dovecot-keywords").add(found.keyword_order)
    assert len(found.keyword_order) == 30 and len(left) == 4
    rest = OverflowKeywords(Files(), folder + b"/greenmail-data")
    rest.change({base: names & set(left) for base, names in found.keywords.items()})
    assert not courier.is_courier(Files(), folder)
    assert before == {"courierimapuiddb": os.stat(folder + b"/courierimapuiddb").st_mtime_ns}
    parsed = parse(Files().read_file(folder + b"/dovecot-uidlist"))
    assert (parsed.header.uidvalidity, parsed.header.next_uid, len(parsed.uids)) == (795343553, 3, 2)


def test_a_mailbox_with_more_keywords_than_clients_may_make(tmp_path):
    """The limit is for clients: what Courier has is taken over, and the mailbox can be opened."""
    mail = tmp_path / "Maildir"
    for part in ("cur", "new", "tmp", "courierimapkeywords"):
        (mail / part).mkdir(parents=True)
    (mail / "cur" / "1.a:2,S").write_bytes(b"Subject: x\n\n")
    names = [f"k{number}" for number in range(40)]
    lines = [*names, "", "1.a:" + " ".join(str(number) for number in range(40))]
    (mail / "courierimapkeywords" / ":list").write_text("\n".join(lines) + "\n")
    (mail / "courierimapuiddb").write_text("1 795343553 2\n1 1.a\n")
    account = MaildirStore(direct()).open_account("carol", MaildirSettings(str(mail), max_keywords=3))
    mailbox = account.open("INBOX")
    assert mailbox.table.flags_of(0) == {"\\Seen", *names}
    assert not mailbox.can_add_keywords
    with pytest.raises(StorageError) as raised:
        mailbox.store([1], FlagChange(FlagAction.ADD, frozenset({"one-more"})))
    assert raised.value.reason is Reason.LIMIT
    mailbox.close()


def test_a_mailbox_that_only_pop3_served(mailbox):
    for name in ("cur/1.b:2,S", "cur/1.a:2,", "new/0.c"):
        (mailbox / name).write_bytes(b"x\n")
    (mailbox / "courierpop3dsizelist").write_bytes(b"/3 3 77\n1.a:2, 3 1:77:0\n1.b:2,S 3 2:77:0\n9.gone 3 2:77:0\n")
    found = imported(mailbox)
    assert (found.uidvalidity, found.next_uid) == (0, 4)
    assert found.records == [
        (1, b"O1 PUID3-77", b"0.c"),
        (2, b"O2 PUID1-77 W3", b"1.a"),
        (3, b"O3 PUID2-77 W3", b"1.b"),
    ]


def test_files_are_never_written(carol):
    def only_reads(name, function, *args):
        assert name in ("stat", "open", "pread", "close", "listdir"), name
        return function(*args)

    courier.import_mailbox(Files(only_reads), carol, True)


def test_the_way_back():
    database = courier.format_database(795343556, 14, {b"b c,S=3": 13, b"a": 1})
    assert database == b"1 795343556 14\n1 a\n13 b c,S=3\n"
    assert parse(database).uids == {b"a": 1, b"b c,S=3": 13}
    maildrop = courier.format_maildrop(13, 77, [(b"10.b:2,S", 5, 2), (b"9.a:2,", 6, 1)])
    assert maildrop == b"/3 13 77\n9.a:2, 6 1:77:0\n10.b:2,S 5 2:77:0\n"
    assert [entry.uidl for entry in courier.parse_maildrop(maildrop).entries] == [b"UID1-77", b"UID2-77"]
    text = courier.format_keyword_list({b"a": ["x", "$Y"], b"b": [], b"c": ["x"]})
    assert text == b"$Y\nx\n\na:0 1\nc:1\n"
    assert courier.parse_keyword_list(text) == ([b"$Y", b"x"], {b"a": [b"$Y", b"x"], b"c": [b"x"]})
