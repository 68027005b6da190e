"""`greenmail-data/seen/<mailbox id>`: what one reader has seen of a mailbox that belongs to somebody else.

    file      = "1" SP uidvalidity LF [uid-range *("," uid-range)] LF
    uid-range = uid [":" uid]                 ; ascending, disjoint; only such UIDs between that no message has

    1 1700000000
    1:412,415,420:500

It lies in the reader's own account and is not a cache. Ranges that belong to another UIDVALIDITY mean nothing. The file
is replaced by its own lock file (`file_lock`): readers see the old one or the new one, whole, and a change is
durable when `change` returns. Changes are relative to what the file says when it is locked, so workers do not undo each
other's.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby

from greenmail.storage.data_directory import make_above, sync_above
from greenmail.storage.file_lock import FileLock
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.history import Range, ranges
from greenmail.storage.locks import Waiting

log = logging.getLogger(__name__)

_STALE = 30.0  # seconds after which the lock of one who does not move is broken
_LARGEST = 0xFFFFFFFF

Stamp = tuple[int, int, int]  # inode, size, mtime: another file has another one
NO_FILE: Stamp = (0, 0, 0)


class SeenFile:
    """One reader's file for one mailbox. `change` may be run in the pool: it waits by sleeping."""

    __slots__ = ("_files", "_path", "_waiting")

    def __init__(self, files: Files, path: bytes, waiting: Waiting) -> None:
        """`path`: in `greenmail-data/seen`; both directories are made when needed."""
        self._files, self._path, self._waiting = files, path, waiting

    @property
    def directory(self) -> bytes:
        """What is to be watched: the file itself is replaced."""
        return os.path.dirname(self._path)

    def stamp(self) -> Stamp:
        """What is another one after each change; NO_FILE if there is none."""
        with refusing("What you have seen cannot be read"):
            try:
                found = self._files.stat(self._path)
            except FileNotFoundError:
                return NO_FILE
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, uidvalidity: int) -> list[Range]:
        """The UIDs that were seen."""
        with refusing("What you have seen cannot be read"):
            try:
                data = self._files.surely(self._files.read_file, self._path)
            except FileNotFoundError:
                return []
        found = parse(data)
        if found is None:
            log.warning("seen path=%r cannot be understood, taken as empty", self._path)
            return []
        return found[1] if found[0] == uidvalidity else []

    def change(self, uidvalidity: int, seen: Sequence[int], unseen: Sequence[int], live: Sequence[int]) -> None:
        """Take up `seen` and `unseen`, both ascending. `live`: all messages that are there, ascending."""
        self.prepare()
        if self.stamp() == NO_FILE:
            self._sync_above()
        with FileLock(self._files, self._path, self._waiting, _STALE) as lock:
            old = self.read(uidvalidity)
            new = bridge(without(union(old, ranges(seen)), ranges(unseen)), live)
            if new != old:
                lock.commit(render(uidvalidity, new))

    def prepare(self) -> None:
        """The directory is there when it returns; durable with the first change."""
        with refusing("What you have seen cannot be written"):
            make_above(self._files, os.path.dirname(self.directory), self._path)

    def _sync_above(self) -> None:
        with refusing("What you have seen cannot be written"):
            sync_above(self._files, os.path.dirname(self.directory), self._path)


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
