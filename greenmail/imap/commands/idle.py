"""IDLE, RFC 9051 6.3.13, RFC 2177."""

import random

from greenmail import metrics
from greenmail.errors import BadSyntax
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.news import report
from greenmail.imap.response import Completion, No, Ok
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.runtime import Wake, Watch

_LEAST_KEEPALIVE = 0.8  # of `idle-keepalive`: or all clients that connected at once would be written to at once


def parse_idle(cur: Cursor, uid: bool) -> None:
    """idle = "IDLE" CRLF "DONE" — RFC 9051 9."""


def run_idle(session: Session, argument: None) -> Completion:
    """Tell news as they come, EXPUNGE included, until DONE. The watch begins before the first look: none is missed."""
    watching = _Watching(session)
    watching.watch()
    metrics.idle(1)
    try:
        session.out.write(b"+ idling\r\n")
        return _until_done(session, watching)
    finally:
        metrics.idle(-1)
        watching.close()


class _Watching:
    """The watch of what is selected, which may go in the midst of IDLE."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._view: View | None = None
        self._watch: Watch | None = None

    def watch(self) -> Watch:
        """That of now. RFC 5465 4: with NOTIFY the same is told in IDLE."""
        session = self._session
        if session.listening is not None:
            return session.listening.watch()
        if self._watch is None or self._view is not session.view:
            self.close()
            self._view = session.view
            self._watch = session.wire.watch(session.view.mailbox if session.view is not None else None)
        return self._watch

    def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()


def _until_done(session: Session, watching: _Watching) -> Completion:
    now, limits = session.services.runtime.now, session.limits
    end = now() + limits.timeout_idle
    keepalive = _next_keepalive(session)
    while True:
        report(session, may_expunge=True)
        if session.listening is not None and not session.logging_out:
            session.listening.tell()
        if session.logging_out:
            return No("IDLE ended: the mailbox is gone")
        line = b""
        watch, seconds = watching.watch(), max(0.0, min(end, keepalive) - now())
        if session.reader.buffered or watch.wait(seconds) is Wake.INPUT:
            line = session.reader.read_line()
        if line:
            break
        if now() >= end:
            session.logging_out = True
            session.out.status(b"* BYE Autologout: IDLE for too long.\r\n")
            return No("IDLE ended: nothing was heard from you for too long")
        if now() >= keepalive:
            session.out.status(b"* OK Still here\r\n")
            keepalive = _next_keepalive(session)
    if line.upper() != b"DONE":
        raise BadSyntax("expected DONE")
    return Ok("IDLE completed")


def _next_keepalive(session: Session) -> float:
    """So that NAT boxes and clients see that the connection lives."""
    factor = random.uniform(_LEAST_KEEPALIVE, 1.0)  # nothing secret
    return session.services.runtime.now() + session.limits.idle_keepalive * factor


IDLE = Command("IDLE", states=AUTHENTICATED, parse=parse_idle, run=run_idle)

FEATURE: Feature = Feature("idle", commands=(IDLE,), capabilities=(Capability("IDLE", always),))
