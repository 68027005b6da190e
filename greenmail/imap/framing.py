"""Octets in, frames out: the only place that deals with literals and limits. RFC 9051 2.2, 4.3, RFC 7888.

A frame is one command with its literals, whole. A line ends in LF; whether a CR stands before it does not matter.
A line whose end is `{n}` or `{n+}` goes on with n octets and another line: RFC 7888 3. Each literal is first offered
to the caller's `begin_literal`, which may take it away piece by piece (APPEND), leave it in the text, or refuse it.

What is refused is never parsed. For a refused `{n}` the client gets the tagged answer instead of `+ `, and the command
is over. A refused `{n+}` and the rest of its command are read and thrown away, at most `max_drain` octets; if more was
announced the client gets BYE. Memory never grows with what a client announces, only with what it sent.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from greenmail.errors import BadSyntax, Disconnected, Refused, StorageError
from greenmail.imap.response import TOOBIG
from greenmail.imap.session import Limits

PIECE = 65536  # octets that a sink gets at once, at most
LITERAL_MINUS_MAX = 4096  # RFC 7888 5

_ANNOUNCEMENT = re.compile(rb"\{([0-9]++)(\+?)\}")
_TAIL = 64  # octets kept of the end of a line that is thrown away: enough for "{n+}" with any possible n

Failure = BadSyntax | Refused | StorageError


class Sink(Protocol):
    """Where a streamed literal goes."""

    def write(self, data: bytes) -> None:
        """The next octets, at most 64 KiB. May raise StorageError: the rest of the command is thrown away."""

    def finish(self) -> Any:
        """The literal is complete; what it is from now on. Comes into `Frame.staged`. May raise StorageError."""

    def abort(self) -> None:
        """Undo everything; also called after `finish`, and then does nothing if the command made use of it."""


BeginLiteral = Callable[[bytes, int, bool], Sink | None]
"""begin_literal(text so far with the announcement, octets, synchronizing): a sink, or None: keep it in the text.

Raises BadSyntax, Refused or StorageError to refuse the literal.
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One complete command without its final line end.

    Literals stand in `text` as `{n}` CRLF octets. Of a streamed one only the announcement and CRLF are there;
    `staged` has, by the offset right behind that CRLF, what its sink's `finish` gave.
    If `failure` is set the command was refused while it arrived: `text` is good for its tag only, the stream stands
    at the next command, and the sinks were aborted; the caller answers with the failure.
    """

    text: bytes
    staged: Mapping[int, Any] = field(default_factory=dict)
    failure: Failure | None = None
    sinks: tuple[Sink, ...] = ()

    def discard(self) -> None:
        """Abort what was streamed, as far as the command made no use of it. To be called when a command is over."""
        for sink in self.sinks:
            sink.abort()


class _Draft:
    """A frame that is being read."""

    __slots__ = ("drained", "failure", "kept", "sinks", "staged", "text")

    def __init__(self) -> None:
        self.text = bytearray()
        self.staged: dict[int, Any] = {}
        self.sinks: list[Sink] = []
        self.failure: Failure | None = None
        self.kept = 0  # octets that count against max_command_size
        self.drained = 0  # octets thrown away

    def fail(self, failure: Failure) -> None:
        """The first failure is the answer; nothing that was streamed may stay."""
        if self.failure is None:
            self.failure = failure
        self.abort()

    def abort(self) -> None:
        sinks, self.sinks = self.sinks, []
        for sink in sinks:
            sink.abort()

    def frame(self) -> Frame:
        return Frame(bytes(self.text), self.staged, self.failure, tuple(self.sinks))


@dataclass(frozen=True, slots=True)
class _Announced:
    """A literal at the end of a line."""

    size: int | None  # None: more than 63 bits
    synchronizing: bool


class Reader:
    """Reads frames and lines of one connection.

    `receive` gives the next octets (at most 64 KiB, never none) or raises Disconnected; before it waits it sends what
    was given to `write`. Set `authenticated` after login: until then the limits are small.
    """

    def __init__(
        self,
        receive: Callable[[], bytes],
        write: Callable[[bytes], None],
        limits: Limits,
        literal_minus: bool = False,
    ) -> None:
        self.authenticated = False
        self._receive = receive
        self._write = write
        self._limits = limits
        self._literal_minus = literal_minus
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer that hold no LF

    @property
    def buffered(self) -> int:
        """Octets received and not yet used: a client that pipelines has sent some. CR and LF before a command count not."""
        return len(self._buffer.lstrip(b"\r\n"))

    def discard(self) -> None:
        """Forget what was received and not yet used: before TLS begins, RFC 9051 6.2.1."""
        self._buffer.clear()
        self._searched = 0

    @property
    def max_line(self) -> int:
        return self._limits.max_line if self.authenticated else self._limits.max_line_anonymous

    @property
    def max_command_size(self) -> int:
        """Octets of all lines and kept literals of a command; before login four lines."""
        return self._limits.max_command_size if self.authenticated else 4 * self._limits.max_line_anonymous

    @property
    def max_drain(self) -> int:
        return self._limits.max_drain if self.authenticated else self._limits.max_command_size
