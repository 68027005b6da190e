"""The life of a session: greeting, commands one after the other, farewell.

`execute` does what all commands have in common: tag, name, state, grammar, news, completion, and the mapping of the
four exceptions to BAD and NO (`errors`). An exception that is none of them is a bug: it is logged once with its
traceback, answered `NO [SERVERBUG]`, and the connection goes on; unless it left the stream at an unknown place.
"""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from greenmail import metrics
from greenmail.auth.passage import HandOver, Passage, pass_on
from greenmail.errors import BadSyntax, Disconnected, Reason, Refused, StorageError
from greenmail.imap import framing, grammar, registry, rights, serialize
from greenmail.imap.command import Command, State
from greenmail.imap.commands.login import enter
from greenmail.imap.cursor import Cursor
from greenmail.imap.news import highestmodseq, leave_gone, report
from greenmail.imap.response import NONEXISTENT, REASON_CODES, SERVERBUG, UIDREQUIRED, Completion, Ok
from greenmail.imap.session import Session, Unfinished
from greenmail.imap.trace import answered, listen, step, trace_answer, trace_command
from greenmail.language import choice
from greenmail.runtime import Dormant

log = logging.getLogger(__name__)

# By these a client may take away the mailbox that it has selected itself.
_TAKE_AWAY = frozenset({"DELETE", "RENAME"})
_JUST_NOW = 0.002  # seconds; docs/decisions/0012-one-look-for-a-short-command.md
_OVERFLOW = b"* OK [NOTIFICATIONOVERFLOW] Internal error: nothing is told any more; use NOTIFY again.\r\n"
_SHOWN = 40  # characters of a command that nobody knows
_TEXTS = 500  # texts of tagged responses that are kept as octets ...
_LONGEST = 200  # ... if they have no more characters: clients may have chosen them


class _Answer(NamedTuple):
    """A tagged response without its tag."""

    word: str  # OK, NO or BAD
    code: bytes
    text: str

    def line(self, session: Session) -> bytes:
        """The whole of it, in the client's language: RFC 5255 3.2; which is in UTF-8 then."""
        make = _words if len(self.text) <= _LONGEST else _made_words
        words = make(self.text, session.out.language, session.utf8)
        if self.code:
            return b"%b %b [%b] %b\r\n" % (session.tag, _WORDS[self.word], self.code, words)
        return b"%b %b %b\r\n" % (session.tag, _WORDS[self.word], words)


_WORDS = {"OK": b"OK", "NO": b"NO", "BAD": b"BAD"}


def _made_words(text: str, language: str, utf8: bool) -> bytes:
    """A text for people, in English, in their language."""
    text = choice.translated(text, language)
    text = text[:1].upper() + text[1:]
    return serialize.text(text, utf8 or language != choice.DEFAULT)


_words = lru_cache(maxsize=_TEXTS)(_made_words)


class Serving:
    """The talk with one client, until one of the two has enough."""

    def __init__(self, session: Session, passage: Passage | None = None) -> None:
        """`passage`: the login was another process's, and is to be answered."""
        self._session = session
        self._passage = passage
        self._inbox = _Inbox(session)
        self._started = session.services.runtime.elapsed()
        self._is_greeted = False
        session.reader = framing.Reader(
            self._inbox.receive, session.out.status, session.limits, session.services.literal_minus
        )

    def go_on(self) -> Dormant | None:
        """Talk; None: it is over, and the caller closes the connection, whatever happened here.

        Else nothing has happened for a while: to be called again when there is something to do.
        """
        session, inbox = self._session, self._inbox
        dormant: Dormant | None = None
        reason = "logout"
        try:
            if not self._is_greeted:
                self._is_greeted = True
                _greet(session, self._passage)
            while not session.logging_out:
                if session.unfinished is None:
                    inbox.begin()
                    inbox.rest()
                if not session.logging_out:
                    _next(session)
            session.wire.flush()
        except Dormant as nothing:
            dormant, inbox.was_left = nothing.with_traceback(None), session.unfinished is None
        except Disconnected as end:
            reason = _farewell(session, inbox, end)
        except HandOver as passing:
            reason = pass_on(passing, session.wire, session.reader.take_rest)
        except Exception:
            reason = "bug"  # logged by the caller
            raise
        finally:
            if dormant is None:
                _leave(session, inbox, session.services.runtime.elapsed() - self._started, reason)
        return dormant


