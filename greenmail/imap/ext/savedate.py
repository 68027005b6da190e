"""SAVEDATE, RFC 8514: when a message came into its mailbox.

fetch-att       =/ "SAVEDATE"
msg-att-static  =/ "SAVEDATE" SP (date-time / nil)
search-key      =/ "SAVEDBEFORE" SP date / "SAVEDON" SP date / "SAVEDSINCE" SP date / "SAVEDATESUPPORTED"

What the date is, the store says: `storage.save_dates`. Of a mailbox where it keeps none the keys ask for INTERNALDATE.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from greenmail.imap.columns import dates_of
from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import day_range, search_date
from greenmail.imap.fetch_att import RowItem, Rows, named
from greenmail.imap.message_set import selected
from greenmail.imap.search_key import Key, Relation, RowKey, SearchKey
from greenmail.imap.session import Session

_NIL = b"NIL"


def _fetched(session: Session, rows: Rows) -> Iterable[bytes]:
    """RFC 8514 4.2. NIL also for a message that is gone, of which nothing is known any more."""
    saved = selected(session).mailbox.save_dates(rows.uids)
    if saved is None:
        return [_NIL] * len(rows.uids)
    return [text if when >= 0 else _NIL for text, when in zip(session.internal_dates.format(saved), saved, strict=True)]


def _is_supported(session: Session, argument: Any, rows: Rows) -> Iterable[bool]:
    """RFC 8514 4.3: all messages of the mailbox, or none."""
    return [selected(session).mailbox.save_dates(()) is not None] * len(rows.uids)


def _matcher(relation: Relation) -> Callable[[Session, Any, Rows], Iterable[bool]]:
    """How a key compares days where the server is: RFC 8514 4.3."""

    def matches(session: Session, day: date, rows: Rows) -> Iterable[bool]:
        mailbox = selected(session).mailbox
        saved = mailbox.save_dates(rows.uids)
        if saved is None:
            saved = dates_of(mailbox, rows.uids)
        first, following = day_range(day, session.internal_dates.zone)
        if relation is Relation.BEFORE:
            return [0 <= when < first for when in saved]
        if relation is Relation.ON:
            return [first <= when < following for when in saved]
        return [when >= first for when in saved]

    return matches


def _key(name: str, relation: Relation) -> SearchKey:
    test = _matcher(relation)

    def parse(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
        cur.space()
        return RowKey(name, search_date(cur), test)

    return SearchKey(name, parse)


_SUPPORTED = RowKey("SAVEDATESUPPORTED", None, _is_supported)

FEATURE: Feature = Feature(
    "savedate",
    capabilities=(Capability("SAVEDATE", always),),
    fetch_atts={"SAVEDATE": named(RowItem(b"SAVEDATE %b", _fetched))},
    search_keys={
        "SAVEDATESUPPORTED": SearchKey("SAVEDATESUPPORTED", lambda cur, table: _SUPPORTED),
        **{name: _key(name, relation) for relation in Relation if (name := f"SAVED{relation.value}")},
    },
)
