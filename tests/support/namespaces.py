"""Accounts with several namespaces over Maildirs in a directory, for the storage tests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime, direct
from greenmail.storage.api import Mailbox
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_namespaces import NamespacesStore
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.namespace_names import Kind, Listed, Space
from greenmail.storage.namespaces import NamespacesAccount

OWN = Space(Kind.PRIVATE, is_inbox=True)
ALIAS = Space(Kind.PRIVATE, "INBOX.", ".", listed=Listed.NO, hidden=True, alias_for="")
SHARED = Space(Kind.SHARED, "shared/%u/", listed=Listed.CHILDREN, subscriptions=False)
PUBLIC = Space(Kind.PUBLIC, "Public/", subscriptions=False)
ARCHIVE = Space(Kind.PRIVATE, "Archive/")
ALL = (OWN, ALIAS, SHARED, PUBLIC, ARCHIVE)


@dataclass
class Spool:
    """Users' Maildirs in `home`, a public root, and archives; every `worker` is as another process."""

    path: Path
    spaces: tuple[Space, ...] = ALL
    users: tuple[str, ...] = ("alice", "bob", "carol")
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for user in self.users:
            self.box(self.home(user))
        self.public.mkdir(exist_ok=True)

    def home(self, user: str) -> Path:
        return self.path / "home" / user

    @property
    def public(self) -> Path:
        return self.path / "public"

    def box(self, directory: Path, acl: str | None = None, shared: bool = False) -> Path:
        """Make a mailbox directory, with this access control list."""
        for part in ("cur", "new", "tmp"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        if acl is not None:
            (directory / "dovecot-acl").write_text(acl)
        if shared:
            (directory / "dovecot-shared").touch()
        return directory

    def deliver(self, directory: Path, number: int, flags: str = "") -> None:
        """A message in `cur`."""
        name = f"{1_700_000_000 + number}.M{number}P1.mx:2,{flags}"
        (directory / "cur" / name).write_bytes(b"From: a@example.org\nSubject: %d\n\nHello\n" % number)

    def settings_of(self, user: str) -> Callable[[Space, str], MaildirSettings]:
        def settings(space: Space, owner: str) -> MaildirSettings:
            if space.kind is Kind.SHARED:
                if owner not in self.users:
                    raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.")
                return MaildirSettings(str(self.home(owner)), create_mail_path=False, owner=owner, **self.settings)
            if space.kind is Kind.PUBLIC:
                rights = "".join(space.default_rights)
                return MaildirSettings(
                    str(self.public), create_mail_path=False, owner="", default_rights=rights, **self.settings
                )
            where = self.home(user) if space.is_inbox else self.path / "archive" / user
            inner: dict[str, Any] = {"prefix": space.prefix, "separator": space.separator} if space.is_inbox else {}
            return MaildirSettings(str(where), **inner, **self.settings)

        return settings

    def worker(self, runtime: Runtime | None = None, files: Files | None = None) -> "Worker":
        return Worker(self, NamespacesStore(MaildirStore(runtime or direct(), files=files)))


@dataclass
class Worker:
    """One process: its accounts share mailbox objects."""

    spool: Spool
    store: NamespacesStore

    def account(self, user: str = "alice") -> NamespacesAccount:
        return self.store.open_account(
            user, self.spool.spaces, self.spool.settings_of(user), lambda space: list(self.spool.users)
        )


def shown(mailbox: Mailbox) -> dict[int, frozenset[str]]:
    """The flags of every message, looked at now."""
    mailbox.look()
    table = mailbox.table
    return {uid: table.flags_of(row) for row, uid in enumerate(table.uids)}


def furnished(path: Path) -> Spool:
    """Of bob, alice sees Work; of carol, INBOX; of the public mailboxes, News."""
    found = Spool(path)
    bob, carol = found.home("bob"), found.home("carol")
    found.box(found.home("alice") / ".Work")
    found.deliver(found.box(bob / ".Work", "user=alice lrwstipekxa\n"), 1, "S")
    found.deliver(bob / ".Work", 2)
    found.box(bob / ".Work.Deep", "user=alice lr\n")
    found.box(bob / ".Secret")
    found.box(carol, "user=alice lrs\n")
    found.deliver(found.box(found.public / ".News", "anyone lrwstipe\n", shared=True), 1, "S")
    found.deliver(found.public / ".News", 2)
    found.box(found.public / ".Quiet")
    return found


def refusal(work: object) -> Reason:
    """Why it was refused."""
    with pytest.raises(StorageError) as caught:
        work()  # type: ignore[operator]  # any callable
    return caught.value.reason
