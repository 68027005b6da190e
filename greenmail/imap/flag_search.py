"""SEARCH for flags alone, UNSEEN and its like: asked once a set of flags, and answered from the columns as they lie.

What is found is one octet for each message of the view, 1 or 0, so that neither UIDs nor sequence numbers become
objects unless they are found.
"""

import sys
from collections.abc import Sequence
from itertools import compress
from zlib import crc32

from greenmail.imap.esearch import Found, search_response
from greenmail.imap.message_set import selected
from greenmail.imap.results import MOST, PLACES
from greenmail.imap.search_key import AllKey, AndKey, FlagKey, Key, NotKey, OrKey
from greenmail.imap.session import Session
from greenmail.storage.api import Table

BLOCK = 1 << 15  # messages looked at at once
_SHELF = "marks"
_IN_AN_OCTET = 256  # sets of flags: the lowest octet of each number tells them apart


def flags_alone(key: Key) -> bool:
    """Whether a message's flags say everything about `key`."""
    match key:
        case AllKey() | FlagKey():
            return True
        case AndKey(keys) | OrKey(keys):
            return all(map(flags_alone, keys))
        case NotKey(inner):
            return flags_alone(inner)
    return False


def holds(key: Key, folded: frozenset[str]) -> bool:
    """Whether `key`, which asks for flags alone, is true of a message with these flags. RFC 9051 2.3.2: no case."""
    match key:
        case FlagKey(flag):
            return flag.casefold() in folded
        case AndKey(keys):
            return all(holds(one, folded) for one in keys)
        case OrKey(keys):
            return any(holds(one, folded) for one in keys)
        case NotKey(inner):
            return not holds(inner, folded)
    return True


def marks(session: Session, key: Key) -> bytes | None:
    """For each message of the view whether `key`, which asks for flags alone, is true of it.

    None if some of the messages are not in the mailbox any more.
    """
    view = selected(session)
    table = view.mailbox.table
    found: list[bytes] = []
    for start in range(0, len(view.uids), BLOCK):
        uids = view.uids[start : start + BLOCK].tobytes()
        here = slice(start, start + len(uids) // view.uids.itemsize)
        if table.uids[here].tobytes() != uids:
            return None
        wanted = [holds(key, frozenset(map(str.casefold, flags))) for flags in table.flag_sets]
        found.append(_marks(table, here, wanted))
        session.breathe()
    return found[0] if len(found) == 1 else b"".join(found)


def _marks(table: Table, rows: slice, wanted: list[bool]) -> bytes:
    flags = table.flags[rows]
    if len(wanted) > _IN_AN_OCTET or sys.byteorder != "little":
        return bytes(map(wanted.__getitem__, flags))
    return flags.tobytes()[:: flags.itemsize].translate(bytes(wanted).ljust(_IN_AN_OCTET))


def answered(session: Session, key: Key, uid: bool, found: bytes) -> bytes:
    """The SEARCH response for `marks`: as it was made before, if the same messages were found."""
    view = selected(session)
    answers = view.mailbox.answers if len(view.uids) <= MOST else None
    shelf = answers.shelf(_SHELF) if answers is not None else None
    made_of = (found, view.uids.tobytes()) if uid else (found,)  # numbers say where they stand
    place = crc32(repr((key, uid)).encode())
    octets = shelf.find(place, made_of, ()) if shelf is not None else None
    if octets is None:
        numbers = marked(session, view.uids if uid else range(1, len(view.uids) + 1), found)
        octets = b"".join(search_response(Found(uid, numbers)))
        if shelf is not None:
            shelf.keep(place, made_of, (), octets, PLACES)
    return octets


def marked(session: Session, numbers: Sequence[int], found: bytes) -> list[int]:
    """Those of `numbers`, one for each message of the view, that are marked."""
    picked: list[int] = []
    for start in range(0, len(found), BLOCK):
        picked += compress(numbers[start : start + BLOCK], found[start : start + BLOCK])
        session.breathe()
    return picked
