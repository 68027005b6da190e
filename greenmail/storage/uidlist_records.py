"""The records of a `dovecot-uidlist` in memory: some 65 octets each when they are many, as quick as a dict when few.

What came last lies in two dicts. When these hold more than `YOUNG` records (and a sixteenth of all) they are packed:

    block   up to `BLOCK` lines, ascending, as they stand in the file: `17 W755 :1704300000.4711_2.mx,S=755` LF
    key     for each packed record: 40 bits of the hash of its base name, then the number of its block; in one of 4096
            arrays, by 12 other bits of the hash, which are sorted when somebody asks

A line ends in a colon and its base name, which has none: so text that is found in a block is that record and no other.
Whatever stands in a line stays as it is, also fields that nobody here knows.
"""

import heapq
import operator
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from greenmail.message.turn import rest

YOUNG = 65_536
BLOCK = 64
_SLICE = 4096
_TOGETHER = 1024  # blocks that become one dict, where many names are asked for
_SHARE = 16  # of all records, that may be young
_PARTS = 4096
_NUMBER = (1 << 24) - 1  # of a block
_HASH = (1 << 40) - 1
_PER_YOUNG = 270  # octets of a young record, measured with names of 70
_PER_BLOCK = 48
_PER_KEY = 9

Record = tuple[int, bytes, bytes]  # UID, raw fields such as b"W755 Pabc", base name


