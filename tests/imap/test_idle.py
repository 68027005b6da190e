"""IDLE when what it waits for goes in its midst; its signs of life."""

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.wire import MemoryWatch

from greenmail.imap.commands import idle


def waits_are_counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each wait, whether its watch was open and of a mailbox."""
    waits: list[bool] = []
    wait = MemoryWatch.wait

    def counted(watch: MemoryWatch, timeout: float) -> object:
        assert watch in watch._wire.watches, "waits on what was closed"
        waits.append(watch._cancel is not None)
        return wait(watch, timeout)

    monkeypatch.setattr(MemoryWatch, "wait", counted)
    return waits


@pytest.mark.parametrize("command", [b"", b"b IDLE\r\n"])
def test_notify_that_ends_by_itself(command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    waits_are_counted(monkeypatch)
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler), max_notify_mailboxes=2)
    wire = made.login()
    made.talk(wire, b"a NOTIFY SET (personal (MessageNew MessageExpunge))\r\n" + command)
    made.talk(made.login(), b"x CREATE a\r\ny CREATE b\r\nz CREATE c\r\n")
    assert b"NOTIFICATIONOVERFLOW" in wire.take()
    answer = made.talk(wire, b"DONE\r\n" if command else b"c NOOP\r\n")
    assert b" OK " in answer and b"SERVERBUG" not in answer


@pytest.mark.parametrize("notify", [b"", b"n NOTIFY SET (selected (MessageNew MessageExpunge))\r\n"])
@pytest.mark.parametrize("command", [b"", b"b IDLE\r\n"])
def test_a_mailbox_that_goes_is_not_waited_for(notify: bytes, command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox counts who waits for it: one who has given his reference back must not be among them."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    made.fill("box", 1)
    wire = made.login()
    made.talk(wire, b"e ENABLE IMAP4rev2\r\ns SELECT box\r\n" + notify)
    waits = waits_are_counted(monkeypatch)
    made.talk(wire, command)
    before = len(waits)
    made.backend.outside.delete("box")
    made.talk(wire, b"" if command or notify else b"c NOOP\r\n")
    assert not any(waits[before:]), waits
    assert b" OK " in made.talk(wire, b"DONE\r\n" if command else b"d NOOP\r\n")


@pytest.mark.parametrize("command", [b"b IDLE\r\n", b"a NOOP\r\nb IDLE\r\n"])
def test_time_in_idle_is_none_in_which_nothing_was_asked(command: bytes) -> None:
    """Also where IDLE came together with another command, and nothing had to be waited for."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler), timeout_authenticated=100.0, timeout_idle=1000.0)
    wire = made.login()
    assert made.talk(wire, command).endswith(b"+ idling\r\n")
    scheduler.clock.advance(500.0)
    assert made.talk(wire, b"DONE\r\n").endswith(b"b OK IDLE completed\r\n")
    scheduler.clock.advance(99.0)
    assert made.talk(wire, b"c NOOP\r\n").endswith(b"c OK NOOP completed\r\n")
    scheduler.clock.advance(101.0)
    assert made.talk(wire, b"").startswith(b"* BYE ")


def test_signs_of_life_of_one_second_are_sent_together() -> None:
    """Each alone would find the processor's caches cold. None is later than the setting says, nor much sooner."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    made.login()
    (session,) = made.sessions
    for _ in range(100):
        scheduler.clock.advance(0.13)
        due = idle._next_keepalive(session)
        assert due % 1 == 0 and 120 * 0.8 - 1 <= due - scheduler.clock.now() <= 120
