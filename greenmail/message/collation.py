"""Comparators: how strings are found equal, found in others, and ordered. RFC 4790, RFC 5051, RFC 5255 4.

    i;unicode-casemap   each character becomes its titlecase form, and that is decomposed: RFC 5051 2
    i;ascii-casemap     a-z are A-Z, everything else is itself: RFC 4790 9.2
    i;octet             everything is itself: RFC 4790 9.3

Each is a mapping of characters, one by one; the octets compared are the UTF-8 of what comes out. `Comparator.fold`
gives that as text, with a-z for A-Z and A-Z for a-z where cases are mapped at all: what is US-ASCII is in lower case
then, as octets in lower case are what searches look through first. Two strings are equal, or one is in the other, if
they are so folded. `Comparator.key` gives octets in the comparator's order.

`widened` is what is equal for one who searches fuzzily: "strasse" is "Straße". It is a mapping of what
i;unicode-casemap makes of characters, one by one: so a text that has another by any comparator has it widened, too.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

UNICODE_CASEMAP = "i;unicode-casemap"
ASCII_CASEMAP = "i;ascii-casemap"
OCTET = "i;octet"
INSTALLED = (UNICODE_CASEMAP, ASCII_CASEMAP, OCTET)  # the most useful one first: RFC 4790 3.2

FAILED = b"\xff"  # begins the key of a string that is no text: behind all others, RFC 5255 4.6 (c)

_PIECES = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_KNOWN = 1 << 15  # characters that are remembered


@dataclass(frozen=True, slots=True)
class Comparator:
    """One of INSTALLED; `is_falling`: its order is turned round, RFC 4790 3.3."""

    name: str
    is_falling: bool = False

    @property
    def selected(self) -> str:
        """collation-selected."""
        return f"-{self.name}" if self.is_falling else self.name

    def fold(self, text: str) -> str:
        """`text` as it is compared; both sides of a comparison are folded, once."""
        return _FOLDS[self.name](text)

    def key(self, text: str) -> bytes:
        """What `text` is ordered by, octet by octet, if the order is not turned round."""
        return _KEYS[self.name](text)


DEFAULT = Comparator(UNICODE_CASEMAP)


def casemap(text: str) -> bytes:
    """The key of i;unicode-casemap."""
    if text.isascii():
        return text.upper().encode("ascii")
    pieces = _PIECES.findall(text)
    mapped = [piece.upper() if piece.isascii() else "".join(map(_mapped, piece)) for piece in pieces]
    return "".join(mapped).encode("utf-8", "replace")


def fold(text: str) -> str:
    """As `Comparator.fold` of i;unicode-casemap."""
    if text.isascii():
        return text.lower()
    pieces = _PIECES.findall(text)
    return "".join([piece.lower() if piece.isascii() else "".join(map(_folded, piece)) for piece in pieces])


def widened(text: str) -> str:
    """As fuzzy search compares, and the full-text index does for all comparators."""
    if text.isascii():
        return text.lower()
    pieces = _PIECES.findall(text)
    return "".join([piece.lower() if piece.isascii() else "".join(map(_wide, piece)) for piece in pieces])


@lru_cache(maxsize=_KNOWN)
def _mapped(char: str) -> str:
    """RFC 5051 2 (2). The simple titlecase mapping: one that gives several characters is none."""
    titled = char.title()
    return unicodedata.normalize("NFKD", titled if len(titled) == 1 else char)


@lru_cache(maxsize=_KNOWN)
def _folded(char: str) -> str:
    return "".join(one.swapcase() if one.isascii() else one for one in _mapped(char))


@lru_cache(maxsize=_KNOWN)
def _wide(char: str) -> str:
    return "".join(one.casefold() for one in _mapped(char))


def _ascii_fold(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _ascii_key(text: str) -> bytes:
    return text.encode("utf-8", "replace").upper()


def _octet_key(text: str) -> bytes:
    return text.encode("utf-8", "replace")


_FOLDS: dict[str, Callable[[str], str]] = {UNICODE_CASEMAP: fold, ASCII_CASEMAP: _ascii_fold, OCTET: str}
_KEYS: dict[str, Callable[[str], bytes]] = {
    UNICODE_CASEMAP: casemap,
    ASCII_CASEMAP: _ascii_key,
    OCTET: _octet_key,
}
