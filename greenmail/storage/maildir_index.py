"""What is known of a Maildir mailbox in memory: the table, the file names, the counters, and how batches change them.

A *batch* is one change as the journal has it, and the only way in which an `Index` changes after it was loaded:

    m      mod-sequence of the change; 0 or missing if clients see nothing of it
    flags  sets of flags, to which `new` and `set` refer by place
    new    [uid, name, is_new, flags, size, date] of a message that came
    set    [uid, name, is_new, flags] of a message with another name or place; flags -1: as they were
    gone   [first, last] UIDs of messages that went
    fact   [uid, size, date] that were worked out; -1: not this one
    next, recent, times, letters    other values as `Index` has them

Names are octets, written as if they were Latin-1. A batch may be applied twice, and to an index that knows it already.
"""

import operator
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from greenmail.message.turn import rest, turn, turns
from greenmail.storage.api import DELETED, SEEN, Flags, Row, Table
from greenmail.storage.history import History
from greenmail.storage.journal import Batch
from greenmail.storage.maildir_change import Arrived
from greenmail.storage.snapshot import Snapshot

# What `Index.apply` raises of a batch that is none, and `from_snapshot` of what is no snapshot of a mailbox. Whoever
# writes into the directory can write that, too.
NO_CHANGE = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)


class Index:
    """Rows ascend by UID; `names[n]` is the file of `table` row n: in `new/` if its UID is in `in_new`, else `cur/`."""

    def __init__(self) -> None:
        self.table = Table()
        self.names: list[bytes] = []
        self.in_new: set[int] = set()
        self.new_names: dict[bytes, int] = {}  # file name -> UID of those
        self.history = History()
        self.uidvalidity = 0
        self.mailbox_id = ""
        self.uidnext = 1
        self.modseq = 0
        self.first_recent = 1
        self.times: list[int] = []  # see maildir_scan.Times
        self.letters: dict[int, str] = {}  # what the keyword letters meant when the flags were read
        self.unseen = 0
        self.deleted = 0
        self.octets = 0
        self.unknown_sizes = 0

    def row_of(self, row: int) -> Row:
        """One row as a value."""
        table = self.table
        return Row(table.uids[row], table.flags_of(row), table.modseqs[row], table.sizes[row], table.dates[row])

    def where(self, uid: int) -> tuple[bytes, bool] | None:
        """File name and whether it is in `new/`."""
        row = self.table.row(uid)
        return (self.names[row], uid in self.in_new) if row >= 0 else None

    def apply(self, batch: Batch, arrived: Arrived | None = None) -> None:
        """Take up one change; the module's text says what a batch is."""
        modseq: int = batch.get("m", 0)
        self.modseq = max(self.modseq, modseq)
        if arrived is not None:
            self._begin(arrived, modseq)
        sets = [self.table.intern(frozenset(flags)) for flags in batch.get("flags", ())]
        touched: list[int] = []
        new: Sequence[Sequence[Any]] = batch.get("new", [])
        for start in range(0, len(new), _SLICE):  # no other thread can run while a column is extended
            touched += self._take_new(new[start : start + _SLICE], sets, modseq)
        known: Sequence[Sequence[Any]] = batch.get("set", [])
        for start in range(0, len(known), _SLICE):
            touched += self._take_set(known[start : start + _SLICE], sets, modseq)
        if touched:
            self.history.note_changed(touched, modseq)
        if "gone" in batch:
            self._remove(batch["gone"], modseq)
        for uid, size, date in turns(batch.get("fact", ())):
            self.learn(uid, size, date)
        self._values(batch)

    def _take_set(self, entries: Sequence[Sequence[Any]], sets: list[int], modseq: int) -> list[int]:
        """Messages with another name, place or flags; the UIDs of those with other flags."""
        uids = [entry[0] for entry in entries]
        rows = self.table.rows(uids)
        is_plain = isinstance(rows, range) and not self.in_new
        if is_plain and all(flags >= 0 and not is_new for _, _, is_new, flags in entries):
            self._take_neighbours(rows, [entry[1] for entry in entries], [sets[entry[3]] for entry in entries], modseq)
            return uids
        touched: list[int] = []
        for uid, name, is_new, flags in turns(entries):
            row = self.table.row(uid)
            if row < 0:
                continue
            if is_new or self.in_new:
                if uid in self.in_new:
                    self.new_names.pop(self.names[row], None)
                self.names[row] = _octets(name)
                self._place(row, bool(is_new))
            else:
                self.names[row] = _octets(name)
            if flags >= 0:
                self._flag(row, sets[flags], modseq)
                touched.append(uid)
        return touched

    def _take_neighbours(self, rows: Sequence[int], texts: list[str], numbers: list[int], modseq: int) -> None:
        """Other names and flags of messages in `cur/`, as columns."""
        table = self.table
        here = slice(rows[0], rows[-1] + 1)
        names = _all_octets(texts)
        for (old, new), count in Counter(zip(table.flags[here], numbers, strict=True)).items():
            before, after = table.flag_sets[old], table.flag_sets[new]
            self.unseen += count * ((SEEN not in after) - (SEEN not in before))
            self.deleted += count * ((DELETED in after) - (DELETED in before))
        self.names[here] = names
        table.flags[here] = array(table.flags.typecode, numbers)
        latest = [max(modseq, known) for known in table.modseqs[here]]
        table.modseqs[here] = array(table.modseqs.typecode, latest)

    def _values(self, batch: Batch) -> None:
        self.uidnext = max(self.uidnext, batch.get("next", 1))
        self.first_recent = max(self.first_recent, batch.get("recent", 1))
        self.times = _times(batch.get("times", self.times))
        if "letters" in batch:
            self.letters = {int(letter): name for letter, name in batch["letters"].items()}

    def _take_new(self, entries: Sequence[Sequence[Any]], sets: list[int], modseq: int) -> list[int]:
        """Messages that came; their UIDs. As nearly always, they stand behind all others: then as columns."""
        table = self.table
        uids: list[int] = [entry[0] for entry in entries]
        if uids[0] <= (table.uids[-1] if table.uids else 0) or not all(map(operator.lt, uids, uids[1:])):
            for uid, name, is_new, flags, size, date in entries:
                row = self._put(uid, _octets(name), sets[flags], (size, date))
                self._flag(row, sets[flags], modseq)
                self._place(row, bool(is_new))
            return uids
        row = len(self.names)
        flags_of_each = [sets[entry[3]] for entry in entries]
        sizes: list[int] = [entry[4] for entry in entries]
        table.uids.extend(uids)
        table.flags.extend(flags_of_each)
        table.modseqs.extend([modseq] * len(uids))
        table.sizes.extend(sizes)
        table.dates.extend([entry[5] for entry in entries])
        self.names.extend(_all_octets([entry[1] for entry in entries]))
        self.uidnext = max(self.uidnext, uids[-1] + 1)
        for number, count in Counter(flags_of_each).items():
            known = table.flag_sets[number]
            self.unseen += count * (SEEN not in known)
            self.deleted += count * (DELETED in known)
        counted = [size for size in sizes if size >= 0]
        self.octets += sum(counted)
        self.unknown_sizes += len(sizes) - len(counted)
        for entry in entries:
            if entry[2]:
                self._place(row, True)
            row += 1
        return uids

    def _begin(self, arrived: Arrived, modseq: int) -> None:
        """All messages, where there were none."""
        table, count = self.table, len(arrived.names)
        numbers = bytes(table.intern(flags) for flags in arrived.flags).ljust(256)
        for start in range(0, count, _SLICE):
            kinds = arrived.kinds[start : start + _SLICE]
            sizes = arrived.sizes[start : start + _SLICE]
            table.uids.extend(arrived.uids[start : start + _SLICE])
            table.flags.extend(kinds.translate(numbers))
            table.sizes.extend(sizes)
            table.modseqs.extend(array("Q", [modseq]) * len(kinds))
            table.dates.extend(array("q", [-1]) * len(kinds))
            unknown = sizes.count(-1)
            self.unknown_sizes += unknown
            self.octets += sum(sizes) + unknown
            rest(start)
        self.names = arrived.names
        for number, flags in enumerate(arrived.flags):
            messages = arrived.kinds.count(number)
            self.unseen += messages * (SEEN not in flags)
            self.deleted += messages * (DELETED in flags)
        for row in turns(arrived.new):
            self._place(row, True)
        self.uidnext = max(self.uidnext, arrived.uids[-1] + 1)
        self.history.all_changed(modseq)

    def _put(self, uid: int, name: bytes, flags: int, facts: tuple[int, int]) -> int:
        """Add a row, or take up what may be new of one that is there; its place."""
        table = self.table
        place = len(table.uids) if not table.uids or uid > table.uids[-1] else bisect_left(table.uids, uid)
        if place < len(table.uids) and table.uids[place] == uid:
            if uid in self.in_new:
                self.new_names.pop(self.names[place], None)
            self.names[place] = name
            self.learn(uid, *facts)
            return place
        table.uids.insert(place, uid)
        table.flags.insert(place, flags)
        table.modseqs.insert(place, 0)
        table.sizes.insert(place, facts[0])
        table.dates.insert(place, facts[1])
        self.names.insert(place, name)
        self.uidnext = max(self.uidnext, uid + 1)
        self._count(place, 1)
        return place

    def _flag(self, row: int, flags: int, modseq: int) -> None:
        table = self.table
        old = table.flags[row]
        if old != flags:
            before, after = table.flag_sets[old], table.flag_sets[flags]
            self.unseen += (SEEN not in after) - (SEEN not in before)
            self.deleted += (DELETED in after) - (DELETED in before)
            table.flags[row] = flags
        if modseq > table.modseqs[row]:
            table.modseqs[row] = modseq

    def _place(self, row: int, is_new: bool) -> None:
        uid = self.table.uids[row]
        if is_new:
            self.in_new.add(uid)
            self.new_names[self.names[row]] = uid
        elif self.in_new and uid in self.in_new:
            self.in_new.remove(uid)
            self.new_names.pop(self.names[row], None)

    def _count(self, row: int, sign: int) -> None:
        flags = self.table.flags_of(row)
        size = self.table.sizes[row]
        self.unseen += sign * (SEEN not in flags)
        self.deleted += sign * (DELETED in flags)
        if size < 0:
            self.unknown_sizes += sign
        else:
            self.octets += sign * size

    def learn(self, uid: int, size: int, date: int) -> None:
        """Facts of a message: -1 leaves what is known."""
        row = self.table.row(uid)
        if row < 0:
            return
        if size >= 0:
            before = self.table.sizes[row]
            self.table.sizes[row] = size
            self.octets += size - max(before, 0)
            self.unknown_sizes -= before < 0
        if date >= 0:
            self.table.dates[row] = date

    def _remove(self, gone: Sequence[Sequence[int]], modseq: int) -> None:
        table = self.table
        spans: list[tuple[int, int]] = []  # of rows, ascending
        for first, last in gone:
            start, end = bisect_left(table.uids, first), bisect_left(table.uids, last + 1)
            start = max(start, spans[-1][1]) if spans else start
            if start < end:
                spans.append((start, end))
        rows = chain.from_iterable(self._values_of(start, end) for start, end in spans)
        self.history.note_expunged(rows, [(first, last) for first, last in gone], modseq)
        for start, end in spans:
            self._discount(start, end)
        kept = _between(spans, len(self.names))
        for column in self.columns():
            fresh: array[int] = array(column.typecode)
            for start, end in kept:
                fresh.extend(column[start:end])
            column[:] = fresh
        names: list[bytes] = []
        for start, end in kept:
            names += self.names[start:end]
        self.names[:] = names

    def _values_of(self, start: int, end: int) -> Iterator[tuple[int, Flags, int, int, int]]:
        """Rows as values."""
        here, table = slice(start, end), self.table
        flags = map(table.flag_sets.__getitem__, table.flags[here])
        return zip(table.uids[here], flags, table.modseqs[here], table.sizes[here], table.dates[here], strict=True)

    def _discount(self, start: int, end: int) -> None:
        """These rows go."""
        table = self.table
        for number, count in Counter(table.flags[start:end]).items():
            known = table.flag_sets[number]
            self.unseen -= count * (SEEN not in known)
            self.deleted -= count * (DELETED in known)
        counted = [size for size in table.sizes[start:end] if size >= 0]
        self.octets -= sum(counted)
        self.unknown_sizes -= end - start - len(counted)
        for uid in self.in_new.intersection(table.uids[start:end]) if self.in_new else ():
            self.in_new.remove(uid)
            self.new_names.pop(self.names[table.row(uid)], None)

    def columns(self) -> tuple["array[int]", ...]:
        """Those of the table, in the order of `_COLUMNS`."""
        table = self.table
        return table.uids, table.flags, table.modseqs, table.sizes, table.dates

    def recount(self) -> None:
        """The counters, from the columns."""
        self.unseen = self.deleted = self.octets = self.unknown_sizes = 0
        table = self.table
        unseen = [SEEN not in flags for flags in table.flag_sets]
        deleted = [DELETED in flags for flags in table.flag_sets]
        self.unseen = sum(unseen[flags] for flags in table.flags)
        turn()
        self.deleted = sum(deleted[flags] for flags in table.flags)
        turn()
        self.octets = sum(size for size in table.sizes if size >= 0)
        turn()
        self.unknown_sizes = sum(1 for size in table.sizes if size < 0)

    def compact_flags(self) -> None:
        """Forget sets of flags that no message has, if there are many. Nobody may hold numbers of sets meanwhile."""
        table = self.table
        if len(table.flag_sets) <= _SETS:
            return
        used = sorted(set(table.flags) | {0})
        numbers = {old: new for new, old in enumerate(used)}
        sets = [table.flag_sets[old] for old in used]
        table.flags[:] = array(table.flags.typecode, map(numbers.__getitem__, table.flags))
        table.flag_sets[:] = sets
        table._sets.clear()
        table._sets.update((flags, number) for number, flags in enumerate(sets))

    def adopt(self, other: "Index") -> None:
        """Become `other`, in place: views and sessions hold on to this table."""
        mine, theirs = self.table, other.table
        mine.flag_sets[:] = theirs.flag_sets
        mine._sets.clear()
        mine._sets.update(theirs._sets)
        for column, source in zip(self.columns(), other.columns(), strict=True):
            column[:] = source
        self.names[:] = other.names
        for key in _KEPT:
            setattr(self, key, getattr(other, key))  # plain attributes by a constant list, nothing is dispatched
        self.recount()

    def snapshot(self) -> Snapshot:
        """Everything, for the file."""
        table = self.table
        meta = {
            "uidvalidity": self.uidvalidity,
            "mailbox_id": self.mailbox_id,
            "uidnext": self.uidnext,
            "modseq": self.modseq,
            "first_recent": self.first_recent,
            "times": self.times,
            "letters": self.letters,
            "in_new": sorted(self.in_new),
            "flag_sets": [sorted(flags) for flags in table.flag_sets],
            "expunged": self.history.expunged,
            "expunged_floor": self.history.expunged_floor,
        }
        columns = dict(zip(_COLUMNS, self.columns(), strict=True))
        return Snapshot(meta, columns, self.names)


