"""SORT, RFC 5256; SORT=DISPLAY, RFC 5957; ESORT, RFC 5267 3.

sort           = ["UID" SP] "SORT" [search-return-opts] SP sort-criteria SP search-criteria
sort-criteria  = "(" sort-criterion *(SP sort-criterion) ")"
sort-criterion = ["REVERSE" SP] sort-key

Every message has one octet string or number a criterion. They are sorted by the last criterion first, and each time
what is equal stays in its order: so the order of the mailbox decides in the end.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.errors import Refused, StorageError
from greenmail.imap import grammar
from greenmail.imap.columns import known_rows, numbers_of
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.search import answer, modseqs_of, parse_returns
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import Found, Returns, saved_places
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.search_key import Key, search_keys
from greenmail.imap.search_run import Search, check_charset
from greenmail.imap.session import Session
from greenmail.imap.sort_records import sort_records
from greenmail.message.sort_keys import Place, field
from greenmail.storage.api import Mailbox

_MOST = 20  # criteria of one command; there are nine, and each may stand twice before it says nothing new
_AT_ONCE = 8192  # values sorted without a breath

Values = Sequence[Any]  # for each message found, what it is sorted by: all of one type


@dataclass(frozen=True, slots=True)
class Criterion:
    """A sort-criterion."""

    key: str
    reverse: bool


@dataclass(frozen=True, slots=True)
class SortRequest:
    """The arguments of SORT; `returns` is None without RETURN."""

    uid: bool
    returns: Returns | None
    criteria: tuple[Criterion, ...]
    charset: str
    key: Key


def parse_sort(cur: Cursor, uid: bool) -> SortRequest:
    """sort — RFC 5256 5, RFC 5267 7."""
    from greenmail.imap import registry  # not at the top: it imports this module

    cur.space()
    returns = parse_returns(cur)
    cur.open()
    criteria = [_criterion(cur)]
    while cur.peek() != b")":
        cur.space()
        criteria.append(_criterion(cur))
        if len(criteria) > _MOST:
            raise cur.wrong("too many sort criteria")
    cur.close()
    cur.space()
    charset = grammar.charset(cur)
    cur.space()
    return SortRequest(uid, returns, tuple(criteria), charset, search_keys(cur, registry.SEARCH_KEYS))


def _criterion(cur: Cursor) -> Criterion:
    start = cur.pos
    word = grammar.atom(cur).upper()
    reverse = word == "REVERSE"
    if reverse:
        cur.space()
        start = cur.pos
        word = grammar.atom(cur).upper()
    if word not in _KEYS:
        cur.pos = start
        raise cur.wrong("unknown sort key")
    return Criterion(word, reverse)


def run_sort(session: Session, request: SortRequest) -> Completion:
    """Search, sort, answer."""
    saves = request.returns is not None and "SAVE" in request.returns
    try:
        check_charset(request.charset)
        uids = Search(session, request.key, request.charset).run()
        order = _order(session, uids, request.criteria)
    except (Refused, StorageError):
        if saves:
            session.saved = []  # RFC 9051 6.4.4.1
        raise
    numbers = uids if request.uid else numbers_of(selected(session), uids)
    modseqs = modseqs_of(session, request.key, uids)
    found = Found(
        request.uid, [numbers[place] for place in order], modseqs and [modseqs[place] for place in order]
    )  # fmt: skip
    answer(session, request.returns, found, b"SORT")
    if saves:
        session.saved = sorted(uids[order[place]] for place in saved_places(len(order), request.returns or {}))
    return Ok("SORT completed")


def _order(session: Session, uids: list[int], criteria: Sequence[Criterion]) -> list[int]:
    """Places in `uids`, sorted."""
    columns = _Columns(session, uids)
    order = list(range(len(uids)))
    for criterion in reversed(criteria):
        values = _KEYS[criterion.key](columns)
        order = _sorted(session, order, values, criterion.reverse)
    return order


def _sorted(session: Session, order: list[int], values: Values, reverse: bool) -> list[int]:
    """`order` by `values`; what is equal stays as it is. Long lists are merged of sorted pieces: others must run."""
    value = values.__getitem__
    pieces = []
    for start in range(0, len(order), _AT_ONCE):
        pieces.append(sorted(order[start : start + _AT_ONCE], key=value, reverse=reverse))
        session.breathe()
    if len(pieces) < 2:
        return pieces[0] if pieces else []
    merged: list[int] = []
    for place in heapq.merge(*pieces, key=value, reverse=reverse):
        merged.append(place)
        if not len(merged) % _AT_ONCE:
            session.breathe()
    return merged


class _Columns:
    """What the messages found are sorted by; each column is made when the first criterion asks for it."""

    def __init__(self, session: Session, uids: list[int]) -> None:
        self._session = session
        self._mailbox: Mailbox = selected(session).mailbox
        self._uids = uids
        self._records: list[bytes | None] | None = None

    def text(self, place: Place) -> Values:
        """A field of the records; a message that is gone meanwhile has the empty string."""
        if self._records is None:
            self._records = sort_records(self._session, self._mailbox, self._uids)
        return [field(record, place) if record else b"" for record in self._records]

    def arrival(self) -> Values:
        """INTERNALDATE, in seconds."""
        self._mailbox.fill(self._uids, dates=True)
        rows = known_rows(self._mailbox, self._uids)
        known = dict(zip(rows.uids, rows.dates, strict=True))
        return [known.get(uid, -1) for uid in self._uids]

    def size(self) -> Values:
        """RFC822.SIZE."""
        self._mailbox.fill(self._uids, sizes=True)
        rows = known_rows(self._mailbox, self._uids)
        known = dict(zip(rows.uids, rows.sizes, strict=True))
        return [known.get(uid, -1) for uid in self._uids]

    def date(self) -> Values:
        """Sent date, in seconds; INTERNALDATE of a message that has none. RFC 5256 2.2."""
        sent = self.text(Place.DATE)
        if all(sent):
            return [int(value) for value in sent]
        return [int(value) if value else other for value, other in zip(sent, self.arrival(), strict=True)]


def _text(place: Place) -> Callable[[_Columns], Values]:
    return lambda columns: columns.text(place)


_KEYS: dict[str, Callable[[_Columns], Values]] = {
    "ARRIVAL": _Columns.arrival,
    "CC": _text(Place.CC),
    "DATE": _Columns.date,
    "DISPLAYFROM": _text(Place.DISPLAY_FROM),
    "DISPLAYTO": _text(Place.DISPLAY_TO),
    "FROM": _text(Place.FROM),
    "SIZE": _Columns.size,
    "SUBJECT": _text(Place.SUBJECT),
    "TO": _text(Place.TO),
}

SORT = Command(
    "SORT", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_sort, run=run_sort
)  # fmt: skip

FEATURE = Feature(
    "sort",
    commands=(SORT,),
    capabilities=(Capability("SORT", always), Capability("SORT=DISPLAY", always), Capability("ESORT", always)),
)
