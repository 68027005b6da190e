"""Locks that become the file, and those of a POP3 session: formats.md 2.7 and 3.2."""

import errno
import fcntl
import os

import pytest
from support.locks import HOST, Child, Failing, dotlock, mailbox_lock, make_dotlock

from greenmail.errors import Reason, StorageError
from greenmail.storage.file_lock import SUBSCRIPTIONS_STALE, FileLock
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import (
    Owner,
    Waiting,
    lock_session,
)


@pytest.fixture
def folder(tmp_path):
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    return os.fsencode(tmp_path)


def file_lock(folder, clock, timeout=30.0, files=None):
    waiting = Waiting(clock.sleep, clock.now, timeout)
    return FileLock(files or Files(), folder + b"/subscriptions", waiting, SUBSCRIPTIONS_STALE)


def test_a_file_lock_becomes_the_file(folder, clock):
    with file_lock(folder, clock) as lock:
        assert os.path.exists(folder + b"/subscriptions.lock")
        with pytest.raises(StorageError), file_lock(folder, clock, 0):
            pass
        lock.commit(b"INBOX\n")
    assert Files().read_file(folder + b"/subscriptions") == b"INBOX\n"
    assert not os.path.exists(folder + b"/subscriptions.lock")


def test_a_file_lock_without_commit_changes_nothing(folder, clock):
    with file_lock(folder, clock):
        pass
    assert sorted(os.listdir(folder)) == [b"cur", b"new", b"tmp"]


def test_a_file_lock_is_stale_after_30_seconds(folder, clock):
    with open(folder + b"/subscriptions.lock", "wb") as other:
        other.write(b"V\t2\n\nhalf")
    with file_lock(folder, clock, 60.0) as lock:
        lock.commit(b"")
    assert 29.0 <= sum(clock.slept) < 33.0


def test_the_file_lock_of_a_dead_process_of_ours_is_removed_at_once(folder, clock):
    with open(folder + b"/greenmail.subscriptions.tmp", "wb") as ours:
        ours.write(b"V\t2\n\nhalf")
    os.link(folder + b"/greenmail.subscriptions.tmp", folder + b"/subscriptions.lock")
    with file_lock(folder, clock) as lock:
        lock.commit(b"INBOX\n")
    assert not clock.slept
    assert sorted(os.listdir(folder)) == [b"cur", b"new", b"subscriptions", b"tmp"]


def test_what_is_beside_the_file_says_nothing_of_a_foreign_lock(folder, clock):
    for name in (b"/greenmail.subscriptions.tmp", b"/subscriptions.lock"):
        with open(folder + name, "wb") as file:
            file.write(b"half")
    with pytest.raises(StorageError), file_lock(folder, clock, 5.0):
        pass
    assert sorted(os.listdir(folder)) == [b"cur", b"new", b"subscriptions.lock", b"tmp"]


def test_a_broken_file_lock_is_not_committed(folder, clock):
    with pytest.raises(StorageError) as caught, file_lock(folder, clock) as lock:
        os.unlink(folder + b"/subscriptions.lock")
        with open(folder + b"/subscriptions.lock", "wb") as other:
            other.write(b"theirs")
        lock.commit(b"ours")
    assert caught.value.reason is Reason.IN_USE
    assert Files().read_file(folder + b"/subscriptions.lock") == b"theirs"


def test_a_failed_commit_leaves_the_old_file(folder, clock):
    with open(folder + b"/subscriptions", "wb") as file:
        file.write(b"old\n")
    with pytest.raises(StorageError), file_lock(folder, clock, files=Files(Failing("fsync", errno.EIO))) as lock:
        lock.commit(b"new\n")
    assert Files().read_file(folder + b"/subscriptions") == b"old\n"
    assert not os.path.exists(folder + b"/subscriptions.lock")


SESSION = """
    lock = lock_session(files, folder, owner, waiting)
    wait()
    lock.release()
"""


def session_lock(folder, clock, timeout=0.0):
    return lock_session(Files(), folder, Owner.this_process(HOST), Waiting(clock.sleep, clock.now, timeout))


def test_one_pop3_session_at_a_time(folder, clock):
    lock = session_lock(folder, clock)
    assert Files().read_file(folder + b"/dovecot-pop3-session.lock") == b"%d:%b" % (os.getpid(), HOST.encode())
    clock.time += 1000  # our own number is on it, and it is old: the flock says that it lives
    with pytest.raises(StorageError) as caught:
        session_lock(folder, clock)
    assert caught.value.reason is Reason.IN_USE
    lock.release()
    lock.release()
    assert sorted(os.listdir(folder)) == [b"cur", b"new", b"tmp"]
    session_lock(folder, clock).release()


def test_a_pop3_session_on_a_full_disk(folder, clock):
    files = Files(Failing("write", errno.ENOSPC))
    waiting = Waiting(clock.sleep, clock.now, 0)
    lock = lock_session(files, folder, Owner.this_process(HOST), waiting)
    clock.time += 1000
    with pytest.raises(StorageError):
        session_lock(folder, clock)
    lock.release()
    session_lock(folder, clock).release()


def test_waiting_that_is_cut_off_gives_back_the_flock(folder, clock):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    make_dotlock(folder, b"1:unknown.example.org")
    clock.while_asleep = kill
    lock = mailbox_lock(folder, clock)
    with pytest.raises(Killed):
        lock.acquire()
    os.unlink(dotlock(folder))
    with mailbox_lock(folder, clock, 0):
        pass
    assert not lock.held


def test_a_pop3_session_of_another_process(folder, clock):
    child = Child(folder, SESSION)
    with pytest.raises(StorageError):
        session_lock(folder, clock, 1.0)
    child.go_on()
    session_lock(folder, clock).release()


@pytest.mark.parametrize("behind", [0.0, 3600.0])
def test_a_pop3_session_of_a_killed_process(folder, clock, behind):
    Child(folder, SESSION).kill()
    clock.time = os.stat(folder + b"/dovecot-pop3-session.lock").st_mtime - behind  # the clock of a file server
    assert os.path.exists(folder + b"/dovecot-pop3-session.lock")
    session_lock(folder, clock).release()  # no patience is needed: its flock went with it
    assert sum(clock.slept) < 1.0


def test_the_flock_is_a_real_one(folder, clock):
    lock = mailbox_lock(folder, clock)
    with lock, open(folder + b"/greenmail.lock", "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


COUNT = """
    path = folder + b"/count"
    lock = MailboxLock(files, folder, owner, waiting)
    wait()
    for _ in range(150):
        with lock:
            number = int(open(path).read())
            open(path, "w").write(str(number + 1))
    lock.close()
"""


def test_nothing_is_lost_between_processes(folder):
    with open(folder + b"/count", "w") as file:
        file.write("0")
    children = [Child(folder, COUNT) for _ in range(3)]
    for child in children:
        child.process.stdin.write(b"\n")
        child.process.stdin.flush()
    assert [child.process.wait(60) for child in children] == [0, 0, 0]
    with open(folder + b"/count") as file:
        assert file.read() == "450"
    assert os.listdir(folder + b"/tmp") == []
