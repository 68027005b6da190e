"""`greenmail-data/seen/<mailbox id>`: what one reader has seen of a mailbox that belongs to somebody else.

    file      = "1" SP uidvalidity LF [uid-range *("," uid-range)] LF
    uid-range = uid [":" uid]                 ; ascending, disjoint; only such UIDs between that no message has

    1 1700000000
    1:412,415,420:500

It lies in the reader's own account. Ranges that belong to another UIDVALIDITY mean nothing. A change (`data_file`) is
durable when `change` returns.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby

from greenmail.storage.data_file import DataFile, Stamp
from greenmail.storage.filesystem import Files
from greenmail.storage.history import Range, ranges
from greenmail.storage.locks import Waiting

log = logging.getLogger(__name__)

_LARGEST = 0xFFFFFFFF


class SeenFile:
    """One reader's file for one mailbox. `change` may be run in the pool: it waits by sleeping."""

    __slots__ = ("_file",)

    def __init__(self, files: Files, data: bytes, mailbox_id: str, waiting: Waiting) -> None:
        """`data`: the reader's `greenmail-data`; this and `seen` in it are made when needed."""
        name = b"seen/" + mailbox_id.encode("ascii")
        self._file = DataFile(files, data, name, waiting, "What you have seen")

    @property
    def directory(self) -> bytes:
        """What is to be watched: the file itself is replaced."""
        return os.path.dirname(self._file.path)

    def stamp(self) -> Stamp:
        """What is another one after each change."""
        return self._file.stamp()

    def read(self, uidvalidity: int) -> list[Range]:
        """The UIDs that were seen."""
        data = self._file.read()
        if data is None:
            return []
        found = parse(data)
        if found is None:
            log.warning("seen path=%r cannot be understood, taken as empty", self._file.path)
            return []
        return found[1] if found[0] == uidvalidity else []

    def change(self, uidvalidity: int, seen: Sequence[int], unseen: Sequence[int], live: Sequence[int]) -> None:
        """Take up `seen` and `unseen`, both ascending. `live`: all messages that are there, ascending."""
        with self._file.locked() as lock:
            old = self.read(uidvalidity)
            new = bridge(without(union(old, ranges(seen)), ranges(unseen)), live)
            if new != old:
                lock.commit(render(uidvalidity, new))

    def prepare(self) -> None:
        """The directory is there when it returns; durable with the first change."""
        self._file.prepare()


def parse(data: bytes) -> tuple[int, list[Range]] | None:
    """UIDVALIDITY and ranges; None if `data` is no such file."""
    lines = data.split(b"\n")
    head = lines[0].split(b" ")
    if len(lines) != 3 or lines[2] or len(head) != 2 or head[0] != b"1" or not _is_number(head[1]):
        return None
    found: list[Range] = []
    for part in lines[1].split(b",") if lines[1] else ():
        first, colon, last = part.partition(b":")
        if not _is_number(first) or (colon and not _is_number(last)):
            return None
        found.append((int(first), int(last) if colon else int(first)))
    edges = [edge for one in found for edge in one]
    is_ascending = all(first <= last for first, last in found) and edges == sorted(edges)
    return (int(head[1]), union(found, [])) if is_ascending else None


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 10 and 0 < int(text) <= _LARGEST


def render(uidvalidity: int, seen: Iterable[Range]) -> bytes:
    """The file for these ranges."""
    parts = [b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in seen]
    return b"1 %d\n%b\n" % (uidvalidity, b",".join(parts))


def union(some: Sequence[Range], more: Sequence[Range]) -> list[Range]:
    """Both sets as ascending ranges that do not touch."""
    found: list[Range] = []
    for first, last in sorted([*some, *more]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def difference(some: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What is in one of the two and not in the other; each of them ascending and disjoint."""
    edges = sorted(edge for first, last in (*some, *others) for edge in (first, last + 1))
    # Each edge goes in or out of the one set or the other; two at the same place cancel out.
    odd = [edge for edge, same in groupby(edges) if len(list(same)) % 2]
    return [(first, after - 1) for first, after in zip(odd[::2], odd[1::2], strict=True)]


def without(some: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What is in `some` and not in `others`."""
    return difference(union(some, others), others)


def bridge(seen: Sequence[Range], live: Sequence[int]) -> list[Range]:
    """`seen` with ranges joined where no message lies between them. A UID never comes back: RFC 9051 2.3.1.1.

    Not beyond the last of `live`: another process may know of messages there.
    """
    found: list[Range] = []
    for first, last in seen:
        if found and live and first <= live[-1] and bisect_right(live, found[-1][1]) == bisect_left(live, first):
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def contains(seen: Sequence[Range], uid: int) -> bool:
    """Whether `uid` is in one of the ranges."""
    place = bisect_right(seen, (uid, _LARGEST + 1)) - 1
    return place >= 0 and seen[place][1] >= uid
