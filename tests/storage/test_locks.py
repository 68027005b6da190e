"""Locks: architecture.md, formats.md 2.7 and 3.2, checks 41 and 42. Other processes are real ones, killed for real."""

import errno
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.storage.file_lock import SUBSCRIPTIONS_STALE, FileLock
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import (
    MailboxLock,
    Owner,
    Waiting,
    lock_session,
    start_time,
)
from greenmail.storage.stale_lock import is_alive

HOST = socket.gethostname()


class Clock:
    """A wall clock that only sleeping moves."""

    def __init__(self):
        self.time = time.time()
        self.slept = []
        self.while_asleep = lambda: None

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        self.while_asleep()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    return os.fsencode(tmp_path)


def mailbox_lock(folder, clock, timeout=30.0, files=None, owner=None):
    waiting = Waiting(clock.sleep, clock.now, timeout)
    return MailboxLock(files or Files(), folder, owner or Owner.this_process(HOST), waiting)


CHILD = """
    import os, sys, time
    from greenmail.storage.filesystem import Files
    from greenmail.storage.locks import MailboxLock, Owner, Waiting, lock_session
    folder = os.fsencode(sys.argv[1])
    owner = Owner.this_process(sys.argv[2])
    waiting = Waiting(time.sleep, time.time, 5.0)
    files = Files()
    def wait():
        print("ready", flush=True)
        sys.stdin.readline()
"""


class Child:
    """Another process that runs `code` up to its `wait()`."""

    def __init__(self, folder, code, host=HOST):
        script = textwrap.dedent(CHILD) + textwrap.dedent(code)
        command = [sys.executable, "-c", script, os.fsdecode(folder), host]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def go_on(self):
        self.process.communicate(b"\n")


HOLD = """
    with MailboxLock(files, folder, owner, waiting):
        wait()
"""


def dotlock(folder):
    return folder + b"/dovecot-uidlist.lock"


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


def make_dotlock(folder, content, age=0.0, now=None):
    with open(dotlock(folder), "wb") as file:
        file.write(content)
    at = (now or time.time()) - age
    os.utime(dotlock(folder), (at, at))


def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


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


class Failing:
    """Lets certain calls on paths that contain `part` fail."""

    def __init__(self, call, number, part=b""):
        self.call, self.number, self.part = call, number, part

    def __call__(self, name, function, *args):
        if name == self.call and (not self.part or (isinstance(args[0], bytes) and self.part in args[0])):
            raise OSError(self.number, "as ordered")
        return function(*args)


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
