"""Octet classes, composed from the ABNF of RFC 9051 9 and RFC 5234 B.1, and regular expressions made of them."""

import re
from collections.abc import Iterable
from re import Pattern

ALL: frozenset[int] = frozenset(range(256))
SP: frozenset[int] = frozenset(b" ")
DQUOTE: frozenset[int] = frozenset(b'"')
ALPHA: frozenset[int] = frozenset(range(0x41, 0x5B)) | frozenset(range(0x61, 0x7B))
DIGIT: frozenset[int] = frozenset(b"0123456789")
CHAR: frozenset[int] = frozenset(range(0x01, 0x80))
CHAR8: frozenset[int] = frozenset(range(0x01, 0x100))
CTL: frozenset[int] = frozenset(range(0x20)) | frozenset({0x7F})

QUOTED_SPECIALS: frozenset[int] = DQUOTE | frozenset(b"\\")
RESP_SPECIALS: frozenset[int] = frozenset(b"]")
LIST_WILDCARDS: frozenset[int] = frozenset(b"%*")
ATOM_SPECIALS: frozenset[int] = frozenset(b"(){") | SP | CTL | LIST_WILDCARDS | QUOTED_SPECIALS | RESP_SPECIALS
ATOM_CHAR: frozenset[int] = CHAR - ATOM_SPECIALS
ASTRING_CHAR: frozenset[int] = ATOM_CHAR | RESP_SPECIALS
LIST_CHAR: frozenset[int] = ATOM_CHAR | LIST_WILDCARDS | RESP_SPECIALS
TAG_CHAR: frozenset[int] = ASTRING_CHAR - frozenset(b"+")
TEXT_CHAR: frozenset[int] = CHAR - frozenset(b"\r\n")
QUOTED_SAFE: frozenset[int] = TEXT_CHAR - QUOTED_SPECIALS  # the first alternative of QUOTED-CHAR
# An octet of UTF8-2, UTF8-3 or UTF8-4; their order is checked by decoding.
UTF8_OCTET: frozenset[int] = frozenset(range(0x80, 0x100))
BASE64_CHAR: frozenset[int] = ALPHA | DIGIT | frozenset(b"+/")
TAGGED_LABEL_FCHAR: frozenset[int] = ALPHA | frozenset(b"-_.")
TAGGED_LABEL_CHAR: frozenset[int] = TAGGED_LABEL_FCHAR | DIGIT | frozenset(b":")


def one_of(octets: Iterable[int]) -> bytes:
    """The text of a regular expression that matches one octet of the class."""
    return b"[" + b"".join(b"\\x%02x" % octet for octet in sorted(octets)) + b"]"


def some_of(octets: Iterable[int]) -> Pattern[bytes]:
    """Matches one or more octets of the class; possessive, so that it never tries a shorter match."""
    return re.compile(one_of(octets) + b"++")
