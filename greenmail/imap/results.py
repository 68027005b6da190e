"""Results of SEARCH, SORT and THREAD that were worked out before, for messages that are what they were then.

Webmail asks for the same search and the same order once a page. What depends on nothing but the messages of the view
and their flags is kept by the mailbox (`storage.answers`) with a print of both, and serves every session that sees the
same. Nothing has to be told that a message came, went or changed: the print is another one then.
"""

from array import array
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from greenmail.imap.message_set import selected
from greenmail.imap.search_key import (
    AllKey,
    AndKey,
    FlagKey,
    HeaderKey,
    Key,
    NotKey,
    OrKey,
    RowKey,
    SentKey,
    SetKey,
    TextKey,
)
from greenmail.imap.session import Session

LONGEST = 2048  # characters of what is asked for; longer ones are asked once
MOST = 250_000  # messages, and numbers of one result: more are no short step
PLACES = 32  # results of one mailbox that are kept, and answers to searches for flags
# Others ask for the time, the session, or other commands: RECENT, OLDER, YOUNGER, MODSEQ ...
_OF_MESSAGES = frozenset({"BEFORE", "ON", "SINCE", "LARGER", "SMALLER"})
_SHELF = "results"


class Results:
    """What one command takes from those before it, and leaves to those behind it."""

    __slots__ = ("_by_size", "_made_of", "_place", "_question", "_session", "_shelf")

    def __init__(self, session: Session, key: Key, *others: Any, by_size: bool = False) -> None:
        """Made before the work begins. `others`: what is asked for beside the key; their `repr` says all of it.

        `by_size`: beside the key something else depends on sizes.
        """
        view = selected(session)
        answers = view.mailbox.answers
        self._session = session
        self._by_size = by_size or asks_for_size(key)
        self._shelf = None
        if answers is None or len(view.uids) > MOST or not is_of_messages(key):
            return
        # Days begin when they begin in the time zone, which is the server's.
        question = repr((key, session.services.time_zone, others))
        if len(question) <= LONGEST:
            self._shelf = answers.shelf(_SHELF)
            self._question = question.encode()
            self._place = crc32(self._question)
            self._made_of = self._print()

    def _print(self) -> tuple[bytes, ...]:
        view = selected(self._session)
        mailbox = view.mailbox
        table = mailbox.table
        # A size that a file's name told wrong is set right without a new mod-sequence.
        columns = (view.uids, table.uids, table.flags, table.sizes if self._by_size else b"")
        return self._question, b"%d %d %d %d %d" % (mailbox.modseq, *map(crc32, columns))

    def octets(self) -> bytes | None:
        """What was kept, if it was asked for in the same words and everything is as it was."""
        if self._shelf is None:
            return None
        return self._shelf.find(self._place, self._made_of, selected(self._session).mailbox.table.flag_sets)

    def keep(self, octets: bytes) -> None:
        """This is the result, unless something changed while it was worked out."""
        if self._shelf is not None and self._print() == self._made_of:
            sets = selected(self._session).mailbox.table.flag_sets
            self._shelf.keep(self._place, self._made_of, sets, octets, PLACES)

    def numbers(self) -> list[int] | None:
        """`octets` of `keep_numbers`."""
        octets = self.octets()
        return None if octets is None else array("I", octets).tolist()

    def keep_numbers(self, numbers: Sequence[int]) -> None:
        """As `keep`, of UIDs or places."""
        if self._shelf is not None and len(numbers) <= MOST:
            self.keep(array("I", numbers).tobytes())


def asks_for_size(key: Key) -> bool:
    """Whether sizes of messages decide about `key`, which is of messages."""
    match key:
        case RowKey():
            return key.needs_size
        case AndKey(keys) | OrKey(keys):
            return any(map(asks_for_size, keys))
        case NotKey(inner):
            return asks_for_size(inner)
    return False


def is_of_messages(key: Key) -> bool:
    """Whether nothing but the messages of the view and their flags decides about `key`."""
    match key:
        case AllKey() | FlagKey() | HeaderKey() | SentKey() | TextKey():
            return True
        case SetKey(seqs):
            return not seqs.saved
        case RowKey(name):
            return name in _OF_MESSAGES
        case AndKey(keys) | OrKey(keys):
            return all(map(is_of_messages, keys))
        case NotKey(inner):
            return is_of_messages(inner)
    return False
