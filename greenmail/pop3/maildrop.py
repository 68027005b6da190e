"""The maildrop of one session: the messages of INBOX as they were at login, RFC 1939 4 to 6.

Numbers, sizes and unique ids are frozen; what happens to the messages elsewhere shows only when one is fetched or
removed. Nothing is changed in the mailbox before `update`.
"""

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from greenmail.errors import Refused, StorageError
from greenmail.pop3.uidl import Format
from greenmail.pop3.uidl_alarm import Verdict, compare
from greenmail.storage.api import (
    DELETED,
    SEEN,
    Content,
    FlagAction,
    FlagChange,
    Held,
    Mailbox,
    MaildropItem,
    PlainItems,
)

log = logging.getLogger(__name__)

_LINES = 1024  # that are made at once
SYS_PERM = "SYS/PERM"  # RFC 3206 4: the same again will fail again


@dataclass(frozen=True, slots=True)
class Removal:
    """What DELE comes to at QUIT, and which flags are touched."""

    deleted_flag: str = ""  # set this flag, and do not show such messages, instead of removing them
    mark_seen: bool = True  # RETR sets \\Seen


class Maildrop:
    """Message numbers count from 1."""

    def __init__(
        self, mailbox: Mailbox, held: Held, removal: Removal, uidl: Format, breathe: Callable[[], None]
    ) -> None:
        self.mailbox = mailbox
        self._held: Held | None = held
        self._removal = removal
        self._format = uidl
        self._retrieved: set[int] = set()  # UIDs
        self.deleted: set[int] = set()  # message numbers
        self.items: list[MaildropItem] | PlainItems = []
        self.uids: array[int] = array("I")
        self.sizes: array[int] = array("q")
        mailbox.look()
        if not mailbox.read_only:
            mailbox.claim_recent()  # as other servers do: the messages are new to no one any more
        self._load(breathe)
        self.octets = sum(self.sizes)  # of messages that are not marked as deleted

    def _load(self, breathe: Callable[[], None]) -> None:
        mailbox, hidden = self.mailbox, self._removal.deleted_flag.casefold()
        items = mailbox.maildrop()
        mailbox.fill(items.uids if isinstance(items, PlainItems) else [item.uid for item in items], sizes=True)
        table = mailbox.table
        is_plain = isinstance(items, PlainItems) and items.uids == table.uids and not hidden
        if is_plain and min(table.sizes, default=0) >= 0:
            self.items, self.uids, self.sizes = items, table.uids[:], table.sizes[:]
            return
        found: list[MaildropItem] = []
        for place, item in enumerate(items, 1):
            if place % 1024 == 0:
                breathe()
            row = table.row(item.uid)
            if row < 0 or table.sizes[row] < 0:  # gone since it was listed
                continue
            if hidden and any(flag.casefold() == hidden for flag in table.flags_of(row)):
                continue
            found.append(item)
            self.uids.append(item.uid)
            self.sizes.append(table.sizes[row])
        self.items = found

    @property
    def count(self) -> int:
        """Messages that are not marked as deleted."""
        return len(self.items) - len(self.deleted)

    def numbers(self) -> Sequence[int]:
        """The numbers of all messages that are not marked as deleted."""
        every = range(1, len(self.items) + 1)
        return [number for number in every if number not in self.deleted] if self.deleted else every

    def listing(self) -> Iterator[bytes]:
        """The lines of LIST, RFC 1939 5, of all messages that are not marked as deleted: many in each piece."""
        numbers = self.numbers()
        return _lines(b"%d %d", numbers, self._of(self.sizes, numbers))

    def unique_ids(self) -> Iterator[bytes] | None:
        """The same of UIDL, RFC 1939 7; None: they are not made of UIDs alone, ask `unique_id` for each."""
        form, uids = self._format.of_uids(self.mailbox.uidvalidity)
        if not uids or not isinstance(self.items, PlainItems):
            return None
        numbers = self.numbers()
        return _lines(b"%d " + form, numbers, *[self._of(self.uids, numbers)] * uids)

    def _of(self, column: Sequence[int], numbers: Sequence[int]) -> Sequence[int]:
        return [column[number - 1] for number in numbers] if self.deleted else column

    def require(self, number: int) -> int:
        """`number`, if it is a message not marked as deleted. Raises Refused."""
        if not 1 <= number <= len(self.items):
            raise Refused(f"no such message, there are {len(self.items)}")
        if number in self.deleted:
            raise Refused(f"message {number} is deleted")
        return number

    def size(self, number: int) -> int:
        return self.sizes[number - 1]

    def correct(self, number: int, size: int) -> None:
        """The message turned out to have another size than its name says."""
        self.octets += size - self.sizes[number - 1]
        self.sizes[number - 1] = size

    def unique_id(self, number: int) -> str:
        """Raises EXPUNGED if the format needs the message and it is gone."""
        item = self.items[number - 1]

        def header() -> bytes:
            content = self.mailbox.content(item.uid)
            try:
                return content.header()
            finally:
                content.close()

        return self._format(item, self.mailbox.uidvalidity, header)

    def compare_ids(self, unique_id: Callable[[int], str]) -> Verdict | None:
        """Whether the unique ids of the messages are those that the last session told. None: not known any more."""
        if self._held is None:
            return None
        noted = self._held.recall()
        verdict = compare(noted, self._ids(unique_id))
        if verdict.note != noted:
            self._held.note(verdict.note)
        return verdict

    def _ids(self, unique_id: Callable[[int], str]) -> Iterator[tuple[str, str]]:
        """GUID and unique id, made when it is asked for: few of thousands are."""
        for number in self.numbers():
            yield self.items[number - 1].guid, unique_id(number)

    def content(self, number: int) -> Content:
        """Raises EXPUNGED if the message is gone."""
        return self.mailbox.content(self.uids[number - 1])

    def short(self, number: int) -> bytes | None:
        """All of a short message, at once; None: see `content`."""
        return self.mailbox.octets(self.uids[number - 1])

    def retrieved(self, number: int) -> None:
        """The client has the whole message."""
        self._retrieved.add(self.uids[number - 1])

    def delete(self, number: int) -> None:
        """Mark for `update`. Raises Refused."""
        self.require(number)
        if self.mailbox.read_only:
            raise Refused("messages cannot be removed here, the mailbox is read-only", SYS_PERM)
        self.deleted.add(number)
        self.octets -= self.sizes[number - 1]

    def reset(self) -> None:
        """RSET takes the marks away; what was retrieved stays so. RFC 1939 5."""
        self.octets += sum(self.sizes[number - 1] for number in self.deleted)
        self.deleted.clear()

    def update(self) -> int:
        """The UPDATE state, RFC 1939 6: how many of the marked messages are still there.

        The store decides under its lock: messages are flagged and then removed if they are still flagged, exactly
        these. One that somebody else has removed meanwhile counts as removed.
        """
        doomed = [self.uids[number - 1] for number in sorted(self.deleted)]
        seen = sorted(self._retrieved.difference(doomed))
        if seen and self._removal.mark_seen and not self.mailbox.read_only:
            self._mark_seen(seen)
        if not doomed:
            return 0
        flag = self._removal.deleted_flag or DELETED
        stored = self.mailbox.store(doomed, FlagChange(FlagAction.ADD, frozenset({flag})))
        if self._removal.deleted_flag:
            return len(doomed) - len(stored.missing) if stored.ignored else 0
        gone = {*stored.missing, *self.mailbox.expunge(doomed)}
        return sum(1 for uid in doomed if uid not in gone and self.mailbox.table.row(uid) >= 0)

    def _mark_seen(self, uids: list[int]) -> None:
        try:
            self.mailbox.store(uids, FlagChange(FlagAction.ADD, frozenset({SEEN})))
        except StorageError as error:  # no reason to answer QUIT with -ERR, RFC 1939 knows nothing of it
            log.warning("not marked as seen mailbox=%r messages=%d text=%r", self.mailbox.name, len(uids), error.text)

    def close(self) -> None:
        """Let the next session in. Does nothing the second time."""
        held, self._held = self._held, None
        if held is not None:
            try:
                held.release()
            finally:
                self.mailbox.close()


def _lines(form: bytes, *columns: Sequence[int]) -> Iterator[bytes]:
    """A line for each row of the columns; `form` has a conversion for each column."""
    for start in range(0, len(columns[0]), _LINES):
        some = [column[start : start + _LINES] for column in columns]
        count, width = len(some[0]), len(some)
        values = [0] * (count * width)
        for place, column in enumerate(some):
            values[place::width] = column
        yield (form + b"\r\n") * count % tuple(values)
