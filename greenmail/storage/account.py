"""The Maildir store: one `MaildirStore` a worker, one shared `MaildirAccount` a user.

CREATE, DELETE and RENAME change directories under mailboxes that others may have open. DELETE and RENAME therefore
first take the `flock` of every mailbox they touch, in the order of their names, so that nobody of ours is in the midst
of a change there; afterwards every object that was opened by the old path is gone.
"""

import contextlib
import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime
from greenmail.storage.api import Folder, Mailbox, Namespace, Quota, is_inbox
from greenmail.storage.directory_lock import DirectoryLock
from greenmail.storage.filesystem import Files, ownership, refusing, sync_names
from greenmail.storage.folder_names import Encoding, Layout, detect_encoding
from greenmail.storage.folders import Folders, purge, set_aside_name
from greenmail.storage.lock_rules import LockRules
from greenmail.storage.locks import Owner, Waiting
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box, Context, Place
from greenmail.storage.maildir_name import UniqueNames
from greenmail.storage.maildir_open import open_box
from greenmail.storage.quota import Maildirsize
from greenmail.storage.quota_rules import QuotaRules
from greenmail.storage.shared import SharedMailboxes
from greenmail.storage.special_use import SpecialUse
from greenmail.storage.subscriptions import Subscriptions
from greenmail.storage.uidlist import Uidlist
from greenmail.storage.uidvalidity import next_uidvalidity

log = logging.getLogger(__name__)

_PARTS = (b"tmp", b"new", b"cur")


@dataclass(frozen=True, slots=True)
class MaildirSettings:
    """How one user's mail lies on disk; named as the settings are, with every path expanded."""

    mail_path: str
    control_path: str = ""  # where dovecot-uidlist and its kind are; empty: in the mailbox directories
    inbox_path: str = ""  # empty: the root itself
    index_path: str = ""  # where greenmail.index, .log and .cache are; empty: in the mailbox directories
    mailbox_names: str = "auto"  # auto, mutf7, utf8
    name_escape: str = ""
    prefix: str = ""
    separator: str = "/"
    special_use: Mapping[str, str] = field(default_factory=dict)  # mailbox name -> attribute
    auto_create: tuple[str, ...] = ()
    create_mail_path: bool = True
    lock_timeout: float = 30.0
    lock_host: str = ""
    coexistence: str = "none"  # none, dovecot
    quota: QuotaRules = field(default_factory=QuotaRules)


class MaildirStore:
    """Every account and mailbox object of one worker. Make it after fork."""

    def __init__(self, runtime: Runtime, cache_memory: int = 256 << 20, files: Files | None = None) -> None:
        """`cache_memory`: octets of mailboxes that are kept although nobody has them open."""
        # Assertions for tests and for people who look for a bug.
        self.rules = LockRules(runtime) if os.environ.get("GREENMAIL_DEBUG") else None
        self.runtime = self.rules.runtime(runtime) if self.rules else runtime
        self.files = (files or Files()).through(self.rules.call) if self.rules else files or Files()
        self.mailboxes = SharedMailboxes(cache_memory)
        self._accounts: dict[tuple[str, str], MaildirAccount] = {}
        self._unique: dict[str, UniqueNames] = {}
        self._quotas: weakref.WeakValueDictionary[bytes, Maildirsize] = weakref.WeakValueDictionary()

    def open_account(self, user: str, settings: MaildirSettings) -> "MaildirAccount":
        """A reference to the account of `user`. Raises StorageError if there is no mail and none may be made."""
        key = (user, settings.mail_path)
        account = self._accounts.get(key)
        if account is None or account.settings != settings:
            account = self._accounts[key] = MaildirAccount(self, user, settings)
        account.references += 1
        return account

    def forget(self, account: "MaildirAccount") -> None:
        """Nobody uses it any more."""
        key = (account.user, account.settings.mail_path)
        if self._accounts.get(key) is account:
            del self._accounts[key]

    def unique_names(self, host: str) -> UniqueNames:
        """One maker of names for the whole process: two could make the same name."""
        return self._unique.setdefault(host, UniqueNames(host, self.runtime.now))

    def quota(self, control: bytes) -> Maildirsize:
        """The one object for the file in this directory: mailboxes opened before have the newest settings, too."""
        return self._quotas.setdefault(control, Maildirsize(self.files, self.runtime, control))


