"""Columns of some messages at once, as the store has them now or remembers them."""

from array import array
from collections.abc import Callable, Sequence
from itertools import compress

from greenmail.imap.fetch_att import Rows
from greenmail.imap.slices import FEW, slices
from greenmail.imap.view import View
from greenmail.storage.api import Mailbox, Table


def known_rows(mailbox: Mailbox, uids: Sequence[int]) -> Rows:
    """The rows of `uids` (ascending), those of messages expunged lately included; without those nobody knows.

    At once. Neighbours in the table, as `1:*` makes them, are slices and cost no look-up.
    """
    table = mailbox.table
    first = _place(table, uids)
    if first >= 0:
        return _slices(table, first, first + len(uids))
    rows = [row for row in map(mailbox.last_row, uids) if row is not None]
    return Rows(
        uids=[row.uid for row in rows],
        flags=[row.flags for row in rows],
        modseqs=[row.modseq for row in rows],
        sizes=[row.size for row in rows],
        dates=[row.date for row in rows],
    )


Column = Callable[[Mailbox, Sequence[int]], Sequence[int]]  # of `uids` (ascending): `dates_of` and its like


def in_turns(mailbox: Mailbox, uids: Sequence[int], column: Column, breathe: Callable[[], None]) -> list[int]:
    """`column` of as many as there are."""
    found: list[int] = []
    for some in slices(uids, FEW):
        found += column(mailbox, some)
        breathe()
    return found


def dates_of(mailbox: Mailbox, uids: Sequence[int]) -> Sequence[int]:
    """INTERNALDATE of each of `uids` (ascending) in seconds, -1 of one of which nothing is known any more."""
    mailbox.fill(uids, dates=True)
    rows = known_rows(mailbox, uids)
    return _each(uids, rows, rows.dates, -1)


def sizes_of(mailbox: Mailbox, uids: Sequence[int]) -> Sequence[int]:
    """RFC822.SIZE of each of `uids` (ascending), -1 of one of which nothing is known any more."""
    mailbox.fill(uids, sizes=True)
    rows = known_rows(mailbox, uids)
    return _each(uids, rows, rows.sizes, -1)


def modseqs_in(mailbox: Mailbox, uids: Sequence[int]) -> Sequence[int]:
    """The mod-sequence of each of `uids` (ascending), 0 of one of which nothing is known any more."""
    rows = known_rows(mailbox, uids)
    return _each(uids, rows, rows.modseqs, 0)


def _each(uids: Sequence[int], rows: Rows, column: Sequence[int], unknown: int) -> Sequence[int]:
    if len(rows.uids) == len(uids):
        return column
    known = dict(zip(rows.uids, column, strict=True))
    return [known.get(uid, unknown) for uid in uids]


def live_rows(table: Table, uids: Sequence[int]) -> Sequence[int]:
    """The row numbers of `uids` (ascending), -1 for one that is gone; good until the next call of the store."""
    first = _place(table, uids)
    return range(first, first + len(uids)) if first >= 0 else [table.row(uid) for uid in uids]


def _place(table: Table, uids: Sequence[int]) -> int:
    """The row of the first of `uids` if the others follow it in the table, else -1."""
    first = table.row(uids[0]) if uids else -1
    if len(uids) == 1:
        return first
    if first < 0 or table.row(uids[-1]) != first + len(uids) - 1:
        return -1
    there = table.uids[first : first + len(uids)]
    column = uids if isinstance(uids, array) else array(there.typecode, uids)
    return first if column == there else -1


def any_flag_sets(table: Table, wanted: str) -> list[bool]:
    """For each of `table.flag_sets`, whether `wanted` is in it; compared without case. RFC 9051 2.3.2."""
    folded = wanted.casefold()
    return [any(flag.casefold() == folded for flag in flags) for flags in table.flag_sets]


def numbers_of(view: View, uids: Sequence[int]) -> Sequence[int]:
    """The sequence numbers of `uids`, which are ascending and all in the view."""
    if not uids:
        return ()
    first = view.seq(uids[0])
    if view.seq(uids[-1]) - first == len(uids) - 1:
        return range(first, first + len(uids))
    if len(uids) < len(view.uids) >> 4:
        return [view.seq(uid) for uid in uids]
    found = list(compress(range(1, len(view.uids) + 1), map(set(uids).__contains__, view.uids)))
    if len(found) == len(uids):
        return found
    numbers = dict(zip(view.uids, range(1, len(view.uids) + 1), strict=True))
    return [numbers.get(uid, 0) for uid in uids]


def one_row(rows: Rows, place: int) -> Rows:
    """The columns of one of the messages."""
    here = slice(place, place + 1)
    return Rows(rows.uids[here], rows.flags[here], rows.modseqs[here], rows.sizes[here], rows.dates[here])


def turned(rows: Rows) -> Rows:
    """The columns, the last message first."""
    return Rows(rows.uids[::-1], rows.flags[::-1], rows.modseqs[::-1], rows.sizes[::-1], rows.dates[::-1])


def _slices(table: Table, first: int, last: int) -> Rows:
    sets = table.flag_sets
    return Rows(
        uids=table.uids[first:last],
        flags=[sets[number] for number in table.flags[first:last]],
        modseqs=table.modseqs[first:last],
        sizes=table.sizes[first:last],
        dates=table.dates[first:last],
    )
