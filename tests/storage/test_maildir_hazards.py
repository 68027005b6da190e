"""What must never happen to mail in a Maildir, and the situations in which it could."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hazard_site import Site, box, put

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.trash import purge

ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "Maildir")
    made.worker()
    return made


def flags(mailbox: MaildirMailbox) -> dict[int, set[str]]:
    return {uid: set(mailbox.table.flags_of(row)) for row, uid in enumerate(mailbox.table.uids)}


# MOVE


def test_move_does_not_unlink_what_it_did_not_copy(site: Site) -> None:
    """Between copy and unlink another program puts another mail in the place of the file, under the same base name."""
    account = site.worker()
    account.create("Other")
    site.deliver("x:2,", b"first\n", "cur")
    inbox, other = box(account, "INBOX"), box(account, "Other")

    def replace(*_: Any) -> bool:
        os.unlink(site.path / "cur" / "x:2,")
        site.deliver("x:2,S", b"second\n", "cur")
        return True

    site.before["unlink"] = lambda path: path.endswith(b"/cur/x:2,") and replace()
    site.before["lstat"] = lambda path: path.endswith(b"/cur/x:2,") and replace()
    inbox.move([1], other)
    assert b"second\n" in site.bodies()


def test_move_whose_unlink_fails_takes_its_copy_back(site: Site) -> None:
    account = site.worker()
    account.create("Other")
    site.deliver("x:2,", b"first\n", "cur")
    inbox, other = box(account, "INBOX"), box(account, "Other")

    def is_source(path: bytes) -> bool:
        if path == os.fsencode(site.path / "cur" / "x:2,"):
            raise OSError(errno.EPERM, "immutable")
        return False

    site.before["unlink"] = is_source
    with pytest.raises(StorageError):
        inbox.move([1], other)
    assert site.bodies() == [b"first\n"] and list(inbox.table.uids) == [1]


def test_move_whose_source_cannot_be_locked_takes_its_copy_back(site: Site) -> None:
    account = site.worker()
    account.create("Other")
    site.deliver("x:2,", b"first\n", "cur")
    inbox, other = box(account, "INBOX"), box(account, "Other")
    foreign = site.path / "dovecot-uidlist.lock"

    def lock(_: bytes, path: bytes) -> bool:
        if b"/.Other/new/" not in path:
            return False
        foreign.write_bytes(b"1:elsewhere")
        return True

    site.before["link"] = lock
    with pytest.raises(StorageError) as raised:
        inbox.move([1], other)
    assert raised.value.reason is Reason.IN_USE
    foreign.unlink()
    assert site.bodies() == [b"first\n"]


def test_letters_of_a_directory_name_are_no_flags(site: Site) -> None:
    account = site.worker()
    account.create("a:2,T")
    (site.path / ".a:2,T" / "cur" / "x").write_bytes(b"mail\n")
    mailbox = box(account, "a:2,T")
    mailbox.store([1], FlagChange(ADD, frozenset({"\\Deleted"})))
    os.rename(site.path / ".a:2,T" / "cur" / "x:2,T", site.path / ".a:2,T" / "cur" / "x")
    assert mailbox.expunge(None) == []
    assert site.bodies() == [b"mail\n"]


# CREATE, DELETE, RENAME


def test_mail_delivered_while_create_fails_is_kept(site: Site) -> None:
    """The mailbox can be seen, somebody delivers, and then the last sync fails."""
    account = site.worker()
    account.folders()

    def deliver(*_: Any) -> bool:
        if not (site.path / ".Box" / "cur").is_dir():
            return False
        (site.path / ".Box" / "new" / "y").write_bytes(b"delivered\n")
        site.fail["fsync"] = errno.EIO
        return True

    site.before["fsync"] = deliver
    with pytest.raises(StorageError):
        account.create("Box")
    site.fail.clear()
    assert site.bodies() == [b"delivered\n"]


def test_a_mailbox_appears_whole(site: Site) -> None:
    account = site.worker()
    seen = []

    def watch(*_: Any) -> bool:
        if (site.path / ".Box").exists():
            seen.append(sorted(os.listdir(site.path / ".Box"))[-4:])
        return False

    for name in ("mkdir", "open", "close", "rename", "fsync"):
        site.before[name] = watch
    account.create("Box")
    assert seen and all(set(names) >= {"cur", "new", "tmp", "maildirfolder"} or len(names) == 4 for names in seen)
    assert seen[0] == ["cur", "maildirfolder", "new", "tmp"]


def test_create_loses_against_another_that_is_faster(site: Site) -> None:
    account = site.worker()

    def other(source: bytes, target: bytes) -> bool:
        if not target.endswith(b"/.Box"):
            return False
        os.makedirs(site.path / ".Box" / "new")
        (site.path / ".Box" / "new" / "y").write_bytes(b"theirs\n")
        return True

    site.before["rename"] = other
    with pytest.raises(StorageError) as raised:
        account.create("Box")
    assert raised.value.reason is Reason.EXISTS
    assert site.bodies() == [b"theirs\n"]
    assert not [name for name in os.listdir(site.path) if name.startswith("..greenmail")]


def test_what_a_dead_create_left_goes_after_an_hour(site: Site) -> None:
    (site.path / "..greenmail.1.dead").mkdir()
    account = site.worker()
    assert [folder.name for folder in account.folders()] == ["INBOX"]
    assert (site.path / "..greenmail.1.dead").exists()
    purge(Files(), os.fsencode(site.path), time.time() + 3700)
    assert not (site.path / "..greenmail.1.dead").exists()


def test_delete_spares_the_uidlist_of_a_new_mailbox_of_the_same_name(site: Site, tmp_path: Path) -> None:
    account = site.worker(control_path=str(tmp_path / "control"))
    account.create("Box")
    put(box(account, "Box"), b"old\r\n")
    uidlist = tmp_path / "control" / ".Box" / "dovecot-uidlist"

    def again(*_: Any) -> bool:
        if (site.path / ".Box").exists() or not any(site.path.glob("..DOVECOT-TRASHED*")):
            return False
        site.before.clear()
        another = site.worker(control_path=str(tmp_path / "control"))
        another.create("Box")
        put(box(another, "Box"), b"new\r\n")
        return True

    # The lock is given back by closing its descriptor: from the next call on anybody may come.
    site.before["scandir"] = again
    account.delete("Box")
    assert b":" in uidlist.read_bytes().split(b"\n")[1]


def test_rename_without_its_control_directory_is_taken_back(site: Site, tmp_path: Path) -> None:
    account = site.worker(control_path=str(tmp_path / "control"))
    account.create("Box")
    uidvalidity = box(account, "Box").uidvalidity
    (tmp_path / "control").chmod(0o500)
    site.before["rename"] = lambda source, target: (
        source.startswith(os.fsencode(tmp_path / "control")) and not target.startswith(b"..") and _refuse()
    )
    with pytest.raises(StorageError):
        account.rename("Box", "Other")
    (tmp_path / "control").chmod(0o700)
    assert [folder.name for folder in account.folders()] == ["INBOX", "Box"]
    assert box(account, "Box").uidvalidity == uidvalidity


def _refuse() -> bool:
    raise PermissionError(errno.EACCES, "no")


# Two files, one name


def test_no_rename_goes_over_another_file(site: Site) -> None:
    """A second file of the same base name came in the same tick of the directory's clock."""
    site.deliver("x:2,", b"first\n", "cur")
    inbox = box(site.worker(), "INBOX")

    before = os.stat(site.path / "cur").st_mtime_ns
    (site.path / "cur" / "x:2,S").write_bytes(b"second\n")
    os.utime(site.path / "cur", ns=(before, before))
    with pytest.raises(StorageError):
        inbox.store([1], FlagChange(ADD, frozenset({"\\Seen"})))
    assert site.bodies() == [b"first\n", b"second\n"]
    inbox.store([1], FlagChange(ADD, frozenset({"\\Seen"})))
    assert site.bodies() == [b"first\n", b"second\n"] and len(inbox.table.uids) == 2


