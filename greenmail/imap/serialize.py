"""Values as octets of a response, RFC 9051 9: whatever is given, what comes out is valid.

Octets of mail go out as they are, only that NUL, which may not appear in a string, becomes 0x80: lengths stay right.
`utf8` says that the session takes UTF-8 in quoted strings: RFC 9051 5.1 after ENABLE, RFC 9755 3.
"""

import re
from collections.abc import Iterable, Sequence

from greenmail.imap import chars
from greenmail.storage import mutf7
from greenmail.storage.api import SYSTEM_FLAGS

MAX_QUOTED = 1024  # longer strings are literals: some clients read lines into buffers of fixed size, RFC 2683 3.2.1.5

_NO_NUL = bytes.maketrans(b"\0", b"\x80")
_ATOM = re.compile(chars.one_of(chars.ATOM_CHAR) + b"+")
_QUOTABLE = re.compile(chars.one_of(chars.TEXT_CHAR) + b"*")
_QUOTABLE_UTF8 = re.compile(chars.one_of(chars.TEXT_CHAR | chars.UTF8_OCTET) + b"*")
_SPECIAL = re.compile(rb'(["\\])')
_PLAIN = re.compile(rb"[ !#-\[\]-~]{0,%d}" % MAX_QUOTED)  # needs nothing but quotes
_NOT_TEXT = re.compile("[\x00-\x1f\x7f]")
_FLAG_ORDER = {flag: place for place, flag in enumerate((*SYSTEM_FLAGS, "\\Recent"))}


def literal(data: bytes) -> bytes:
    """literal = "{" number64 "}" CRLF *CHAR8."""
    return b"{%d}\r\n%b" % (len(data), data.translate(_NO_NUL))


def literal_or_empty(data: bytes) -> bytes:
    """A literal, or an empty quoted string; of octets that have no NUL."""
    return b"{%d}\r\n%b" % (len(data), data) if data else b'""'


def literal8(data: bytes) -> bytes:
    """literal8 = "~{" number64 "}" CRLF *OCTET; the octets unchanged, RFC 9051 6.4.5 BINARY."""
    return b"~{%d}\r\n%b" % (len(data), data)


def _quotable(data: bytes, utf8: bool) -> bool:
    if len(data) > MAX_QUOTED:
        return False
    if not utf8 or data.isascii():
        return _QUOTABLE.fullmatch(data) is not None
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _QUOTABLE_UTF8.fullmatch(data) is not None


def string(data: bytes, utf8: bool = False) -> bytes:
    """string = quoted / literal: quoted where that is possible."""
    if _PLAIN.fullmatch(data):
        return b'"%b"' % data
    if not _quotable(data, utf8):
        return literal(data)
    return b'"' + _SPECIAL.sub(rb"\\\1", data) + b'"'


def nstring(data: bytes | None, utf8: bool = False) -> bytes:
    """nstring = string / nil."""
    return b"NIL" if data is None else string(data, utf8)


def astring(data: bytes, utf8: bool = False) -> bytes:
    """astring: an atom where that is possible, and it is not NIL."""
    if _ATOM.fullmatch(data) and data.upper() != b"NIL":
        return data
    return string(data, utf8)


def mailbox(name: str, utf8: bool) -> bytes:
    """mailbox = "INBOX" / astring: in UTF-8 or in modified UTF-7, RFC 9051 5.1, A.1."""
    return astring(_name(name, utf8), utf8)


def mailbox_string(name: str, utf8: bool) -> bytes:
    """A mailbox name where the grammar wants a string and no atom, as in namespace-descr."""
    return string(_name(name, utf8), utf8)


def _name(name: str, utf8: bool) -> bytes:
    return name.encode("utf-8", "surrogateescape") if utf8 else mutf7.encode(name)


def separator(char: str) -> bytes:
    """(DQUOTE QUOTED-CHAR DQUOTE / nil), the hierarchy separator in mailbox-list and namespace-descr."""
    return string(char.encode("ascii")) if char else b"NIL"


def flag_list(flags: Iterable[str]) -> bytes:
    """flag-list: system flags first, then keywords in their order; one that is no flag at all is left out."""
    return b"(" + b" ".join(flag_words(flags)) + b")"


def flag_words(flags: Iterable[str]) -> list[bytes]:
    r"""The flags of `flag_list`, each rendered; "\*" of PERMANENTFLAGS too."""
    words = [flag.encode("ascii") for flag in sorted(flags, key=_flag_key) if flag.isascii()]
    return [word for word in words if word == b"\\*" or _ATOM.fullmatch(word.removeprefix(b"\\"))]


def _flag_key(flag: str) -> tuple[int, str]:
    return _FLAG_ORDER.get(flag, len(_FLAG_ORDER)), flag


def parenthesized(parts: Sequence[bytes]) -> bytes:
    """ "(" parts with SP between them ")"."""
    return b"(" + b" ".join(parts) + b")"


def address(
    name: bytes | None, adl: bytes | None, local_part: bytes | None, host: bytes | None, utf8: bool = False
) -> bytes:
    """address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"."""
    return parenthesized([nstring(part, utf8) for part in (name, adl, local_part, host)])


def address_list(addresses: Sequence[bytes]) -> bytes:
    """env-from and its like: "(" 1*address ")" / nil, of addresses rendered already; without spaces between them."""
    return b"(" + b"".join(addresses) + b")" if addresses else b"NIL"


def text(words: str, utf8: bool = False) -> bytes:
    """text = 1*(TEXT-CHAR / UTF8-2 ...) for the end of a status response; control characters become spaces.

    What could be read as a response code at its beginning cannot stand there. RFC 9051 9, resp-text.
    """
    plain = _NOT_TEXT.sub(" ", words).lstrip("[") or " "
    return plain.encode("utf-8", "replace") if utf8 else plain.encode("ascii", "replace")
