"""SEARCH, SORT and THREAD that give what they gave before: nobody can tell it from those that work it out anew."""

from itertools import count

import pytest
from harness.engine import Engine, change_flags, deliver, memory_backend
from harness.green import Scheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.imap.results import LONGEST, PLACES
from greenmail.storage.answers import Answers, Room
from greenmail.storage.memory_mailbox import MemoryMailbox

MESSAGE = (
    b"Subject: %d\r\nFrom: %c@example.org\r\nDate: %d Jan 2024 00:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\n"
    b"In-Reply-To: <%d@example.org>\r\n\r\nbody\r\n"
)
DATE = 1_704_110_400
KEPT = (
    b"SEARCH FROM a",
    b"UID SEARCH FROM a",
    b"SEARCH FROM a UNSEEN",
    b"SEARCH 1:3 BODY body",
    b"SEARCH OR SUBJECT 1 NOT SINCE 3-Jan-2024",
    b"UID SORT (REVERSE FROM DATE) UTF-8 ALL",
    b"SORT (FROM) UTF-8 UNSEEN",
    b"SORT (SUBJECT) UTF-8 UNSEEN",
    b"THREAD REFERENCES UTF-8 ALL",
    b"UID THREAD REFERENCES UTF-8 UNSEEN",
    b"THREAD ORDEREDSUBJECT UTF-8 ALL",
)
NOT_KEPT = (
    b"SEARCH RECENT FROM a",
    b"SEARCH $ FROM a",
    b"SEARCH MODSEQ 3 FROM a",
    b"SEARCH YOUNGER 5000 FROM a",
    b"SORT (FROM) UTF-8 OLD",
    b"SEARCH RETURN (SAVE) FROM b",
)
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2), st.sampled_from((*KEPT, *NOT_KEPT, b"NOOP"))),
    st.tuples(st.just("flag"), st.integers(1, 12), st.sampled_from(["+flags", "-flags"])),
    st.tuples(st.just("expunge"), st.integers(1, 12), st.just("")),
    st.tuples(st.just("deliver"), st.integers(1, 3), st.just("")),
)


def message(number: int) -> bytes:
    return MESSAGE % (number % 4, b"ab"[number % 2], 1 + number % 9, number, number - number % 3)


def mailbox_of(made: Engine) -> MemoryMailbox:
    found = made.backend.outside.open("INBOX")
    assert isinstance(found, MemoryMailbox)
    return found


def engine() -> Engine:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    deliver(made.backend.outside, "INBOX", [(message(number), DATE + number) for number in range(8)])
    return made


def run(made: Engine, steps: list[tuple[str, int, object]]) -> list[bytes]:
    """What three sessions are told; the first has recent messages."""
    wires = [made.select(), made.select(), made.select()]
    outside = made.backend.outside
    answers = []
    for kind, number, what in steps:
        match kind, what:
            case "ask", bytes():
                answers.append(made.talk(wires[number], b"a %b\r\n" % what))
            case "flag", str():
                change_flags(outside, "INBOX", [number], what, frozenset({"\\Seen"}))
            case "expunge", _:
                change_flags(outside, "INBOX", [number], "+flags", frozenset({"\\Deleted"}))
                outside.open("INBOX").expunge([number])
            case _:
                deliver(outside, "INBOX", [(message(number), DATE)] * number)
    return answers


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_nobody_can_tell(steps: list[tuple[str, int, object]]) -> None:
    keeps, makes = engine(), engine()
    mailbox_of(makes).answers = None
    assert run(keeps, steps) == run(makes, steps)


