"""Of many sessions that wait for news of one mailbox, one looks; and all, should that one not come to it."""

import time

import gevent
import pytest
from net.test_net_watch import Box

from greenmail.net import watch as module
from greenmail.net.lookout import PATIENCE
from greenmail.net.watch import GATHER, Watcher
from greenmail.runtime import Wake


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box")


@pytest.fixture
def waiting(box, watching):
    """Three sessions that wait for news of the box: their watches, and the green threads with the ends of the waits."""
    watcher = Watcher(60.0)
    watches = [watching(box, watcher)[1] for _ in range(3)]
    waits = [gevent.spawn(watch.wait, 30) for watch in watches]
    gevent.sleep(0.01)
    yield watches, waits
    gevent.killall(waits)
    watcher.close()


def test_one_looks_for_all(box, waiting):
    watches, waits = waiting
    box.deliver()
    (first,) = gevent.wait(waits, timeout=30, count=1)
    looker = watches[waits.index(first)]
    assert first.get() is Wake.CHANGED
    assert not box.was_looked_at(looker.news_age), "he has to look himself"
    box.look()
    assert box.was_looked_at(looker.news_age)
    gevent.sleep(2 * PATIENCE)
    assert [wait.dead for wait in waits].count(True) == 1


def test_what_he_finds_the_mailbox_tells_the_others_who_need_not_look(box, waiting):
    watches, waits = waiting
    box.deliver()
    gevent.wait(waits, timeout=30, count=1)
    box.look()
    for notify in box.subscribers:
        notify()
    assert [wait.get(timeout=30) for wait in waits] == [Wake.CHANGED] * 3
    assert all(box.was_looked_at(watch.news_age) for watch in watches)


def test_all_look_if_he_does_not(box, waiting):
    watches, waits = waiting
    begun = time.monotonic()
    box.deliver()
    assert [wait.get(timeout=30) for wait in waits] == [Wake.CHANGED] * 3
    assert time.monotonic() - begun >= PATIENCE
    assert not any(box.was_looked_at(watch.news_age) for watch in watches)


def test_what_happens_while_one_looks_is_looked_at_by_another(box, waiting):
    watches, waits = waiting
    box.deliver("1.a.b")
    (first,) = gevent.wait(waits, timeout=30, count=1)
    box.look()
    box.deliver("2.a.b")
    others = [wait for wait in waits if wait is not first]
    (second,) = gevent.wait(others, timeout=30, count=1)
    assert not box.was_looked_at(watches[waits.index(second)].news_age)


def test_all_look_if_the_next_one_does_not(box, waiting):
    """Also where it happens before it was made sure that the first one has looked."""
    _, waits = waiting
    box.deliver("1.a.b")
    (first,) = gevent.wait(waits, timeout=30, count=1)
    box.look()
    box.deliver("2.a.b")
    assert [wait.get(timeout=10) for wait in waits if wait is not first] == [Wake.CHANGED] * 2


def test_who_does_something_else_is_not_waited_for(box, watching):
    watcher = Watcher(60.0)
    (_, busy), (_, other) = watching(box, watcher), watching(box, watcher)
    wait = gevent.spawn(other.wait, 30)
    gevent.sleep(0.01)
    box.deliver()
    assert wait.get(timeout=PATIENCE) is Wake.CHANGED
    box.look()
    gevent.sleep(2 * PATIENCE)
    assert busy.wait(0.0) is Wake.TIMEOUT, "the other one has looked"
    watcher.close()


def test_nobody_waits_and_all_are_told_when_they_do(box, watching):
    watcher = Watcher(60.0)
    watches = [watching(box, watcher)[1] for _ in range(2)]
    box.deliver()
    gevent.sleep(4 * GATHER)
    assert [watch.wait(1.0) for watch in watches] == [Wake.CHANGED] * 2
    watcher.close()


@pytest.mark.parametrize("why", ["slow look", "unsure"])
def test_a_timed_look_is_a_look(box, watching, monkeypatch, why):
    """News of long ago are no reason not to look when it is time to: what no event told of may be there."""
    if why == "unsure":
        box.seconds = 0.05
    else:
        monkeypatch.setattr(module, "SLOW_LOOK", 0.05)
    _, watch = watching(box)
    box.look()
    assert watch.wait(30) is Wake.CHANGED
    assert watch.news_age == 0.0
