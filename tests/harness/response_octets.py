"""Octets that a server sent, read by rules, and the smallest rules of RFC 9051: `response_grammar` says what for."""

import re
from collections.abc import Callable

ATOM = rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+'
ASTRING_ATOM = rb'[^\x00-\x20\x7f-\xff(){%*"\\]+'
TAG = rb'[^\x00-\x20\x7f-\xff(){%*"\\+]+'
QUOTED = rb'"(?:[^\x00\r\n"\\]|\\["\\])*"'
NZ = rb"[1-9][0-9]*"
SET = rb"(?:[1-9][0-9]*(?::[1-9][0-9]*)?)(?:,[1-9][0-9]*(?::[1-9][0-9]*)?)*"
FLAG = rb"\\?" + ATOM
TEXT = rb"[^\x00\r\n]*"
DATE_TIME = rb'"[ 0-3][0-9]-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4} [0-9:]{8} [+-][0-9]{4}"'
NUMBER64 = (1 << 63) - 1


class Wrong(AssertionError):
    """The octets are no response."""


class Octets:
    """A place in what a server sent."""

    def __init__(self, data: bytes, utf8: bool) -> None:
        self.data = data
        self.utf8 = utf8  # after ENABLE IMAP4rev2
        self.at = 0

    def wrong(self, rule: str) -> Wrong:
        return Wrong(f"no {rule} at octet {self.at}: {self.data[max(0, self.at - 60) : self.at + 60]!r}")

    def match(self, pattern: bytes, rule: str) -> bytes:
        found = re.compile(pattern, re.DOTALL).match(self.data, self.at)
        if found is None:
            raise self.wrong(rule)
        self.at = found.end()
        return found.group()

    def take(self, token: bytes) -> bool:
        if not self.data.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def expect(self, token: bytes) -> None:
        if not self.take(token):
            raise self.wrong(repr(token))

    def next(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def some(self, rule: Callable[["Octets"], object], least: int = 1) -> None:
        """ "(" rule *(SP rule) ")" """
        self.expect(b"(")
        if least == 0 and self.take(b")"):
            return
        rule(self)
        while self.take(b" "):
            rule(self)
        self.expect(b")")


def literal(octets: Octets, head: bytes = rb"\{") -> bytes:
    size = int(octets.match(head + rb"[0-9]+\}\r\n", "literal").strip(b"~{}\r\n"))
    data = octets.data[octets.at : octets.at + size]
    if len(data) < size:
        raise octets.wrong("literal of this length")
    octets.at += size
    return data


def string(octets: Octets) -> bytes:
    if octets.next() == b"{":
        data = literal(octets)
        if b"\0" in data:
            raise octets.wrong("literal without NUL")
        return data
    data = octets.match(QUOTED, "string")
    if octets.utf8:
        data.decode("utf-8")
    elif not data.isascii():
        raise octets.wrong("quoted string in US-ASCII")
    return data


def nstring(octets: Octets) -> None:
    if not octets.take(b"NIL"):
        string(octets)


def binary(octets: Octets) -> None:
    """nstring / literal8 — RFC 9051 9, msg-att-static."""
    if octets.next() == b"~":
        literal(octets, rb"~\{")
    else:
        nstring(octets)


def astring(octets: Octets) -> None:
    if octets.next() in (b'"', b"{"):
        string(octets)
    else:
        octets.match(ASTRING_ATOM, "astring")


def number(octets: Octets, largest: int = NUMBER64) -> None:
    if int(octets.match(rb"[0-9]+", "number")) > largest:
        raise octets.wrong("number of this size")


def flag_list(octets: Octets) -> None:
    octets.match(rb"\((?:" + FLAG + rb"(?: " + FLAG + rb")*)?\)", "flag-list")
