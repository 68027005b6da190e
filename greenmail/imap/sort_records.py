"""The records that SORT and THREAD work with: cached, or made of the header fields that are cached, or of headers."""

from collections.abc import Iterator, Sequence

from greenmail.imap.digest import keep, ready
from greenmail.imap.header_record import TOO_LONG, header_of
from greenmail.imap.made import SORTED_BY
from greenmail.imap.session import Session
from greenmail.imap.slices import slices
from greenmail.message.collation import Comparator
from greenmail.message.sort_keys import Place, field, sent_record, sort_record, thread_record
from greenmail.storage.api import CacheKind, Mailbox

_BLOCK = 1024  # messages looked at before others get their turn
_KINDS = {comparator.name: kind for kind, comparator in SORTED_BY.items()}


def sort_records(session: Session, mailbox: Mailbox, uids: Sequence[int]) -> list[bytes | None]:
    """For each of `uids` (ascending) its record of `message.sort_keys`; None for a message that is gone.

    With keys of the default comparator, for those who ask for something else in it. May take long: it breathes
    between blocks.
    """
    return [record for some in _slices(session, mailbox, uids, CacheKind.SORT) for record in some]


def record_slices(
    session: Session, mailbox: Mailbox, uids: Sequence[int], comparator: Comparator
) -> Iterator[list[bytes | None]]:
    """As `sort_records`, with keys of this comparator, of each of `slices(uids)`.

    All of a large mailbox are more than should be in memory at once.
    """
    return _slices(session, mailbox, uids, _KINDS[comparator.name])


def sent_slices(session: Session, mailbox: Mailbox, uids: Sequence[int]) -> Iterator[list[bytes | None]]:
    """As `record_slices`, with nothing but `Place.DATE`: it is found in less time, and kept in less room."""
    for some in slices(uids):
        found: list[bytes | None] = []
        for start in range(0, len(some), _BLOCK):
            found += _dates(session, mailbox, some[start : start + _BLOCK])
            session.breathe()
        yield found


def thread_slices(
    session: Session, mailbox: Mailbox, uids: Sequence[int], comparator: Comparator
) -> Iterator[list[bytes | None]]:
    """As `record_slices`, with what `thread_keys` needs and perhaps nothing else."""
    kind = _KINDS[comparator.name]
    if kind is not CacheKind.SORT or not uids or mailbox.cached(uids[-1], kind) is not None:
        return _slices(session, mailbox, uids, kind)
    return _slices(session, mailbox, uids, CacheKind.THREAD)


def _dates(session: Session, mailbox: Mailbox, block: Sequence[int]) -> list[bytes | None]:
    dates = mailbox.cached_many(block, CacheKind.SENT)
    if None not in dates:
        return dates
    for kind in SORTED_BY:
        records = mailbox.cached_many(block, kind)
        if None not in records:
            return [field(record or b"", Place.DATE) for record in records]
    _from_headers(session, mailbox, [uid for uid, one in zip(block, dates, strict=True) if one is None], CacheKind.SENT)
    return ready(session, mailbox, block, frozenset({CacheKind.SENT}), lambda error: None)[CacheKind.SENT]


def _slices(session: Session, mailbox: Mailbox, uids: Sequence[int], kind: CacheKind) -> Iterator[list[bytes | None]]:
    for some in slices(uids):
        found: list[bytes | None] = []
        for start in range(0, len(some), _BLOCK):
            found += _records(session, mailbox, some[start : start + _BLOCK], kind)
            session.breathe()
        yield found


def _records(session: Session, mailbox: Mailbox, block: Sequence[int], kind: CacheKind) -> list[bytes | None]:
    records = mailbox.cached_many(block, kind)
    if None in records:
        _from_headers(session, mailbox, [uid for uid, one in zip(block, records, strict=True) if one is None], kind)
        records = ready(session, mailbox, block, frozenset({kind}), lambda error: None)[kind]
    return records


def _from_headers(session: Session, mailbox: Mailbox, uids: list[int], kind: CacheKind) -> None:
    """Cache the records of those whose header fields are cached: no file is opened for them."""
    headers = zip(uids, mailbox.cached_many(uids, CacheKind.HEADERS), strict=True)
    known = [(uid, record) for uid, record in headers if record is not None and record != TOO_LONG]
    if known:
        made = session.blocking(_made, [record for _, record in known], kind)
        pairs = zip(known, made, strict=True)
        keep(mailbox, [(uid, {kind: record}) for (uid, _), record in pairs])


def _made(headers: list[bytes], kind: CacheKind) -> list[bytes]:
    """Runs in the pool."""
    if kind is CacheKind.SENT:
        return [sent_record(header_of(record)) for record in headers]
    if kind is CacheKind.THREAD:
        return [thread_record(header_of(record)) for record in headers]
    return [sort_record(header_of(record), SORTED_BY[kind]) for record in headers]
