"""A mailbox that is parked under living views: what clients are told is what they would be told anyway."""

import contextlib
import dataclasses
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maildir_site import MAIL, Site

from greenmail.errors import Reason, StorageError
from greenmail.imap.view import View
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box

ADD = FlagAction.ADD
FLAGGED = FlagChange(ADD, frozenset({"\\Flagged"}))
DELETED = FlagChange(ADD, frozenset({"\\Deleted"}))


class Idler:
    """A session that idles, and its client: the UIDs in order, with their flags."""

    def __init__(self, mailbox: MaildirMailbox) -> None:
        self.mailbox = mailbox
        self.view = View(mailbox, read_only=True, first_recent=mailbox.first_recent)
        self.client = {uid: self.view.flags(uid) - {"\\Recent"} for uid in self.view.uids}
        self.told = 0
        self.cancel = mailbox.subscribe(self._hear)
        mailbox.resting(True)

    def _hear(self) -> None:
        self.told += 1

    def wake_up(self) -> None:
        """As IDLE does it: look, tell the client, rest again."""
        self.mailbox.resting(False)
        try:
            self.mailbox.look()
            news = self.view.news(may_expunge=True)
            uids = list(self.client)
            for seq, uid in news.expunged:
                assert uids.pop(seq - 1) == uid
            self.client = {uid: self.client[uid] for uid in uids}
            for uid in self.view.uids[len(uids) :]:
                self.client[uid] = self.view.flags(uid) - {"\\Recent"}  # as it would ask for them
            assert news.exists is None or news.exists == len(self.client)
            for item in news.changed:
                assert list(self.client)[item.seq - 1] == item.uid
                self.client[item.uid] = item.flags - {"\\Recent"}
        finally:
            self.mailbox.resting(True)


def truth(site: Site) -> dict[int, frozenset[str]]:
    """UIDs and flags as somebody finds them who has just come."""
    mailbox = site.inbox()
    found = {uid: mailbox.table.flags_of(row) for row, uid in enumerate(mailbox.table.uids)}
    mailbox.close()
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from made(tmp_path)


def made(directory: Path) -> Iterator[Site]:
    site = Site(directory / "Maildir")
    site.worker()
    for _ in range(5):
        site.deliver()
    mailbox = site.inbox()
    mailbox.claim_recent()
    mailbox.close()
    yield site


def idler(site: Site) -> Idler:
    """One whose mailbox can be parked at once."""
    site.age()
    mailbox = site.inbox()
    mailbox.look()
    return Idler(mailbox)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_mailbox_is_parked_when_all_who_have_it_rest(site: Site) -> None:
    site.age()
    account = site.worker()
    mailbox = account.open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    one = Idler(mailbox)
    again = account.open("INBOX")
    assert again is mailbox
    assert not mailbox.park()
    two = Idler(mailbox)
    assert mailbox.park()
    again.resting(False)
    two.cancel()
    again.close()
    mailbox.look()  # all who are left idle, and nothing happened
    assert not mailbox.may_park
    one.wake_up()
    assert one.client == truth(site)


def test_parked_it_has_no_descriptors_and_hardly_any_memory(site: Site) -> None:
    before = descriptors()
    mailbox = idler(site).mailbox
    assert descriptors() > before
    mailbox.look()
    assert mailbox.memory() > 10_000
    assert mailbox.park()
    assert descriptors() == before
    assert mailbox.memory() < 4096


def test_a_look_at_what_is_parked_costs_four_stats_if_nothing_happened(site: Site) -> None:
    here = idler(site)
    assert here.mailbox.park()
    site.calls.clear()
    here.mailbox.look()
    assert sorted(name for name, _ in site.calls) == ["glance", "glance", "glance", "stat"]
    assert here.mailbox.unsure() == float("inf")


def test_whoever_does_not_idle_wakes_it(site: Site) -> None:
    here = idler(site)
    assert here.mailbox.park()
    here.cancel()
    here.mailbox.look()
    assert here.mailbox.memory() > 10_000
    assert list(here.mailbox.table.uids) == [1, 2, 3, 4, 5]


def test_what_is_asked_without_a_look_wakes_it(site: Site) -> None:
    here = idler(site)
    assert here.mailbox.park()
    assert here.mailbox.counters().messages == 5
    assert here.mailbox.last_row(2) is not None


def other(site: Site, *actions: Callable[[MaildirMailbox], Any]) -> None:
    """Another worker."""
    mailbox = site.inbox()
    for action in actions:
        action(mailbox)
    mailbox.close()


