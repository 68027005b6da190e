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
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, Protocol

from greenmail.errors import BadSyntax, Disconnected, Refused, StorageError
from greenmail.imap.grammar import MAX_NUMBER64
from greenmail.imap.response import LIMIT, MESSAGELIMIT, TOOBIG
from greenmail.imap.session import Limits

PIECE = 65536  # octets that a sink gets at once, at most
LITERAL_MINUS_MAX = 4096  # RFC 7888 5

_ANNOUNCEMENT = re.compile(rb"\{([0-9]++)(\+?)\}")
_TAIL = 1024  # octets kept of the end of a line that is thrown away: enough for any sane announcement

Failure = BadSyntax | Refused | StorageError


class Sink(Protocol):
    """Where a streamed literal goes; more than one in a row may go to the same."""

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


_NOTHING: Mapping[int, Any] = MappingProxyType({})


class Frame(NamedTuple):
    """One complete command without its final line end.

    Literals stand in `text` as `{n}` CRLF octets. Of a streamed one only the announcement and CRLF are there;
    `staged` has, by the offset right behind that CRLF, what its sink's `finish` gave.
    If `failure` is set the command was refused while it arrived: `text` is good for its tag only, the stream stands
    at the next command, and the sinks were aborted; the caller answers with the failure.
    """

    text: bytes
    staged: Mapping[int, Any] = _NOTHING
    failure: Failure | None = None
    sinks: tuple[Sink, ...] = ()  # to be aborted when the command is over, whatever use it has made of them


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


