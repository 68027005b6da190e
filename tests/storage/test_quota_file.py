"""`maildirsize`: kept up, made anew, and counted by others at the same time. `formats.md` 5."""

import errno
import fcntl
import os
from dataclasses import replace
from typing import Any

import pytest
from support.quota_place import (
    BODY,
    SIZE,
    Place,
    limited,
    refused,
    remove,
    save,
    transfer,
    used,
)

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.api import Quota
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota import limits_of, parse
from greenmail.storage.quota_rules import QuotaRules, from_user

# Without a quota


def test_no_file_and_no_limit_is_no_root_and_nothing_is_made(place: Place) -> None:
    account = place.open()
    before = {path.name for path in place.maildir.iterdir()}
    assert account.quota_roots("INBOX") == []
    with pytest.raises(StorageError) as caught:
        account.quota("User quota")
    assert caught.value.reason is Reason.NOT_FOUND
    uids = save(account, number=3)
    account.create("Box")
    transfer(account, uids[:1], "INBOX", "Box", moves=False)
    remove(account, "INBOX", uids[1:])
    account.delete("Box")
    made = {path.name for path in place.maildir.iterdir()} - before
    assert not [name for name in made if "size" in name or "quota" in name]


def test_a_file_without_limits_is_kept_up(place: Place) -> None:
    account = place.open()
    place.write("0S\n0 0\n")
    save(account)
    assert place.lines() == ["0S", "0 0", f"{SIZE} 1"]
    assert account.quota("User quota") == Quota("User quota", SIZE, None, 1, None)


# Limits in the file alone


def test_line_one_is_kept_to_the_octet(place: Place) -> None:
    account = place.open()
    uids = save(account, number=2)
    for text in ("00500S,7C,9X\nrubbish\n", "00500S,7C,9X\n" + "5 1\n" * 2000, "00500S,7C,9X\n900 9\n5 1\n"):
        place.clock.time += 61
        place.write(text)
        assert used(account) == (2 * SIZE, 2)
        assert place.lines() == ["00500S,7C,9X", f"{2 * SIZE} 2"]
    remove(account, "INBOX", uids)
    assert place.lines()[2:] == [f"-{2 * SIZE} -2"]


@pytest.mark.parametrize("text", ["", "500S", "\0\0\0\0\n5 1\n", "not a quota\n5 1\n"])
def test_a_file_whose_limits_cannot_be_read_is_left_alone(place: Place, text: str) -> None:
    account = place.open()
    place.write(text)
    save(account)
    assert place.file.read_text().startswith(text)
    found = account.quota("User quota")
    assert (found.storage_limit, found.messages_limit) == (None, None)
    assert not list(place.maildir.glob("*quota*"))


def test_its_limits_are_enforced(place: Place) -> None:
    account = place.open()
    place.write(f"{2 * SIZE}S,9C\n0 0\n")
    save(account, number=2)
    assert refused(lambda: save(account))
    assert place.lines()[-1] == f"{2 * SIZE} 2"


# Limits of our own


def test_the_file_is_made_when_somebody_asks(place: Place) -> None:
    account = limited(place, quota_rule="*:storage=10M:messages=1000")
    assert not place.file.exists()
    assert account.quota("User quota") == Quota("User quota", 0, 10 << 20, 0, 1000)
    assert place.lines() == ["10485760S,1000C", "0 0"]
    assert place.file.stat().st_mode & 0o777 == 0o600
    save(account, number=3)
    assert place.lines() == ["10485760S,1000C", "0 0", f"{3 * SIZE} 3"]  # one line for one command
    assert used(account) == (3 * SIZE, 3)


def test_other_limits_make_it_anew(place: Place) -> None:
    account = limited(place, quota_rule="*:storage=10k")
    place.write("5000S\n123 4\n")
    save(account)
    assert place.lines() == ["10240S", "0 0", f"{SIZE} 1"]
    place.clock.time += 61
    place.rules, _ = from_user({"quota_rule": "*:messages=5"}, QuotaRules())
    again = place.store.open_account("alice", place.settings())  # the user logs in again
    assert used(again) == (SIZE, 1)
    assert place.lines() == ["5C", f"{SIZE} 1"]
    save(account)
    assert used(account) == (2 * SIZE, 2), "and sessions that were there already have the new limits"
    assert refused(lambda: save(account, number=4))


def test_equal_limits_spelled_otherwise_are_no_other_limits(place: Place) -> None:
    account = limited(place, quota_rule="*:bytes=5000:messages=5")
    place.write("5C,5000S\n123 4\n")
    assert used(account) == (123, 4)
    assert place.lines() == ["5C,5000S", "123 4"]


