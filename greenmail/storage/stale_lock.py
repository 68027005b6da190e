"""When a lock file that somebody else made may be broken. `formats.md` 2.7.

A lock file is broken (a) when its content names this host and a process that does not exist (or this very
process, which knows that it does not hold it), and the lock is older than 2 s; or (b) unless (a) tells that the process
lives, when neither the lock nor the protected file has changed for the stale time. Clocks of machines differ, so for
(b) we must also have seen it unchanged for longer than the 10 s after which a living holder touches it.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from greenmail.storage.filesystem import Files

log = logging.getLogger(__name__)

_YOUNG = 2.0  # seconds in which a lock is not doubted
_WATCH = 12.0  # a living holder touches its lock within that time
_AFTER_BREAKING = 0.1  # seconds: another waiter may have broken the same lock and taken its place


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who waits for the lock."""

    pid: int
    host: str  # empty: the content of this kind of lock file says nothing about its holder
    now: Callable[[], float]  # the wall clock, to be compared with times of files
    sleep: Callable[[float], None]


def process_status(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat from the third, which is the state; empty if there is no such file."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is a name in parentheses with anything in it.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether there is such a process in our pid namespace. One that ended and was not reaped yet holds nothing."""
    fields = process_status(pid)
    # A first thread that ended while others run has the state Z, too.
    if len(fields) > 17 and fields[0] in (b"Z", b"X") and fields[17] in (b"0", b"1"):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _parse_content(content: bytes) -> tuple[int, str] | None:
    pid, colon, host = content.partition(b":")
    if not colon or not pid.isdigit() or len(pid) > 10:
        return None
    return int(pid), os.fsdecode(host)


_Print = tuple[object, ...]  # what changes when a file does


def _fingerprint(files: Files, path: bytes) -> _Print:
    try:
        found = files.lstat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Doubt:
    """Decides whether a foreign lock file may be broken, over many looks at it."""

    __slots__ = ("_files", "_lock", "_onlooker", "_protected", "_seen", "_since", "_stale", "_young")

    def __init__(
        self, files: Files, lock: bytes, protected: bytes, stale: float, onlooker: Onlooker, young: float = _YOUNG
    ) -> None:
        """`lock` guards `protected`, and is stale after `stale` seconds without a change.

        A lock that is not older than `young` seconds is not doubted for the process that it names.
        """
        self._files, self._lock, self._protected, self._young = files, lock, protected, young
        self._stale, self._onlooker = stale, onlooker
        self._seen: tuple[_Print, _Print] = ((), ())
        self._since = 0.0

    def is_stale(self) -> bool:
        """Look once. Raises OSError if the lock is there and cannot be looked at."""
        now = self._onlooker.now()
        prints = _fingerprint(self._files, self._lock), _fingerprint(self._files, self._protected)
        if prints != self._seen:
            self._seen, self._since = prints, now
        try:
            found = self._files.lstat(self._lock)
            named = self._named(now - found.st_mtime)
        except FileNotFoundError:
            return False
        if named is not None:
            return named
        changed = max(self._last_change(self._lock), self._last_change(self._protected))
        return now - changed >= self._stale and now - self._since >= min(_WATCH, self._stale)

    def _named(self, age: float) -> bool | None:
        """Rule (a): whether the process that the lock names is gone; None if the lock names none that we can see."""
        if not self._onlooker.host:
            return None
        try:
            named = _parse_content(self._files.read_file(self._lock)[:512])
        except PermissionError:
            return None
        if named is None or named[1] != self._onlooker.host or age <= self._young:
            return None
        return named[0] == self._onlooker.pid or not is_alive(named[0])

    def _last_change(self, path: bytes) -> float:
        try:
            found = self._files.lstat(path)
        except FileNotFoundError:
            return 0.0
        return max(found.st_mtime, found.st_ctime)

    def break_lock(self) -> None:
        """Remove the lock if it is still the one that was looked at, and give others time."""
        if _fingerprint(self._files, self._lock) != self._seen[0]:
            return
        log.warning("lock-broken path=%r", self._lock)
        try:
            self._files.unlink(self._lock)
        except FileNotFoundError:
            return
        self._onlooker.sleep(_AFTER_BREAKING)
