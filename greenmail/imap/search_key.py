"""search-key: what messages are looked for, RFC 9051 6.4.4 and 9, RFC 3501 6.4.4.

A `SearchKey` is a line of a feature's table: a name, and how its arguments are parsed into a `Key`. What decides a
key is its class: flags, columns, header, or text; `search_run` evaluates them in this order.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import search_date
from greenmail.imap.fetch_att import Rows
from greenmail.imap.grammar import astring, flag_keyword, header_fld_name, number64
from greenmail.imap.recent import Recent
from greenmail.imap.sequence_set import SequenceSet, sequence_set
from greenmail.imap.session import Session
from greenmail.storage.api import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

MAX_KEYS = 2_000  # search-keys in one command


@dataclass(frozen=True, slots=True)
class AllKey:
    """ALL: every message."""


@dataclass(frozen=True, slots=True)
class FlagKey:
    """Messages that have `flag`; asked once a set of flags."""

    flag: str


@dataclass(frozen=True, slots=True)
class SetKey:
    """Messages in a set of sequence numbers, or of UIDs; "$" is the same in both."""

    seqs: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class RowKey:
    """A key that the columns answer: `test(session, argument, rows)` gives a bool for each row."""

    name: str
    argument: Any
    test: Callable[[Session, Any, Rows], Iterable[bool]]
    needs_size: bool = False
    needs_date: bool = False
    begin: Callable[[Session], None] | None = None  # before the search: what asking for it brings about


class Relation(Enum):
    """How a message's day stands to the day asked for."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


