"""Filling the index of one mailbox, a batch of messages at a time.

    begin      which messages the index lacks; what it has and the mailbox has not any more goes, a hundred a time
    add        a batch of open messages
    end        the lock and the file are given back

Each of these is one piece of work for a thread that is not the event loop's; whoever fills opens the messages between
them, on the event loop, where mailboxes may be touched. What was added is there for good, so that filling goes on where
it ended, whatever ended it. Whoever fills has a `flock`: of two workers, or a worker and the command line, one does.
"""

import logging
import os
import sqlite3
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum

from greenmail.errors import StorageError
from greenmail.fulltext.database import DAMAGE, Database, make, uncovered
from greenmail.fulltext.lookup import is_damage
from greenmail.fulltext.place import Place
from greenmail.fulltext.text import text_of
from greenmail.storage.api import Content
from greenmail.storage.text_index import Indexed

log = logging.getLogger(__name__)

BATCH = 16  # messages that are open at once, and are one transaction
_REMOVED = 100  # messages that are forgotten in one transaction
_MOST_REMOVED = 5000  # ... and by one `begin`; the rest waits for the next one


class State(Enum):
    """How a piece of work ended."""

    GOOD = "there may be more to do"
    MORE = "other mailboxes wait: it goes on when they had their turn"
    BUSY = "another process fills this index: come again"
    LOST = "the index was removed, or is damaged, and was removed: begin again"
    FAILED = "it cannot be done now: a full disk, no permission; a line in the log says why"


@dataclass(slots=True)
class Fill:
    """One mailbox being filled, from `begin` to `end`."""

    key: Indexed
    lacking: "array[int]" = field(default_factory=lambda: array("I"))  # UIDs to be added, ascending
    octets: int = 0  # of the index on disk, as of the last piece of work
    _held: ExitStack = field(default_factory=ExitStack)
    _place: Place | None = None
    _database: Database | None = None
    _number: int = 0

    def begin(self, uids: Sequence[int], is_damaged: bool = False) -> State:
        """Take the lock, and find out what there is to do; `uids` ascend. `is_damaged`: it is made anew."""
        return self._tried(lambda: self._begin(uids, is_damaged))

    def _begin(self, uids: Sequence[int], is_damaged: bool) -> State:
        if not os.path.isdir(os.path.dirname(self.key.place.directory)):
            return State.FAILED
        place = self._place = self._held.enter_context(Place(self.key.place.directory, make=True))
        if not self._held.enter_context(place.locked()):
            return State.BUSY
        current = place.current()
        if not current or is_damaged:
            current = make(place)
        place.tidy()
        database = self._database = self._held.enter_context(Database(place, current))
        with database.writing():
            self._number = database.enter(self.key)
        self._forget_mailboxes(database)
        covered = database.covered(self._number)
        self._forget(database, self._number, uncovered(covered, uids))
        self.lacking = array("I", uncovered(uids, covered))
        self.octets = place.octets()
        return State.GOOD

    def _forget(self, database: Database, number: int, gone: Sequence[int]) -> None:
        """What was expunged."""
        for start in range(0, min(len(gone), _MOST_REMOVED), _REMOVED):
            database.check()
            with database.writing():
                database.remove(number, gone[start : start + _REMOVED])
            database.shrink()

    def _forget_mailboxes(self, database: Database) -> None:
        """Those that are nowhere in the account any more; a renamed one has the same inode elsewhere."""
        known = database.mailboxes()
        if all(number == self._number or _is_there(one.path, one.inode) for number, one in known):
            superseded = [number for number, one in known if number != self._number and _same(one, self.key)]
        else:
            there = {inode for _, path in self.key.place.mailboxes() if (inode := _inode(path)) is not None}
            there.add(self.key.inode)
            superseded = [
                number
                for number, one in known
                if number != self._number and (one.inode not in there or _same(one, self.key))
            ]
        for number in superseded:
            covered = database.covered(number)
            self._forget(database, number, covered)
            if len(covered) <= _MOST_REMOVED:
                with database.writing():
                    database.leave(number)

    def add(self, batch: Sequence[tuple[int, Content]]) -> State:
        """Add messages that are open, ascending; one that cannot be read is left, and looked at by each search."""
        return self._tried(lambda: self._add(batch))

    def _add(self, batch: Sequence[tuple[int, Content]]) -> State:
        database, place = self._database, self._place
        assert database is not None and place is not None, "begin comes first"
        texts: list[tuple[int, str | None]] = []
        for uid, content in batch:
            try:
                texts.append((uid, text_of(content.read())))
            except StorageError as error:
                log.debug("full-text path=%r uid=%d not read error=%r", self.key.path, uid, error.text)
        if texts:
            database.check()
            with database.writing():
                database.add(self._number, texts)
        self.octets = place.octets()
        return State.GOOD

    def _tried(self, work: Callable[[], State]) -> State:
        try:
            return work()
        except FileNotFoundError:
            state = State.LOST
        except (OSError, sqlite3.Error, StorageError, *DAMAGE) as error:
            directory = self.key.place.directory
            log.warning("full-text directory=%r not filled error=%r", directory, str(error))
            state = State.LOST if is_damage(error) and self._replace() else State.FAILED
        return state

    def _replace(self) -> bool:
        """A damaged index goes; an empty one takes its place."""
        place = self._place
        if place is None:
            return False
        try:
            make(place)
        except (OSError, sqlite3.Error) as error:
            log.warning("full-text directory=%r not made anew error=%r", self.key.place.directory, str(error))
            return False
        return True

    def end(self) -> None:
        """Give back everything."""
        self._database = self._place = None
        self._held.close()


def _is_there(path: bytes, inode: int) -> bool:
    return _inode(path) == inode


def _inode(path: bytes) -> int | None:
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError):
        return None


def _same(one: Indexed, other: Indexed) -> bool:
    """The same mailbox with another UIDVALIDITY, or another one in its directory."""
    return one.inode == other.inode and (one.guid, one.uidvalidity) != (other.guid, other.uidvalidity)
