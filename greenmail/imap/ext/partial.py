"""PARTIAL, RFC 9394: results of SEARCH, and messages of UID FETCH, a page at a time; from either end.

    modifier-partial    = "PARTIAL" SP partial-range
    partial-range-first = nz-number ":" nz-number
    partial-range-last  = "-" nz-number ":" "-" nz-number

In SORT it takes the page of the sorted list, as RFC 5267 4.4 has it.
"""

import re
from dataclasses import dataclass

from greenmail.errors import BadSyntax
from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import Found, ReturnOpt
from greenmail.imap.fetch_att import FetchModifier, FetchRequest
from greenmail.imap.sequence_set import compact
from greenmail.imap.session import Session

PARTIAL = "PARTIAL"
_RANGE = re.compile(rb"(-?)([1-9][0-9]{0,9}):\1([1-9][0-9]{0,9})(?![0-9])")
_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Page:
    """partial-range: the first to the last place, from 1; `last_first`: counted from the end."""

    text: bytes
    first: int
    last: int
    last_first: bool

    def places(self, count: int) -> range:
        """The places in a list of `count`, ascending from 0; those that there are."""
        if self.last_first:
            return range(max(count - self.last, 0), max(count - self.first + 1, 0))
        return range(min(self.first - 1, count), min(self.last, count))


def parse_page(cur: Cursor) -> Page:
    """SP partial-range: a range may be written backwards, and has no "*". RFC 9394 4."""
    cur.space()
    start = cur.pos
    text = cur.match(_RANGE, "a partial range")
    first, last = sorted(int(word) for word in text.replace(b"-", b"").split(b":"))
    if last > _MAX:
        cur.pos = start
        raise cur.wrong("expected a partial range")
    return Page(text, first, last, text.startswith(b"-"))


def _render(found: Found, page: Page) -> bytes:
    """ret-data-partial: the range as it was asked for, and NIL if nothing is in it. RFC 9394 3.1."""
    places = page.places(len(found.numbers))
    return b"PARTIAL (%b %b)" % (page.text, compact(found.numbers[places.start : places.stop]) or b"NIL")


def _check_fetch(session: Session, request: FetchRequest) -> None:
    """RFC 9394 3.3: a modifier of UID FETCH."""
    if not request.uid:
        raise BadSyntax("PARTIAL needs UID FETCH")


def _apply_fetch(session: Session, request: FetchRequest, page: Page) -> FetchRequest:
    """RFC 9394 3.3, 3.4: first the page of the messages that there are, then what other modifiers leave of it."""

    def choose(uids: list[int]) -> list[int]:
        places = page.places(len(uids))
        return uids[places.start : places.stop]

    return request._replace(choose=(*request.choose, choose))


FEATURE: Feature = Feature(
    "partial",
    capabilities=(Capability(PARTIAL, always),),
    fetch_modifiers={PARTIAL: FetchModifier(PARTIAL, parse_page, _apply_fetch, _check_fetch)},
    search_return_opts={
        PARTIAL: ReturnOpt(
            PARTIAL,
            parse_page,
            _render,
            lambda count, page: page.places(count),
            excludes=frozenset({PARTIAL, "ALL"}),
        )
    },
)
