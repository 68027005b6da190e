"""RENAME and CREATE with a control root, and what a crash in the midst of them leaves. `docs/reliability.md`."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.controls import Controls
from greenmail.storage.filesystem import Files, plain_call
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.places import Places

LAYOUTS = pytest.mark.parametrize("layout", ["maildir++", "fs"])


CHANGES = ("mkdir", "rename", "link", "unlink", "rmdir", "write")


def unsynced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """These tests cut no power."""
    return None if name in ("fsync", "fdatasync") else plain_call(name, function, *args)


class Killed(BaseException):
    """The process ends here."""


def settings_of(tmp_path: Path, layout: str) -> MaildirSettings:
    return MaildirSettings(
        str(tmp_path / "mail"), control_path=str(tmp_path / "control"), layout=layout, lock_timeout=0.002
    )


def account_of(tmp_path: Path, layout: str, call: Callable[..., Any] = unsynced) -> MaildirAccount:
    return MaildirStore(direct(), files=Files(call)).open_account("alice", settings_of(tmp_path, layout))


def controls_of(tmp_path: Path, layout: str) -> Controls:
    return Controls(
        Files(unsynced),
        Places(Files(unsynced), settings_of(tmp_path, layout)),
        Waiting(lambda _: None, lambda: 0.0, 1.0),
    )


def entry(layout: str, name: str) -> str:
    return name if layout == "fs" else "." + name.replace("/", ".")


def fill(tmp_path: Path, layout: str) -> None:
    account = account_of(tmp_path, layout)
    for name in ("A", "A/B"):
        account.create(name)
        mailbox = account.open(name)
        upload = mailbox.upload()
        upload.write(b"a: b\r\n\r\nx\r\n")
        upload.flags = frozenset({"keyword"})
        mailbox.save([upload])
        mailbox.close()


def look(account: MaildirAccount, name: str) -> tuple[int, str, list[tuple[int, Any]]]:
    mailbox = account.open(name)
    try:
        table = mailbox.table
        return (
            mailbox.uidvalidity,
            mailbox.mailbox_id,
            [(uid, table.flags_of(row)) for row, uid in enumerate(table.uids)],
        )
    finally:
        mailbox.close()


@LAYOUTS
def test_a_file_that_is_said_once_not_to_be_there_is_copied_all_the_same(tmp_path: Path, layout: str) -> None:
    """A file server says so of a file that another machine has just replaced: the copy must not be without it."""
    fill(tmp_path, layout)
    before = look(account_of(tmp_path, layout), "A")
    said = set()

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "link" and args[0] not in said and args[0].startswith(bytes(tmp_path / "control")):
            said.add(args[0])
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return unsynced(name, function, *args)

    account_of(tmp_path, layout, call).rename("A", "C")
    assert any(path.endswith(b"/dovecot-keywords") for path in said)
    assert look(account_of(tmp_path, layout), "C") == before


def test_a_directory_that_is_said_once_not_to_be_there_may_have_mailboxes_below_it(tmp_path: Path) -> None:
    """DELETE of a parent leaves its children's control directories, which lie in its own."""
    fill(tmp_path, "fs")
    before = look(account_of(tmp_path, "fs"), "A/B")
    said = set()

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "scandir" and args[0] not in said and args[0].startswith(bytes(tmp_path / "control")):
            said.add(args[0])
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return unsynced(name, function, *args)

    account_of(tmp_path, "fs", call).delete("A")
    assert said
    assert look(account_of(tmp_path, "fs"), "A/B") == before


@LAYOUTS
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_control_directory_that_cannot_be_looked_at_is_not_left_behind(
    tmp_path: Path, layout: str, code: int
) -> None:
    fill(tmp_path, layout)
    before = look(account_of(tmp_path, layout), "A")
    control = os.fsencode(tmp_path / "control" / entry(layout, "A"))

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "stat" and args[0] == control:
            raise OSError(code, os.strerror(code))
        return unsynced(name, function, *args)

    with pytest.raises(StorageError):
        account_of(tmp_path, layout, call).rename("A", "C")
    assert look(account_of(tmp_path, layout), "A") == before


def old_leftovers(tmp_path: Path, layout: str) -> None:
    """The purge of a server that is started in two hours."""
    import time  # the real clock: the times of files cannot be set

    controls_of(tmp_path, layout).purge(time.time() + 7200)


@LAYOUTS
def test_a_rename_that_is_killed_at_any_call(tmp_path: Path, layout: str) -> None:
    """Each mailbox is at one of its names, with its UIDs and keywords; leftovers go, and nothing else."""
    fill(tmp_path / "base", layout)
    before = {name: look(account_of(tmp_path / "base", layout), name) for name in ("A", "A/B")}
    at = 0
    while True:
        at += 1
        trial = tmp_path / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(tmp_path / "base", trial, symlinks=True)
        count = 0

        def call(name: str, function: Any, *args: Any, at: int = at) -> Any:
            nonlocal count
            count += name in CHANGES
            if count >= at and name != "close":  # the kernel closes what a dead process had open
                raise Killed
            return unsynced(name, function, *args)

        account = account_of(trial, layout)
        account._files._call, plain = call, account._files._call
        try:
            account.rename("A", "N")
        except Killed:
            pass
        else:
            return
        finally:
            account._files._call = plain
        old_leftovers(trial, layout)
        again = account_of(trial, layout)
        found = {folder.name for folder in again.folders() if folder.selectable} - {"INBOX"}
        assert found in ({"A", "A/B"}, {"N", "N/B"}, {"N", "A/B"}), at
        for name in found:
            assert look(again, name) == before[name.replace("N", "A")], (at, name)
        have = {path.parent for path in (trial / "control").rglob("dovecot-uidlist")}
        assert have == {trial / "control" / entry(layout, name) for name in found} | set(
            (trial / "control").glob("*INBOX")
        ), at
        assert not list((trial / "control").glob("..*")), at


