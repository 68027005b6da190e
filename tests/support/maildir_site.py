"""A Maildir on the disk with any number of workers on it, and what other programs do there."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenmail.runtime import Runtime, direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

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
