"""What happened lately in a mailbox: which messages changed, which went away, at which mod-sequence. RFC 7162 3.1.

Both lists are bounded. Of changes, what is forgotten can be found again in the table's column of mod-sequences; of
expunges it cannot: a question from before `expunged_floor` has no answer, and the asker compares all UIDs.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import compress, repeat

from greenmail.storage.api import Changes, Flags, Row, Table

EXPUNGED_LIMIT = 10_000  # ranges of UIDs
CHANGED_LIMIT = 20_000
ROWS_LIMIT = 10_000

Range = tuple[int, int]  # first and last UID
Values = tuple[int, Flags, int, int, int]  # of a `Row`


def ranges(uids: Iterable[int]) -> list[Range]:
    """Ascending `uids` as ranges without gaps."""
    found: list[Range] = []
    for uid in uids:
        if found and found[-1][1] == uid - 1:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
    return found


class History:
    """`floor`: the mod-sequence since which every change and expunge is known here."""

    def __init__(self, floor: int = 0) -> None:
        self.expunged_floor = floor
        self.expunged: list[tuple[int, int, int]] = []  # mod-sequence (ascending), first and last UID
        self._spans: list[Range] | None = None  # the same UIDs, ascending; None: to be made
        self._changed_floor = floor
        self._changed: list[tuple[int, int]] = []  # mod-sequence (ascending), UID
        self._rows: OrderedDict[int, Values] = OrderedDict()

    def note_changed(self, uids: Sequence[int], modseq: int) -> None:
        """These messages are new, or their flags changed, at `modseq`."""
        if len(uids) > CHANGED_LIMIT:
            self.all_changed(modseq)
            return
        self._changed.extend(zip(repeat(modseq), uids, strict=False))
        if len(self._changed) > CHANGED_LIMIT:
            keep = CHANGED_LIMIT // 2
            self._changed_floor = self._changed[-keep - 1][0]
            del self._changed[:-keep]

    def all_changed(self, modseq: int) -> None:
        """Very many messages are new or changed at `modseq`, or all are: the table's column tells it."""
        self._changed_floor, self._changed = modseq, []

    def note_expunged(self, rows: Iterable[Values], gone: Sequence[Range], modseq: int) -> None:
        """The UIDs of `gone`, ascending, went away at `modseq`; `rows` is what is known of them."""
        self._spans = None
        self.expunged.extend((modseq, first, last) for first, last in gone)
        surplus = len(self.expunged) - EXPUNGED_LIMIT
        if surplus > 0:
            self.expunged_floor = max(self.expunged_floor, self.expunged[surplus - 1][0])
            del self.expunged[:surplus]
        self._rows.update((row[0], row) for row in rows)
        while len(self._rows) > ROWS_LIMIT:
            self._rows.popitem(last=False)

    def knows_expunged(self, uid: int) -> bool:
        """Whether `uid` is remembered as expunged."""
        if uid in self._rows:
            return True
        if self._spans is None:
            self._spans = _joined((first, last) for _, first, last in self.expunged)
        place = bisect_right(self._spans, uid, key=_first_of_range)
        return place > 0 and uid <= self._spans[place - 1][1]

    def row(self, uid: int) -> Row | None:
        """What is remembered of an expunged message."""
        values = self._rows.get(uid)
        return None if values is None else Row(*values)

    def changes(self, since: int, table: Table) -> Changes:
        """What happened after `since`. Costs what happened, or one pass over the table for a distant past."""
        return Changes(self._changed_after(since, table), self._expunged_after(since))

    def _changed_after(self, since: int, table: Table) -> list[int]:
        if since < self._changed_floor:
            return list(compress(table.uids, map(since.__lt__, table.modseqs)))
        start = bisect_right(self._changed, since, key=_modseq_of_change)
        uids = sorted({uid for _, uid in self._changed[start:]})
        return list(compress(uids, map((-1).__lt__, table.rows(uids))))

    def _expunged_after(self, since: int) -> list[int] | None:
        if since < self.expunged_floor:
            return None
        start = bisect_right(self.expunged, since, key=_modseq_of_expunge)
        return sorted({uid for _, first, last in self.expunged[start:] for uid in range(first, last + 1)})


def _joined(spans: Iterable[Range]) -> list[Range]:
    """The same UIDs in ranges that ascend and do not overlap: only the last that begins before a UID can have it."""
    found: list[Range] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _first_of_range(span: Range) -> int:
    return span[0]


def _modseq_of_change(entry: tuple[int, int]) -> int:
    return entry[0]


def _modseq_of_expunge(entry: tuple[int, int, int]) -> int:
    return entry[0]
