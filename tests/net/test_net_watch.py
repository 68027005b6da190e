"""News: events, own changes, time, and what happens when events do not come."""

import errno
import os
import time
from pathlib import Path

import gevent
import pytest

from greenmail.net import watch as module
from greenmail.net.watch import GATHER, SLOW_LOOK, TOGETHER, Watcher
from greenmail.runtime import Wake
from greenmail.storage.mounts import Mount


class Box:
    """As much of a `storage.api.Mailbox` as a watch asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("new", "cur", "tmp"):
            (root / name).mkdir(parents=True)
        self.journal = root / "greenmail.log"
        self.subscribers = []
        self.seconds = float("inf")
        self.rested = []
        self.looked = float("-inf")

    def resting(self, is_resting: bool) -> None:
        self.rested.append(is_resting)

    def unsure(self) -> float:
        return self.seconds

    def look(self) -> None:
        self.looked = time.monotonic()

    def is_unchanged(self) -> bool:
        return False

    def was_looked_at(self, age: float) -> bool:
        return time.monotonic() - self.looked < age

    def watched(self) -> tuple[str, ...]:
        return (str(self.root / "new"), str(self.root / "cur"), str(self.journal))

    def subscribe(self, notify):
        self.subscribers.append(notify)
        return lambda: self.subscribers.remove(notify)

    def deliver(self, name: str = "1.a.b") -> None:
        (self.root / "tmp" / name).write_bytes(b"x")
        os.rename(self.root / "tmp" / name, self.root / "new" / name)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


def link_in(box: Box) -> None:
    (box.root / "tmp" / "2.a.b").write_bytes(b"x")
    os.link(box.root / "tmp" / "2.a.b", box.root / "new" / "2.a.b")


def change_flags(box: Box) -> None:
    os.rename(box.root / "cur" / "0.a.b:2,", box.root / "cur" / "0.a.b:2,S")


def expunge(box: Box) -> None:
    os.unlink(box.root / "cur" / "0.a.b:2,")


def write_journal(box: Box) -> None:
    with box.journal.open("ab") as file:
        file.write(b"record")


def replace_journal(box: Box) -> None:
    other = box.root / "tmp" / "journal"
    other.write_bytes(b"")
    os.rename(other, box.journal)


@pytest.mark.parametrize("happen", [Box.deliver, link_in, change_flags, expunge, write_journal, replace_journal])
def test_a_change_by_others_ends_the_wait_soon(box, watching, happen):
    (box.root / "cur" / "0.a.b:2,").write_bytes(b"x")
    box.journal.write_bytes(b"")
    held = box.journal.open("rb")  # as a worker that has the mailbox open
    _, watch = watching(box)
    waiting = gevent.spawn(watch.wait, 30)
    gevent.sleep(0.01)
    begun = time.monotonic()
    happen(box)
    assert waiting.get(timeout=30) is Wake.CHANGED
    assert time.monotonic() - begun < 5  # 20 ms and some 100 µs, on a machine that has nothing else to do
    assert watch.wait(0.05) is Wake.TIMEOUT
    held.close()


def test_half_of_all_deliveries_are_told_within_60_ms(box, watching):
    _, watch = watching(box)
    took = []
    for number in range(15):
        waiting = gevent.spawn(watch.wait, 30)
        gevent.sleep(0.005)
        begun = time.monotonic()
        box.deliver(f"{number}.a.b")
        assert waiting.get(timeout=30) is Wake.CHANGED
        took.append(time.monotonic() - begun)
    assert sorted(took)[len(took) // 2] < 0.06


def test_many_events_are_one_piece_of_news(box, watching):
    _, watch = watching(box)
    waiting = gevent.spawn(watch.wait, 30)
    gevent.sleep(0.01)
    for number in range(50):
        box.deliver(f"{number}.a.b")
    assert waiting.get(timeout=30) is Wake.CHANGED
    assert watch.wait(3 * GATHER) is Wake.TIMEOUT


def test_what_happens_between_two_waits_is_told_by_the_second(box, watching):
    _, watch = watching(box)
    box.deliver()
    assert watch.wait(30) is Wake.CHANGED


def test_a_change_of_this_worker_ends_the_wait(box, watching):
    _, watch = watching(box)
    waiting = gevent.spawn(watch.wait, 30)
    gevent.sleep(0.01)
    for notify in box.subscribers:
        notify()
    assert waiting.get(timeout=30) is Wake.CHANGED


def test_the_client_ends_the_wait_even_if_there_is_news(box, watching):
    client, watch = watching(box)
    client.sendall(b"DONE\r\n")
    gevent.sleep(0.01)
    box.deliver()
    assert watch.wait(30) is Wake.INPUT
    assert watch.wait(30) is Wake.INPUT  # until it is received


def test_a_wait_for_nothing_but_the_client(watching):
    client, watch = watching(None)
    assert watch.wait(0.02) is Wake.TIMEOUT
    client.sendall(b"DONE\r\n")
    assert watch.wait(30) is Wake.INPUT


def test_who_waits_rests(box, watching):
    _, watch = watching(box)
    assert not box.rested
    assert watch.wait(0.05) is Wake.TIMEOUT
    assert box.rested == [True, False]


def test_a_journal_that_is_made_later_is_watched_from_the_next_wait_on(box, watching):
    _, watch = watching(box)
    box.journal.write_bytes(b"")
    assert watch.wait(0.05) is Wake.TIMEOUT
    write_journal(box)
    assert watch.wait(30) is Wake.CHANGED


def test_a_journal_that_was_replaced_is_watched_anew(box, watching):
    box.journal.write_bytes(b"")
    _, watch = watching(box)
    replace_journal(box)
    assert watch.wait(30) is Wake.CHANGED
    write_journal(box)
    assert watch.wait(30) is Wake.CHANGED


def test_a_directory_that_was_deleted_and_made_again_is_watched_anew(box, watching):
    _, watch = watching(box)
    (box.root / "new").rmdir()
    assert watch.wait(30) is Wake.CHANGED
    (box.root / "new").mkdir()
    watch.wait(0.05)
    box.deliver()
    assert watch.wait(30) is Wake.CHANGED


def test_two_sessions_share_a_watch_and_both_hear(box, watching):
    watcher = Watcher(60)
    _, first = watching(box, watcher)
    _, second = watching(box, watcher)
    assert watcher._watches == 2
    first.close()
    assert watcher._watches == 2
    box.deliver()
    assert second.wait(30) is Wake.CHANGED
    second.close()
    assert watcher._watches == 0
    assert box.subscribers == []
    watcher.close()


def test_nobody_hears_of_what_nobody_watches_any_more(box, watching):
    watcher = Watcher(60)
    _, watch = watching(box, watcher)
    watch.close()
    watch.close()
    box.deliver()
    gevent.sleep(0.05)
    assert not watcher.marked
    watcher.close()


def test_an_overflow_makes_everybody_look(tmp_path, watching, caplog):
    """The kernel reports it once for the whole descriptor; watchdog hands it to every callback."""
    watcher = Watcher(60)
    boxes = [Box(tmp_path / str(number)) for number in range(3)]
    watches = [watching(box, watcher)[1] for box in boxes]
    for path in list(watcher._paths.values()):
        path.on_queue_overflow()
    assert [watch.wait(30) for watch in watches] == [Wake.CHANGED] * 3
    assert caplog.text.count("reason=overflow") == 1
    for watch in watches:
        watch.close()
    watcher.close()


class Refusing:
    """An inotify descriptor without room."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add_callback(self, *args):
        if self.number == errno.EACCES:
            return -1  # watchdog 7.1 tells this one so
        raise OSError(self.number, os.strerror(self.number))

    def remove_callbacks(self, callbacks) -> None:
        pass