class Records:
    """Base name -> UID, like a dict in ascending order of UIDs, and the raw fields of each record."""

    __slots__ = ("_blocks", "_fields", "_firsts", "_is_sorted", "_keys", "_octets", "_packed", "_young", "highest")

    def __init__(self) -> None:
        self._young: dict[bytes, int] = {}
        self._fields: dict[int, bytes] = {}  # of young records that have any
        self._blocks: list[bytes] = []
        self._firsts: array[int] = array("I")  # a UID not above the first of each block, and above all before it
        self._keys: list[array[int]] = []  # made with the first block
        self._is_sorted = True
        self._packed = 0  # records
        self._octets = 0  # in blocks
        self.highest = 0  # UID, 0 if there are none

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Records":
        """From records in ascending order, each name once."""
        made = cls()
        source = iter(records)
        while some := list(islice(source, _SLICE)):
            made.extend(
                [base for _, _, base in some],
                [uid for uid, _, _ in some],
                {base: raw for _, raw, base in some if raw},
            )
        return made

    @classmethod
    def taking(cls, uids: dict[bytes, int], fields: dict[int, bytes]) -> "Records":
        """From dicts in ascending order, which are given away: base name -> UID, and UID -> raw fields."""
        made = cls()
        made._young, made._fields = uids, fields
        made.highest = next(reversed(uids.values()), 0)
        made._pack_many()
        return made

    # As a dict

    def __len__(self) -> int:
        return self._packed + len(self._young)

    def __contains__(self, base: object) -> bool:
        return isinstance(base, bytes) and self.get(base) is not None

    def __iter__(self) -> Iterator[bytes]:
        for _, _, base in self.records():
            yield base

    def __getitem__(self, base: bytes) -> int:
        uid = self.get(base)
        if uid is None:
            raise KeyError(base)
        return uid

    def __eq__(self, other: object) -> bool:
        """As dicts of UIDs."""
        if isinstance(other, Records):
            return list(self.records()) == list(other.records())
        return dict(self.items()) == other

    __hash__ = None  # type: ignore[assignment] # it changes, like a dict

    def get(self, base: bytes) -> int | None:
        """The UID of a base name."""
        uid = self._young.get(base)
        if uid is not None or not self._blocks:
            return uid
        found = self._line_of(base)
        return None if found is None else int(found[1].partition(b" ")[0])

    def uids_of(self, bases: Sequence[bytes]) -> "array[int]":
        """The UID of each of many base names; 0 for one that is not here."""
        found = array("I")
        for start in range(0, len(bases), _SLICE):
            found.extend(map(self._young.get, bases[start : start + _SLICE], repeat(0)))
        for start in range(0, len(self._blocks), _TOGETHER):
            records = [
                _record(line) for block in self._blocks[start : start + _TOGETHER] for line in block.split(b"\n")[:-1]
            ]
            some = {base: uid for uid, _, base in records}
            for at in range(0, len(bases), _SLICE):
                known = found[at : at + _SLICE]
                found[at : at + _SLICE] = array("I", map(some.get, bases[at : at + _SLICE], known))
        return found

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Base names and UIDs."""
        for uid, _, base in self.records():
            yield base, uid

    def values(self) -> Iterator[int]:
        """The UIDs."""
        for uid, _, _ in self.records():
            yield uid

    # Records

    def records(self) -> Iterator[Record]:
        """All of them."""
        for block in self._blocks:
            yield from map(_record, block.split(b"\n")[:-1])
        fields = self._fields
        for base, uid in self._young.items():
            yield uid, fields.get(uid, b""), base

    def lines(self) -> Iterator[bytes]:
        """The file without its header, in pieces of whole lines."""
        for start in range(0, len(self._blocks), BLOCK):
            yield b"".join(self._blocks[start : start + BLOCK])
        yield from _young_lines(self._young, self._fields)

    def missing(self, rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Those of `rows` (UID and base name, ascending) that are not here: both are gone through side by side."""
        lines = self.items()
        line, number = next(lines, (b"", 0))
        for uid, base in rows:
            while 0 < number < uid:
                line, number = next(lines, (b"", 0))
            if uid != number or base != line:
                yield uid, base

    def raw(self, uid: int) -> bytes:
        """The raw fields of a record; empty if it has none, or is not there."""
        found = self._place_of(uid)
        return self._fields.get(uid, b"") if found is None else _record(found[1])[1]

    def raw_with(self, uids: Iterable[int], key: bytes) -> Iterator[tuple[int, bytes]]:
        """Those of `uids` that may have the field `key`, with their raw fields: blocks without it are not read."""
        mark = b" " + key
        last, has = -1, False
        for uid in uids:
            raw = self._fields.get(uid)
            if raw is None and self._blocks:
                number = bisect_right(self._firsts, uid) - 1
                if number != last:
                    last, has = number, number >= 0 and mark in self._blocks[number]
                raw = self.raw(uid) if has else None
            if raw:
                yield uid, raw

    def may_have(self, keys: Iterable[bytes]) -> bool:
        """Whether some record has one of these fields, as far as can be seen without reading them one by one."""
        young = b" " + b" ".join(self._fields.values())
        return any(b" " + key in text for text in (young, *self._blocks) for key in keys)

    def set_raw(self, uid: int, raw: bytes) -> None:
        """Other fields for a record that is there."""
        found = self._place_of(uid)
        if found is None:
            self._fields.pop(uid, None)
            if raw:
                self._fields[uid] = raw
        else:
            number, line = found
            self._change(number, line, line_of(uid, raw, _record(line)[2]))

    def memory(self) -> int:
        """Octets that they take up."""
        packed = self._octets + _PER_BLOCK * len(self._blocks) + _PER_KEY * self._packed
        return _PER_YOUNG * len(self._young) + packed

    # Changes

    def extend(self, bases: Sequence[bytes], uids: Sequence[int], fields: Mapping[bytes, bytes]) -> None:
        """Records with names that are not here, and UIDs above all that are. `fields`: base name -> raw fields."""
        for start in range(0, len(bases), _SLICE):  # no other thread can run during an update
            some, numbers = bases[start : start + _SLICE], uids[start : start + _SLICE]
            self._young.update(zip(some, numbers, strict=True))
            if fields:
                self._fields.update(
                    (uid, fields[base]) for base, uid in zip(some, numbers, strict=True) if base in fields
                )
            self.highest = numbers[-1]
            self._pack_many()

    def remove(self, base: bytes) -> None:
        """Forget a record, if it is there."""
        uid = self._young.pop(base, None)
        if uid is not None:
            self._fields.pop(uid, None)
        elif self._blocks and (found := self._line_of(base)) is not None:
            self._change(*found, b"")  # its key leads nowhere then, which `_line_of` notices
            self._packed -= 1

    def copy(self) -> "Records":
        """What stays as it is while this one changes."""
        made = Records()
        made._young, made._fields = self._young.copy(), self._fields.copy()
        made._blocks, made._firsts, made._keys = self._blocks[:], self._firsts[:], [keys[:] for keys in self._keys]
        made._is_sorted, made._packed, made._octets = self._is_sorted, self._packed, self._octets
        made.highest = self.highest
        return made

    def only(self, live: Collection[bytes]) -> "Records":
        """Those whose base names are in `live`."""
        if self._blocks:
            return Records.of(filter(lambda record: record[2] in live, self.records()))
        uids = {base: uid for base, uid in self._young.items() if base in live}
        if not self._fields:
            return Records.taking(uids, {})
        return Records.taking(uids, {uid: self._fields[uid] for uid in uids.values() if uid in self._fields})

    def with_others(self, others: Iterable[Record]) -> "Records":
        """All of them and `others`, in any order, with names and UIDs that are not here."""
        return Records.of(heapq.merge(self.records(), sorted(others)))

    # Packed at once, for `uidlist_format.parse`

    def take(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> bool:
        """Pack lines (digits, fields with a space behind each, base name); False if their UIDs are not in order."""
        uids = [int(digits) for digits, _, _ in rows]
        if any(digits.startswith(b"0") for digits, _, _ in rows):
            return False
        if uids and not (self.highest < uids[0] and all(map(operator.lt, uids, uids[1:]))):
            return False
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            self._add_block(b"".join(map(b"%b %b:%b\n".__mod__, some)), uids[start], [base for _, _, base in some])
        self.highest = uids[-1] if uids else self.highest
        return True

    def has_twins(self) -> bool:
        """Whether a base name comes twice among what was packed."""
        self._sort()
        for keys in self._keys:
            hashes = list(map(operator.rshift, keys, repeat(24)))
            if len(set(hashes)) < len(hashes) and self._has_twins_in(keys):
                return True
        return False

    def _has_twins_in(self, keys: "array[int]") -> bool:
        """Two names may have one hash."""
        for place in range(1, len(keys)):
            if keys[place] >> 24 == keys[place - 1] >> 24:
                numbers = {keys[place] & _NUMBER, keys[place - 1] & _NUMBER}
                bases = [_record(line)[2] for number in numbers for line in self._blocks[number].split(b"\n")[:-1]]
                if len(set(bases)) < len(bases):
                    return True
        return False

    # Blocks

    def _pack_many(self) -> None:
        """All young records become blocks, once they are many."""
        if len(self._young) <= max(YOUNG, self._packed // _SHARE):
            return
        pairs = list(self._young.items())
        for start in range(0, len(pairs), BLOCK):
            some = dict(pairs[start : start + BLOCK])
            self._add_block(b"".join(_young_lines(some, self._fields)), pairs[start][1], list(some))
        self._young, self._fields = {}, {}

    def _add_block(self, text: bytes, first: int, bases: Sequence[bytes]) -> None:
        number = len(self._blocks)
        if not number:
            self._keys = [array("Q") for _ in range(_PARTS)]
        self._blocks.append(text)
        self._firsts.append(first)
        parts = self._keys
        for base in bases:
            value = hash(base)
            parts[value & (_PARTS - 1)].append((value >> 12 & _HASH) << 24 | number)
        self._is_sorted = False
        self._packed += len(bases)
        self._octets += len(text)

    def _sort(self) -> None:
        if not self._is_sorted:
            for part, keys in enumerate(self._keys):
                self._keys[part] = array("Q", sorted(keys))
            self._is_sorted = True

    def _line_of(self, base: bytes) -> tuple[int, bytes] | None:
        """The number of a block, and the line in it without its end."""
        self._sort()
        value = hash(base)
        keys = self._keys[value & (_PARTS - 1)]
        lowest = (value >> 12 & _HASH) << 24
        ending = b":%b\n" % base
        for place in range(bisect_left(keys, lowest), len(keys)):
            if keys[place] > lowest | _NUMBER:
                break
            block = self._blocks[keys[place] & _NUMBER]
            end = block.find(ending)
            if end >= 0:
                return keys[place] & _NUMBER, block[block.rfind(b"\n", 0, end) + 1 : end + len(ending) - 1]
        return None

    def _place_of(self, uid: int) -> tuple[int, bytes] | None:
        """As `_line_of`, by UID."""
        number = bisect_right(self._firsts, uid) - 1
        if number < 0:
            return None
        block, beginning = self._blocks[number], b"%d " % uid
        start = 0 if block.startswith(beginning) else block.find(b"\n" + beginning) + 1
        if start or block.startswith(beginning):
            return number, block[start : block.index(b"\n", start)]
        return None

    def _change(self, number: int, line: bytes, new: bytes) -> None:
        """Put whole lines, or none, in the place of one."""
        before, _, after = (b"\n" + self._blocks[number]).partition(b"\n" + line + b"\n")
        text = (before + b"\n")[1:] + new + after
        self._octets += len(text) - len(self._blocks[number])
        self._blocks[number] = text


def line_of(uid: int, raw: bytes, base: bytes) -> bytes:
    """record, version 3."""
    return b"%d %b :%b\n" % (uid, raw, base) if raw else b"%d :%b\n" % (uid, base)


def lines_of(bases: Sequence[bytes], first: int, fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Records numbered from `first`, in pieces of whole lines; `fields`: base name -> raw fields."""
    for at in range(0, len(bases), _SLICE):  # no other thread can run while a piece is made
        some = bases[at : at + _SLICE]
        if fields:
            yield b"".join([line_of(uid, fields.get(base, b""), base) for uid, base in enumerate(some, first + at)])
        else:
            yield _plain_lines(range(first + at, first + at + len(some)), some)
        rest(at)


def _plain_lines(uids: Sequence[int], bases: Sequence[bytes]) -> bytes:
    """Records without fields, by one template."""
    flat: list[Any] = [0] * (2 * len(bases))
    flat[::2] = uids
    flat[1::2] = bases
    return b"%d :%b\n" * len(bases) % tuple(flat)


def _record(line: bytes) -> Record:
    """A line as `line_of` makes it, without its end."""
    head, _, base = line.rpartition(b":")
    digits, _, raw = head.partition(b" ")
    return int(digits), raw[:-1], base


def _young_lines(uids: Mapping[bytes, int], fields: Mapping[int, bytes]) -> Iterator[bytes]:
    """In pieces of whole lines."""
    numbers, bases = iter(uids.values()), iter(uids)
    while some := list(islice(bases, _SLICE)):
        several = list(islice(numbers, _SLICE))
        if fields:
            lines = zip(several, some, strict=True)
            yield b"".join([line_of(uid, fields.get(uid, b""), base) for uid, base in lines])
        else:
            yield _plain_lines(several, some)