def _greet(session: Session, passage: Passage | None) -> None:
    log.debug("connect sid=%s rip=%s", session.sid, session.wire.peer)
    if passage is not None:
        session.is_hosted = True
        _arrive(session, passage)
    else:
        session.out.write(b"* OK [CAPABILITY %b] GreenMail ready\r\n" % registry.capabilities(session))


def _arrive(session: Session, passage: Passage) -> None:
    """Answer the login of another process; where it does not succeed there is nobody to log in here."""
    session.tag = passage.tag.encode("latin-1")
    session.out.language = passage.language
    try:
        answer = _completed(enter(session, passage.user, passage.mechanism, passage.client))
    except (Refused, StorageError) as error:
        answer = _refusal(error)
        session.logging_out = True
    _finish(session, answer)
    if session.logging_out:
        session.out.status(b"* BYE Not logged in\r\n")


class _Inbox:
    """What the client sends, counted, and within the time that the state of the session allows."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._clock = session.services.runtime.elapsed
        self._deadline = 0.0
        self._since = 0.0  # when the wait for the present command began; 0: part of it is here
        self.was_left = False  # while it waited for a command
        self.octets = 0
        self.timed_out = False

    def begin(self) -> None:
        """A command may come now. Before login all of it must be there in time, or a client could drip for ever."""
        session, now = self._session, self._clock()
        self._deadline = now + session.limits.timeout_anonymous
        is_sent_ahead = session.reader.buffered > 0
        if not self.was_left:
            self._since = 0.0 if is_sent_ahead else now
        self.was_left = False
        session.wire.may_sleep = session.account is not None and not is_sent_ahead
        if is_sent_ahead:  # thousands fit into what is received at once, and none of them waits for its octets
            session.services.runtime.breathe()

    def rest(self) -> None:
        """Tell one who has used NOTIFY what happens until the next command comes: RFC 5465 3.1."""
        session = self._session
        if session.listening is None or session.reader.buffered:
            return
        try:
            has_input = session.listening.rest(self._left(self._clock()))
        except (Disconnected, Dormant):
            raise
        except Exception:
            log.exception("bug sid=%s user=%r while nothing was asked", session.sid, _name(session))
            session.stop_listening()
            session.out.status(_OVERFLOW)
            return
        if not has_input:
            self.timed_out = True
            raise Disconnected("idle for too long")

    def _left(self, now: float) -> float:
        """Seconds that one who is logged in may still be silent."""
        return self._session.limits.timeout_authenticated - (now - self._since if self._since else 0.0)

    def receive(self) -> bytes:
        wire = self._session.wire
        now = self._clock()
        anonymous = self._session.account is None
        wire.timeout = self._deadline - now if anonymous else self._left(now)
        if wire.timeout <= 0:  # also one whose octets are always there
            self.timed_out = True
            raise Disconnected("idle for too long")
        try:
            data = wire.receive()
        except Disconnected:
            self.timed_out = self._clock() - now >= 0.99 * wire.timeout  # clocks differ a little
            raise
        self.octets += len(data)
        self._since, wire.may_sleep = 0.0, False
        return data


def _next(session: Session) -> None:
    """Read one command and answer it; or go on with one that was left while it waited."""
    if session.unfinished is not None:
        execute(session, session.unfinished.frame)
        return
    try:
        frame = session.reader.next_frame(lambda text, size, synchronizing: _begin_literal(session, text, size))
    except (Disconnected, Dormant):
        raise
    except Exception:
        # Somewhere in a literal: nobody knows where the next command begins.
        log.exception("bug sid=%s user=%r while a command arrived", session.sid, _name(session))
        session.logging_out = True
        session.out.status(b"* BYE [SERVERBUG] Internal error, please connect again.\r\n")
        return
    try:
        wait = session.pace.wait(session.services.runtime.elapsed())
        if wait:
            session.services.runtime.sleep(wait)
        execute(session, frame)
    finally:
        if frame.sinks:
            _discard(session, frame)


def _discard(session: Session, frame: framing.Frame) -> None:
    """Remove what was streamed and is of no use now; what cannot be removed is the store's to sweep up later."""
    for sink in frame.sinks:
        try:
            sink.abort()
        except Exception:
            log.exception("bug sid=%s user=%r in tidying up", session.sid, _name(session))


