"""A file server whose answers get lost, and other programs that are at work meanwhile.

That every change of names in every operation may lose its answer is tried in `tests/crash` (kinds stale and timeout).
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import StorageError
from greenmail.runtime import direct
from greenmail.storage import maildir_box
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.mounts import Mount
from greenmail.storage.uidvalidity import next_uidvalidity

OWNER = Ownership(0o600, 0o700, None)


class Server:
    """The `Call` of a `Files`: the next call of one kind (of `path`, if set) does `instead`, and then fails."""

    def __init__(self) -> None:
        self.name, self.path = "", b""
        self.code = errno.ESTALE
        self.instead: Callable[..., Any] = os.stat
        self.is_silent = False  # from then on whatever looks at a name fails, too

    def strike(self, name: str, instead: Callable[..., Any], code: int = errno.ESTALE, path: bytes = b"") -> None:
        self.name, self.instead, self.code, self.path = name, instead, code, path

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == self.name and self.path in (b"", args[0]):
            self.name = ""
            self.instead(*args)
            raise OSError(self.code, os.strerror(self.code))
        if self.is_silent and not self.name and name in ("lstat", "stat", "listdir", "scandir"):
            raise OSError(self.code, os.strerror(self.code))
        return function(*args)


def account(server: Server, root: Path) -> MaildirAccount:
    store = MaildirStore(direct(), files=Files(server))
    return store.open_account("alice", MaildirSettings(mail_path=str(root / "Maildir")))


def put(mailbox: Any, text: bytes) -> int:
    upload = mailbox.upload()
    upload.write(b"Subject: %b\r\n\r\n" % text)
    return int(mailbox.save([upload])[0])


def texts(server: Server, root: Path, name: str) -> list[bytes]:
    mailbox = account(server, root).open(name)
    found = []
    for uid in list(mailbox.table.uids):
        content = mailbox.content(uid)
        found.append(content.read()[9:].partition(b"\r\n")[0])
        content.close()
    mailbox.close()
    return found


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ETIMEDOUT, errno.EIO])
@pytest.mark.parametrize(
    "name, works",
    [
        ("rename", lambda files, path: files.rename(path + b"/one", path + b"/new")),
        ("link", lambda files, path: files.link(path + b"/one", path + b"/new")),
        ("unlink", lambda files, path: files.unlink(path + b"/one")),
        ("mkdir", lambda files, path: files.mkdir(path + b"/new", 0o700)),
        ("rmdir", lambda files, path: files.rmdir(path + b"/empty")),
        ("rename", lambda files, path: files.replace_file(path + b"/one", b"new", OWNER)),
    ],
    ids=["rename", "link", "unlink", "mkdir", "rmdir", "replace"],
)
def test_what_was_done_is_done(name: str, works: Callable[[Files, bytes], object], code: int, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    (tmp_path / "empty").mkdir()
    server = Server()
    server.strike(name, getattr(os, name), code)
    works(Files(server), bytes(tmp_path))
    assert server.name == ""


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.EIO])
def test_what_was_not_done_is_an_error(code: int, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    server, path = Server(), bytes(tmp_path)
    for name, works in (
        ("rename", lambda: Files(server).rename(path + b"/one", path + b"/new")),
        ("link", lambda: Files(server).link(path + b"/one", path + b"/new")),
        ("unlink", lambda: Files(server).unlink(path + b"/one")),
        ("mkdir", lambda: Files(server).mkdir(path + b"/new", 0o700)),
    ):
        server.strike(name, lambda *_: None, code)
        with pytest.raises(OSError) as caught:
            works()
        assert caught.value.errno == code
    assert os.listdir(tmp_path) == ["one"]


def test_what_somebody_else_put_in_the_place_is_not_ours(tmp_path: Path) -> None:
    """He broke our lock, and removed what we wrote: the file that stands is the old one."""
    (tmp_path / "file").write_bytes(b"old")
    server = Server()
    server.strike("rename", lambda source, target: os.unlink(source))
    with pytest.raises(FileNotFoundError):
        Files(server).replace_file(bytes(tmp_path) + b"/file", b"new", OWNER)
    server.strike("link", lambda source, target: Path(os.fsdecode(target)).write_bytes(b"his"))
    with pytest.raises(FileExistsError):
        Files(server).link(bytes(tmp_path) + b"/file", bytes(tmp_path) + b"/lock")


def test_a_uidvalidity_is_given_to_one(tmp_path: Path) -> None:
    """Another process takes the value at the moment at which our answer would have been lost."""
    server, path = Server(), bytes(tmp_path)
    first = next_uidvalidity(Files(), path, 1_700_000_000.0)
    his: list[int] = []
    server.strike("rename", lambda *_: his.append(next_uidvalidity(Files(), path, 1_700_000_000.0)))
    mine = next_uidvalidity(Files(server), path, 1_700_000_000.0)
    assert len({first, mine, *his}) == 3


def test_a_message_that_was_renamed_meanwhile_is_not_gone(tmp_path: Path) -> None:
    """EXPUNGE: another program takes \\Deleted away; the answer that says that the old name is gone is not ours."""
    server = Server()
    inbox = account(server, tmp_path).open("INBOX")
    uid = put(inbox, b"one")
    inbox.store([uid], FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    server.strike("unlink", lambda path: os.rename(path, path.replace(b":2,T", b":2,F")))
    assert inbox.expunge(None) == []
    assert server.name == ""
    inbox.look()
    assert list(inbox.table.uids) == [uid] and inbox.table.flags_of(0) == {"\\Flagged"}


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize("code", [errno.ESTALE, errno.ETIMEDOUT, errno.EIO])
def test_the_only_copy_of_a_moved_message_stays(code: int, is_silent: bool, tmp_path: Path) -> None:
    """MOVE has removed the original, is told that it has not, and perhaps nothing at all from then on."""
    server = Server()
    mine = account(server, tmp_path)
    mine.create("Other")
    inbox, other = mine.open("INBOX"), mine.open("Other")
    uid = put(inbox, b"one")
    file = next(path for part in ("new", "cur") for path in (tmp_path / "Maildir" / part).iterdir())

    def unlink(path: bytes) -> None:
        os.unlink(path)
        server.is_silent = is_silent

    server.strike("unlink", unlink, code, bytes(file))
    try:
        assert inbox.move([uid], other) == [(uid, 1)]
        assert not is_silent
    except StorageError:
        assert is_silent
    server.is_silent = False
    assert server.name == ""
    assert texts(server, tmp_path, "INBOX") == []
    assert texts(server, tmp_path, "Other") == [b"one"]


def test_the_kernel_asks_again_and_is_told_that_there_is_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS does so by itself when an answer is lost: ENOENT of an APPEND and of a MOVE that were carried out."""
    monkeypatch.setattr(maildir_box, "mount_of", lambda _: Mount("nfs4", "/mail"))
    server = Server()
    mine = account(server, tmp_path)
    mine.create("Other")
    inbox, other = mine.open("INBOX"), mine.open("Other")
    server.strike("rename", os.rename, errno.ENOENT)
    uid = put(inbox, b"one")
    assert texts(server, tmp_path, "INBOX") == [b"one"]
    file = next(path for part in ("new", "cur") for path in (tmp_path / "Maildir" / part).iterdir())
    server.strike("unlink", os.unlink, errno.ENOENT, bytes(file))
    assert inbox.move([uid], other) == [(uid, 1)]
    assert server.name == ""
    assert texts(server, tmp_path, "INBOX") == []
    assert texts(server, tmp_path, "Other") == [b"one"]
    inbox.look()
    assert len(inbox.table) == 0
