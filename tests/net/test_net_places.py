"""What NOTIFY waits for: shared by the connections of a worker, small for each, polled where events do not come."""

import os
import shutil
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from greenmail.imap.ext.notify_table import EXISTS, WATCHED, Table, Told
from greenmail.net import watch_places as module
from greenmail.net.watch import SessionWatch, Watcher
from greenmail.net.watch_places import SessionPlaces, SharedPlaces
from greenmail.runtime import Wake


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher(60.0)
    yield made
    made.close()


def box(root: Path, name: str) -> tuple[str, str, str]:
    for part in ("new", "cur"):
        (root / name / part).mkdir(parents=True)
    return tuple(str(root / name / part) for part in ("new", "cur", "greenmail.log"))


def deliver(root: Path, name: str) -> None:
    (root / "mail").write_bytes(b"x")
    os.rename(root / "mail", root / name / "new" / "1.x")


def test_an_event_wakes_everybody_who_wants_it_and_says_where(loop, watcher, tmp_path):
    shared = SharedPlaces(watcher)
    paths = {name: box(tmp_path, name) for name in ("a", "b")}
    waits = []
    for wanted in (("a", "b"), ("b",), ("a",)):
        places = SessionPlaces(shared)
        for name in wanted:
            places.add(name, paths[name])
        _, stream = loop.pair()
        waits.append((places, SessionWatch(stream, watcher, None, places)))
    waiting = [gevent.spawn(watch.wait, 30) for _, watch in waits[:2]]
    gevent.sleep(0.01)
    begun = time.monotonic()
    deliver(tmp_path, "b")
    assert [one.get(timeout=30) for one in waiting] == [Wake.CHANGED, Wake.CHANGED]
    assert time.monotonic() - begun < 5  # 0.1 s, on a machine that has nothing else to do
    assert [places.changed() for places, _ in waits] == [{"b"}, {"b"}, set()]
    assert len(shared) == 2
    for places, watch in waits:
        watch.close()
        places.close()
    assert len(shared) == 0


def test_what_happens_between_two_waits_is_not_lost(loop, watcher, tmp_path):
    places = SessionPlaces(SharedPlaces(watcher))
    places.add("a", box(tmp_path, "a"))
    deliver(tmp_path, "a")
    gevent.sleep(0.05)
    _, stream = loop.pair()
    watch = SessionWatch(stream, watcher, None, places)
    assert watch.wait(30) is Wake.CHANGED
    assert places.changed() == {"a"}
    watch.close()
    places.close()


def test_a_mailbox_that_went_and_came_back_is_watched_anew(watcher, tmp_path):
    places = SessionPlaces(SharedPlaces(watcher))
    paths = box(tmp_path, "a")
    places.add("a", paths)
    shutil.rmtree(tmp_path / "a")
    gevent.sleep(0.05)
    assert places.changed() == {"a"}
    box(tmp_path, "a")
    places.add("a", paths)
    deliver(tmp_path, "a")
    gevent.sleep(0.05)
    assert places.changed() == {"a"}
    places.close()


def test_who_is_to_look_again_is_woken_without_an_event(loop, watcher, tmp_path):
    places = SessionPlaces(SharedPlaces(watcher))
    for name in ("a", "b"):
        places.add(name, box(tmp_path, name))
    places.again("a", 0.02)
    places.again("b", 3600)
    places.again("unknown", 0)
    assert places.changed() == set()
    _, stream = loop.pair()
    watch = SessionWatch(stream, watcher, None, places)
    assert watch.wait(30) is Wake.CHANGED
    assert places.changed() == {"a"}
    assert places.look_at > time.monotonic() + 10
    places.again("b", 0)
    places.drop("b")
    assert places.changed() == set()
    watch.close()
    places.close()


def test_what_cannot_be_watched_is_looked_at_by_time(loop, monkeypatch, tmp_path):
    polling = Watcher(0.05)
    places = SessionPlaces(SharedPlaces(polling))
    places.add("gone", (str(tmp_path / "gone" / "new"), str(tmp_path / "gone" / "cur")))
    places.add("there", box(tmp_path, "there"))
    _, stream = loop.pair()
    watch = SessionWatch(stream, polling, None, places)
    assert watch.wait(30) is Wake.CHANGED
    assert places.changed() == {"gone"}
    monkeypatch.setattr(module, "SLOW_LOOK", 0.0)
    slow = SessionPlaces(SharedPlaces(polling))
    slow.add("there", box(tmp_path, "other"))
    assert slow.changed() == {"there"}  # the net under everything
    watch.close()
    polling.close()


def test_500_mailboxes_cost_a_connection_less_than_64_kib(watcher, tmp_path):
    shared = SharedPlaces(watcher)
    paths = {f"Folder{number:03}": box(tmp_path, f".Folder{number:03}") for number in range(500)}

    def connect() -> tuple[SessionPlaces, Table]:
        places, table = SessionPlaces(shared), Table()
        for number, (name, watched) in enumerate(paths.items()):
            for bit in (EXISTS, WATCHED):
                table.put(name, bit, True)
            table.identify(name, 1 << 60 | number)
            table.tell(name, Told(1_700_000_000 + number, 100_000 + number, 50_000, 30_000 + number, 1 << 50 | number))
            places.add(name, watched)
        return places, table

    kept = [connect()]  # the watches are this one's
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept += [connect() for _ in range(10)]
    each = (tracemalloc.get_traced_memory()[0] - before) / 10
    tracemalloc.stop()
    assert len(kept) == 11 and len(shared) == 500
    assert each < 64 * 1024, each
