"""Parked mailboxes in the moment of waking: what fails then, who goes then, and who is in another name of it."""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.maildir_site import MAIL, Site
from support.parked_site import Idler, descriptors, idler, made, truth

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from made(tmp_path)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_what_cannot_be_woken_stays_parked_and_is_tried_again(site: Site, error: int) -> None:
    here = idler(site)
    assert here.mailbox.park()
    site.deliver()
    site.fail["listdir"] = site.fail["stat"] = error
    with pytest.raises(StorageError) as raised:
        here.wake_up()
    assert raised.value.reason is not Reason.GONE
    assert here.mailbox.unsure() == 2.0
    before = descriptors()
    with pytest.raises(StorageError):
        here.wake_up()
    assert descriptors() == before
    site.fail.clear()
    here.wake_up()
    assert here.client == truth(site)
    assert len(here.client) == 6


class Meanwhile(Site):
    """Others do something at the next call of that name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.then: dict[str, Callable[[], None]] = {}

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        self.then.pop(name, lambda: None)()
        return super().call(name, function, *args)


def parked(site: Site, account: MaildirAccount, name: str) -> Idler:
    """Somebody who idles in a parked mailbox."""
    for part in ("new", "cur"):
        os.utime(site.path / f".{name}" / part, (1_700_000_000, 1_700_000_000))
    mailbox = account.open(name)
    assert isinstance(mailbox, MaildirMailbox)
    here = Idler(mailbox)
    assert mailbox.park()
    return here


def go(here: Idler) -> None:
    """The client disconnects."""
    here.cancel()
    here.mailbox.resting(False)
    here.mailbox.close()


@pytest.mark.parametrize("is_deleted", [False, True])
def test_who_idled_goes_while_another_name_of_the_mailbox_wakes_it(tmp_path: Path, is_deleted: bool) -> None:
    site = Meanwhile(tmp_path / "Maildir")
    account = site.worker()
    store = account._worker.mailboxes
    account.create("a")
    (site.path / ".b").symlink_to(site.path / ".a")
    account.open("a").close()
    store._memory = 0  # what nobody uses is given up at once
    store._shrink()
    before = descriptors()
    here = parked(site, account, "a")

    def meanwhile() -> None:
        if is_deleted:
            store.leave(here.mailbox.place.directory)
        go(here)

    site.then["glance"] = meanwhile
    opened = account.open("b")
    assert opened is account.open("b")
    assert (opened is here.mailbox) is not is_deleted
    site.deliver()
    os.rename(site.path / "new" / os.listdir(site.path / "new")[0], site.path / ".a" / "new" / "1.x")
    opened.look()
    assert list(opened.table.uids) == [1]
    opened.close()
    opened.close()
    assert (store._weight, store._weights, store._used, store._warm, store._resting) == (0, {}, {}, {}, {})
    assert descriptors() == before


def test_who_is_in_a_mailbox_that_is_gone_does_not_keep_its_successor_from_being_parked(site: Site) -> None:
    account = site.worker()
    account.create("a")
    gone = account.open("a")
    account.rename("a", "b")
    here = parked(site, account, "b")
    assert here.mailbox.counters().messages == 0  # which wakes it
    here.wake_up()
    gone.close()
    assert account._worker.mailboxes.park(0.0, lambda: None) == 1


def test_who_parks_is_told_when_a_mailbox_begins_to_rest(site: Site) -> None:
    """And need not look before, nor when all are parked."""
    site.age()
    account = site.worker()
    mailboxes, told = account._worker.mailboxes, []
    mailboxes.begins_to_rest = lambda: told.append(mailboxes.is_any_resting)
    here = Idler(account.open("INBOX"))
    assert (told, mailboxes.is_any_resting) == ([False], True)
    here.mailbox.resting(False)
    assert not mailboxes.is_any_resting
    here.mailbox.resting(True)
    assert (told, mailboxes.is_any_resting) == ([False, False], True)
    assert mailboxes.park(0.0, lambda: None) == 1
    assert not mailboxes.is_any_resting
    site.deliver()
    here.wake_up()
    assert (told, mailboxes.is_any_resting) == ([False, False, False], True)


class Killed(BaseException):
    """As gevent kills a green thread."""


def test_a_session_that_ends_at_any_moment_of_waking_the_mailbox_leaves_it_to_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[object] = []  # waits until somebody is killed

    def block(function: Callable[..., Any], *args: Any) -> Any:
        result = function(*args)
        if left and left.pop() is Killed:
            raise Killed
        return result

    monkeypatch.setattr(Box, "offload", lambda self, large, function, *args: block(function, *args))
    account = site.worker(dataclasses.replace(direct(), blocking=block))
    account.create("a")
    account.open("a").close()
    store = account._worker.mailboxes
    one = parked(site, account, "a")
    one.wake_up()
    mailbox = account.open("a")
    assert mailbox is one.mailbox
    two = Idler(one.mailbox)
    assert one.mailbox.park()
    before, weight = descriptors(), store._weight
    (site.path / "tmp" / "x").write_bytes(MAIL)
    os.rename(site.path / "tmp" / "x", site.path / ".a" / "new" / "1.x")
    killed = 0
    while one.mailbox._box is None:
        left[:] = [Killed, *[None] * killed]
        with contextlib.suppress(Killed):
            one.wake_up()
            break
        killed += 1
        if one.mailbox._box is None:
            assert (descriptors(), store._weight) == (before, weight)
    assert killed > 3
    left.clear()
    go(one)
    two.wake_up()
    assert list(two.client) == [1]
    go(two)
    store.close()
    assert (store._weight, store._weights, store._resting) == (0, {}, {})


def test_who_leaves_while_facts_are_saved_is_not_the_last_one(tmp_path: Path) -> None:
    """A mailbox that is about to be parked may wait for its lock: what is at work on it is not closed meanwhile."""
    site = Meanwhile(tmp_path / "Maildir")
    site.worker()
    for _ in range(5):
        site.deliver()
    site.inbox().close()
    before = descriptors()
    account = site.worker()
    mailbox = account.open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    mailbox.claim_recent()
    site.age()
    mailbox.look()
    here = Idler(mailbox)
    mailbox.fill([1, 2, 3, 4, 5], sizes=True, dates=True)
    store = account._worker.mailboxes
    left: list[int] = []

    def leave() -> None:
        store._memory = 0  # so that nothing stays that nobody uses
        go(here)
        left.append(mailbox.references)

    site.then["write"] = leave
    assert not mailbox.park()
    assert left == [1], "it was at work"
    assert (store._weight, store._weights, store._resting, store._used) == (0, {}, {}, {})
    assert descriptors() == before
    assert all(size > 0 for size in site.inbox().table.sizes)