class MaildirAccount:
    """`api.Account` over a Maildir++ root."""

    def __init__(self, store: MaildirStore, user: str, settings: MaildirSettings) -> None:
        self.user = user
        self.settings = settings
        self.separator = settings.separator
        self.personal = Namespace(settings.prefix, settings.separator)
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()
        self.references = 0
        self._is_purged = False
        self._store = store
        self._files = store.files
        self._root = os.fsencode(settings.mail_path.rstrip("/") or "/")
        self._control = os.fsencode(settings.control_path.rstrip("/"))
        self._inbox = os.fsencode(settings.inbox_path.rstrip("/")) or self._root
        self._prepare()
        layout = Layout(
            root=self._root,
            separator=settings.separator,
            prefix=settings.prefix,
            encoding=self._encoding(),
            name_escape=settings.name_escape,
        )
        host = settings.lock_host or os.uname().nodename
        waiting = Waiting(store.runtime.sleep, store.runtime.now, settings.lock_timeout)
        control = self._control or self._root
        self._folders = Folders(self._files, layout)
        self._subscriptions = Subscriptions(self._files, layout, waiting, self._control)
        self._uses = SpecialUse(self._files, control + b"/greenmail-data", settings.special_use)
        self._waiting = waiting
        self._quota = store.quota(control)
        self._quota.configure(settings.quota, settings.prefix, settings.separator, waiting, self._directories)
        self._context = Context(
            files=self._files,
            runtime=store.runtime,
            rules=store.rules,
            owner=Owner.this_process(host),
            waiting=waiting,
            unique=store.unique_names(host),
            tracks_modseq=settings.coexistence == "none",
            new_uidvalidity=lambda: next_uidvalidity(self._files, control, store.runtime.now()),
            quota=self._quota,
        )
        self._auto_create()

    def _prepare(self) -> None:
        """Root and INBOX are there, or made: formats.md 2.8."""
        if not os.path.isdir(self._root) and not self.settings.create_mail_path:
            raise StorageError(Reason.NOT_FOUND, "There is no mail for this user.")
        with refusing("The mail directory cannot be made"):
            wanted = []
            if self.settings.create_mail_path:
                wanted += [self._root, self._inbox, *(self._inbox + b"/" + part for part in _PARTS)]
            if self._control:
                wanted.append(self._control)
            self._make(*wanted)

    def _make(self, *paths: bytes) -> None:
        """Make directories with all above them that are missing; durable when it returns."""
        changed: dict[bytes, None] = {}
        for path in paths:
            self._make_one(path, changed)
        for above in changed:
            sync_names(self._files, above)

    def _make_one(self, path: bytes, changed: dict[bytes, None]) -> None:
        """Adds to `changed` in what something was made, also by somebody else just now."""
        if os.path.isdir(path):
            return
        above = os.path.dirname(path)
        if not os.path.isdir(above):
            self._make_one(above, changed)
        owner = ownership(self._files.stat(above))
        if path in (self._root, self._control):  # mail is nobody else's, whatever the directory above allows
            owner = type(owner)(0o600, 0o700, None)
        try:
            self._files.make_directory(path, owner)
        except FileExistsError:
            log.debug("made-by-another path=%r", path)
        except PermissionError:
            if path.startswith(self._inbox + b"/"):
                return  # a read-only Maildir without tmp/ can be read all the same
            raise
        changed[above] = None

    def _encoding(self) -> Encoding:
        if self.settings.mailbox_names == "auto":
            return detect_encoding(self._files, self._root)
        return Encoding(self.settings.mailbox_names)

    def _auto_create(self) -> None:
        for name in self.settings.auto_create:
            try:
                self.create(name)
            except StorageError as error:
                if error.reason is not Reason.EXISTS:
                    log.warning("auto-create user=%r mailbox=%r error=%r", self.user, name, error.text)

    # Mailboxes

    def folders(self) -> list[Folder]:
        """All mailboxes and the missing parents of mailboxes."""
        self._purge()
        uses = self._uses.read()
        given: set[str] = set()
        found: list[Folder] = []
        for folder in self._folders.listing():
            mine = tuple(use for use in uses.get(folder.name, ()) if use not in given) if folder.selectable else ()
            given.update(mine)
            found.append(Folder(folder.name, folder.selectable, folder.has_children, mine) if mine else folder)
        return found

    def _purge(self) -> None:
        """Once an account object: what was left behind long ago goes, `formats.md` 4.4."""
        if not self._is_purged:
            self._is_purged = True
            for root in {self._root, self._control} - {b""}:
                error = self._store.runtime.blocking(_purge_root, self._files, root, self._store.runtime.now())
                if error is not None:
                    log.warning("purge path=%r error=%s", root, error)

    def _place(self, name: str) -> tuple[Place, str]:
        """Where an existing mailbox is, and its one spelling."""
        directory = self._folders.find(name)
        at_root = directory == self._root
        if at_root:
            name, directory = "INBOX", self._inbox
        elif is_inbox(name[:5]) and name[5:6] == self.separator:
            name = "INBOX" + name[5:]
        return self._place_of(directory, at_root), name

    def _place_of(self, directory: bytes, at_root: bool) -> Place:
        control = directory
        if self._control:
            # Dovecot keeps INBOX's below `.INBOX` there, also with INBOX elsewhere.
            control = self._control + (b"/.INBOX" if at_root else b"/" + os.path.basename(directory))
        return Place(directory, control, os.fsencode(self.settings.index_path.rstrip("/")), at_root)

    def open(self, name: str) -> Mailbox:
        """A reference to the mailbox, looked at."""
        return self._open(name)

    def _open(self, name: str) -> MaildirMailbox:
        place, name = self._place(name)
        if self._control:
            with refusing("The control directory cannot be made"):
                self._make(place.control)
        with refusing("The mailbox cannot be opened"):
            found = self._files.stat(place.directory)
        identity = (found.st_dev, found.st_ino)
        for _ in range(2):
            mailbox = self._store.mailboxes.get(identity, place, lambda: self._box(place, name))
            is_open = False
            try:
                mailbox.look()
                is_open = True
                return mailbox
            except StorageError as error:
                if error.reason is not Reason.GONE:
                    raise
            finally:
                if not is_open:
                    mailbox.close()
        raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.")

    def _box(self, place: Place, name: str) -> Box:
        return open_box(self._context, place, name)

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        """Make a mailbox; its mailbox_id."""
        name = name.removesuffix(self.separator)
        self._folders.create(name)
        log.info("mailbox-created user=%r name=%r", self.user, name)
        uses = tuple(special_use)
        if uses:
            self._uses.add(name, uses)
        mailbox = self._open(name)
        try:
            return mailbox.mailbox_id
        finally:
            mailbox.close()

    @contextlib.contextmanager
    def _quiet(self, directories: Iterable[bytes]) -> Iterator[None]:
        """Nobody of ours is changing anything in these mailboxes, nor does Dovecot as far as its lock tells."""
        with contextlib.ExitStack() as held:
            for directory in sorted(directories):
                place = self._place_of(directory, False)
                held.enter_context(DirectoryLock(self._files, directory, place.control, self._waiting))
            yield

    def delete(self, name: str) -> None:
        """Make a mailbox vanish."""
        try:
            place, name = self._place(name)
        except StorageError:
            self._folders.delete(name)  # which says why not
            raise
        if place.is_inbox:
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted.")
        index = self._index_directory(place)
        with self._quiet([place.directory]):
            storage, messages = self._quota.weigh(place.directory)
            trash = self._folders.delete(name)
            self._quota.charge(name, -storage, -messages)
            # Aside while we hold the lock: whoever makes a mailbox of this name afterwards keeps his own uidlist.
            control = self._set_aside(place.control) if place.control != place.directory else b""
        self._store.mailboxes.leave(place.directory)
        self._uses.rename([(name, "")])
        log.info("mailbox-deleted user=%r name=%r", self.user, name)
        if trash:
            self._remove(trash)
        if control:
            self._remove(control)
        if index:
            self._remove(index)

    def _set_aside(self, control: bytes) -> bytes:
        """Give a control directory a name that is no mailbox's; its new path, or empty if there was none."""
        aside = self._control + b"/" + set_aside_name()
        with refusing("The control directory cannot be removed"):
            try:
                self._files.rename(control, aside)
            except FileNotFoundError:
                return b""
        return aside

    def _index_directory(self, place: Place) -> bytes:
        """Where the index files of a mailbox are, if that is not its own directory."""
        if not place.index_root:
            return b""
        uidlist = Uidlist(self._files, place.control + b"/dovecot-uidlist")
        uidlist.refresh(locked=False)
        return place.index_root + b"/" + uidlist.guid if uidlist.guid else b""

    def _remove(self, path: bytes) -> None:
        """The mailbox is gone already; what cannot be removed now goes with the next purge."""
        error = self._store.runtime.blocking(_remove_tree, self._files, path)
        if error is not None:
            log.warning("remove path=%r error=%s", path, error)

    def rename(self, old: str, new: str) -> None:
        """Rename with all children; INBOX: move its messages."""
        if is_inbox(old):
            self._rename_inbox(new)
            return
        moving = [
            folder.name for folder in self._folders.listing() if folder.selectable and self._is_in(folder.name, old)
        ]
        directories = {name: self._folders.find(name) for name in moving}
        with self._quiet(directories.values()):
            pairs = self._folders.rename(old, new)
            try:
                self._rename_controls(pairs, directories)
            except StorageError:
                self._folders.rename(new, old)
                raise
        for directory in directories.values():
            self._store.mailboxes.leave(directory)
        self._recharge(pairs)
        self._uses.rename(pairs)
        log.info("mailbox-renamed user=%r old=%r new=%r", self.user, old, new)

    def _recharge(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Renamed mailboxes may be counted now and have not been before, or the other way."""
        for old, new in pairs:
            if self._quota.counts(old) != self._quota.counts(new):
                with contextlib.suppress(StorageError):  # it is gone already, and whoever removed it saw to it
                    storage, messages = self._quota.weigh(self._folders.find(new))
                    self._quota.charge(old, -storage, -messages)  # of these two, one does nothing
                    self._quota.charge(new, storage, messages)

    def _is_in(self, name: str, parent: str) -> bool:
        return name != "INBOX" and (name == parent or name.startswith(parent + self.separator))

    def _rename_controls(self, pairs: Sequence[tuple[str, str]], directories: Mapping[str, bytes]) -> None:
        """Control directories go with their mailboxes, or these would get new UIDs."""
        if not self._control:
            return
        done: list[tuple[bytes, bytes]] = []
        try:
            for old, new in pairs:
                source = self._place_of(directories[old], False).control
                target = self._place_of(self._folders.find(new), False).control
                if os.path.isdir(source):
                    self._set_aside(target)
                    with refusing("The control directory cannot be renamed"):
                        self._files.rename(source, target)
                    done.append((source, target))
        except StorageError:
            for source, target in reversed(done):
                try:
                    self._files.rename(target, source)
                except OSError as error:
                    log.error("rename-back source=%r target=%r error=%s", target, source, error)
            raise

    def _rename_inbox(self, new: str) -> None:
        """The messages move; INBOX and what is below it stay. RFC 9051 6.3.6."""
        self.create(new)
        inbox, target = self._open("INBOX"), self._open(new.removesuffix(self.separator))
        try:
            inbox.move(list(inbox.table.uids), target)
        finally:
            inbox.close()
            target.close()

    # Quota

    def _directories(self) -> list[tuple[str, bytes]]:
        """Every mailbox with its directory."""
        found = []
        for folder in self._folders.listing():
            if folder.selectable:
                with contextlib.suppress(StorageError):  # it went meanwhile
                    found.append((folder.name, self._place(folder.name)[0].directory))
        return found

    def quota_roots(self, name: str) -> list[str]:
        """The quota root, if a mailbox of this name is counted."""
        root = self._quota.root() if self._quota.counts("INBOX" if is_inbox(name) else name) else None
        return [root] if root is not None else []

    def quota(self, root: str) -> Quota:
        """What is used and allowed now."""
        found = self._quota.quota() if root == self._quota.rules.root else None
        if found is None:
            raise StorageError(Reason.NOT_FOUND, "There is no such quota root.")
        return found

    # Subscriptions

    def subscriptions(self) -> list[str]:
        """Subscribed names in the order of the file."""
        return self._subscriptions.names()

    def subscribe(self, name: str) -> None:
        """Raises NOT_FOUND if there is no such mailbox."""
        self._subscriptions.add(self._place(name)[1])

    def unsubscribe(self, name: str) -> None:
        """Does nothing if not subscribed."""
        name = "INBOX" if is_inbox(name) else name
        if name in self._subscriptions.names():
            self._subscriptions.remove(name)

    def watched(self) -> tuple[str, ...]:
        """The root: mailboxes are its entries."""
        return (os.fsdecode(self._root),)

    def close(self) -> None:
        """Give back this reference."""
        self.references -= 1
        if self.references == 0:
            self._store.forget(self)


def _purge_root(files: Files, root: bytes, now: float) -> OSError | None:
    try:
        purge(files, root, now)
    except OSError as error:
        return error
    return None


def _remove_tree(files: Files, path: bytes) -> OSError | None:
    try:
        files.remove_tree(path)
    except OSError as error:
        return error
    return None
