"""One reader's picture of a mailbox in which \\Seen is his own: all other flags are everybody's.

The mailbox's table is copied, with a column of flags in which \\Seen is what the reader's `SeenFile` says. The copy
changes in one place, `take_up`, in one step in which nobody else runs: what the mailbox behind it has found since, and
what any of our processes wrote to the file. Each such step has a number of its own; these stand where mod-sequences
do and serve the sessions of this worker alone: they are not told to clients (`tracks_modseq` is false).

What \\Seen says to the mailbox's other readers (the letter S) is not shown and never changed by this one.
"""

import logging
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from greenmail.errors import StorageError
from greenmail.runtime import Runtime
from greenmail.storage.api import SEEN, Changes, Flags, Mailbox, Row, Table
from greenmail.storage.data_file import Stamp
from greenmail.storage.history import History, Range, ranges
from greenmail.storage.seen_file import SeenFile, contains, difference
from greenmail.storage.subscribers import Subscribers

log = logging.getLogger(__name__)

_HOT_NS = 2_000_000_000
_ONLY_SEEN: Flags = frozenset({SEEN})


class PrivateSeen:
    """See the module's text. One for all sessions of a reader in a worker; `inner` must have been looked at."""

    def __init__(self, inner: Mailbox, file: SeenFile, runtime: Runtime) -> None:
        self.inner = inner
        self.table = Table()
        self.modseq = 1
        self.uidnext = inner.uidnext
        self.unseen = 0
        self.references = 0
        self._file = file
        self._runtime = runtime
        self._green = runtime.lock()
        self._history = History(1)
        self._seen: list[Range] = []
        self._stamp: Stamp | None = None
        self._is_settled = False
        self._taken = 0  # the mod-sequence of `inner` up to which its changes are in the table
        self._subscribers = Subscribers()
        self._read()
        self._build()

    def watched(self) -> bytes:
        """The directory of the reader's files, which are replaced. It is there from now on, if it can be made."""
        try:
            self._file.prepare()
        except StorageError as error:
            log.warning("seen path=%r error=%r", self._file.directory, error.text)
        return self._file.directory

    def _read(self) -> list[Range]:
        """Take up the file if it is another one; the ranges in which \\Seen changed."""
        stamp = self._file.stamp()
        if stamp == self._stamp and self._is_settled:
            return []
        # Two files made within one tick of the clock may have the same stamp: a young one is read again.
        age = self._runtime.now() * 1_000_000_000 - stamp[2]
        seen = self._file.read(self.inner.uidvalidity)
        changed = difference(self._seen, seen)
        self._seen, self._stamp, self._is_settled = seen, stamp, not 0 <= age < _HOT_NS
        return changed

    def _build(self) -> None:
        """The whole table, from the one of the mailbox."""
        source, table = self.inner.table, self.table
        unseen = [table.intern(flags - _ONLY_SEEN) for flags in source.flag_sets]
        seen = [table.intern(flags | _ONLY_SEEN) for flags in source.flag_sets]
        flags = array("I", map(unseen.__getitem__, source.flags))
        count = len(source)
        for first, last in self._seen:
            start, end = bisect_left(source.uids, first), bisect_right(source.uids, last)
            flags[start:end] = array("I", map(seen.__getitem__, source.flags[start:end]))
            count -= end - start
        table.uids[:], table.sizes[:], table.dates[:] = source.uids, source.sizes, source.dates
        table.flags[:] = flags
        table.modseqs[:] = array("Q", [self.modseq]) * len(source)
        self.unseen = count
        self._taken, self.uidnext = self.inner.modseq, self.inner.uidnext

    def take_up(self) -> None:
        """Whatever the last look at the mailbox found, and what is new in the file. At once, but for reading it."""
        redrawn = self._read()
        inner = self.inner
        if not redrawn and inner.modseq == self._taken:
            return
        changes = inner.changes(self._taken if self._taken <= inner.modseq else 0)
        if changes.expunged is None or self._taken > inner.modseq:
            touched: Iterable[int] = list(inner.table.uids)
            gone = [uid for uid in self.table.uids if inner.table.row(uid) < 0]
        else:
            touched, gone = changes.changed, [uid for uid in changes.expunged if self.table.row(uid) >= 0]
        self._taken, self.uidnext = inner.modseq, inner.uidnext
        number = self.modseq + 1
        changed = [uid for uid in sorted({*touched, *self._between(redrawn)}) if self._follow(uid, number)]
        if changed:
            self._history.note_changed(changed, number)
        if gone:
            self._remove(gone, number)
        if changed or gone:
            self.modseq = number

    def _between(self, some: Iterable[Range]) -> Iterable[int]:
        uids = self.table.uids
        for first, last in some:
            yield from uids[bisect_left(uids, first) : bisect_right(uids, last)]

    def _follow(self, uid: int, number: int) -> bool:
        """Bring one row into line with the mailbox; whether it is new or its flags are others."""
        source, table = self.inner.table, self.table
        there = source.row(uid)
        if there < 0:
            return False
        flags = source.flags_of(there) - _ONLY_SEEN
        wanted = table.intern(flags | _ONLY_SEEN if contains(self._seen, uid) else flags)
        row = table.row(uid)
        if row < 0:
            row = bisect_left(table.uids, uid)
            table.uids.insert(row, uid)
            table.flags.insert(row, wanted)
            table.modseqs.insert(row, number)
            table.sizes.insert(row, source.sizes[there])
            table.dates.insert(row, source.dates[there])
            self.unseen += SEEN not in table.flag_sets[wanted]
            return True
        if table.flags[row] == wanted:
            return False
        self.unseen += (SEEN not in table.flag_sets[wanted]) - (SEEN not in table.flags_of(row))
        table.flags[row] = wanted
        table.modseqs[row] = number
        return True

    def _remove(self, uids: Sequence[int], number: int) -> None:
        table = self.table
        self._history.note_expunged([self._row(table.row(uid)) for uid in uids], ranges(uids), number)
        for first, last in reversed(ranges(uids)):
            start, end = bisect_left(table.uids, first), bisect_right(table.uids, last)
            self.unseen -= sum(SEEN not in table.flag_sets[flags] for flags in table.flags[start:end])
            for column in (table.uids, table.flags, table.modseqs, table.sizes, table.dates):
                del column[start:end]

    def _row(self, row: int) -> Row:
        table = self.table
        return Row(table.uids[row], table.flags_of(row), table.modseqs[row], table.sizes[row], table.dates[row])

    def changes(self, since: int) -> Changes:
        """As `api.Mailbox.changes`."""
        return self._history.changes(since, self.table)

    def last_row(self, uid: int) -> Row | None:
        """As `api.Mailbox.last_row`."""
        return self._row(row) if (row := self.table.row(uid)) >= 0 else self._history.row(uid)

    def learn(self, uids: Iterable[int]) -> None:
        """Sizes and dates that the mailbox knows by now."""
        source, table = self.inner.table, self.table
        for uid in uids:
            row, there = table.row(uid), source.row(uid)
            if row >= 0 and there >= 0:
                table.sizes[row], table.dates[row] = source.sizes[there], source.dates[there]

    def has_seen(self, uid: int) -> bool:
        """Whether the reader has seen this message."""
        return contains(self._seen, uid)

    def mark(self, seen: Iterable[int], unseen: Iterable[int] = ()) -> None:
        """The reader has seen messages, or wants to have them unseen; on disk when it returns."""
        add, remove = sorted(set(seen)), sorted(set(unseen))
        if not add and not remove:
            return
        with self._green:
            live = self.table.uids[:]
            self._runtime.blocking(self._file.change, self.inner.uidvalidity, add, remove, live)
        self.take_up()
        self._subscribers.notify()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """As `api.Mailbox.subscribe`, for what the reader's own sessions here have seen."""
        return self._subscribers.add(notify)
