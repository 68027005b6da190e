"""A mailbox whose UID list rests (nobody had it open), and what happens to the file meanwhile."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.maildir_site import Site, put

from greenmail.runtime import Runtime, direct
from greenmail.storage import maildir, uidlist
from greenmail.storage.account import MaildirAccount
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildrop_items import PlainItems


class Watched(Site):
    """`before_uidlist` is called before the list of INBOX is opened."""

    before_uidlist: Callable[[], None] | None = None

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == "open" and args[0] == os.fsencode(self.path / "dovecot-uidlist") and self.before_uidlist:
            self.before_uidlist()
        return super().call(name, function, *args)


@pytest.fixture
def site(tmp_path: Path) -> Watched:
    made = Watched(tmp_path / "Maildir")
    made.worker()
    return made


def resting(
    site: Watched, monkeypatch: pytest.MonkeyPatch, runtime: Runtime | None = None
) -> tuple[MaildirAccount, MaildirMailbox]:
    """A mailbox with two messages that was closed and opened again, and a mailbox to copy to."""
    monkeypatch.setattr(maildir, "_MANY", 0)
    for _ in range(2):
        site.deliver()
    owner = site.worker(runtime)
    owner.create("Archive")
    first = owner.open("INBOX")
    first.look()
    first.claim_recent()
    site.age()
    first.look()
    first.close()
    again = owner.open("INBOX")
    assert isinstance(again, MaildirMailbox)
    assert again is first
    assert again.box.uidlist.rests
    return owner, again


def watched() -> tuple[Runtime, list[str]]:
    """What is done in the pool at the moment."""
    work: list[str] = []

    def blocking(function: Callable[..., Any], *args: Any) -> Any:
        work.append(function.__name__)
        done = function(*args)
        work.pop()
        return done

    return replace(direct(), blocking=blocking), work


ASKED: dict[str, Callable[[MaildirAccount, MaildirMailbox], Any]] = {
    "pop3": lambda _, inbox: [item.uid for item in inbox.maildrop()],
    "emailid": lambda _, inbox: len(inbox.guids([1, 2])),
    "savedate": lambda _, inbox: len(inbox.save_dates([1, 2]) or ()),
    "copy": lambda owner, inbox: inbox.copy([1, 2], owner.open("Archive")),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_list_that_was_removed_while_it_rested_is_no_refusal(
    site: Watched, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Nothing in the directories of the messages tells of it, so no look would mend it."""
    owner, inbox = resting(site, monkeypatch)
    (site.path / "dovecot-uidlist").unlink()
    inbox.look()
    assert ASKED[asked](owner, inbox) in ([1, 2], 2, [(1, 1), (2, 2)])
    site.deliver()
    inbox.look()
    assert list(inbox.table.uids) == [1, 2, 3]
    assert list(site.worker().open("INBOX").table.uids) == [1, 2, 3]
    assert (site.path / "dovecot-uidlist").read_bytes().count(b"\n") == 4


