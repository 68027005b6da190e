"""Mailboxes that this process may not write: what is answered, what stays stable, and that nothing is written there."""

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import trees

from greenmail.errors import Reason, StorageError
from greenmail.preload import preload
from greenmail.runtime import direct
from greenmail.storage import uidlist
from greenmail.storage.api import Account, CacheKind, FlagAction, FlagChange, Mailbox
from greenmail.storage.index_files import IndexFiles
from greenmail.storage.maildir_index import Index
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

NOBODY = 65534
OLD = 1_700_000_000


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user of the machine can reach: pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory(prefix="greenmail-test-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        for path in Path(made).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


@pytest.fixture
def maildir(place: Path) -> Path:
    """A Maildir as a mail user agent makes it: no uidlist."""
    root = place / "Maildir"
    for name in ("", ".Archive"):
        for part in ("cur", "new", "tmp"):
            (root / name / part).mkdir(parents=True)
        for number in range(1, 5):
            data = b"Subject: %d\n\nbody of %d\n" % (number, number)
            deliver(root / name, f"cur/{OLD + number}.M1P1.host:2,S", gzip.compress(data) if number == 4 else data)
    deliver(root, f"new/{OLD + 5}.M1P1.host", b"Subject: new\n\nx\n")
    settle(root)
    return root


def deliver(root: Path, name: str, data: bytes) -> None:
    (root / name).write_bytes(data)
    os.utime(root / name, (OLD, OLD))


def settle(root: Path, moment: int = OLD + 100) -> None:
    """Nothing has changed here for long."""
    for path in root.rglob("*"):
        if path.is_dir():
            os.utime(path, (moment, moment))


def seal(*roots: Path) -> None:
    """Nobody but root may write here; and from now on we are not root."""
    preload("")  # as in a worker: Python's own files may be out of reach then
    for root in roots:
        for path in (root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
    if os.getuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


class Owner:
    """What somebody else does in the Maildir, who may."""

    def __init__(self, maildir: Path) -> None:
        self.directories = [path for path in (maildir, *maildir.rglob("*")) if path.is_dir()]

    def __enter__(self) -> None:
        self.ids = os.geteuid(), os.getegid()
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        for path in self.directories:
            path.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        for path in self.directories:
            path.chmod(0o555)
        os.setegid(self.ids[1])
        os.seteuid(self.ids[0])


def picture(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, b"" if path.is_dir() else path.read_bytes())
        for path in (root, *root.rglob("*"))
    }


def account(maildir: Path, index: Path | None = None) -> Account:
    """Of a new worker."""
    settings = MaildirSettings(str(maildir), create_mail_path=False, index_path="" if index is None else str(index))
    return MaildirStore(direct()).open_account("alice", settings)


def inbox(maildir: Path, index: Path | None = None) -> Mailbox:
    return account(maildir, index).open("INBOX")


def numbers(mailbox: Mailbox) -> tuple[int, list[int], str]:
    return mailbox.uidvalidity, list(mailbox.table.uids), mailbox.mailbox_id


def text(mailbox: Mailbox, uid: int) -> bytes:
    content = mailbox.content(uid)
    try:
        return content.read()
    finally:
        content.close()


def test_everything_can_be_read_and_nothing_is_written(maildir: Path) -> None:
    seal(maildir)
    before = picture(maildir)
    mailbox = inbox(maildir)
    assert mailbox.read_only and not mailbox.can_add_keywords
    assert [text(mailbox, uid)[:10] for uid in mailbox.table.uids] == [
        b"Subject: 1", b"Subject: 2", b"Subject: 3", b"Subject: 4", b"Subject: n",
    ]  # fmt: skip
    mailbox.claim_recent()
    mailbox.fill(mailbox.table.uids, sizes=True, dates=True)
    assert list(mailbox.table.sizes) == [25, 25, 25, 25, 19] and set(mailbox.table.dates) == {OLD}
    assert mailbox.counters().measure() == sum(mailbox.table.sizes)
    mailbox.look()
    assert picture(maildir) == before


def test_changes_are_refused_with_a_reason(maildir: Path) -> None:
    seal(maildir)
    owner = account(maildir)
    mailbox, other = owner.open("INBOX"), owner.open("Archive")
    for change in (
        lambda: mailbox.store([1], FlagChange(FlagAction.ADD, frozenset({"\\Flagged"}))),
        lambda: mailbox.expunge(None),
        lambda: mailbox.upload(),
        lambda: mailbox.copy([1], other),
        lambda: mailbox.move([1], other),
        lambda: owner.create("x"),
        lambda: owner.delete("Archive"),
        lambda: owner.rename("Archive", "x"),
        lambda: owner.subscribe("Archive"),
    ):
        with pytest.raises(StorageError) as raised:
            change()
        assert raised.value.reason in (Reason.READ_ONLY, Reason.NO_PERMISSION), raised.value.text


def test_what_others_change_is_noticed_and_uids_stay_while_it_is_open(maildir: Path) -> None:
    seal(maildir)
    mailbox = inbox(maildir)
    before = numbers(mailbox)
    with Owner(maildir):
        os.rename(maildir / f"cur/{OLD + 2}.M1P1.host:2,S", maildir / f"cur/{OLD + 2}.M1P1.host:2,FS")
        os.unlink(maildir / f"cur/{OLD + 3}.M1P1.host:2,S")
        deliver(maildir, f"new/{OLD - 7}.M1P1.host", b"Subject: older\n\nx\n")  # its name sorts before all others
    mailbox.look()
    assert numbers(mailbox) == (before[0], [1, 2, 4, 5, 6], before[2])
    assert "\\Flagged" in mailbox.table.flags_of(mailbox.table.row(2))
    assert text(mailbox, 6).startswith(b"Subject: older")


def test_without_a_uidlist_the_same_maildir_has_the_same_uids_each_time(maildir: Path) -> None:
    seal(maildir)
    first = numbers(inbox(maildir))
    assert first[1] == [1, 2, 3, 4, 5]
    assert numbers(inbox(maildir)) == first  # another worker, or after a restart


def test_without_a_uidlist_uidvalidity_grows_when_something_changed_meanwhile(maildir: Path) -> None:
    seal(maildir)
    first = numbers(inbox(maildir))
    with Owner(maildir):
        deliver(maildir, f"new/{OLD - 7}.M1P1.host", b"Subject: older\n\nx\n")
        os.utime(maildir / "new", (OLD + 200, OLD + 200))
    again = numbers(inbox(maildir))
    assert again[0] > first[0] and again[1] == [1, 2, 3, 4, 5, 6] and again[2] == first[2]


def test_with_a_uidlist_only_what_is_not_in_it_is_numbered_behind(maildir: Path) -> None:
    with_list = inbox(maildir)
    with_list.expunge(None)
    known = numbers(with_list)
    deliver(maildir, f"new/{OLD - 7}.M1P1.host", b"Subject: older\n\nx\n")
    for name in ("greenmail.index", "greenmail.log"):
        (maildir / name).unlink()
    settle(maildir)
    seal(maildir)
    for _ in range(2):
        assert numbers(inbox(maildir)) == (known[0], [*known[1], 6], known[2])


@pytest.mark.parametrize("sealed", ["cur", "new", "."])
def test_a_part_that_cannot_be_written_makes_the_mailbox_read_only(maildir: Path, sealed: str) -> None:
    (maildir / sealed).chmod(0o555)
    preload("")
    if os.getuid() == 0:
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    owner = account(maildir)
    assert owner.open("INBOX").read_only
    archive = owner.open("Archive")  # each mailbox for itself
    assert not archive.read_only
    assert archive.store([1], FlagChange(FlagAction.ADD, frozenset({"\\Flagged"}))).changed == [1]


def test_pop3_has_a_maildrop_and_its_unique_ids_stay(maildir: Path) -> None:
    seal(maildir)
    one, two = inbox(maildir), inbox(maildir)
    held, also = one.lock_maildrop(), two.lock_maildrop()  # nobody can remove anything under the other's hands
    assert one.maildrop() == two.maildrop()
    assert (one.uidvalidity, len(one.maildrop())) == (two.uidvalidity, 5)
    held.release()
    also.release()


def test_the_index_lies_under_index_path(maildir: Path, place: Path) -> None:
    index = place / "index"
    index.mkdir()
    index.chmod(0o777)
    seal(maildir)
    before = picture(maildir)
    mailbox = inbox(maildir, index)
    mailbox.fill(mailbox.table.uids, sizes=True, dates=True)
    mailbox.cache(1, CacheKind.ENVELOPE, b"(an envelope)")
    known = numbers(mailbox)
    with Owner(maildir):
        deliver(maildir, f"new/{OLD - 7}.M1P1.host", b"Subject: older\n\nx\n")
        os.unlink(maildir / f"cur/{OLD + 3}.M1P1.host:2,S")
    mailbox.look()
    assert numbers(mailbox)[1] == [1, 2, 4, 5, 6]
    for _ in range(2):  # other workers, or after a restart
        again = inbox(maildir, index)
        assert numbers(again) == (known[0], [1, 2, 4, 5, 6], known[2])
        assert again.cached(1, CacheKind.ENVELOPE) == b"(an envelope)"
        assert text(again, 6).startswith(b"Subject: older")
    with Owner(maildir):
        shutil.copy2(maildir / f"cur/{OLD + 1}.M1P1.host:2,S", maildir / f"cur/{OLD + 9}.M1P1.host:2,S")
    again.look()
    mailbox.look()  # of the other worker: it learns the number from the journal
    assert numbers(mailbox)[1] == numbers(again)[1] == [1, 2, 4, 5, 6, 7]
    assert mailbox.modseq == again.modseq
    assert not [path for path in maildir.rglob("*") if path.name.startswith(("greenmail", "dovecot"))]
    assert before.keys() - picture(maildir).keys() == {str(maildir / f"cur/{OLD + 3}.M1P1.host:2,S")}


@pytest.mark.interpreted  # in the place of `IndexFiles.load`
def test_two_workers_that_open_it_at_the_same_time_agree(
    maildir: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = place / "index"
    index.mkdir()
    index.chmod(0o777)
    seal(maildir)
    first = inbox(maildir, index)
    with Owner(maildir):
        deliver(maildir, f"new/{OLD - 7}.M1P1.host", b"Subject: older\n\nx\n")
    load, times = IndexFiles.load, []

    def nothing_yet(files: IndexFiles) -> Index | None:
        """The second one looked just before the first one wrote."""
        times.append(files)
        return load(files) if len(times) > 1 else None

    monkeypatch.setattr(IndexFiles, "load", nothing_yet)
    second = inbox(maildir, index)
    assert len(times) == 2
    first.look()
    assert numbers(second) == numbers(first)
    assert numbers(first)[1] == [1, 2, 3, 4, 5, 6]
    assert text(first, 6) == text(second, 6) == b"Subject: older\r\n\r\nx\r\n"


def test_an_index_path_that_cannot_be_written_is_told_once(
    maildir: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = place / "index"
    index.mkdir()
    seal(maildir, index)
    mailbox = inbox(maildir, index)
    for _ in range(5):
        mailbox.look()
    assert numbers(mailbox)[1] == [1, 2, 3, 4, 5]
    assert caplog.text.count("not kept") == 1


def test_dovecots_tree_without_an_index_of_ours(place: Path) -> None:
    """With index-path and a uidlist, UIDs are those of the uidlist."""
    tree = trees.unpack("dovecot", place / "tree")
    index = place / "index"
    index.mkdir()
    index.chmod(0o777)
    seal(tree)
    for _ in range(2):
        mailbox = inbox(tree, index)
        recorded = trees.expected("dovecot")["mailboxes"]["INBOX"]["messages"]
        assert list(mailbox.table.uids) == [message["UID"] for message in recorded]
        assert mailbox.read_only


def test_a_damaged_list_that_was_read_is_mended_by_who_may_write(
    maildir: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index elsewhere does not say that all of the list is known, or who opens it next would trust it."""
    monkeypatch.setattr(uidlist, "_LONG", 1)
    inbox(maildir)
    path = maildir / "dovecot-uidlist"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[2:]]))
    index = place / "index"
    index.mkdir()
    index.chmod(0o777)
    settle(maildir)
    seal(maildir)
    assert numbers(inbox(maildir, index))[1] == [1, 2, 3, 4, 5]
    assert any(index.rglob("greenmail.index"))
    with Owner(maildir):
        again = inbox(maildir, index)
        assert not again.read_only
        again.look()
    assert b"rubbish" not in path.read_bytes()
    assert numbers(again)[1] == [1, 2, 3, 4, 5]
