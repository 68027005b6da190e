"""What a session did last and what it cost, for `greenmail explain`; and the protocol of a user's sessions in a file.

A session keeps its last commands, each as one `bytes` object of some 130 octets: a worker may have ten thousand
sessions. What comes here was made harmless before, by `imap.trace` and `pop3.commands`: passwords, literals and
messages are never in it.
"""

import os
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 24  # commands of a session that are kept
MOST_TEXT = 160  # octets of a command, and of its answer
_HEAD = struct.Struct("<dffII")
_HUGE = 0xFFFFFFFF
_WAITING = frozenset({"IDLE"})  # commands that end when the client wants them to

_LITERAL = re.compile(rb"~?\{([0-9]++)\+?\}\r?\n\Z")
_QUOTED = re.compile(rb'"(?>(?:[^"\\]|\\.)*)"?')
_FETCHED = re.compile(rb"\* [0-9]++ (?:UID)?FETCH ", re.IGNORECASE)
_PRIVATE = re.compile(rb"\* (?:GENURLAUTH|URLFETCH|METADATA) ", re.IGNORECASE)
_MOST_LINE = 2000  # octets of a line in a trace


@dataclass(frozen=True, slots=True)
class Step:
    """One command that was answered."""

    began: float  # seconds since 1970
    seconds: float  # until its answer was written
    computed: float  # of them, and of the pool's threads: at work for this session
    received: int
    sent: int
    text: str  # the command, shortened
    answer: str


class Transcript:
    """Of one session."""

    __slots__ = ("_steps", "began", "commands", "computed", "last", "running", "seconds", "slowest", "told", "user")

    def __init__(self) -> None:
        self._steps: list[bytes] = []  # a deque has room for 64 from its beginning
        self.running = ""  # the name of the command that is carried out
        self.last = ""  # of the one before that
        self.began = 0.0  # when that, or the last one, began; seconds since 1970
        self.commands = 0
        self.seconds = 0.0  # of all commands but IDLE
        self.computed = 0.0
        self.slowest = 0.0  # since `told`
        self.user = ""  # who it was, once he has left
        self.told = (0, 0.0, 0.0)  # commands, seconds, computed that were told by `news`

    def begin(self, name: str) -> None:
        """A command of this name is carried out now."""
        self.running = name
        self.began = time.time()

    def end(self, seconds: float, computed: float, octets: tuple[int, int], text: bytes) -> None:
        """It is answered. `octets`: received and sent; `text`: the command, NUL, the answer."""
        self.commands += 1
        self.computed += computed
        if not self.running:  # nobody knew its name
            self.began = time.time() - seconds
        if self.running not in _WAITING:
            self.seconds += seconds
            if seconds > self.slowest:
                self.slowest = seconds
        self.last, self.running = self.running or "(unknown)", ""
        received, sent = octets
        head = _HEAD.pack(self.began, seconds, computed, min(received, _HUGE), min(sent, _HUGE))
        if len(self._steps) == MOST:
            del self._steps[0]
        self._steps.append(head + text)

    def idle(self, now: float) -> float:
        """Seconds since it did something; 0 while it does."""
        if self.running and self.running not in _WAITING:
            return 0.0
        if self.running or not self._steps:
            return max(0.0, now - self.began) if self.began else 0.0
        seconds: float = _HEAD.unpack_from(self._steps[-1])[1]
        return max(0.0, now - self.began - seconds)

    def steps(self) -> list[Step]:
        """What is kept, oldest first."""
        found = []
        for raw in self._steps:
            began, seconds, computed, received, sent = _HEAD.unpack_from(raw)
            found.append(Step(began, seconds, computed, received, sent, *_words(raw)))
        return found

    def news(self) -> tuple[int, float, float, float]:
        """Commands, their seconds, what they computed and the slowest since the last call."""
        commands, seconds, computed = self.told
        self.told = (self.commands, self.seconds, self.computed)
        slowest, self.slowest = self.slowest, 0.0
        return self.commands - commands, self.seconds - seconds, self.computed - computed, slowest


def _words(raw: bytes) -> tuple[str, str]:
    text, _, answer = raw[_HEAD.size :].decode("utf-8", "backslashreplace").partition("\0")
    return text, answer


@dataclass(slots=True)
class Trace:
    """A file that takes the protocol of a user's sessions; many processes write to it."""

    user: str
    descriptor: int
    until: float  # seconds since 1970
    limit: int  # octets of the file

    def is_over(self) -> bool:
        """Whether nothing more is to be written."""
        return self.descriptor < 0 or time.time() >= self.until

    def write(self, sid: str, direction: str, line: bytes) -> None:
        """A line, with time and session. Never raises: a full disk ends the trace."""
        if self.is_over():
            self.close()
            return
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())} {sid} {direction}: ".encode()
        shown = line[:_MOST_LINE].translate(_HARMLESS) + (b" ..." if len(line) > _MOST_LINE else b"")
        try:
            if os.fstat(self.descriptor).st_size >= self.limit:
                self.close()
                return
            os.write(self.descriptor, stamp + shown + b"\n")
        except OSError:
            self.close()

    def close(self) -> None:
        """No more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


# What could move a cursor, or end a line, in an administrator's terminal.
_HARMLESS = bytes(code if code >= 32 and code != 127 else ord("?") for code in range(256))


@dataclass(slots=True)
class Traces:
    """Those of a worker, by the user's name."""

    users: dict[str, Trace] = field(default_factory=dict)

    def tap(self, present: "Tap | None", user: str, sid: str, make: Callable[[Any, str], "Tap"]) -> "Tap | None":
        """What listens to a session of `user` now; `present` is what did so up to here."""
        trace = self.users.get(user)
        if trace is None:
            return None
        if trace.is_over():
            trace.close()
            del self.users[user]
            return None
        return present if present is not None and present.trace is trace else make(trace, sid)


class Tap:
    """Listens to one session. Of IMAP: what the server says, line by line, without octets of literals.

    Quoted strings in the answers of FETCH are header fields of messages, so only their length is told.
    """

    __slots__ = ("_line", "_sid", "_skip", "trace")

    def __init__(self, trace: Trace, sid: str) -> None:
        self.trace = trace
        self._sid = sid
        self._line = b""
        self._skip = 0

    def client(self, text: bytes) -> None:
        """A command, made harmless before."""
        self.trace.write(self._sid, "C", text)

    def server(self, data: bytes) -> None:
        """The next octets to the client, in pieces of any size."""
        if self.trace.descriptor < 0:
            return
        position = 0
        while position < len(data):
            if self._skip:
                taken = min(self._skip, len(data) - position)
                self._skip -= taken
                position += taken
                continue
            end = data.find(b"\n", position) + 1
            piece = data[position : end or len(data)]
            position += len(piece)
            # Of a very long line the middle is left out; its end may announce a literal.
            self._line = self._line + piece if len(self._line) < 2 * _MOST_LINE else self._line + piece[-32:]
            if end:
                self._line_ended()

    def _line_ended(self) -> None:
        literal = _LITERAL.search(self._line)
        if literal:
            self._skip = int(literal[1])
            self._line = self._line[: literal.start()] + b"<%b octets>" % literal[1]
            return
        line, self._line = self._line.rstrip(b"\r\n"), b""
        if _FETCHED.match(line):
            line = _QUOTED.sub(_length, line)
        private = _PRIVATE.match(line)
        self.trace.write(self._sid, "S", line[: private.end()] + b"..." if private else line)


def _length(quoted: "re.Match[bytes]") -> bytes:
    return b"<%d octets>" % (len(quoted[0]) - 2)
