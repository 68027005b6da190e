"""What the store refuses because of a quota, and what it counts. `formats.md` 5."""

import errno
import os
from pathlib import Path
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
from support.trees import expected, unpack

from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.memory import MemoryStore
from greenmail.storage.quota import count
from greenmail.storage.quota_rules import Limits, QuotaRules, from_user


def truth(place: Place) -> tuple[int, int]:
    boxes = [place.maildir, *(path for path in place.maildir.iterdir() if path.name.startswith(".") and path.is_dir())]
    found = count(Files(), [os.fsencode(box) for box in boxes])
    assert not isinstance(found, OSError)
    return found


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
