"""Locks of a mailbox and of a POP3 session. `architecture.md`, `formats.md` 2.7.

Two locks guard a mailbox: `flock` on `greenmail.lock` among our own processes (the kernel gives it back when a process
dies), and inside it the dotlock `dovecot-uidlist.lock` towards Dovecot; `stale_lock` has the rules for breaking it. It
is a hard link of a standing file in `tmp/` whose content is `<pid>:<host>`: a link needs no new inode, is atomic also
on NFS, and tells whose it is by its inode number.

`greenmail.lock` holds one line about the last holder:

    mark SP pid SP host SP boot-id SP start-time SP inode LF    ; mark "+": holds the dotlock, "-": has given it back

    + 4711 mx.example.org 6c7e4c5e-... 8812345 2772193

It is written before the dotlock is linked and marked "-" after it was removed. Who gets the flock and finds "+" knows
that the writer died: is it certain that it did (same host and another boot, or no such process any more), and is the
dotlock still that inode, the dotlock is removed at once. The line is never synced and need not be: after a crash of
the machine the dotlock of an unknown owner goes stale by the rules for Dovecot's. On a full disk the line and the
content of the standing file may be missing; then the same rules hold.

Waiting is a series of short sleeps through the `sleep` that was handed in; nothing here blocks a thread.
"""

import errno
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, is_stale, ownership, refusing
from greenmail.storage.presence import is_directory
from greenmail.storage.stale_lock import Doubt, Onlooker, is_alive, process_status

log = logging.getLogger(__name__)

UIDLIST_STALE = 120.0
_SESSION_STALE = 300.0
_TOUCH_EVERY = 10.0
_STEPS_MS = (1, 2, 5, 10, 20, 50)
_LAST_STEP_MS = 100
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a lock is waited for: never blocks a thread except in `sleep`."""

    sleep: Callable[[float], None]
    now: Callable[[], float]  # the wall clock, to be compared with times of files
    timeout: float = 30.0  # seconds, `lock-timeout`

    def steps(self) -> Iterator[float]:
        """Seconds to sleep before each further attempt, until `timeout` is used up."""
        waited = 0.0
        number = 0
        while waited < self.timeout:
            step = (_STEPS_MS[number] if number < len(_STEPS_MS) else _LAST_STEP_MS) / 1000
            number += 1
            waited += step
            yield step

    def pause(self, steps: Iterator[float]) -> None:
        """Sleep for the next of `steps`; raises IN_USE if there is none."""
        step = next(steps, None)
        if step is None:
            raise StorageError(Reason.IN_USE, "the mailbox is locked by another program, try again later")
        self.sleep(step)

    def onlooker(self, pid: int = 0, host: str = "") -> Onlooker:
        """For `stale_lock.Doubt`."""
        return Onlooker(pid, host, self.now, self.sleep)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who takes locks: this process. Make it after fork."""

    pid: int
    host: str  # only equal to another server's host name if both share the pid namespace
    boot: str  # the kernel's boot id; "-" if unknown
    started: int  # start of the process in clock ticks since boot; 0 if unknown

    @classmethod
    def this_process(cls, host: str) -> "Owner":
        """`host` must not be that of a machine or container whose processes we cannot see."""
        clean = "".join("_" if char.isspace() or char in ":/" else char for char in host) or "localhost"
        return cls(os.getpid(), clean, _boot_id(), start_time(os.getpid()))

    def content(self) -> bytes:
        """What stands in a dotlock."""
        return os.fsencode(f"{self.pid}:{self.host}")

    def line(self, mark: str, inode: int) -> bytes:
        """What stands in `greenmail.lock`."""
        return os.fsencode(f"{mark} {self.pid} {self.host} {self.boot} {self.started} {inode}\n")

    def certainly_dead(self, other: "Owner") -> bool:
        """Whether `other`, a process that wrote this down, cannot be running any more."""
        if other.host != self.host or other.boot == "-":
            return False
        if other.boot != self.boot:
            return True
        return not is_alive(other.pid) or (other.started != 0 and start_time(other.pid) != other.started)


