"""Mailboxes of very many messages and accounts of very many folders: what is bounded, and what is done in slices."""

import ctypes
import gc
import os
import resource
import shutil
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.runtime import direct
from greenmail.storage import maildir, maildir_slices
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index
from greenmail.storage.maildir_name import uid_order
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_slices import in_uid_order, set_of
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.shared import SharedMailboxes
from greenmail.storage.snapshot import Snapshot, pack, unpack
from greenmail.storage.uidlist_format import parse


def fill(path: Path, messages: int) -> None:
    """A Maildir with empty messages, which is quickest."""
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True, exist_ok=True)
    directory = os.open(path / "cur", os.O_RDONLY)
    try:
        for number in range(messages):
            name = f"{1_600_000_000 + number * 7 % messages}.M{number}P4711.mx.example.org,S=0,W=0:2,S"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory))
    finally:
        os.close(directory)


def account(path: Path, memory: int = 256 << 20) -> tuple[MaildirStore, MaildirAccount]:
    store = MaildirStore(direct(), memory)
    return store, store.open_account("alice", MaildirSettings(mail_path=str(path)))


# Slices


@given(
    st.lists(st.from_regex(rb"\A\d{0,3}(\.M\d{1,2})?[a-c]{0,3}\Z"), unique=True, max_size=200)
    | st.lists(st.from_regex(rb"\A17000000[01]\d\.(M\d{1,2}|[a-c])?P?[a-c]{0,3}\Z"), unique=True, max_size=200)
    | st.lists(st.from_regex(rb"\A(1700000000\.|1700000000|\.)[ab]{0,2}\Z"), unique=True, max_size=30)
)
def test_sorted_in_buckets_is_sorted(bases: list[bytes]) -> None:
    before = maildir_slices.SLICE
    maildir_slices.SLICE = 8
    try:
        assert in_uid_order(bases) == sorted(bases, key=uid_order)
        assert set_of(bases) == set(bases)
    finally:
        maildir_slices.SLICE = before


def test_names_are_taken_apart_in_slices() -> None:
    for last in (b"end", b"x" * 600_000, b""):
        names = [b"%d.M1P1.mx,S=%d:2,S" % (number, number) for number in range(60_000)] + [last]
        octets = pack(Snapshot({}, {"uids": array("I", range(60_001))}, names))
        found = unpack(octets)
        assert found is not None and found.files == names


def test_a_long_uidlist_is_read_in_slices() -> None:
    lines = b"".join(b"%d :%d.M1P1.mx.example.org\n" % (uid, uid + 7) for uid in range(1, 20_001))
    parsed = parse(b"3 V1 N20001 G" + b"ab" * 16 + b"\n" + lines)
    assert (parsed.lines, parsed.damage, len(parsed.uids), parsed.highest) == (20_000, (), 20_000, 20_000)
    assert parse(b"1 1 20001\n" + lines.replace(b" :", b" ")).uids == parsed.uids


# Bounds


def test_sets_of_flags_that_no_message_has_are_forgotten() -> None:
    index = Index()
    change = Change()
    for uid in (1, 2, 3):
        change.came(uid, b"%d.x:2," % uid, False, frozenset())
    index.apply(change.batch(1))
    for number in range(3000):
        change = Change()
        change.became(2, b"2.x:2,a", False, frozenset({f"k{number}"}))
        index.apply(change.batch(2 + number))
    assert len(index.table.flag_sets) == 3001
    index.compact_flags()
    assert [index.table.flags_of(row) for row in range(3)] == [frozenset(), frozenset({"k2999"}), frozenset()]
    assert len(index.table.flag_sets) == 2
    assert index.table.intern(frozenset({"k2999"})) == index.table.flags[1]
    assert index.table.intern(frozenset({"other"})) == 2