def _begin_literal(session: Session, text: bytes, size: int) -> framing.Sink | None:
    """Who takes a literal that is announced at the end of `text`: its command, or None for the frame itself."""
    cur = _cursor(session, text, session.reader.staged)
    grammar.tag(cur)
    cur.space()
    command, _ = _command(cur)
    _check_state(session, command)
    if command.literal is None:
        return None
    sink: framing.Sink | None = command.literal(session, cur, size)
    return sink


def execute(session: Session, frame: framing.Frame) -> None:
    """Answer one complete command."""
    started, used = time.perf_counter(), session.services.runtime.used()
    session.tag, name, shown, sent = b"*", "", b"(unknown)", session.out.octets
    unfinished, session.unfinished = session.unfinished, None
    if unfinished is not None:
        started, used, sent = unfinished.started, used - unfinished.used, unfinished.sent
    if session.services.traces.users or session.out.tap is not None:
        listen(session)
    try:
        cur = _cursor(session, frame.text, frame.staged)
        session.tag = grammar.tag(cur)
        if frame.failure is not None:
            raise frame.failure
        cur.space()
        command, uid = _command(cur)
        name = command.name
        shown = step(name, frame.text, len(session.tag) + 1)
        if unfinished is None:
            session.transcript.begin(name)
            if session.out.tap is not None:
                session.out.tap.client(session.tag + b" " + shown)
        _check_state(session, command)
        if unfinished is None:
            trace_command(session, command, cur)
        if session.uid_only:
            _check_uid_only(command.uses_seqs and not uid)
        argument = command.parse(cur, uid)
        if session.uid_only:
            _check_uid_only(cur.numbers)
        answer = _run(session, command, uid, argument, cur)
    except (BadSyntax, Refused, StorageError) as error:
        answer = _refusal(error)
    except Dormant:
        session.unfinished = Unfinished(frame, started, session.services.runtime.used() - used, sent)
        raise
    except (Disconnected, HandOver):
        raise
    except Exception:
        log.exception("bug sid=%s user=%r command=%s", session.sid, _name(session), name)
        answer = _Answer("NO", SERVERBUG.encode(), "Internal error; it was logged. Please try something else.")
    line = _finish(session, answer)
    afterwards, session.afterwards = session.afterwards, None
    if afterwards is not None:
        afterwards()
    session.figures.commands += 1
    computed = session.services.runtime.used() - used
    seconds = time.perf_counter() - started
    metrics.command("imap", name, answer.word.lower(), seconds)
    octets = _octets(frame), session.out.octets - sent
    shown += b"\0" + answered(name, answer.word, line[len(session.tag) + 1 : -2])
    session.transcript.end(seconds, computed, octets, shown)


def _octets(frame: framing.Frame) -> int:
    """Of a command, with literals that did not stay in its text."""
    octets = len(frame.text) + 2
    for place in frame.staged:  # right behind "{n}" CRLF
        octets += int(frame.text[frame.text.rfind(b"{", 0, place) + 1 : place].rstrip(b"}+\r\n"))
    return octets


def _cursor(session: Session, text: bytes, staged: Mapping[int, Any]) -> Cursor:
    return Cursor(text, staged, session.utf8, session.limits.max_depth)


def _command(cur: Cursor) -> tuple[Command, bool]:
    """The command whose name comes next, and whether "UID" stands before it."""
    name = grammar.atom(cur).upper()
    uid = name == "UID"
    if uid:
        cur.space()
        name = grammar.atom(cur).upper()
    command = registry.COMMANDS.get(name)
    if command is None or (uid and not command.uid):
        raise BadSyntax(f"unknown command {'UID ' if uid else ''}{name[:_SHOWN]}")
    return command, uid


def _check_state(session: Session, command: Command) -> None:
    state = _state(session)
    if state not in command.states:
        raise BadSyntax(f"{command.name} is not allowed now: {_wanted(command, state)}")


def _check_uid_only(has_numbers: bool) -> None:
    """RFC 9586 3: BAD for a command with message sequence numbers after ENABLE UIDONLY."""
    if has_numbers:
        raise BadSyntax("message numbers cannot be used once UIDONLY is enabled", UIDREQUIRED)


def _state(session: Session) -> State:
    """RFC 9051 3."""
    if session.account is None:
        return State.NOT_AUTHENTICATED
    return State.AUTHENTICATED if session.view is None else State.SELECTED


