"""Namespaces over Maildirs: where the mail of each is, and one `NamespacesAccount` a user and worker.

Who has something to show in a namespace of others' mail is found by the access control lists: only accounts with such a
file anywhere are asked at all. It is looked for in the pool, at each LIST: nothing is remembered that could be out of
date.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from greenmail.errors import StorageError
from greenmail.storage.account import MaildirAccount
from greenmail.storage.acl_file import COURIER_FILE, FILE
from greenmail.storage.api import Account, Mailbox
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.metadata import PRIVATE_DIRECTORY, MetadataFile
from greenmail.storage.namespace_names import Kind, Space, not_found
from greenmail.storage.namespaces import NamespacesAccount
from greenmail.storage.places import Places
from greenmail.storage.seen_file import SeenFile
from greenmail.storage.subscriptions import Subscriptions
from greenmail.storage.url_keys import UrlKeys

log = logging.getLogger(__name__)

_DEPTH = 20  # levels of directories in which a list is looked for
_NO_MAILBOX = frozenset([b"cur", b"new", b"tmp", b"greenmail-data", b"greenmail-fulltext"])

SettingsOf = Callable[[Space, str], MaildirSettings]  # raises StorageError: there is no such user
Everybody = Callable[[Space], list[str]]


class NamespacesStore:
    """Every such account of one worker."""

    def __init__(self, store: MaildirStore) -> None:
        self._store = store
        self._accounts: dict[str, NamespacesAccount] = {}
        self._settings: dict[str, MaildirSettings] = {}  # of the users' own mail, which the user database may change

    def open_account(
        self, user: str, spaces: Sequence[Space], settings_of: SettingsOf, everybody: Everybody
    ) -> NamespacesAccount:
        """A reference to the account of `user`. Raises StorageError if there is no mail and none may be made."""
        own = settings_of(next(space for space in spaces if space.is_inbox), "")
        account = self._accounts.get(user)
        if account is None or account.spaces != tuple(spaces) or self._settings.get(user) != own:
            mails = MaildirMails(self._store, user, settings_of, everybody)
            account = self._accounts[user] = NamespacesAccount(user, spaces, mails, self._forget)
            self._settings[user] = own
        account.references += 1
        return account

    def _forget(self, account: NamespacesAccount) -> None:
        if self._accounts.get(account.user) is account:
            del self._accounts[account.user]
            self._settings.pop(account.user, None)


class MaildirMails:
    """`namespace_mails.Mails`, for one user."""

    def __init__(self, store: MaildirStore, user: str, settings_of: SettingsOf, everybody: Everybody) -> None:
        self.runtime = store.shared.runtime
        self._store = store
        self._files: Files = store.shared.files
        self._user = user
        self._settings_of = settings_of
        self._everybody = everybody
        self._own: MaildirAccount | None = None

    @property
    def subscriptions(self) -> Subscriptions:
        """The user's own file."""
        return self._inbox.subscriptions_file

    @property
    def _inbox(self) -> MaildirAccount:
        assert self._own is not None, "INBOX's namespace is opened first"
        return self._own

    def open(self, space: Space, owner: str) -> Account:
        """A reference to the account."""
        settings = self._settings_of(space, owner)
        if space.kind is Kind.PRIVATE and not space.is_inbox and settings.create_mail_path:
            # Only the root, which is no mailbox as long as nobody makes it one.
            with refusing("The mail directory cannot be made"):
                places = Places(self._files, settings)
                places.make(places.root)
            settings = replace(settings, create_mail_path=False)
        if not space.is_inbox and not os.path.isdir(settings.mail_path):
            if space.kind is not Kind.SHARED:
                log.warning(
                    "namespace prefix=%r user=%r: no directory %r", space.prefix, self._user, settings.mail_path
                )
            raise not_found()
        account = self._store.open_account(self._user, settings)
        if space.is_inbox:
            self._own = account
        return account

    def owners(self, space: Space) -> list[str]:
        """Those with an access control list anywhere."""
        roots: list[tuple[str, list[tuple[bytes, int]]]] = []
        for owner in self._everybody(space):
            try:
                settings = self._settings_of(space, owner)
            except StorageError as error:
                log.debug("namespace prefix=%r owner=%r error=%r", space.prefix, owner, error.text)
                continue
            places = [(os.fsencode(settings.mail_path), _DEPTH if settings.layout == "fs" else 1)]
            if settings.inbox_path:
                places.append((os.fsencode(settings.inbox_path), 0))
            roots.append((owner, places))
        found: list[str] = self.runtime.blocking(_sharing, self._files, roots)
        return sorted(found)

    def has_root(self, account: Account) -> bool:
        """Whether there is a `cur` in the root."""
        assert isinstance(account, MaildirAccount), "an account of another store"
        return os.path.isdir(os.path.join(account.settings.mail_path, account.settings.mailbox_directory, "cur"))

    def is_shared(self, mailbox: Mailbox) -> bool:
        """Whether there is a `dovecot-shared` in the mailbox directory."""
        assert isinstance(mailbox, MaildirMailbox), "a mailbox of another store"
        return os.path.lexists(mailbox.box.place.directory + b"/dovecot-shared")

    @property
    def url_keys(self) -> UrlKeys:
        """Those of INBOX's account."""
        return self._inbox.url_keys

    def metadata_file(self, mailbox_id: str) -> MetadataFile:
        """In the user's own `greenmail-data`."""
        data = Places(self._files, self._inbox.settings).data
        waiting = Waiting(self.runtime.sleep, self.runtime.now, self._inbox.settings.lock_timeout)
        name = PRIVATE_DIRECTORY + b"/" + mailbox_id.encode("ascii")
        return MetadataFile(self._files, data, name, waiting, self._inbox.counts.admit_annotations)

    def seen_file(self, mailbox_id: str) -> SeenFile:
        """In the user's own `greenmail-data`. It is used in the pool, so waiting there means sleeping."""
        data = Places(self._files, self._inbox.settings).data
        waiting = Waiting(time.sleep, self.runtime.now, self._inbox.settings.lock_timeout)
        return SeenFile(self._files, data, mailbox_id, waiting)


def _sharing(files: Files, roots: Sequence[tuple[str, Sequence[tuple[bytes, int]]]]) -> list[str]:
    """In the pool: the owners in whose mail, given by directories and the levels below them, there is a list."""
    return [owner for owner, places in roots if any(_has_list(files, path, depth) for path, depth in places)]


def _has_list(files: Files, directory: bytes, depth: int) -> bool:
    if any(os.path.lexists(directory + b"/" + name) for name in (FILE, COURIER_FILE)):
        return True
    if depth == 0:
        return False
    try:
        entries = files.scan(directory)
    except OSError as error:
        log.debug("namespace path=%r error=%s", directory, error)
        return False
    for entry in entries:
        if entry.name in _NO_MAILBOX or not (entry.is_directory or entry.is_symlink):
            continue
        # A link may lead round in a circle.
        if _has_list(files, directory + b"/" + entry.name, 0 if entry.is_symlink else depth - 1):
            return True
    return False
