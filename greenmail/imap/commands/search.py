"""SEARCH, RFC 9051 6.4.4; RFC 3501 6.4.4; return options RFC 4731 3.1; SAVE and "$" RFC 5182 2."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from greenmail.errors import BadSyntax, Refused, StorageError
from greenmail.imap.columns import in_turns, modseqs_in, numbers_of
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import day_range, load_zone
from greenmail.imap.esearch import (
    RELEVANCY,
    RETURN_OPTS,
    Found,
    Returns,
    Searched,
    esearch_response,
    saved_places,
    search_response,
    search_return_opts,
)
from greenmail.imap.ext import messagelimit
from greenmail.imap.ext.filters import check_charset_of_filters
from greenmail.imap.ext.inprogress import working
from greenmail.imap.ext.utf8_accept import UTF8_ACCEPT
from greenmail.imap.fetch_att import Rows
from greenmail.imap.flag_search import answered, flags_alone, marked, marks
from greenmail.imap.grammar import charset
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.search_key import SEARCH_KEYS, FuzzyKey, Key, RowKey, date_key, search_keys, size_key
from greenmail.imap.search_run import Search, check_charset, walk
from greenmail.imap.session import Session
from greenmail.imap.slices import SLICE, slices

_PIECE = 65536  # octets written at once


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The arguments of SEARCH; `returns` is None without RETURN, `charset` empty without CHARSET."""

    uid: bool
    returns: Returns | None
    charset: str
    key: Key


def parse_search(cur: Cursor, uid: bool) -> SearchRequest:
    """search = "SEARCH" [search-return-opts] SP search-program — RFC 9051 9."""
    cur.space()
    return parse_program(cur, uid, parse_returns(cur))


def parse_program(cur: Cursor, uid: bool, returns: Returns | None) -> SearchRequest:
    """search-program = ["CHARSET" SP charset SP] search-key *(SP search-key) — RFC 9051 9."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    name = ""
    if cur.take(b"CHARSET "):
        name = charset(cur)
        cur.space()
    key = search_keys(cur, registry.SEARCH_KEYS)
    check_charset_of_filters(name, walk(key))
    check_relevancy(returns is not None and RELEVANCY in returns, key)
    return SearchRequest(uid, returns, name, key)


def parse_returns(cur: Cursor) -> Returns | None:
    """["RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")" SP]"""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    if not cur.take(b"RETURN "):
        return None
    returns = search_return_opts(cur, registry.SEARCH_RETURN_OPTS)
    cur.space()
    return returns


def run_search(session: Session, request: SearchRequest) -> Completion:
    """Find, answer, and remember for "$" what was found if SAVE is asked for."""
    if request.charset and UTF8_ACCEPT in session.enabled:
        raise BadSyntax("everything is in UTF-8 here: no CHARSET")  # RFC 9755 3
    modseq, largest = begin_options(session, request.returns)
    with saving(session, request.returns) as saves:
        check_charset(request.charset)
        is_whole = not 0 < session.limits.message_limit < len(selected(session).uids)
        of_flags = marks(session, request.key) if is_whole and flags_alone(request.key) else None
        search = Search(session, request.key, request.charset) if of_flags is None else None
        found, limit = _search(session, search, request.returns) if search is not None else ([], b"")
    if of_flags is not None and request.returns is None and not session.rev2:
        write_line(session, answered(session, request.key, request.uid, of_flags))
        return Ok("SEARCH completed")
    if of_flags is not None:
        uids = selected(session).uids
        numbers = marked(session, uids if request.uid else range(1, len(uids) + 1), of_flags)
        wants_uids = saves or any(option.end is not None for option, _ in (request.returns or {}).values())
        found = numbers if request.uid or not wants_uids else marked(session, uids, of_flags)
        modseqs = None
    else:
        modseqs = modseqs_of(session, search.key if search is not None else request.key, found)
        numbers = known_as(session, found, request.uid)
    scores = relevancy(session, search, request.returns, found) if search is not None else None
    answer(session, request.returns, Found(request.uid, numbers, modseqs, scores), b"" if session.rev2 else b"SEARCH")
    key, name = (search.key, search.charset) if search is not None else (request.key, request.charset)
    if limit and "UPDATE" in (request.returns or {}):
        session.out.status(b'* NO [NOUPDATE "%b"] Not all messages were searched\r\n' % session.tag)
    else:
        end_options(session, request.returns, Searched(request.uid, key, name, found, modseq, largest))
    if saves:
        session.saved = picked(session, found, saved_places(len(found), request.returns or {}))
    return messagelimit.told(session, Ok("SEARCH completed"), limit)


def _search(session: Session, search: Search, returns: Returns | None) -> tuple[list[int], bytes]:
    """What is found, and the response code if not all messages were searched: RFC 9738 3.1."""
    among, limit = messagelimit.searched(session, search.key, returns)
    with working(session):
        return search.run(among), limit


def begin_options(session: Session, returns: Returns | None) -> tuple[int, int]:
    """Before the search. What the mailbox's mod-sequence is, and the largest UID: `Searched`."""
    for option, value in (returns or {}).values():
        if option.begin is not None:
            option.begin(session, value)
    view = selected(session)
    return view.mailbox.modseq, view.largest_uid


def end_options(session: Session, returns: Returns | None, searched: Searched) -> None:
    """Behind the answer."""
    for option, value in (returns or {}).values():
        if option.end is not None:
            option.end(session, searched, value)


