"""SORT, RFC 5256; SORT=DISPLAY, RFC 5957; ESORT, RFC 5267 3.

sort           = ["UID" SP] "SORT" [search-return-opts] SP sort-criteria SP search-criteria
sort-criteria  = "(" sort-criterion *(SP sort-criterion) ")"
sort-criterion = ["REVERSE" SP] sort-key

Every message has one octet string or number a criterion. They are sorted by the last criterion first, and each time
what is equal stays in its order: so the order of the mailbox decides in the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.imap import grammar
from greenmail.imap.columns import dates_of, in_turns, sizes_of
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.search import (
    answer,
    begin_options,
    check_relevancy,
    end_options,
    known_as,
    modseqs_of,
    parse_returns,
    picked,
    relevancy,
    saving,
    search_criteria,
    write_line,
)
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import RELEVANCY, Found, Returns, Searched, saved_places, search_response
from greenmail.imap.ext.inprogress import working
from greenmail.imap.ext.messagelimit import check_whole
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.results import Results
from greenmail.imap.search_key import Key
from greenmail.imap.search_run import Search, check_charset
from greenmail.imap.session import Session
from greenmail.imap.slices import in_order, slices
from greenmail.imap.sort_records import record_slices, sent_slices
from greenmail.message.collation import FAILED, Comparator
from greenmail.message.sort_keys import Place, field
from greenmail.storage.api import Mailbox

_MOST = 20  # criteria of one command; there are nine, and each may stand twice before it says nothing new

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
    name, key = search_criteria(cur)
    is_asked = any(one.key == RELEVANCY for one in criteria) or (returns is not None and RELEVANCY in returns)
    check_relevancy(is_asked, key)
    return SortRequest(uid, returns, tuple(criteria), name, key)


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
    modseq, largest = begin_options(session, request.returns)
    with saving(session, request.returns) as saves:
        check_charset(request.charset)
        search = Search(session, request.key, request.charset)
        check_whole(session, search.key)
        wanted = (session, search.key, search.charset, search.comparator.selected, request.criteria)
        by_size = any(one.key == "SIZE" for one in request.criteria)
        lines = Results(*wanted, request.uid, by_size=by_size) if request.returns is None else None
        line = lines.octets() if lines is not None else None
        if line is not None:
            write_line(session, line)
            return Ok("SORT completed")
        with working(session):
            uids, order, is_whole = _sorted(session, request.criteria, search, Results(*wanted, by_size=by_size))
    numbers = known_as(session, uids, request.uid)
    modseqs = modseqs_of(session, search.key, uids)
    sorted_uids = picked(session, uids, order) if request.returns else []
    scores = relevancy(session, search, request.returns, sorted_uids)
    found = Found(request.uid, picked(session, numbers, order), modseqs and picked(session, modseqs, order), scores)
    if lines is None:
        answer(session, request.returns, found, b"SORT")
    else:
        line = _line(session, found)
        write_line(session, line)
        if is_whole:
            lines.keep(line)
    end_options(
        session,
        request.returns,
        Searched(request.uid, search.key, search.charset, sorted_uids, modseq, largest, request.criteria),
    )
    if saves:
        places = saved_places(len(order), request.returns or {})
        # Most often everything, which is in order already.
        session.saved = uids if len(places) == len(order) else sorted(uids[order[place]] for place in places)
    return Ok("SORT completed")


def _line(session: Session, found: Found) -> bytes:
    """sort-data, all of it: RFC 5256 5."""
    pieces: list[bytes] = []
    for piece in search_response(found, b"SORT"):
        pieces.append(piece)
        session.breathe()
    return b"".join(pieces)


def _sorted(
    session: Session, criteria: Sequence[Criterion], search: Search, results: Results
) -> tuple[list[int], list[int], bool]:
    """The UIDs that are found, ascending; their places, sorted; and whether nothing had to be left out."""
    known = results.numbers()
    if known is not None:
        half = len(known) // 2
        return known[:half], known[half:], True
    uids = search.run()
    columns = _Columns(session, uids, criteria, search.comparator, search)
    order = _order(session, columns, criteria)
    is_whole = columns.is_whole and not search.lost
    if is_whole:
        results.keep_numbers([*uids, *order])
    return uids, order, is_whole


def _order(session: Session, columns: "_Columns", criteria: Sequence[Criterion]) -> list[int]:
    """The places of the messages, sorted."""
    order = list(range(columns.count))
    for criterion in reversed(criteria):
        values = _KEYS[criterion.key](columns)
        order = in_order(order, values.__getitem__, criterion.reverse, session.breathe)
    return order


class _Falling:
    """A value of a REVERSE criterion."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: "_Falling") -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Falling) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value)


