"""`maildirsize`: read, appended to, made anew; and what the store refuses because of it. `formats.md` 5."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.trees import expected, unpack

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange, Quota
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.memory import MemoryStore
from greenmail.storage.quota import Sheet, count, extended, head_of, limits_of, parse
from greenmail.storage.quota_rules import Limits, QuotaRules, from_user

BODY = b"Subject: x\r\n\r\n" + b"0123456\r\n" * 8  # 86 octets with CRLF, 76 on disk
SIZE = 76
OVER = Reason.OVER_QUOTA


def sheet(data: bytes) -> tuple[int, int, int, bool]:
    found = parse(data)
    return found.storage, found.messages, found.changes, found.is_damaged


@pytest.mark.parametrize(
    "data, storage, messages, changes",
    [
        (b"10485760S,1000C\n300 1\n943 1\n1863 3\n-943 -1\n", 2163, 4, 4),  # as Dovecot writes it
        (b"1000S\n         300           1\n        -100          -1\n", 200, 0, 2),  # as Courier does, 12 columns
        (b"1000S\n", 0, 0, 0),
        (b"\n5 1\n", 5, 1, 1),
        (b"0S\n5\t1 \n", 5, 1, 1),
        (b"1000S\r\n5 1\r\n", 5, 1, 1),
        (b"1000S\n5 1\n7", 5, 1, 1),  # the last line is still being written
        (b"1000S\n5 1\n77 ", 5, 1, 1),
    ],
)
def test_sums(data: bytes, storage: int, messages: int, changes: int) -> None:
    assert sheet(data) == (storage, messages, changes, False)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"1000S", b"1000S\nx\n", b"1000S\n5\n", b"1000S\n5 1 1\n", b"1000S\n\n", b"1000S\n5 1\n\0\0\0\0\n5 1\n",
        b"1000S\n-5 1\n", b"1000S\n5 -1\n", b"\0\0\0\n5 1\n", b"1000S\n+5 1\n", b"1000S\n5 1\n12300 1 1\n",
        b"no quota\n5 1\n", b"1000S\n9999999999999999999 1\n", b"1000S\n5.5 1\n",
    ],
)  # fmt: skip
def test_damage(data: bytes) -> None:
    assert parse(data).is_damaged


@pytest.mark.parametrize(
    "head, limits",
    [
        (b"10485760S,1000C", Limits(10485760, 1000)),
        (b"1000C,5S", Limits(5, 1000)),
        (b"1000C", Limits(0, 1000)),
        (b"0S", Limits()),
        (b"0S,0C", Limits()),
        (b"", Limits()),
        (b" 5S\r", Limits(5)),
        (b"5S,7X", Limits(5)),
    ],
)
def test_heads(head: bytes, limits: Limits) -> None:
    assert limits_of(head) == limits
    assert parse(head + b"\n").head == head


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 40))
def test_a_head_is_read_as_it_was_written(storage: int, messages: int) -> None:
    limits = Limits(storage, messages)
    assert limits_of(head_of(limits)) == limits
    assert not parse(head_of(limits) + b"\n").is_damaged


@given(st.binary() | st.text(alphabet="0123456789 -SC,\n\0").map(str.encode))
def test_any_octets_are_a_sheet(data: bytes) -> None:
    found = parse(data)
    assert isinstance(found, Sheet)
    assert found.is_damaged or (found.storage >= 0 and found.messages >= 0)
    limits_of(found.head)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 9)), max_size=20))
def test_the_sum_of_lines(lines: list[tuple[int, int]]) -> None:
    data = b"0S\n" + b"".join(b"%d %d\n" % line for line in lines)
    assert sheet(data) == (sum(a for a, _ in lines), sum(b for _, b in lines), len(lines), False)


@given(st.text(alphabet="0123 -SC,\n").map(str.encode), st.text(alphabet="0123 -\n").map(str.encode))
def test_reading_on_is_reading_all(first: bytes, more: bytes) -> None:
    """What is known of a good file need not be read again."""
    known = parse(first)
    if not known.is_damaged:
        end = first.rfind(b"\n") + 1
        assert extended(known, (first + more)[end:]) == parse(first + more)


# An account


@dataclass
class Clock:
    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Place:
    """One account, of which several workers may be made."""

    maildir: Path
    clock: Clock = field(default_factory=Clock)
    rules: QuotaRules = field(default_factory=QuotaRules)
    calls: list[str] = field(default_factory=list)
    fail: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def _call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if args and isinstance(args[0], bytes) and b"maildirsize" in args[0]:
            self.calls.append(name)
        self.fail(name, args)
        return function(*args)

    def open(self, **settings: Any) -> MaildirAccount:
        store = MaildirStore(replace(direct(), now=self.clock), files=Files(self._call))
        self.store = store
        return store.open_account("alice", self.settings(**settings))

    def settings(self, **settings: Any) -> MaildirSettings:
        return MaildirSettings(mail_path=str(self.maildir), **{"quota": self.rules, **settings})

    @property
    def file(self) -> Path:
        return self.maildir / "maildirsize"

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines()

    def write(self, text: str, age: float = 0) -> None:
        self.file.write_text(text)
        os.utime(self.file, (self.clock.time - age,) * 2)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "Maildir")


def limited(place: Place, **extra: str) -> MaildirAccount:
    place.rules, problems = from_user(extra, place.rules)
    assert not problems
    return place.open()


def save(account: Any, name: str = "INBOX", number: int = 1, body: bytes = BODY) -> list[int]:
    mailbox = account.open(name)
    try:
        uploads = []
        for _ in range(number):
            uploads.append(mailbox.upload())
            uploads[-1].write(body)
        try:
            return list(mailbox.save(uploads))
        finally:
            for upload in uploads:
                upload.abort()
    finally:
        mailbox.close()


def remove(account: Any, name: str, uids: list[int]) -> None:
    mailbox = account.open(name)
    mailbox.store(uids, FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    mailbox.expunge(uids)
    mailbox.close()


def transfer(account: Any, uids: list[int], source: str, target: str, moves: bool) -> None:
    a, b = account.open(source), account.open(target)
    try:
        (a.move if moves else a.copy)(uids, b)
    finally:
        a.close()
        b.close()


def refused(what: Callable[[], object]) -> bool:
    try:
        what()
    except StorageError as error:
        assert error.reason is OVER
        return True
    return False


def used(account: Any) -> tuple[int, int]:
    (root,) = account.quota_roots("INBOX")
    found = account.quota(root)
    return found.storage_used, found.messages_used


def truth(place: Place) -> tuple[int, int]:
    boxes = [place.maildir, *(path for path in place.maildir.iterdir() if path.name.startswith(".") and path.is_dir())]
    found = count(Files(), [os.fsencode(box) for box in boxes])
    assert not isinstance(found, OSError)
    return found


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


# What is refused


BACKENDS = ["maildir", "memory"]


def account_of(backend: str, place: Place, **extra: str) -> Any:
    """Sizes on disk are without CR, in memory with it: limits of tests are in messages, or far enough off."""
    if backend == "maildir":
        return limited(place, **extra)
    account = MemoryStore().open_account("alice")
    account.quota_rules = from_user(extra, QuotaRules())[0]
    return account


@pytest.mark.parametrize("backend", BACKENDS)
def test_append_is_refused_as_a_whole(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota_rule="*:messages=3")
    save(account, number=2)
    assert refused(lambda: save(account, number=2))
    save(account)
    assert refused(lambda: save(account))
    inbox = account.open("INBOX")
    assert refused(inbox.upload), "and before anything is sent"
    assert used(account)[1] == 3 and len(inbox.table) == 3
    if backend == "maildir":
        assert not list((place.maildir / "tmp").glob("[0-9]*"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_append_of_too_many_octets(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota_rule="*:bytes=1000")
    assert refused(lambda: save(account, body=BODY * 20))
    save(account, body=BODY * 5)
    assert refused(lambda: save(account, body=BODY * 10))
    assert used(account)[1] == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_copy_is_refused_and_move_is_not(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota_rule="*:messages=2")
    account.create("Box")
    uids = save(account, number=2)
    assert refused(lambda: transfer(account, uids, "INBOX", "Box", moves=False))
    transfer(account, uids, "INBOX", "Box", moves=True)
    box = account.open("Box")
    assert len(box.table) == 2 and used(account)[1] == 2
    remove(account, "Box", list(box.table.uids)[:1])
    assert used(account)[1] == 1
    transfer(account, list(box.table.uids), "Box", "INBOX", moves=False)
    assert used(account)[1] == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_over_the_quota_everything_but_more_is_allowed(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota_rule="*:messages=9")
    account.create("Box")
    uids = save(account, number=4)
    if backend == "maildir":
        place.rules = QuotaRules(Limits(messages=1))
        account = place.store.open_account("alice", place.settings())
    else:
        account.quota_rules = QuotaRules(Limits(messages=1))
    place.clock.time += 61
    assert refused(lambda: save(account))
    inbox = account.open("INBOX")
    inbox.store(uids, FlagChange(FlagAction.ADD, frozenset({"\\Seen", "keyword"})))
    transfer(account, uids[:1], "INBOX", "Box", moves=True)
    account.rename("Box", "Other")
    assert used(account)[1] == 4
    remove(account, "INBOX", uids[1:])
    account.delete("Other")
    assert used(account)[1] == 0
    save(account)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_soft_quota_refuses_nothing(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota="maildir:mine:noenforcing", quota_rule="*:messages=1")
    save(account, number=3)
    found = account.quota("mine")
    assert found.is_soft and found.is_exceeded and found.messages_used == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_mailboxes(place: Place, backend: str) -> None:
    account = account_of(backend, place, quota_rule="*:messages=2", quota_rule2="Trash:ignore")
    account.create("Trash")
    assert account.quota_roots("Trash") == [] and account.quota_roots("inbox") == ["User quota"]
    assert account.quota_roots("Not there") == ["User quota"], "a mailbox need not exist"
    uids = save(account, number=2)
    save(account, "Trash", number=5)
    assert used(account)[1] == 2
    transfer(account, uids, "INBOX", "Trash", moves=False)
    remove(account, "INBOX", uids[:1])
    assert used(account)[1] == 1


def test_from_an_ignored_mailbox_messages_move_into_the_quota(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=2", quota_rule2="Trash:ignore")
    account.create("Trash")
    uids = save(account, "Trash", number=3)
    assert refused(lambda: transfer(account, uids, "Trash", "INBOX", moves=True))
    transfer(account, uids[:2], "Trash", "INBOX", moves=True)
    assert used(account) == (2 * SIZE, 2)
    assert len(list((place.maildir / ".Trash" / "new").iterdir())) == 1, "nothing was taken from where it was"


def test_a_mailbox_with_other_limits(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=2", quota_rule2="Trash:messages=+1")
    account.create("Trash")
    uids = save(account, number=2)
    assert refused(lambda: save(account))
    transfer(account, uids[:1], "INBOX", "Trash", moves=False)
    assert refused(lambda: transfer(account, uids[1:], "INBOX", "Trash", moves=False))


def test_names_with_a_prefix(place: Place) -> None:
    place.rules = QuotaRules(Limits(messages=2), ignored=("Trash", "INBOX.Spam"))
    account = place.open(prefix="INBOX.", separator=".")
    for name in ("INBOX.Trash", "INBOX.Spam", "INBOX.Sent"):
        account.create(name)
    assert [account.quota_roots(name) for name in ("INBOX.Trash", "INBOX.Spam")] == [[], []]
    assert account.quota_roots("INBOX") == account.quota_roots("INBOX.Sent") == ["User quota"]


def test_a_line_for_each_command(place: Place) -> None:
    """APPEND +n, MOVE +n and -n, EXPUNGE -n, DELETE -n; RENAME nothing, unless it comes to be counted or not."""
    account = limited(place, quota_rule="*:storage=1M", quota_rule2="Trash*:ignore")
    account.quota("User quota")
    for name in ("Box", "Trash"):
        account.create(name)

    def new() -> list[str]:
        lines = place.lines()
        place.write(f"{lines[0]}\n")
        return lines[1:]

    new()
    uids = save(account, number=3)
    assert new() == [f"{3 * SIZE} 3"]
    transfer(account, uids[:2], "INBOX", "Box", moves=False)
    assert new() == [f"{2 * SIZE} 2"]
    transfer(account, uids[:2], "INBOX", "Box", moves=True)
    assert new() == [f"{2 * SIZE} 2", f"-{2 * SIZE} -2"]
    remove(account, "INBOX", uids[2:])
    assert new() == [f"-{SIZE} -1"]
    account.rename("Box", "Other")
    assert new() == []
    account.rename("Other", "Trash/Box")
    assert new() == [f"-{4 * SIZE} -4"]
    account.rename("Trash/Box", "Box")
    assert new() == [f"{4 * SIZE} 4"]
    account.delete("Box")
    assert new() == [f"-{4 * SIZE} -4"]
    account.delete("Trash")
    assert new() == []


def test_a_message_without_a_size_in_its_name(place: Place) -> None:
    account = limited(place, quota_rule="*:storage=1M")
    account.create("Box")
    (place.maildir / "cur" / "1.a.host:2,S").write_bytes(b"a: b\n\nc\n")
    assert used(account) == (8, 1)
    transfer(account, [1], "INBOX", "Box", moves=False)
    assert used(account) == (16, 2) == truth(place)
    remove(account, "INBOX", [1])
    assert used(account) == (8, 1) == truth(place)
    assert place.lines()[1:] == ["8 1", "8 1", "-8 -1"]


def test_inbox_renamed_is_a_move(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=2")
    save(account, number=2)
    account.rename("INBOX", "Old")
    assert used(account) == (2 * SIZE, 2) == truth(place)


def test_the_control_directory_has_the_file(place: Place, tmp_path: Path) -> None:
    place.rules = QuotaRules(Limits(messages=2))
    account = place.open(control_path=str(tmp_path / "control"))
    save(account)
    assert (tmp_path / "control" / "maildirsize").read_text() == f"2C\n0 0\n{SIZE} 1\n"
    assert not place.file.exists()


def test_a_read_only_maildir_has_a_quota(place: Place) -> None:
    save(place.open(), number=2)
    place.rules = QuotaRules(Limits(messages=5))
    account = place.open()

    def read_only(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "read-only")

    place.fail = read_only
    assert used(account) == (2 * SIZE, 2)
    assert used(account) == (2 * SIZE, 2)
    assert not place.file.exists()


def test_no_quota_costs_one_look(place: Place) -> None:
    account = place.open()
    inbox = account.open("INBOX")
    place.calls.clear()
    upload = inbox.upload()
    upload.write(BODY)
    inbox.save([upload])
    assert set(place.calls) == {"open"} and len(place.calls) <= 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_deleted_storage(place: Place, backend: str) -> None:
    """RFC 9208 4.1.4: what an EXPUNGE would free."""
    account = account_of(backend, place)
    uids = save(account, number=3)
    inbox = account.open("INBOX")
    assert inbox.deleted_storage() == 0
    inbox.store(uids[:2], FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    assert inbox.deleted_storage() == 2 * (SIZE if backend == "maildir" else len(BODY))


def test_a_fifo_in_its_place_stops_nobody(place: Place) -> None:
    account = limited(place, quota_rule="*:messages=5")
    os.mkfifo(place.file)
    save(account)
    assert used(account)[1] == 1


# Recorded by Dovecot


def test_check_10_the_recorded_tree(tmp_path: Path) -> None:
    place = Place(unpack("dovecot", tmp_path))
    before = place.file.read_bytes()
    account = place.open()
    found = account.quota("User quota")
    assert (found.storage_used, found.messages_used) == (30167, 35)
    assert (found.storage_limit, found.messages_limit) == (10240 * 1024, 1000)
    assert "(STORAGE 30 10240 MESSAGE 35 1000)" in expected("dovecot")["quotaroot_inbox_raw"][1]
    assert place.file.read_bytes() == before
    save(account)
    assert place.file.read_bytes() == before + b"%d 1\n" % SIZE


def test_the_truth_after_a_few_hundred_operations(place: Place) -> None:
    """Two workers and a delivery agent; every line is there, so the sum is right without counting."""
    import random  # only this test draws lots

    lots = random.Random(9208)
    first = limited(place, quota_rule="*:storage=1G")
    first.create("Box")
    workers = [first, place.open()]
    assert used(first) == (0, 0)
    for _ in range(60):
        account = lots.choice(workers)
        source, target = lots.sample(["INBOX", "Box"], 2)
        save(account, source, lots.randint(1, 3), BODY * lots.randint(1, 3))
        mailbox = account.open(source)
        uids = list(mailbox.table.uids)
        mailbox.close()
        some = lots.sample(uids, min(len(uids), 3))
        what = lots.randrange(4)
        if what == 0:
            remove(account, source, some)
        elif what < 3:
            transfer(account, some, source, target, moves=what == 1)
        assert used(lots.choice(workers)) == truth(place)
        place.clock.time += 10
