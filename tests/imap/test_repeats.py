"""FETCH that gives what it gave before: nobody can tell it from one that makes everything anew."""

from array import array
from collections.abc import Sequence
from itertools import permutations

import pytest
from harness.engine import Engine, change_flags, deliver, memory_backend
from harness.green import Scheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.imap.repeats import LEAST
from greenmail.storage.answers import LARGEST, Answers, Room
from greenmail.storage.memory_mailbox import MemoryMailbox

MESSAGE = b"Subject: %d\r\nFrom: a@example.org\r\n\r\nbody\r\n"
DATE = 1_704_110_400

COMMANDS = (
    b"FETCH 1:* (UID FLAGS)",
    b"UID FETCH 1:* (FLAGS MODSEQ)",
    b"FETCH 3:* (FLAGS INTERNALDATE RFC822.SIZE)",
    b"FETCH 1:* (ENVELOPE FLAGS)",
    b"FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
    b"FETCH 1:* BODY[HEADER.FIELDS (SUBJECT)]",
    b"FETCH 1:* (UID FLAGS) (CHANGEDSINCE 3)",
    b"NOOP",
)

STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2), st.sampled_from(COMMANDS)),
    st.tuples(st.just("flag"), st.integers(1, 40), st.sampled_from(["+flags", "-flags"])),
    st.tuples(st.just("expunge"), st.integers(1, 40), st.just("")),
    st.tuples(st.just("deliver"), st.integers(1, 3), st.just("")),
)


def mailbox_of(made: Engine) -> MemoryMailbox:
    found = made.backend.outside.open("INBOX")
    assert isinstance(found, MemoryMailbox)
    return found


def engine() -> Engine:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    deliver(made.backend.outside, "INBOX", [(MESSAGE % number, DATE + number) for number in range(2 * LEAST)])
    return made


def run(made: Engine, steps: list[tuple[str, int, object]]) -> list[bytes]:
    """What two sessions that know mod-sequences and one that does not are told; the first has recent messages."""
    wires = [made.select(), made.select(), made.select()]
    answers = [made.talk(wire, b"e ENABLE CONDSTORE\r\n") for wire in wires[:2]]
    outside = made.backend.outside
    for kind, number, what in steps:
        match kind, what:
            case "ask", bytes():
                answers.append(made.talk(wires[number], b"a %b\r\n" % what))
            case "flag", str():
                change_flags(outside, "INBOX", [number], what, frozenset({"\\Seen" if number % 2 else "work"}))
            case "expunge", _:
                change_flags(outside, "INBOX", [number], "+flags", frozenset({"\\Deleted"}))
                outside.open("INBOX").expunge([number])
            case _:
                deliver(outside, "INBOX", [(MESSAGE % number, DATE)] * number)
    return answers


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_nobody_can_tell(steps: list[tuple[str, int, object]]) -> None:
    keeps, makes = engine(), engine()
    mailbox_of(makes).answers = None
    assert run(keeps, steps) == run(makes, steps)


@pytest.mark.parametrize("command", COMMANDS[1:5])
def test_an_answer_is_taken_from_another_session(command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine()
    made.select()  # takes the recent ones
    expected = made.talk(made.select(), b"a " + command + b"\r\n")

    def unwanted(*_: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr("greenmail.imap.commands.fetch._Fetch._answer", unwanted)
    assert made.talk(made.select(), b"a " + command + b"\r\n") == expected
    assert expected.count(b"\r\n* ") >= 2 * LEAST - 3


def test_a_change_while_it_is_made_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where save dates are looked up others may run; the flags of before are not those of the rows at the end."""
    made = engine()
    made.select()  # takes the recent ones
    look_up = MemoryMailbox.save_dates

    def meanwhile(mailbox: MemoryMailbox, uids: Sequence[int]) -> Sequence[int] | None:
        change_flags(made.backend.outside, "INBOX", [3], "+flags", frozenset({"\\Seen"}))
        return look_up(mailbox, uids)

    with monkeypatch.context() as changed:
        changed.setattr(MemoryMailbox, "save_dates", meanwhile)
        made.talk(made.select(), b"a FETCH 1:* (FLAGS SAVEDATE)\r\n")
    assert b"* 3 FETCH (FLAGS (\\Seen) " in made.talk(made.select(), b"a FETCH 1:* (FLAGS SAVEDATE)\r\n")


def test_a_save_date_that_could_not_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine()
    made.select()  # takes the recent ones
    mailbox = mailbox_of(made)
    dates = mailbox.table.dates[:]
    with monkeypatch.context() as changed:
        changed.setattr(MemoryMailbox, "save_dates", lambda mailbox, uids: [-1] * len(uids))
        mailbox.table.dates[:] = array(dates.typecode, [-1]) * len(dates)  # the disk does not answer
        assert b"SAVEDATE NIL" in made.talk(made.select(), b"a FETCH 1:* (SAVEDATE)\r\n")
    mailbox.table.dates[:] = dates
    assert b"SAVEDATE NIL" not in made.talk(made.select(), b"a FETCH 1:* (SAVEDATE)\r\n")


def test_long_data_items_are_not_kept() -> None:
    """An item is as long as its client likes, and answers are kept together with their items."""
    made = engine()
    made.select()  # takes the recent ones
    answers = mailbox_of(made).answers = Answers(Room(1 << 26))
    wire = made.select()
    for number in range(3):
        fields = b" ".join([b"subject"] * (500 + number))
        answer = made.talk(wire, b"a FETCH 1:* (BODY.PEEK[HEADER.FIELDS (%b)])\r\n" % fields)
        assert b"\r\na OK" in answer
    assert sum(len(repr(kind)) for kind in answers._shelves) < 5000


def test_the_answers_of_a_mailbox_have_their_limit() -> None:
    made = engine()
    made.select()  # takes the recent ones
    room = Room(LARGEST * 3000)
    mailbox_of(made).answers = Answers(room)
    wire = made.select()
    words = (b"UID", b"FLAGS", b"RFC822.SIZE", b"INTERNALDATE")
    most = 0
    for items in permutations(words, 3):
        for number in range(1, LEAST):
            answer = made.talk(wire, b"a FETCH %d:* (%b)\r\n" % (number, b" ".join(items)))
            assert answer.count(b"\r\n") == 2 * LEAST - number + 2
            most = max(most, room.octets)
    assert LARGEST * 2500 < most <= LARGEST * 3000