def test_new_mail_is_not_moved_over_another_file(site: Site) -> None:
    site.deliver("x", b"first\n")
    inbox = box(site.worker(), "INBOX")
    before = os.stat(site.path / "cur").st_mtime_ns
    (site.path / "cur" / "x:2,").write_bytes(b"second\n")
    os.utime(site.path / "cur", ns=(before, before))
    inbox.claim_recent()
    assert site.bodies() == [b"first\n", b"second\n"]


def test_a_fifo_stops_nobody(site: Site) -> None:
    site.deliver("x:2,", b"first\n", "cur")
    inbox = box(site.worker(), "INBOX")
    os.unlink(site.path / "cur" / "x:2,")
    os.mkfifo(site.path / "cur" / "x:2,")
    with pytest.raises(StorageError):
        inbox.content(1)


# Counting


def test_status_without_size_reads_no_message(site: Site) -> None:
    site.deliver("x:2,", b"first\n", "cur")
    inbox = box(site.worker(), "INBOX")
    site.calls.clear()
    counters = inbox.counters()
    assert counters.messages == 1 and not [call for call in site.calls if call[0] == "open"]
    assert counters.size == 7


def test_recent_is_not_counted_uid_by_uid(site: Site) -> None:
    (site.path / "dovecot-uidlist").write_bytes(b"3 V7 N4000000000 G%b\n" % (b"a" * 32))
    inbox = box(site.worker(), "INBOX")
    put(inbox, b"x\r\n")
    inbox.box.index.first_recent = 1
    assert inbox.counters().recent == 1


