"""Where the records of a `greenmail.cache` are: columns in memory, as the snapshot keeps them. See `cache`."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import compress, islice
from operator import lt

from greenmail.message.turn import rest

KIND_SHIFT = 32  # a key is the kind and 32 bit of UID
UID = (1 << KIND_SHIFT) - 1
PLACE_SHIFT = 25  # a place is an offset in the file and 25 bit of length
LENGTH = (1 << PLACE_SHIFT) - 1
_FEW = 512  # keys out of order that are found by hash before they are put into the columns
_SLICE = 4096


class Places:
    """Where the records of one kind are: `keys` ascends, and what comes in another order waits in `loose`."""

    __slots__ = ("checked", "keys", "loose", "places")

    def __init__(self, keys: "array[int]", places: "array[int]") -> None:
        self.keys = keys
        self.places = places
        self.checked = bytearray(len(keys))  # 1: the record was seen whole
        self.loose: dict[int, int] = {}

    def add(self, key: int, place: int) -> None:
        """A record that was written here, or seen whole."""
        if not self.keys or key > self.keys[-1]:
            self.keys.append(key)
            self.places.append(place)
            self.checked.append(1)
            return
        self.loose[key] = place
        if len(self.loose) > max(_FEW, len(self.keys) >> 8):
            self.keys, self.places, self.checked = self.merged()
            self.loose = {}

    def add_many(self, keys: Sequence[int], places: Sequence[int]) -> None:
        """Several of them; nearly always new ones, that come in order."""
        is_behind = not self.keys or not keys or keys[0] > self.keys[-1]
        if is_behind and all(map(lt, keys, islice(keys, 1, None))):
            self.keys.extend(keys)
            self.places.extend(places)
            self.checked.extend(b"\1" * len(keys))
            return
        for key, place in zip(keys, places, strict=True):
            self.add(key, place)

    def merged(self) -> tuple["array[int]", "array[int]", bytearray]:
        """The columns with what is loose in its place: whole runs are copied, so it is no long step."""
        count = len(self.checked)
        keys, places, checked = array("Q"), array("Q"), bytearray()
        start = 0
        for key, place in sorted(self.loose.items()):
            row = bisect_left(self.keys, key, start, count)
            if row > start:
                keys.extend(self.keys[start:row])
                places.extend(self.places[start:row])
                checked.extend(self.checked[start:row])
            keys.append(key)
            places.append(place)
            checked.append(1)
            start = row + 1 if row < count and self.keys[row] == key else row
        keys.extend(self.keys[start:count])
        places.extend(self.places[start:count])
        checked.extend(self.checked[start:count])
        return keys, places, checked

    def find(self, key: int) -> int | None:
        place = self.loose.get(key)
        if place is not None:
            return place
        row = bisect_left(self.keys, key)
        return self.places[row] if row < len(self.keys) and self.keys[row] == key else None

    def ends_before(self, key: int) -> bool:
        """Whether nothing is known of this key and of all behind it."""
        return not self.loose and (not self.keys or self.keys[-1] < key)

    def rows(self, keys: "array[int]") -> slice | None:
        """The rows of the columns that hold exactly `keys` (ascending, not empty), if some do."""
        first = bisect_left(self.keys, keys[0])
        last = first + len(keys)
        is_there = self.keys[first:last] == keys and (not self.loose or self.loose.keys().isdisjoint(keys))
        return slice(first, last) if is_there else None


def live_octets(columns: Iterable[tuple["array[int]", "array[int]"]], is_live: Callable[[int], bool], head: int) -> int:
    """What the records of live messages take up, of these keys and places; each has a head of `head` octets."""
    live = 0
    for keys, places in columns:
        for start in range(0, len(keys), _SLICE):
            uids = map(UID.__and__, keys[start : start + _SLICE])
            lives = list(compress(places[start : start + _SLICE], map(is_live, uids)))
            live += sum(map(LENGTH.__and__, lives)) + head * len(lives)
            rest(start)
    return live
