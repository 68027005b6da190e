"""The Maildir backend on the disk: what other programs do there, and what they find afterwards."""

import os
import time

import pytest
from support.maildir_site import ADD, MAIL, Site, body, change, flags, put

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime, direct
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_write import purge_tmp


def test_deliveries_are_seen_at_the_very_next_look(site: Site) -> None:
    """Check 45: also when two fall into one step of the directory's clock."""
    inbox = site.inbox()
    for number in range(1, 30):
        site.deliver()
        inbox.look()
        assert list(inbox.table.uids) == list(range(1, number + 1))


def test_foreign_flag_changes_and_removals_are_seen_at_the_next_look(site: Site) -> None:
    inbox = site.inbox()
    names = [site.deliver(where="cur", name=f"17000000{n}.x:2,") for n in range(10, 14)]
    inbox.look()
    before = inbox.modseq
    site.rename(names[1], names[1] + "FS")
    (site.path / "cur" / names[2]).unlink()
    inbox.look()
    assert flags(inbox) == {1: set(), 2: {"\\Flagged", "\\Seen"}, 4: set()}
    assert inbox.changes(before).changed == [2] and inbox.changes(before).expunged == [3]


def test_new_messages_are_numbered_in_the_order_of_their_names(site: Site) -> None:
    for name in ("1700000003.M1P1.x", "1700000001.M20P1.x", "1700000001.M3P1.x", "9.x", "abc"):
        site.deliver(name=name)
    inbox = site.inbox()
    assert [inbox.box.index.names[row].decode() for row in range(5)] == [
        "abc",
        "9.x",
        "1700000001.M3P1.x",
        "1700000001.M20P1.x",
        "1700000003.M1P1.x",
    ]


def test_nothing_is_listed_and_nothing_locked_while_nothing_changes(site: Site) -> None:
    for _ in range(5):
        site.deliver()
    inbox = site.inbox()
    inbox.claim_recent()
    site.age()
    inbox.look()
    site.calls.clear()
    for _ in range(3):
        inbox.look()
    assert {call[0] for call in site.calls} == {"glance"} and len(site.calls) <= 3 * 5


def test_new_mail_lists_only_new(site: Site) -> None:
    site.deliver()
    inbox = site.inbox()
    inbox.claim_recent()
    site.age()
    inbox.look()
    site.deliver()
    site.calls.clear()
    inbox.look()
    assert inbox.table.uids[-1] == 2
    assert {path for name, path in site.calls if name == "listdir"} == {inbox.box.new_path}


def test_an_own_store_lists_nothing(site: Site) -> None:
    site.deliver()
    inbox = site.inbox()
    inbox.claim_recent()
    site.age()
    inbox.look()
    site.calls.clear()
    inbox.store([1], change(ADD, "\\Seen"))
    inbox.look()
    assert [path for name, path in site.calls if name == "listdir"] == []
    assert site.names() == [inbox.box.index.names[0].decode()]


def test_a_change_hidden_by_our_own_is_found_once_the_directory_has_cooled_down(site: Site) -> None:
    """Another program renames in the same tick in which we store: the directory's time is ours."""
    shift = [0.0]
    runtime = direct()
    clock = Runtime(runtime.blocking, runtime.lock, runtime.sleep, runtime.breathe, lambda: time.time() + shift[0])
    for number in range(2):
        site.deliver(where="cur", name=f"170000000{number}.x:2,")
    inbox = site.worker(clock).open("INBOX")
    assert isinstance(inbox, MaildirMailbox)
    site.age()
    inbox.look()
    inbox.store([1], change(ADD, "\\Seen"))
    times = os.stat(site.path / "cur")
    site.rename("1700000001.x:2,", "1700000001.x:2,F")
    os.utime(site.path / "cur", ns=(times.st_atime_ns, times.st_mtime_ns))
    inbox.look()
    assert flags(inbox)[2] == set()
    shift[0] = 3.0
    inbox.look()
    assert flags(inbox)[2] == {"\\Flagged"}


def test_a_deleted_uidlist_is_written_again_with_the_same_uids(site: Site) -> None:
    for _ in range(3):
        site.deliver()
    inbox = site.inbox()
    identity = inbox.uidvalidity, inbox.mailbox_id
    (site.path / "dovecot-uidlist").unlink()
    site.deliver()
    inbox.look()
    assert list(inbox.table.uids) == [1, 2, 3, 4]
    again = site.inbox()
    assert (again.uidvalidity, again.mailbox_id) == identity and list(again.table.uids) == [1, 2, 3, 4]