# Time


def test_a_clock_that_goes_back_hides_no_change(site: Site) -> None:
    account = site.worker()
    clock = [time.time()]
    runtime = account._worker.runtime
    object.__setattr__(runtime, "now", lambda: clock[0])
    site.deliver("x:2,", b"first\n", "cur")
    inbox = box(account, "INBOX")
    inbox.store([1], FlagChange(ADD, frozenset({"\\Seen"})))
    clock[0] += 86400
    inbox.look()
    times = os.stat(site.path / "cur").st_mtime_ns
    inbox.box.index.times[3] = int(clock[0] * 1e9) + 2_000_000_000
    os.rename(site.path / "cur" / "x:2,S", site.path / "cur" / "x:2,FS")
    os.utime(site.path / "cur", ns=(times, times))
    clock[0] -= 86400
    inbox.look()
    assert flags(inbox) == {1: {"\\Seen", "\\Flagged"}}


# Keywords


def test_a_copy_does_not_get_the_keywords_of_another_message(site: Site) -> None:
    account = site.worker()
    account.create("Other")
    site.deliver("x:2,", b"first\n", "cur")
    inbox, other = box(account, "INBOX"), box(account, "Other")
    with other.box.locked():
        other.box.overflow.change({b"x": {"stale"}})
    [(_, uid)] = inbox.copy([1], other)
    assert flags(other) == {uid: set()}


def test_a_keyword_with_and_without_a_letter_can_be_removed(site: Site) -> None:
    site.deliver("x:2,a", b"first\n", "cur")
    (site.path / "dovecot-keywords").write_bytes(b"0 both\n")
    inbox = box(site.worker(), "INBOX")
    with inbox.box.locked():
        inbox.box.overflow.change({b"x": {"both"}})
    inbox.store([1], FlagChange(REMOVE, frozenset({"both"})))
    assert flags(inbox) == {1: set()}


# Names