def test_the_first_contact_with_very_many_is_one_change() -> None:
    """More than are remembered one by one: what came later is still told apart, and all of it to who knew nothing."""
    index = Index()
    change = Change()
    for uid in range(1, 20_002):
        change.came(uid, b"%d.x:2," % uid, False, frozenset())
    index.apply(change.batch(5))
    assert index.history.changes(5, index.table).changed == []
    assert len(index.history.changes(4, index.table).changed) == 20_001
    change = Change()
    change.became(7, b"7.x:2,S", False, frozenset({"\\Seen"}))
    index.apply(change.batch(6))
    assert index.history.changes(5, index.table).changed == [7]
    assert index.history.changes(6, index.table).changed == []
    assert len(index.history.changes(0, index.table).changed) == 20_001


def warm(store: MaildirStore) -> list[MaildirMailbox]:
    return list(store.mailboxes._warm.values())


def test_what_nobody_has_open_stays_within_the_memory(tmp_path: Path) -> None:
    names = [f"Box{number}" for number in range(6)]
    for name in names:
        fill(tmp_path / f".{name}", 300)
    fill(tmp_path, 0)
    one = 16384 + 300 * (150 + 270)
    store, user = account(tmp_path, int(3.5 * one))
    for name in names:
        user.open(name).close()
    assert [mailbox.name for mailbox in warm(store)] == names[3:]
    held = [user.open(name) for name in names[:2]]  # in use: counts, too
    assert [mailbox.name for mailbox in warm(store)] == names[4:]  # these two have not read their uidlists
    for mailbox in held:
        mailbox.close()
    assert len(warm(store)) == 4 and store.mailboxes._weight <= 3.5 * one
    store.mailboxes.close()
    assert store.mailboxes._weight == 0 and not store.mailboxes._weights


def test_warm_mailboxes_leave_descriptors_to_others() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1500, hard))
    try:
        mailboxes = SharedMailboxes(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert mailboxes._most_warm == 125


def test_a_large_uidlist_is_given_back_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "_MANY", 499)
    fill(tmp_path, 500)
    _, user = account(tmp_path)
    inbox = user.open("INBOX")
    assert isinstance(inbox, MaildirMailbox) and len(inbox.box.uidlist.uids) == 500
    before = inbox.memory()
    inbox.close()
    assert inbox.box.uidlist.rests and inbox.memory() <= before - 500 * 200
    again = user.open("INBOX")
    assert again is inbox
    assert again.store([7], FlagChange(FlagAction.ADD, frozenset({"\\Flagged"}))).changed == [7]
    upload = again.upload()
    upload.write(b"A: 1\r\n\r\n")
    assert again.save([upload]) == [501]
    assert list(again.table.uids) == list(range(1, 502))
    assert inbox.box.uidlist.rests  # one name is searched in the file
    again.close()
    (tmp_path / "dovecot-uidlist").unlink()
    (tmp_path / "new" / "1.M1P1.mx").write_bytes(b"A: 1\n\n")
    again = user.open("INBOX")
    assert list(again.table.uids) == list(range(1, 503))
    assert len((tmp_path / "dovecot-uidlist").read_bytes().splitlines()) == 503


# Many


def check_account(path: Path, folders: int) -> float:
    """LIST, STATUS of all twice; seconds of CPU for the second round."""
    fill(path, 1)
    for number in range(folders):
        fill(path / f".Level{number // 100:03}.Box{number:05}", int(number % 10 == 0))
    store, user = account(path)
    for _ in range(2):
        begun = time.thread_time()
        total = 0
        listed = user.folders()
        for folder in listed:
            if folder.selectable:
                mailbox = user.open(folder.name)
                total += mailbox.counters().messages
                mailbox.close()
        assert sum(folder.selectable for folder in listed) == folders + 1
        assert total == 1 + (folders + 9) // 10
    assert store.mailboxes._weight <= 256 << 20
    return time.thread_time() - begun


@pytest.mark.slow
def test_an_account_of_120_folders(tmp_path: Path) -> None:
    check_account(tmp_path, 120)


@pytest.mark.long
def test_an_account_of_10000_folders(tmp_path: Path) -> None:
    assert check_account(tmp_path, 10_000) < 60


