"""The protocol in the log, at level `trace`: no passwords, no SASL data, no octets of messages. Conventions 9."""

import logging
import re

from greenmail.imap.command import Command
from greenmail.imap.cursor import Cursor
from greenmail.imap.session import Session

log = logging.getLogger(__name__)

TRACE = 5  # below logging.DEBUG
_SECRET = frozenset({"LOGIN", "AUTHENTICATE"})
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