def _wanted(command: Command, state: State) -> str:
    if state is State.NOT_AUTHENTICATED:
        return "log in first"
    return "select a mailbox first" if State.SELECTED in command.states else "you are logged in already"


def _run(session: Session, command: Command, uid: bool, argument: object, cur: Cursor) -> _Answer:
    """Look, run, tell the news."""
    cur.end()
    view = session.view
    is_there = not command.looks or view is None or session.idling is not None or _is_there(session, command)
    if not is_there and (session.logging_out or State.AUTHENTICATED not in command.states):
        return _Answer("NO", NONEXISTENT.encode(), "the selected mailbox is gone")
    completion: Completion | None = None
    try:
        if command.needs:
            assert view is not None, "rights on a mailbox that is not selected"
            rights.require(view, command.needs)
        completion = command.run(session, argument)
        answer = _completed(completion)
        if session.listening is not None and isinstance(completion, Ok):
            session.listening.did(command.name, argument, completion.added or completion.code)
    except (Refused, StorageError) as error:
        answer = _refusal(error)
    if command.looks:
        # RFC 7162 3.2.10.2: numbers in the keys of UID SEARCH are numbers as well.
        may_expunge = (uid and not cur.numbers) or command.may_expunge
        takes_away = command.name in _TAKE_AWAY
        own = isinstance(completion, Ok) and completion.expunged
        report(session, may_expunge, takes_away and answer.word == "OK", 0.0 if takes_away else _JUST_NOW, own)
    if isinstance(completion, Ok) and completion.expunged:
        return _Answer(answer.word, completion.code or highestmodseq(session), answer.text)
    return answer


def _is_there(session: Session, command: Command) -> bool:
    """Look at the selected mailbox; False if it is gone, and the client has been told."""
    assert session.view is not None
    try:
        rights.look(session, session.view)
    except StorageError as error:
        if error.reason is Reason.GONE:
            leave_gone(session)
            return False
        if State.AUTHENTICATED not in command.states:
            raise
    return True


def _completed(completion: Completion) -> _Answer:
    return _Answer("OK" if isinstance(completion, Ok) else "NO", completion.code, completion.text)


def _refusal(error: BadSyntax | Refused | StorageError) -> _Answer:
    """conventions: BadSyntax is BAD, the others NO; reasons of the store have their codes in one table."""
    if isinstance(error, StorageError):
        return _Answer("NO", REASON_CODES[error.reason].encode(), error.text)
    return _Answer("BAD" if isinstance(error, BadSyntax) else "NO", error.code.encode(), error.text)


def _finish(session: Session, answer: _Answer) -> bytes:
    """Write the tagged response, which is given back, and BYE to one who has sent nothing but nonsense for long."""
    line = answer.line(session)
    trace_answer(session, line)
    session.out.write(line)
    session.bad_commands = session.bad_commands + 1 if answer.word == "BAD" else 0
    if session.bad_commands >= session.limits.max_bad_commands and not session.logging_out:
        log.warning("too many bad commands sid=%s user=%r rip=%s", session.sid, _name(session), session.wire.peer)
        metrics.refused("imap", "bad-commands")
        session.logging_out = True
        session.out.status(b"* BYE Too many bad commands.\r\n")
    return line


def _farewell(session: Session, inbox: _Inbox, end: Disconnected) -> str:
    """Why the connection ends, for the log; the client is told if it was slow, and gets what was written before."""
    try:
        if inbox.timed_out:
            session.out.status(b"* BYE Autologout: nothing was heard from you for too long.\r\n")
        session.wire.flush()
    except Disconnected:
        return end.text
    return "autologout" if inbox.timed_out else end.text


def _leave(session: Session, inbox: _Inbox, seconds: float, reason: str) -> None:
    """Give everything back. No client is written to any more."""
    user = session.user
    session.leave()
    if user is None:
        log.debug("disconnect sid=%s rip=%s reason=%r", session.sid, session.wire.peer, reason)
        return
    figures = session.figures
    log.info(
        "logout sid=%s user=%r rip=%s commands=%d in=%d out=%d seconds=%.1f fetched=%d appended=%d expunged=%d"
        " reason=%r",
        session.sid, user.name, session.wire.peer, figures.commands, inbox.octets, session.out.octets, seconds,
        figures.fetched, figures.appended, figures.expunged, reason,
    )  # fmt: skip


def _name(session: Session) -> str:
    return session.user.name if session.user else ""
