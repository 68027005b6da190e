"""The rules of RFC 9051 9 that several commands share: one function a rule, which reads from a cursor.

Strings are `bytes` as the client meant them, without quotes and escapes; atoms, flags and mailbox names are `str`.
Sets of numbers are in `sequence_set`, dates in `date_time`.
"""

import re

from greenmail.errors import Refused
from greenmail.imap import chars
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import CANNOT
from greenmail.storage import mutf7
from greenmail.storage.api import SYSTEM_FLAGS, Flags

MAX_NUMBER = 0xFFFFFFFF  # number: unsigned 32 bits
MAX_NUMBER64 = 0x7FFFFFFFFFFFFFFF  # number64: unsigned 63 bits

_ATOM = chars.some_of(chars.ATOM_CHAR)
_ASTRING_ATOM = chars.some_of(chars.ASTRING_CHAR)
_LIST_ATOM = chars.some_of(chars.LIST_CHAR)
_TAG = chars.some_of(chars.TAG_CHAR)
_LABEL = re.compile(chars.one_of(chars.TAGGED_LABEL_FCHAR) + chars.one_of(chars.TAGGED_LABEL_CHAR) + b"*+")
_DIGITS = chars.some_of(chars.DIGIT)
_BASE64 = re.compile(chars.one_of(chars.BASE64_CHAR) + b"*+={0,2}")
# Possessive throughout, and its two alternatives begin with different octets: it cannot backtrack.
_QUOTED = re.compile(b'"(?:' + chars.one_of(chars.QUOTED_SAFE | chars.UTF8_OCTET) + rb'++|\\["\\])*+"')
_ESCAPED = re.compile(rb'\\(["\\])')
_LITERAL = re.compile(rb"\{([0-9]++)\+?\}\r\n")
_LITERAL8 = re.compile(rb"~\{([0-9]++)\+?\}\r\n")
_SYSTEM_FLAGS = {flag.upper(): flag for flag in SYSTEM_FLAGS}


def tag(cur: Cursor) -> bytes:
    """tag = 1*<any ASTRING-CHAR except "+"> — RFC 9051 9."""
    return cur.match(_TAG, "a tag")


def atom(cur: Cursor) -> str:
    """atom = 1*ATOM-CHAR — RFC 9051 9. As the client spelled it."""
    return cur.match(_ATOM, "an atom").decode("ascii")


def tagged_ext_label(cur: Cursor) -> str:
    """tagged-ext-label = tagged-label-fchar *tagged-label-char — RFC 9051 9. In upper case."""
    return cur.match(_LABEL, "a label").decode("ascii").upper()


def capability(cur: Cursor) -> str:
    """capability = ("AUTH=" auth-type) / atom — RFC 9051 9. In upper case."""
    return atom(cur).upper()


def auth_type(cur: Cursor) -> str:
    """auth-type = atom — RFC 9051 9. In upper case."""
    return atom(cur).upper()


def base64(cur: Cursor) -> bytes:
    """base64 = *(4base64-char) [base64-terminal] — RFC 9051 9. Not decoded; may be empty."""
    found = cur.match(_BASE64, "base64")
    if len(found) % 4:
        raise cur.wrong("base64 is cut short")
    return found


def quoted(cur: Cursor) -> bytes:
    r"""quoted = DQUOTE *QUOTED-CHAR DQUOTE — RFC 9051 9.

    Only `"` and `\` may be escaped; NUL, CR and LF are refused; octets from 0x80 on must be UTF-8.
    """
    found = cur.try_match(_QUOTED)
    if found is None:
        raise cur.wrong("expected a quoted string")
    if not found.isascii():
        _check_utf8(cur, found)
    return _ESCAPED.sub(rb"\1", found[1:-1]) if b"\\" in found else found[1:-1]


def _check_utf8(cur: Cursor, octets: bytes) -> None:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        raise cur.wrong("quoted string is not UTF-8") from None


