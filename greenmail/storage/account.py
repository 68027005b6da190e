"""One user's mail: `api.Account` over Maildirs.

CREATE, DELETE and RENAME change directories under mailboxes that others may have open. DELETE and RENAME therefore
first take the `flock` of every mailbox they touch, in the order of their names, so that nobody of ours is in the midst
of a change there; afterwards every object that was opened by the old path is gone.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from greenmail.errors import Reason, StorageError
from greenmail.storage.access import Access
from greenmail.storage.acl import Viewer
from greenmail.storage.acl_file import AclFiles
from greenmail.storage.api import (
    AclAction,
    AclEntry,
    Folder,
    Mailbox,
    Namespace,
    Quota,
    QuotaLimits,
    Rights,
    Scope,
    is_inbox,
)
from greenmail.storage.controls import Controls
from greenmail.storage.directory_lock import DirectoryLock, distinct
from greenmail.storage.filesystem import refusing
from greenmail.storage.folders import drop_empty
from greenmail.storage.layouts import folders_of, layout_of
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box, Context, Place
from greenmail.storage.maildir_open import open_box
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.metadata import FILE, PRIVATE, SERVER_FILE, MetadataFile, files_beside, shared_of
from greenmail.storage.places import Places
from greenmail.storage.presence import is_there
from greenmail.storage.quota import Around
from greenmail.storage.quota_counts import QuotaCounts
from greenmail.storage.quota_set import SetLimits
from greenmail.storage.shared import Shared
from greenmail.storage.special_use import SpecialUse
from greenmail.storage.subscriptions import Subscriptions
from greenmail.storage.text_place import TextPlace
from greenmail.storage.trash import attempt, remove
from greenmail.storage.uidvalidity import next_uidvalidity
from greenmail.storage.url_key_file import UrlKeyFile

log = logging.getLogger(__name__)

_MANY = 200  # directories that are not listed on the event loop


class MaildirAccount:
    """See the module's text; made by `MaildirStore`."""

    def __init__(
        self, shared: Shared, user: str, settings: MaildirSettings, closed: Callable[["MaildirAccount"], None]
    ) -> None:
        """`closed` is told when nobody uses it any more."""
        self.user = user
        self.owner = user if settings.owner is None else settings.owner
        self.settings = settings
        self.separator = settings.separator
        self.personal = Namespace(settings.prefix, settings.separator)
        self.more_personal: tuple[Namespace, ...] = ()
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()
        self.made = time.monotonic()
        self.references = 0
        self._is_purged = False
        self._worker = shared
        self._closed = closed
        self._files = shared.files
        self._places = Places(self._files, settings)
        self._places.prepare(settings.create_mail_path, shared.runtime.now())
        layout = layout_of(self._files, settings, self._places)
        host = settings.lock_host or os.uname().nodename
        self._waiting = waiting = Waiting(shared.runtime.sleep, shared.runtime.now, settings.lock_timeout)
        control = self._places.common
        self._folders = folders_of(self._files, layout, self._places)
        self._controls = Controls(self._files, self._places, waiting)
        self._subscriptions = Subscriptions(self._files, layout, waiting, self._places.control)
        self.url_keys = UrlKeyFile(self._files, self._places.data, waiting)
        self._uses = SpecialUse(self._files, self._places.data, settings.special_use, waiting)
        self._acls = AclFiles(self._files, waiting, shared.runtime.now, self._places, settings)
        viewer = Viewer(user, self.owner, frozenset(settings.groups))
        self._access = Access(viewer, self._acls, lambda name: self._place(name)[0].directory, settings.separator)
        self._quota = shared.quota(control)
        set_limits = SetLimits(self._files, self._places.data, waiting)
        self._around = Around(settings.prefix, settings.separator, waiting, self._directories, set_limits)
        self._quota.configure(settings.quota, self._around)
        self.counts = QuotaCounts(self._files, shared.runtime, self._quota, self._list, self._annotation_files)
        self._context = Context(
            files=self._files,
            runtime=shared.runtime,
            rules=shared.rules,
            owner=shared.owner(host),
            waiting=waiting,
            unique=shared.unique_names(host),
            tracks_modseq=settings.coexistence == "none",
            new_uidvalidity=lambda: next_uidvalidity(self._files, control, shared.runtime.now()),
            quota=self._quota,
            unpacked=shared.unpacked,
            max_unpacked_size=settings.max_unpacked_size,
            max_keywords=settings.max_keywords,
            text=TextPlace(self._places.text, self._directories) if settings.full_text_search else None,
        )
        self._auto_create()

    def _auto_create(self) -> None:
        for name in self.settings.auto_create:
            try:
                self.create(name)
            except StorageError as error:
                if error.reason is not Reason.EXISTS:
                    log.warning("auto-create user=%r mailbox=%r error=%r", self.user, name, error.text)

    def scope(self, text: str) -> Scope:
        """There is one namespace."""
        return self

    @property
    def subscriptions_file(self) -> Subscriptions:
        """Where those to mailboxes of other namespaces stand, too."""
        return self._subscriptions

    # Mailboxes

    def folders(self) -> list[Folder]:
        """All mailboxes and the missing parents of mailboxes."""
        self._purge()
        uses = self._uses.read()
        given: set[str] = set()
        found: list[Folder] = []
        for folder in self._list():
            mine = tuple(use for use in uses.get(folder.name, ()) if use not in given) if folder.selectable else ()
            given.update(mine)
            found.append(Folder(folder.name, folder.selectable, folder.has_children, mine) if mine else folder)
        return self._access.visible(found)

    def _list(self) -> list[Folder]:
        """What is on disk; in the pool if that is much. Made of the settings and the disk alone."""
        with refusing("The mailboxes cannot be listed"):
            found = self._files.stat(self._places.root)
        is_long_work = found.st_nlink > _MANY or found.st_size > _MANY * 32
        listed = self._worker.runtime.blocking(self._folders.listing) if is_long_work else self._folders.listing()
        assert isinstance(listed, list)
        return listed

    def _purge(self) -> None:
        """Once an account object: what was left behind long ago goes, `formats.md` 4.4."""
        if not self._is_purged:
            self._is_purged = True
            blocking, now = self._worker.runtime.blocking, self._worker.runtime.now()
            error = blocking(attempt, self._folders.purge_trash, now)
            error = error or blocking(attempt, self._controls.purge, now)
            if error is not None:
                log.warning("purge path=%r error=%s", self._places.root, error)

    def _place(self, name: str) -> tuple[Place, str]:
        """Where an existing mailbox is, and its one spelling."""
        directory = self._folders.find(name)
        at_root = directory == self._places.root
        if at_root:
            name, directory = "INBOX", self._places.inbox
        return self._places.of(directory, at_root), self._spelled(name)

    def _spelled(self, name: str) -> str:
        """The one spelling of a name: INBOX as a first level comes in any case."""
        return "INBOX" + name[5:] if is_inbox(name[:5]) and name[5:6] == self.separator else name

    def open(self, name: str, looks: bool = True) -> Mailbox:
        """A reference to the mailbox, looked at; without `looks` only if nobody had it open."""
        return self._open(name, looks)

    def _open(self, name: str, looks: bool = True) -> MaildirMailbox:
        place, name = self._place(name)
        if place.control != place.directory:
            with refusing("The control directory cannot be made"):
                self._places.make(place.control)
        with refusing("The mailbox cannot be opened"):
            found = self._files.stat(place.directory)
        identity = (found.st_dev, found.st_ino)
        for _ in range(2):
            mailbox = self._worker.mailboxes.get(identity, place, lambda: self._box(place, name))
            is_open = False
            try:
                if looks:
                    mailbox.look()
                elif mailbox.box.is_gone:  # it is woken for that, if it is parked
                    mailbox.box.check()
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
        directory = self._create(name)
        uses = tuple(special_use)
        try:
            if uses:
                self._uses.add(name, uses)
            mailbox = self._open(name)
        except StorageError:
            self._take_back(name, directory)
            raise
        log.info("mailbox-created user=%r name=%r", self.user, name)
        try:
            return mailbox.mailbox_id
        finally:
            mailbox.close()

    def _create(self, name: str) -> bytes:
        """Make the directories. An old control directory of that name is not for the new mailbox."""
        wanted = self._folders.free(name)
        above = self._access.above(name)
        given = self._acls.files_of(above) if above else {}
        with self._controls.alone():
            self.counts.admit_mailboxes([name])
            old = self._controls.set_aside(wanted)
            try:
                directory = self._folders.create(name, given)
            except StorageError as error:
                if error.reason is Reason.EXISTS:
                    self._controls.put_back(wanted, old)
                raise
        if old:
            self._remove(old)
        return directory

    def _take_back(self, name: str, directory: bytes) -> None:
        """A mailbox was made and cannot be used, so the client is told NO: it goes, if nobody has put mail into it."""
        try:
            self._worker.mailboxes.leave(directory)
            drop_empty(self._files, self._folders.delete(name), directory)
            if is_there(self._files, directory):
                return
            self._uses.rename([(name, "")])
            control = self._controls.set_aside(directory)
            if control:
                self._remove(control)
        except (StorageError, OSError) as error:
            log.error("mailbox-kept user=%r name=%r error=%s", self.user, name, error)

    @contextlib.contextmanager
    def _quiet(self, directories: Iterable[bytes]) -> Iterator[None]:
        """Nobody of ours is changing anything in these mailboxes, nor does Dovecot as far as its lock tells."""
        with contextlib.ExitStack() as held:
            for directory in distinct(self._files, directories):
                place = self._places.of(directory)
                held.enter_context(DirectoryLock(self._files, directory, place.control, self._waiting))
            yield

    def delete(self, name: str) -> None:
        """Make a mailbox vanish."""
        try:
            place, name = self._place(name)
        except StorageError:
            self._remove(self._folders.delete(name))  # a parent that is no mailbox; or it says why not
            return
        if place.is_inbox:
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted.")
        index = self._places.index_of(place)
        with self._quiet([place.directory]):
            storage, messages = self._quota.weigh(place.directory)
            trash = self._folders.delete(name)
            self._quota.charge(name, -storage, -messages)
            # Aside while we hold the lock: whoever makes a mailbox of this name afterwards keeps his own uidlist.
            control = self._controls.set_aside(place.directory)
        self._worker.mailboxes.leave(place.directory)
        self._uses.rename([(name, "")])
        log.info("mailbox-deleted user=%r name=%r", self.user, name)
        if trash:
            self._remove(trash)
        if control:
            self._remove(control)
        if index and trash:  # of a link only the link went
            self._remove(index)

    def _remove(self, path: bytes) -> None:
        """The mailbox is gone already; what cannot be removed now goes with the next purge."""
        error = self._worker.runtime.blocking(remove, self._files, path)
        if error is not None:
            log.warning("remove path=%r error=%s", path, error)

    def rename(self, old: str, new: str) -> None:
        """Rename with all children; INBOX: move its messages."""
        if is_inbox(old):
            self._rename_inbox(new)
            return
        old = self._spelled(old)
        moving = [
            folder.name for folder in self._folders.listing() if folder.selectable and self._is_in(folder.name, old)
        ]
        directories = {name: self._folders.find(name) for name in moving}
        self.counts.admit_mailboxes([new + name[len(old) :] for name in moving], moving)
        records: list[bytes] = []
        with self._quiet(directories.values()), self._controls.alone():
            try:
                pairs = self._folders.rename(old, new, lambda moves: records.append(self._controls.begin(moves)))
            finally:
                for record in records:
                    self._controls.settle(record)
        for directory in directories.values():
            self._worker.mailboxes.leave(directory)
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

    def _rename_inbox(self, new: str) -> None:
        """The messages move; INBOX and what is below it stay. RFC 9051 6.3.6."""
        self.create(new)
        inbox, target = self._open("INBOX"), self._open(new.removesuffix(self.separator))
        try:
            inbox.move(list(inbox.table.uids), target)
            annotations = self._metadata("INBOX").read()  # they are on both then: RFC 5464 4.1
            self._metadata(target.name, admits=False).change(annotations, len(annotations))
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

    def _annotation_files(self) -> list[bytes]:
        """Where annotations may be that count."""
        places = [self._place(name)[0] for name, _ in self._directories() if self._quota.counts(name)]
        found = [self._data_of(place) + b"/" + FILE for place in places]
        return [*found, *self._worker.runtime.blocking(files_beside, self._files, self._places.data)]

    def quota_roots(self, name: str, soft: bool = False) -> list[str]:
        """The quota root, if a mailbox of this name is counted."""
        asks = self._quota.counts("INBOX" if is_inbox(name) else name) and not (soft and self._quota.rules.enforced)
        return [root] if asks and (root := self._quota.root()) is not None else []

    def quota(self, root: str) -> Quota:
        """What is used and allowed now."""
        found = self.counts.quota() if root == self._quota.rules.root else None
        if found is None:
            raise StorageError(Reason.NOT_FOUND, "There is no such quota root.")
        return found

    def set_quota(self, root: str, limits: QuotaLimits) -> None:
        """From now on just these limits count."""
        if root != self._quota.rules.root:
            text = f"There is no such quota root; that of this user is called {self._quota.rules.root!r}."
            raise StorageError(Reason.NOT_FOUND, text)
        self._quota.limit(limits)

    # Access control

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        """What `user` may do with this mailbox."""
        return self._access.my_rights(name, seen)

    def may_create(self, name: str) -> bool:
        """Whether `user` may make a mailbox of this name."""
        return self._access.may_create(name)

    def acl(self, name: str) -> list[AclEntry]:
        """The access control list."""
        return self._access.acl(name)

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        """Change what an identifier may do."""
        self._access.set_acl(name, identifier, action, rights)
        self._touch(name)  # whoever watches it looks, and at his rights, too

    def delete_acl(self, name: str, identifier: str) -> None:
        """Remove the entry of an identifier."""
        self._access.delete_acl(name, identifier)
        self._touch(name)

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        """What an identifier always has, and what it can be given."""
        return self._access.list_rights(name, identifier)

    # Annotations

    def _metadata(self, name: str, admits: bool = True) -> MetadataFile:
        """`admits`: a limit of annotations is looked at."""
        admit = self.counts.admit_annotations if admits else None
        if not name:
            return MetadataFile(self._files, self._places.data, SERVER_FILE, self._waiting, admit)
        place, name = self._place(name)
        is_counted = self._quota.counts(name)
        return MetadataFile(self._files, self._data_of(place), FILE, self._waiting, admit if is_counted else None)

    def _data_of(self, place: Place) -> bytes:
        return place.data or place.control + b"/greenmail-data"

    def metadata(self, name: str) -> dict[str, bytes]:
        """The annotations; of others' mailboxes those that are shared."""
        found = self._metadata(name).read()
        return found if self.user == self.owner else shared_of(found)

    def set_metadata(self, name: str, values: Mapping[str, bytes | None], most: int) -> None:
        """Set or remove annotations, all or none; private ones are the owner's."""
        if self.user != self.owner and any(entry.startswith(PRIVATE) for entry in values):
            raise StorageError(Reason.CANNOT, "You can have no private annotations on this mailbox.")
        place = self._place(name)[0] if name else None
        if place is not None and place.control != place.directory:
            with refusing("The control directory cannot be made"):
                self._places.make(place.control)
        self._metadata(name).change(values, most)
        if name:
            self._touch(name)

    def _touch(self, name: str) -> None:
        """What was changed beside the messages is written, whatever becomes of this."""
        try:
            mailbox = self._open(name)
        except StorageError as error:
            log.warning("touch user=%r mailbox=%r error=%r", self.user, name, error.text)
            return
        try:
            mailbox.touch()
        except StorageError as error:
            log.warning("touch user=%r mailbox=%r error=%r", self.user, name, error.text)
        finally:
            mailbox.close()

    def set_special_use(self, name: str, special_use: Iterable[str]) -> None:
        """A mailbox is for just this, and no other for any of it."""
        if self.user != self.owner:
            raise StorageError(Reason.CANNOT, "Only a mailbox of your own can have a special use.")
        self._uses.set(self._place(name)[1] if name else "", special_use)

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
        """The directories in which mailboxes appear and vanish, and those of subscriptions and the like."""
        told = (self._places.common, self._places.data)
        paths = (*self._folders.directories(), *(path for path in told if os.path.isdir(path)))
        return tuple(dict.fromkeys(map(os.fsdecode, paths)))

    def is_as_opened(self) -> bool:
        """Whether making it anew would find what it has found."""
        return self._places.is_as_prepared()

    def refer(self) -> None:
        """One reference more: of the newest session, whose settings of the quota hold for all of this mail."""
        self.references += 1
        self._quota.configure(self.settings.quota, self._around)

    def close(self) -> None:
        """Give back this reference."""
        self.references -= 1
        if self.references == 0:
            self._closed(self)