def check_mailbox(path: Path, messages: int) -> None:
    fill(path, messages)
    store, user = account(path)
    inbox = user.open("INBOX")
    assert list(inbox.table.uids) == list(range(1, messages + 1))
    names = [os.fsdecode(name) for name in inbox.box.index.names]  # type: ignore[attr-defined] # the Maildir store's
    assert [int(name[:10]) for name in names] == sorted(int(name[:10]) for name in names)
    assert inbox.store([messages], FlagChange(FlagAction.REMOVE, frozenset({"\\Seen"}))).changed == [messages]
    upload = inbox.upload()
    upload.write(b"A: 1\r\n\r\n")
    assert inbox.save([upload]) == [messages + 1]
    assert inbox.store([messages + 1], FlagChange(FlagAction.ADD, frozenset({"\\Deleted"}))).changed == [messages + 1]
    assert inbox.expunge([messages + 1]) == [messages + 1]
    assert max(inbox.memory(), store.mailboxes._weight) <= 256 << 20
    inbox.close()
    assert store.mailboxes._weight <= max(messages * 160, 1 << 20) and warm(store)
    _, other = account(path)
    begun = time.thread_time()
    again = other.open("INBOX")
    assert (len(again.table), again.counters().unseen) == (messages, 1)
    assert time.thread_time() - begun < max(1.0, messages * 10e-6)
    again.close()
    # A process of its own: what the first contact took is not all given back.
    run = [sys.executable, "-c", f"from storage.test_many import change; change({str(path)!r}, {messages})"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(run, env=environment, check=True, capture_output=True, text=True, timeout=600)
    assert int(done.stdout) < 256 << 20


def change(path: str, last: int) -> None:
    """Print by how many octets the process grew when it changed a mailbox: the uidlist is in memory then."""
    before = resident()
    store, user = account(Path(path))
    inbox = user.open("INBOX")
    assert inbox.store([last - 1], FlagChange(FlagAction.REMOVE, frozenset({"\\Seen"}))).changed == [last - 1]
    upload = inbox.upload()
    upload.write(b"A: 1\r\n\r\n")
    assert inbox.save([upload]) == [last + 2]
    assert isinstance(inbox, MaildirMailbox) and len(inbox.box.uidlist.uids) >= last
    assert store.mailboxes._weight <= 256 << 20
    print(resident() - before)


@pytest.mark.slow
def test_a_mailbox_of_12000_messages(tmp_path: Path) -> None:
    check_mailbox(tmp_path, 12_000)


@pytest.mark.long
def test_a_mailbox_of_1000000_messages(tmp_path: Path) -> None:
    check_mailbox(tmp_path, 1_000_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mailboxes, messages, limit", [(50, 20_000, 32 << 20), (200, 100_000, 256 << 20)])
def test_large_mailboxes_opened_in_turn(tmp_path: Path, mailboxes: int, messages: int, limit: int) -> None:
    """What is in use stays within `cache-memory`; the process has as much as half of that besides.

    The latter is what waits for Python's collector, and holes in the heap, which the first contact with many leaves.

    Each is made before and removed after, for the disk's sake: the files go on to the next; nobody looks at it again.
    """
    fill(tmp_path, 0)
    fill(tmp_path / "source", messages)
    files = tmp_path / "source" / "cur"
    store, user = account(tmp_path, limit)
    before = resident()
    for number in range(mailboxes):
        box = tmp_path / f".Box{number}"
        for part in ("new", "tmp"):
            (box / part).mkdir(parents=True)
        files = files.rename(box / "cur")
        mailbox = user.open(f"Box{number}")
        assert len(mailbox.table) == messages
        mailbox.close()
        assert store.mailboxes._weight <= limit
        if number:
            shutil.rmtree(tmp_path / f".Box{number - 1}")
    at_rest, in_use = 16384 + messages * 150, 16384 + messages * (150 + 270)  # the last was numbered, with its uidlist
    # Very long lists are packed, and take less.
    assert 1 + (limit - in_use) // at_rest <= len(warm(store)) <= limit // at_rest
    assert resident() - before < limit + max(64 << 20, limit // 2)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    assert resident() - before < limit + (16 << 20)


def resident() -> int:
    """Octets, without what is shared with other processes."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