@pytest.mark.parametrize("number, reason", [(errno.ENOSPC, "limit"), (errno.EACCES, "error"), (errno.EIO, "error")])
def test_without_a_watch_the_mailbox_is_polled_and_the_log_says_so_once(box, watching, caplog, number, reason):
    watcher = Watcher(0.05)
    real, watcher._fd = watcher._fd, Refusing(number)
    _, watch = watching(box, watcher)
    assert watcher._polled == 1
    assert watch.wait(30) is Wake.CHANGED  # nothing happened: it was time to look
    box.deliver()
    assert watch.wait(30) is Wake.CHANGED
    assert caplog.text.count("watch-fallback") == 1
    assert f"reason={reason}" in caplog.text
    watch.close()
    assert watcher._polled == 0
    watcher._fd = real
    watcher.close()


def test_timed_looks_that_are_due_in_one_second_come_together(box, watching):
    """Of thousands of mailboxes; not of those that are polled, which a file server has to be asked about."""
    watcher = Watcher(15.0)
    _, watch = watching(box, watcher)
    assert SLOW_LOOK * 0.8 - 2 * TOGETHER < watch.looks_in() <= SLOW_LOOK
    assert watch._look_at % TOGETHER == 0.0
    watch.close()
    real, watcher._fd = watcher._fd, Refusing(errno.ENOSPC)
    polled = [watching(box, watcher)[1] for _ in range(5)]
    assert any(watch._look_at % TOGETHER for watch in polled)
    for watch in polled:
        watch.close()
    watcher._fd = real
    watcher.close()