def test_two_names_of_one_mailbox_share_it(site: Site) -> None:
    """A symbolic link beside the mailbox that it leads to: opening one name does not end sessions on the other."""
    account = site.worker()
    account.create("Box")
    os.symlink(".Box", site.path / ".Alias")
    mailbox = box(account, "Box")
    uid = put(mailbox, b"mail\r\n")
    alias = box(account, "Alias")
    assert list(alias.table.uids) == [uid]
    mailbox.look()
    put(alias, b"more\r\n")
    mailbox.look()
    assert len(mailbox.table.uids) == 2
    assert mailbox.copy([uid], alias) == [(uid, uid + 2)]


def test_an_interrupted_open_gives_its_reference_back(site: Site) -> None:
    account = site.worker()
    mailbox = box(account, "INBOX")

    def interrupt(*_: Any) -> bool:
        raise KeyboardInterrupt

    site.deliver("x")
    site.before["listdir"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        account.open("INBOX")
    assert mailbox.references == 1


# Nobody waits


@pytest.mark.parametrize("is_known", [False, True])
def test_what_costs_something_for_each_message_runs_in_the_pool(site: Site, is_known: bool) -> None:
    for number in range(2100):
        (site.path / "cur" / f"{1_700_000_000 + number}.M{number}P1.mx.example.org:2,").touch()
    account = site.worker()
    asked: list[str] = []

    def blocking(function: Callable[..., Any], *args: Any) -> Any:
        asked.append(function.__name__)
        return function(*args)

    object.__setattr__(account._worker.runtime, "blocking", blocking)
    inbox = box(account, "INBOX")
    assert "_number_all" in asked
    if is_known:
        del asked[:]
        (site.path / "cur" / "1:2,").touch()
        inbox.look()
        assert {"_survey", "describe"} <= set(asked)
    assert len(inbox.table) == 2100 + is_known


def test_an_own_change_just_before_a_verification_keeps_the_directory_suspect(site: Site) -> None:
    """What comes in the same step of a coarse clock as our own change is found, though the first change has cooled."""
    account = site.worker()
    clock = [time.time() + 1000]
    object.__setattr__(account._worker.runtime, "now", lambda: clock[0])
    site.deliver("x:2,", b"first\n", "cur")
    inbox = box(account, "INBOX")
    base = int(clock[0]) * 1_000_000_000
    os.utime(site.path / "new", ns=(base, base))
    inbox.look()
    clock[0] += 1.9
    put(inbox, b"own\r\n")
    mine = base + 1_900_000_000
    os.utime(site.path / "new", ns=(mine, mine))
    inbox.box.index.times[0] = mine
    clock[0] += 0.2
    inbox.look()  # verified: but our own change is only 0.2 s old
    site.deliver("y")
    os.utime(site.path / "new", ns=(mine, mine))
    inbox.look()
    assert len(inbox.table.uids) == 3


def test_a_twin_of_another_size_gets_a_name_without_sizes(tmp_path: Path) -> None:
    """Its name tells the sizes of the other file: Dovecot drops the connection of who reads such a message."""
    account = MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(tmp_path)))
    inbox = account.open("INBOX")
    (tmp_path / "cur" / "1700000000.M1P1.host,S=9,W=10:2,S").write_bytes(b"Subject:\n")
    (tmp_path / "cur" / "1700000000.M1P1.host,S=9,W=10:2,").write_bytes(b"Subject: a longer one\n\nbody\n")
    inbox.look()
    inbox.look()
    bodies = {inbox.content(uid).read() for uid in inbox.table.uids}
    assert bodies == {b"Subject:\r\n", b"Subject: a longer one\r\n\r\nbody\r\n"}
    (renamed,) = [p for part in ("cur", "new") for p in (tmp_path / part).iterdir() if "M1P1" not in p.name]
    claimed = re.search(r",S=(\d+)", renamed.name)
    assert claimed is None or int(claimed[1]) == renamed.stat().st_size, renamed
