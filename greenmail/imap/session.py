"""One client's protocol state, and what the shell hands to every session."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from greenmail.auth.api import Authenticator, User
from greenmail.auth.logins import Guard, Logins, NoGuard, Patience, Register
from greenmail.auth.passage import Carrier
from greenmail.imap.date_time import InternalDates
from greenmail.imap.listening import EVERYTHING, Listening, Wanted
from greenmail.imap.progress import Progress
from greenmail.imap.view import View
from greenmail.language import choice
from greenmail.message.collation import DEFAULT, Comparator
from greenmail.pace import Pace
from greenmail.runtime import Runtime, Wire
from greenmail.storage.api import Account
from greenmail.storage.text_index import FullText
from greenmail.transcript import Tap, Traces, Transcript


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of an IMAP session; octets and seconds. Named as the settings are."""

    max_line: int = 65536
    max_line_anonymous: int = 8192
    max_command_size: int = 1 << 20
    max_request_size: int = 52428800
    max_drain: int = 52428800 + (1 << 20)  # octets of refused literals that are read and thrown away before BYE
    max_append_messages: int = 1000  # in one command: each is a file in tmp/ until the last has come
    max_metadata_size: int = 16384  # of one annotation: RFC 5464 4.1
    max_metadata_entries: int = 100  # annotations of one mailbox
    min_uid_batch_size: int = 500  # messages: RFC 10022 3.1.3.2
    max_uid_batches: int = 10000  # in one answer of UIDBATCHES
    message_limit: int = 1_000_000  # of one command, RFC 9738 3; 0: none
    save_limit: int = 1_000_000  # of one COPY or APPEND; 0: none
    max_search_contexts: int = 10  # of one selected mailbox, RFC 5267 4.3.1
    max_notify_mailboxes: int = 2000  # of one connection, RFC 5465 5.8
    max_depth: int = 50  # of parentheses in a command
    max_bad_commands: int = 20  # BADs in a row before BYE
    max_commands_per_minute: int = 0  # 0: any number
    patience: Patience = field(default_factory=Patience)
    timeout_anonymous: float = 60.0
    timeout_authenticated: float = 1800.0
    timeout_idle: float = 1800.0
    idle_keepalive: float = 120.0
    progress_interval: float = 10.0  # between two signs of a long command, RFC 9585 4; 0: none

    @property
    def savable(self) -> int:
        """Messages in one COPY or APPEND by RFC 9738 3; 0: any number."""
        return min(filter(None, (self.message_limit, self.save_limit)), default=0)


class Others(Protocol):
    """The other users of this server, for what one of them has authorized: RFC 4467."""

    def find(self, name: str) -> User | None:
        """A user who might log in; None: there is no such user, or he may not. Raises UNAVAILABLE."""

    def account(self, user: User) -> Account | None:
        """His account, to be given back; None: he has no mail here. Raises StorageError."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker's IMAP sessions share."""

    runtime: Runtime
    authenticator: Authenticator
    open_account: Callable[[User], Account]
    register: Register
    guard: Guard = field(default_factory=NoGuard)
    carrier: Carrier | None = None  # to processes of the mail's owners
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    limits: Limits = field(default_factory=Limits)
    literal_minus: bool = False  # LITERAL- instead of LITERAL+: RFC 7888 5
    utf8_accept: bool = False  # UTF8=ACCEPT is offered, and 8-bit headers are refused from others: RFC 9755 4
    full_text: FullText | None = None
    time_zone: str = ""  # name for zoneinfo; empty: the system's
    condstore: bool = True  # False with `coexistence: dovecot`: two servers cannot share one mod-sequence
    server_comment: str = ""  # /shared/comment of the server, RFC 5464 3.2.1.1; empty: none
    server_admin: str = ""  # /shared/admin, a URI
    shared_filters: Mapping[str, str] = field(default_factory=dict)  # name in lower case -> criteria, RFC 5466 3.2
    quota_set_by: str = "masters"  # who may use SETQUOTA: nobody, masters, owners
    preferred_language: str = choice.DEFAULT  # what LANGUAGE "default" means, RFC 5255 3.2
    jmap_url: str = ""  # JMAPACCESS, RFC 9698; empty: no such server
    server_id: Mapping[str, str] = field(default_factory=dict)  # the answer to ID, RFC 2971 3.3
    normalize: Callable[[str], str] = str  # a user name as `username-format` and `default-domain` make it
    traces: Traces = field(default_factory=Traces)  # users whose sessions are written down
    url_hosts: tuple[str, ...] = ()  # names of this server in IMAP URLs, in lower case; none: no URLAUTH
    submit_users: tuple[str, ...] = ()  # who fetches URLs for message submission, RFC 4467 3
    others: Others | None = None
    # By whether there is a login: what `registry.capabilities` has found to follow from all this.
    capabilities: dict[bool, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False)


class Idling(Protocol):
    """An IDLE that is carried out: its watch, and its times."""

    def close(self) -> None:
        """It is over."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A command that was left while it waited (`runtime.Dormant`): it is carried out again, and goes on."""

    frame: Any  # framing.Frame
    started: float  # by the clock of `execute`
    used: float  # seconds of work for it up to then
    sent: int  # octets to the client before it


_STATUS = re.compile(rb"(\* (?:OK|NO|BAD|BYE) (?:\[[^\r\n]*?\] )?)([^\r\n]*)\r\n")


