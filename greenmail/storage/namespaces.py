"""An account made of several: `api.Account` over the namespaces that one user sees. RFC 2342, RFC 9051 6.3.10.

Every namespace is an account of its own, with names of its own: the user's, another user's, nobody's. Here a name is
taken to the right one and translated, and what comes back is translated again; `namespace_names` has the rules. An
alias is a second namespace over an account that is open already: there is one mailbox object, whatever it was called.

Subscriptions to names in a namespace that keeps none stand in the file of the user's own, with their prefix
(`namespace_mails.OtherSubscriptions`). What others let the user see is asked of each account; one that cannot be opened
(no such user, no mail) has no mailboxes, and a client cannot tell it from one that shows nothing.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import (
    Account,
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
from greenmail.storage.metadata import MetadataFile, shared_of
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.namespace_mails import Mails
from greenmail.storage.namespace_names import (
    INBOX,
    Kind,
    Listed,
    Located,
    OwnSeen,
    Space,
    Translation,
    ancestors,
    begins_with,
    locate,
    not_found,
    prefix_for,
)
from greenmail.storage.private_seen import PrivateSeen
from greenmail.storage.url_keys import UrlKeys

log = logging.getLogger(__name__)

_READ_ONLY: Rights = frozenset("lr")


@dataclass(frozen=True, slots=True)
class _Mount:
    """A namespace, or one owner's part of it, with its mail."""

    space: Space
    account: Account
    names: Translation | None  # None: the names are the account's own

    def inside(self, rest: str) -> str:
        return self.space.prefix + rest if self.names is None else self.names.inside(rest)

    def outside(self, name: str) -> str | None:
        return name if self.names is None else self.names.outside(name)


