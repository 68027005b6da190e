"""OBJECTID, RFC 8474: names of mailboxes, of contents and of threads that outlive UIDs.

MAILBOXID is the GUID in `dovecot-uidlist`, EMAILID is made of the message's GUID there, which copies keep: so both stay
when our own files are deleted, and when Dovecot moves a mail. THREADID is made of the first Message ID that the message
refers to, or of its own: the same in every mailbox, and never another one. It does not look at subjects.

    fetch-emailid-resp  = "EMAILID" SP "(" objectid ")"
    fetch-threadid-resp = "THREADID" SP ( "(" objectid ")" / nil )
    objectid            = 1*255(ALPHA / DIGIT / "_" / "-")
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.commands.status import StatusAtt
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import RowItem, Rows, named
from greenmail.imap.message_set import selected
from greenmail.imap.search_key import Key, RowKey, SearchKey
from greenmail.imap.session import Session
from greenmail.imap.sort_records import sort_records
from greenmail.message.sort_keys import thread_keys
from greenmail.storage.api import Counters, Mailbox

_OBJECTID = re.compile(rb"[A-Za-z0-9_-]{1,255}(?![A-Za-z0-9_-])")
_AT_ONCE = 512  # messages whose IDs are made without a breath

Ids = Callable[[Session, Sequence[int]], list[bytes]]  # for each UID its ID; empty for a message that is gone


def objectid(mailbox_id: str) -> bytes:
    """objectid of a mailbox. It begins with a letter, and with another one than those of messages: RFC 8474 8.1."""
    return b"F" + mailbox_id.encode("ascii")


def _hashed(letter: bytes, name: bytes) -> bytes:
    return letter + hashlib.blake2b(name, digest_size=12).hexdigest().encode("ascii")


def _email_ids(session: Session, uids: Sequence[int]) -> list[bytes]:
    found: list[bytes] = []
    for start in range(0, len(uids), _AT_ONCE):
        guids = selected(session).mailbox.guids(uids[start : start + _AT_ONCE])
        found += [_hashed(b"M", guid.encode("utf-8", "surrogateescape")) if guid else b"" for guid in guids]
        session.breathe()
    return found


def _thread_ids(session: Session, uids: Sequence[int]) -> list[bytes]:
    mailbox = selected(session).mailbox
    found: list[bytes] = []
    for start in range(0, len(uids), _AT_ONCE):
        some = uids[start : start + _AT_ONCE]
        records = sort_records(session, mailbox, some)
        found += _with_thread_ids(session, some, [_thread_name(record) for record in records])
        session.breathe()
    return found


def _thread_name(record: bytes | None) -> bytes | None:
    """The Message ID that names the thread; empty if the message has none; None if it is gone."""
    if record is None:
        return None
    keys = thread_keys(record)
    return keys.references[0] if keys.references else keys.message_id


def _with_thread_ids(session: Session, uids: Sequence[int], names: Sequence[bytes | None]) -> list[bytes]:
    """A message without any Message ID is a thread of its own; only for those the uidlist is asked."""
    alone = [uid for uid, name in zip(uids, names, strict=True) if name == b""]
    own = dict(zip(alone, _email_ids(session, alone), strict=True)) if alone else {}
    return [
        _hashed(b"T", found) if (found := name or own.get(uid)) else b"" for uid, name in zip(uids, names, strict=True)
    ]


def _column(ids: Ids) -> Callable[[Session, Rows], Iterable[bytes]]:
    """What stands in a FETCH; NIL for a message that is gone, of which nothing is known any more."""

    def column(session: Session, rows: Rows) -> Iterable[bytes]:
        return [b"(%b)" % one if one else b"NIL" for one in ids(session, rows.uids)]

    return column


def _search_key(name: str, ids: Ids) -> SearchKey:
    def matches(session: Session, wanted: bytes, rows: Rows) -> Iterable[bool]:
        return [one == wanted for one in ids(session, rows.uids)]

    def parse(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
        cur.space()
        return RowKey(name, cur.match(_OBJECTID, "an object identifier"), matches)

    return SearchKey(name, parse)


def _status(session: Session, mailbox: Mailbox, counters: Counters) -> bytes:
    """RFC 8474 4.3."""
    return b"(%b)" % objectid(mailbox.mailbox_id)


FEATURE: Feature = Feature(
    "objectid",
    capabilities=(Capability("OBJECTID", always),),
    fetch_atts={
        "EMAILID": named(RowItem(b"EMAILID %b", _column(_email_ids))),
        "THREADID": named(RowItem(b"THREADID %b", _column(_thread_ids))),
    },
    search_keys={"EMAILID": _search_key("EMAILID", _email_ids), "THREADID": _search_key("THREADID", _thread_ids)},
    status_atts={"MAILBOXID": StatusAtt("MAILBOXID", _status)},
)
