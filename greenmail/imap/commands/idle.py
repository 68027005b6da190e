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
from greenmail.runtime import Dormant, Wake, Watch

_STILL_HERE = b"* OK Still here\r\n"
_EARLY = 0.1  # seconds: clocks differ
_LEAST_KEEPALIVE = 0.8  # of `idle-keepalive`: or all clients that connected at once would be written to at once
_TOGETHER = 1.0  # seconds: who is due in the same one is written to with the others, which halves the CPU


def parse_idle(cur: Cursor, uid: bool) -> None:
    """idle = "IDLE" CRLF "DONE" — RFC 9051 9."""


def run_idle(session: Session, argument: None) -> Completion:
    """Tell news as they come, EXPUNGE included, until DONE. The watch begins before the first look: none is missed.

    Carried out again after it was left while it waited, it goes on there.
    """
    idling, session.idling = session.idling, None
    is_new = not isinstance(idling, _Idling)
    if not isinstance(idling, _Idling):
        idling = _Idling(session)
    try:
        if is_new:
            session.out.write(b"+ idling\r\n")
        return _until_done(session, idling, is_new)
    except Dormant as nothing:
        session.idling = idling
        nothing.sign = idling.sign
        raise
    finally:
        if session.idling is None:
            idling.close()


class _Idling:
    """The watch of what is selected, which may go in the midst of IDLE; and when this is to end."""

    __slots__ = ("_session", "_view", "_watch", "end", "keepalive")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._view: View | None = None
        self._watch: Watch | None = None
        self.end = session.services.runtime.elapsed() + session.limits.timeout_idle
        self.keepalive = _next_keepalive(session)
        self.watch()
        metrics.idle(1)

    def watch(self) -> Watch:
        """That of now. RFC 5465 4: with NOTIFY the same is told in IDLE."""
        session = self._session
        if session.listening is not None:
            return session.listening.watch()
        if self._watch is None or self._view is not session.view:
            self._end_watch()
            self._view = session.view
            self._watch = session.wire.watch(session.view.mailbox if session.view is not None else None)
        return self._watch

    def wait(self) -> Wake:
        """Until there is something to do. Raises Dormant, too."""
        seconds = max(0.0, min(self.end, self.keepalive) - self._session.services.runtime.elapsed())
        wire, watch = self._session.wire, self.watch()
        wire.may_sleep = True
        wake = watch.wait(seconds)
        wire.may_sleep = False
        return wake

    def sign(self) -> tuple[bytes, float] | None:
        """As of `Dormant`."""
        session, watch = self._session, self._watch
        now = session.services.runtime.elapsed()
        if watch is None or now >= self.end or session.out.tap is not None:
            return None
        is_look_due, is_sign_due = watch.looks_in() <= _EARLY, now >= self.keepalive - _EARLY
        if not (is_look_due or is_sign_due) or (is_look_due and not watch.has_looked()):
            return None
        line = b""
        if is_sign_due:
            line = session.out.said(_STILL_HERE)
            self.keepalive = _next_keepalive(session)
            session.out.octets += len(line)
        return line, max(0.0, min(watch.looks_in(), self.end - now, self.keepalive - now))

    def close(self) -> None:
        """It is over."""
        metrics.idle(-1)
        self._end_watch()

    def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()


def _until_done(session: Session, idling: _Idling, looks: bool) -> Completion:
    """`looks`: the client may not know yet what there is; else it was told, and IDLE waits."""
    now = session.services.runtime.elapsed
    news_age = 0.0
    while True:
        if looks:
            report(session, may_expunge=True, news_age=news_age)
            if session.listening is not None and not session.logging_out:
                session.listening.tell()
            if session.logging_out:
                return No("IDLE ended: the mailbox is gone")
        line = b""
        watch = idling.watch()
        wake = Wake.INPUT if session.reader.buffered else idling.wait()
        if wake is Wake.INPUT:
            line = session.reader.read_line()
        looks, news_age = wake is not Wake.TIMEOUT, watch.news_age
        if line:
            break
        if now() >= idling.end:
            session.logging_out = True
            session.out.status(b"* BYE Autologout: IDLE for too long.\r\n")
            return No("IDLE ended: nothing was heard from you for too long")
        if now() >= idling.keepalive:
            session.out.status(_STILL_HERE)
            idling.keepalive = _next_keepalive(session)
    if line.upper() != b"DONE":
        raise BadSyntax("expected DONE")
    return Ok("IDLE completed")


def _next_keepalive(session: Session) -> float:
    """So that NAT boxes and clients see that the connection lives."""
    factor = random.uniform(_LEAST_KEEPALIVE, 1.0)  # nothing secret
    now, seconds = session.services.runtime.elapsed(), session.limits.idle_keepalive * factor
    due = now + seconds
    return due - due % _TOGETHER if seconds > 2 * _TOGETHER else due


IDLE = Command("IDLE", states=AUTHENTICATED, parse=parse_idle, run=run_idle)

FEATURE: Feature = Feature("idle", commands=(IDLE,), capabilities=(Capability("IDLE", always),))
