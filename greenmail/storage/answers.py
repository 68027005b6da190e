"""Octets that were made of rows of a mailbox, kept so that they can be given again without being made again.

Nothing has to be told that a row changed: with the octets stands what they were made of, the columns of these rows as
octets and the sets of flags whose numbers are in them, and they are given only for rows that are the same. What else
they depend on is in their kind.

All mailboxes of a worker keep theirs in one `Room`. What was used longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

FlagSets = Sequence[frozenset[str]]

_FIXED = 300  # octets that an entry takes beside those that it holds
_KINDS = 64  # of one mailbox, behind which those without entries are looked for
SHARE = 4  # the part of `cache-memory` that answers may take
LARGEST = 64  # the part of a room that a single entry may take


class Entry:
    """The octets for the rows from `place` on."""

    __slots__ = ("made_of", "octets", "place", "shelf")

    def __init__(self, shelf: "Shelf", place: int, made_of: tuple[bytes, ...], octets: bytes) -> None:
        self.shelf = shelf
        self.place = place
        self.made_of = made_of
        self.octets = octets

    @property
    def memory(self) -> int:
        return _FIXED + len(self.octets) + sum(map(len, self.made_of))


class Room:
    """What all answers of a worker may take: `limit` octets."""

    __slots__ = ("_limit", "_order", "octets")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._order: OrderedDict[Entry, None] = OrderedDict()
        self.octets = 0  # that they take now

    def used(self, entry: Entry) -> None:
        """It was wanted again."""
        self._order.move_to_end(entry)

    def admit(self, entry: Entry) -> bool:
        """Take it in, and give up others for it; False if it is too large for that."""
        memory = entry.memory
        if memory > self._limit // LARGEST:
            return False
        self._order[entry] = None
        self.octets += memory
        while self.octets > self._limit:
            oldest, _ = self._order.popitem(last=False)
            self.octets -= oldest.memory
            oldest.shelf.entries.pop(oldest.place, None)
        return True

    def remove(self, entry: Entry) -> None:
        """Its shelf has forgotten it."""
        del self._order[entry]
        self.octets -= entry.memory


class Shelf:
    """The answers of one kind, by the place of their first row: what they are the same for is up to the caller."""

    __slots__ = ("_room", "_sets", "entries")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._sets: list[frozenset[str]] = []
        self.entries: dict[int, Entry] = {}

    def find(self, place: int, made_of: tuple[bytes, ...], sets: FlagSets) -> bytes | None:
        """What was kept for the same rows. `sets`: what numbers of flags in `made_of` mean."""
        entry = self.entries.get(place)
        if entry is None or entry.made_of != made_of or not self._means_the_same(sets):
            return None
        self._room.used(entry)
        return entry.octets

    def keep(self, place: int, made_of: tuple[bytes, ...], sets: FlagSets, octets: bytes, most: int = 0) -> None:
        """Keep `octets` in place of what there was. `most`: how many there may be here, or the oldest goes; 0: any."""
        old = self.entries.pop(place, None)
        if old is None and 0 < most <= len(self.entries):
            old = self.entries.pop(next(iter(self.entries)))
        if old is not None:
            self._room.remove(old)
        if not self._means_the_same(sets):
            self.forget()
        if len(sets) > len(self._sets):
            self._sets = list(sets)
        entry = Entry(self, place, made_of, octets)
        if self._room.admit(entry):
            self.entries[place] = entry

    def _means_the_same(self, sets: FlagSets) -> bool:
        """New sets are added behind the others; all else means that numbers may mean something else."""
        return list(sets[: len(self._sets)]) == self._sets

    def forget(self) -> None:
        """Forget them all."""
        for entry in self.entries.values():
            self._room.remove(entry)
        self.entries.clear()
        self._sets = []


class Answers:
    """Those of one mailbox."""

    __slots__ = ("_room", "_shelves")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._shelves: dict[Hashable, Shelf] = {}

    def shelf(self, kind: Hashable) -> Shelf:
        """The answers of this kind."""
        shelf = self._shelves.get(kind)
        if shelf is None:
            if len(self._shelves) >= _KINDS:
                self._shelves = {kind: shelf for kind, shelf in self._shelves.items() if shelf.entries}
            shelf = self._shelves[kind] = Shelf(self._room)
        return shelf

    def forget(self) -> None:
        """The mailbox is given up."""
        for shelf in self._shelves.values():
            shelf.forget()
        self._shelves.clear()