class _Announced(NamedTuple):
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
        self.staged: Mapping[int, Any] = {}  # while begin_literal runs: the streamed literals before, as in Frame
        self.receipts = 0  # how often octets came
        self._receive = receive
        self._write = write
        self._limits = limits
        self._literal_minus = literal_minus
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer that hold no LF

    @property
    def buffered(self) -> int:
        """Octets received and not yet used, of a client that pipelines. CR and LF before a command do not count."""
        if self._buffer.startswith((b"\r", b"\n")):
            return len(self._buffer.lstrip(b"\r\n"))
        return len(self._buffer)

    def discard(self) -> None:
        """Forget what was received and not yet used: before TLS begins, RFC 9051 6.2.1."""
        self._buffer.clear()
        self._searched = 0

    def take_rest(self) -> bytes:
        """What was received and not yet used, for another reader."""
        rest = bytes(self._buffer)
        self.discard()
        return rest

    def put_back(self, octets: bytes) -> None:
        """Octets that another reader has not used: they come first."""
        self._buffer[:0] = octets
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

    def next_frame(self, begin_literal: BeginLiteral) -> Frame:
        """The next command; empty lines before it are skipped, as Apple Mail sends them.

        Raises Disconnected when the client is gone, or after BYE because it announced more than can be thrown away.
        """
        self._skip_empty_lines()
        line = self._take_line()
        if line is not None and not line.endswith(b"}") and len(line) + 2 <= self.max_command_size:
            return Frame(line)  # as nearly all commands are
        draft = _Draft()
        is_whole = False
        try:
            announced = self._add_line(draft, line)
            while announced:
                if not self._read_literal(draft, announced, begin_literal):
                    break
                announced = self._add_line(draft, None if draft.failure else self._take_line())
            is_whole = True
        finally:
            if not is_whole:
                draft.abort()
        return draft.frame()

    def read_line(self) -> bytes:
        """A line without its line end: what follows a continuation request in AUTHENTICATE and IDLE.

        Raises BadSyntax if it is too long; it is thrown away then, and the next line is read as if nothing had been.
        """
        line = self._take_line()
        if line is None:
            self._drain_line(_Draft())
            raise BadSyntax("line is too long", TOOBIG)
        return line

    def _skip_empty_lines(self) -> None:
        while True:
            if self._buffer.startswith((b"\r", b"\n")):
                self._buffer = self._buffer.lstrip(b"\r\n")
                self._searched = 0
            if self._buffer:
                return
            self._fill()

    def _fill(self) -> None:
        self._buffer += self._received()

    def _received(self) -> bytes:
        self.receipts += 1
        return self._receive()

    def _take_line(self) -> bytes | None:
        """The next line without its line end, or None if it is longer than allowed: then nothing of it was taken."""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            self._searched = end if end >= 0 else len(self._buffer)
            # Two octets more may be the line end, or the line is too long wherever that is.
            if self._searched > self.max_line + 1:
                return None
            if end >= 0:
                break
            self._fill()
        # Lenient: a bare LF ends a line, for people on telnet; RFC 9051 2.2 wants CRLF.
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        if len(line) > self.max_line:
            return None
        self._drop(end + 1)
        return line

    def _drop(self, octets: int) -> None:
        del self._buffer[:octets]
        self._searched = 0

    def _add_line(self, draft: _Draft, line: bytes | None) -> _Announced | None:
        """Add one line of a command, or throw away what is too long (None); the literal that it announces, or None."""
        if line is None:
            if draft.failure is None:
                draft.text += self._buffer[: self.max_line]
                draft.fail(BadSyntax("line is too long", TOOBIG))
            return _announced(self._drain_line(draft))
        draft.kept += len(line) + 2
        draft.text += line
        if draft.kept > self.max_command_size:
            draft.fail(BadSyntax("command is too long", TOOBIG))
        announced = _announced(line)
        if announced:
            draft.text += b"\r\n"
        return announced

    def _read_literal(self, draft: _Draft, announced: _Announced, begin_literal: BeginLiteral) -> bool:
        """Read the octets of a literal, or throw them away; False if the command is over because they will not come."""
        sink = None
        if draft.failure is None:
            try:
                sink = self._offer(draft, announced, begin_literal)
            except (BadSyntax, Refused, StorageError) as failure:
                draft.fail(failure)
        if draft.failure is not None:
            if not announced.synchronizing:
                self._drain_literal(draft, announced.size)
            return not announced.synchronizing
        size = announced.size or 0
        if announced.synchronizing:
            self._write(b"+ OK\r\n")
        if sink is None:
            self._keep(draft, size)
        else:
            self._stream(draft, size, sink)
        return True

    def _offer(self, draft: _Draft, announced: _Announced, begin_literal: BeginLiteral) -> Sink | None:
        """Ask who takes the literal; raises what refuses it."""
        size = announced.size
        if size is None:
            raise BadSyntax("literal is too large", TOOBIG)
        if self._literal_minus and not announced.synchronizing and size > LITERAL_MINUS_MAX:
            raise BadSyntax(f"literals above {LITERAL_MINUS_MAX} octets must be synchronizing", TOOBIG)
        self.staged = draft.staged
        sink = begin_literal(bytes(draft.text), size, announced.synchronizing)
        if sink is None:
            draft.kept += size
            if draft.kept > self.max_command_size:
                raise BadSyntax("literal is too large for this command", TOOBIG)
            return None
        if draft.sinks and draft.sinks[-1] is sink:  # one more piece of the same message
            return sink
        draft.sinks.append(sink)
        check_number(self._limits, len(draft.sinks))
        return sink

    def _keep(self, draft: _Draft, size: int) -> None:
        while size:
            piece = self._take_piece(size)
            draft.text += piece
            size -= len(piece)

    def _stream(self, draft: _Draft, size: int, sink: Sink) -> None:
        """To the sink as it arrives. What comes behind a failure is still the literal, and thrown away."""
        while size:
            piece = self._take_piece(size)
            size -= len(piece)
            if draft.failure is None:
                _attempt(draft, sink.write, piece)
        if draft.failure is None:
            draft.staged[len(draft.text)] = _attempt(draft, sink.finish)

    def _take_piece(self, most: int) -> bytes:
        """At least one octet, at most `most` and 64 KiB."""
        most = min(most, PIECE)
        if not self._buffer:
            data = self._received()
            if len(data) <= most:
                return data
            self._buffer += data
        piece = bytes(self._buffer[:most])
        self._drop(len(piece))
        return piece

    def _drain_line(self, draft: _Draft) -> bytes:
        """Throw away a line; its end."""
        tail = b""
        while True:
            end = self._buffer.find(b"\n")
            gone = end + 1 if end >= 0 else len(self._buffer)
            tail = (tail + self._buffer[max(0, gone - _TAIL) : gone])[-_TAIL:]
            self._drop(gone)
            self._count_drained(draft, gone)
            if end >= 0:
                return tail.removesuffix(b"\n").removesuffix(b"\r")
            self._fill()

    def _drain_literal(self, draft: _Draft, size: int | None) -> None:
        """Throw away a literal that the client sends without being asked. RFC 7888 4."""
        if size is None:
            self._bye()
        self._count_drained(draft, size)
        while size:
            size -= len(self._take_piece(size))

    def _count_drained(self, draft: _Draft, octets: int) -> None:
        draft.drained += octets
        if draft.drained > self.max_drain:
            self._bye()

    def _bye(self) -> NoReturn:
        self._write(b"* BYE [TOOBIG] command is too large\r\n")
        raise Disconnected("client sent more than can be thrown away")


def check_number(limits: Limits, messages: int) -> None:
    """Raises Refused if one command may not bring so many messages."""
    most = min(limits.max_append_messages, limits.savable or limits.max_append_messages)
    if messages > most:
        code = f"{MESSAGELIMIT} {most}" if limits.savable else LIMIT  # RFC 9738 3.1
        raise Refused(f"at most {most} messages in one command", code)


def _attempt(draft: _Draft, action: Callable[..., Any], *data: bytes) -> Any:
    """What `action` gives; if it fails as a sink may, the draft fails with it."""
    try:
        return action(*data)
    except (BadSyntax, Refused, StorageError) as failure:
        draft.fail(failure)
        return None


def _announced(line: bytes) -> _Announced | None:
    """The literal at the end of a line. RFC 7888 3: every line is looked at, also those that are thrown away."""
    if not line.endswith(b"}"):
        return None
    found = _ANNOUNCEMENT.fullmatch(line, line.rfind(b"{"))
    if found is None:
        return None
    digits = found.group(1).lstrip(b"0")
    size = int(digits or b"0") if len(digits) < 20 else None
    if size is not None and size > MAX_NUMBER64:
        size = None
    return _Announced(size, not found.group(2))