def literal(cur: Cursor) -> bytes:
    """literal = "{" number64 ["+"] "}" CRLF *CHAR8 — RFC 9051 9. No NUL."""
    octets = _literal_octets(cur, _LITERAL, "a literal")
    if b"\0" in octets:
        raise cur.wrong("NUL is not allowed in a literal")
    return octets


def literal8(cur: Cursor) -> bytes:
    """literal8 = "~{" number64 ["+"] "}" CRLF *OCTET — RFC 9051 9, RFC 7888 6. NUL is allowed."""
    return _literal_octets(cur, _LITERAL8, "a literal8")


def _literal_octets(cur: Cursor, pattern: re.Pattern[bytes], what: str) -> bytes:
    found = pattern.match(cur.text, cur.pos)
    if found is None:
        raise cur.wrong(f"expected {what}")
    start = found.end()
    size = int(found.group(1).lstrip(b"0")[:20] or b"0")  # longer numbers are no less too large
    if start in cur.staged or start + size > len(cur.text):
        raise cur.wrong("literal is not allowed here")
    cur.pos = start + size
    return cur.text[start : start + size]


def string(cur: Cursor) -> bytes:
    """string = quoted / literal — RFC 9051 9."""
    return literal(cur) if cur.peek() == b"{" else quoted(cur)


def nstring(cur: Cursor) -> bytes | None:
    """nstring = string / nil — RFC 9051 9."""
    return None if cur.take(b"NIL") else string(cur)


def astring(cur: Cursor) -> bytes:
    """astring = 1*ASTRING-CHAR / string — RFC 9051 9."""
    if cur.peek() in (b'"', b"{"):
        return string(cur)
    return cur.match(_ASTRING_ATOM, "an atom or a string")


def astring_text(cur: Cursor) -> str:
    """An astring that must be UTF-8."""
    octets = astring(cur)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise cur.wrong("string is not UTF-8") from None


def userid(cur: Cursor) -> bytes:
    """userid = astring — RFC 9051 9."""
    return astring(cur)


def password(cur: Cursor) -> bytes:
    """password = astring — RFC 9051 9."""
    return astring(cur)


def charset(cur: Cursor) -> str:
    """charset = atom / quoted — RFC 9051 9. In upper case."""
    if cur.peek() == b'"':
        name = quoted(cur)
        if not name.isascii():
            raise cur.wrong("name of a character set is not ASCII")
        return name.decode("ascii").upper()
    return atom(cur).upper()


def header_fld_name(cur: Cursor) -> bytes:
    """header-fld-name = astring — RFC 9051 9. As the client spelled it."""
    return astring(cur)


def header_list(cur: Cursor) -> tuple[bytes, ...]:
    """header-list = "(" header-fld-name *(SP header-fld-name) ")" — RFC 9051 9."""
    cur.open()
    names = [header_fld_name(cur)]
    while cur.take(b" "):
        names.append(header_fld_name(cur))
    cur.close()
    return tuple(names)


def _bounded(cur: Cursor, digits: bytes, largest: int) -> int:
    significant = digits.lstrip(b"0")
    value = int(significant[:20] or b"0")
    if value > largest:
        raise cur.wrong("number is too large")
    return value


def number(cur: Cursor) -> int:
    """number = 1*DIGIT ; unsigned 32 bits — RFC 9051 9."""
    return _bounded(cur, cur.match(_DIGITS, "a number"), MAX_NUMBER)


def number64(cur: Cursor) -> int:
    """number64 = 1*DIGIT ; unsigned 63 bits — RFC 9051 9."""
    return _bounded(cur, cur.match(_DIGITS, "a number"), MAX_NUMBER64)


def nz_number(cur: Cursor) -> int:
    """nz-number = digit-nz *DIGIT ; 32 bits — RFC 9051 9."""
    if cur.peek() == b"0":
        raise cur.wrong("expected a number that is not zero")
    return number(cur)


