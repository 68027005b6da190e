"""What stands only in Dovecot's index comes along: `formats.md` 3.8 and 3.9, check 34."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import trees

from greenmail.runtime import direct
from greenmail.storage import dovecot_index, mutf7
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

# What Dovecot answered afterwards counts its own first look, which found what other programs had done meanwhile.
_FOREIGN_CHANGES = {"INBOX": 1, "Archive": 4}
MAILBOXES: dict[str, Any] = {
    name: answer for name, answer in trees.expected("dovecot")["mailboxes"].items() if answer.get("examine_raw")
}
EXTERNAL = 0x10000000


def record(kind: int, body: bytes) -> bytes:
    """One record of a log."""
    words = (len(body) + 8) // 4
    size = bytes(words >> shift & 0x7F | 0x80 for shift in (21, 14, 7, 0))
    return size + struct.pack("<I", kind) + body


def a_log(*records: bytes, initial: int = 0, sequence: int = 2) -> bytes:
    header = struct.pack("<BBHIIIIIQ", 1, 3, 40, 77, sequence, 0, 0, 0, initial) + bytes(8)
    return header + b"".join(records)


def padded(name: bytes) -> bytes:
    return name + bytes(-len(name) % 4)


def intro(name: bytes) -> bytes:
    return record(0x40, struct.pack("<IIIHHHH", 0, 0, 0, 8, 8, 0, len(name)) + padded(name))


def keyword(kind: int, name: bytes, *uids: tuple[int, int]) -> bytes:
    return record(0x400, struct.pack("<BxH", kind, len(name)) + padded(name) + ranges(*uids))


def ranges(*uids: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<II", *pair) for pair in uids)


def flag(add: int, remove: int = 0, raises: int = 0) -> bytes:
    return record(0x4, struct.pack("<IIBBBx", 1, 1, add, remove, raises))


def append(*uids: int) -> bytes:
    return record(0x2, ranges(*((uid, 0) for uid in uids)))


def an_index(messages: dict[int, int], names: list[bytes], sequence: int = 2, offset: int = 0) -> bytes:
    """`dovecot.index`; the bits of the keywords for each UID."""
    text, places = b"", []
    for name in names:
        places.append((0, len(text)))
        text += name + b"\0"
    data = struct.pack("<I", len(names)) + ranges(*places) + text
    extension = struct.pack("<IIHHHH", len(data), 0, 8, 4, 1, 8) + b"keywords"
    extension += data + bytes(-len(data) % 8)
    header = bytearray(120)
    struct.pack_into("<BBHII", header, 0, 7, 3, 120, 120 + len(extension), 12)
    struct.pack_into("<II", header, 60, sequence, offset)
    return bytes(header) + extension + b"".join(struct.pack("<IB3xI", uid, 0, bits) for uid, bits in messages.items())


def parsed(data: bytes) -> dovecot_index.Log:
    log = dovecot_index.parse_log(data)
    assert log is not None
    return log


# The log


def directory(root: Path, name: str) -> bytes:
    return bytes(root) if name == "INBOX" else bytes(root) + b"/." + name.replace("/", ".").encode()


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.unpack("dovecot", tmp_path_factory.mktemp("alice"))


@pytest.mark.parametrize("name", MAILBOXES)
def test_what_the_recorded_logs_say(alice: Path, name: str) -> None:
    answer = MAILBOXES[name]
    found = dovecot_index.read(Files(), directory(alice, name))
    text = re.search(r"HIGHESTMODSEQ (\d+)", " ".join(answer["examine_raw"]))
    assert text and found.modseq == int(text[1]) - _FOREIGN_CHANGES.get(name, 0)
    for message in answer["messages"]:
        if name == "Archive" and message["UID"] == 4:
            continue  # came by another program's hands
        wanted = {flag for flag in message["FLAGS"] if not flag.startswith("\\")}
        assert {key for key, uids in found.keywords.items() if message["UID"] in uids} == wanted


@pytest.mark.parametrize(
    "records, expected",
    [
        ([], 0),
        ([append(1), flag(0x08)], 0),  # nobody asked for mod-sequences
        ([intro(b"cache"), append(1)], 0),
        ([intro(b"modseq")], 1),
        ([append(1), intro(b"modseq"), append(2)], 2),
        ([intro(b"modseq"), keyword(0, b"kw", (1, 1)), record(0x800, ranges((1, 1))), record(0x100000, b"+x\0\0")], 4),
        ([intro(b"modseq"), flag(0x08), flag(0, 0x01)], 3),
        ([intro(b"modseq"), flag(0x20), flag(0x40, 0x80)], 1),  # Dovecot's own flags
        ([intro(b"modseq"), flag(0, 0, 1)], 2),
        ([intro(b"modseq"), record(0xCD91, ranges((1, 1))), record(0xEE90, bytes(20))], 1),  # asked for, not yet done
        ([intro(b"modseq"), record(0xCD91 | EXTERNAL, ranges((1, 1))), record(0xED90 | EXTERNAL, bytes(20))], 3),
        ([intro(b"modseq"), record(0x1 | EXTERNAL, ranges((1, 1)))], 1),  # without its protection
        ([intro(b"modseq"), record(0x8000, struct.pack("<III", 1, 5000, 0))], 5000),
        ([intro(b"modseq"), record(0x8000, struct.pack("<III", 1, 1, 1)), append(1)], (1 << 32) + 2),
        ([intro(b"modseq"), record(0x8000, struct.pack("<III", 1, 0, 0xFFFFFFFF))], 1),  # damage
        ([intro(b"modseq"), bytes(8), append(1)], 1),  # the end
        ([intro(b"modseq"), append(1)[:-4]], 1),  # being written
    ],
)
def test_highest_modseq(records: list[bytes], expected: int) -> None:
    assert dovecot_index.highest_modseq(parsed(a_log(*records))) == expected


def test_a_log_after_a_rotation_counts_on() -> None:
    assert dovecot_index.highest_modseq(parsed(a_log(append(1), initial=40))) == 41


@pytest.mark.parametrize("data", [b"", b"\1", bytes(100), a_log()[:20], b"\2" + a_log()[1:]])
def test_what_is_no_log(data: bytes) -> None:
    assert dovecot_index.parse_log(data) is None


# Keywords


@pytest.mark.parametrize(
    "records, expected",
    [
        ([append(1, 2), keyword(0, b"one", (1, 2)), keyword(0, b"two", (2, 9))], {"one": {1, 2}, "two": {2}}),
        ([append(1, 2), keyword(0, b"one", (1, 2)), keyword(1, b"one", (1, 1))], {"one": {2}}),
        ([append(1, 2), keyword(0, b"one", (1, 2)), keyword(2, b"two", (1, 1))], {"one": {2}, "two": {1}}),
        ([append(1, 2), keyword(0, b"one", (1, 2)), record(0x800, ranges((1, 2)))], {}),
        ([append(1, 7), keyword(0, b"one", (1, 1), (0, 0xFFFFFFFF))], {"one": {1, 7}}),
        ([append(1), keyword(9, b"one", (1, 1))], {}),
        ([append(1), record(0x400, b"\0"), record(0x400, b"\0\0\xff\xffabcd")], {}),
    ],
)
def test_keywords_of_the_log(records: list[bytes], expected: dict[str, set[int]]) -> None:
    assert dovecot_index.keywords(b"", [parsed(a_log(*records))]) == expected


def test_keywords_of_the_index_and_what_came_after() -> None:
    before = keyword(0, b"old", (2, 2))
    index = an_index({1: 0b01, 2: 0b11, 3: 0b10}, [b"a", b"bb"], offset=40 + len(before))
    logs = [parsed(a_log(keyword(0, b"long-ago", (1, 3)), sequence=1))]
    logs.append(parsed(a_log(before, keyword(1, b"a", (1, 1)), append(4))))
    logs.append(parsed(a_log(keyword(0, b"new", (3, 4)), sequence=3)))
    assert dovecot_index.keywords(index, logs) == {"a": {2}, "bb": {2, 3}, "new": {3, 4}}


# Damage


@given(st.binary(max_size=300))
def test_any_octets_are_read(data: bytes) -> None:
    log = dovecot_index.parse_log(data)
    dovecot_index.keywords(data, [log] if log else [])


@given(st.data())
def test_any_damage_is_read(data: st.DataObject) -> None:
    whole = [
        bytearray(an_index({1: 1, 2: 3}, [b"a", b"bb"])),
        bytearray(a_log(intro(b"modseq"), append(1, 2), keyword(0, b"kw", (1, 2)), flag(8))),
    ]
    for octets in whole:
        for place in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=4)):
            octets[place] = data.draw(st.integers(0, 255))
        del octets[data.draw(st.integers(0, len(octets))) :]
    log = dovecot_index.parse_log(bytes(whole[1]))
    dovecot_index.keywords(bytes(whole[0]), [log] if log else [])
    assert log is None or 0 <= dovecot_index.highest_modseq(log) < 1 << 63


# First contact


def account(maildir: Path) -> MaildirAccount:
    return MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(maildir), separator="/"))


def test_check_34_no_modseq_is_lower_than_dovecots(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    mail = account(maildir)
    for name in MAILBOXES:
        text = re.search(r"HIGHESTMODSEQ (\d+)", " ".join(MAILBOXES[name]["examine_raw"]))
        mailbox = mail.open(mutf7.decode(name.encode("ascii")))
        assert text and mailbox.modseq > int(text[1])
        assert all(modseq > int(text[1]) for modseq in mailbox.table.modseqs)
        mailbox.close()


def test_dovecot_counted_on_from_a_clock_that_was_ahead(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    ahead = 1 << 52
    (maildir / "dovecot.index.log").write_bytes(a_log(append(1), initial=ahead))
    mailbox = account(maildir).open("INBOX")
    assert mailbox.modseq > ahead + 1
    assert {modseq > ahead + 1 for modseq in mailbox.table.modseqs} == {True}
    assert len(set(mailbox.table.modseqs)) == 1


def keywords_of(mail: MaildirAccount, name: str) -> dict[int, set[str]]:
    mailbox = mail.open(name)
    try:
        return {
            uid: {flag for flag in mailbox.table.flags_of(row) if not flag.startswith("\\")}
            for row, uid in enumerate(mailbox.table.uids)
        }
    finally:
        mailbox.close()


def test_keywords_without_a_letter_come_along_once(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    box = maildir / ".Many Keywords"
    wanted = {
        message["UID"]: {flag for flag in message["FLAGS"] if not flag.startswith("\\")}
        for message in MAILBOXES["Many Keywords"]["messages"]
    }
    assert any("kw29" in keywords for keywords in wanted.values())
    names = sorted(path.name for path in (box / "cur").iterdir())
    assert keywords_of(account(maildir), "Many Keywords") == wanted
    assert sorted(path.name for path in (box / "cur").iterdir()) == names
    trees.drop_index(maildir)
    for path in box.glob("greenmail.index*"):
        path.unlink()
    assert keywords_of(account(maildir), "Many Keywords") == wanted  # they are in our own file now


def test_keywords_taken_away_do_not_come_back_when_our_index_is_lost(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    mailbox = account(maildir).open("Many Keywords")
    mailbox.store([1, 2, 3, 4], FlagChange(FlagAction.REMOVE, frozenset({"kw27"})))
    mailbox.close()
    for path in (maildir / ".Many Keywords").glob("greenmail.*"):
        path.unlink()
    found = keywords_of(account(maildir), "Many Keywords")
    assert not any("kw27" in keywords for keywords in found.values())
    assert any("kw28" in keywords for keywords in found.values())


def test_a_full_disk_hinders_nobody(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    (maildir / ".Many Keywords" / "greenmail-data").write_bytes(b"")  # no directory can be made here
    assert len(keywords_of(account(maildir), "Many Keywords")) == 4
