"""One client's protocol state, and what the shell hands to every session. RFC 1939 3.

    AUTHORIZATION ──login──► TRANSACTION ──QUIT──► UPDATE

A session that ends in any other way than QUIT removes nothing: a lost connection, an autologout, a stop of the server.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from greenmail.auth.api import Authenticator, User
from greenmail.auth.logins import Guard, Logins, NoGuard, Patience, Register
from greenmail.auth.passage import Carrier
from greenmail.errors import Disconnected, Reason
from greenmail.language import choice
from greenmail.pace import Pace
from greenmail.pop3 import uidl
from greenmail.pop3.framing import DotStuffer, LineReader
from greenmail.pop3.maildrop import SYS_PERM, Maildrop
from greenmail.runtime import Runtime, Wire
from greenmail.storage.api import Account
from greenmail.transcript import Tap, Traces, Transcript

TRACE = 5  # below logging.DEBUG: the protocol without secrets and messages
SYS_TEMP = "SYS/TEMP"  # RFC 3206 4: try again later
IN_USE = "IN-USE"  # RFC 2449 8.1.2
LOGIN_DELAY = "LOGIN-DELAY"  # RFC 2449 8.1.1
UTF8 = "UTF8"  # RFC 6856 5: a message is for clients that use UTF8
AUTH = "AUTH"  # RFC 3206 5: the credentials, or what they may be used for

# RFC 2449 8, RFC 3206 4: only a failure that goes away by itself is SYS/TEMP.
REASON_CODES = {
    Reason.NOT_FOUND: SYS_PERM,
    Reason.EXISTS: SYS_PERM,
    Reason.GONE: SYS_TEMP,
    Reason.EXPUNGED: SYS_PERM,
    Reason.READ_ONLY: SYS_PERM,
    Reason.NO_PERMISSION: SYS_PERM,
    Reason.IN_USE: IN_USE,
    Reason.OVER_QUOTA: SYS_TEMP,
    Reason.NO_SPACE: SYS_TEMP,
    Reason.LIMIT: SYS_TEMP,
    Reason.CANNOT: SYS_PERM,
    Reason.HAS_CHILDREN: SYS_PERM,
    Reason.CORRUPT: SYS_PERM,
    Reason.UNAVAILABLE: SYS_TEMP,
}

_LINES = 256  # lines of a long list that are made at once
_MOST = 400  # octets of a text: with status and code a response line has at most 512, RFC 2449 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of a POP3 session; octets and seconds. Named as the settings are."""

    max_line: int = 65536  # RFC 2449 4 has 255 for commands; SASL responses may be longer, RFC 5034 4
    max_line_anonymous: int = 8192
    max_bad_commands: int = 20  # in a row before the connection is closed
    max_commands_per_minute: int = 0  # 0: any number
    patience: Patience = field(default_factory=Patience)
    timeout_anonymous: float = 60.0
    timeout_pop3: float = 600.0  # RFC 1939 3: ten minutes at least
    pop3_login_delay: int = 0  # seconds between two logins of a user, RFC 2449 6.5; 0: none


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker's POP3 sessions share."""

    runtime: Runtime
    authenticator: Authenticator
    open_account: Callable[[User], Account]
    register: Register
    guard: Guard = field(default_factory=NoGuard)
    carrier: Carrier | None = None  # to processes of the mail's owners
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    limits: Limits = field(default_factory=Limits)
    pop3_uidl_format: str = uidl.DEFAULT
    pop3_no_flag_updates: bool = False  # RETR does not set \\Seen
    preferred_language: str = choice.ENGLISH  # what LANG * means, RFC 6856 3.2
    utf8_accept: bool = False  # UTF8 is offered, and 8-bit headers are refused to others: RFC 6856 2.1
    pop3_apop: bool = False  # APOP is possible where every user's password is stored as it is
    traces: Traces = field(default_factory=Traces)  # users whose sessions are written down
    pop3_deleted_flag: str = ""  # QUIT sets this flag instead of removing messages, and hides those that have it


@dataclass(slots=True)
class Figures:
    """What the logout line of the log says."""

    commands: int = 0
    retrieved: int = 0
    retrieved_octets: int = 0
    tops: int = 0
    removed: int = 0
    uidl: str = "none"  # were the ids, once they were listed, those of last time: "new", "same", "changed"


