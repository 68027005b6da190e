"""ENVELOPE: RFC 9051 7.5.2, from the address lists of RFC 5322 3.4 and 4.4. Values only; `imap` renders them.

What real mail does wrong is read as the writer meant it: an address without a domain has the empty host (NIL would
mean a group), a name in a comment counts as the display name, several To fields are one list.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from greenmail.message.content import header_end
from greenmail.message.headers import Kind, collect, finder, words
from greenmail.message.turn import turn

MAX_ADDRESSES = 10_000  # of one field: more cannot be mail to people, and every one costs each client a list

_ATOM = re.compile(rb"[^\x00-\x20()<>\[\]:;@\\,\"]+|\\|[\x00-\x1f]+")
_A = rb"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]++"  # as _ATOM; nothing that could be a special
# What most addresses look like: `name <local@domain>`, `"name" <local@domain>`, `local@domain`.
_USUAL = re.compile(
    rb"[ \t]*+(?:(?:\"([^\"\\]++)\"[ \t]*+|(" + _A + rb"(?>(?: " + _A + rb")*))[ \t]*+)?<(" + _A + rb")@(" + _A + rb")>"
    rb"|(" + _A + rb")@(" + _A + rb"))[ \t]*+(?:,|\Z)"
)
_FIELDS = finder(
    b"Date", b"Subject", b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc", b"In-Reply-To", b"Message-ID"
)


class Address(NamedTuple):
    """RFC 9051 7.5.2. A group begins with a value whose `host` is None, and ends with one that is None all over."""

    name: bytes | None  # display name as it stands, encoded words undecoded
    route: bytes | None  # "@a,@b": RFC 5322 4.4 obs-route
    mailbox: bytes | None  # local part without quotes; a group's name
    host: bytes | None


Addresses = tuple[Address, ...]


class Envelope(NamedTuple):
    """None is a field that is absent; an empty tuple is NIL for addresses, absent or empty alike."""

    date: bytes | None
    subject: bytes | None
    from_: Addresses
    sender: Addresses
    reply_to: Addresses
    to: Addresses
    cc: Addresses
    bcc: Addresses
    in_reply_to: bytes | None
    message_id: bytes | None


def envelope(data: bytes, start: int = 0, end: int | None = None) -> Envelope:
    """The envelope of the header in `data[start:end]`; without `end`, of the message or header that `data` is."""
    if end is None:
        behind = header_end(data)
        end = len(data) if behind < 0 else behind
    found = collect(_FIELDS, data, start, end)

    def first(name: bytes) -> bytes | None:
        values = found.get(name)
        return values[0] if values else None

    def parsed(name: bytes) -> Addresses:
        return addresses(found.get(name, ()))

    sent_by = parsed(b"from")
    return Envelope(
        date=first(b"date"),
        subject=first(b"subject"),
        from_=sent_by,
        sender=parsed(b"sender") or sent_by,
        reply_to=parsed(b"reply-to") or sent_by,
        to=parsed(b"to"),
        cc=parsed(b"cc"),
        bcc=parsed(b"bcc"),
        in_reply_to=first(b"in-reply-to"),
        message_id=first(b"message-id"),
    )


def addresses(values: Iterable[bytes]) -> Addresses:
    """The addresses of one field, or of several of the same name, in order."""
    found: list[Address] = []
    for value in values:
        if len(found) < MAX_ADDRESSES and not _read_usual(value, found):
            _AddressList(found).read(value)
    return tuple(found)


def _read_usual(value: bytes, found: list[Address]) -> bool:
    """Add the addresses of a field that has nothing but usual ones; False, and nothing is added, if it has others."""
    place = 0
    usual: list[Address] = []
    while place < len(value):
        match = _USUAL.match(value, place)
        if match is None or len(usual) >= MAX_ADDRESSES - len(found):
            return False
        quoted, phrase, local, host, bare_local, bare_host = match.groups()
        usual.append(Address(quoted or phrase, None, local or bare_local, host or bare_host))
        place = match.end()
    found.extend(usual)
    return True


_Token = tuple[bytes, bool]  # text; whether it is a special


class _AddressList:
    """Reads one address-list token by token; each is looked at once."""

    def __init__(self, found: list[Address]) -> None:
        self.found = found
        self.in_group = False
        self._begin()

    def _begin(self) -> None:
        self.outside: list[_Token] = []  # tokens before "<", or all of an address without it
        self.angle: list[_Token] | None = None  # tokens between "<" and ">"
        self.behind: list[_Token] = []  # tokens after ">"
        self.closed = False
        self.comment: bytes | None = None

    def read(self, value: bytes) -> None:
        for kind, text in words(value, _ATOM):
            if kind is Kind.OPEN:
                # A quote that is never closed: read on as if it were not there.
                for inner, piece in words(text, _ATOM):
                    self._take(inner, piece)
            else:
                self._take(kind, text)
        self._end_mailbox()
        self._end_group()
        del self.found[MAX_ADDRESSES:]

    def _take(self, kind: Kind, text: bytes) -> None:
        if len(self.found) >= MAX_ADDRESSES:
            return
        if kind is Kind.COMMENT:
            self.comment = text
        elif kind is not Kind.SPECIAL:
            self._here().append((text, False))
        elif text == b"<":
            self._open_angle()
        elif text == b">":
            self.closed = self.angle is not None
        elif text == b":":
            self._colon()
        elif text == b";":
            self._end_mailbox()
            self._end_group()
        elif text == b"," and not self._in_route():
            self._end_mailbox()
        else:
            self._here().append((text, True))

    def _here(self) -> list[_Token]:
        if self.angle is None:
            return self.outside
        return self.behind if self.closed else self.angle

    def _in_route(self) -> bool:
        """RFC 5322 4.4: commas may stand between the domains of `<@a,@b:c@d>`."""
        return bool(self.angle) and not self.closed and self.angle is not None and self.angle[0] == (b"@", True)

    def _open_angle(self) -> None:
        if self.closed:  # no comma after the last address: "A <a@b> B <c@d>"
            name = self.behind
            self._end_mailbox()
            self.outside = name
        if self.angle is None:
            self.angle = []

    def _colon(self) -> None:
        outside = self.angle is None
        if outside and not self.in_group and self.outside and not any(special for _, special in self.outside):
            self.found.append(Address(None, None, _phrase(self.outside), None))
            self.in_group = True
            self._begin()
        else:
            self._here().append((b":", True))

    def _end_mailbox(self) -> None:
        turn()
        if self.angle is not None:
            route, local, host = _addr_spec(self.angle)
            name = _phrase(self.outside) or self.comment
            self.found.append(Address(name or None, route, local, host))
        elif self.outside:
            self.found.append(_bare(self.outside, self.comment))
        self._begin()

    def _end_group(self) -> None:
        if self.in_group:
            self.found.append(Address(None, None, None, None))
            self.in_group = False


def _bare(tokens: list[_Token], comment: bytes | None) -> Address:
    """An address without angle brackets; words that stand before it count as its name."""
    at = _last_at(tokens)
    if at < 0:
        return Address(comment or None, None, _phrase(tokens), b"")
    if tokens[0] == (b"@", True):
        route, local, host = _addr_spec(tokens)
        return Address(comment or None, route, local, host)
    first = max(at - 1, 0)
    while first > 0 and _belong(tokens[first - 1], tokens[first]):
        first -= 1
    last = at + 1
    while last + 1 < len(tokens) and _belong(tokens[last], tokens[last + 1]):
        last += 1
    name = _phrase(tokens[:first]) or comment
    return Address(name or None, None, _glued(tokens[first:at]), _glued(tokens[at + 1 : last + 1]))


def _belong(left: _Token, right: _Token) -> bool:
    """RFC 5322 4.4: white space may stand around the dots of an address."""
    return left[1] or right[1] or left[0].endswith(b".") or right[0].startswith(b".")


def _addr_spec(tokens: list[_Token]) -> tuple[bytes | None, bytes, bytes]:
    """(route, mailbox, host) of what stands between angle brackets."""
    route = None
    colon = next((n for n, token in enumerate(tokens) if token == (b":", True)), -1)
    if colon > 0 and tokens[0] == (b"@", True):
        route = _glued(tokens[:colon])
        tokens = tokens[colon + 1 :]
    at = _last_at(tokens)
    if at < 0:
        return route, _glued(tokens), b""
    return route, _glued(tokens[:at]), _glued(tokens[at + 1 :])


def _last_at(tokens: list[_Token]) -> int:
    return next((n for n in range(len(tokens) - 1, -1, -1) if tokens[n] == (b"@", True)), -1)


def _glued(tokens: list[_Token]) -> bytes:
    return b"".join(text for text, _ in tokens)


def _phrase(tokens: list[_Token]) -> bytes:
    """RFC 5322 3.2.5: words with one space between them, none around specials that do not belong there."""
    pieces: list[bytes] = []
    for n, (text, special) in enumerate(tokens):
        if n and not special and not tokens[n - 1][1]:
            pieces.append(b" ")
        pieces.append(text)
    return b"".join(pieces)
