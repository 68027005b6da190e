"""SASLprep: one spelling for passwords that look the same, RFC 4013, for what is hashed for SCRAM; and what else
profiles of "stringprep" ask of a text.

The tables are those of RFC 3454 (Unicode 3.2), which Python's `stringprep` has.
"""

import stringprep
import unicodedata

from greenmail.errors import BadSyntax

# RFC 4013 2.3; unassigned code points too, since what is prepared here is stored: RFC 4013 2.5.
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)

# RFC 4505 3
_NOT_IN_TRACES = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(text: str) -> str | None:
    """The text as it is to be compared; None if it has something in it that has no place in a password."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char  # RFC 4013 2.1
        for char in text
        if not stringprep.in_table_b1(char)
    )
    found = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)  # RFC 4013 2.2
    if any(is_prohibited(char) for char in found for is_prohibited in _PROHIBITED):
        return None
    return found if _is_one_way(found) else None


def is_trace(text: str) -> bool:
    """Whether it is a text by the profile "trace", which changes nothing in it: RFC 4505 3."""
    return not any(is_wrong(char) for char in text for is_wrong in _NOT_IN_TRACES) and _is_one_way(text)


def _is_one_way(text: str) -> bool:
    """RFC 3454 6: text from right to left begins and ends so, and has nothing of the other kind in it."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    whole = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return whole and not any(map(stringprep.in_table_d2, text))


def password(octets: bytes) -> bytes:
    """A password as SCRAM hashes it, RFC 5802 2.2; as it is, where that cannot be said of it."""
    if octets.isascii() and octets.decode("ascii").isprintable():
        return octets
    try:
        found = prepare(octets.decode("utf-8"))
    except UnicodeDecodeError:
        return octets
    return found.encode("utf-8") if found else octets


def utf8_text(octets: bytes, what: str) -> str:
    """UTF-8 without NUL, RFC 4616 2, as `what` a client sent must be. Nothing is prepared. Raises BadSyntax."""
    try:
        found = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax(f"{what} is not UTF-8") from None
    if "\0" in found:
        raise BadSyntax(f"{what} has a NUL in it")
    return found
