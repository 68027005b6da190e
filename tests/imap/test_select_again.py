"""SELECT of the mailbox that is selected: nothing is looked up, and everything is as if it had been. RFC 9051 6.3.2."""

from harness.engine import Engine, deliver, memory_backend
from harness.green import Scheduler


def test_it_is_as_new_and_the_old_one_is_closed() -> None:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    outside = made.backend.outside
    outside.create("A")
    deliver(outside, "A", [(b"\r\n", 0)] * 2)
    wire = made.login()
    first = made.talk(wire, b"a SELECT A\r\n")
    assert b"* 2 EXISTS\r\n* 2 RECENT\r\n" in first and first.endswith(b"a OK [READ-WRITE] SELECT completed\r\n")
    again = made.talk(wire, b"a SELECT A\r\n")
    assert again.startswith(b"* OK [CLOSED] ") and b"* 2 EXISTS\r\n* 0 RECENT\r\n" in again  # claimed by the first
    deliver(outside, "A", [(b"\r\n", 0)])
    examined = made.talk(wire, b"a EXAMINE A\r\n")
    assert b"* 3 EXISTS\r\n* 1 RECENT\r\n" in examined
    assert examined.endswith(b"a OK [READ-ONLY] EXAMINE completed\r\n")
    assert b"* 3 EXISTS\r\n* 1 RECENT\r\n" in made.talk(wire, b"a SELECT A\r\n")
    assert made.talk(wire, b"a SEARCH RETURN (SAVE) ALL\r\n").endswith(b"completed\r\n")
    made.talk(wire, b"a SELECT A\r\n")
    assert b"FETCH (" not in made.talk(wire, b"a UID FETCH $ (UID)\r\n")  # RFC 5182 2.1


def test_one_that_is_gone_is_closed_and_not_selected() -> None:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    outside = made.backend.outside
    outside.create("A")
    wire = made.login()
    made.talk(wire, b"a SELECT A\r\n")
    outside.delete("A")
    answer = made.talk(wire, b"a SELECT A\r\n")
    assert answer.startswith(b"* OK [CLOSED] ") and b"\r\na NO [NONEXISTENT] " in answer
    assert made.talk(wire, b"a FETCH 1 UID\r\n").startswith(b"a BAD ")
    outside.create("A")
    deliver(outside, "A", [(b"\r\n", 0)])
    assert b"* 1 EXISTS\r\n" in made.talk(wire, b"a SELECT A\r\n")