@LAYOUTS
def test_no_control_directory_is_removed_while_the_mail_is_not_mounted(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, layout)
    moves = [tuple(bytes(tmp_path / "mail" / entry(layout, name)) for name in ("A", "N"))]
    assert controls_of(tmp_path, layout).begin(moves)  # type: ignore[arg-type]  # a pair
    os.rename(tmp_path / "mail", tmp_path / "unmounted")
    old_leftovers(tmp_path, layout)
    for name in ("A", "N"):
        assert (tmp_path / "control" / entry(layout, name) / "dovecot-uidlist").exists()


@LAYOUTS
def test_the_control_directory_of_another_mailbox_is_not_removed(tmp_path: Path, layout: str) -> None:
    """The copy was left by a crash; since then somebody made a mailbox of that name, and it went with its Maildir."""
    fill(tmp_path, layout)
    moves = [tuple(bytes(tmp_path / "mail" / entry(layout, name)) for name in ("A", "N"))]
    controls_of(tmp_path, layout).begin(moves)  # type: ignore[arg-type]  # a pair
    uidlist = tmp_path / "control" / entry(layout, "N") / "dovecot-uidlist"
    text = uidlist.read_bytes()
    uidlist.unlink()
    at = text.index(b" G") + 2
    uidlist.write_bytes(text[:at] + b"0" * 32 + text[at + 32 :])
    old_leftovers(tmp_path, layout)
    assert uidlist.exists()


@LAYOUTS
def test_a_new_mailbox_has_nothing_of_an_old_control_directory(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, layout)
    moves = [tuple(bytes(tmp_path / "mail" / entry(layout, name)) for name in ("A", "N"))]
    controls_of(tmp_path, layout).begin(moves)  # type: ignore[arg-type]  # a pair
    account = account_of(tmp_path, layout)
    account.create("N")
    assert look(account, "N")[:2] != look(account, "A")[:2]
    assert look(account, "N")[2] == []
    old_leftovers(tmp_path, layout)
    assert look(account_of(tmp_path, layout), "N") == look(account, "N")
    assert len(look(account_of(tmp_path, layout), "A")[2]) == 1


@LAYOUTS
@pytest.mark.parametrize("first", ["rename", pytest.param("create", marks=pytest.mark.slow)])
def test_a_mailbox_made_in_the_midst_of_a_rename_gets_nothing_of_the_other(
    tmp_path: Path, layout: str, first: str
) -> None:
    """Whichever of the two a process stops in, and whenever: the other one waits, or is refused."""

    def do(what: str, account: MaildirAccount) -> bool:
        try:
            account.create("N") if what == "create" else account.rename("A", "N")
        except StorageError as error:
            assert error.reason in (Reason.EXISTS, Reason.IN_USE)
            return False
        return True

    at = count = done = 0
    second = "create" if first == "rename" else "rename"

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        nonlocal count, done
        if name in CHANGES or name == "listdir":
            count += 1
            if count == at:
                done += do(second, account_of(place, layout))
        return unsynced(name, function, *args)

    while count >= at:
        at, count, done = at + 1, 0, 0
        place = tmp_path / str(at)
        place.mkdir()
        fill(place, layout)
        account = account_of(place, layout, call)
        done += do(first, account)
        assert done == 1, at
        names = [folder.name for folder in account_of(place, layout).folders() if folder.selectable]
        looks = [look(account_of(place, layout), name) for name in names]
        assert len({one[0] for one in looks}) == len({one[1] for one in looks}) == len(names) == 3 + ("A" in names)
        assert sum(len(one[2]) for one in looks) == 2
    assert at > 5


@LAYOUTS
def test_what_dovecot_writes_during_a_rename_is_kept(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, layout)
    control = tmp_path / "control" / entry(layout, "A")

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "rename" and args[0] == bytes(tmp_path / "mail" / entry(layout, "A")):
            uidlist = (control / "dovecot-uidlist").read_bytes()
            (control / "new").write_bytes(uidlist.replace(b" N", b" Xkept N", 1))
            os.rename(control / "new", control / "dovecot-uidlist")
        return plain_call(name, function, *args)

    account_of(tmp_path, layout, call).rename("A", "N")
    assert b"Xkept" in (tmp_path / "control" / entry(layout, "N") / "dovecot-uidlist").read_bytes()
    assert not control.exists()


@LAYOUTS
def test_a_file_system_without_hard_links(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, layout)
    before = look(account_of(tmp_path, layout), "A/B")

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "link" and b"/control/" in args[0]:
            raise OSError(errno.EPERM, "no links")
        return plain_call(name, function, *args)

    account = account_of(tmp_path, layout, call)
    account.rename("A", "N")
    assert look(account, "N/B") == before


@LAYOUTS
def test_a_rename_that_is_refused_takes_its_copies_back(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, layout)

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "rename" and args[0] == bytes(tmp_path / "mail" / entry(layout, "A")):
            raise OSError(errno.EIO, "disk")
        return plain_call(name, function, *args)

    before = sorted((tmp_path / "control").rglob("*"))
    with pytest.raises(StorageError):
        account_of(tmp_path, layout, call).rename("A", "N")
    assert sorted((tmp_path / "control").rglob("*")) == before
