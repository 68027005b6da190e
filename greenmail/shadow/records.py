r"""The answers that imaplib gives, taken apart.

imaplib gives an answer as records: octets, or a pair of octets that end in a literal's announcement and that literal.
An answer with literals is several records: pairs, and octets at the end.

    [b'1 (UID 7 FLAGS (\\Seen))', (b'2 (UID 9 BODY[] {4}', b'text'), b')']

`answers` gives the values of each: octets, None for NIL, lists for what is in parentheses.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from greenmail.errors import BadSyntax

Record = bytes | tuple[bytes, bytes]

# Brackets are no limits of an atom here, or the keyword "[x" would swallow what follows; of the names of items with
# spaces in brackets, such as BODY[HEADER.FIELDS (SUBJECT)], none is ever asked for.
_TOKEN = re.compile(rb' *(?:([()])|"((?:[^"\\]|\\.)*)"|([^ ()"]+))')
_LITERAL = re.compile(rb"~?\{\d+\}$")
_DEEPEST = 200  # levels of parentheses that people are shown
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def answers(records: Iterable[Any]) -> Iterator[list[Any]]:
    """Each answer's values. Raises BadSyntax."""
    together: list[Record] = []
    for record in records:
        if record is None:  # imaplib's way to say that there was none
            continue
        together.append(record)
        if isinstance(record, bytes):
            yield _values(together)
            together = []
    if together:
        yield _values(together)


def _values(records: list[Record]) -> list[Any]:
    stack: list[list[Any]] = [[]]
    for record in records:
        text = record if isinstance(record, bytes) else _LITERAL.sub(b"", record[0])
        _take(text, stack)
        if not isinstance(record, bytes):
            stack[-1].append(record[1])
    if len(stack) != 1:
        raise BadSyntax(f"parentheses are not closed in {_begin(records)}")
    return stack[0]


def _take(text: bytes, stack: list[list[Any]]) -> None:
    place, end = 0, len(text.rstrip(b" "))
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise BadSyntax(f"{text[place : place + 40]!r} is not the protocol")
        place = found.end()
        sign, quoted, atom = found.groups()
        if sign == b"(":
            stack.append([])
        elif sign == b")":
            if len(stack) == 1:
                raise BadSyntax(f"a parenthesis too many in {text[:40]!r}")
            done = stack.pop()
            stack[-1].append(done)
        elif quoted is not None:
            stack[-1].append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
        else:
            stack[-1].append(None if atom.upper() == b"NIL" else atom)


def _begin(records: list[Record]) -> str:
    first = records[0]
    return repr((first if isinstance(first, bytes) else first[0])[:40])


def fetched(records: Iterable[Any]) -> Iterator[dict[bytes, Any]]:
    """The items of each FETCH answer, their names in upper case. Raises BadSyntax."""
    for values in answers(records):
        if len(values) != 2 or not isinstance(values[1], list) or len(values[1]) % 2:
            raise BadSyntax("an answer to FETCH is not a number and a list of pairs")
        items = values[1]
        yield {name.upper(): value for name, value in zip(items[::2], items[1::2], strict=True)}


def text_of(value: Any, depth: int = 0) -> str:
    """Values as they stand on the wire, for people."""
    if value is None:
        return "NIL"
    if isinstance(value, list):
        return "(...)" if depth > _DEEPEST else f"({' '.join(text_of(part, depth + 1) for part in value)})"
    return bytes(value).decode("utf-8", "backslashreplace")