def nz_number64(cur: Cursor) -> int:
    """nz-number64 = digit-nz *DIGIT ; 63 bits — RFC 9051 9."""
    if cur.peek() == b"0":
        raise cur.wrong("expected a number that is not zero")
    return number64(cur)


def mod_sequence_valzer(cur: Cursor) -> int:
    """mod-sequence-valzer = "0" / mod-sequence-value ; 63 bits — RFC 7162 7."""
    return number64(cur)


def partial(cur: Cursor) -> tuple[int, int]:
    """partial = "<" number64 "." nz-number64 ">" — RFC 9051 9. Offset and length in octets."""
    cur.expect(b"<")
    start = number64(cur)
    cur.expect(b".")
    length = nz_number64(cur)
    cur.expect(b">")
    return start, length


def mailbox(cur: Cursor) -> str:
    """mailbox = "INBOX" / astring — RFC 9051 9. Decoded; INBOX in any case is `INBOX`.

    Raises Refused if the octets are no name at all: wrong modified UTF-7, or wrong UTF-8 after ENABLE.
    RFC 9051 5.1, A.1.
    """
    octets = astring(cur)
    name = decode_name(octets, cur.utf8)
    if name is None:
        wanted = "UTF-8" if cur.utf8 else "modified UTF-7"
        raise Refused(f"mailbox name is not valid {wanted}", CANNOT)
    return name


def decode_name(octets: bytes, utf8: bool) -> str | None:
    """A mailbox name, or a pattern for names, from the wire; None if it is none. RFC 9051 5.1, A.1."""
    if octets.upper() == b"INBOX":
        return "INBOX"
    try:
        return octets.decode("utf-8") if utf8 else mutf7.decode(octets)
    except ValueError:
        return None


def list_mailbox(cur: Cursor) -> str | None:
    """list-mailbox = 1*list-char / string — RFC 9051 9. None: a pattern that no name can match, RFC 9051 6.3.9."""
    octets = string(cur) if cur.peek() in (b'"', b"{") else cur.match(_LIST_ATOM, "a mailbox pattern")
    return decode_name(octets, cur.utf8)


def flag(cur: Cursor) -> str | None:
    r"""flag = "\Answered" / ... / flag-keyword / flag-extension — RFC 9051 9.

    System flags in their one spelling, keywords as the client spelled them; None: one that no client may set,
    which is \Recent or a flag-extension that we do not know. RFC 9051 7.1 PERMANENTFLAGS lets us ignore those.
    """
    if not cur.take(b"\\"):
        return flag_keyword(cur)
    return _SYSTEM_FLAGS.get("\\" + atom(cur).upper())


def flag_keyword(cur: Cursor) -> str:
    """flag-keyword = "$MDNSent" / ... / atom — RFC 9051 9."""
    return atom(cur)


def flag_list(cur: Cursor) -> Flags:
    """flag-list = "(" [flag *(SP flag)] ")" — RFC 9051 9. Without those that no client may set, see `flag`."""
    cur.open()
    flags: list[str | None] = []
    if cur.peek() != b")":
        flags = _some_flags(cur)
    cur.close()
    return _distinct(flags)


def store_flags(cur: Cursor) -> Flags:
    """flag-list / (flag *(SP flag)), as in store-att-flags — RFC 9051 9."""
    return flag_list(cur) if cur.peek() == b"(" else _distinct(_some_flags(cur))


def _some_flags(cur: Cursor) -> list[str | None]:
    flags = [flag(cur)]
    while cur.take(b" "):
        flags.append(flag(cur))
    return flags


def _distinct(flags: list[str | None]) -> Flags:
    """Of several spellings of one keyword, the first."""
    first: dict[str, str] = {}
    for name in flags:
        if name is not None:
            first.setdefault(name.casefold(), name)
    return frozenset(first.values())
