"""Locks: architecture.md, formats.md 2.7 and 3.2, checks 41 and 42. Other processes are real ones, killed for real."""

import errno
import os
import stat
import subprocess
import time

import pytest
from support.locks import HOLD, HOST, Child, Failing, dead_pid, dotlock, mailbox_lock, make_dotlock

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import (
    MailboxLock,
    Owner,
    Waiting,
    lock_session,
    start_time,
)
from greenmail.storage.stale_lock import is_alive


@pytest.fixture
def folder(tmp_path):
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    return os.fsencode(tmp_path)


def test_the_dotlock_is_readable_and_names_its_holder(folder, clock):
    os.chmod(folder, 0o770)
    lock = mailbox_lock(folder, clock)
    with lock:
        assert lock.held
        found = os.stat(dotlock(folder))
        assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o660, 2)
        assert found.st_mtime > time.time() - 60
        with open(dotlock(folder), "rb") as file:
            assert file.read() == b"%d:%b" % (os.getpid(), HOST.encode())
    assert not lock.held
    assert not os.path.exists(dotlock(folder))
    assert clock.slept == []


def test_close_leaves_only_the_flock_file(folder, clock):
    lock = mailbox_lock(folder, clock)
    with lock:
        pass
    lock.close()
    assert sorted(os.listdir(folder)) == [b"cur", b"greenmail.lock", b"new", b"tmp"]
    assert os.listdir(folder + b"/tmp") == []
    with lock:
        assert os.path.exists(dotlock(folder))


def test_one_process_excludes_another_until_it_is_done(folder, clock):
    child = Child(folder, HOLD)
    with pytest.raises(StorageError) as caught, mailbox_lock(folder, clock, 0.5):
        pass
    assert caught.value.reason is Reason.IN_USE
    assert clock.slept[:8] == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.1]
    assert sum(clock.slept) == pytest.approx(0.5, abs=0.1)
    child.go_on()
    with mailbox_lock(folder, clock, 0):
        pass


def test_two_locks_of_one_process_exclude_each_other(folder, clock):
    with mailbox_lock(folder, clock), pytest.raises(StorageError), mailbox_lock(folder, clock, 0):
        pass


def test_the_dotlock_of_a_killed_process_of_ours_is_removed_at_once(folder, clock):
    child = Child(folder, HOLD)
    child.kill()
    assert os.path.exists(dotlock(folder))
    with mailbox_lock(folder, clock, 0):
        pass
    assert clock.slept == []


def test_killed_under_another_name_of_this_host(folder, clock):
    """The record names a host that is not ours: nothing is known, and the rules for foreign locks hold."""
    Child(folder, HOLD, "elsewhere").kill()
    with pytest.raises(StorageError), mailbox_lock(folder, clock):
        pass
    assert os.path.exists(dotlock(folder))


def test_a_dead_local_process_is_found_out_within_three_seconds(folder, clock):
    make_dotlock(folder, b"%d:%b" % (dead_pid(), HOST.encode()), now=clock.now())
    with mailbox_lock(folder, clock):
        pass
    assert 2.0 <= sum(clock.slept) < 3.0


def test_an_old_lock_of_a_dead_process_is_broken_at_once(folder, clock):
    make_dotlock(folder, b"%d:%b" % (dead_pid(), HOST.encode()), age=5)
    with mailbox_lock(folder, clock):
        pass
    assert sum(clock.slept) < 0.5


def test_the_lock_of_a_living_process_is_never_broken(folder, clock):
    make_dotlock(folder, b"%d:%b" % (os.getppid(), HOST.encode()), age=100_000)
    with pytest.raises(StorageError), mailbox_lock(folder, clock, 500.0):
        pass
    assert os.path.exists(dotlock(folder))


def test_our_own_number_on_an_old_lock_means_a_predecessor(folder, clock):
    make_dotlock(folder, b"%d:%b" % (os.getpid(), HOST.encode()), age=5)
    with mailbox_lock(folder, clock):
        pass
    assert sum(clock.slept) < 0.5