_SLICE = 4096
_SLASH = b"/"
_SETS = 1000  # sets of flags that are kept, used or not
_KEPT = (
    "in_new",
    "new_names",
    "history",
    "uidvalidity",
    "mailbox_id",
    "uidnext",
    "modseq",
    "first_recent",
    "times",
    "letters",
)
_MAILBOX_ID = re.compile("[0-9a-fA-F]{32}")
_COLUMNS = ("uids", "flags", "modseqs", "sizes", "dates")
_NUMBERS = ("uidvalidity", "uidnext", "modseq", "first_recent", "expunged_floor")


def _octets(name: str) -> bytes:
    """A file name of a batch. Who shares a mailbox may have written it: what leads elsewhere is no name of a file."""
    return name.encode("latin-1", "replace").replace(_SLASH, b"_")


def _all_octets(names: list[str]) -> list[bytes]:
    """`_octets` of each of some."""
    found = "/".join(names).encode("latin-1", "replace").split(_SLASH)
    return found if len(found) == len(names) else [_octets(name) for name in names]


def _lead_elsewhere(names: list[bytes]) -> bool:
    """Whether one of them is not the name of a file."""
    return any(_SLASH in b"\0".join(names[start : start + _SLICE]) for start in range(0, len(names), _SLICE))


def _times(value: Any) -> list[int]:
    """`Index.times`: numbers, if any. Raises ValueError."""
    if not isinstance(value, list) or len(value) in (1, 2, 3) or not all(isinstance(one, int) for one in value):
        raise ValueError("times are four numbers, or more, or none")
    return value


