"""The names of mailboxes for NOTIFY: MailboxName and SubscriptionChange, RFC 5465 5.4, 5.5.

No event of the disk says what happened to a name. So the names are listed again and compared with what the client has
been told; a mailbox whose mailbox_id had another name before was renamed. What the client does itself is written into
the table at once, and so is no difference later.

Where RENAME of INBOX moves the messages to a mailbox that is made for them (RFC 9051 6.3.6) that one is new, and has no
OLDNAME. RFC 5465 5.4 would have it told as INBOX under a new name; but the mailbox_id stays with INBOX (RFC 8474 4.1),
and a client that moved what it knows of INBOX there would have to throw it away.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from greenmail.imap.commands.listing import Entry, render_entry, render_renamed
from greenmail.imap.ext.notify_request import (
    MAILBOX_NAME,
    SUBSCRIPTION_CHANGE,
    EventGroup,
    Spaces,
    wanted_events,
)
from greenmail.imap.ext.notify_table import EXISTS, NO_ACCESS, SUBSCRIBED, UNKNOWN, Table
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Account, Folder, is_inbox


@dataclass(frozen=True, slots=True)
class Listed:
    """What there is now."""

    folders: dict[str, Folder]
    subscribed: frozenset[str]

    def exists(self, name: str) -> bool:
        """Whether it is a mailbox."""
        folder = self.folders.get(name)
        return folder is not None and folder.selectable


def spaces_of(account: Account) -> Spaces:
    """What its names look like."""
    personal = (account.personal, *account.more_personal)
    foreign = (*account.other_users, *account.shared)
    return Spaces(account.separator, tuple(one.prefix for one in personal), tuple(one.prefix for one in foreign))


class Names:
    """The names as the client knows them."""

    def __init__(self, session: Session, groups: tuple[EventGroup, ...], table: Table) -> None:
        self._session = session
        self._groups = tuple(replace(group, names=frozenset(group.names)) for group in groups)  # asked for each name
        self._table = table
        self._spaces = spaces_of(account_of(session))
        self._asked = ("", *(name for group in groups for name in group.names))
        self.wants_names = any(MAILBOX_NAME in group.events for group in groups)

    def begin(self) -> None:
        """The client knows what there is."""
        listed = self._list()
        for name in listed.folders:
            self._table.put(name, EXISTS, listed.exists(name))
        for name in listed.subscribed:
            self._table.put(name, SUBSCRIBED, True)

    def events(self, name: str) -> frozenset[str]:
        """What is to be told of it."""
        return wanted_events(self._groups, self._spaces, name, self._table.has(name, SUBSCRIBED))

    def _list(self) -> Listed:
        """All mailboxes, and in namespaces that are not listed unasked those that could be meant."""
        account = account_of(self._session)
        scopes = {id(scope): scope for scope in map(account.scope, self._asked)}
        folders: dict[str, Folder] = {}
        for scope in scopes.values():
            for folder in scope.folders():
                folders.setdefault(folder.name, folder)
            self._session.breathe()
        return Listed(folders, frozenset(account.subscriptions()))

    def differences(self, identify: Callable[[str], int]) -> bytes:
        """LIST answers for what is different now; from here on the client knows it. Raises StorageError.

        `identify(name)` gives the number of a mailbox that is there, or UNKNOWN.
        """
        listed, table = self._list(), self._table
        before, known = set(table.with_bit(EXISTS)), set(table.with_bit(SUBSCRIBED))
        come = [name for name in listed.folders if listed.exists(name) and name not in before]
        gone = [name for name in sorted(before) if not listed.exists(name)]
        changed = sorted(listed.subscribed ^ known)
        renamed = self._renamed(come, gone, identify)
        wanted = {name: self.events(name) for name in (*come, *gone, *changed)}
        affected = self._affected(come, gone, renamed)
        self._take(listed, come, gone, changed, renamed)
        # A subscription may also put a mailbox into a group, or out of one.
        wanted = {name: events | self.events(name) for name, events in wanted.items()}
        lines = [
            self._line(listed, name, old)
            for name, old in affected.items()
            if MAILBOX_NAME in wanted.get(name, ()) or MAILBOX_NAME in wanted.get(old or name, self.events(name))
        ]
        lines += [
            self._line(listed, name, None)
            for name in changed
            if SUBSCRIPTION_CHANGE in wanted[name] and not (name in affected and MAILBOX_NAME in wanted[name])
        ]
        return b"".join(lines)

    def _renamed(self, come: Iterable[str], gone: Iterable[str], identify: Callable[[str], int]) -> dict[str, str]:
        """New names with the old ones of the same mailboxes."""
        if not self.wants_names:
            return {}
        olds = {number: name for name in gone if (number := self._table.identity(name)) > UNKNOWN}
        return {name: olds[number] for name in come if olds and (number := identify(name)) in olds}

    def _affected(self, come: list[str], gone: list[str], renamed: dict[str, str]) -> dict[str, str | None]:
        """Names of which LIST is told, with the old name of one that was renamed: RFC 5465 5.4.

        A mailbox that was made or deleted, and the one above it; not what is below one that was renamed.
        """
        affected: dict[str, str | None] = {}
        olds = set(renamed.values())
        for name in come:
            old = renamed.get(name)
            if old is None:
                self._with_parent(affected, name)
            elif not self._went_along(name, old, renamed):
                affected[name] = old
        for name in gone:
            if name not in olds:
                self._with_parent(affected, name)
        return affected

    def _with_parent(self, affected: dict[str, str | None], name: str) -> None:
        affected.setdefault(name, None)
        above, separator, _ = name.rpartition(self._spaces.separator or "\0")
        if separator and above:
            affected.setdefault(above, None)

    def _went_along(self, name: str, old: str, renamed: dict[str, str]) -> bool:
        """Whether a mailbox above it was renamed, and took it along."""
        separator = self._spaces.separator or "\0"
        return any(
            name.startswith(new + separator) and old == before + name[len(new) :] for new, before in renamed.items()
        )

    def _take(
        self, listed: Listed, come: list[str], gone: list[str], changed: list[str], renamed: dict[str, str]
    ) -> None:
        """The table as things are now."""
        table = self._table
        for name in come:
            table.put(name, EXISTS, True)
            old = renamed.get(name)
            if old is not None:
                table.identify(name, table.identity(old))
                table.tell(name, table.told(old))
        for name in gone:
            table.identify(name, 0)
            table.put(name, EXISTS, False)
            table.put(name, NO_ACCESS, False)
        for name in changed:
            table.put(name, SUBSCRIBED, name in listed.subscribed)

    def _line(self, listed: Listed, name: str, old: str | None) -> bytes:
        folder = listed.folders.get(name)
        attributes: list[str] = []
        if name in listed.subscribed:
            attributes.append("\\Subscribed")
        if not listed.exists(name):
            attributes.append("\\NonExistent")
        if self._table.has(name, NO_ACCESS):
            attributes.append("\\NoAccess")
        if folder is not None:
            attributes.append("\\HasChildren" if folder.has_children else "\\HasNoChildren")
            attributes.extend(folder.special_use)
        if old is not None:
            return render_renamed(self._session, name, old, tuple(attributes))
        return render_entry(self._session, Entry(name, tuple(attributes)))

    def access_line(self, name: str) -> bytes:
        """A LIST answer of a mailbox that may, or may not, be read: RFC 5465 3.1, 5.9."""
        bits = ((SUBSCRIBED, "\\Subscribed"), (NO_ACCESS, "\\NoAccess"))
        attributes = tuple(word for bit, word in bits if self._table.has(name, bit))
        return render_entry(self._session, Entry(name, attributes))

    # What the client did itself

    def made(self, given: str) -> None:
        """CREATE."""
        self._table.put(self._new(given), EXISTS, True)

    def deleted(self, given: str) -> None:
        """DELETE."""
        name = self._old(given, EXISTS)
        self._table.identify(name, 0)
        self._table.put(name, EXISTS, False)

    def renamed(self, given: str, given_new: str) -> None:
        """RENAME: what is below goes along. Of INBOX, the messages go."""
        old, new = self._old(given, EXISTS), self._new(given_new)
        if old == "INBOX":
            self.made(new)
            return
        for name in [name for name in self._table.with_bit(EXISTS) if self._spaces.is_below(name, old)]:
            changed = new + name[len(old) :]
            self._table.put(changed, EXISTS, True)
            self._table.identify(changed, self._table.identity(name))
            self._table.tell(changed, self._table.told(name))
            self.deleted(name)

    def subscribed(self, given: str, is_subscribed: bool) -> None:
        """SUBSCRIBE, UNSUBSCRIBE."""
        self._table.put(self._old(given, EXISTS | SUBSCRIBED), SUBSCRIBED, is_subscribed)

    def _spelled(self, given: str) -> str:
        """INBOX as a first level comes in any case."""
        first, separator, rest = given.partition(self._spaces.separator or "\0")
        return f"INBOX{separator}{rest}" if is_inbox(first) else given

    def _new(self, given: str) -> str:
        """What a mailbox is called that was made by this name: `commands.mailboxes`, RFC 9051 5.1."""
        name = self._spelled(given.removesuffix(self._spaces.separator or "\0"))
        return unicodedata.normalize("NFC", name) if self._session.rev2 else name

    def _old(self, given: str, bits: int) -> str:
        """What a mailbox is called that was found by this name: as given first, `rights`."""
        name = self._spelled(given)
        return name if self._table.has(name, bits) else self._new(given)