@pytest.mark.parametrize("content", [b"1:unknown.example.org", b"", b"garbage", b"x:y", b"12"])
def test_the_lock_of_an_unknown_host_is_broken_after_120_seconds_without_change(folder, clock, content):
    make_dotlock(folder, content, now=clock.now())
    with mailbox_lock(folder, clock, 200.0):
        pass
    assert 119.0 <= sum(clock.slept) < 123.0


def test_a_lock_that_is_touched_is_alive(folder, clock):
    make_dotlock(folder, b"1:unknown.example.org", now=clock.now())

    def touch():
        os.utime(dotlock(folder), (clock.now(), clock.now()))

    clock.while_asleep = touch
    with pytest.raises(StorageError), mailbox_lock(folder, clock, 300.0):
        pass
    assert os.path.exists(dotlock(folder))


def test_a_lock_whose_file_is_written_is_alive(folder, clock):
    make_dotlock(folder, b"1:unknown.example.org", age=1000)
    with open(folder + b"/dovecot-uidlist", "wb"):
        pass
    clock.while_asleep = lambda: os.utime(folder + b"/dovecot-uidlist", (clock.now(), clock.now()))
    with pytest.raises(StorageError), mailbox_lock(folder, clock, 100.0):
        pass


def test_patience_adds_up_over_several_attempts(folder, clock):
    make_dotlock(folder, b"1:unknown.example.org", now=clock.now())
    lock = mailbox_lock(folder, clock, 30.0)
    failed = 0
    while not lock.held:
        try:
            lock.acquire()
        except StorageError as error:
            assert error.reason is Reason.IN_USE
            failed += 1
    lock.release()
    assert failed == 3 or failed == 4


def test_a_lock_that_comes_free_is_taken(folder, clock):
    make_dotlock(folder, b"1:unknown.example.org")
    clock.while_asleep = lambda: clock.slept[1:] and os.path.exists(dotlock(folder)) and os.unlink(dotlock(folder))
    lock = mailbox_lock(folder, clock)
    with lock:
        clock.while_asleep = lambda: None
        assert clock.slept == [0.001, 0.002]


def test_only_our_own_dotlock_is_removed(folder, clock):
    lock = mailbox_lock(folder, clock)
    with lock:
        os.unlink(dotlock(folder))
        make_dotlock(folder, b"1:other")
    with open(dotlock(folder), "rb") as file:
        assert file.read() == b"1:other"


def test_refresh_touches_the_lock_and_notices_when_it_was_broken(folder, clock, monkeypatch):
    lock = mailbox_lock(folder, clock)
    moment = time.monotonic()
    with lock:
        os.utime(dotlock(folder), (1, 1))
        lock.refresh()
        assert os.stat(dotlock(folder)).st_mtime == 1
        monkeypatch.setattr(time, "monotonic", lambda: moment + 20)
        lock.refresh()
        assert os.stat(dotlock(folder)).st_mtime > 1
        os.unlink(dotlock(folder))
        monkeypatch.setattr(time, "monotonic", lambda: moment + 40)
        with pytest.raises(StorageError) as caught:
            lock.refresh()
        assert caught.value.reason is Reason.IN_USE


def test_somebody_cleans_up_in_tmp(folder, clock):
    lock = mailbox_lock(folder, clock)
    with lock:
        pass
    for name in os.listdir(folder + b"/tmp"):
        os.unlink(folder + b"/tmp/" + name)
    os.rmdir(folder + b"/tmp")
    with lock:
        assert os.stat(dotlock(folder)).st_nlink == 2


@pytest.mark.parametrize("call", ["open", "flock", "fstat", "lstat"])
def test_somebody_removes_the_lock_file_while_it_is_taken(folder, clock, call):
    left = [2]

    def remove(name, function, *args):
        if name == call and left[0] and (name != "open" or os.path.exists(folder + b"/greenmail.lock")):
            left[0] -= 1
            if os.path.exists(folder + b"/greenmail.lock"):
                os.unlink(folder + b"/greenmail.lock")
        return function(*args)

    with mailbox_lock(folder, clock):
        pass
    lock = mailbox_lock(folder, clock, 1.0, Files(remove))
    with lock, pytest.raises(StorageError), mailbox_lock(folder, clock, 0):
        pass
    with mailbox_lock(folder, clock, 0):
        pass


