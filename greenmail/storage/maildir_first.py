"""The first look at a mailbox of which nothing is known: columns, not messages. `formats.md` 1.1, 1.10, 2.

Such a mailbox may have a million messages, and all that is done for each of them keeps somebody waiting. So what
`maildir_scan` does message by message is done here for a slice of them at once, by what is C in Python already, where
everything is as it usually is:

    each entry is a file; in `cur/` its name has one colon, in `new/` none; no base name comes twice, and none is empty
    each begins with ten digits and a dot, which have the order of their octets
    there are at most `_KINDS` different infos, and no keywords without letters

If anything is not, `columns` says None, and the other way is taken; both give the same (`tests/storage/test_first.py`).
A step is about a millisecond of C, in which no other thread can run: threads take turns between the slices.
"""

import heapq
import operator
import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from greenmail.message.turn import rest
from greenmail.storage.maildir_name import sizes_of, uid_order
from greenmail.storage.maildir_slices import SLICE, in_octet_order, same_seconds

_KINDS = 255  # infos; the number of one fits into an octet
_DIGITS = bytes(ord("0") if 48 <= octet < 58 else octet for octet in range(256))
_SECONDS = b"\n:0000000000."
_EVEN = _SECONDS + b"M000000P"
_SIZE = re.compile(rb",W=([0-9]{1,18}):")


@dataclass(slots=True)
class First:
    """All messages of a mailbox in the order of their UIDs: parallel columns."""

    names: list[bytes] = field(default_factory=list)  # of files
    bases: list[bytes] = field(default_factory=list)  # their base names
    kinds: dict[bytes, int] = field(default_factory=dict)  # info, without its colon and with LF -> its number
    infos: bytearray = field(default_factory=bytearray)  # those numbers
    sizes: "array[int]" = field(default_factory=lambda: array("q"))  # as names tell them, or -1
    new: list[int] = field(default_factory=list)  # rows in `new/`
    is_even: bool = True  # numbers of the same length follow the seconds, so that octets have their order, too


def columns(new: Sequence[bytes], cur: Sequence[bytes]) -> First | None:
    """What the files of `new/` and `cur/` are, in the order of `formats.md` 1.10; None where that takes a closer look.

    `new` and `cur`: names in any order, those of no messages among them.
    """
    # A message in `new/` has no info. Until all are in order it gets one that no file of `cur/` has, an empty one.
    marked = [name + b":" for name in new if not name.startswith(b".")]
    names = in_octet_order(cur, marked)
    # No name has a slash, which follows the dot: so what begins with a dot stands together.
    del names[bisect_left(names, b".") : bisect_left(names, b"/")]
    first = First(names)
    last = b""
    for start in range(0, len(names), SLICE):
        found = _apart(first, names[start : start + SLICE])
        if found is None or not all(map(operator.lt, [last, *found], found)):
            return None
        last = found[-1]
        first.bases += found
        rest(start)
    if not first.is_even:
        _by_number(first)
    return first if _unmark(first, len(marked)) else None


def _apart(first: First, names: list[bytes]) -> list[bytes] | None:
    """Base names of `names`, whose infos and sizes are taken down; None if they are not as usual."""
    text = b"\n:".join(names) + b"\n"
    parts = text.split(b":")
    bases, infos = parts[::2], parts[1::2]
    kinds = set(infos)
    # As many line ends as names, one in each info: so each second part is an info, and each other one a base name.
    if (
        len(parts) != 2 * len(names)
        or text.count(b"\n") != len(names)
        or b"\r" in text
        or not all(kind.endswith(b"\n") for kind in kinds)
    ):
        return None
    shape = (b"\n:" + text).translate(_DIGITS)
    if shape.count(_EVEN) != len(names):
        first.is_even = False
        if shape.count(_SECONDS) != len(names):
            return None
    for kind in kinds.difference(first.kinds):
        first.kinds[kind] = len(first.kinds)
    if len(first.kinds) > _KINDS:
        return None
    first.infos.extend(map(first.kinds.__getitem__, infos))
    first.sizes += _sizes(text, bases)
    return bases


def _sizes(text: bytes, bases: list[bytes]) -> "array[int]":
    """Of each name in `text`, -1 if it tells none."""
    told = text.count(b",W=") if b"W" in text else 0  # one octet is looked for ten times as fast
    if not told:
        return array("q", [-1]) * len(bases)
    found = _SIZE.findall(text)
    if told == len(found) == len(bases):  # one in each, as no name can have two at its end
        return array("q", map(int, found))
    sizes = [sizes_of(base).with_crlf for base in bases]
    return array("q", [-1 if size is None else size for size in sizes])


def _by_number(first: First) -> None:
    """Put what stands in the order of octets, but has the same second, in its own order."""
    for rows in same_seconds(first.bases):
        keys = list(map(uid_order, first.bases[rows]))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        first.names[rows] = map(first.names[rows].__getitem__, order)
        first.bases[rows] = map(first.bases[rows].__getitem__, order)
        first.infos[rows] = bytes(map(first.infos[rows].__getitem__, order))
        first.sizes[rows] = array("q", map(first.sizes[rows].__getitem__, order))


def _unmark(first: First, marked: int) -> bool:
    """Give the messages in `new/` their names; False if there are others that look so."""
    number = first.kinds.get(b"\n", -1)
    row = first.infos.find(number) if number >= 0 else -1
    while row >= 0:
        first.new.append(row)
        first.names[row] = first.bases[row]
        row = first.infos.find(number, row + 1)
    return len(first.new) == marked


def by_uid(first: First, uids: Sequence[int]) -> Sequence[int]:
    """Put the messages into the order of these UIDs of them, without those whose UID is 0; the UIDs in that order.

    Base names are left as they are.
    """
    last = 0
    for start in range(0, len(uids), SLICE):
        some = uids[start : start + SLICE]
        if not all(map(operator.lt, [last, *some], some)):
            break
        last = some[-1]
        rest(start)
    else:
        return uids
    order = _rows_by_uid(uids)
    first.names = [first.names[row] for row in order]
    first.infos = bytearray(first.infos[row] for row in order)
    first.sizes = array("q", [first.sizes[row] for row in order])
    new = set(first.new)
    first.new = [place for place, row in enumerate(order) if row in new]
    return array("I", [uids[row] for row in order])


def _rows_by_uid(uids: Sequence[int]) -> list[int]:
    """Those with a UID: runs of them are sorted, and merged message by message."""
    runs: list[list[tuple[int, int]]] = []
    for start in range(0, len(uids), SLICE):
        some = uids[start : start + SLICE]
        runs.append(sorted((uid, row) for row, uid in enumerate(some, start) if uid))
    return [row for _, row in heapq.merge(*runs)]
