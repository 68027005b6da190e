"""Unique ids of messages, RFC 1939 7: what they are made of is a setting that must equal the old server's.

Both of Dovecot's notations are understood, for the same values:

    2.3    %08Xu%08Xv        % [0] [width] [X, L or U] letter
    2.4    %{uid | hex(8)}%{uidvalidity | hex(8)}        also lower, upper

    u uid    v uidvalidity    f filename (the base name)    g guid    m md5 (of the header)    %% a percent sign

Hexadecimal digits are lower case, as Dovecot writes them. A message that has a unique id of its own (uidlist field `P`,
`formats.md` 8) keeps it.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from greenmail.storage.api import MaildropItem

DEFAULT = "%08Xu%08Xv"
MAX_LENGTH = 70  # RFC 1939 7
_LARGEST_UID = 0xFFFFFFFF
_HEX_DIGITS = 8  # of it

_PIECE = re.compile(
    r"%(?:(?P<zero>0?)(?P<width>[1-9]\d{0,2})?(?P<form>[XLU]?)(?P<letter>[uvfgm])|(?P<percent>%)"
    r"|\{\s*(?P<name>[a-z_0-9]+)\s*(?P<filters>(?:\|\s*[a-z]+\s*(?:\(\s*\d{1,3}\s*\))?\s*){0,8})\})"
    r"|(?P<text>[^%]+)"
)
_FILTER = re.compile(r"\|\s*([a-z]+)\s*(?:\(\s*(\d+)\s*\))?")
_NAMES = {"uid": "u", "uidvalidity": "v", "filename": "f", "guid": "g", "md5": "m"}
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class Piece:
    """Plain text (`letter` is empty), or a value with what is done to it."""

    letter: str
    text: str = ""
    filters: tuple[tuple[str, int], ...] = ()


class Format:
    """A unique id format, read once. Raises ValueError, which says what is wrong with it."""

    def __init__(self, text: str = DEFAULT) -> None:
        self.pieces: list[Piece] = []
        place = 0
        while place < len(text):
            found = _PIECE.match(text, place)
            piece = _piece(found) if found else None
            if found is None or piece is None:
                raise ValueError(f"cannot read the unique id format at {text[place:]!r}")
            self.pieces.append(piece)
            place = found.end()
        if not any(piece.letter not in ("", "v") for piece in self.pieces):
            raise ValueError("a unique id format needs at least one of %u, %f, %g, %m")

    def of_uids(self, uidvalidity: int) -> tuple[bytes, int]:
        """The unique ids of messages that have none of their own, as a form for `%`, and how often it takes the UID.

        0 times: they are made of something else, too, or are not what this would give.
        """
        forms = [_form(piece, uidvalidity) for piece in self.pieces]
        form, uids = "".join(forms), sum(piece.letter == "u" for piece in self.pieces)
        if "" in forms or not uids:
            return b"", 0
        longest = form % ((_LARGEST_UID,) * uids)
        return (form.encode("ascii"), uids) if legal(longest) == longest else (b"", 0)

    def __call__(self, item: MaildropItem, uidvalidity: int, header: Callable[[], bytes]) -> str:
        """The unique id of a message; `header` gives its header, and is asked only if it is needed."""
        if item.uidl is not None:
            return legal(item.uidl or item.base_name, keep=True)
        return legal("".join(_rendered(piece, item, uidvalidity, header) for piece in self.pieces))


def legal(text: str, keep: bool = False) -> str:
    """`text` if RFC 1939 7 allows it as a unique id, otherwise a hash of it.

    `keep`: more are allowed, because the old server has given it out like that; a file name has at most 255.
    """
    if _VISIBLE.match(text) and len(text) <= (255 if keep else MAX_LENGTH):
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _piece(found: re.Match[str]) -> Piece | None:
    if found["text"] or found["percent"]:
        return Piece("", found["text"] or "%")
    if found["letter"]:
        width = int(found["width"] or 0)
        filters = {"X": ("hex", 0), "L": ("lower", 0), "U": ("upper", 0)}.get(found["form"])
        pad = ("pad" if found["zero"] else "cut", width)
        return Piece(found["letter"], filters=(*((filters,) if filters else ()), *((pad,) if width else ())))
    letter = _NAMES.get(found["name"])
    filters2 = tuple((name, int(number or 0)) for name, number in _FILTER.findall(found["filters"]))
    if letter is None or any(name not in ("hex", "lower", "upper") for name, _ in filters2):
        return None
    return Piece(letter, filters=filters2)


def _form(piece: Piece, uidvalidity: int) -> str:
    """What stands for a piece in a form for `%`, to which a UID is given; empty: it cannot be said so."""
    if piece.letter == "u":
        return _conversion(piece.filters)
    if piece.letter not in ("", "v"):
        return ""
    text = piece.text if not piece.letter else str(uidvalidity)
    for name, number in piece.filters:
        text = _filtered(text, name, number)
    return text.replace("%", "%%")


def _conversion(filters: tuple[tuple[str, int], ...]) -> str:
    """What `_filtered` does to a number with all of these; empty: there is no conversion for that."""
    kind, width = "d", 0
    for name, number in filters:
        match name:
            case "hex" if kind == "d" and not width and (not number or number >= _HEX_DIGITS):
                kind, width = "x", number
            case "pad":
                width = max(width, number)
            case "upper" if kind == "x":
                kind = "X"
            case "lower" if kind == "X":
                kind = "x"
            case "upper" | "lower":
                pass
            case _:
                return ""
    return f"%0{width}{kind}" if width else f"%{kind}"


def _rendered(piece: Piece, item: MaildropItem, uidvalidity: int, header: Callable[[], bytes]) -> str:
    match piece.letter:
        case "":
            return piece.text
        case "u":
            text = str(item.uid)
        case "v":
            text = str(uidvalidity)
        case "f":
            text = item.base_name
        case "g":
            text = item.guid
        case _:
            text = hashlib.md5(header(), usedforsecurity=False).hexdigest()
    for name, number in piece.filters:
        text = _filtered(text, name, number)
    return text


def _filtered(text: str, name: str, number: int) -> str:
    match name:
        case "hex":
            digits = f"{int(text):x}" if text.isdecimal() else text
            return digits.rjust(number, "0")[-number:] if number else digits
        case "lower":
            return text.lower()
        case "upper":
            return text.upper()
        case "pad":
            return text.rjust(number, "0")
        case _:
            return text[:number]