class NamespacesAccount:
    """See the module's text. Shared by all sessions of a user in a worker."""

    def __init__(
        self, user: str, spaces: Sequence[Space], mails: Mails, closed: Callable[["NamespacesAccount"], None]
    ) -> None:
        """`spaces`: just one of them `is_inbox`. `closed` is told when nobody uses it any more."""
        self.user = self.owner = user
        self.spaces = tuple(spaces)
        self._domain = user.partition("@")[2]
        self._mails = mails
        self._closed = closed
        self.references = 0
        self._accounts: dict[tuple[str, str], Account] = {}
        self._seen: dict[str, PrivateSeen] = {}
        self._unlisted: dict[str, UnlistedSpace] = {}
        self._main = next(space for space in self.spaces if space.is_inbox)
        self._inbox = self._account(self._main, "")
        self.separator = self._main.separator
        told = [space for space in self.spaces if not space.hidden]
        self.personal = Namespace(self._main.prefix, self._main.separator)
        self.more_personal = _told(space for space in told if space.kind is Kind.PRIVATE and not space.is_inbox)
        self.other_users = _told(space for space in told if space.kind is Kind.SHARED)
        self.shared = _told(space for space in told if space.kind is Kind.PUBLIC)

    @property
    def inbox_account(self) -> Account:
        """The account behind the namespace with INBOX."""
        return self._inbox

    # Which account

    def _account(self, space: Space, owner: str) -> Account:
        """The account behind a namespace; kept open as long as this one is."""
        space = self._meant(space)
        key = (space.prefix, owner)
        if key not in self._accounts:
            account = self._mails.open(space, owner)
            if key in self._accounts:  # another green thread was faster
                account.close()
            else:
                self._accounts[key] = account
        return self._accounts[key]

    def _meant(self, space: Space) -> Space:
        """What an alias stands for; any other namespace itself."""
        if space.alias_for is None:
            return space
        return next(one for one in self.spaces if one.prefix == space.alias_for and one.alias_for is None)

    def _mount(self, space: Space, prefix: str, owner: str) -> _Mount:
        """Raises NOT_FOUND: no such user, or the user himself."""
        if space.kind is Kind.SHARED and owner in ("", self.user):
            raise not_found()
        account = self._account(space, owner)
        if space.is_inbox:
            return _Mount(space, account, None)
        has_root = space.kind is Kind.SHARED or space.alias_for is not None or self._mails.has_root(account)
        names = Translation(prefix, space.separator, account.personal.prefix, account.separator, has_root)
        return _Mount(space, account, names)

    def _find(self, name: str) -> tuple[_Mount, str]:
        """The account that has the mailbox, and its name there. Raises NOT_FOUND, CANNOT for what cannot be."""
        located = locate(self.spaces, name, self._domain)
        if located is None:  # as in the user's own namespace, which says why it cannot be
            return _Mount(self._main, self._inbox, None), name
        mount = self._mount(located.space, located.prefix, located.owner)
        return mount, name if mount.names is None else mount.inside(located.rest)

    def _writable(self, name: str) -> tuple[_Mount, str]:
        mount, inner = self._find(name)
        if self._meant(mount.space).read_only:
            raise StorageError(Reason.READ_ONLY, "Nothing can be changed in this namespace.")
        return mount, inner

    # Mailboxes

    def folders(self) -> list[Folder]:
        """All mailboxes that are listed without being asked for, and those above them."""
        return self._gather(space for space in self.spaces if space.listed is not Listed.NO)

    def _gather(self, spaces: Iterable[Space]) -> list[Folder]:
        found: dict[str, Folder] = {}
        empty: list[str] = []
        separator = self.separator
        for space in spaces:
            separator = space.separator
            shown = 0
            for mount in self._mounts(space):
                for folder in self._shown(mount):
                    shown += found.setdefault(folder.name, folder) is folder
            if not shown and space.listed is Listed.YES and not space.is_inbox:
                empty.append(space.literal.removesuffix(separator))
        parents = ancestors(found, separator)
        for name in (*parents, *empty):
            if name:
                found.setdefault(name, Folder(name, False, False))
        above = ancestors(found, separator)
        return [
            Folder(name, found[name].selectable, name in above, found[name].special_use)
            for name in sorted(found, key=lambda name: (name != INBOX, name))
        ]

    def _mounts(self, space: Space) -> Iterator[_Mount]:
        """The namespace, or those parts of a shared one that may have something to show."""
        owners = [""]
        if space.kind is Kind.SHARED:
            owners = [owner for owner in self._mails.owners(space) if owner != self.user]
        for owner in owners:
            prefix = prefix_for(space, owner, self._domain) if owner else space.prefix
            if prefix is None:
                continue
            try:
                yield self._mount(space, prefix, owner)
            except StorageError as error:
                log.debug("namespace prefix=%r user=%r error=%r", prefix, self.user, error.text)

    def _shown(self, mount: _Mount) -> Iterator[Folder]:
        """The mailboxes of one account under their names here; those that lie in a namespace below it are hidden."""
        try:
            folders = mount.account.folders()
        except StorageError as error:
            if mount.account is self._inbox:
                raise
            log.warning("namespace prefix=%r user=%r error=%r", mount.space.prefix, self.user, error.text)
            return
        for folder in folders:
            name = mount.outside(folder.name) if folder.selectable else None
            if name is None:
                continue
            located = locate(self.spaces, name, self._domain)
            if located is not None and located.space is not mount.space:
                continue
            uses = folder.special_use if mount.space.kind is Kind.PRIVATE else ()
            yield Folder(name, True, False, uses)

    def scope(self, text: str) -> Scope:
        """What LIST shows for patterns that begin with `text`: a namespace that is not listed otherwise, or all."""
        unlisted = [space for space in self.spaces if space.listed is Listed.NO and space.literal]
        inside = [space for space in unlisted if begins_with(text, space.literal, space.separator)]
        if not inside:
            return self
        space = max(inside, key=lambda space: len(space.literal))
        others = [one for one in self.spaces if one.listed is not Listed.NO and len(one.literal) > len(space.literal)]
        if any(begins_with(text, one.literal, one.separator) for one in others):
            return self
        return self._unlisted.setdefault(space.prefix, UnlistedSpace(self, space))

    def open(self, name: str, looks: bool = True) -> Mailbox:
        """A reference to the mailbox, looked at."""
        mount, inner = self._find(name)
        mailbox = mount.account.open(inner, looks)
        is_done = False
        try:
            # Not the object's own name: it may be another account's. An alias shows the one name of a mailbox, too.
            shown = _spelled(inner, self.separator) if mount.account is self._inbox else mount.outside(inner) or name
            own, released = self._own_seen(mount, mailbox)
            is_done = True
        finally:
            if not is_done:
                mailbox.close()
        return MountedMailbox(shown, mailbox if own is None else own.inner, own, released)

    def _own_seen(self, mount: _Mount, mailbox: Mailbox) -> tuple[PrivateSeen | None, Callable[[], None]]:
        """The reader's own \\Seen, if it is his own there; and what is to be done when the mailbox is closed."""
        wanted = self._meant(mount.space).own_seen
        if wanted is OwnSeen.AUTO and mount.space.kind is not Kind.PRIVATE:
            wanted = OwnSeen.YES if self._mails.is_shared(mailbox) else OwnSeen.NO
        if wanted is not OwnSeen.YES:
            return None, mailbox.close
        key = mailbox.mailbox_id
        own = self._seen.get(key)
        if own is None or own.inner is not mailbox:
            own = self._seen[key] = PrivateSeen(mailbox, self._mails.seen_file(key), self._mails.runtime)
        else:
            own.take_up()
            mailbox.close()  # it has a reference already
        own.references += 1
        return own, lambda: self._leave(own)

    def _leave(self, own: PrivateSeen) -> None:
        own.references -= 1
        if own.references == 0:
            if self._seen.get(own.inner.mailbox_id) is own:
                del self._seen[own.inner.mailbox_id]
            own.inner.close()

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        """Make a mailbox; its mailbox_id."""
        located = locate(self.spaces, name, self._domain)
        if located is not None:
            name = name.removesuffix(located.space.separator)
        if located is not None and located.space.kind is Kind.SHARED and not located.owner:
            raise StorageError(Reason.CANNOT, "Only other users' mailboxes have names that begin so.")
        mount, inner = self._writable(name)
        uses = tuple(special_use)
        if uses and mount.space.kind is not Kind.PRIVATE:
            raise StorageError(Reason.CANNOT, "Only a mailbox of your own can have a special use.")
        return mount.account.create(inner, uses)

    def delete(self, name: str) -> None:
        """Make a mailbox vanish."""
        mount, inner = self._writable(name)
        mount.account.delete(inner)

    def rename(self, old: str, new: str) -> None:
        """Rename with all children, within one account; INBOX: move its messages."""
        located = locate(self.spaces, new, self._domain)
        new = new if located is None else new.removesuffix(located.space.separator)
        source, old_inner = self._writable(old)
        target, new_inner = self._writable(new)
        if source.account is not target.account:
            text = "A mailbox cannot be renamed into another namespace: make a new one there and move the messages."
            raise StorageError(Reason.CANNOT, text)
        source.account.rename(old_inner, new_inner)

    # Subscriptions

    def subscriptions(self) -> list[str]:
        """Subscribed names, those of the user's own file first."""
        own = self._inbox.subscriptions()
        # A line of another namespace can look like a name of this one.
        found = dict.fromkeys(name for name in own if not self._keeps_none(name))
        for text in self._mails.subscriptions.others():
            name = self._subscribed(text)
            if name is not None:
                found[name] = None
        for space in self.spaces:
            if space.subscriptions and not space.is_inbox and space.alias_for is None:
                for mount in self._mounts(space):
                    names = [mount.outside(name) for name in mount.account.subscriptions()]
                    found.update(dict.fromkeys(name for name in names if name is not None))
        return list(found)

    def _keeps_none(self, name: str) -> bool:
        located = locate(self.spaces, name, self._domain)
        return located is not None and not located.space.subscriptions

    def _subscribed(self, text: str) -> str | None:
        """The name that a line with a prefix stands for; None if no namespace without subscriptions has it."""
        located = locate(self.spaces, text, self._domain)
        if located is None or located.space.subscriptions or not located.rest:
            return None
        if located.rest == INBOX:
            return located.prefix.removesuffix(located.space.separator)
        levels = located.rest.split(located.space.disk_separator)
        return located.prefix + located.space.separator.join(levels)

    def _line(self, located: Located) -> str:
        """The line for a name in a namespace without subscriptions: `formats.md` 3.2."""
        levels = (located.rest or INBOX).split(located.space.separator)
        return located.prefix + located.space.disk_separator.join(levels)

    def subscribe(self, name: str) -> None:
        """Raises NOT_FOUND if there is no such mailbox."""
        mount, inner = self._find(name)
        located = locate(self.spaces, name, self._domain)
        if located is None or mount.account is self._inbox or mount.space.subscriptions:
            mount.account.subscribe(inner)
            return
        mount.account.my_rights(inner)  # raises NOT_FOUND
        self._mails.subscriptions.add_other(self._line(located))

    def unsubscribe(self, name: str) -> None:
        """Does nothing if not subscribed."""
        located = locate(self.spaces, name, self._domain)
        if located is not None and not located.space.subscriptions and located.space.alias_for is None:
            self._mails.subscriptions.remove_other(self._line(located))
            return
        mount, inner = self._find(name)
        mount.account.unsubscribe(inner)

    # Quota

    def quota_roots(self, name: str, soft: bool = False) -> list[str]:
        """Those of the user's own account; what others use and may use is not shown."""
        try:
            mount, inner = self._find(name)
        except StorageError:
            return []
        return mount.account.quota_roots(inner, soft) if mount.account is self._inbox else []

    def quota(self, root: str) -> Quota:
        """What is used and allowed now."""
        return self._inbox.quota(root)

    def set_quota(self, root: str, limits: QuotaLimits) -> None:
        """Of the user's own account."""
        self._inbox.set_quota(root, limits)

    # Rights

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        """What the user may do with this mailbox."""
        mount, inner = self._find(name)
        rights = mount.account.my_rights(inner, seen)
        space = self._meant(mount.space)
        if not space.read_only:
            return rights
        return rights & (_READ_ONLY | {"s"} if space.own_seen is OwnSeen.YES else _READ_ONLY)

    def may_create(self, name: str) -> bool:
        """Whether the user may make a mailbox of this name."""
        try:
            mount, inner = self._find(name)
        except StorageError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return False
        return not self._meant(mount.space).read_only and mount.account.may_create(inner)

    def acl(self, name: str) -> list[AclEntry]:
        """The access control list."""
        mount, inner = self._find(name)
        return mount.account.acl(inner)

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        """Change what an identifier may do."""
        mount, inner = self._writable(name)
        mount.account.set_acl(inner, identifier, action, rights)

    def delete_acl(self, name: str, identifier: str) -> None:
        """Remove the entry of an identifier."""
        mount, inner = self._writable(name)
        mount.account.delete_acl(inner, identifier)

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        """What an identifier always has, and what it can be given."""
        mount, inner = self._find(name)
        return mount.account.list_rights(inner, identifier)

    @property
    def url_keys(self) -> UrlKeys:
        """The user's own."""
        return self._mails.url_keys

    # Annotations

    def _own_metadata(self, mount: _Mount, inner: str) -> MetadataFile | None:
        """Where the private ones are, if not with the others: the user's own file for a mailbox that is not his."""
        if mount.space.kind is Kind.PRIVATE:
            return None
        with contextlib.closing(mount.account.open(inner)) as mailbox:
            return self._mails.metadata_file(mailbox.mailbox_id)

    def metadata(self, name: str) -> dict[str, bytes]:
        """The annotations; the private ones are the user's."""
        mount, inner = self._find(name) if name else (self._mount(self._main, "", ""), "")
        found, own = mount.account.metadata(inner), self._own_metadata(mount, inner)
        return found if own is None else {**shared_of(found), **own.read()}

    def set_metadata(self, name: str, values: Mapping[str, bytes | None], most: int) -> None:
        """Set or remove annotations, all or none."""
        mount, inner = self._find(name) if name else (self._mount(self._main, "", ""), "")

        def share(shared: Mapping[str, bytes | None]) -> None:
            if name:
                self._writable(name)
            mount.account.set_metadata(inner, shared, most)

        own = self._own_metadata(mount, inner)
        share(values) if own is None else own.change_with(values, most, share)

    def set_special_use(self, name: str, special_use: Iterable[str]) -> None:
        """A mailbox is for just this."""
        (mount, inner), uses = self._writable(name), tuple(special_use)
        mount.account.set_special_use(inner, uses)
        for other in [one for space in self.spaces if space.kind is Kind.PRIVATE for one in self._mounts(space)]:
            if uses and other.account is not mount.account and not other.space.read_only:
                other.account.set_special_use("", uses)

    def watched(self) -> tuple[str, ...]:
        """What the accounts have watched that are open."""
        return tuple(dict.fromkeys(path for account in self._accounts.values() for path in account.watched()))

    def close(self) -> None:
        """Give back this reference."""
        self.references -= 1
        if self.references == 0:
            self._closed(self)
            for account in self._accounts.values():
                account.close()
            self._accounts.clear()