@pytest.mark.parametrize("command", KEPT)
def test_a_result_is_taken_from_another_session(command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine()
    expected = made.talk(made.select(), b"a " + command + b"\r\n")

    def unwanted(*_: object) -> None:
        raise AssertionError("worked out anew")

    monkeypatch.setattr("greenmail.imap.search_run.Search._evaluate", unwanted)
    assert made.talk(made.select(), b"a " + command + b"\r\n") == expected


@pytest.mark.parametrize("command", NOT_KEPT[:-1])
def test_what_is_not_of_the_messages_is_worked_out_anew(command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine()
    wire = made.select()
    made.talk(wire, b"a SEARCH RETURN (SAVE) 1:2\r\n")
    made.talk(wire, b"a " + command + b"\r\n")
    asked = count()
    monkeypatch.setattr("greenmail.imap.search_run.Search._evaluate", lambda self, key, uids: [next(asked)][:0])
    made.talk(wire, b"a " + command + b"\r\n")
    assert next(asked)


def test_a_change_while_it_runs_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages that were sorted are not those that are there at the end."""
    made = engine()
    wire = made.select()
    outside = made.backend.outside
    from greenmail.imap.ext import sort  # not at the top: only here something of it is replaced

    order = sort._order

    def meanwhile(*args: object) -> list[int]:
        change_flags(outside, "INBOX", [3], "+flags", frozenset({"\\Seen"}))
        return order(*args)  # type: ignore[arg-type]  # handed through as they came

    with monkeypatch.context() as changed:
        changed.setattr(sort, "_order", meanwhile)
        made.talk(wire, b"a SORT (FROM) UTF-8 UNSEEN\r\n")
    shelf = mailbox_of(made).answers
    assert shelf is not None
    kept = [entry.made_of[0] for entry in shelf.shelf("results").entries.values()]
    assert not [question for question in kept if b"Criterion" in question]


@pytest.mark.parametrize(
    "command", [b"SEARCH LARGER 150", b"SORT (SIZE) UTF-8 ALL", b"THREAD REFERENCES UTF-8 SMALLER 150"]
)
def test_a_size_that_is_set_right_counts(command: bytes) -> None:
    """A name told a wrong one, which shows when the message is opened; nothing else changes then."""
    made = engine()
    wire = made.select()
    first = made.talk(wire, b"a %b\r\n" % command)
    mailbox_of(made).table.sizes[2] = 1000
    assert made.talk(wire, b"a %b\r\n" % command) != first


def test_threads_of_messages_without_a_time_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no Date field, and the disk does not answer; a moment later it does."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    deliver(made.backend.outside, "INBOX", [(b"Subject: %d\r\n\r\n" % number, DATE - number) for number in range(3)])
    wire = made.select()
    with monkeypatch.context() as changed:
        changed.setattr("greenmail.imap.ext.thread.dates_of", lambda mailbox, uids: [-1] * len(uids))
        assert b"* THREAD (1)(2)(3)" in made.talk(wire, b"a THREAD REFERENCES UTF-8 ALL\r\n")
    assert b"* THREAD (3)(2)(1)" in made.talk(wire, b"a THREAD REFERENCES UTF-8 ALL\r\n")


def test_few_questions_do_not_push_each_other_out() -> None:
    made = engine()
    answers = mailbox_of(made).answers = Answers(Room(1 << 26))
    wire = made.select()
    for number in range(PLACES):
        made.talk(wire, b"a SEARCH SUBJECT word%d\r\nb SEARCH KEYWORD word%d\r\n" % (number, number))
    assert len(answers.shelf("results").entries) == len(answers.shelf("marks").entries) == PLACES


def test_there_are_not_too_many_and_none_is_too_long() -> None:
    made = engine()
    answers = mailbox_of(made).answers = Answers(Room(1 << 26))
    wire = made.select()
    for number in range(3 * PLACES):
        made.talk(wire, b"a SEARCH SUBJECT word%d\r\nb SEARCH KEYWORD word%d\r\n" % (number, number))
    assert len(answers.shelf("results").entries) == len(answers.shelf("marks").entries) == PLACES
    made.talk(wire, b'a SEARCH SUBJECT "%b"\r\n' % (b"x" * LONGEST))
    assert all(len(entry.made_of[0]) <= LONGEST for entry in answers.shelf("results").entries.values())
