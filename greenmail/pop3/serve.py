"""The life of one connection: read a line, answer it, count it; at the end give everything back."""

import logging

from greenmail import metrics
from greenmail.auth.passage import HandOver, Passage, pass_on
from greenmail.errors import BadSyntax, Disconnected, Refused, StorageError
from greenmail.pop3.commands import execute
from greenmail.pop3.login import enter, greet
from greenmail.pop3.session import REASON_CODES, SYS_TEMP, Session, leave
from greenmail.transcript import Tap

log = logging.getLogger(__name__)


def run(session: Session, passage: Passage | None = None) -> None:
    """Greet, and answer until the client quits or is gone. Closing the connection is the caller's part.

    `passage`: the login was another process's, and is to be answered.
    """
    began = session.services.runtime.elapsed()
    reason = "quit"
    try:
        if passage is None:
            greet(session)
        else:
            _arrive(session, passage)
        while not session.logging_out:
            _serve_one(session)
            session.services.runtime.breathe()  # thousands of commands fit into what is received at once
        session.wire.flush()
    except HandOver as passing:
        reason = pass_on(passing, session.wire, session.reader.take_rest)
    except Disconnected as end:
        # RFC 1939 3: at an autologout the server closes the connection without a word, and removes nothing.
        reason = end.text
    except Exception:
        log.exception("bug sid=%s user=%r command=%s", session.sid, _name(session), session.command)
        reason = "bug"
        _apologize(session)
    finally:
        try:
            leave(session)
        finally:
            _log_end(session, began, reason)


def _arrive(session: Session, passage: Passage) -> None:
    """Answer the login of another process; where it does not succeed there is nobody to log in here."""
    session.language, session.utf8 = passage.language, passage.utf8
    try:
        enter(session, passage.user, passage.mechanism)
    except Refused as refusal:
        session.error(refusal.text, refusal.code)
    except StorageError as error:
        session.error(error.text, REASON_CODES[error.reason])
    session.logging_out = session.maildrop is None


def _serve_one(session: Session) -> None:
    """Read one line, answer it, count it."""
    now, used = session.services.runtime.elapsed, session.services.runtime.used
    began, before = now(), used()
    sent, received = session.sent, 0
    result, bad = "err", False
    session.command, session.step = "", b"(unknown)"
    session.begin()
    try:
        line = session.read_line()
        began, before, received = now(), used(), len(line) + 2
        _listen(session)
        wait = session.pace.wait(began)
        if wait:
            session.services.runtime.sleep(wait)
        execute(session, line)
        result = "ok"
    except BadSyntax as nonsense:
        bad = True
        session.error(nonsense.text, nonsense.code)
    except Refused as refusal:
        session.error(refusal.text, refusal.code)
    except StorageError as error:
        if session.answering:
            log.error("answer cut short sid=%s user=%r text=%r", session.sid, _name(session), error.text)
            raise Disconnected("store failed in the middle of an answer") from error
        session.error(error.text, REASON_CODES[error.reason])
    session.figures.commands += 1
    session.bad_commands = session.bad_commands + 1 if bad else 0
    seconds = now() - began
    metrics.command("pop3", session.command, result, seconds)
    octets = received, session.sent - sent
    answer = b"+OK" if result == "ok" else b"-ERR"
    session.transcript.end(seconds, used() - before, octets, session.step + b"\0" + answer)
    if session.bad_commands >= session.limits.max_bad_commands:
        log.warning("too many bad commands sid=%s user=%r rip=%s", session.sid, _name(session), session.wire.peer)
        metrics.refused("pop3", "bad-commands")
        session.logging_out = True


def _listen(session: Session) -> None:
    """Have the session of a user who is traced written down, from this command on."""
    traces = session.services.traces
    if session.tap is None and not traces.users:
        return
    session.tap = traces.tap(session.tap, session.user.name, session.sid, Tap) if session.user is not None else None


def _apologize(session: Session) -> None:
    """The last word after a bug, if there can be one."""
    try:
        if not session.answering:
            session.error("Internal error, please try again later", SYS_TEMP)
        session.wire.flush()
    except Disconnected as end:
        log.debug("disconnect sid=%s reason=%r", session.sid, end.text)


def _name(session: Session) -> str:
    return session.user.name if session.user else ""


def _log_end(session: Session, began: float, reason: str) -> None:
    if session.user is None:
        log.debug("disconnect sid=%s rip=%s reason=%r", session.sid, session.wire.peer, reason)
        return
    figures = session.figures
    log.info(
        "logout sid=%s user=%r rip=%s commands=%d in=%d out=%d seconds=%.1f retr=%d retr_octets=%d top=%d removed=%d"
        " uidl=%s reason=%r",
        session.sid, session.user.name, session.wire.peer, figures.commands, session.reader.received, session.sent,
        session.services.runtime.elapsed() - began, figures.retrieved, figures.retrieved_octets, figures.tops,
        figures.removed, figures.uidl, reason,
    )  # fmt: skip
