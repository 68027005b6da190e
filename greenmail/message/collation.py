"""i;unicode-casemap, RFC 5051: how strings are ordered and found equal. RFC 5255 4.3, RFC 5256.

A string becomes a key; keys are compared octet by octet. RFC 5051 2: each character becomes its titlecase form and is
then decomposed; the key is the UTF-8 of that.
"""

import unicodedata
from functools import lru_cache

_PIECE = 256  # characters decomposed at once: putting marks into order takes the square of their number


def casemap(text: str) -> bytes:
    """The key of `text`."""
    if text.isascii():
        return text.upper().encode("ascii")
    titled = "".join(map(_title, text))
    pieces = (titled[place : place + _PIECE] for place in range(0, len(titled), _PIECE))
    return "".join(unicodedata.normalize("NFKD", piece) for piece in pieces).encode("utf-8", "replace")


@lru_cache(maxsize=4096)
def _title(char: str) -> str:
    """The simple titlecase mapping: one that gives several characters is none."""
    titled = char.title()
    return titled if len(titled) == 1 else char
