"""The protocol for administrators: no passwords, no SASL data, no octets of messages. Conventions 9.

It goes to the log at level `trace`, to the transcript of each session, and to the file of a user who is traced.
"""

import logging
import re

from greenmail.imap.command import Command
from greenmail.imap.cursor import Cursor
from greenmail.imap.session import Session
from greenmail.transcript import MOST_TEXT, Tap

log = logging.getLogger(__name__)

TRACE = 5  # below logging.DEBUG
# URLs of URLAUTH have tokens in them, and annotations may be anything: RFC 4467 9, RFC 5464 7.
_SECRET = frozenset({"LOGIN", "AUTHENTICATE", "SETMETADATA", "URLFETCH", "GENURLAUTH"})
_LITERAL = re.compile(rb"\{[0-9]++\+?\}\r\n")
_MOST = 500  # octets of a command


def trace_command(session: Session, command: Command, cur: Cursor) -> None:
    """A command that came, cut off at its first literal; of one with a password only the name."""
    if log.isEnabledFor(TRACE):
        text = b" ..." if command.name in _SECRET else _LITERAL.split(cur.text[cur.pos :], maxsplit=1)[0][:_MOST]
        log.log(TRACE, "command sid=%s tag=%r name=%s arguments=%r", session.sid, session.tag, command.name, text)


def trace_answer(session: Session, line: bytes) -> None:
    """A tagged response, with the octets that were sent up to here."""
    if log.isEnabledFor(TRACE):
        log.log(TRACE, "answer sid=%s line=%r sent=%d", session.sid, line.rstrip(), session.out.octets)


def step(name: str, text: bytes, start: int) -> bytes:
    """A command, whose name begins at `start`, for the transcript, shortened; of one with a secret only the name."""
    if name in _SECRET:
        return name.encode() + b" ..."
    shown = text[start : start + MOST_TEXT]
    end = shown.find(b"\r\n")  # behind it are the octets of a literal
    return shown if end < 0 else shown[:end] + b" ..."


def answered(name: str, word: str, line: bytes) -> bytes:
    """A tagged response without its tag, for the transcript; one to a command with a secret may repeat it.

    And what nobody knows may be a password: of a LOGIN without its tag, say.
    """
    return word.encode() if not name or name in _SECRET else line[:MOST_TEXT]


def listen(session: Session) -> None:
    """Have the session of a user who is traced written down, from this command on."""
    user, traces = session.user, session.services.traces
    session.out.tap = traces.tap(session.out.tap, user.name, session.sid, Tap) if user is not None else None
