"""Gathering what happened in a Maildir mailbox as one batch, which the journal and `Index.apply` take up.

`maildir_index` says what stands in a batch.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from greenmail.storage.api import Flags
from greenmail.storage.history import CHANGED_LIMIT, ranges
from greenmail.storage.journal import Batch

LARGE_CHANGE = CHANGED_LIMIT // 2  # messages; what is larger is folded into a snapshot, not journalled


@dataclass(frozen=True, slots=True)
class Arrived:
    """All messages of a mailbox that had none, as columns; they belong to who is given them."""

    uids: Sequence[int]  # ascending
    names: list[bytes]
    flags: Sequence[Flags]  # at most 255, and the table has none yet
    kinds: bytes | bytearray  # of each message the place of its flags in `flags`
    sizes: "array[int]"
    new: Sequence[int]  # rows in `new/`


class Change:
    """Gathers one batch."""

    def __init__(self) -> None:
        self.arrived: Arrived | None = None  # no part of the batch: such a change is never journalled
        self._sets: dict[Flags, int] = {}
        self._batch: Batch = {}
        self.seen = False  # whether a client can notice

    def _flags(self, flags: Flags) -> int:
        return self._sets.setdefault(flags, len(self._sets))

    def _add(self, key: str, entry: Any) -> None:
        self._batch.setdefault(key, []).append(entry)

    def came(self, uid: int, name: bytes, is_new: bool, flags: Flags, facts: tuple[int, int] = (-1, -1)) -> None:
        """A message appeared; `facts`: size and date, -1 if not known."""
        self.seen = True
        self._add("new", [uid, name.decode("latin-1"), int(is_new), self._flags(flags), *facts])

    def came_all(
        self, uids: Sequence[int], files: Sequence[tuple[bytes, bool]], flags: Sequence[Flags], sizes: Sequence[int]
    ) -> None:
        """`came` of messages whose dates are not known; `files`: names, and whether in `new/`."""
        if not uids:
            return
        self.seen = True
        numbers = {some: self._flags(some) for some in dict.fromkeys(flags)}
        places = [int(is_new) for _, is_new in files]
        rows = zip(
            uids,
            _texts([name for name, _ in files]),
            places,
            map(numbers.__getitem__, flags),
            sizes,
            repeat(-1),
            strict=False,
        )
        self._batch.setdefault("new", []).extend(rows)

    def began(self, arrived: Arrived) -> None:
        """The mailbox had no messages, and these are all."""
        self.seen = True
        self.arrived = arrived

    def became(self, uid: int, name: bytes, is_new: bool, flags: Flags | None) -> None:
        """A message has another name or place, and other flags unless None."""
        self.seen = self.seen or flags is not None
        self._add("set", [uid, name.decode("latin-1"), int(is_new), -1 if flags is None else self._flags(flags)])

    def became_all(self, uids: Sequence[int], names: Sequence[bytes], flags: Sequence[Flags]) -> None:
        """`became` of messages in `cur/` whose flags all changed."""
        self.seen = True
        numbers = {some: self._flags(some) for some in dict.fromkeys(flags)}
        rows = zip(uids, _texts(names), repeat(0), map(numbers.__getitem__, flags), strict=False)
        self._batch.setdefault("set", []).extend(rows)

    def went(self, uids: Iterable[int]) -> None:
        """Messages, ascending, are gone."""
        for first, last in ranges(uids):
            self.seen = True
            self._add("gone", [first, last])

    def facts(self, facts: Iterable[tuple[int, int, int]]) -> None:
        """UID, size, date."""
        for fact in facts:
            self._add("fact", list(fact))

    def value(self, key: str, value: Any) -> None:
        """`next`, `recent`, `times` or `letters`."""
        self._batch[key] = value

    def touched(self) -> None:
        """Nothing of its messages changed, but the mailbox did."""
        self.seen = True

    @property
    def is_empty(self) -> bool:
        return not self._batch and not self.seen

    @property
    def only_touches(self) -> bool:
        """Whether nothing in the Maildir tells of it."""
        return self.seen and not self._batch.keys() & {"new", "set", "gone"}

    @property
    def length(self) -> int:
        """Messages named in it."""
        return sum(len(self._batch.get(key, ())) for key in ("new", "set", "gone", "fact"))

    def batch(self, modseq: int) -> Batch:
        """The batch; `modseq` counts only if a client can notice."""
        made = dict(self._batch)
        if self._sets:
            made["flags"] = [sorted(flags) for flags in self._sets]
        if self.seen:
            made["m"] = modseq
        return made


def is_large(change: Change) -> bool:
    """Whether a change is better folded into a snapshot than journalled."""
    return change.length > LARGE_CHANGE or change.arrived is not None


def _texts(names: Sequence[bytes]) -> list[str]:
    """Names of files as a batch has them; no name has a slash."""
    return b"/".join(names).decode("latin-1").split("/")
