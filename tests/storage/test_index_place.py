"""Index files below `index-path`, of mailboxes that were copied with their GUID."""

import os
import shutil
from pathlib import Path

import pytest

from greenmail.runtime import direct
from greenmail.storage.api import CacheKind, Mailbox
from greenmail.storage.filesystem import Files
from greenmail.storage.index_place import index_directory
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

KIND = next(iter(CacheKind))


def opened(path: Path, user: str, name: str) -> MaildirMailbox:
    """As by another process."""
    settings = MaildirSettings(str(path / user), index_path=str(path / "index"), lock_timeout=1.0)
    mailbox = MaildirStore(direct()).open_account(user, settings).open(name)
    assert isinstance(mailbox, MaildirMailbox)
    return mailbox


def put(mailbox: Mailbox, *texts: str) -> None:
    for text in texts:
        upload = mailbox.upload()
        upload.write(f"Subject: {text}\r\n\r\n{text}\r\n".encode())
        mailbox.save([upload])


@pytest.fixture(params=[("alice", "Copy"), ("bob", "Work")], ids=["own", "another-users"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[str, str]]:
    """A mailbox with two messages, and a copy of it (`cp -a`): user and name."""
    settings = MaildirSettings(str(tmp_path / "alice"), index_path=str(tmp_path / "index"))
    MaildirStore(direct()).open_account("alice", settings).create("Work")
    put(opened(tmp_path, "alice", "Work"), "one", "two")
    user, name = request.param
    shutil.copytree(tmp_path / "alice" / ".Work", tmp_path / user / f".{name}")
    return tmp_path, (user, name)


def test_a_copy_shows_nothing_of_the_original(pair: tuple[Path, tuple[str, str]]) -> None:
    path, (user, name) = pair
    original, copy = opened(path, "alice", "Work"), opened(path, user, name)
    assert original.mailbox_id == copy.mailbox_id
    put(copy, "secret")
    copy.cache(3, KIND, b"secret")
    put(original, "mine")
    original = opened(path, "alice", "Work")
    assert list(original.table.uids) == [1, 2, 3]
    assert original.cached(3, KIND) is None
    assert original.content(3).read().endswith(b"mine\r\n")
    copy = opened(path, user, name)
    assert copy.content(3).read().endswith(b"secret\r\n")
    copy.look()
    original.look()
    assert len(original.table) == len(copy.table) == 3


def test_each_finds_its_index_again(pair: tuple[Path, tuple[str, str]]) -> None:
    path, (user, name) = pair
    for _ in range(2):
        original, copy = opened(path, "alice", "Work"), opened(path, user, name)
        original.cache(1, KIND, b"original")
        copy.cache(2, KIND, b"copy")
    assert opened(path, "alice", "Work").cached_many([1, 2], KIND) == [b"original", None]
    assert opened(path, user, name).cached_many([1, 2], KIND) == [None, b"copy"]
    assert len(list((path / "index").iterdir())) == 2


def test_deleting_the_copy_leaves_the_index_of_the_original(tmp_path: Path) -> None:
    settings = MaildirSettings(str(tmp_path / "alice"), index_path=str(tmp_path / "index"))
    account = MaildirStore(direct()).open_account("alice", settings)
    account.create("Work")
    original = opened(tmp_path, "alice", "Work")
    put(original, "one")
    original.cache(1, KIND, b"kept")
    shutil.copytree(tmp_path / "alice" / ".Work", tmp_path / "alice" / ".Copy")
    account.open("Copy").close()
    account.delete("Copy")
    assert opened(tmp_path, "alice", "Work").cached(1, KIND) == b"kept"
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_deleting_a_link_leaves_the_index_of_what_it_leads_to(tmp_path: Path) -> None:
    settings = MaildirSettings(str(tmp_path / "alice"), index_path=str(tmp_path / "index"))
    account = MaildirStore(direct()).open_account("alice", settings)
    account.create("Work")
    original = opened(tmp_path, "alice", "Work")
    put(original, "one")
    original.cache(1, KIND, b"kept")
    (tmp_path / "alice" / ".Link").symlink_to(tmp_path / "alice" / ".Work")
    account.delete("Link")
    assert opened(tmp_path, "alice", "Work").cached(1, KIND) == b"kept"


@pytest.mark.parametrize("how", ["renamed", "restored", "linked"])
def test_a_mailbox_that_was_moved_keeps_its_index(tmp_path: Path, how: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (tmp_path / "index" / "g").mkdir(parents=True)

    def found(path: Path) -> bytes:
        return index_directory(Files(), os.fsencode(tmp_path / "index"), b"g", os.fsencode(path))

    plain = os.fsencode(tmp_path / "index" / "g")
    assert found(old) == plain
    if how == "renamed":
        old.rename(new)
    elif how == "restored":
        new.mkdir()
        old.rmdir()
    else:
        new.symlink_to(old)
    assert found(new) == found(new) == plain
    assert os.listdir(plain) == [b"greenmail.place"]


@pytest.mark.parametrize("octets", [b"", b"\0" * 20, b"x\t/y", b"12"])
def test_a_damaged_claim_is_nobodys(tmp_path: Path, octets: bytes) -> None:
    """The mailbox then has a directory of its own, and has it for good."""
    mailbox = tmp_path / "box"
    mailbox.mkdir()
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "greenmail.place").write_bytes(octets)
    found = index_directory(Files(), os.fsencode(tmp_path), b"g", os.fsencode(mailbox))
    assert found == os.fsencode(tmp_path / f"g-{mailbox.stat().st_ino:x}")