def test_when_there_is_room_again_the_polling_ends(box, watching):
    watcher = Watcher(0.02)
    real, watcher._fd = watcher._fd, Refusing(errno.ENOSPC)
    _, watch = watching(box, watcher)
    watcher._fd = real
    assert watch.wait(30) is Wake.CHANGED  # armed at the beginning of this wait, which ends by time for the last time
    assert watcher._polled == 0
    assert watch.wait(0.1) is Wake.TIMEOUT
    box.deliver()
    assert watch.wait(30) is Wake.CHANGED
    watch.close()
    watcher.close()


def test_without_any_inotify_instance_everything_is_polled(box, watching, monkeypatch, caplog):
    def no_instance(failed) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(module, "Inotify", no_instance)
    _, watch = watching(box, poll_interval=0.05)
    assert watch.wait(30) is Wake.CHANGED
    assert "max_user_instances" in caplog.text


def test_a_network_file_system_is_watched_and_polled(box, tmp_path, watching, monkeypatch, caplog):
    other = Box(tmp_path / "other")
    monkeypatch.setattr(module, "mount_at", lambda path: Mount("nfs4", "/mail"))
    watcher = Watcher(0.2)
    _, watch = watching(box, watcher)
    _, second = watching(other, watcher)
    waiting = gevent.spawn(watch.wait, 30)
    gevent.sleep(0.01)
    begun = time.monotonic()
    box.deliver()
    assert waiting.get(timeout=30) is Wake.CHANGED
    first = time.monotonic() - begun
    assert watch.wait(30) is Wake.CHANGED  # by time
    assert first < 5
    assert caplog.text.count("degraded what=no-events file_system=nfs4") == 1
    watch.close()
    second.close()
    watcher.close()


def test_what_no_event_can_tell_is_looked_at_when_it_can_be_told(box, watching):
    _, watch = watching(box)
    box.seconds = 0.1
    begun = time.monotonic()
    assert watch.wait(30) is Wake.CHANGED
    assert time.monotonic() - begun < 5
    box.seconds = float("inf")
    assert watch.wait(0.1) is Wake.TIMEOUT


def test_one_session_looks_for_all(box, watching):
    _, watch = watching(box)
    box.seconds = 0.1
    waiting = gevent.spawn(watch.wait, 0.6)
    gevent.sleep(0.01)
    box.seconds = float("inf")  # another session has looked
    assert waiting.get(timeout=30) is Wake.TIMEOUT


def test_when_events_cannot_be_read_any_more_everything_is_polled(box, watching, caplog):
    watcher = Watcher(0.05)
    _, watch = watching(box, watcher)
    assert watcher._watches == 2
    watcher._broken(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert watch.wait(30) is Wake.CHANGED  # at once: what happened until now may not have been told
    assert not watcher.working
    assert watcher._watches == 0
    assert watch.wait(30) is Wake.CHANGED  # by time
    assert watcher._polled == 1
    assert caplog.text.count("watch-fallback reason=error") == 1
    assert "every mailbox is polled until `greenmail reload`" in caplog.text  # what it means, and what helps
    watch.close()
    watcher.close()