def fold(mailbox: MaildirMailbox) -> None:
    with mailbox.box.locked():
        assert mailbox.box.index_files is not None
        mailbox.box.index_files.fold(mailbox.box.index)


def append(mailbox: MaildirMailbox) -> None:
    upload = mailbox.upload()
    upload.write(MAIL)
    mailbox.save([upload])


def flag(site: Site, place: int, letters: str) -> None:
    """As Dovecot or mutt does it."""
    name = site.names()[place]
    with contextlib.suppress(FileNotFoundError):
        os.rename(site.path / "cur" / name, site.path / "cur" / (name.partition(":")[0] + ":2," + letters))


def drop(site: Site, *names: str) -> None:
    for name in names:
        (site.path / name).unlink(missing_ok=True)


def tear(site: Site) -> None:
    """A worker that was killed while it wrote to the journal."""
    with (site.path / "greenmail.log").open("ab") as journal:
        journal.write(b"\x50\0\0\0half a record")


CASES: dict[str, Callable[[Site], Any]] = {
    "delivery": lambda site: site.deliver(),
    "two deliveries": lambda site: (site.deliver(), site.deliver(where="cur")),
    "foreign flags": lambda site: flag(site, 1, "FS"),
    "foreign expunge": lambda site: (site.path / "cur" / site.names()[2]).unlink(),
    "foreign expunge and delivery": lambda site: ((site.path / "cur" / site.names()[0]).unlink(), site.deliver()),
    "all gone": lambda site: [(site.path / "cur" / name).unlink() for name in site.names()],
    "STORE": lambda site: other(site, lambda box: box.store([2, 3], FLAGGED)),
    "EXPUNGE": lambda site: other(site, lambda box: box.store([2, 4], DELETED), lambda box: box.expunge(None)),
    "APPEND": lambda site: other(site, append, append),
    "fold": lambda site: other(site, fold),
    "change, fold, change": lambda site: other(
        site, lambda box: box.store([1], DELETED), lambda box: box.expunge(None), fold,
        lambda box: box.store([5], FLAGGED), fold, append,
    ),
    "keyword": lambda site: other(site, lambda box: box.store([4], FlagChange(ADD, frozenset({"$Work"})))),
    "no journal": lambda site: drop(site, "greenmail.log"),
    "no snapshot": lambda site: drop(site, "greenmail.index"),
    "no index": lambda site: drop(site, "greenmail.index", "greenmail.log", "greenmail.cache"),
    "no index, and an expunge": lambda site: (
        drop(site, "greenmail.index", "greenmail.log"), (site.path / "cur" / site.names()[1]).unlink()
    ),
    "no uidlist": lambda site: (drop(site, "dovecot-uidlist"), site.deliver()),
    "torn journal": tear,
    "torn journal, then a change": lambda site: (tear(site), other(site, append)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_happens_meanwhile_is_told(site: Site, case: str) -> None:
    here = idler(site)
    assert here.mailbox.park()
    CASES[case](site)
    here.wake_up()
    if case == "no uidlist":  # it is written anew with the numbers of the index
        assert set(here.client) == {1, 2, 3, 4, 5, 6}
    assert here.client == truth(site)
    site.deliver()
    here.wake_up()
    assert here.client == truth(site)


def test_an_expunge_whose_record_was_lost_is_told(site: Site) -> None:
    staying = Idler(site.inbox())
    (site.path / "cur" / site.names()[2]).unlink()
    site.inbox().close()
    drop(site, "greenmail.log")
    other(site, append)  # knows the old snapshot and the directories, and begins a new journal
    staying.wake_up()
    assert staying.client == truth(site)
    assert staying.client.keys() == {1, 2, 4, 5, 6}


def test_a_message_that_was_delivered_in_the_moment_of_parking_is_told(site: Site) -> None:
    here = idler(site)
    site.deliver()  # no look since
    assert here.mailbox.park()
    here.wake_up()
    assert len(here.client) == 6


def test_a_restored_index_is_not_believed_with_the_times_of_a_newer_one(site: Site) -> None:
    old = {
        name: (site.path / name).read_bytes()
        for name in ("greenmail.index", "greenmail.log")
        if (site.path / name).exists()
    }
    site.deliver()
    here = idler(site)
    here.wake_up()
    site.age()
    here.wake_up()
    assert here.mailbox.park()
    for name, data in old.items():
        (site.path / name).unlink(missing_ok=True)
        (site.path / name).write_bytes(data)
    here.wake_up()
    assert here.client == truth(site)
    assert len(here.client) == 6


def delete(site: Site) -> None:
    shutil.rmtree(site.path)


def replace(site: Site) -> None:
    shutil.rmtree(site.path)
    site.worker()
    site.deliver()


def another_uidlist(site: Site) -> None:
    """In the same directory: what another directory with the inode of an old one looks like."""
    drop(site, "greenmail.index", "greenmail.log", "dovecot-uidlist")


@pytest.mark.parametrize("change", [delete, replace, another_uidlist])
def test_another_mailbox_in_its_place_is_not_taken_for_it(site: Site, change: Callable[[Site], None]) -> None:
    here = idler(site)
    assert here.mailbox.park()
    change(site)
    for _ in range(2):
        with pytest.raises(StorageError) as raised:
            here.wake_up()
        assert raised.value.reason is Reason.GONE
    assert here.client.keys() == {1, 2, 3, 4, 5}
    here.cancel()
    here.mailbox.resting(False)
    here.mailbox.close()


def test_delete_and_rename_in_this_worker_tell_who_idles_in_what_is_parked(site: Site) -> None:
    account = site.worker()
    account.create("a")
    mailbox = account.open("a")
    assert isinstance(mailbox, MaildirMailbox)
    for part in ("new", "cur"):
        os.utime(site.path / ".a" / part, (1_700_000_000, 1_700_000_000))
    mailbox.look()
    here = Idler(mailbox)
    assert mailbox.park()
    account.rename("a", "b")
    assert here.told
    with pytest.raises(StorageError) as raised:
        here.wake_up()
    assert raised.value.reason is Reason.GONE
    again = account.open("b")
    assert again is not mailbox
    assert again.mailbox_id == mailbox.mailbox_id


def test_facts_that_were_worked_out_are_kept(site: Site) -> None:
    here = idler(site)
    here.mailbox.fill([1, 2, 3, 4, 5], sizes=True, dates=True)
    assert here.mailbox.park()
    assert all(size > 0 for size in here.mailbox.table.sizes)


def test_what_changed_lately_is_not_parked(site: Site) -> None:
    site.deliver()
    mailbox = site.inbox()
    Idler(mailbox)
    assert mailbox.unsure() < float("inf")
    assert not mailbox.park()


def test_what_could_not_be_journalled_is_not_parked(site: Site) -> None:
    here = idler(site)
    site.fail["write"] = errno.ENOSPC
    site.deliver()
    here.wake_up()
    site.age()
    here.mailbox.look()
    assert not here.mailbox.park()
    site.fail.clear()
    assert here.mailbox.counters().messages in (5, 6)


def test_a_mailbox_without_index_files_is_not_parked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    here = idler(site)
    here.mailbox.box.read_only = True
    assert not here.mailbox.park()


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


def test_those_that_rest_longest_are_parked_first_and_only_as_many_as_must(site: Site) -> None:
    account = site.worker()
    store = account._worker.mailboxes
    for name in ("a", "b", "c"):
        account.create(name)
        for part in ("new", "cur"):
            os.utime(site.path / f".{name}" / part, (1_700_000_000, 1_700_000_000))
    opened = [account.open(name) for name in ("a", "b", "c")]
    for mailbox in opened:
        mailbox.look()
        assert isinstance(mailbox, MaildirMailbox)
        Idler(mailbox)
    assert store.park(60.0, lambda: None) == 0
    store._memory = 32 * opened[0].memory()  # one of them may be in memory
    assert store.park(60.0, lambda: None) == 2
    assert [mailbox.may_park for mailbox in opened] == [False, False, True]
    assert store.park(0.0, lambda: None) == 1


ACTS = st.sampled_from([*(case for case in CASES if case != "no uidlist"), "park", "park", "park", "tell", "age"])


@settings(max_examples=8, deadline=None)
@given(st.lists(ACTS, min_size=3, max_size=14))
def test_a_parked_mailbox_tells_what_one_tells_that_never_is(acts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.contextmanager(made)(Path(name)) as site:
        parking, staying = idler(site), Idler(site.inbox())
        for act in acts:
            if act == "park":
                site.age()
                parking.wake_up()
                parking.mailbox.park()
            elif act == "tell":
                staying.wake_up()
            elif act == "age":
                site.age()
            elif site.names() or "xpunge" not in act:
                with contextlib.suppress(IndexError):
                    CASES[act](site)
        parking.wake_up()
        staying.wake_up()
        assert parking.client == staying.client == truth(site)
        assert list(parking.client) == list(staying.client)


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