@contextmanager
def saving(session: Session, returns: Returns | None) -> Iterator[bool]:
    """Whether "$" is to become what is found within; if that is refused it is empty. RFC 9051 6.4.4.1."""
    saves = returns is not None and "SAVE" in returns
    try:
        yield saves
    except (Refused, StorageError):
        if saves:
            session.saved = []
        raise


def search_criteria(cur: Cursor) -> tuple[str, Key]:
    """search-criteria = charset 1*(SP search-key) — RFC 5256 5."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    name = charset(cur)
    cur.space()
    key = search_keys(cur, registry.SEARCH_KEYS)
    check_charset_of_filters(name, walk(key))
    return name, key


def check_relevancy(is_asked: bool, key: Key) -> None:
    """RFC 6203 4, 6: RELEVANCY only beside FUZZY."""
    if is_asked and not any(isinstance(leaf, FuzzyKey) for leaf in walk(key)):
        raise BadSyntax("RELEVANCY needs a FUZZY search key")


def relevancy(session: Session, search: Search, returns: Returns | None, uids: Sequence[int]) -> list[int] | None:
    """The scores of the messages that are returned out of `uids`, in their order, if they are asked for."""
    if returns is None or RELEVANCY not in returns:
        return None
    scores = session.blocking(search.fuzzy.scores, uids)
    return picked(session, scores, saved_places(len(uids), returns))


def known_as(session: Session, uids: list[int], uid: bool) -> list[int]:
    """What the client knows the messages by: `uids` (ascending), or their sequence numbers."""
    if uid:
        return uids
    found: list[int] = []
    for some in slices(uids):
        found += numbers_of(selected(session), some)
        session.breathe()
    return found


def picked(session: Session, values: Sequence[int], places: Sequence[int]) -> list[int]:
    """`values` at `places`, in that order."""
    found: list[int] = []
    for some in slices(places):
        found += map(values.__getitem__, some)
        session.breathe()
    return found


def answer(session: Session, returns: Returns | None, found: Found, plain: bytes) -> None:
    """ESEARCH if RETURN is given, RFC 9051 6.4.4; else the response named `plain`, also when nothing is found.

    No name: always ESEARCH, as after ENABLE IMAP4rev2.
    """
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    options: Returns = returns or {}
    if returns is None and plain:
        _write(session, search_response(found, plain))
        return
    if list(options) == ["SAVE"]:  # RFC 9051 6.4.4: SAVE alone is answered by the tag
        return
    if not options:
        options = {"ALL": (registry.SEARCH_RETURN_OPTS["ALL"], None)}
    is_long = len(found.numbers) > SLICE
    line = (session.blocking if is_long else _at_once)(
        esearch_response, session.tag, found, options, registry.SEARCH_RETURN_OPTS
    )
    write_line(session, line)


def _at_once(function: Callable[..., bytes], *args: Any) -> bytes:
    return function(*args)


def write_line(session: Session, line: bytes) -> None:
    """One line, however long."""
    for start in range(0, len(line), _PIECE):
        session.out.write(line[start : start + _PIECE])
        session.breathe()


def _write(session: Session, pieces: Iterable[bytes]) -> None:
    """A line that may have a megabyte, with room for others between its pieces."""
    for piece in pieces:
        session.out.write(piece)
        session.breathe()


def modseqs_of(session: Session, key: Key, uids: list[int]) -> list[int] | None:
    """The mod-sequence of each of `uids` (ascending), if MODSEQ is among the keys: RFC 7162 3.1.5.

    0 for one that is gone and forgotten since it was found.
    """
    if not any(isinstance(leaf, RowKey) and leaf.name == "MODSEQ" for leaf in walk(key)):
        return None
    return in_turns(selected(session).mailbox, uids, modseqs_in, session.breathe)


def _larger(session: Session, octets: Any, rows: Rows) -> Iterable[bool]:
    return [size > octets for size in rows.sizes]


def _smaller(session: Session, octets: Any, rows: Rows) -> Iterable[bool]:
    return [0 <= size < octets for size in rows.sizes]


def _day(session: Session, day: date) -> tuple[int, int]:
    """First second of the day, and of the next, where the server is: INTERNALDATE is shown in that zone too."""
    return day_range(day, load_zone(session.services.time_zone))


def _before(session: Session, day: Any, rows: Rows) -> Iterable[bool]:
    first, _ = _day(session, day)
    return [when < first for when in rows.dates]


def _on(session: Session, day: Any, rows: Rows) -> Iterable[bool]:
    first, following = _day(session, day)
    return [first <= when < following for when in rows.dates]


def _since(session: Session, day: Any, rows: Rows) -> Iterable[bool]:
    first, _ = _day(session, day)
    return [when >= first for when in rows.dates]


_KEYS = (
    *SEARCH_KEYS,
    size_key("LARGER", _larger),
    size_key("SMALLER", _smaller),
    date_key("BEFORE", _before),
    date_key("ON", _on),
    date_key("SINCE", _since),
)

SEARCH = Command(
    "SEARCH", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_search, run=run_search
)

FEATURE: Feature = Feature(
    "search",
    commands=(SEARCH,),
    capabilities=(Capability("ESEARCH", always), Capability("SEARCHRES", always)),
    search_keys={key.name: key for key in _KEYS},
    search_return_opts={option.name: option for option in RETURN_OPTS},
)