class Out:
    """Where untagged responses go: the wire, with a count for the log, and whoever listens.

    `language` is that of what people read there, RFC 5255 3.2.
    """

    __slots__ = ("_wire", "language", "octets", "tap")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.octets = 0
        self.tap: Tap | None = None
        self.language = choice.DEFAULT

    def said(self, line: bytes) -> bytes:
        """An untagged OK, NO, BAD or BYE with its English text in the client's language; any other line as it is."""
        found = None if self.language == choice.DEFAULT else _STATUS.fullmatch(line)
        if found is None:
            return line
        text = choice.translated(found[2].decode("utf-8", "replace"), self.language)
        return b"%b%b\r\n" % (found[1], text.encode("utf-8", "replace"))

    def status(self, line: bytes) -> None:
        """Write one line, as it is `said`."""
        self.write(self.said(line))

    def write(self, data: bytes) -> None:
        """Gather `data`; may send, let others run, and raise Disconnected."""
        self.octets += len(data)
        if self.tap is not None:
            self.tap.server(data)
        self._wire.write(data)


class Session:
    """Connection state is derived from `account`, `view` and `logging_out`, RFC 9051 3; it is stored nowhere else."""

    def __init__(self, wire: Wire, services: Services, sid: str) -> None:
        self.wire = wire
        self.out = Out(wire)  # untagged responses go here: session.out.write(bytes)
        self.services = services
        self.limits = services.limits
        self.sid = sid  # session id for the log
        self.logins = Logins(
            "imap", sid, wire, services.runtime, services.register, services.limits.patience, services.guard
        )
        self.is_hosted = False  # the login was another process's
        self.account: Account | None = None
        self.user: User | None = None
        self.view: View | None = None
        self.pace = Pace(services.limits.max_commands_per_minute)
        self.logging_out = False
        self.enabled: set[str] = set()  # upper case: "IMAP4REV2", "CONDSTORE", ...
        self.saved: list[int] | None = None  # SEARCHRES: UIDs of "$", RFC 5182 2.1
        self.tag = b""  # of the command that is running: `execute` sets it, ESEARCH repeats it
        self.unfinished: Unfinished | None = None  # a command that was left while it waited
        self.idling: Idling | None = None  # where it was, if it is IDLE
        self.bad_commands = 0
        self.afterwards: Callable[[], None] | None = None  # to be done behind the tagged response: STARTTLS
        self.listening: Listening | None = None  # NOTIFY was used: RFC 5465 3.1
        self.reader: Any = None  # this connection's framing.Reader; IDLE and AUTHENTICATE read from it
        self.internal_dates = InternalDates(services.time_zone)
        self.client_id: Mapping[str, str | None] = {}
        self.figures = Figures()
        self.transcript = Transcript()
        self.comparator: Comparator = DEFAULT  # the active one, RFC 5255 4.2
        self.progress: Progress | None = None  # of the command that is working, where it may be told: RFC 9585

    @property
    def rev2(self) -> bool:
        """ENABLE IMAP4rev2 was given: RFC 9051 6.3.1 and Appendix E."""
        return "IMAP4REV2" in self.enabled

    @property
    def utf8(self) -> bool:
        """Mailbox names and quoted strings are UTF-8: RFC 9051 5.1 after ENABLE, RFC 9755 3."""
        return "IMAP4REV2" in self.enabled or "UTF8=ACCEPT" in self.enabled

    @property
    def uid_only(self) -> bool:
        """ENABLE UIDONLY was given: no message sequence number is told or taken, RFC 9586 3."""
        return "UIDONLY" in self.enabled

    @property
    def fetch_opening(self) -> bytes:
        """How the answer of FETCH begins; the number is the sequence number, or the UID after ENABLE UIDONLY."""
        return b"* %d UIDFETCH (" if self.uid_only else b"* %d FETCH ("

    @property
    def wanted(self) -> Wanted:
        """What of the selected mailbox is told unasked."""
        return EVERYTHING if self.listening is None else self.listening.wanted

    def deselect(self) -> None:
        """No mailbox is selected any more; the result of the last SEARCH means nothing then. RFC 5182 2.1."""
        view = self.unselect()
        if view is not None:
            view.mailbox.close()

    def unselect(self) -> View | None:
        """`deselect` without the end of it: what was selected, whose mailbox is the caller's to close."""
        view, self.view, self.saved = self.view, None, None
        return view

    def stop_listening(self) -> None:
        """As if NOTIFY had not been used."""
        listening, self.listening = self.listening, None
        if listening is not None:
            listening.close()

    def leave(self) -> None:
        """Give back all that was the user's, each thing even if another cannot be. No client is written to."""
        user, account = self.user, self.account
        try:
            self.deselect()
        finally:
            self.stop_listening()
            idling, self.idling, self.unfinished = self.idling, None, None
            if idling is not None:
                idling.close()
            if user is not None:
                self.transcript.user = user.name
            self.user = self.account = None
            self.comparator, self.out.language = DEFAULT, choice.DEFAULT  # RFC 8437 4
            self.enabled.clear()
            if self.reader is not None:
                self.reader.authenticated = False
            if user is not None and account is not None:
                try:
                    account.close()
                finally:
                    self.logins.leave_seat(user)

    def blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one piece of long work in the pool."""
        return self.services.runtime.blocking(function, *args)

    def breathe(self) -> None:
        self.services.runtime.breathe()
        if self.progress is not None:
            self.progress.look()

    def processed(self, messages: int) -> None:
        """So many messages more were processed by the command."""
        if self.progress is not None:
            self.progress.done += messages


@dataclass(slots=True)
class Figures:
    """What the logout line of the log says."""

    commands: int = 0
    fetched: int = 0
    appended: int = 0
    expunged: int = 0
