"""The Maildir backend on the disk: what other programs do there, and what they find afterwards."""

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime, direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import CacheKind, FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.maildir_write import purge_tmp

MAIL = b"Subject: hi\n\nbody\n"
ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE


class Site:
    """A Maildir and, by `worker`, any number of workers on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counter = 0
        self.calls: list[tuple[str, Any]] = []
        self.fail: dict[str, int] = {}  # name of a system call -> errno

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        self.calls.append((name, args[0] if args else None))
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))
        return function(*args)

    def worker(self, runtime: Runtime | None = None, **settings: Any) -> MaildirAccount:
        made = MaildirSettings(mail_path=str(self.path), lock_timeout=2.0, **settings)
        return MaildirStore(runtime or direct(), files=Files(self.call)).open_account("alice", made)

    def inbox(self, **settings: Any) -> MaildirMailbox:
        mailbox = self.worker(**settings).open("INBOX")
        assert isinstance(mailbox, MaildirMailbox)
        return mailbox

    def deliver(self, data: bytes = MAIL, name: str = "", where: str = "new") -> str:
        """As a delivery program does it: no lock."""
        self.counter += 1
        name = name or f"{1_700_000_000 + self.counter}.M{self.counter}P1.mx"
        (self.path / "tmp" / "x").write_bytes(data)
        os.rename(self.path / "tmp" / "x", self.path / where / name)
        return name

    def names(self, where: str = "cur") -> list[str]:
        return sorted(os.listdir(self.path / where))

    def rename(self, old: str, new: str) -> None:
        os.rename(self.path / "cur" / old, self.path / "cur" / new)

    def age(self) -> None:
        """As if nothing had happened for a minute."""
        for part in ("new", "cur"):
            before = time.time() - 60
            os.utime(self.path / part, (before, before))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "Maildir")
    made.worker()
    return made


def change(action: FlagAction, *flags: str) -> FlagChange:
    return FlagChange(action, frozenset(flags))


def flags(mailbox: MaildirMailbox) -> dict[int, set[str]]:
    return {uid: set(mailbox.table.flags_of(row)) for row, uid in enumerate(mailbox.table.uids)}


def put(mailbox: MaildirMailbox, *given: str, data: bytes = MAIL, date: int | None = None) -> int:
    upload = mailbox.upload()
    upload.write(data)
    upload.flags, upload.date = frozenset(given), date
    return mailbox.save([upload])[0]


def body(mailbox: MaildirMailbox, uid: int) -> bytes:
    content = mailbox.content(uid)
    try:
        return content.read()
    finally:
        content.close()


# Looking


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


# Writing


@pytest.mark.parametrize(
    "before, action, given, after",
    [
        ("x:2,", ADD, ["\\Seen"], "x:2,S"),
        ("x:2,FSXZz,extra", ADD, ["\\Deleted"], "x:2,FSTXZz,extra"),  # check 18
        ("x:2,TSRFD", ADD, ["\\Seen"], "x:2,TSRFD"),  # only a real change renames
        ("x:2,TSRFD", REMOVE, ["\\Draft"], "x:2,FRST"),
        ("x:2,FS", REPLACE, [], "x:2,"),  # check 19
        ("x:1,xyz", ADD, ["\\Seen"], "x:2,S"),
        ("x", REPLACE, ["\\Answered"], "x:2,R"),
        ("x,S=18,W=21:2,S", ADD, ["\\Flagged"], "x,S=18,W=21:2,FS"),
    ],
)
def test_letters(site: Site, before: str, action: FlagAction, given: list[str], after: str) -> None:
    site.deliver(where="cur", name=before)
    site.inbox().store([1], change(action, *given))
    assert site.names() == [after]


def test_a_store_is_a_change_of_what_is_on_disk(site: Site) -> None:
    """A foreign \\Deleted that nobody here has seen survives our \\Seen."""
    site.deliver(where="cur", name="x:2,")
    inbox = site.inbox()
    site.rename("x:2,", "x:2,T")
    assert inbox.store([1], change(ADD, "\\Seen")).changed == [1]
    assert site.names() == ["x:2,ST"]
    assert flags(inbox) == {1: {"\\Seen", "\\Deleted"}}


@pytest.mark.parametrize("call", ["rename", "unlink"])
def test_a_name_that_changes_under_our_hands(site: Site, call: str) -> None:
    """ENOENT: somebody was faster; decide again on the name that is there."""
    site.deliver(where="cur", name="x:2,T")
    inbox = site.inbox()
    plain, done = site.call, []

    def interfere(name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == call and not done and args[0].endswith(b"x:2,T"):
            done.append(name)
            site.rename("x:2,T", "x:2,F")
        return plain(name, function, *args)

    inbox.box.files._call = interfere
    if call == "rename":
        inbox.store([1], change(ADD, "\\Seen"))
        assert site.names() == ["x:2,FS"]
        assert flags(inbox) == {1: {"\\Flagged", "\\Seen"}}
    else:
        assert inbox.expunge(None) == []
        assert site.names() == ["x:2,F"]
        assert flags(inbox) == {1: {"\\Flagged"}}
    assert done


def test_expunge_decides_by_the_letters_on_disk(site: Site) -> None:
    """A and B select; A sees \\Deleted; B removes it; A expunges without a NOOP: the message is there."""
    site.deliver(where="cur", name="x:2,T")
    site.deliver(where="cur", name="y:2,T")
    a, b = site.inbox(), site.inbox()
    assert flags(a)[1] == {"\\Deleted"}
    b.store([1], change(REMOVE, "\\Deleted"))
    site.rename("y:2,T", "y:2,")
    assert a.expunge(None) == []
    assert site.names() == ["x:2,", "y:2,"]


def test_saved_files(site: Site) -> None:
    """Checks 20 and 21."""
    inbox = site.inbox()
    put(inbox, data=b"A: b\r\n\r\nx\r\n", date=1_600_000_000)
    put(inbox, "\\Seen", "kw", data=b"A: b\r\n\r\nx\r\n")
    (new,) = site.names("new")
    (cur,) = site.names("cur")
    assert ",S=8,W=11" in new and ":" not in new
    assert cur.endswith(",S=8,W=11:2,Sa")
    assert (site.path / "new" / new).read_bytes() == b"A: b\n\nx\n"
    assert int((site.path / "new" / new).stat().st_mtime) == 1_600_000_000
    assert (site.path / "dovecot-keywords").read_text() == "0 kw\n"
    assert [name for name in os.listdir(site.path / "tmp") if not name.startswith("greenmail.")] == []


def test_the_order_of_a_save(site: Site) -> None:
    """File synced, rename, directory synced, uidlist line synced, journal."""
    inbox = site.inbox()
    put(inbox)
    site.calls.clear()
    put(inbox)
    names = [name for name, _ in site.calls]
    rename = names.index("rename")
    assert names.index("fsync") < names.index("link") < rename  # the lock is taken when the file is complete
    assert rename < names.index("fsync", rename) < names.index("fdatasync") < len(names)
    assert names.count("fdatasync") == 1
    assert names.index("fdatasync") < max(place for place, name in enumerate(names) if name == "write")


@pytest.mark.parametrize("call, number", [("rename", errno.ENOSPC), ("fdatasync", errno.EIO), ("fsync", errno.EDQUOT)])
def test_a_save_that_fails_leaves_nothing(site: Site, call: str, number: int) -> None:
    inbox = site.inbox()
    put(inbox, "\\Seen")
    before = site.names(), site.names("new")
    upload = inbox.upload()
    upload.write(MAIL)
    site.fail[call] = number
    with pytest.raises(StorageError) as caught:
        inbox.save([upload])
    assert caught.value.reason in (Reason.NO_SPACE, Reason.OVER_QUOTA, Reason.UNAVAILABLE)
    site.fail.clear()
    upload.abort()
    inbox.look()
    assert (site.names(), site.names("new")) == before
    assert len(inbox.table) == 1
    assert put(inbox) >= 2


def test_a_copy_is_a_link_with_the_same_name(site: Site) -> None:
    """Check 23."""
    account = site.worker()
    account.create("Target")
    inbox, target = account.open("INBOX"), account.open("Target")
    assert isinstance(inbox, MaildirMailbox) and isinstance(target, MaildirMailbox)
    put(target, "other")
    put(inbox, "\\Seen", "kw")
    inbox.copy([1], target)
    (name,) = site.names()
    names = os.listdir(site.path / ".Target" / "cur")
    assert name[:-1] + "b" in names  # the keyword has another letter there
    assert os.stat(site.path / ".Target" / "cur" / (name[:-1] + "b")).st_nlink == 2
    inbox.copy([1], target)
    inbox.look()
    lines = (site.path / ".Target" / "dovecot-uidlist").read_text().splitlines()
    assert lines[2].endswith(f":{name.split(':')[0]}") and " G" not in lines[2]
    assert f"G{name.split(':')[0]} :" in lines[3]
    assert flags(target)[2] == flags(target)[3] == {"\\Seen", "kw"}


def test_a_copy_of_a_name_with_wrong_sizes_gets_right_ones(site: Site) -> None:
    account = site.worker()
    account.create("Target")
    site.deliver(where="cur", name="x,S=5,W=6:2,S")
    inbox, target = account.open("INBOX"), account.open("Target")
    inbox.copy([1], target)
    (name,) = os.listdir(site.path / ".Target" / "cur")
    assert f",S={len(MAIL)},W={len(MAIL) + 3}:2,S" in name


def test_wrong_sizes_do_not_harm_reading(site: Site) -> None:
    """Check 39."""
    site.deliver(where="cur", name="x,S=99999,W=99999:2,S")
    site.deliver(where="cur", name="y,S=18,W=7:2,S")
    inbox = site.inbox()
    for uid in (1, 2):
        assert body(inbox, uid) == MAIL.replace(b"\n", b"\r\n")


def test_claiming_moves_new_to_cur(site: Site) -> None:
    site.deliver(name="x")
    site.deliver(name="y:2,S")
    inbox = site.inbox()
    assert flags(inbox) == {1: set(), 2: set()}
    assert inbox.claim_recent() == 1
    assert site.names() == ["x:2,", "y:2,S"] and site.names("new") == []
    assert flags(inbox) == {1: set(), 2: {"\\Seen"}}
    assert site.inbox().claim_recent() == 3


def test_recent_without_an_index(site: Site) -> None:
    """What no server has numbered is recent; what lies in `cur/` and is known is not."""
    site.deliver(where="cur", name="1.x:2,S")
    inbox = site.inbox()
    inbox.claim_recent()
    inbox.close()
    for path in site.path.glob("greenmail.*"):
        path.unlink()
    site.deliver(name="2.x")
    again = site.inbox()
    assert (again.first_recent, again.counters().recent) == (2, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_flags_and_expunges_work_when_the_index_cannot_be_written(site: Site, number: int) -> None:
    site.deliver(where="cur", name="x:2,")
    site.deliver(where="cur", name="y:2,")
    inbox, other = site.inbox(), site.inbox()
    site.fail["write"] = number
    inbox.store([1, 2], change(ADD, "\\Seen", "\\Deleted"))
    inbox.expunge([1])
    site.fail.clear()
    assert site.names() == ["y:2,ST"]
    other.look()
    assert flags(other) == {2: {"\\Seen", "\\Deleted"}}
    put(inbox)
    other.look()
    inbox.look()
    assert list(other.table.modseqs) == list(inbox.table.modseqs)
    assert flags(other) == flags(inbox) == flags(site.inbox())


def test_new_mail_waits_when_the_uidlist_cannot_be_written(site: Site) -> None:
    site.deliver(where="cur", name="x:2,")
    inbox = site.inbox()
    site.deliver(name="y")
    site.fail["fdatasync"] = errno.ENOSPC
    inbox.look()
    assert flags(inbox) == {1: set()}
    inbox.store([1], change(ADD, "\\Deleted"))
    assert inbox.expunge(None) == [1]
    site.fail.clear()
    inbox.look()
    assert len(inbox.table) == 1


# Keywords


def test_keywords_beyond_the_letters(site: Site) -> None:
    """Check 17."""
    site.deliver(where="cur", name="x:2,")
    inbox = site.inbox()
    wanted = {f"kw{number:02}" for number in range(30)}
    assert inbox.store([1], change(ADD, *wanted)).ignored == frozenset()
    assert flags(inbox)[1] == wanted
    assert len((site.path / "dovecot-keywords").read_text().splitlines()) == 26
    for path in site.path.glob("greenmail.*"):
        if path.is_file():
            path.unlink()
    again = site.inbox()
    assert flags(again)[1] == wanted and set(again.keywords) == wanted
    again.store([1], change(REMOVE, "KW29", "kw00"))
    inbox.look()
    assert flags(inbox)[1] == wanted - {"kw29", "kw00"}
    account = site.worker()
    account.create("Target")
    target = account.open("Target")
    account.open("INBOX").copy([1], target)
    assert set(target.table.flags_of(0)) == wanted - {"kw29", "kw00"}


def test_letters_that_another_program_names_anew(site: Site) -> None:
    site.deliver(where="cur", name="x:2,a")
    (site.path / "dovecot-keywords").write_text("0 old\n")
    inbox = site.inbox()
    assert flags(inbox) == {1: {"old"}}
    (site.path / "dovecot-keywords").write_text("0 changed\n")
    site.deliver()
    inbox.look()
    assert flags(inbox)[1] == {"changed"}


# Mailboxes under open sessions


def rename_by_other(site: Site) -> None:
    site.worker().rename("Box", "Elsewhere")


def delete_by_other(site: Site) -> None:
    site.worker().delete("Box")


def replace_by_other(site: Site) -> None:
    delete_by_other(site)
    site.worker().create("Box")


def replace_by_another_program(site: Site) -> None:
    os.rename(site.path / ".Box", site.path / "..gone")
    for part in ("", "cur", "new", "tmp"):
        (site.path / ".Box" / part).mkdir()


def new_uidlist(site: Site) -> None:
    path = site.path / ".Box" / "dovecot-uidlist"
    path.unlink()
    path.write_text(f"3 V{int(time.time()) + 9} N1 G{'12' * 16}\n")


@pytest.mark.parametrize(
    "how", [rename_by_other, delete_by_other, replace_by_other, replace_by_another_program, new_uidlist]
)
def test_what_took_the_place_of_a_mailbox_is_never_touched(site: Site, how: Callable[[Site], None]) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    assert isinstance(box, MaildirMailbox)
    put(box, "\\Deleted")
    upload = box.upload()
    upload.write(MAIL)
    how(site)
    before = {path for path in (site.path / ".Box").rglob("*") if not path.name.startswith(("greenmail", "dovecot"))}
    for action in (
        lambda: box.store([1], change(ADD, "\\Seen")),
        lambda: box.expunge(None),
        lambda: box.save([upload]),
        lambda: box.claim_recent(),
        lambda: box.look(),
        lambda: box.upload(),
    ):
        with pytest.raises(StorageError) as caught:
            action()
        assert caught.value.reason is Reason.GONE
    upload.abort()
    box.close()
    after = {path for path in (site.path / ".Box").rglob("*") if not path.name.startswith(("greenmail", "dovecot"))}
    assert after <= before
    if how in (replace_by_other, replace_by_another_program):
        again = account.open("Box")
        assert len(again.table) == 0 and again.uidvalidity >= box.uidvalidity and again.mailbox_id != box.mailbox_id


def test_other_workers_see_creates_and_renames(site: Site) -> None:
    one, other = site.worker(), site.worker()
    one.create("A/B")
    other.open("A/B").close()
    one.rename("A", "C")
    assert [folder.name for folder in other.folders()] == ["INBOX", "C", "C/B"]
    with pytest.raises(StorageError):
        other.open("A/B")
    other.open("C/B").close()


# Where things are


def test_control_and_index_paths(site: Site, tmp_path: Path) -> None:
    settings = {"control_path": str(tmp_path / "control"), "index_path": str(tmp_path / "index")}
    account = site.worker(**settings)
    account.create("Box")
    box = account.open("Box")
    assert isinstance(box, MaildirMailbox)
    put(box, "kw")
    account.rename("Box", "Other")
    other = account.open("Other")
    assert list(other.table.uids) == [1] and other.mailbox_id == box.mailbox_id
    again = site.worker(**settings).open("Other")
    assert list(again.table.modseqs) == list(other.table.modseqs)
    assert (tmp_path / "control" / ".Other" / "dovecot-uidlist").exists()
    assert (tmp_path / "index" / box.mailbox_id / "greenmail.log").exists()
    assert not list(site.path.rglob("dovecot-uidlist")) and not list(site.path.rglob("greenmail.log"))


def test_special_use_of_create_is_kept(site: Site) -> None:
    site.worker().create("Mine", ["\\Drafts"])
    account = site.worker(special_use={"Drafts": "\\Drafts"})
    account.create("Drafts")
    uses = {folder.name: folder.special_use for folder in account.folders()}
    assert sum(bool(use) for use in uses.values()) == 1
    account.rename("Mine", "Renamed")
    assert ("\\Drafts",) in {folder.special_use for folder in site.worker().folders() if folder.name == "Renamed"}


def test_auto_create_and_a_missing_root(tmp_path: Path) -> None:
    site = Site(tmp_path / "deep" / "Maildir")
    with pytest.raises(StorageError):
        site.worker(create_mail_path=False)
    account = site.worker(auto_create=("Sent", "Drafts/Old"))
    assert [folder.name for folder in account.folders()] == ["INBOX", "Drafts", "Drafts/Old", "Sent"]
    assert site.path.stat().st_mode & 0o077 == 0
    site.worker(auto_create=("Sent",))


# Index and cache


def modseqs(mailbox: MaildirMailbox) -> list[int]:
    return list(mailbox.table.modseqs)


def test_the_index_keeps_modseqs_expunges_and_recents(site: Site) -> None:
    inbox = site.inbox()
    for _ in range(4):
        put(inbox)
    before = inbox.modseq
    inbox.store([2], change(ADD, "\\Deleted"))
    inbox.expunge(None)
    inbox.claim_recent()
    inbox.fill([1], sizes=True, dates=True)
    again = site.inbox()
    assert modseqs(again) == modseqs(inbox) and again.modseq == inbox.modseq
    assert again.changes(before).expunged == [2]
    assert again.first_recent == again.uidnext == 5


def test_a_fold_under_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.storage.index_files.FOLD_RECORDS", 5)
    one, other, idle = site.inbox(), site.inbox(), site.inbox()
    for number in range(40):
        put(one if number % 3 else other)
        if number % 7 == 0:
            other.store([1], change(ADD if number % 2 else REMOVE, "\\Seen"))
    for mailbox in (one, other, idle):
        mailbox.look()
    assert modseqs(one) == modseqs(other) == modseqs(idle) == modseqs(site.inbox())
    assert len(one.table) == 40


@pytest.mark.parametrize(
    "pattern", ["greenmail.*", "greenmail.index", "greenmail.log", "greenmail.cache", "greenmail.lock"]
)
def test_removing_index_files_under_workers_is_harmless(site: Site, pattern: str) -> None:
    one, other = site.inbox(), site.inbox()
    expected: dict[int, set[str]] = {}
    for number in range(25):
        for path in site.path.glob(pattern):
            if path.is_file():
                path.unlink()
        uid = put(one if number % 2 else other, "kw")
        expected[uid] = {"kw"}
        if number % 4 == 0:
            (other if number % 8 else one).store([uid], change(ADD, "\\Flagged"))
            expected[uid] = {"kw", "\\Flagged"}
        if number % 5 == 0:
            fresh = site.inbox()
            assert flags(fresh) == expected
        one.cache(uid, CacheKind.PREVIEW, b"%d" % uid)
    one.look()
    other.look()
    assert flags(one) == flags(other) == expected
    assert modseqs(one) == modseqs(other) == modseqs(site.inbox())


def test_cached_values_and_sizes_outlive_the_worker(site: Site) -> None:
    site.deliver(name="x")
    inbox = site.inbox()
    inbox.cache(1, CacheKind.ENVELOPE, b"(envelope)")
    inbox.fill([1], sizes=True, dates=True)
    put(inbox)
    again = site.inbox()
    assert again.cached(1, CacheKind.ENVELOPE) == b"(envelope)"
    row = again.last_row(1)
    assert row is not None and row.size == len(MAIL) + 3 and row.date > 0


def test_an_object_that_nobody_uses_is_given_up_when_memory_is_short(site: Site) -> None:
    store = MaildirStore(direct(), cache_memory=0)
    account = store.open_account("alice", MaildirSettings(mail_path=str(site.path)))
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        inbox = account.open("INBOX")
        same = account.open("INBOX")
        assert same is inbox
        put(same)  # type: ignore[arg-type]  # is a MaildirMailbox, as everything of this store
        same.close()
        inbox.look()
        inbox.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_message_renamed_while_it_is_fetched(site: Site) -> None:
    """Formats 1.9: one ENOENT is no expunge."""
    site.deliver(where="cur", name="x:2,")
    inbox = site.inbox()
    site.rename("x:2,", "x:2,F")
    os.utime(site.path / "cur", ns=(0, inbox.box.index.times[2]))
    assert body(inbox, 1) == MAIL.replace(b"\n", b"\r\n")
    (site.path / "cur" / "x:2,F").unlink()
    with pytest.raises(StorageError) as caught:
        inbox.content(1)
    assert caught.value.reason is Reason.EXPUNGED


def uids_of(lines: Iterable[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def test_the_uidlist_is_tidied_when_most_lines_are_stale(site: Site) -> None:
    inbox = site.inbox()
    for _ in range(8):
        put(inbox, "\\Deleted")
    keep = put(inbox, "kw")
    inbox.expunge(None)
    lines = (site.path / "dovecot-uidlist").read_text().splitlines()
    assert uids_of(lines[1:]) == [keep] and " N10 " in lines[0]


def test_no_keyword_can_be_added_when_letters_and_the_file_beside_them_are_used_up(site: Site) -> None:
    """RFC 9051 7.1: PERMANENTFLAGS has no \\* then."""
    site.deliver(name="1.M1P1.mx:2,", where="cur")
    lettered = [f"letter{number}" for number in range(26)]
    others = [f"other{number}" for number in range(1000)]
    (site.path / "dovecot-keywords").write_text("".join(f"{place} {name}\n" for place, name in enumerate(lettered)))
    (site.path / "greenmail-data").mkdir()
    lines = [f"k {place} {name}" for place, name in enumerate(others[:-1])]
    (site.path / "greenmail-data" / "keywords").write_text("\n".join(["greenmail-keywords 1", *lines, ""]))
    inbox = site.inbox()
    assert inbox.can_add_keywords
    inbox.store([1], FlagChange(FlagAction.ADD, frozenset(others[-1:])))
    assert not inbox.can_add_keywords
    with pytest.raises(StorageError, match="too many keywords"):
        inbox.store([1], FlagChange(FlagAction.ADD, frozenset({"onemore"})))


def test_each_index_that_is_made_anew_is_counted_with_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    monkeypatch.setattr("greenmail.metrics.index_rebuild", reasons.append)
    site.deliver()

    def reopened() -> list[str]:
        reasons.clear()
        site.inbox().close()
        return list(reasons)

    assert reopened() == ["missing"]
    assert reopened() == []
    (site.path / "greenmail.index").write_bytes(b"x" * 100)
    assert reopened() == ["damaged"]


def test_a_mailbox_that_goes_in_the_midst_of_a_look_is_gone(site: Site) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    path, moved = site.path / ".Box", site.path / "..moved"
    call = site.call

    def renamed_before_it_is_listed(name: str, function: Any, *args: Any) -> Any:
        if name == "listdir" and path.exists():
            os.rename(path, moved)
        return call(name, function, *args)

    assert isinstance(box, MaildirMailbox)
    box.box.files._call = renamed_before_it_is_listed
    with pytest.raises(StorageError) as refused:
        box.look()
    assert moved.exists(), "nothing was listed"
    assert refused.value.reason is Reason.GONE


def test_a_mailbox_that_goes_in_the_midst_of_a_change_is_gone(site: Site) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    put(box, "one")
    path, moved = site.path / ".Box", site.path / "..moved"
    call = site.call

    def renamed_under_the_locks(name: str, function: Any, *args: Any) -> Any:
        if name in ("rename", "link") and b"/cur/" in args[1] and path.exists():
            os.rename(path, moved)
        return call(name, function, *args)

    assert isinstance(box, MaildirMailbox)
    box.look()
    box.box.files._call = renamed_under_the_locks
    with pytest.raises(StorageError) as refused:
        put(box, "two", "\\Seen")
    assert moved.exists(), "nothing was renamed"
    assert refused.value.reason is Reason.GONE
