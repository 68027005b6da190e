"""APPEND, RFC 9051 6.3.12, with MULTIAPPEND, RFC 3502.

Messages are streamed into the mailbox's `tmp/` while they arrive (`incoming`); `run_append` makes them messages, all or
none. What a command did not use is removed when it is over, whatever happened.
"""

from dataclasses import dataclass

from greenmail.imap import grammar, text_search
from greenmail.imap.append_data import Token, Walk, is_announced
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.commands.listing import render_renamed
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import quota
from greenmail.imap.incoming import Incoming, Streamed
from greenmail.imap.response import Ok
from greenmail.imap.sequence_set import compact
from greenmail.imap.session import Session
from greenmail.storage.api import Mailbox


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """The argument of APPEND: the mailbox, what its messages are made of, and what is made of that already."""

    name: str
    tokens: tuple[Token, ...]
    incoming: Incoming | None = None  # None: no literal was streamed


def parse_append(cur: Cursor, uid: bool) -> AppendRequest:
    """append = "APPEND" SP mailbox 1*append-message — RFC 9051 9, RFC 3502 6.3.11."""
    cur.space()
    name = grammar.mailbox(cur)
    return AppendRequest(name, tuple(Walk().tokens(cur, is_whole=True)), incoming_of(cur))


def resumed(cur: Cursor) -> Incoming | None:
    """`incoming_of`, and `cur` behind that literal: what stands before it was read when it began."""
    incoming = incoming_of(cur)
    if incoming is not None:
        cur.pos = max(cur.staged)
    return incoming


def incoming_of(cur: Cursor) -> Incoming | None:
    """What is made of the text before the last literal, if there was one."""
    found = next(iter(cur.staged.values()), None)
    assert found is None or isinstance(found, Streamed)
    return None if found is None else found.incoming


def stream_message(session: Session, cur: Cursor, size: int) -> Streamed | None:
    """Where the literal at the end of the text goes; None: it is the mailbox name, or a URL."""
    incoming = resumed(cur)
    if incoming is None:
        cur.space()
        if is_announced(cur):
            return None
        incoming = Incoming(session, grammar.mailbox(cur))
    return incoming.announced(cur, size)


def run_append(session: Session, request: AppendRequest) -> Ok:
    """Make what was streamed messages, all or none, and tell their UIDs. RFC 9051 6.3.12, 7.1 APPENDUID."""
    incoming = request.incoming or Incoming(session, request.name)
    try:
        return _append(session, request, incoming)
    finally:
        incoming.abort()


def _append(session: Session, request: AppendRequest, incoming: Incoming) -> Ok:
    messages = incoming.complete(request.tokens)
    mailbox = messages[0].mailbox
    mine = incoming.granted()
    uids = mailbox.save([message.upload for message in messages])
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