def _turned(key: bytes) -> tuple[int, Any]:
    """A key in an order that is turned round, RFC 4790 3.3; what is no text stays behind all texts, RFC 5255 4.6."""
    return (1, key) if key.startswith(FAILED) else (0, _Falling(key))


def places_of(
    session: Session, uids: list[int], criteria: Sequence[Criterion], comparator: Comparator
) -> list[tuple[Any, ...]]:
    """For each of `uids` (ascending) what its place in the sorted mailbox is found by: the smallest comes first.

    Not for RELEVANCY, which changes with other messages.
    """
    columns = _Columns(session, uids, criteria, comparator)
    values: list[Values] = []
    for criterion in criteria:
        column = _KEYS[criterion.key](columns)
        values.append([_Falling(value) for value in column] if criterion.reverse else column)
    return list(zip(*values, uids, strict=True))


class _Columns:
    """What the messages found are sorted by, of all criteria."""

    def __init__(
        self,
        session: Session,
        uids: list[int],
        criteria: Sequence[Criterion],
        comparator: Comparator,
        search: Search | None = None,
    ) -> None:
        self._search = search
        self._session = session
        self._comparator = comparator
        self._mailbox: Mailbox = selected(session).mailbox
        self._uids = uids
        self._fields: dict[Place, list[bytes]] = {}
        self.count = len(uids)
        self.is_whole = True  # all that was asked for could be had
        self._read({_PLACES[one.key] for one in criteria if one.key in _PLACES})

    def _read(self, places: set[Place]) -> None:
        """The fields of the records. A message that is gone meanwhile has empty ones."""
        if not places:
            return
        self._fields = {place: [] for place in places}
        if places == {Place.DATE}:
            column = self._fields[Place.DATE]
            for dates in sent_slices(self._session, self._mailbox, self._uids):
                self.is_whole = self.is_whole and None not in dates
                column += [date or b"" for date in dates]
            return
        for records in record_slices(self._session, self._mailbox, self._uids, self._comparator):
            self.is_whole = self.is_whole and None not in records
            for place, column in self._fields.items():
                column += [field(record, place) if record else b"" for record in records]
                self._session.breathe()

    def text(self, place: Place) -> Values:
        """A field of the records, which is a text: by the comparator's order."""
        values = self._fields[place]
        return list(map(_turned, values)) if self._comparator.is_falling else values

    def arrival(self) -> Values:
        """INTERNALDATE, in seconds."""
        return self._of_rows(dates_of)

    def size(self) -> Values:
        """RFC822.SIZE."""
        return self._of_rows(sizes_of)

    def _of_rows(self, some: Callable[[Mailbox, Sequence[int]], Sequence[int]]) -> Values:
        found = in_turns(self._mailbox, self._uids, some, self._session.breathe)
        self.is_whole = self.is_whole and -1 not in found
        return found

    def relevancy(self) -> Values:
        """The highest score first: RFC 6203 6."""
        assert self._search is not None, "a score is not a thing of the message"
        return [-score for score in self._search.fuzzy.scores(self._uids)]

    def date(self) -> Values:
        """Sent date, in seconds; INTERNALDATE of a message that has none. RFC 5256 2.2."""
        sent = self._fields[Place.DATE]
        other = sent if all(sent) else self.arrival()
        found: list[int] = []
        for some, instead in zip(slices(sent), slices(other), strict=True):
            found += [int(value or arrived) for value, arrived in zip(some, instead, strict=True)]
            self._session.breathe()
        return found


def _text(place: Place) -> Callable[[_Columns], Values]:
    return lambda columns: columns.text(place)


_PLACES = {
    "CC": Place.CC,
    "DATE": Place.DATE,
    "DISPLAYFROM": Place.DISPLAY_FROM,
    "DISPLAYTO": Place.DISPLAY_TO,
    "FROM": Place.FROM,
    "SUBJECT": Place.SUBJECT,
    "TO": Place.TO,
}
_KEYS: dict[str, Callable[[_Columns], Values]] = {
    **{key: _text(place) for key, place in _PLACES.items()},
    "ARRIVAL": _Columns.arrival,
    "DATE": _Columns.date,
    "RELEVANCY": _Columns.relevancy,
    "SIZE": _Columns.size,
}

SORT = Command(
    "SORT", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_sort, run=run_sort
)  # fmt: skip

FEATURE: Feature = Feature(
    "sort",
    commands=(SORT,),
    capabilities=(Capability("SORT", always), Capability("SORT=DISPLAY", always), Capability("ESORT", always)),
)
