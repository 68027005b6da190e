"""The full-text search of one worker: indexes to ask, and a queue of mailboxes to fill.

One green thread fills one mailbox after another while there are any; there is none otherwise. It opens messages on the
event loop, where mailboxes may be touched, and has everything else done by a native thread that does nothing else.
After each batch it rests four times as long as the batch took, so that it takes a fifth of one processor at most.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail import metrics
from greenmail.errors import Reason, StorageError
from greenmail.fulltext.fill import BATCH, Fill, State
from greenmail.fulltext.lookup import Lookup, fuzzy
from greenmail.runtime import Runtime
from greenmail.storage.api import Account, Content, Mailbox
from greenmail.storage.text_index import Indexed, TextIndex, TextNeedle, again, has_index, indexed

log = logging.getLogger(__name__)

REST = 4.0  # seconds of rest for each second of work
_SHORTEST_REST = 0.005
_RETRY = 2.0  # seconds until an index that another process fills is looked at again
_TRIES = 30
_PATIENCE = 60.0  # seconds in which a mailbox that could not be filled is not tried again
_TURN = 1024  # messages that are added to one mailbox while others wait
_MOST_WAITING = 200  # mailboxes, which are kept open; the next SELECT or SEARCH of any other asks again
_REMEMBERED = 10_000  # mailboxes that need not be looked at again

_Name = tuple[bytes, int, int]  # directory of the index, inode and UIDVALIDITY of the mailbox


@dataclass(frozen=True, slots=True)
class Means:
    """What the worker hands in."""

    runtime: Runtime
    work: Callable[..., Any]  # runs a function on the thread of the full-text search, and gives back its result
    start: Callable[[Callable[[], None]], object]  # runs a function on a green thread of its own


class FullTextService:
    """See `storage.text_index.FullText`."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._queue: dict[_Name, Mailbox] = {}  # each with a reference of ours
        self._is_working = False
        self._damaged: set[bytes] = set()  # directories of indexes that are to be made anew
        self._failed: dict[bytes, float] = {}  # when, of directories in which nothing could be written
        self._filled: OrderedDict[_Name, tuple[tuple[int, int], float]] = OrderedDict()  # as of when, and when
        self._octets: dict[bytes, int] = {}
        self._current = 0  # messages that are still to be added to the mailbox at hand

    def of(self, mailbox: Mailbox) -> TextIndex | None:
        """The index of that mailbox; None if there is to be none."""
        key = indexed(mailbox)
        if key is None:
            return None
        return Lookup(key, self._damaged.add)

    def serves(self, account: Account) -> bool:
        """Whether there is an index of the mail in that account."""
        return has_index(account)

    def fuzzy(self, contents: Sequence[Content], needle: TextNeedle) -> list[float | None]:
        """How well each of these messages fits. Runs in the pool."""
        return fuzzy(contents, needle)

    def fill(self, mailbox: Mailbox, is_incomplete: bool = False) -> None:
        """Have what the index lacks filled in, later, if that may be anything."""
        key = indexed(mailbox)
        if key is None or _name(key) in self._queue or len(self._queue) >= _MOST_WAITING:
            return
        if not self._is_wanted(key, mailbox, is_incomplete):
            return
        mine = again(mailbox)
        if mine is None:
            return
        self._queue[_name(key)] = mine
        self._show()
        if not self._is_working:
            self._is_working = True
            self._means.start(self.work)

    def _is_wanted(self, key: Indexed, mailbox: Mailbox, is_incomplete: bool) -> bool:
        if time.monotonic() - self._failed.get(key.place.directory, -_PATIENCE) < _PATIENCE:
            return False
        state, when = self._filled.get(_name(key), ((0, 0), 0.0))
        is_new = state != _state(mailbox) or key.place.directory in self._damaged
        return is_new or (is_incomplete and time.monotonic() - when >= _PATIENCE)

    def work(self) -> None:
        """Fill everything that waits."""
        try:
            tries = 0
            while self._queue:
                name, mailbox = next(iter(self._queue.items()))
                state = self._filled_or_left(name, mailbox)
                tries = tries + 1 if state in (State.BUSY, State.LOST) else 0
                if state is State.MORE:
                    self._queue[name] = self._queue.pop(name)
                elif state is State.BUSY and tries < _TRIES:
                    self._queue[name] = self._queue.pop(name)  # the others first
                    self._means.runtime.sleep(_RETRY)
                elif state is not State.LOST or tries >= _TRIES:
                    self._queue.pop(name).close()
                    tries = 0
        finally:
            self._is_working = False
            self._current = 0
            self._show()

    def _filled_or_left(self, name: _Name, mailbox: Mailbox) -> State:
        """A mailbox over which this green thread dies is not tried again by the next one."""
        has_ended = False
        try:
            state = self._fill(mailbox)
            has_ended = True
            return state
        finally:
            if not has_ended:
                self._queue.pop(name).close()

    def _fill(self, mailbox: Mailbox) -> State:
        key = indexed(mailbox)
        if key is None:
            return State.GOOD
        directory = key.place.directory
        fill = Fill(key)
        try:
            mailbox.look()
            self._remember(_name(key), mailbox)
            state = self._begin(fill, mailbox)
            for start in range(0, len(fill.lacking), BATCH):
                if state is not State.GOOD:
                    break
                if start >= _TURN and len(self._queue) > 1:
                    state = State.MORE
                    break
                self._current = len(fill.lacking) - start
                self._show(directory, fill.octets)
                state = self._add(fill, mailbox, fill.lacking[start : start + BATCH])
        except StorageError as error:  # the mailbox is gone
            self._filled.pop(_name(key), None)
            log.debug("full-text path=%r left error=%r", key.path, error.text)
            state = State.GOOD
        finally:
            self._means.work(fill.end)
        self._current = 0
        if state is State.FAILED:
            self._filled.pop(_name(key), None)
            self._failed[directory] = time.monotonic()
        else:
            self._show(directory, fill.octets)
        return state

    def _begin(self, fill: Fill, mailbox: Mailbox) -> State:
        directory = fill.key.place.directory
        is_damaged = directory in self._damaged
        state: State = self._means.work(fill.begin, mailbox.table.uids[:], is_damaged)
        if state is not State.BUSY:
            self._damaged.discard(directory)
        return state

    def _add(self, fill: Fill, mailbox: Mailbox, uids: Sequence[int]) -> State:
        began = time.monotonic()
        batch: list[tuple[int, Content]] = []
        try:
            for uid in uids:
                content = opened(mailbox, uid)
                if content is not None:
                    batch.append((uid, content))
                self._means.runtime.breathe()
            state: State = self._means.work(fill.add, batch)
        finally:
            for _, content in batch:
                content.close()
        self._means.runtime.sleep(max(REST * (time.monotonic() - began), _SHORTEST_REST))
        return state

    def _remember(self, name: _Name, mailbox: Mailbox) -> None:
        self._filled[name] = (_state(mailbox), time.monotonic())
        self._filled.move_to_end(name)
        if len(self._filled) > _REMEMBERED:
            self._filled.popitem(last=False)

    def _show(self, directory: bytes = b"", octets: int = 0) -> None:
        """The figures of /metrics."""
        if directory:
            self._octets[directory] = octets
        metrics.full_text(sum(self._octets.values()), self._current, len(self._queue))


def opened(mailbox: Mailbox, uid: int) -> Content | None:
    """None if it is gone, or cannot be read."""
    try:
        return mailbox.content(uid)
    except StorageError as error:
        if error.reason is Reason.GONE:
            raise
        return None


def _state(mailbox: Mailbox) -> tuple[int, int]:
    """What is another number when messages came or went."""
    return mailbox.uidnext, len(mailbox.table)


def _name(key: Indexed) -> _Name:
    return key.place.directory, key.inode, key.uidvalidity
