"""What the messages of APPEND and REPLACE are made of: append-message of RFC 4466 3, also where its text still arrives.

    append-message = append-opts SP append-data
    append-data    = literal / literal8 / utf8-literal / "CATENATE" SP "(" cat-part *(SP cat-part) ")"
    cat-part       = "TEXT" SP literal / "TEXT" SP literal8 / "URL" SP astring / utf8-literal       ; RFC 4469 5
    utf8-literal   = "UTF8" SP "(" literal8 ")"                                                     ; RFC 6855 4

RFC 4469 5 has no literal8 behind TEXT, for BINARY is a later idea; Dovecot takes it, as we do. RFC 9755, which took the
place of RFC 6855, has no utf8-literal: it is a literal8 to us.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from greenmail.imap import grammar
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import date_time
from greenmail.storage.api import Flags

_ANNOUNCED = re.compile(rb"~?\{[0-9]++\+?\}\r\n")  # to the end of the text: the literal that is being announced
_LITERAL = re.compile(rb"(~?)\{[0-9]++\+?\}\r\n")


@dataclass(frozen=True, slots=True)
class Begin:
    """append-opts: a message begins."""

    flags: Flags
    date: int | None  # seconds since 1970
    is_catenated: bool = False  # it has any number of parts, and its End


@dataclass(frozen=True, slots=True)
class Text:
    """A literal, which is streamed; that of a message that is not catenated is all of it."""

    is_binary: bool  # it is a literal8


@dataclass(frozen=True, slots=True)
class Url:
    """The URL of what comes here."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A catenated message ends."""


Token = Begin | Text | Url | End


@dataclass(slots=True)
class Walk:
    """Where somebody stands who reads append-messages, between two tokens."""

    is_catenating: bool = False  # within the parentheses of CATENATE
    is_utf8: bool = False  # within those of UTF8

    def tokens(self, cur: Cursor, is_whole: bool) -> Iterator[Token]:
        """1*append-message. A text that is not whole ends in an announced literal, which is the last token.

        Unless that literal is a URL: there is no token for it.
        """
        is_first_message, is_first_part = is_whole, False
        while True:
            if self.is_utf8:
                cur.expect(b")")
                self.is_utf8 = False
            if not self.is_catenating:
                if is_whole and cur.at_end() and not is_first_message:
                    return
                is_first_message = False
                flags, date = append_opts(cur)
                self.is_catenating = is_first_part = cur.take(b"CATENATE")
                yield Begin(flags, date, self.is_catenating)
                if self.is_catenating:
                    cur.space()
                    cur.expect(b"(")
                    continue
                yield self._utf8_literal(cur, is_whole) if cur.take(b"UTF8") else _literal(cur, is_whole)
            elif not is_first_part and cur.take(b")"):
                self.is_catenating = False
                yield End()
                continue
            else:
                if not is_first_part:
                    cur.space()
                is_first_part = False
                part = self._cat_part(cur, is_whole)
                if part is None:
                    return
                yield part
            if not is_whole and cur.at_end():
                return

    def _cat_part(self, cur: Cursor, is_whole: bool) -> Token | None:
        """cat-part; None: a URL that is announced as a literal."""
        if cur.take(b"TEXT"):
            cur.space()
            return _literal(cur, is_whole)
        if cur.take(b"UTF8"):
            return self._utf8_literal(cur, is_whole)
        cur.expect(b"URL")
        cur.space()
        if not is_whole and is_announced(cur):
            return None
        return Url(grammar.astring(cur))

    def _utf8_literal(self, cur: Cursor, is_whole: bool) -> Text:
        """utf8-literal behind its word; its ")" comes with the next token."""
        cur.space()
        cur.expect(b"(")
        if cur.peek() != b"~":
            raise cur.wrong("expected a literal8")
        self.is_utf8 = True
        return _literal(cur, is_whole)


def append_opts(cur: Cursor) -> tuple[Flags, int | None]:
    """[SP flag-list] [SP date-time] SP, as in append-message; RFC 3502 6.3.11. Flags, and seconds since 1970."""
    cur.space()
    # Lenient: IMAPClient's multiappend sends two spaces between messages; RFC 3502 6.3.11 wants one.
    cur.take(b" ")
    flags: Flags = frozenset()
    if cur.peek() == b"(":
        flags = grammar.flag_list(cur)
        cur.space()
    date = None
    if cur.peek() == b'"':
        date = date_time(cur)
        cur.space()
    return flags, date


def is_announced(cur: Cursor) -> bool:
    """Whether a literal is announced here, and nothing stands before it."""
    return _ANNOUNCED.fullmatch(cur.text, cur.pos) is not None


def _literal(cur: Cursor, is_whole: bool) -> Text:
    """literal / literal8, which is streamed: only its announcement stands in the text."""
    found = _LITERAL.match(cur.text, cur.pos)
    if found is None or not (found.end() in cur.staged if is_whole else found.end() == len(cur.text)):
        raise cur.wrong("expected a message as a literal")
    cur.pos = found.end()
    return Text(is_binary=bool(found[1]))
