"""QRESYNC, RFC 7162 3.2: a mailbox is resynchronized by its SELECT, and expunges are told by UID.

    select-param        =/ "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
    seq-match-data      =  "(" known-sequence-set SP known-uid-set ")"
    rexpunges-fetch-mod =  "VANISHED"

Expunges are remembered by the store, no more than `storage.history` keeps. Who asks from longer ago, or with a
mod-sequence that the mailbox has not reached, is told of every UID that is not there (3.2.5.1, 3.2.6). VANISHED in
place of EXPUNGE and HIGHESTMODSEQ behind it are `imap.news`; CLOSED (3.2.11) is written by SELECT, for everybody.

SETMETADATA raises the mod-sequence of its mailbox (3.2): `storage.api.Mailbox.touch`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from greenmail.errors import BadSyntax
from greenmail.imap import grammar
from greenmail.imap.command import Capability, Feature
from greenmail.imap.commands.fetch import FLAGS, UID, fetch_uids
from greenmail.imap.commands.select import SelectParam
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.condstore import MODSEQ, enable_in_mailbox
from greenmail.imap.fetch_att import FetchModifier, FetchRequest
from greenmail.imap.message_set import message_ranges, selected
from greenmail.imap.news import vanished, vanished_ranges
from greenmail.imap.sequence_set import Ranges, SequenceSet, sequence_set, uid_set
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.storage.api import Changes

QRESYNC = "QRESYNC"
_EARLIER = b"VANISHED (EARLIER)"

Match = tuple[int, int, int]  # first and last sequence number, UID of the first: the others follow without gaps


@dataclass(frozen=True, slots=True)
class Known:
    """What the client knows of the mailbox: the value of the parameter."""

    uidvalidity: int
    modseq: int
    uids: Ranges | None = None  # None: all there ever were
    matches: tuple[Match, ...] = ()  # ascending


def parse_known(cur: Cursor) -> Known:
    """The value of the parameter. Lenient: a mod-sequence of 0 is accepted, as it is in CHANGEDSINCE."""
    cur.space()
    cur.open()
    uidvalidity = grammar.nz_number(cur)
    cur.space()
    modseq = grammar.mod_sequence_valzer(cur)
    uids: Ranges | None = None
    matches: tuple[Match, ...] = ()
    if cur.take(b" "):
        if cur.peek() != b"(":
            uids = uid_set(cur)
            if cur.take(b" "):
                matches = _match_data(cur)
        else:
            matches = _match_data(cur)
    cur.close()
    return Known(uidvalidity, modseq, uids, matches)


def _match_data(cur: Cursor) -> tuple[Match, ...]:
    """seq-match-data: two sets, both ascending, for as many messages. RFC 7162 3.2.5.2."""
    cur.open()
    cur.numbers = True
    numbers = _ascending(cur)
    cur.space()
    uids = _ascending(cur)
    cur.close()
    matches: list[Match] = []
    while numbers and uids:
        (first, last), (uid, last_uid) = numbers.pop(), uids.pop()
        length = min(last - first, last_uid - uid)
        matches.append((first, first + length, uid))
        if first + length < last:
            numbers.append((first + length + 1, last))
        if uid + length < last_uid:
            uids.append((uid + length + 1, last_uid))
    if numbers or uids:
        raise cur.wrong("expected as many message numbers as UIDs")
    return tuple(matches)


def _ascending(cur: Cursor) -> list[tuple[int, int]]:
    """Ranges as written, the first one at the end: so that `pop` takes it."""
    seqs = sequence_set(cur)
    ranges = [(first, last) for first, last in seqs.ranges if first is not None and last is not None]
    numbers = [number for pair in ranges for number in pair]
    ascends = all(first <= last for first, last in ranges) and all(
        before < after for (_, before), (after, _) in pairwise(ranges)
    )
    if seqs.saved or len(ranges) < len(seqs.ranges) or not numbers or not ascends:
        raise cur.wrong("expected ascending numbers")
    ranges.reverse()
    return ranges


def _check_enabled(session: Session, known: Known) -> None:
    """RFC 7162 3.2.5: BAD without ENABLE QRESYNC."""
    if QRESYNC not in session.enabled:
        raise BadSyntax("enable QRESYNC first")


def _resynchronize(session: Session, known: Known) -> None:
    """Behind the answers of SELECT: what vanished, then what changed. RFC 7162 3.2.5.1."""
    view = selected(session)
    mailbox = view.mailbox
    if not mailbox.tracks_modseq or known.uidvalidity != mailbox.uidvalidity:
        return  # the client sees NOMODSEQ, or the UIDVALIDITY
    asked = known.uids if known.uids is not None else [(1, mailbox.uidnext - 1)]
    changes = _changes(view, known.modseq)
    lines = _earlier(view, asked, changes.expunged, _last_match(view, known.matches))
    changed = [uid for uid in _within(changes.changed, asked) if view.seq(uid)]
    session.out.write(b"".join(lines))
    if changed:
        items = (FLAGS, MODSEQ) if session.uid_only else (UID, FLAGS, MODSEQ)
        fetch_uids(session, FetchRequest(True, SequenceSet(()), items), changed)


def _changes(view: View, since: int) -> Changes:
    """A mod-sequence that the mailbox has not reached is of another life of it, and means nothing."""
    return view.mailbox.changes(since if since <= view.mailbox.modseq else 0)


def _last_match(view: View, matches: Sequence[Match]) -> int:
    """The highest UID that has the number which the client gives it, or 0: up to there no expunge is news."""
    for first, last, uid in reversed(matches):
        end = min(last, len(view.uids))
        # UIDs ascend, so behind the first that is too high for its number all are.
        place = bisect_right(range(first, end + 1), uid - first, key=lambda seq: view.uids[seq - 1] - seq)
        if place and view.uids[first + place - 2] == uid + place - 1:
            return uid + place - 1
    return 0


def _earlier(view: View, asked: Ranges, expunged: list[int] | None, matched: int = 0) -> list[bytes]:
    """VANISHED (EARLIER) for those of `expunged` that are in `asked`, above `matched`. RFC 7162 3.2.10.1.

    None: nobody knows, so for all that are not there. Messages that this session still shows are not in it: they are
    news, and told without EARLIER.
    """
    mailbox = view.mailbox
    table = mailbox.table.uids
    if expunged is not None:
        gone = [uid for uid in _within(expunged, asked) if uid > matched]
        return vanished([uid for uid in gone if not view.seq(uid) and mailbox.table.row(uid) < 0], _EARLIER)
    there = [*view.uids, *table[bisect_right(table, view.largest_uid) :]]
    upper = mailbox.uidnext - 1
    limits = [(max(first, matched + 1), min(last, upper)) for first, last in asked]
    return vanished_ranges(list(_absent(limits, there)), _EARLIER)


def _within(uids: Sequence[int], ranges: Ranges) -> list[int]:
    """Those of `uids`, ascending, that are in `ranges`."""
    found: list[int] = []
    for first, last in ranges:
        found.extend(uids[bisect_left(uids, first) : bisect_right(uids, last)])
    return found


def _absent(ranges: Ranges, uids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What is left of `ranges` without `uids`, ascending."""
    for first, last in ranges:
        start = first
        for uid in uids[bisect_left(uids, first) : bisect_right(uids, last)]:
            if start < uid:
                yield start, uid - 1
            start = uid + 1
        if start <= last:
            yield start, last