def test_a_rule_that_lets_the_file_speak_first(place: Place) -> None:
    account = limited(place, quota_rule="?:bytes=5000")
    place.write("7000S\n1 1\n")
    assert account.quota("User quota").storage_limit == 7000
    place.file.unlink()
    assert account.quota("User quota").storage_limit == 5000
    assert place.lines()[0] == "5000S"


@pytest.mark.parametrize(
    "text, age, anew",
    [
        ("1000S\n100 1\n100 1\n", 0, False),
        ("1000S\n1100 1\n", 0, False),  # too much, but one fresh line says so
        ("1000S\n1000 1\n100 1\n", 0, True),
        ("1000S\n1100 1\n", 901, True),
        ("1000S\n1000 1\n1 0\n-1 0\n", 901, False),  # exactly as much as allowed
        ("1000S\n100 1\n", 99999, False),
        ("1000S\n100 1\n" + " " * 5200 + "1 1\n", 0, True),
        ("1000S\n100 1\nx\n", 0, True),
        ("1000S\n100 1\n-200 0\n", 0, True),
        ("1000S\n100 1\n\0\0\0\0\n", 0, True),
        ("999S\n100 1\n", 0, True),
        ("1000S,5C\n100 1\n", 0, True),
    ],
)
def test_when_it_is_made_anew(place: Place, text: str, age: float, anew: bool) -> None:
    account = limited(place, quota_rule="*:bytes=1000")
    place.write(text, age)
    account.quota("User quota")
    assert (place.file.read_text() == "1000S\n0 0\n") is anew
    assert anew or place.file.read_text() == text


def test_once_a_minute_at_most(place: Place) -> None:
    account = limited(place, quota_rule="*:bytes=1000")
    assert used(account) == (0, 0)
    place.write("1000S\nx\n")
    save(account)
    assert used(account) == (SIZE, 1), "what was counted last, and our own changes since"
    assert place.lines()[1] == "x"
    place.clock.time += 59
    assert used(account) == (SIZE, 1) and place.lines()[1] == "x"
    place.clock.time += 1
    assert used(account) == (SIZE, 1) and place.lines()[1:] == [f"{SIZE} 1"]


def test_what_is_refused_is_counted_before_it_is(place: Place) -> None:
    """A file that went wrong does not keep anybody from a mailbox which has room."""
    account = limited(place, quota_rule="*:bytes=1000")
    place.write("1000S\n500 5\n450 5\n")  # room for no more, it says
    save(account)
    assert place.lines() == ["1000S", "0 0", f"{SIZE} 1"]


