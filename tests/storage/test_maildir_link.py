"""COPY and MOVE by links that are made under their final names: what may be in the way. `maildir_link`.

And targets that were opened without a look.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

Links = list[tuple[bytes, bytes]]


class Site:
    """INBOX with messages, and Other. `link` and `after` are called before and after each link between mailboxes."""

    def __init__(self, root: Path) -> None:
        self.root = root / "Maildir"
        self.links: Links = []
        self.link: Callable[[Path], None] = lambda target: None
        self.after: Callable[[Path], None] = lambda target: None
        store = MaildirStore(direct(), files=Files(self.call))
        self.account: MaildirAccount = store.open_account("alice", MaildirSettings(mail_path=str(self.root)))
        self.account.create("Other")

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        between = name == "link" and b"/.Other/" in args[1] and not args[1].endswith(b".lock")
        if between:
            self.links.append((args[0], args[1]))
            self.link(Path(os.fsdecode(args[1])))
        done = function(*args)
        if between:
            self.after(Path(os.fsdecode(args[1])))
        return done

    def put(self, name: str, data: bytes = b"Subject: hi\n\nbody\n") -> Path:
        path = self.root / "cur" / name
        path.write_bytes(data)
        return path

    def open(self, name: str) -> MaildirMailbox:
        mailbox = self.account.open(name)
        assert isinstance(mailbox, MaildirMailbox)
        return mailbox

    def there(self, part: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.root / ".Other" / part).iterdir()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    "name, place",
    [
        ("1.M1P1.h:2,", "new/1.M1P1.h"),
        ("1.M1P1.h:2,FS", "cur/1.M1P1.h:2,FS"),
        ("1.M1P1.h,S=18:2,S", "cur/1.M1P1.h,S=18:2,S"),
        ("1.M1P1.h,S=18,W=21:2,S", "cur/1.M1P1.h,S=18,W=21:2,S"),
    ],
)
def test_a_message_is_linked_at_once_where_it_belongs(site: Site, name: str, place: str) -> None:
    source = site.put(name)
    inbox, other = site.open("INBOX"), site.open("Other")
    assert inbox.copy([1], other) == [(1, 1)]
    assert [target for _, target in site.links] == [bytes(site.root / ".Other" / place)]
    assert os.path.samefile(source, site.root / ".Other" / place)
    assert not any(not path.name.startswith("greenmail.") for path in (site.root / ".Other" / "tmp").iterdir())
    other.fill([1], sizes=True)
    assert other.table.sizes[0] == 21


def test_a_file_in_the_way_stays(site: Site) -> None:
    site.put("1.M1P1.h:2,S")
    inbox, other = site.open("INBOX"), site.open("Other")

    def deliver(target: Path) -> None:
        site.link = lambda target: None
        target.write_bytes(b"Subject: another\n\n")

    site.link = deliver
    ((_, uid),) = inbox.copy([1], other)
    found = site.there("cur")
    assert len(found) == 2 and found["1.M1P1.h:2,S"] == b"Subject: another\n\n"
    content = other.content(uid)
    assert content.read() == b"Subject: hi\r\n\r\nbody\r\n"
    content.close()


@pytest.mark.parametrize("moves", [False, True])
def test_a_copy_that_another_program_renames_at_once(site: Site, moves: bool) -> None:
    site.put("1.M1P1.h:2,")
    inbox, other = site.open("INBOX"), site.open("Other")
    site.after = lambda target: target.rename(site.root / ".Other" / "cur" / f"{target.name}:2,R") and None
    assert (inbox.move if moves else inbox.copy)([1], other) == [(1, 1)]
    other.look()
    assert other.table.flags_of(0) == {"\\Answered"} and list(other.table.uids) == [1]
    assert len(inbox.table) == (0 if moves else 1)


def test_a_copy_that_another_program_removes_at_once(site: Site) -> None:
    site.put("1.M1P1.h:2,")
    inbox, other = site.open("INBOX"), site.open("Other")
    site.after = lambda target: target.unlink()
    assert inbox.move([1], other) == []
    assert len(inbox.table) == 1 and site.there("new") == {}


def test_what_is_no_file_is_not_copied(site: Site) -> None:
    path = site.put("1.M1P1.h:2,S")
    inbox, other = site.open("INBOX"), site.open("Other")
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(StorageError) as raised:
        inbox.copy([1], other)
    assert raised.value.reason is Reason.CANNOT
    assert site.there("cur") == site.there("new") == {}


def test_one_that_needs_another_name_takes_all_the_other_way(site: Site) -> None:
    site.put("1.M1P1.h:2,S")
    site.put("2.M2P2.h,S=1:2,S")
    inbox, other = site.open("INBOX"), site.open("Other")
    assert inbox.copy([1, 2], other) == [(1, 1), (2, 2)]
    assert {name.partition(".M")[0] == "1" or ",S=18,W=21:2,S" in name for name in site.there("cur")} == {True}
    assert len(site.there("cur")) == 2


def test_a_message_that_went_is_left_out(site: Site) -> None:
    path = site.put("1.M1P1.h:2,S")
    site.put("2.M2P2.h:2,S")
    inbox, other = site.open("INBOX"), site.open("Other")

    def vanish(target: Path) -> None:
        path.unlink(missing_ok=True)

    site.link = vanish
    assert inbox.copy([1, 2], other) == [(2, 1)]
    assert list(site.there("cur")) == ["2.M2P2.h:2,S"]


def test_who_adds_without_a_look_finds_what_others_delivered(site: Site) -> None:
    site.put("1.M1P1.h:2,S")
    inbox, other = site.open("INBOX"), site.open("Other")
    (site.root / ".Other" / "new" / "0.M0P0.h").write_bytes(b"Subject: delivered\n\n")
    target = site.account.open("Other", looks=False)
    assert target is other and len(other.table) == 0
    assert inbox.copy([1], target) == [(1, 2)]
    assert list(other.table.uids) == [1, 2]
    target.close()


def test_who_adds_without_a_look_never_gets_a_mailbox_that_was_replaced(site: Site) -> None:
    other = site.open("Other")
    (site.root / ".Other").rename(site.root / ".Away")
    (site.root / ".Away" / "cur").joinpath("5.M5P5.h:2,").write_bytes(b"Subject: kept\n\n")
    with pytest.raises(StorageError) as raised:
        site.account.open("Other", looks=False)
    assert raised.value.reason is Reason.NOT_FOUND
    site.account.create("Other")
    fresh = site.account.open("Other", looks=False)
    assert fresh is not other and fresh.mailbox_id != other.mailbox_id
    fresh.close()
    other.close()