class UnlistedSpace:
    """A namespace that is not listed with the others, as LIST shows it to those who ask for its prefix."""

    def __init__(self, account: NamespacesAccount, space: Space) -> None:
        self.separator = space.separator
        self.personal = Namespace(space.literal, space.separator)
        self.more_personal: tuple[Namespace, ...] = ()
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()
        self._account, self._space = account, space

    def folders(self) -> list[Folder]:
        """The mailboxes of the namespace."""
        return self._account._gather([self._space])

    def subscriptions(self) -> list[str]:
        """The subscribed names in it; an alias has those of what it stands for."""
        account, space = self._account, self._space
        names: Iterable[str] = account.subscriptions()
        if space.alias_for is None:
            return [name for name in names if (found := locate(account.spaces, name)) and found.space is space]
        mount = next(account._mounts(space), None)
        if mount is None:
            return []
        shown = []
        for name in names:
            try:
                other, inner = account._find(name)
            except StorageError:  # its owner is gone
                continue
            if other.account is mount.account and (found_name := mount.outside(inner)) is not None:
                shown.append(found_name)
        return shown


def _spelled(name: str, separator: str) -> str:
    """INBOX as a first level comes in any case."""
    return INBOX + name[5:] if is_inbox(name[:5]) and name[5:6] in ("", separator) else name


def _told(spaces: Iterable[Space]) -> tuple[Namespace, ...]:
    return tuple(Namespace(space.literal, space.separator) for space in spaces)