def _parse_nothing(cur: Cursor) -> None:
    """The modifier has no value."""


def _check_vanished(session: Session, request: FetchRequest) -> None:
    """RFC 7162 3.2.6: only in UID FETCH, only with CHANGEDSINCE, only after ENABLE QRESYNC; else BAD."""
    if not request.uid or _changedsince(request) is None:
        raise BadSyntax("VANISHED needs UID FETCH and CHANGEDSINCE")
    if QRESYNC not in session.enabled:
        raise BadSyntax("enable QRESYNC first")


def _changedsince(request: FetchRequest) -> int | None:
    return next((since for modifier, since in request.modifiers if modifier.name == "CHANGEDSINCE"), None)


def _apply_vanished(session: Session, request: FetchRequest, value: None) -> FetchRequest:
    """VANISHED (EARLIER) goes before any FETCH."""
    since = _changedsince(request) or 0
    enable_in_mailbox(session)

    def tell(session: Session) -> None:
        view = selected(session)
        asked = message_ranges(session, request.seqs, uid=True)
        session.out.write(b"".join(_earlier(view, asked, _changes(view, since).expunged)))

    return request._replace(before=(*request.before, tell))


FEATURE: Feature = Feature(
    "qresync",
    capabilities=(Capability(QRESYNC, lambda session: session.services.condstore, settled=True),),
    enables=(QRESYNC,),
    fetch_modifiers={"VANISHED": FetchModifier("VANISHED", _parse_nothing, _apply_vanished, _check_vanished)},
    select_params={QRESYNC: SelectParam(QRESYNC, parse_known, check=_check_enabled, after=_resynchronize)},
)
