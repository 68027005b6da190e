"""A place in one complete frame, from which grammar functions read.

`take` tries and returns a bool, `expect` and `match` raise `BadSyntax`. A literal stands in the text as on the wire
(`{3}` CRLF and its octets); a literal that was streamed away while it arrived (APPEND's) has no octets there: the
text goes on right behind the CRLF, and `staged` has, by that offset, what became of it.
"""

from collections.abc import Mapping
from re import Pattern
from typing import Any

from greenmail.errors import BadSyntax


class Cursor:
    """`text` is a frame without its final line end."""

    __slots__ = ("depth", "max_depth", "numbers", "pos", "staged", "text", "utf8")

    def __init__(
        self, text: bytes, staged: Mapping[int, Any] | None = None, utf8: bool = False, max_depth: int = 50
    ) -> None:
        self.text = text
        self.pos = 0
        self.staged: Mapping[int, Any] = staged if staged is not None else {}
        self.utf8 = utf8  # mailbox names are UTF-8 and not modified UTF-7: RFC 9051 after ENABLE, RFC 9755 3
        self.numbers = False  # message sequence numbers were read where a UID could not stand
        self.depth = 0
        self.max_depth = max_depth

    def peek(self, length: int = 1) -> bytes:
        """The next octets, fewer at the end."""
        return self.text[self.pos : self.pos + length]

    def at_end(self) -> bool:
        return self.pos >= len(self.text)

    def take(self, token: bytes) -> bool:
        """Move behind `token` if it comes next, compared without case. RFC 9051 9 (1)."""
        end = self.pos + len(token)
        if self.text[self.pos : end].upper() != token.upper():
            return False
        self.pos = end
        return True

    def expect(self, token: bytes) -> None:
        if not self.take(token):
            raise self.wrong(f"expected {token.decode('ascii')!r}")

    def space(self) -> None:
        """SP: exactly one. RFC 9051 9 (3)."""
        if self.text[self.pos : self.pos + 1] != b" ":
            raise self.wrong("expected a space")
        self.pos += 1

    def end(self) -> None:
        """Nothing may follow."""
        if self.pos < len(self.text):
            raise self.wrong("unexpected characters behind the command")

    def try_match(self, pattern: Pattern[bytes]) -> bytes | None:
        """What `pattern` matches here, or None and no move."""
        found = pattern.match(self.text, self.pos)
        if found is None:
            return None
        self.pos = found.end()
        return found.group()

    def match(self, pattern: Pattern[bytes], what: str) -> bytes:
        """What `pattern` matches here; `what` names the rule for the error text."""
        found = self.try_match(pattern)
        if found is None:
            raise self.wrong(f"expected {what}")
        return found

    def open(self) -> None:
        """ "(", counted: nesting is bounded so that no client can exhaust the stack."""
        self.expect(b"(")
        self.depth += 1
        if self.depth > self.max_depth:
            raise BadSyntax("too many nested parentheses")

    def close(self) -> None:
        """ ")" that belongs to an `open`."""
        self.expect(b")")
        self.depth -= 1

    def wrong(self, text: str) -> BadSyntax:
        """A BadSyntax that says where."""
        where = "where the command ends" if self.at_end() else f"at octet {self.pos + 1}"
        return BadSyntax(f"{text} {where}")
