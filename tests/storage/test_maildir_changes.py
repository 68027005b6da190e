"""The Maildir backend on the disk: what is changed there, and what another program finds afterwards."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.maildir_site import ADD, MAIL, REMOVE, REPLACE, Site, body, change, flags, put

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.api import FlagAction
from greenmail.storage.maildir import MaildirMailbox


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


@pytest.mark.parametrize(
    "mails", [pytest.param([MAIL * 10_000], id="a large message"), pytest.param([MAIL, MAIL], id="two at once")]
)
def test_nobody_waits_for_the_sync_of_much(site: Site, mails: list[bytes]) -> None:
    """The files are complete when the lock is taken."""
    inbox = site.inbox()
    uploads = [inbox.upload() for _ in mails]
    for upload, mail in zip(uploads, mails, strict=True):
        upload.write(mail)
    site.calls.clear()
    inbox.save(uploads)
    names = [name for name, _ in site.calls]
    lock = names.index("link")
    assert names[:lock].count("fsync") == len(mails)
    assert lock < names.index("rename") < names.index("fsync", lock) < names.index("fdatasync")


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


@pytest.mark.parametrize("ends", [False, True])
def test_a_copy_of_many_is_taken_up_in_parts(site: Site, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Others run between two of them; and where the session ends there the next look finds the rest."""
    monkeypatch.setattr("greenmail.storage.maildir_copy._PART", 3)
    known: list[int] = []

    def sleep(_: float) -> None:
        known.append(len(target.table))
        if ends:
            raise KeyboardInterrupt

    account = site.worker(replace(direct(), sleep=sleep))
    account.create("Target")
    inbox, target = account.open("INBOX"), account.open("Target")
    assert isinstance(inbox, MaildirMailbox)
    bodies = [b"Subject: %d\n\nbody\n" % number for number in range(10)]
    uids = [put(inbox, data=mail) for mail in bodies]
    if ends:
        with pytest.raises(KeyboardInterrupt):
            inbox.copy(uids, target)
        assert known == [3]
    else:
        assert inbox.copy(uids, target) == list(zip(uids, range(1, 11), strict=True))
        assert known == [3, 6, 9]
    for one in (target, site.worker().open("Target")):
        one.look()
        assert isinstance(one, MaildirMailbox)
        assert list(one.table.uids) == list(range(1, 11))
        assert [body(one, uid) for uid in one.table.uids] == [mail.replace(b"\n", b"\r\n") for mail in bodies]


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


def test_what_is_known_of_a_million_messages_is_kept_once(site: Site) -> None:
    """What FETCH of sizes and dates works out stands in the table; what is to be journalled of it is a few thousand."""
    inbox = site.inbox()
    uid = put(inbox)
    for start in range(100, 40_100, 500):
        inbox._learn([(number, 1, 1) for number in range(start, start + 500)])
    inbox._learn([(uid, -1, 1_234_567_890)])
    assert len(inbox.box.facts) < 11_000
    put(inbox)
    assert not inbox.box.facts
    assert site.inbox().table.dates[0] == 1_234_567_890, "also what is not among those few thousand"


def test_what_letters_mean_is_not_remembered_for_ever(site: Site) -> None:
    """There are some 100 million sets of flags, and a client may have STORE make them all."""
    box = site.inbox().box
    for number in range(12_000):
        letters = "".join(sorted(chr(ord("a") + bit) for bit in range(14) if number >> bit & 1))
        assert len(box.flags_of(f"1.M1P1.mx:2,{letters}".encode(), False)) == len(letters)
    assert max(len(box._by_letters), len(box._by_info)) <= 10_000


def test_letters_that_another_program_names_anew(site: Site) -> None:
    site.deliver(where="cur", name="x:2,a")
    (site.path / "dovecot-keywords").write_text("0 old\n")
    inbox = site.inbox()
    assert flags(inbox) == {1: {"old"}}
    (site.path / "dovecot-keywords").write_text("0 changed\n")
    site.deliver()
    inbox.look()
    assert flags(inbox)[1] == {"changed"}
