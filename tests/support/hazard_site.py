"""A Maildir account whose system calls a test may watch, and fail."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

Hook = Callable[..., Any]  # hook(*args of the system call)


class Site:
    """A Maildir; `before` and `fail` act right before system calls of the next matching name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: dict[str, Hook] = {}
        self.fail: dict[str, int] = {}
        self.calls: list[tuple[str, Any]] = []

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        self.calls.append((name, args[0] if args else None))
        hook = self.before.get(name)
        if hook is not None and hook(*args):
            self.before.pop(name, None)
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))
        return function(*args)

    def worker(self, **settings: Any) -> MaildirAccount:
        made = MaildirSettings(mail_path=str(self.path), lock_timeout=1.0, **settings)
        return MaildirStore(direct(), files=Files(self.call)).open_account("alice", made)

    def deliver(self, name: str, data: bytes = b"Subject: hi\n\nbody\n", where: str = "new") -> None:
        (self.path / "tmp" / "x").write_bytes(data)
        os.rename(self.path / "tmp" / "x", self.path / where / name)

    def bodies(self) -> list[bytes]:
        """What lies in all mailboxes."""
        return sorted(
            file.read_bytes() for part in ("new", "cur") for file in self.path.glob(f"**/{part}/*") if file.is_file()
        )


def box(account: MaildirAccount, name: str) -> MaildirMailbox:
    mailbox = account.open(name)
    assert isinstance(mailbox, MaildirMailbox)
    return mailbox


def put(mailbox: MaildirMailbox, data: bytes, *given: str) -> int:
    upload = mailbox.upload()
    upload.write(data)
    upload.flags = frozenset(given)
    return mailbox.save([upload])[0]
