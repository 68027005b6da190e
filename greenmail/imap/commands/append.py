"""APPEND, RFC 9051 6.3.12, with MULTIAPPEND, RFC 3502.

Messages are streamed into the mailbox's `tmp/` while they arrive (`stream_message`); `run_append` makes them messages,
all or none. What a command did not use is removed when it is over, whatever happened.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from greenmail.errors import Refused
from greenmail.imap import grammar, rights, text_search
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.commands.listing import render_renamed
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import date_time
from greenmail.imap.ext import quota
from greenmail.imap.ext.binary import BinaryUpload
from greenmail.imap.ext.utf8_accept import HeaderCheck, header_check
from greenmail.imap.response import NONEXISTENT, TOOBIG, Ok
from greenmail.imap.sequence_set import compact
from greenmail.imap.session import Session
from greenmail.storage.api import Flags, Mailbox, Upload

Freed = Callable[[str], tuple[int, int]]

_ANNOUNCED = re.compile(rb"(~?)\{[0-9]++\+?\}\r\n")  # to the end of the text: the literal that is being announced


class Streamed:
    """A message on its way: the sink of its literal, and afterwards what the command finds in its place."""

    def __init__(
        self,
        name: str,
        number: int,
        mailbox: Mailbox,
        upload: Upload,
        binary: BinaryUpload | None,
        check: HeaderCheck | None,
    ) -> None:
        self.name = name
        self.number = number  # in its command, from 1
        self.mailbox = mailbox
        self.upload = upload
        self._binary = binary  # of a literal8
        self._check = check
        self._is_open = True

    def write(self, data: bytes) -> None:
        if self._check is not None:
            self._check.feed(data)
        (self._binary or self.upload).write(data)

    def finish(self) -> "Streamed":
        if self._check is not None:
            self._check.end()
        if self._binary is not None:
            self._binary.finish()
        return self

    def abort(self) -> None:
        """Remove it, unless it was saved; and give back the mailbox."""
        if self._is_open:
            self._is_open = False
            if self._binary is not None:
                self._binary.abort()
            try:
                self.upload.abort()
            finally:
                self.mailbox.close()


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """The argument of APPEND."""

    name: str
    messages: tuple[Streamed, ...]


def parse_append(cur: Cursor, uid: bool) -> AppendRequest:
    """append = "APPEND" SP mailbox 1*append-message — RFC 9051 9, RFC 3502 6.3.11."""
    cur.space()
    name = grammar.mailbox(cur)
    messages: list[Streamed] = []
    while not cur.at_end() or not messages:
        append_opts(cur)
        found = grammar.staged_literal(cur)
        assert isinstance(found, Streamed)
        messages.append(found)
    return AppendRequest(name, tuple(messages))


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


def stream_message(session: Session, cur: Cursor, size: int) -> Streamed | None:
    """Where the literal at the end of the text goes; None: it is the mailbox name."""
    if cur.staged:  # what stands before the last message was looked at when that began
        cur.pos = max(cur.staged)
        previous: Streamed = cur.staged[cur.pos]
        name, number = previous.name, previous.number + 1
    else:
        cur.space()
        if is_announced(cur):
            return None
        name, number = grammar.mailbox(cur), 1
    return begin_message(session, cur, size, name, number)


def begin_message(
    session: Session, cur: Cursor, size: int, name: str, number: int = 1, freed: Freed | None = None
) -> Streamed:
    """What takes the literal of an append-message, which is announced behind the mailbox name `name`.

    `freed(name)`: what goes in exchange for it, see `api.Mailbox.upload`.
    """
    flags, date = append_opts(cur)
    announced = _ANNOUNCED.fullmatch(cur.text, cur.pos)
    if announced is None:
        raise cur.wrong("expected a message as a literal")
    if size > session.limits.max_request_size:
        raise Refused(f"a message may have {session.limits.max_request_size} octets at most", TOOBIG)
    if size == 0:  # RFC 3502 6.3.11: so a client cancels
        raise Refused("a message without any octet is not taken; nothing was appended")
    mailbox, _, mine = rights.open_target(session, name)
    with ExitStack() as undo:
        undo.callback(mailbox.close)
        upload = mailbox.upload(freed(name) if freed is not None else (0, 0))
        undo.pop_all()
    upload.flags, upload.date = rights.settable(mine, flags), date  # RFC 4314 4: the others are not refused, but lost
    binary = BinaryUpload(session, upload) if announced[1] else None
    return Streamed(name, number, mailbox, upload, binary, header_check(session))


def run_append(session: Session, request: AppendRequest) -> Ok:
    """Make what was streamed messages, all or none, and tell their UIDs. RFC 9051 6.3.12, 7.1 APPENDUID."""
    mailbox = request.messages[0].mailbox
    if any(message.mailbox is not mailbox for message in request.messages):
        raise Refused("the mailbox was replaced meanwhile; nothing was appended", NONEXISTENT)
    mine = rights.granted(session, request.name, "i")  # a message may be on its way for long
    uids = mailbox.save([message.upload for message in request.messages])
    session.figures.appended += len(uids)
    text_search.changed(session, mailbox)
    quota.warn(session, mailbox.name)
    tell_normalized(session, mailbox, request.name)
    code = b"APPENDUID %d %b" % (mailbox.uidvalidity, compact(uids))
    # Who may not SELECT the mailbox learns nothing of it: RFC 4315 3.
    return Ok("APPEND completed", code if "r" in mine else b"")


def tell_normalized(session: Session, mailbox: Mailbox, given: str) -> None:
    """RFC 9051 6.3.12: the name of the mailbox, if it is not the one that the client gave."""
    if session.rev2 and mailbox.name != given:
        session.out.write(render_renamed(session, mailbox.name, given))


APPEND = Command("APPEND", states=AUTHENTICATED, parse=parse_append, run=run_append, literal=stream_message)

FEATURE: Feature = Feature("append", commands=(APPEND,), capabilities=(Capability("MULTIAPPEND", always),))