def test_mail_of_others_is_counted(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=9")
    account.create("Box")
    save(account, "Box")
    (place.maildir / "new" / "1.a.host").write_bytes(b"x" * 10)
    (place.maildir / ".Box" / "cur" / "2.b.host,S=500:2,S").write_bytes(b"x")  # the name is believed
    (place.maildir / ".Box" / "cur" / "3.c.host,S=7,W=9:2,T").write_bytes(b"x" * 7)
    (place.maildir / "cur" / ".hidden").write_bytes(b"x")
    (place.maildir / "tmp" / "4.d.host").write_bytes(b"x" * 999)
    (place.maildir / "..DOVECOT-TRASHED" / "cur").mkdir(parents=True)
    (place.maildir / "..DOVECOT-TRASHED" / "cur" / "5").write_bytes(b"x")
    place.file.unlink()
    place.clock.time += 61
    assert used(account) == (SIZE + 517, 4)


def test_a_short_write_and_a_failed_one_are_made_good(place: Place) -> None:
    account = limited(place, quota_rule="*:bytes=5000")
    assert used(account) == (0, 0)

    def no_room(name: str, args: tuple[Any, ...]) -> None:
        if name == "write" and args[1] == b"%d 1\n" % SIZE:
            raise OSError(errno.ENOSPC, "no room")

    place.fail = no_room
    save(account)
    assert place.lines() == ["5000S", "0 0"] and used(account) == (SIZE, 1)
    place.fail = lambda name, args: None
    place.clock.time += 61
    assert used(account) == (SIZE, 1) and place.lines() == ["5000S", f"{SIZE} 1"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize("call", ["open", "write", "fstat", "pread", "rename", "fsync", "close", "flock"])
def test_a_failure_of_the_file_fails_no_operation(place: Place, call: str, error: int) -> None:
    account = limited(place, quota_rule="*:bytes=50000")
    save(account)

    def strike(name: str, args: tuple[Any, ...]) -> None:
        is_ours = args and (isinstance(args[0], bytes) and (b"maildirsize" in args[0] or b"quota.lock" in args[0]))
        if not is_ours and args and isinstance(args[0], int):
            target = os.readlink(f"/proc/self/fd/{args[0]}")
            is_ours = "maildirsize" in target or "quota.lock" in target
        if is_ours and name == call:
            if call == "close":
                os.close(args[0])
            raise OSError(error, "struck")

    place.fail = strike
    for text in (None, "rubbish\n", "1S\n99999 9\n7 1\n"):
        place.clock.time += 61
        if text is None:
            place.file.unlink()
        else:
            place.write(text)
        uids = save(account, number=2)
        remove(account, "INBOX", uids)
        account.quota("User quota")
    assert len(list((place.maildir / "new").iterdir())) == 1


def test_mailboxes_that_cannot_be_listed(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=5")

    def strike(name: str, args: tuple[Any, ...]) -> None:
        if name == "scandir":
            raise OSError(errno.EMFILE, "too many open files")

    inbox = account.open("INBOX")
    place.fail = strike
    upload = inbox.upload()
    upload.write(BODY)
    inbox.save([upload])
    assert len(inbox.table) == 1 and not place.file.exists()


def test_another_one_counts_at_the_same_time(place: Place) -> None:
    account = limited(place, quota_rule="*:bytes=5000")
    lock = os.open(place.maildir / "greenmail-quota.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        place.write("5000S\n321 1\n")  # it is ready
        fcntl.flock(lock, fcntl.LOCK_UN)

    place.store = MaildirStore(replace(direct(), now=place.clock, sleep=sleep), files=Files(place._call))
    account = place.store.open_account("alice", place.settings())
    assert used(account) == (321, 1) and len(slept) == 1
    os.close(lock)


def test_mail_that_comes_while_it_is_counted(place: Place) -> None:
    """Counted again: a result that was overtaken is not written."""
    account = limited(place, quota_rule="*:bytes=5000")
    account.create("Box")
    late = [0]

    def deliver(name: str, args: tuple[Any, ...]) -> None:
        if name == "listdir" and args[0].endswith(b".Box/cur/") and late[0] < 2:
            late[0] += 1
            (place.maildir / "new" / f"{late[0]}.x.y").write_bytes(b"abc")

    place.fail = deliver
    assert used(account) == (6, 2)
    assert place.lines() == ["5000S", "6 2"]


@pytest.mark.parametrize("rule, kept", [({"quota_rule": "*:bytes=5000"}, False), ({}, True)])
def test_mail_that_comes_all_the_time(place: Place, rule: dict[str, str], kept: bool) -> None:
    account = limited(place, **rule)
    place.write("5000S\nx\n")
    late = [0]

    def deliver(name: str, args: tuple[Any, ...]) -> None:
        if name == "rename" and args[1].endswith(b"maildirsize"):
            late[0] += 1
            (place.maildir / "new" / f"{late[0]}.x.y").write_bytes(b"abc")

    place.fail = deliver
    assert used(account) == (6, 2)
    assert place.file.exists() is kept, "limits that stand nowhere else are not removed"
    assert not kept or place.lines() == ["5000S", "6 2"]


@pytest.mark.parametrize(
    "then, now",
    [
        ("900S\n5 1\n", "900S\n5 1\n6 1\n"),  # appended to
        ("900S\n5 1\n6", "900S\n5 1\n66 1\n"),
        ("900S\n5 1\n", "900S\n7 1\n6 1\n"),  # written anew in its place
        ("900S\n5 1\n6 1\n", "900S\n7 1\n"),
        ("900S\nx\n", "900S\nx\n6 1\n"),
        ("900S\n5 1\n", ""),
        ("900S\n" + "1 1\n" * 200, "900S\n" + "1 1\n" * 300),
    ],
)
def test_whatever_others_do_to_it_is_seen(place: Place, then: str, now: str) -> None:
    account = place.open()
    place.write(then)
    account.quota("User quota")
    place.clock.time -= 1  # within a minute nothing is counted
    place.write(now)
    fresh = parse(now.encode())
    found = account.quota("User quota")
    if not fresh.is_damaged:
        assert (found.storage_used, found.messages_used) == (fresh.storage, fresh.messages)
    assert found.storage_limit == (limits_of(fresh.head).storage or None)
