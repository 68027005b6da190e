"""A mailbox that is parked under living views: what clients are told is what they would be told anyway."""

import contextlib
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
from support.parked_site import Idler, descriptors, idler, made, truth

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.maildir import MaildirMailbox

ADD = FlagAction.ADD
FLAGGED = FlagChange(ADD, frozenset({"\\Flagged"}))
DELETED = FlagChange(ADD, frozenset({"\\Deleted"}))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from made(tmp_path)


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


@pytest.mark.parametrize("case", CASES)
def test_who_did_not_look_himself_is_told_by_the_mailbox_that_there_is_something(site: Site, case: str) -> None:
    """Of all who idle only one looks (`net/lookout.py`)."""
    site.age()
    account = site.worker()
    looker, second = Idler(account.open("INBOX")), Idler(account.open("INBOX"))
    assert looker.mailbox is second.mailbox and looker.mailbox.park()
    CASES[case](site)
    looker.wake_up()
    assert bool(second.told) >= (looker.client != second.client)
    second.wake_up()
    assert second.client == looker.client
    assert second.mailbox.was_looked_at(60)


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


def test_what_was_saved_and_parked_does_not_wait_to_be_parked(site: Site) -> None:
    account = site.worker()
    site.age()
    mailbox = account.open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    mailbox.look()
    Idler(mailbox)
    mailbox.fill([1, 2, 3, 4, 5], sizes=True, dates=True)
    store = account._worker.mailboxes
    assert store.park(0.0, lambda: None) == 1
    assert not store.is_any_resting
