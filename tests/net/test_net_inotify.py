"""The inotify descriptor that the loop reads."""

import errno
import os
import threading

import gevent
import pytest
from watchdog.observers.inotify_c import CallbackId, InotifyConstants

from greenmail.net.inotify import Inotify

_CREATE = InotifyConstants.IN_CREATE
_PORTION = 80 << 10  # octets that watchdog reads at once


class Seen:
    """A callback that counts."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.deleted = 0
        self.overflows = 0

    def on_event(self, event) -> None:
        self.names.append(event.name)

    def on_watch_deleted(self, wd) -> None:
        self.deleted += 1

    def on_queue_overflow(self) -> None:
        self.overflows += 1


@pytest.fixture
def failures():
    return []


@pytest.fixture
def inotify(failures):
    made = Inotify(failures.append)
    yield made
    made.close()


def _watch(inotify: Inotify, path) -> Seen:
    seen = Seen()
    inotify.add_callback(os.fsencode(path), _CREATE, seen, CallbackId(id(seen)))
    return seen


def _until(done) -> None:
    with gevent.Timeout(30):
        while not done():
            gevent.sleep(0.002)


def _open() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_no_thread_reads(inotify, tmp_path):
    seen = _watch(inotify, tmp_path)
    (tmp_path / "a").touch()
    _until(lambda: seen.names)
    assert seen.names == [b"a"]
    assert inotify not in threading.enumerate()


def test_more_events_than_one_portion_come_in_their_order(inotify, tmp_path):
    seen = _watch(inotify, tmp_path)
    names = [f"{number:0200}" for number in range(1000)]
    for name in names:
        (tmp_path / name).touch()
    assert not seen.names  # the loop has not been there
    assert 2 * _PORTION < 1000 * 216
    _until(lambda: len(seen.names) >= 1000)
    assert seen.names == [os.fsencode(name) for name in names]


def test_a_look_without_events_does_not_block(inotify, tmp_path):
    """libev may say that something can be read where nothing is."""
    seen = _watch(inotify, tmp_path)
    inotify._read()
    (tmp_path / "a").touch()
    inotify._read()
    assert seen.names == [b"a"]


def test_a_directory_that_is_deleted_ends_its_watch(inotify, tmp_path):
    (tmp_path / "box").mkdir()
    seen = _watch(inotify, tmp_path / "box")
    (tmp_path / "box").rmdir()
    _until(lambda: seen.deleted)
    assert seen.deleted == 1


@pytest.mark.parametrize("has_read", [False, True])
def test_what_is_closed_leaves_no_descriptor(tmp_path, has_read):
    gevent.sleep(0)
    before = _open()
    inotify = Inotify(lambda error: None)
    assert len(_open() - before) >= 1
    seen = _watch(inotify, tmp_path)
    if has_read:
        (tmp_path / "a").touch()
        _until(lambda: seen.names)
    inotify.close()
    gevent.sleep(0)
    assert _open() == before


def test_an_error_is_told_once_and_nothing_is_read_behind_it(inotify, tmp_path, failures, monkeypatch):
    seen = _watch(inotify, tmp_path)

    def broken():
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(inotify, "read_events", broken)
    (tmp_path / "a").touch()
    _until(lambda: failures)
    gevent.sleep(0.05)
    assert [error.errno for error in failures] == [errno.EIO]
    assert not seen.names