@dataclass(frozen=True, slots=True)
class SentKey:
    """SENTBEFORE, SENTON, SENTSINCE: the day in the Date field, disregarding time and time zone."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """Messages with a field of this name (lower case) whose decoded text contains `text`; octets in the CHARSET."""

    field: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class TextKey:
    """BODY, or TEXT if `header`: decoded text of the body, or of header and body, contains `text`."""

    text: bytes
    header: bool


@dataclass(frozen=True, slots=True)
class AndKey:
    """Messages that match all of `keys`."""

    keys: tuple["Key", ...]


@dataclass(frozen=True, slots=True)
class OrKey:
    """Messages that match any of `keys`, of which there are two or more."""

    keys: tuple["Key", ...]


@dataclass(frozen=True, slots=True)
class NotKey:
    """Messages that do not match `key`."""

    key: "Key"


@dataclass(frozen=True, slots=True)
class FuzzyKey:
    """Messages that match `key`, which is no AND and no OR, fuzzily if it is a text. RFC 6203 3."""

    key: "Key"


Key = FuzzyKey | AllKey | FlagKey | SetKey | RowKey | SentKey | HeaderKey | TextKey | AndKey | OrKey | NotKey
Table = Mapping[str, "SearchKey"]


@dataclass(frozen=True, slots=True)
class SearchKey:
    """One name that SEARCH understands; `parse` reads what follows it, and may read further keys with `table`."""

    name: str
    parse: Callable[[Cursor, Table], Key]


# What a name is made of: the letters of every search-key there is, extensions included (X-GM-RAW, THREADID).
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9.\-]*+")
_SET_START = b"0123456789*$"


def search_keys(cur: Cursor, table: Table) -> Key:
    """search-key *(SP search-key): all of them."""
    keys = [search_key(cur, table)]
    while cur.take(b" "):
        keys.append(search_key(cur, table))
        if len(keys) > MAX_KEYS:
            raise cur.wrong("too many search keys")
    return keys[0] if len(keys) == 1 else AndKey(tuple(keys))


def search_key(cur: Cursor, table: Table) -> Key:
    """search-key, RFC 9051 9: a name of `table`, a sequence-set, or "(" search-key *(SP search-key) ")"."""
    first = cur.peek()
    if first == b"(":
        cur.open()
        key = search_keys(cur, table)
        cur.close()
        return key
    if first and first in _SET_START:
        seqs = sequence_set(cur)
        cur.numbers = cur.numbers or bool(seqs.ranges)
        return SetKey(seqs, uid=False)
    start = cur.pos
    name = cur.match(_NAME, "a search key").decode("ascii").upper()
    found = table.get(name)
    if found is None:
        cur.pos = start
        raise cur.wrong("unknown search key")
    return found.parse(cur, table)


def parse_or(cur: Cursor, table: Table) -> Key:
    """ "OR" SP search-key SP search-key.

    Chains of OR are flattened without recursion, since clients write hundreds of them in a row for one
    parenthesis, and in either direction: OR a OR b c, and OR OR a b c.
    """
    keys: list[Key] = []
    wanted = 2
    while wanted:
        cur.space()
        if cur.take(b"OR "):
            cur.pos -= 1  # the space belongs to the next operand
            wanted += 1
            continue
        keys.append(search_key(cur, table))
        wanted -= 1
        if len(keys) > MAX_KEYS:
            raise cur.wrong("too many search keys")
    return OrKey(tuple(keys))


def parse_not(cur: Cursor, table: Table) -> Key:
    """ "NOT" SP search-key — RFC 9051 9."""
    return NotKey(nested_key(cur, table))


def nested_key(cur: Cursor, table: Table) -> Key:
    """SP search-key behind a word that is a key itself; counted as a level of nesting, which is bounded."""
    cur.space()
    cur.depth += 1
    if cur.depth > cur.max_depth:
        raise BadSyntax("too many nested search keys")
    key = search_key(cur, table)
    cur.depth -= 1
    return key


def _plain(key: Key) -> Callable[[Cursor, Table], Key]:
    return lambda cur, table: key


def _header(field: bytes) -> Callable[[Cursor, Table], Key]:
    """FROM SP astring and its like."""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        return HeaderKey(field, astring(cur))

    return parse


def _parse_header(cur: Cursor, table: Table) -> Key:
    """ "HEADER" SP header-fld-name SP astring"""
    cur.space()
    field = header_fld_name(cur).lower()
    cur.space()
    return HeaderKey(field, astring(cur))


def _text(header: bool) -> Callable[[Cursor, Table], Key]:
    """ "BODY" SP astring / "TEXT" SP astring"""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        return TextKey(astring(cur), header)

    return parse


def _keyword(present: bool) -> Callable[[Cursor, Table], Key]:
    """ "KEYWORD" SP flag-keyword / "UNKEYWORD" SP flag-keyword"""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        key = FlagKey(flag_keyword(cur))
        return key if present else NotKey(key)

    return parse


def _parse_uid(cur: Cursor, table: Table) -> Key:
    """ "UID" SP sequence-set"""
    cur.space()
    return SetKey(sequence_set(cur), uid=True)


def _sent(relation: Relation) -> Callable[[Cursor, Table], Key]:
    """ "SENTBEFORE" SP date and its like."""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        return SentKey(relation, search_date(cur))

    return parse


def size_key(name: str, test: Callable[[Session, Any, Rows], Iterable[bool]]) -> SearchKey:
    """ "LARGER" SP number64 / "SMALLER" SP number64"""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        return RowKey(name, number64(cur), test, needs_size=True)

    return SearchKey(name, parse)


def date_key(name: str, test: Callable[[Session, Any, Rows], Iterable[bool]]) -> SearchKey:
    """ "BEFORE" SP date / "ON" SP date / "SINCE" SP date"""

    def parse(cur: Cursor, table: Table) -> Key:
        cur.space()
        return RowKey(name, search_date(cur), test, needs_date=True)

    return SearchKey(name, parse)


def _recent(session: Session, argument: Any, rows: Rows) -> Iterable[bool]:
    """\\Recent is a matter of the session, RFC 3501 2.3.2."""
    recent = session.view.recent if session.view is not None else Recent()
    return [uid in recent for uid in rows.uids]


_RECENT = RowKey("RECENT", None, _recent)
_FLAGS = {"ANSWERED": ANSWERED, "DELETED": DELETED, "DRAFT": DRAFT, "FLAGGED": FLAGGED, "SEEN": SEEN}
_FIELDS = ("BCC", "CC", "FROM", "SUBJECT", "TO")

# Every key of RFC 9051 and RFC 3501 that needs no column of its own; `commands.search` adds those that do.
SEARCH_KEYS: tuple[SearchKey, ...] = (
    SearchKey("ALL", _plain(AllKey())),
    *(SearchKey(name, _plain(FlagKey(flag))) for name, flag in _FLAGS.items()),
    *(SearchKey("UN" + name, _plain(NotKey(FlagKey(flag)))) for name, flag in _FLAGS.items()),
    *(SearchKey(name, _header(name.lower().encode("ascii"))) for name in _FIELDS),
    *(SearchKey("SENT" + relation.value, _sent(relation)) for relation in Relation),
    SearchKey("BODY", _text(header=False)),
    SearchKey("HEADER", _parse_header),
    SearchKey("KEYWORD", _keyword(present=True)),
    SearchKey("NEW", _plain(AndKey((_RECENT, NotKey(FlagKey(SEEN)))))),  # RFC 3501 6.4.4
    SearchKey("NOT", parse_not),
    SearchKey("OLD", _plain(NotKey(_RECENT))),  # RFC 3501 6.4.4
    SearchKey("OR", parse_or),
    SearchKey("RECENT", _plain(_RECENT)),  # RFC 3501 6.4.4
    SearchKey("TEXT", _text(header=True)),
    SearchKey("UID", _parse_uid),
    SearchKey("UNKEYWORD", _keyword(present=False)),
)
