"""INPROGRESS, RFC 9585: what a client is told while a command works, and what not."""

import re
from dataclasses import replace

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.response_grammar import responses
from harness.wire import MemoryWire

from greenmail.imap.progress import Progress
from greenmail.imap.session import Session

LINE = re.compile(rb'\* OK \[INPROGRESS \((NIL|"[^"]*") ([0-9]+) ([0-9]+)\)\] ')
MESSAGES = 100


def slow_engine(breath: float, **settings: object) -> tuple[Engine, MemoryWire]:
    """A client with a mailbox, where every breath of a command takes that many seconds."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler), **settings)
    engine.fill("INBOX", MESSAGES)
    wire = engine.select()
    session = engine.sessions[0]
    session.services = replace(
        session.services, runtime=replace(session.services.runtime, breathe=lambda: scheduler.clock.advance(breath))
    )
    return engine, wire


@pytest.mark.parametrize(
    "command, answer",
    [
        (b"SEARCH TEXT nowhere", b"* SEARCH\r\n"),
        (b"UID SEARCH RETURN (COUNT) BODY nowhere", b'* ESEARCH (TAG "A001") UID COUNT 0\r\n'),
        (b"SORT (SUBJECT) UTF-8 BODY nowhere", b"* SORT\r\n"),
        (b"THREAD REFERENCES UTF-8 BODY nowhere", b"* THREAD\r\n"),
        (b"ESEARCH IN (PERSONAL) BODY nowhere", b""),
    ],
)
def test_a_long_command_tells_how_far_it_is(command: bytes, answer: bytes) -> None:
    """RFC 9585 4: the tag, growing numbers below the goal, before the answer; and nothing behind the tag."""
    engine, wire = slow_engine(6.0)
    octets = engine.talk(wire, b"A001 %b\r\n" % command)
    told, _, rest = octets.partition(answer + b"A001 OK")
    responses(told)
    lines = told.splitlines()
    steps = [found.groups() for found in map(LINE.match, lines) if found]
    assert len(steps) == len(lines) >= 2
    numbers = [int(done) for _, done, _ in steps]
    assert {(tag, goal) for tag, _, goal in steps} == {(b'"A001"', b"%d" % MESSAGES)}
    assert numbers == sorted(numbers) and 0 < numbers[-1] < MESSAGES
    assert b"INPROGRESS" not in rest
    assert b"INPROGRESS" not in engine.talk(wire, b"A002 FETCH 1:* (BODY.PEEK[])\r\n")


@pytest.mark.parametrize("command", [b"STORE 1:* +FLAGS.SILENT (\\Deleted)", b"UID EXPUNGE 1:*", b"EXPUNGE"])
def test_long_changes_tell_how_far_they_are(command: bytes) -> None:
    """RFC 9585 4: also STORE and EXPUNGE, whose work is done in pieces."""
    engine, wire = slow_engine(12.0)
    engine.fill("INBOX", 2000)
    engine.talk(wire, b"A000 NOOP\r\n")
    if b"EXPUNGE" in command:
        engine.talk(wire, b"A000 STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n")
    told = engine.talk(wire, b"A001 %b\r\n" % command)
    responses(told)
    steps = [found.groups() for found in map(LINE.match, told.splitlines()) if found]
    assert {(tag, goal) for tag, _, goal in steps} == {(b'"A001"', b"2100")}
    numbers = [int(done) for _, done, _ in steps]
    assert numbers == sorted(set(numbers)) and len(numbers) >= 2 and numbers[-1] < 2100
    assert told.rindex(b"INPROGRESS") < (told.index(b" EXPUNGE\r\n") if b"EXPUNGE" in command else len(told))
    assert b"A001 OK" in told


@pytest.mark.parametrize("step", [1e6, -1e6])
def test_the_clock_may_be_set_meanwhile(step: float) -> None:
    """That changes nothing of what is told, and when."""
    answers = []
    for shift in (0.0, step):
        engine, wire = slow_engine(6.0)
        session = engine.sessions[0]

        def now(engine: Engine = engine, session: Session = session, shift: float = shift) -> float:
            return engine.scheduler.clock.now() + (shift if session.progress is not None else 0.0)

        runtime = replace(session.services.runtime, now=now)
        session.services = replace(session.services, runtime=runtime)
        answers.append(engine.talk(wire, b"A001 SEARCH TEXT nowhere\r\n"))
    assert answers[0] == answers[1] and b"INPROGRESS" in answers[0]


def test_a_quick_command_tells_nothing() -> None:
    engine, wire = slow_engine(0.01)
    assert b"INPROGRESS" not in engine.talk(wire, b"A001 SEARCH TEXT nowhere\r\n")


def test_there_may_be_none() -> None:
    """`progress-interval: 0`"""
    engine, wire = slow_engine(60.0, progress_interval=0)
    assert b"INPROGRESS" not in engine.talk(wire, b"A001 SEARCH TEXT nowhere\r\nA002 CAPABILITY\r\n")


def test_it_is_advertised() -> None:
    engine, wire = slow_engine(0.0)
    assert b" INPROGRESS " in engine.talk(wire, b"A001 CAPABILITY\r\n")


def test_a_tag_with_a_bracket_is_nil() -> None:
    """RFC 9585 4"""
    engine, wire = slow_engine(6.0)
    octets = engine.talk(wire, b"A]1 SEARCH TEXT nowhere\r\n")
    assert b"* OK [INPROGRESS (NIL " in octets
    responses(octets)


def test_it_is_sent_at_once() -> None:
    """The client need not wait for the answer, or it would have nothing of it."""
    engine, wire = slow_engine(6.0)
    before: list[bytes] = []
    session = engine.sessions[0]
    breathe = session.services.runtime.breathe

    def breathing() -> None:
        breathe()
        before.append(wire.take())

    session.services = replace(session.services, runtime=replace(session.services.runtime, breathe=breathing))
    engine.talk(wire, b"A001 SEARCH TEXT nowhere\r\n")
    assert b"INPROGRESS" in b"".join(before)


def test_the_interval_is_kept() -> None:
    """RFC 9585 4: every so many seconds, and not behind that; the goal is never reached."""
    told: list[bytes] = []
    time = [0.0]
    progress = Progress(b"a", 3, 10.0, lambda: time[0], told.append)
    for second, done in [(9.9, 1), (10.0, 2), (19.9, 2), (20.0, 3), (45.0, 7)]:
        time[0], progress.done = second, done
        progress.look()
    assert told == [b'* OK [INPROGRESS ("a" 2 3)] Processed 66% of the messages\r\n'] * 3


def test_nothing_to_be_processed_is_no_goal() -> None:
    """RFC 9585 4: a goal is positive."""
    told: list[bytes] = []
    time = [0.0]
    progress = Progress(b"a", 0, 10.0, lambda: time[0], told.append)
    time[0] = 10.0
    progress.look()
    assert told == [b'* OK [INPROGRESS ("a" NIL NIL)] Still working\r\n']
