"""Annotations as they stand on disk; what they mean is in `tests/storage/contract`."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.descriptors import LetGo
from support.namespaces import ALIAS, ARCHIVE, OWN, PUBLIC, SHARED, Spool

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import AclAction
from greenmail.storage.filesystem import Files, plain_call
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.metadata import MetadataFile, parse, render

WAITING = Waiting(direct().sleep, direct().now, 5.0)
COMMENT = "/shared/comment"
OWN_COMMENT = "/private/comment"
MOST = 10

ENTRIES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(lambda text: "/shared/" + text)


@given(st.dictionaries(ENTRIES, st.binary()))
def test_what_is_written_is_read(annotations: dict[str, bytes]) -> None:
    assert parse(render(annotations)) == annotations


@given(st.binary())
def test_anything_may_stand_there(octets: bytes) -> None:
    for data in (octets, b"1\n" + octets, b"1\n" + octets + b"\n"):
        found = parse(data)
        assert found is None or parse(render(found)) == found


def test_a_file_can_be_read_by_people() -> None:
    data = render({"/shared/comment": "Größe\r\n50%".encode(), "/private/empty": b"", "/private/a b": b" \0 "})
    assert data == ("1\n/private/a%20b  %00 \n/private/empty \n/shared/comment Größe%0D%0A50%25\n").encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"2\n",
        b"1\n/shared/comment x",
        b"1\n/shared/comment\n",
        b"1\n x\n",
        b"1\n/a %0\n",
        b"1\n/a %zz\n",
        b"1\n\n",
    ],
)
def test_what_is_no_such_file_is_neither_used_nor_replaced(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "greenmail-data").mkdir()
    path = tmp_path / "greenmail-data/metadata"
    path.write_bytes(data)
    file = MetadataFile(Files(), os.fsencode(tmp_path / "greenmail-data"), b"metadata", WAITING)
    for work in (file.read, lambda: file.change({COMMENT: b"new"}, MOST)):
        with pytest.raises(StorageError) as caught:
            work()
        assert caught.value.reason is Reason.CORRUPT
    assert path.read_bytes() == data
    assert os.listdir(tmp_path / "greenmail-data") == ["metadata"]


def open_account(path: Path, call: Any = plain_call, **settings: Any) -> MaildirAccount:
    made = MaildirSettings(mail_path=str(path / "Maildir"), lock_timeout=5.0, **settings)
    return MaildirStore(direct(), files=Files(call)).open_account("alice", made)


@pytest.mark.parametrize(
    "settings, place",
    [
        ({}, "Maildir/.Box/greenmail-data"),
        ({"control_path": "{}/control"}, "control/.Box/greenmail-data"),
        ({"layout": "fs"}, "Maildir/Box/cur/.greenmail-data"),
        ({"layout": "fs", "mailbox_directory": "mail"}, "Maildir/Box/mail/greenmail-data"),
    ],
)
def test_an_annotation_goes_where_its_mailbox_goes(tmp_path: Path, settings: dict[str, str], place: str) -> None:
    given = {name: value.format(tmp_path) for name, value in settings.items()}
    account = open_account(tmp_path, **given)
    account.create("Box")
    account.create("Box/Below")
    account.set_metadata("Box", {COMMENT: b"one"}, MOST)
    account.set_metadata("Box/Below", {OWN_COMMENT: b"two"}, MOST)
    assert os.listdir(tmp_path / place).count("metadata") == 1
    account.rename("Box", "Moved")
    other = open_account(tmp_path, **given)
    assert other.metadata("Moved") == {COMMENT: b"one"}
    assert other.metadata("Moved/Below") == {OWN_COMMENT: b"two"}
    account.delete("Moved")
    account.create("Moved")
    assert other.metadata("Moved") == {}
    assert [folder.name for folder in other.folders()] == ["INBOX", "Moved", "Moved/Below"]


def test_a_change_is_relative_to_what_others_wrote(tmp_path: Path) -> None:
    one, other = open_account(tmp_path), open_account(tmp_path)
    one.set_metadata("INBOX", {COMMENT: b"one"}, MOST)
    other.set_metadata("INBOX", {OWN_COMMENT: b"two"}, MOST)
    assert one.metadata("INBOX") == {COMMENT: b"one", OWN_COMMENT: b"two"}


def test_what_is_private_of_others_mailboxes_is_with_the_reader(tmp_path: Path) -> None:
    spool = Spool(tmp_path, (OWN, SHARED))
    bob, alice = spool.worker().account("bob"), spool.worker().account("alice")
    bob.create("Work")
    bob.set_acl("Work", "alice", AclAction.REPLACE, frozenset("lrw"))
    bob.set_metadata("Work", {COMMENT: b"for all", OWN_COMMENT: b"of bob"}, MOST)
    assert alice.metadata("shared/bob/Work") == {COMMENT: b"for all"}
    alice.set_metadata("shared/bob/Work", {COMMENT: b"changed", OWN_COMMENT: b"of alice"}, MOST)
    assert alice.metadata("shared/bob/Work") == {COMMENT: b"changed", OWN_COMMENT: b"of alice"}
    assert bob.metadata("Work") == {COMMENT: b"changed", OWN_COMMENT: b"of bob"}
    with pytest.raises(StorageError) as caught:  # there is room for the private one only
        alice.set_metadata("shared/bob/Work", {OWN_COMMENT: b"new", "/shared/a": b"", "/shared/b": b""}, 2)
    assert caught.value.reason is Reason.LIMIT
    assert alice.metadata("shared/bob/Work") == {COMMENT: b"changed", OWN_COMMENT: b"of alice"}
    with pytest.raises(StorageError):
        alice.set_special_use("shared/bob/Work", ["\\Junk"])
    bob.rename("Work", "Renamed")
    bob.set_acl("Renamed", "alice", AclAction.REPLACE, frozenset("lr"))
    assert alice.metadata("shared/bob/Renamed")[OWN_COMMENT] == b"of alice"


def test_in_every_namespace_private_is_each_users_own(tmp_path: Path) -> None:
    public = replace(PUBLIC, default_rights=frozenset("lrw"))
    closed = replace(PUBLIC, prefix="Closed/", default_rights=frozenset("lrw"), read_only=True)
    spool = Spool(tmp_path, (OWN, ALIAS, public, closed, ARCHIVE))
    spool.box(spool.public / ".News")
    one, other = spool.worker().account("alice"), spool.worker().account("bob")
    for account, word in ((one, b"one"), (other, b"other")):
        account.create("Box")
        account.create("Archive/Old")
        for name in ("Box", "Archive/Old", "Public/News"):
            account.set_metadata(name, {OWN_COMMENT: word, COMMENT: word}, MOST)
    assert one.metadata("INBOX.Box") == {OWN_COMMENT: b"one", COMMENT: b"one"}, "an alias is the same mailbox"
    assert one.metadata("Archive/Old") == {OWN_COMMENT: b"one", COMMENT: b"one"}
    assert one.metadata("Public/News") == {OWN_COMMENT: b"one", COMMENT: b"other"}
    assert other.metadata("Public/News") == {OWN_COMMENT: b"other", COMMENT: b"other"}
    with pytest.raises(StorageError) as caught:
        one.set_metadata("Closed/News", {OWN_COMMENT: b"new", COMMENT: b"new"}, MOST)
    assert caught.value.reason is Reason.READ_ONLY
    one.set_metadata("Closed/News", {OWN_COMMENT: b"of closed"}, MOST)
    assert one.metadata("Public/News") == {OWN_COMMENT: b"of closed", COMMENT: b"other"}, "one mailbox, one file"
    for name in ("Public/News", "Closed/News"):
        with pytest.raises(StorageError):
            one.set_special_use(name, ["\\Junk"])
    one.set_special_use("INBOX.Box", ["\\Junk"])
    assert {folder.name: folder.special_use for folder in one.folders()}["Box"] == ("\\Junk",)
    one.set_special_use("Archive/Old", ["\\Junk"])
    uses = {folder.name: folder.special_use for folder in one.folders()}
    assert (uses["Box"], uses["Archive/Old"]) == ((), ("\\Junk",))


class _Died(BaseException):
    """The process is gone; nothing tidies up."""


class _Death:
    """The `Call` of a `Files`: dies before its system call number `at`, once it is armed."""

    def __init__(self, at: int) -> None:
        self.left, self.armed = at, False

    def __call__(self, name: str, function: Any, *args: Any) -> Any:
        if self.armed and self.left == 0:
            raise _Died
        self.left -= self.armed
        return function(*args)


def test_a_writer_that_dies_leaves_the_old_annotations_or_the_new_ones(tmp_path: Path, let_go: LetGo) -> None:
    old, new = {COMMENT: b"old"}, {COMMENT: b"new", OWN_COMMENT: b"x"}
    seen = []
    for steps in range(200):
        base = tmp_path / str(steps)
        base.mkdir()
        open_account(base).set_metadata("INBOX", dict(old), MOST)
        death = _Death(steps)
        account = open_account(base, death)
        death.armed = True
        try:
            account.set_metadata("INBOX", dict(new), MOST)
            died = False
        except _Died:
            died = True
        found = open_account(base).metadata("INBOX")
        assert found in (old, new)
        assert died or found == new
        seen.append(found[COMMENT])
        let_go()
        if not died:
            break
    assert len(seen) > 10
    assert seen == sorted(seen, reverse=True), "the new ones are there from one moment on"


@pytest.mark.parametrize("name", ["write", "fsync", "rename", "open", "link"])
def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path, name: str) -> None:
    open_account(tmp_path).set_metadata("INBOX", {COMMENT: b"old"}, MOST)
    armed = False

    def call(called: str, function: Any, *args: Any) -> Any:
        if armed and called == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args)

    account = open_account(tmp_path, call)
    armed = True
    with pytest.raises(StorageError) as caught:
        account.set_metadata("INBOX", {COMMENT: b"new"}, MOST)
    assert caught.value.reason is Reason.NO_SPACE
    armed = False
    assert account.metadata("INBOX") == {COMMENT: b"old"}
    assert not [found for found in os.listdir(tmp_path / "Maildir/greenmail-data") if found.endswith((".lock", ".tmp"))]
    account.set_metadata("INBOX", {COMMENT: b"new"}, MOST)
    assert account.metadata("INBOX") == {COMMENT: b"new"}


def test_special_use_that_was_moved_stays_moved(tmp_path: Path) -> None:
    uses = {"Drafts": "\\Drafts", "Sent": "\\Sent"}
    account = open_account(tmp_path, special_use=uses)
    for name in ("Drafts", "Entwürfe", "Sent"):
        account.create(name)
    account.set_special_use("Entwürfe", ["\\Drafts"])
    account.set_special_use("Sent", [])
    shown = {folder.name: folder.special_use for folder in open_account(tmp_path, special_use=uses).folders()}
    assert shown == {"INBOX": (), "Drafts": (), "Entwürfe": ("\\Drafts",), "Sent": ()}
    account.set_special_use("Drafts", ["\\Drafts", "\\Sent"])
    account.rename("Drafts", "Both")
    shown = {folder.name: folder.special_use for folder in open_account(tmp_path, special_use=uses).folders()}
    assert shown == {"INBOX": (), "Both": ("\\Drafts", "\\Sent"), "Entwürfe": (), "Sent": ()}


def test_special_uses_are_relative_to_what_others_wrote(tmp_path: Path) -> None:
    one, other = open_account(tmp_path), open_account(tmp_path)
    for name, use in (("A", "\\Sent"), ("B", "\\Junk"), ("C", "\\Trash"), ("D", "\\Archive")):
        one.create(name, [use])
    work = [
        (one, "A", ["\\Junk"]),
        (other, "B", ["\\Trash"]),
        (one, "C", ["\\Archive"]),
        (other, "D", ["\\Sent"]),
    ]
    threads = [threading.Thread(target=account.set_special_use, args=(name, uses)) for account, name, uses in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {folder.name: list(folder.special_use) for folder in one.folders()}
    assert found == {"INBOX": [], **{name: uses for _, name, uses in work}}
