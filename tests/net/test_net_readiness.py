"""One timer for all waits of a connection: each ends when it should, whatever the one before it was."""

import socket
import time
from collections.abc import Iterator

import gevent
import pytest

from greenmail.net.readiness import READ, WRITE, Readiness
from greenmail.net.work import Clock
from greenmail.runtime import Wake


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Readiness, int]]:
    ours, theirs = socket.socketpair()
    readiness = Readiness(ours.fileno(), Clock())
    yield theirs, readiness, ours.fileno()
    readiness.close()
    assert readiness.is_closed
    ours.close()
    theirs.close()


def test_a_wait_ends_in_its_own_time(pair: tuple[socket.socket, Readiness, int]) -> None:
    theirs, readiness, number = pair
    assert readiness.wait(WRITE, 5.0, number) is Wake.INPUT  # the timer of this one goes on
    for seconds in (0.002, 0.03, 0.01):  # sooner, later, sooner
        before = time.monotonic()
        assert readiness.wait(READ, seconds, number) is Wake.TIMEOUT
        assert seconds <= time.monotonic() - before < 5.0
    assert readiness.wait(READ, 0.0, number) is Wake.TIMEOUT
    gevent.spawn(theirs.send, b"x")
    assert readiness.wait(READ, 5.0, number) is Wake.INPUT


def test_a_timer_of_an_old_wait_does_not_end_a_later_one(pair: tuple[socket.socket, Readiness, int]) -> None:
    theirs, readiness, number = pair
    assert readiness.wait(WRITE, 0.01, number) is Wake.INPUT
    gevent.spawn_later(0.03, theirs.send, b"x")
    assert readiness.wait(READ, 5.0, number) is Wake.INPUT


def test_who_is_interrupted_is_told_so_and_nobody_else(pair: tuple[socket.socket, Readiness, int]) -> None:
    _, readiness, number = pair
    assert readiness.interrupt() is False
    waiting = gevent.spawn(readiness.wait, READ, 5.0, number)
    gevent.sleep(0)
    assert readiness.interrupt() is True
    assert waiting.get(timeout=5) is Wake.CHANGED
    assert readiness.wait(READ, 0.001, number) is Wake.TIMEOUT