def _must_be_sound(snapshot: Snapshot) -> None:
    """What nobody looks at again is of its kind: who shares a mailbox, or another version of this, may have written it.

    Raises NO_CHANGE.
    """
    meta, columns = snapshot.meta, snapshot.columns
    for name, kind in zip(_COLUMNS, Index().columns(), strict=True):
        if columns[name].typecode != kind.typecode or len(columns[name]) != len(snapshot.files):
            raise ValueError(f"{name} are not as many numbers of {kind.itemsize} octets as there are files")
    for name in _NUMBERS:
        if not isinstance(meta[name], int):
            raise ValueError(f"{name} is no number")
    if not _MAILBOX_ID.fullmatch(meta["mailbox_id"]):  # others name files by it
        raise ValueError("the mailbox id is none")
    if _lead_elsewhere(snapshot.files):
        raise ValueError("the name of a file leads elsewhere")


def from_snapshot(snapshot: Snapshot) -> Index:
    """The index as it was saved. Raises NO_CHANGE."""
    _must_be_sound(snapshot)
    meta, columns = snapshot.meta, snapshot.columns
    index = Index()
    table = index.table
    for flags in meta["flag_sets"]:
        table.intern(frozenset(flags))
    table.uids, table.flags, table.modseqs, table.sizes, table.dates = (columns[name] for name in _COLUMNS)
    index.names = snapshot.files
    index.in_new = set(meta["in_new"])
    index.new_names = {index.names[row]: uid for uid in index.in_new if (row := table.row(uid)) >= 0}
    index.uidvalidity, index.mailbox_id = meta["uidvalidity"], meta["mailbox_id"]
    index.uidnext, index.modseq, index.first_recent = meta["uidnext"], meta["modseq"], meta["first_recent"]
    index.times = _times(meta["times"])
    index.letters = {int(letter): name for letter, name in meta["letters"].items()}
    index.history = History(index.modseq)
    index.history.expunged = [(modseq, first, last) for modseq, first, last in meta["expunged"]]
    array("Q", chain.from_iterable(index.history.expunged))  # which takes nothing but numbers
    index.history.expunged_floor = meta["expunged_floor"]
    index.compact_flags()
    index.recount()
    return index


def _between(spans: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """What of `count` rows stays when those of `spans`, ascending, go."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), count]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
