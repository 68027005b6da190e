"""The records that SORT and THREAD work with: cached, or made of the header fields that are cached, or of headers."""

from collections.abc import Sequence

from greenmail.imap.digest import TOO_LONG, header_of, keep, ready
from greenmail.imap.session import Session
from greenmail.message.sort_keys import sort_record
from greenmail.storage.api import CacheKind, Mailbox

_BLOCK = 1024  # messages looked at before others get their turn
_SORT = frozenset({CacheKind.SORT})


def sort_records(session: Session, mailbox: Mailbox, uids: Sequence[int]) -> list[bytes | None]:
    """For each of `uids` (ascending) its record of `message.sort_keys`; None for a message that is gone.

    May take long: it breathes between blocks.
    """
    found: list[bytes | None] = []
    for start in range(0, len(uids), _BLOCK):
        block = uids[start : start + _BLOCK]
        records = mailbox.cached_many(block, CacheKind.SORT)
        if None in records:
            _from_headers(session, mailbox, [uid for uid, one in zip(block, records, strict=True) if one is None])
            records = ready(session, mailbox, block, _SORT, lambda error: None)[CacheKind.SORT]
        found += records
        session.breathe()
    return found


def _from_headers(session: Session, mailbox: Mailbox, uids: list[int]) -> None:
    """Cache the records of those whose header fields are cached: no file is opened for them."""
    headers = zip(uids, mailbox.cached_many(uids, CacheKind.HEADERS), strict=True)
    known = [(uid, record) for uid, record in headers if record is not None and record != TOO_LONG]
    if known:
        made = session.blocking(_made, [record for _, record in known])
        pairs = zip(known, made, strict=True)
        keep(mailbox, [(uid, {CacheKind.SORT: record}) for (uid, _), record in pairs])


def _made(headers: list[bytes]) -> list[bytes]:
    """Runs in the pool."""
    return [sort_record(header_of(record)) for record in headers]
