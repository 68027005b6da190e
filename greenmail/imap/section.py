"""Which octets of a message a FETCH item asks for: section, section-binary and partial, RFC 9051 6.4.5.1 and 9.

section         = "[" [section-spec] "]"
section-spec    = section-msgtext / (section-part ["." section-text])
section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
section-text    = section-msgtext / "MIME"
section-part    = nz-number *("." nz-number)
partial         = "<" number64 "." nz-number64 ">"
"""

from enum import Enum
from typing import NamedTuple

from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor
from greenmail.imap.grammar import header_list, nz_number

MAX_PART_DEPTH = 1000  # numbers in one section-part


class SectionText(Enum):
    """What of a message or part: its content, or something around it."""

    CONTENT = ""
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER = "HEADER"
    TEXT = "TEXT"
    MIME = "MIME"


class Section(NamedTuple):
    """A section-spec. `fields` are as the client spelled them, for the answer; they are compared without case."""

    part: tuple[int, ...] = ()
    text: SectionText = SectionText.CONTENT
    fields: tuple[bytes, ...] = ()


class Partial(NamedTuple):
    """partial: the first octet wanted, counted from 0, and how many octets at most."""

    origin: int
    length: int


WHOLE = Section()


def section(cur: Cursor) -> Section:
    """section = "[" [section-spec] "]" """
    cur.expect(b"[")
    if cur.take(b"]"):
        return WHOLE
    part = _section_part(cur) if cur.peek().isdigit() else ()
    if part and not cur.take(b"."):
        cur.expect(b"]")
        return Section(part)
    found = _section_text(cur, part)
    cur.expect(b"]")
    return found


def section_binary(cur: Cursor) -> Section:
    """section-binary = "[" [section-part] "]" """
    cur.expect(b"[")
    if cur.take(b"]"):
        return WHOLE
    part = _section_part(cur)
    cur.expect(b"]")
    return Section(part)


def partial(cur: Cursor) -> Partial | None:
    """[partial]; None if there is none."""
    return Partial(*grammar.partial(cur)) if cur.peek() == b"<" else None


def format_section(wanted: Section) -> bytes:
    """The section of an answer, brackets included: `[1.2.HEADER.FIELDS (Date "odd]name")]`."""
    pieces = [b".".join(b"%d" % number for number in wanted.part)] if wanted.part else []
    if wanted.text is not SectionText.CONTENT:
        pieces.append(wanted.text.value.encode("ascii"))
    text = b".".join(pieces)
    if wanted.fields:
        text += b" (" + b" ".join(serialize.astring(name) for name in wanted.fields) + b")"
    return b"[" + text + b"]"


def _section_part(cur: Cursor) -> tuple[int, ...]:
    """section-part: all numbers that come next; the "." in front of a word is left to be read."""
    numbers = [nz_number(cur)]
    while cur.peek() == b"." and cur.peek(2)[1:].isdigit():
        cur.expect(b".")
        numbers.append(nz_number(cur))
        if len(numbers) > MAX_PART_DEPTH:
            raise cur.wrong("part number is nested too deeply")
    return tuple(numbers)


def _section_text(cur: Cursor, part: tuple[int, ...]) -> Section:
    """section-msgtext, or section-text behind a part number."""
    # The longer words first: each of them begins with the next one.
    if cur.take(b"HEADER.FIELDS.NOT"):
        return Section(part, SectionText.HEADER_FIELDS_NOT, _fields(cur))
    if cur.take(b"HEADER.FIELDS"):
        return Section(part, SectionText.HEADER_FIELDS, _fields(cur))
    if cur.take(b"HEADER"):
        return Section(part, SectionText.HEADER)
    if cur.take(b"TEXT"):
        return Section(part, SectionText.TEXT)
    if part and cur.take(b"MIME"):
        return Section(part, SectionText.MIME)
    raise cur.wrong("unknown section")


def _fields(cur: Cursor) -> tuple[bytes, ...]:
    """SP header-list"""
    cur.space()
    return header_list(cur)