def test_a_restored_old_uidlist_never_lowers_uidnext(site: Site) -> None:
    site.deliver()
    inbox = site.inbox()
    old = (site.path / "dovecot-uidlist").read_bytes()
    put(inbox, "\\Deleted")
    inbox.expunge(None)
    inbox.close()
    (site.path / "dovecot-uidlist").write_bytes(old)
    for path in site.path.glob("greenmail.*"):
        path.unlink()
    inbox = site.inbox()
    assert inbox.uidnext == 3
    assert put(inbox) == 3


def test_an_expunged_file_that_comes_back_gets_a_new_uid(site: Site) -> None:
    name = site.deliver(where="cur", name="1700000001.x:2,T")
    inbox = site.inbox()
    inbox.expunge(None)
    site.deliver(where="cur", name=name)
    inbox.look()
    assert list(inbox.table.uids) == [2]


def test_two_files_with_one_base_name_are_two_messages(site: Site) -> None:
    """Check 40."""
    site.deliver(b"A: 1\n\none\n", where="cur", name="1700000001.x,S=11:2,S")
    inbox = site.inbox()
    site.deliver(b"A: 2\n\ntwo\n", where="cur", name="1700000001.x,S=11:2,F")
    inbox.look()
    assert {body(inbox, uid) for uid in inbox.table.uids} == {b"A: 1\r\n\r\none\r\n", b"A: 2\r\n\r\ntwo\r\n"}
    assert len({name.split(":")[0] for name in site.names() + site.names("new")}) == 2


def test_names_that_are_no_messages(site: Site) -> None:
    site.deliver(where="cur", name=".hidden")
    site.deliver(where="cur", name="line\nend")
    site.deliver(where="cur", name=":2,S")
    inbox = site.inbox()
    assert len(inbox.table) == 1
    assert site.names() == [".hidden", "line\nend"]
    assert body(inbox, 1) == MAIL.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "name, uid_flags", [("x:2,PS", {"\\Seen"}), ("x:1,S", set()), ("x", set()), ("x:2,FS,e", {"\\Flagged", "\\Seen"})]
)
def test_names_as_other_programs_write_them(site: Site, name: str, uid_flags: set[str]) -> None:
    site.deliver(where="cur", name=name)
    assert flags(site.inbox()) == {1: uid_flags}


def test_a_uidlist_that_numbers_a_message_anew_is_right(site: Site) -> None:
    """Dovecot gave a file another UID: UIDs come from the uidlist only."""
    names = [site.deliver(where="cur", name=f"170000000{number}.x:2,") for number in range(3)]
    inbox = site.inbox()
    path = site.path / "dovecot-uidlist"
    lines = path.read_text().splitlines()
    path.with_suffix(".tmp").write_text("\n".join([lines[0], lines[1], lines[3], f"9 :{names[1][:-3]}"]) + "\n")
    path.with_suffix(".tmp").rename(path)
    before = inbox.modseq
    inbox.maildrop()
    site.deliver()
    inbox.look()
    assert list(inbox.table.uids) == [1, 3, 9, 10]
    assert inbox.changes(before).expunged == [2]


def test_directories_and_links_are_no_messages(site: Site) -> None:
    (site.path / "cur" / "1700000000.directory").mkdir()
    (site.path / "cur" / "1700000000.link").symlink_to("/etc/hostname")
    site.deliver()
    inbox = site.inbox()
    assert len(inbox.table) == 1
    site.age()
    inbox.look()
    site.calls.clear()
    inbox.look()
    assert {call[0] for call in site.calls} == {"glance"}


def test_leftovers_in_tmp_are_removed_when_they_are_old(site: Site) -> None:
    (site.path / "tmp" / "old").write_bytes(b"")
    (site.path / "tmp" / "young").write_bytes(b"")
    inbox = site.inbox()
    purge_tmp(inbox.box.files, inbox.box.tmp_path, time.time() + 37 * 3600 - 10)
    assert not (site.path / "tmp" / "old").exists()
    (site.path / "tmp" / "young").write_bytes(b"")
    inbox.claim_recent()
    assert (site.path / "tmp" / "young").exists()


def test_nothing_is_expunged_because_cur_is_missing(site: Site) -> None:
    site.deliver(where="cur", name="x:2,S")
    inbox = site.inbox()
    (site.path / "cur").rename(site.path / "elsewhere")
    with pytest.raises(StorageError) as caught:
        inbox.look()
    assert caught.value.reason is Reason.UNAVAILABLE
    (site.path / "elsewhere").rename(site.path / "cur")
    inbox.look()
    assert flags(inbox) == {1: {"\\Seen"}}


def test_a_missing_cur_is_made(site: Site) -> None:
    for part in ("cur", "new", "tmp"):
        for file in (site.path / part).iterdir():
            file.unlink()
        (site.path / part).rmdir()
    inbox = site.inbox()
    put(inbox)
    assert site.inbox().counters().messages == 1
