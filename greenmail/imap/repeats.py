"""Answers of FETCH that were given before, for messages that are what they were then.

Octets of a chunk with its sequence numbers are kept by the mailbox (`storage.answers`), together with the columns that
they were made of. They serve every session to which these messages have these numbers, which are nearly all.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from greenmail.imap.fetch_att import Item, RowItem
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.storage.answers import Shelf
from greenmail.storage.api import Table

LEAST = 16  # messages of a chunk that is worth keeping
LONGEST = 2048  # octets of data items whose answers are kept: the items are kept, too


class Repeats:
    """What one FETCH takes from those before it, and leaves to those behind it."""

    __slots__ = ("_columns", "_shelf", "_shows_flags", "_table", "_view")

    def __init__(self, session: Session, view: View, items: Sequence[Item]) -> None:
        answers = view.mailbox.answers
        depends = [item.depends for item in items if isinstance(item, RowItem)]
        self._view = view
        self._table = view.mailbox.table
        self._shelf: Shelf | None = None
        self._columns: tuple[str, ...] = ()
        self._shows_flags = False
        if answers is None or None in depends or sum(map(_length, items)) > LONGEST:
            return
        self._columns = tuple(sorted(set(chain.from_iterable(columns or () for columns in depends))))
        self._shows_flags = "flags" in self._columns
        # What else an answer depends on: dates on the time zone, which is the server's.
        self._shelf = answers.shelf((session.fetch_opening, session.services.time_zone, tuple(items)))

    def find(self, uids: Sequence[int]) -> bytes | None:
        """The answer for these messages, ascending, if it was given before and would be the same now. At once."""
        if self._shelf is None or not self._shelf.entries:
            return None
        made_of = self._made_of(uids)
        return None if made_of is None else self._shelf.find(self._view.seq(uids[0]), made_of, self._table.flag_sets)

    def keep(self, uids: Sequence[int], octets: bytes) -> None:
        """This answer was made of the rows as they are now."""
        if self._shelf is not None:
            made_of = self._made_of(uids)
            if made_of is not None:
                self._shelf.keep(self._view.seq(uids[0]), made_of, self._table.flag_sets, octets)

    def _made_of(self, uids: Sequence[int]) -> tuple[bytes, ...] | None:
        """What an answer for these is made of; None if they are not neighbours, here and for this client, or few."""
        count = len(uids)
        if count < LEAST:
            return None
        view, table = self._view, self._table
        first, seq = table.row(uids[0]), view.seq(uids[0])
        if not seq or first < 0 or view.seq(uids[-1]) != seq + count - 1:
            return None
        if self._shows_flags and view.recent.of(uids) is not False:
            return None
        here = slice(first, first + count)
        octets = table.uids[here].tobytes()
        if octets != view.uids[seq - 1 : seq - 1 + count].tobytes():
            return None
        return octets, *_octets(table, self._columns, here)


def _length(item: Item) -> int:
    return len(item.template if isinstance(item, RowItem) else item.name)


def _octets(table: Table, names: Iterable[str], rows: slice) -> list[bytes]:
    columns = {"flags": table.flags, "modseqs": table.modseqs, "sizes": table.sizes, "dates": table.dates}
    return [columns[name][rows].tobytes() for name in names]