def test_a_mailbox_that_is_gone(tmp_path, clock):
    with pytest.raises(StorageError) as caught, mailbox_lock(os.fsencode(tmp_path / "gone"), clock):
        pass
    assert caught.value.reason is Reason.GONE


@pytest.mark.parametrize("call, part", [("open", b"/tmp/greenmail."), ("write", b""), ("pwrite", b"")])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_can_be_locked(folder, clock, call, part, number):
    with mailbox_lock(folder, clock):
        pass
    lock = mailbox_lock(folder, clock, 0, Files(Failing(call, number, part)))
    with lock:
        assert os.path.exists(dotlock(folder))
    assert not os.path.exists(dotlock(folder))


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_links_the_dotlock_is_created(folder, clock, number):
    files = Files(Failing("link", number))
    lock = mailbox_lock(folder, clock, 0, files)
    with lock, open(dotlock(folder), "rb") as file:
        assert file.read() == b"%d:%b" % (os.getpid(), HOST.encode())
    assert not os.path.exists(dotlock(folder))
    make_dotlock(folder, b"1:other")
    with pytest.raises(StorageError), lock:
        pass
    assert Files().read_file(dotlock(folder)) == b"1:other"


def test_the_control_directory_can_be_elsewhere(folder, clock, tmp_path_factory):
    control = os.fsencode(tmp_path_factory.mktemp("control"))
    waiting = Waiting(clock.sleep, clock.now, 0)
    with MailboxLock(Files(), folder, Owner.this_process(HOST), waiting, control):
        assert os.listdir(control) == [b"dovecot-uidlist.lock"]
        assert not os.path.exists(dotlock(folder))
    assert os.listdir(control) == []
    lock = lock_session(Files(), control, Owner.this_process(HOST), waiting)
    assert os.listdir(control) == [b"dovecot-pop3-session.lock"]
    lock.release()


def test_a_lock_made_on_a_full_disk_by_a_process_that_died(folder, clock):
    with mailbox_lock(folder, clock):
        pass
    os.link(folder + b"/greenmail.lock", dotlock(folder))
    with mailbox_lock(folder, clock, 0):
        pass
    assert clock.slept == []


@pytest.mark.parametrize("number, reason", [(errno.EROFS, Reason.READ_ONLY), (errno.EACCES, Reason.NO_PERMISSION)])
def test_a_mailbox_that_cannot_be_written(folder, clock, number, reason):
    lock = mailbox_lock(folder, clock, 30, Files(Failing("open", number)))
    with pytest.raises(StorageError) as caught, lock:
        pass
    assert caught.value.reason is reason and not lock.held and clock.slept == []


def test_a_failed_dotlock_gives_back_the_flock(folder, clock):
    lock = mailbox_lock(folder, clock, 30, Files(Failing("link", errno.EIO)))
    with pytest.raises(StorageError), lock:
        pass
    with mailbox_lock(folder, clock, 0):
        pass


def test_a_link_whose_answer_was_lost(folder, clock):
    def lose(name, function, *args):
        result = function(*args)
        if name == "link":
            raise FileExistsError(errno.EEXIST, "NFS")
        return result

    with mailbox_lock(folder, clock, 0, Files(lose)):
        assert os.path.exists(dotlock(folder))
    assert not os.path.exists(dotlock(folder))


def test_who_is_certainly_dead():
    here = Owner.this_process(HOST)
    assert here.started and here.started == start_time(os.getpid())
    assert not here.certainly_dead(here)
    assert here.certainly_dead(Owner(dead_pid(), here.host, here.boot, 5))
    assert here.certainly_dead(Owner(here.pid, here.host, here.boot, here.started + 1))  # the number was used again
    assert here.certainly_dead(Owner(here.pid, here.host, "another-boot", here.started))
    assert not here.certainly_dead(Owner(dead_pid(), "elsewhere", here.boot, 5))
    assert not here.certainly_dead(Owner(dead_pid(), here.host, "-", 5))


def test_a_process_that_nobody_reaped_is_dead():
    process = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the table
        assert start_time(process.pid)
        assert not is_alive(process.pid)
    finally:
        process.wait()
    assert is_alive(os.getpid())