@pytest.mark.parametrize("asked", ASKED)
def test_a_list_that_rests_is_read_while_nobody_numbers(
    site: Watched, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """A line that another thread appends during the reading would be in the file, and not among the records."""
    owner, inbox = resting(site, monkeypatch)
    opened: list[bool] = []
    # The locks of `direct` are those of threads.
    site.before_uidlist = lambda: opened.append(inbox.box.green.locked())  # type: ignore[attr-defined]
    ASKED[asked](owner, inbox)
    assert opened
    assert all(opened)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_list_that_rests_is_read_in_the_pool_once_for_all_that_is_copied(
    site: Watched, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """That of 100,000 messages took 10 ms for each message, in which no session of the worker could do anything.

    `is_there`: the target has one of the messages, so the others go by way of `tmp/`.
    """
    runtime, work = watched()
    owner, inbox = resting(site, monkeypatch, runtime)
    archive = owner.open("Archive")
    assert isinstance(archive, MaildirMailbox)
    uids = [pair[1] for pair in inbox.copy([1], archive)] if is_there else []
    uids += [put(archive) for _ in range(3)]
    inbox.box.uidlist.rest()
    opened: list[list[str]] = []
    site.before_uidlist = lambda: opened.append(work[:])
    assert [uid for uid, _ in archive.copy(uids, inbox)] == uids
    assert all(opened), "read here"
    assert len(opened) == (4 if is_there else 2), "to look for all, for the one that is there, its new name; to append"
    assert inbox.box.uidlist.rests


@pytest.mark.parametrize("asked", ASKED)
def test_a_list_that_is_replaced_while_it_is_asked_for_is_read_again(
    site: Watched, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Right behind the stat that found it unchanged."""
    owner, inbox = resting(site, monkeypatch)
    path = site.path / "dovecot-uidlist"
    times: list[int] = []

    def replace() -> None:
        if not times:
            times.append(1)
            other = path.with_name("other")
            other.write_bytes(path.read_bytes())
            other.rename(path)

    site.before_uidlist = replace
    assert ASKED[asked](owner, inbox) in ([1, 2], 2, [(1, 1), (2, 2)])
    assert times


def test_a_mailbox_that_is_only_read_is_looked_at_again(site: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock keeps others from replacing the list between the stat and the search for a new name."""
    _, inbox = resting(site, monkeypatch)
    inbox.box.read_only = True
    path = site.path / "dovecot-uidlist"
    times: list[int] = []

    def replace() -> None:
        if not times:
            times.append(1)
            other = path.with_name("other")
            other.write_bytes(path.read_bytes() + b"7 :1700000008.M8P1.mx\n")
            other.rename(path)

    site.deliver(name="1700000008.M8P1.mx")
    site.before_uidlist = replace
    inbox.look()
    assert times
    assert list(inbox.table.uids) == [1, 2, 7]


def test_a_list_that_the_index_agrees_with_is_searched_for_what_is_new(
    site: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a parked mailbox wakes, or the server was started anew."""
    monkeypatch.setattr(uidlist, "_LONG", 1)
    for _ in range(3):
        site.deliver()
    site.inbox().claim_recent()
    site.age()
    site.inbox().look()
    site.deliver()
    again = site.inbox()
    assert again.box.uidlist.rests and list(again.table.uids) == [1, 2, 3, 4]
    (site.path / "cur" / "1700000001.M1P1.mx:2,").rename(site.path / "cur" / "1700000001.M1P1.mx:2,S")
    again.look()
    assert again.box.uidlist.rests and list(again.table.uids) == [1, 2, 3, 4] and again.counters().unseen == 3
    other = site.inbox()
    with (site.path / "dovecot-uidlist").open("ab") as file:  # another server numbers what it delivers
        file.write(b"9 :1700000009.M1P1.mx\n")
    site.deliver(name="1700000009.M1P1.mx")
    for mailbox in (again, other, site.inbox()):
        mailbox.look()
        assert list(mailbox.table.uids) == [1, 2, 3, 4, 9]


def test_a_damaged_list_that_cannot_be_mended_is_not_trusted(site: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uidlist, "_LONG", 1)
    for _ in range(3):
        site.deliver()
    inbox = site.inbox()
    inbox.claim_recent()
    path = site.path / "dovecot-uidlist"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[2:]]))
    site.fail["fsync"] = errno.ENOSPC
    site.age()
    inbox.look()
    assert inbox.box.uidlist.must_rewrite and b"rubbish" in path.read_bytes()
    site.fail.clear()
    again = site.inbox()
    assert b"rubbish" not in path.read_bytes() and list(again.table.uids) == [1, 2, 3]


def test_pop3_lets_a_list_rest_that_has_no_fields_for_it(site: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    _owner, inbox = resting(site, monkeypatch)
    path = site.path / "dovecot-uidlist"
    assert b" G" in path.read_bytes().partition(b"\n")[0], "its header has one of its own"
    plain = inbox.maildrop()
    assert isinstance(plain, PlainItems) and list(plain.uids) == [1, 2]
    assert inbox.box.uidlist.rests
    path.write_bytes(path.read_bytes().replace(b"\n2 ", b"\n2 Pkept.before "))  # another program, under its lock
    items = inbox.maildrop()
    assert [(item.uid, item.uidl) for item in items] == [(1, None), (2, "kept.before")]


@pytest.mark.parametrize("has_index_path", [False, True])
def test_a_long_list_is_read_in_the_pool_when_a_mailbox_is_opened(
    site: Watched, tmp_path: Path, has_index_path: bool
) -> None:
    """Another server has changed it; or the index files are where its GUID says. Of 100,000 lines it takes 140 ms."""
    settings = {"index_path": str(tmp_path / "index")} if has_index_path else {}
    site.deliver()
    site.worker(**settings).open("INBOX").claim_recent()
    path = site.path / "dovecot-uidlist"
    path.write_bytes(path.read_bytes() + b"".join(b"%d :%d.M1P1.mx\n" % (uid, uid) for uid in range(10, 10_010)))
    runtime, work = watched()
    opened: list[list[str]] = []
    site.before_uidlist = lambda: opened.append(work[:])
    inbox = site.worker(runtime, **settings).open("INBOX")
    assert opened
    assert all(opened), "read here"
    assert list(inbox.table.uids) == [1]
    assert inbox.uidnext == 10_010
