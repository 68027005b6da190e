"""SEARCH return options and the answers they make, RFC 9051 6.4.4 and 7.3.4, RFC 4731 3.1, RFC 3501 7.2.5.

search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
esearch-response   = "ESEARCH" [search-correlator] [SP "UID"] *(SP search-return-data)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.imap.cursor import Cursor
from greenmail.imap.grammar import tagged_ext_label
from greenmail.imap.search_key import Key
from greenmail.imap.sequence_set import compact
from greenmail.imap.session import Session

_NUMBERS_A_PIECE = 4096
RELEVANCY = "RELEVANCY"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: sequence numbers, or UIDs if `uid`; ascending, or in the order that SORT made.

    `modseqs` of the same messages, if MODSEQ was asked for, else None.
    """

    uid: bool
    numbers: Sequence[int]
    modseqs: Sequence[int] | None = None
    scores: Sequence[int] | None = None  # RELEVANCY of the messages that are returned, RFC 6203 4


@dataclass(frozen=True, slots=True)
class Searched:
    """A SEARCH or SORT that was answered."""

    uid: bool
    key: Key
    charset: str
    uids: Sequence[int]  # that were found, in the order of the answer
    modseq: int  # of the mailbox when it began, ...
    largest: int  # ... and the largest UID that the client knew then
    criteria: tuple[Any, ...] = ()  # of SORT


@dataclass(frozen=True, slots=True)
class ReturnOpt:
    """One search-return-opt: `parse` reads what follows the name, `render(found, value)` gives its return data.

    Data is for example b"MIN 4", or b"" where there is none to be given. `places(count, value)`, if there is such a
    thing, are the messages that are told of `count` found ones: "$" may become only those.
    """

    name: str
    parse: Callable[[Cursor], Any]
    render: Callable[[Found, Any], bytes]
    places: Callable[[int, Any], Sequence[int]] | None = None
    excludes: frozenset[str] = frozenset()  # options that cannot stand beside it; itself, if it cannot stand twice
    begin: Callable[[Session, Any], None] | None = None  # before the search, with the value; may refuse it
    end: Callable[[Session, "Searched", Any], None] | None = None  # behind the answer


Returns = Mapping[str, tuple[ReturnOpt, Any]]


def search_return_opts(cur: Cursor, table: Mapping[str, ReturnOpt]) -> Returns:
    """ "(" [search-return-opt *(SP search-return-opt)] ")"; an unknown option is BAD, RFC 9051 6.4.4."""
    cur.open()
    found: dict[str, tuple[ReturnOpt, Any]] = {}
    while cur.peek() != b")":
        if found:
            cur.space()
        start = cur.pos
        option = table.get(tagged_ext_label(cur))
        if option is None:
            cur.pos = start
            raise cur.wrong("unknown SEARCH return option")
        if not option.excludes.isdisjoint(found) or any(option.name in other.excludes for other, _ in found.values()):
            cur.pos = start
            raise cur.wrong("this SEARCH return option does not go with an earlier one")
        found[option.name] = (option, option.parse(cur))
    cur.close()
    return found


def esearch_response(
    tag: bytes, found: Found, returns: Returns, order: Mapping[str, ReturnOpt], correlators: bytes = b""
) -> bytes:
    """The whole line: `* ESEARCH (TAG "A282") UID MIN 2 COUNT 3`. Data stand in the order of the table `order`.

    `correlators`: more of them, each with a space before it. RFC 7377 2.1.
    """
    words = [b'* ESEARCH (TAG "%b"%b)' % (tag, correlators)]
    if found.uid:
        words.append(b"UID")
    data = [option.render(found, value) for name in order for option, value in filter(None, [returns.get(name)])]
    words.extend(piece for piece in data if piece)
    modseq = _highest(found, returns)
    if modseq:
        words.append(b"MODSEQ %d" % modseq)
    return b" ".join(words) + b"\r\n"


def search_response(found: Found, name: bytes = b"SEARCH") -> Iterator[bytes]:
    """rev1's `* SEARCH 2 84 882`, in pieces; also when nothing was found. RFC 3501 7.2.5, RFC 7162 3.1.6."""
    yield b"* %b" % name
    numbers = found.numbers
    for start in range(0, len(numbers), _NUMBERS_A_PIECE):
        some = numbers[start : start + _NUMBERS_A_PIECE]
        yield (b" %d" * len(some)) % tuple(some)  # formatted at once: half of the work
    if found.modseqs:
        yield b" (MODSEQ %d)" % max(found.modseqs)
    yield b"\r\n"


def saved_places(count: int, returns: Returns) -> Sequence[int]:
    """Which of `count` found messages "$" becomes: RFC 9051 6.4.4.1, RFC 5182 2.1, RFC 9394 3.2.

    With MIN, MAX or PARTIAL and neither ALL nor COUNT it is only the messages that were returned.
    """
    narrow = [option.places(count, value) for option, value in returns.values() if option.places is not None]
    if not count:
        return ()
    if not narrow or "ALL" in returns or "COUNT" in returns:
        return range(count)
    return sorted(set().union(*narrow))


def _highest(found: Found, returns: Returns) -> int:
    """RFC 4731 3.2: the highest mod-sequence of the messages that were returned; 0 if none is to be given."""
    if not found.modseqs:
        return 0
    return max((found.modseqs[place] for place in saved_places(len(found.numbers), returns)), default=0)


def _nothing(cur: Cursor) -> None:
    return None


def _render_min(found: Found, value: None) -> bytes:
    return b"MIN %d" % found.numbers[0] if found.numbers else b""


def _render_max(found: Found, value: None) -> bytes:
    return b"MAX %d" % found.numbers[-1] if found.numbers else b""


RETURN_OPTS: tuple[ReturnOpt, ...] = (
    ReturnOpt("MIN", _nothing, _render_min, lambda count, value: range(min(count, 1))),
    ReturnOpt("MAX", _nothing, _render_max, lambda count, value: range(max(count - 1, 0), count)),
    ReturnOpt("ALL", _nothing, lambda found, value: b"ALL " + compact(found.numbers) if found.numbers else b""),
    ReturnOpt("COUNT", _nothing, lambda found, value: b"COUNT %d" % len(found.numbers)),
    ReturnOpt("SAVE", _nothing, lambda found, value: b""),
)
