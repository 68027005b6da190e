"""What a client with NOTIFY has been told of each mailbox, in columns: forty octets a mailbox and connection."""

import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass

from greenmail.storage.api import Counters

EXISTS = 1
SUBSCRIBED = 2
WATCHED = 4  # it is looked at when something happens there
UNKNOWN = 1  # in the place of an identity: it could not be found out
NO_ACCESS = 8  # the client was told \\NoAccess: RFC 5465 3.1, 5.9


@dataclass(frozen=True, slots=True)
class Told:
    """The counters of a mailbox as a client knows them."""

    uidvalidity: int = 0
    uidnext: int = 0
    messages: int = 0
    unseen: int = 0
    modseq: int = 0


def told_of(counters: Counters) -> Told:
    """These counters."""
    return Told(counters.uidvalidity, counters.uidnext, counters.messages, counters.unseen, counters.modseq)


def identity(mailbox_id: str) -> int:
    """The mailbox_id as a number that is as good as it."""
    return max(int(mailbox_id[:16], 16), UNKNOWN + 1)


class Table:
    """One row a name, sorted by name. Rows move when names come and go."""

    __slots__ = ("_columns", "bits", "identities", "modseqs", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.bits: array[int] = array("B")
        self.identities: array[int] = array("Q")  # of mailboxes that were opened, else 0
        self.modseqs: array[int] = array("Q")
        # uidvalidity, uidnext, messages, unseen: four a row
        self._columns: array[int] = array("I")

    def row(self, name: str) -> int:
        """The row of `name`, or -1."""
        row = bisect_left(self.names, name)
        return row if row < len(self.names) and self.names[row] == name else -1

    def has(self, name: str, bit: int) -> bool:
        """Whether `bit` is set for `name`."""
        row = self.row(name)
        return row >= 0 and bool(self.bits[row] & bit)

    def add(self, name: str) -> int:
        """The row of `name`, which is made if there is none."""
        row = bisect_left(self.names, name)
        if row == len(self.names) or self.names[row] != name:
            self.names.insert(row, sys.intern(name))  # one string for all connections
            self.bits.insert(row, 0)
            self.identities.insert(row, 0)
            self.modseqs.insert(row, 0)
            self._columns[row * 4 : row * 4] = array("I", (0, 0, 0, 0))
        return row

    def put(self, name: str, bit: int, is_set: bool) -> None:
        """Set or clear `bit` for `name`; a row without any bit goes."""
        row = self.add(name) if is_set else self.row(name)
        if row < 0:
            return
        self.bits[row] = self.bits[row] | bit if is_set else self.bits[row] & ~bit
        if not self.bits[row]:
            self._remove(row)

    def _remove(self, row: int) -> None:
        del self.names[row], self.bits[row], self.identities[row], self.modseqs[row]
        del self._columns[row * 4 : row * 4 + 4]

    def told(self, name: str) -> Told:
        """The counters that were told; all 0 if there are none."""
        row = self.row(name)
        if row < 0:
            return Told()
        uidvalidity, uidnext, messages, unseen = self._columns[row * 4 : row * 4 + 4]
        return Told(uidvalidity, uidnext, messages, unseen, self.modseqs[row])

    def tell(self, name: str, told: Told) -> None:
        """These counters are told."""
        row = self.row(name)
        if row >= 0:
            self._columns[row * 4 : row * 4 + 4] = array(
                "I", (told.uidvalidity, told.uidnext, told.messages, told.unseen)
            )
            self.modseqs[row] = told.modseq

    def identify(self, name: str, number: int) -> None:
        """The mailbox of this name is that one."""
        row = self.row(name)
        if row >= 0:
            self.identities[row] = number

    def identity(self, name: str) -> int:
        """Which mailbox had this name when it was looked at; 0 if nobody has looked, or UNKNOWN."""
        row = self.row(name)
        return self.identities[row] if row >= 0 else 0

    def with_bit(self, bit: int) -> list[str]:
        """The names that have it."""
        return [name for name, bits in zip(self.names, self.bits, strict=True) if bits & bit]