def start_time(pid: int) -> int:
    """Field 22 of /proc/<pid>/stat, or 0."""
    try:
        return int(process_status(pid)[19])
    except (IndexError, ValueError):
        return 0


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or "-"
    except (OSError, ValueError):
        return "-"


def _parse_line(line: bytes) -> tuple[str, Owner, int] | None:
    line, end, _ = line.partition(b"\n")
    parts = os.fsdecode(line).split()
    if len(parts) != 6 or not end or parts[0] not in ("+", "-"):
        return None
    try:
        return parts[0], Owner(int(parts[1]), parts[2], parts[3], int(parts[4])), int(parts[5])
    except ValueError:
        return None


class MailboxLock:
    """flock on `greenmail.lock`, then the dotlock `dovecot-uidlist.lock`; not reentrant: one green thread at a time.

    `with lock:` takes and gives back both. Raises IN_USE after `waiting.timeout`; READ_ONLY, NO_PERMISSION when the
    mailbox cannot be written; GONE when its directory is not there.
    """

    __slots__ = (
        "_created",
        "_descriptor",
        "_directory",
        "_dotlock",
        "_doubt",
        "_files",
        "_flock",
        "_inode",
        "_lines",
        "_owner",
        "_standing",
        "_touched",
        "_waiting",
        "held",
    )

    def __init__(self, files: Files, directory: bytes, owner: Owner, waiting: Waiting, control: bytes = b"") -> None:
        """`directory` of the mailbox; `control`: where `dovecot-uidlist` is, if elsewhere."""
        self._files, self._directory, self._owner, self._waiting = files, directory, owner, waiting
        control = control or directory
        self._flock = directory + b"/greenmail.lock"
        uidlist = control + b"/dovecot-uidlist"
        self._dotlock = uidlist + b".lock"
        self._doubt = Doubt(files, self._dotlock, uidlist, UIDLIST_STALE, waiting.onlooker(owner.pid, owner.host))
        self._descriptor = -1
        self._created = -1  # the dotlock itself, where there are no links
        self._standing = b""  # the file in tmp/, if there is one
        self._inode = (0, 0)  # device and inode of what the dotlock is a link of
        self._lines = (-1, b"", b"")  # an inode, and what is written down with it
        self._touched = 0.0
        self.held = False

    def acquire(self) -> None:
        """Take both locks, or none."""
        steps = self._waiting.steps()
        with refusing("the mailbox cannot be locked"):
            try:
                self._take_flock(steps)
                self._take_dotlock(steps)
                self.held = True
            except FileNotFoundError:
                raise StorageError(Reason.GONE, "the mailbox is not there any more") from None
            finally:
                # Whatever ended the waiting, also the end of this green thread.
                if not self.held:
                    self._drop_flock()
        self._touched = time.monotonic()

    def _take_flock(self, steps: Iterator[float]) -> None:
        while True:
            try:
                self._descriptor = self._open_flock()
                self._files.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The file or its directory may have been replaced while we opened it.
                if same_file(self._files, self._descriptor, self._flock):
                    return
            except BlockingIOError:
                log.debug("lock-busy path=%r", self._flock)
            except FileNotFoundError:
                # Somebody removes lock files; if it is the directory that is gone, that shows now.
                self._files.stat(self._directory)
            except OSError as error:
                if not is_stale(error):
                    raise
                log.info("stale path=%r", self._flock)
            self._drop_flock()
            self._waiting.pause(steps)

    def _open_flock(self) -> int:
        try:
            return self._files.open(self._flock, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            owner = ownership(self._files.stat(self._directory))
        try:
            return self._files.create_exclusive(self._flock, owner)
        except FileExistsError:
            return self._files.open(self._flock, os.O_RDWR | os.O_NOFOLLOW)

    def _take_dotlock(self, steps: Iterator[float]) -> None:
        before = self._files.pread(self._descriptor, 512, 0)
        while True:
            try:
                if self._link() or self._is_ours():  # on NFS the answer to a successful link may have been lost
                    return
            except FileNotFoundError:
                # Somebody cleaned up in tmp/; if it is the directory that is gone, that shows now.
                self._standing = b""
                self._files.stat(os.path.dirname(self._dotlock))
            if self._is_leftover(_parse_line(before)):
                self._files.unlink_quietly(self._dotlock)
                before = b""
                continue
            self._note("-")
            if self._doubt.is_stale():
                self._doubt.break_lock()
            self._waiting.pause(steps)

    def _link(self) -> bool:
        """Try once; False if there is a lock."""
        source = self._prepare_standing()
        self._note("+")
        try:
            self._files.link(source, self._dotlock)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return self._create()
        return True

    def _create(self) -> bool:
        """As `_link`, where there are no links: the control directory is on another file system, or it has none."""
        self._inode = (0, 0)
        try:
            descriptor = self._files.create_exclusive(self._dotlock, ownership(self._files.stat(self._directory)))
        except FileExistsError:
            return False
        # Open until the release: nobody else's lock can get this inode number meanwhile.
        self._created = descriptor
        self._fill(descriptor)
        self._use(self._dotlock)
        self._note("+")
        return True

    def _fill(self, descriptor: int) -> None:
        """Write who we are; without it, on a full disk, the lock is one of an unknown owner."""
        try:
            self._files.write_all(descriptor, self._owner.content())
        except OSError as error:
            log.warning("lock-content path=%r error=%s", self._dotlock, error)

    def _is_leftover(self, last: tuple[str, Owner, int] | None) -> bool:
        """Whether the dotlock is that of an earlier holder of the flock, who died; `last`: what he wrote down."""
        try:
            found = self._files.lstat(self._dotlock)
            content = self._files.read_file(self._dotlock)
        except (FileNotFoundError, PermissionError):
            return False
        mine = self._files.fstat(self._descriptor)
        if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
            # Made on a full disk: a link of the very file that we hold.
            return True
        # The number alone could be that of a new lock in the place of the old one.
        if last is None or last[0] != "+" or (last[2], last[1].content()) != (found.st_ino, content):
            return False
        dead = last[1] == self._owner or self._owner.certainly_dead(last[1])
        log.warning("lock-leftover path=%r pid=%s dead=%s", self._dotlock, last[1].pid, dead)
        return dead

    def _prepare_standing(self) -> bytes:
        """What to link: the standing file, touched, so that the lock is young; on a full disk `greenmail.lock`."""
        if self._standing:
            try:
                self._files.touch(self._standing)
                return self._standing
            except FileNotFoundError:
                self._standing = b""
        token = secrets.token_hex(4)
        path = self._directory + os.fsencode(f"/tmp/greenmail.{self._owner.host}.{self._owner.pid}.{token}")
        owner = ownership(self._files.stat(self._directory))
        try:
            descriptor = self._files.create_exclusive(path, owner)
        except FileNotFoundError:
            self._files.make_directory(self._directory + b"/tmp", owner)
            descriptor = self._files.create_exclusive(path, owner)
        except OSError as error:
            # Expunging must be possible on a full disk: a link of a file that is there needs no room.
            log.warning("lock-standing-file path=%r error=%s", path, error)
            return self._use(self._flock)
        self._fill(descriptor)
        self._files.close(descriptor)
        self._standing = path
        return self._use(path)

    def _use(self, path: bytes) -> bytes:
        found = self._files.lstat(path)
        self._inode = found.st_dev, found.st_ino
        return path

    def _note(self, mark: str) -> None:
        try:
            self._files.pwrite(self._descriptor, self._line(mark), 0)
        except OSError as error:
            log.debug("lock-note path=%r error=%s", self._flock, error)

    def _line(self, mark: str) -> bytes:
        """Worked out once for each inode."""
        inode = self._inode[1]
        if self._lines[0] != inode:
            self._lines = inode, self._owner.line("+", inode), self._owner.line("-", inode)
        return self._lines[1] if mark == "+" else self._lines[2]

    def _is_ours(self) -> bool:
        try:
            found = self._files.surely(self._files.lstat, self._dotlock)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def refresh(self) -> None:
        """In long work, between batches: touches the dotlock every 10 s. Raises IN_USE if somebody broke it."""
        if time.monotonic() - self._touched < _TOUCH_EVERY:
            return
        with refusing("the lock of the mailbox cannot be kept"):
            if not self._is_ours():
                raise StorageError(Reason.IN_USE, "another program broke the lock of the mailbox, try again")
            self._files.touch(self._dotlock)
        self._touched = time.monotonic()

    def release(self) -> None:
        """Give back both locks. Never raises: what cannot be removed is stale soon, and the next holder knows."""
        self.held = False
        try:
            if self._is_ours():
                self._files.unlink(self._dotlock)
            else:
                log.warning("lock-lost path=%r", self._dotlock)
            self._note("-")
        except OSError as error:
            log.error("lock-release path=%r error=%s", self._dotlock, error)
        self._drop_flock()

    def _drop_flock(self) -> None:
        if self._created >= 0:
            self._inode = (0, 0)
            created, self._created = self._created, -1
            self._files.close_quietly(created)
        if self._descriptor >= 0:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._files.close_quietly(descriptor)

    def close(self) -> None:
        """Remove the standing file in `tmp/`; the lock can be used again afterwards."""
        if self._standing and not self.held:
            self._files.unlink_quietly(self._standing)
            self._standing = b""

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def same_file(files: Files, descriptor: int, path: bytes) -> bool:
    """Whether `path` is the file that is open as `descriptor`."""
    mine = files.fstat(descriptor)
    try:
        there = files.lstat(path)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


class SessionLock:
    """`dovecot-pop3-session.lock`: one POP3 session, RFC 1939 3; a `storage.api.Held` with what is in `maildrop_lock`.

    The file carries a flock as long as the session lives: our own processes (and the sessions of one process, which
    share its pid) see by it whether a lock file is alive. Dovecot looks at the content: while the process of this host
    that stands in it lives, the lock is not stale, however old it is.
    """

    __slots__ = ("_descriptor", "_files", "_path")

    def __init__(self, files: Files, path: bytes, descriptor: int) -> None:
        """For `lock_session`: the flocked `descriptor` is open on `path`."""
        self._files, self._path, self._descriptor = files, path, descriptor

    def release(self) -> None:
        """Give it back; does nothing the second time. Never raises: without the flock the file is stale."""
        if self._descriptor < 0:
            return
        try:
            if same_file(self._files, self._descriptor, self._path):
                self._files.unlink_quietly(self._path)
        except OSError as error:
            log.error("lock-release path=%r error=%s", self._path, error)
        descriptor, self._descriptor = self._descriptor, -1
        self._files.close_quietly(descriptor)


def lock_session(files: Files, control: bytes, owner: Owner, waiting: Waiting) -> SessionLock:
    """Take the POP3 lock in the control directory of INBOX; raises IN_USE after `waiting.timeout` (0: at once)."""
    path = control + b"/dovecot-pop3-session.lock"
    with refusing("the mailbox cannot be locked"):
        # In tmp/, where old leftovers are cleared away; a separate control directory may have none.
        place = control + b"/tmp" if is_directory(files, control + b"/tmp") else control
    temporary = place + os.fsencode(f"/greenmail.{owner.host}.{owner.pid}.{secrets.token_hex(4)}")
    # Never too young to be doubted: our own lock files appear whole, and a living holder of ours has the flock too.
    # Nor is one that a clock ahead of ours (of a file server, or of before it was set back) made in times to come.
    doubt = Doubt(files, path, path, _SESSION_STALE, waiting.onlooker(owner.pid, owner.host), young=float("-inf"))
    steps = waiting.steps()
    with refusing("the mailbox cannot be locked"):
        descriptor = files.create_exclusive(temporary, ownership(files.stat(control)))
        lock = None
        try:
            files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                files.write_all(descriptor, owner.content())
            except OSError as error:
                # On a full disk the flock alone tells that it lives: messages must be removable.
                log.warning("lock-content path=%r error=%s", path, error)
            while lock is None:
                try:
                    files.link(temporary, path)
                    lock = SessionLock(files, path, descriptor)
                except FileExistsError:
                    if not _is_flocked(files, path) and doubt.is_stale():
                        doubt.break_lock()
                    else:
                        waiting.pause(steps)
        finally:
            if lock is None:
                files.close(descriptor)
            files.unlink_quietly(temporary)
    return lock


def _is_flocked(files: Files, path: bytes) -> bool:
    try:
        descriptor = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask at the same time do not take each other for the holder.
        files.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        files.close(descriptor)
    return False
