"""An account with a quota, and what changes how much it holds."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota_rules import QuotaRules, from_user

BODY = b"Subject: x\r\n\r\n" + b"0123456\r\n" * 8  # 86 octets with CRLF, 76 on disk
SIZE = 76
OVER = Reason.OVER_QUOTA


@dataclass
class Clock:
    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Place:
    """One account, of which several workers may be made."""

    maildir: Path
    clock: Clock = field(default_factory=Clock)
    rules: QuotaRules = field(default_factory=QuotaRules)
    calls: list[str] = field(default_factory=list)
    fail: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def _call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if args and isinstance(args[0], bytes) and b"maildirsize" in args[0]:
            self.calls.append(name)
        self.fail(name, args)
        return function(*args)

    def open(self, **settings: Any) -> MaildirAccount:
        store = MaildirStore(replace(direct(), now=self.clock), files=Files(self._call))
        self.store = store
        return store.open_account("alice", self.settings(**settings))

    def settings(self, **settings: Any) -> MaildirSettings:
        return MaildirSettings(mail_path=str(self.maildir), **{"quota": self.rules, **settings})

    @property
    def file(self) -> Path:
        return self.maildir / "maildirsize"

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines()

    def write(self, text: str, age: float = 0) -> None:
        self.file.write_text(text)
        os.utime(self.file, (self.clock.time - age,) * 2)


def limited(place: Place, **extra: str) -> MaildirAccount:
    place.rules, problems = from_user(extra, place.rules)
    assert not problems
    return place.open()


def save(account: Any, name: str = "INBOX", number: int = 1, body: bytes = BODY) -> list[int]:
    mailbox = account.open(name)
    try:
        uploads = []
        for _ in range(number):
            uploads.append(mailbox.upload())
            uploads[-1].write(body)
        try:
            return list(mailbox.save(uploads))
        finally:
            for upload in uploads:
                upload.abort()
    finally:
        mailbox.close()


def remove(account: Any, name: str, uids: list[int]) -> None:
    mailbox = account.open(name)
    mailbox.store(uids, FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    mailbox.expunge(uids)
    mailbox.close()


def transfer(account: Any, uids: list[int], source: str, target: str, moves: bool) -> None:
    a, b = account.open(source), account.open(target)
    try:
        (a.move if moves else a.copy)(uids, b)
    finally:
        a.close()
        b.close()


def refused(what: Callable[[], object]) -> bool:
    try:
        what()
    except StorageError as error:
        assert error.reason is OVER
        return True
    return False


def used(account: Any) -> tuple[int, int]:
    (root,) = account.quota_roots("INBOX")
    found = account.quota(root)
    return found.storage_used, found.messages_used