class Session:
    """The state is derived: AUTHORIZATION without a `maildrop`, TRANSACTION with one."""

    def __init__(self, wire: Wire, services: Services, sid: str) -> None:
        self.wire = wire
        self.services = services
        self.limits = services.limits
        self.sid = sid  # session id for the log
        self.logins = Logins(
            "pop3", sid, wire, services.runtime, services.register, services.limits.patience, services.guard
        )
        self.reader = LineReader(self._receive)
        self._deadline = 0.0  # when a command of a client that is not logged in must be there
        self.user: User | None = None
        self.account: Account | None = None
        self.maildrop: Maildrop | None = None
        self.pace = Pace(services.limits.max_commands_per_minute)
        self.logging_out = False
        self.command = ""  # the name of the one that is carried out, for metrics and log
        self.name: bytes | None = None  # the argument of USER, until PASS
        self.timestamp = b""  # of the greeting, for APOP; empty: it is not possible
        self.utf8 = False  # the UTF8 command was given, RFC 6856 2.1
        self.language = choice.DEFAULT  # RFC 6856 3.1
        self.bad_commands = 0
        self.sent = 0  # octets
        self.answering = False  # a multi-line response is on its way: an error cannot be told any more
        self.figures = Figures()
        self.transcript = Transcript()
        self.step = b""  # the command that is carried out, for the transcript
        self.tap: Tap | None = None

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        if self.tap is not None:
            self._tell(data)
        self.wire.write(data)

    def _tell(self, data: bytes) -> None:
        """Of a response with several lines only the first is written down: the others may be messages."""
        assert self.tap is not None
        self.tap.server(b"<%d octets>\r\n" % len(data) if self.answering else data)

    def ok(self, text: str) -> None:
        """Much of it is read by programs alone: what is no sentence that the language has stays as it is."""
        text = choice.known(text, self.language) or text
        self.write(b"+OK %b\r\n" % _line(text, self.language))

    def error(self, text: str, code: str = "") -> None:
        """RFC 2449 8: an extended response code stands in brackets."""
        text = choice.translated(text, self.language)
        self.write(b"-ERR %b\r\n" % _line(f"[{code}] {text}" if code else text, self.language))

    def lines(self, text: str, lines: Iterable[bytes]) -> None:
        """A multi-line response of short lines (without CRLF)."""
        self.pieces(text, _joined(lines))

    def pieces(self, text: str, pieces: Iterator[bytes]) -> None:
        """A multi-line response in pieces of whole lines (with CRLF)."""
        stuffer = DotStuffer()
        self.start_answer(text)
        for piece in pieces:
            self.write(stuffer.feed(piece))
            self.services.runtime.breathe()
        self.end_answer(stuffer)

    def start_answer(self, text: str) -> None:
        self.ok(text)
        self.answering = True

    def end_answer(self, stuffer: DotStuffer) -> None:
        self.write(stuffer.end())
        self.answering = False

    def begin(self) -> None:
        """A command may come now. Before login all of it must be there in time, or a client could drip for ever."""
        self._deadline = self.services.runtime.elapsed() + self.limits.timeout_anonymous

    def _receive(self) -> bytes:
        timeout = self.limits.timeout_pop3
        if self.maildrop is None:
            timeout = self._deadline - self.services.runtime.elapsed()
        if timeout <= 0:
            raise Disconnected("idle for too long")
        self.wire.timeout = timeout
        return self.wire.receive()

    def read_line(self) -> bytes:
        """The next line of the client. Raises BadSyntax if it is too long."""
        limits = self.limits
        return self.reader.read_line(limits.max_line if self.maildrop else limits.max_line_anonymous)


def leave(session: Session) -> None:
    """Give everything back, each even if another cannot be: the maildrop, the account, the seat. Removes no message."""
    maildrop, account, user = session.maildrop, session.account, session.user
    session.maildrop = session.account = None
    try:
        if maildrop is not None:
            maildrop.close()
    finally:
        if account is not None:
            try:
                account.close()
            finally:
                if user is not None:
                    session.logins.leave_seat(user)


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    source = iter(lines)
    while some := list(islice(source, _LINES)):
        yield b"\r\n".join(some) + b"\r\n"


def _line(text: str, language: str) -> bytes:
    """One line of at most 512 octets, whatever a text holds. RFC 2449 4; RFC 6856 3.2 has UTF-8 after LANG only."""
    if language == choice.DEFAULT:
        return text.encode("ascii", "replace").translate(None, b"\r\n")[:_MOST]
    octets = text.encode("utf-8", "replace").translate(None, b"\r\n")[:_MOST]
    return octets.decode("utf-8", "ignore").encode("utf-8")  # no character that is cut
