"""fetch-att: what a client may ask of a message, RFC 9051 6.4.5 and 9, RFC 3501 6.4.5, RFC 4466 2.4.

A `FetchAtt` is a line of a feature's table: a name, and how the rest of it is parsed. Parsing gives one of a few
kinds of item, which `commands.fetch` knows how to answer: a `RowItem` from the columns of the mailbox, a
`RenderedItem` that is computed once and cached, and items for octets of the message.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from greenmail.imap.cursor import Cursor
from greenmail.imap.grammar import atom
from greenmail.imap.section import Partial, Section, format_section, partial, section, section_binary
from greenmail.imap.sequence_set import SequenceSet
from greenmail.imap.session import Session
from greenmail.storage.api import CacheKind, Flags

MAX_ITEMS = 1000  # data items in one FETCH


class Rows(NamedTuple):
    """Columns of some messages, all equally long. A size or date of -1 is not known and will not be."""

    uids: Sequence[int]
    flags: Sequence[Flags]
    modseqs: Sequence[int]
    sizes: Sequence[int]
    dates: Sequence[int]


class RowItem(NamedTuple):
    """An item answered from the columns: `template` is `%`-formatted with what `column` gives for each row.

    `depends`: the columns of the table on which it depends, beside UIDs; None: it depends on more than these, or lets
    others run while it is looked up.
    """

    template: bytes  # b"UID %d"
    column: Callable[[Session, Rows], Iterable[int | bytes]]
    needs_size: bool = False
    needs_date: bool = False
    begin: Callable[[Session], None] | None = None  # before the first message: what asking for it brings about
    depends: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RenderedItem:
    """An item whose value is rendered once from the message and kept: ENVELOPE, BODY, BODYSTRUCTURE."""

    name: bytes
    kind: CacheKind


class BodyItem(NamedTuple):
    """BODY[section]<partial>, or one of rev1's names for it."""

    name: bytes  # as it stands in the answer, without origin
    section: Section
    partial: Partial | None = None
    peek: bool = False


class BinaryItem(NamedTuple):
    """BINARY[part]<partial>: the content with its transfer encoding undone."""

    name: bytes
    section: Section
    partial: Partial | None = None
    peek: bool = False


@dataclass(frozen=True, slots=True)
class BinarySizeItem:
    """BINARY.SIZE[part]: how many octets BINARY[part] has."""

    name: bytes
    section: Section
    peek: bool = True


Item = RowItem | RenderedItem | BodyItem | BinaryItem | BinarySizeItem


@dataclass(frozen=True, slots=True)
class FetchAtt:
    """One name that FETCH understands; `parse` reads what follows it."""

    name: str
    parse: Callable[[Cursor], Item]


@dataclass(frozen=True, slots=True)
class FetchModifier:
    """One fetch-modifier, RFC 4466 2.4: how its value is parsed, and what it does to the request before it runs.

    `check(session, request)` may raise BadSyntax, before any other one does something; `apply(session, request, value)`
    gives the request as it is to be run.
    """

    name: str
    parse: Callable[[Cursor], Any]
    apply: Callable[[Session, "FetchRequest", Any], "FetchRequest"]
    check: Callable[[Session, "FetchRequest"], None] | None = None


class FetchRequest(NamedTuple):
    """The arguments of FETCH. Modifiers add to the last four: `choose` takes some of the messages of the set; `among`
    gives UIDs, ascending, and no others are answered; `keep` says which of these are, and `before` runs just before.
    """

    uid: bool
    seqs: SequenceSet
    items: tuple[Item, ...]
    modifiers: tuple[tuple[FetchModifier, Any], ...] = ()
    keep: tuple[Callable[[Rows], Iterable[bool]], ...] = ()
    before: tuple[Callable[[Session], None], ...] = ()
    choose: tuple[Callable[[list[int]], list[int]], ...] = ()
    among: Callable[[], Sequence[int]] | None = None


def named(item: Item) -> FetchAtt:
    """A table line for an item without arguments whose name is the item's."""
    template = item.template.split(b" ")[0] if isinstance(item, RowItem) else item.name
    return FetchAtt(template.decode("ascii"), lambda cur: item)


# What a name is made of: the letters and periods of every fetch-att there is.
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9.\-]*")


def fetch_att(cur: Cursor, table: Mapping[str, FetchAtt]) -> Item:
    """fetch-att: a name of `table`, and whatever that name's `parse` reads behind it."""
    start = cur.pos
    name = cur.match(_NAME, "a FETCH data item").decode("ascii").upper()
    found = table.get(name)
    if found is None:
        cur.pos = start
        raise cur.wrong("unknown FETCH data item")
    return found.parse(cur)


def fetch_atts(cur: Cursor, table: Mapping[str, FetchAtt], macros: Mapping[bytes, tuple[str, ...]]) -> tuple[Item, ...]:
    """("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")"): in the order asked, no repeats."""
    if cur.peek() != b"(":
        start = cur.pos
        macro = macros.get((cur.try_match(_NAME) or b"").upper())
        if macro is not None:
            return tuple(table[name].parse(cur) for name in macro)
        cur.pos = start
        return (fetch_att(cur, table),)
    cur.open()
    # A dict as an ordered set: clients ask for UID twice, and answering twice would double a body.
    items = {fetch_att(cur, table): None}
    while cur.take(b" "):
        items[fetch_att(cur, table)] = None
        if len(items) > MAX_ITEMS:
            raise cur.wrong("too many FETCH data items")
    cur.close()
    return tuple(items)


def fetch_modifiers(cur: Cursor, table: Mapping[str, FetchModifier]) -> tuple[tuple[FetchModifier, Any], ...]:
    """[SP "(" fetch-modifier *(SP fetch-modifier) ")"], RFC 4466 2.4; empty if there is none."""
    if not cur.take(b" "):
        return ()
    cur.open()
    found: dict[str, tuple[FetchModifier, Any]] = {}
    while True:
        name = atom(cur).upper()
        modifier = table.get(name)
        if modifier is None or name in found:
            raise cur.wrong("unknown or repeated FETCH modifier")
        found[name] = (modifier, modifier.parse(cur))
        if not cur.take(b" "):
            break
    cur.close()
    return tuple(found.values())


def parse_body(cur: Cursor) -> Item:
    """ "BODY" / "BODY" section [partial]: the short body structure, or octets."""
    if cur.peek() != b"[":
        return RenderedItem(b"BODY", CacheKind.BODY)
    return _octets(cur, b"BODY", peek=False)


def parse_body_peek(cur: Cursor) -> Item:
    """ "BODY.PEEK" section [partial]"""
    return _octets(cur, b"BODY", peek=True)


def parse_binary(cur: Cursor) -> Item:
    """ "BINARY" section-binary [partial]"""
    wanted = section_binary(cur)
    return BinaryItem(b"BINARY" + format_section(wanted), wanted, partial(cur))


def parse_binary_peek(cur: Cursor) -> Item:
    """ "BINARY.PEEK" section-binary [partial]"""
    wanted = section_binary(cur)
    return BinaryItem(b"BINARY" + format_section(wanted), wanted, partial(cur), peek=True)


def parse_binary_size(cur: Cursor) -> Item:
    """ "BINARY.SIZE" section-binary"""
    wanted = section_binary(cur)
    return BinarySizeItem(b"BINARY.SIZE" + format_section(wanted), wanted)


def _octets(cur: Cursor, name: bytes, peek: bool) -> BodyItem:
    wanted = section(cur)
    return BodyItem(name + format_section(wanted), wanted, partial(cur), peek)
