"""A writer that dies between any two system calls: whoever comes next finds every mail, under the UID it had."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange, Mailbox
from greenmail.storage.filesystem import Files, plain_call
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

ADD = FlagAction.ADD
_ENDED = 77  # exit status of a child that came to the end of its work
_READS = {"stat", "lstat", "fstat", "pread", "listdir", "scandir", "close"}  # dying before or after these is the same

Found = dict[str, dict[int, tuple[str, frozenset[str]]]]  # by mailbox and UID: subject and flags


def open_account(path: Path, call: Callable[..., Any] = plain_call) -> MaildirAccount:
    settings = MaildirSettings(mail_path=str(path), lock_timeout=5.0)
    return MaildirStore(direct(), files=Files(call)).open_account("alice", settings)


def put(mailbox: Mailbox, *texts: str, flags: frozenset[str] = frozenset()) -> list[int]:
    uploads = []
    for text in texts:
        upload = mailbox.upload()
        upload.write(b"Subject: %b\r\n\r\nx\r\n" % text.encode())
        upload.flags = flags
        uploads.append(upload)
    return mailbox.save(uploads)


def read(path: Path) -> Found:
    account = open_account(path)
    found: Found = {}
    for folder in account.folders():
        mailbox = account.open(folder.name)
        mine = found[folder.name] = {}
        for row, uid in enumerate(mailbox.table.uids):
            content = mailbox.content(uid)
            mine[uid] = (content.header().split(b"\r\n")[0][9:].decode(), mailbox.table.flags_of(row))
            content.close()
        mailbox.close()
    return found


def append(account: MaildirAccount) -> None:
    put(account.open("INBOX"), "new one", "new two", flags=frozenset({"\\Seen", "fresh"}))


def store(account: MaildirAccount) -> None:
    account.open("INBOX").store([1, 2, 3], FlagChange(ADD, frozenset({"\\Flagged", "other"})))


def expunge(account: MaildirAccount) -> None:
    account.open("INBOX").expunge(None)


def copy(account: MaildirAccount) -> None:
    account.open("INBOX").copy([1, 2], account.open("Other"))


def move(account: MaildirAccount) -> None:
    account.open("INBOX").move([1, 2], account.open("Other"))


def claim(account: MaildirAccount) -> None:
    account.open("INBOX").claim_recent()


def create(account: MaildirAccount) -> None:
    account.create("Made")


def rename(account: MaildirAccount) -> None:
    account.rename("Other", "Renamed")


def build(account: MaildirAccount) -> None:
    for path in Path(os.fsdecode(account.open("INBOX").box.place.directory)).glob("greenmail.*"):  # type: ignore[attr-defined]  # a MaildirMailbox
        if path.is_file() and path.name != "greenmail.lock":
            path.unlink()
    account._worker.mailboxes.close()
    open_account(Path(account.settings.mail_path), account._files._call).open("INBOX")


def run_until(path: Path, work: Callable[[MaildirAccount], None], last: int) -> bool:
    """Do `work` in a child that dies before its system call number `last`; whether it came to its end."""
    child = os.fork()
    if child == 0:
        count = 0

        def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
            nonlocal count
            if name not in _READS:
                count += 1
                if count == last:
                    os._exit(0)
            return function(*args)

        try:
            work(open_account(path, call))
        except BaseException:
            os._exit(1)
        os._exit(_ENDED)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, _ENDED), status
    return status == _ENDED


def check(before: Found, after: Found, complete: Found, work: str) -> None:
    """Nothing that was there is lost or has another UID, unless the work itself does that."""
    texts = {text for mine in before.values() for text, _ in mine.values()}
    there = {text for mine in after.values() for text, _ in mine.values()}
    if work != "expunge":
        assert texts <= there
    for name, mine in after.items():
        old = before.get(name, {})
        for uid, (text, flags) in mine.items():
            if uid in old:
                assert text == old[uid][0]
                assert flags in (old[uid][1], complete[name][uid][1] if uid in complete.get(name, {}) else None)
        assert max(mine, default=0) <= max(complete.get(name, {}), default=0) or work == "rename"
        if work not in ("expunge", "move", "rename"):
            assert old.keys() <= mine.keys()
    if work == "expunge":
        assert {text for text, flags in before["INBOX"].values() if "\\Deleted" not in flags} <= there


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: death is tested here, not power cuts, so nothing has to reach a disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared, prefix="greenmail-test-") as directory:
        yield Path(directory)


@pytest.mark.slow
@pytest.mark.parametrize("work", [append, store, expunge, copy, move, claim, create, rename, build])
def test_death_before_any_system_call(quick_path: Path, work: Callable[[MaildirAccount], None]) -> None:
    start = quick_path / "start" / "Maildir"
    account = open_account(start)
    account.create("Other")
    put(account.open("INBOX"), "one", "two", flags=frozenset({"kw"}))
    put(account.open("INBOX"), "three", "four", flags=frozenset({"\\Deleted"}))
    put(account.open("INBOX"), "five")
    put(account.open("Other"), "six", flags=frozenset({"different"}))
    account._worker.mailboxes.close()
    before = read(start)
    whole = quick_path / "whole"
    shutil.copytree(start, whole)
    assert run_until(whole, work, -1)
    complete = read(whole)
    trials, ended = 0, False
    while not ended:
        trials += 1
        path = quick_path / "trial"
        shutil.copytree(start, path)
        ended = run_until(path, work, trials)
        after = read(path)
        check(before, after, complete, work.__name__)
        lines = (path / "dovecot-uidlist").read_bytes()
        assert lines.endswith(b"\n") and lines.startswith(b"3 V")
        for file in path.rglob("greenmail.*"):
            if file.is_file() and file.name != "greenmail.lock":  # which tells that the holder is dead
                file.unlink()
        assert read(path) == after
        shutil.rmtree(path)
    assert trials > 3
