"""News of mailboxes: inotify, other sessions of this worker, and time.

One inotify descriptor a worker, of watchdog, which the event loop reads (`inotify`): all of this runs there. The stock
Observer would take a thread a directory and hold events back for half a second after every move from `new` to `cur`.

An event says "look", never "so it is": events may be lost (overflow), doubled, late, or never come (network file
systems). So whatever fails here only makes news slower: what cannot be watched is looked at every `poll-interval`,
and what is watched every SLOW_LOOK.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import errno
import logging
import math
import os
import random
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gevent import get_hub
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from greenmail import metrics
from greenmail.net.inotify import Inotify
from greenmail.net.lookout import Lookout
from greenmail.net.stream import Stream
from greenmail.runtime import Dormant, Wake
from greenmail.storage.mounts import NO_EVENTS, Mount, mount_at

log = logging.getLogger(__name__)

GATHER = 0.02  # seconds from the first event to the look
SLOW_LOOK = 300.0
TOGETHER = 1.0  # seconds: who is to look in the same one does with the others, which takes less CPU
LEAST_LOOK = 0.25  # between two looks for which there was no news
OVERFLOW_SPREAD = 1.0  # an overflow makes all look; not all at once

_SELF = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF
_DIRECTORY_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_EXCL_UNLINK
    | InotifyConstants.IN_ONLYDIR
    | _SELF
)
# IN_ATTRIB tells that a file lost its name while someone has it open: IN_DELETE_SELF would wait for the last close.
_FILE_MASK = Mask(InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB | _SELF)


class _Path:
    """A watched path: watchdog's callback. The `on_` methods only leave a mark, once for all that is read together."""

    __slots__ = ("counted", "dirty", "lost", "path", "users", "watcher", "wd")

    def __init__(self, watcher: "Watcher", path: str) -> None:
        self.watcher = watcher
        self.path = path
        self.wd: int = -1  # -1: not watched
        self.users: list[Interest] = []
        self.counted = False  # in the metric
        self.dirty = False
        self.lost = False  # deleted, moved or replaced: to be watched anew by its name

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & (_SELF | InotifyConstants.IN_ATTRIB):
            self.lost = True
        self.mark()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        if wd == self.wd:
            self.wd = -1
            self.mark()

    def on_queue_overflow(self) -> None:
        self.watcher.overflowed = True
        self.mark()

    def mark(self) -> None:
        """Have its users told, once."""
        if not self.dirty:
            self.dirty = True
            self.watcher.mark(self)


class Interest:
    """Some paths that somebody wants news of."""

    __slots__ = ("_notify", "_paths", "_remote", "_watcher")

    def __init__(self, watcher: "Watcher", paths: Sequence[str], notify: Callable[[float], None]) -> None:
        self._watcher = watcher
        self._notify = notify
        self._paths = [watcher.take(path, self) for path in paths]
        self._remote = any(watcher.is_remote(path) for path in paths)

    @property
    def polled(self) -> bool:
        """Whether events cannot be relied upon. A path that does not exist (yet) is not missed."""
        return self._remote or not self._watcher.working or any(path.wd == -1 for path in self._paths[:2])

    def renew(self) -> None:
        """Watch what could not be watched before: a journal that is there now, a directory when there is room again."""
        for path in self._paths:
            if path.wd == -1:
                self._watcher.arm(path)

    def tell(self, delay: float) -> None:
        """There is news: look in `delay` seconds."""
        self._notify(delay)

    def close(self) -> None:
        """End the interest."""
        paths, self._paths = self._paths, []
        for path in paths:
            self._watcher.give_back(path, self)


class Watcher:
    """A worker's inotify: made after the fork, on the event loop's thread."""

    def __init__(self, poll_interval: float) -> None:
        self.poll_interval = poll_interval
        self.marked: deque[_Path] = deque()
        self.overflowed = False
        self._paths: dict[str, _Path] = {}
        self._mounts: dict[int, Mount] = {}  # by device
        self._lookouts: dict[tuple[str, ...], Lookout] = {}
        self._warned: set[str] = set()
        self._polled = 0
        self._watches = 0
        self._fd: Inotify | None = None
        try:
            self._fd = Inotify(self._broken)
        except OSError as error:
            self._fail("limit", f"no inotify instance: {error.strerror}; raise fs.inotify.max_user_instances")

    @property
    def working(self) -> bool:
        """Whether there are events."""
        return self._fd is not None

    def mark(self, path: _Path) -> None:
        """Tell the users of `path` when all events that were read have been looked at."""
        if not self.marked:
            get_hub().loop.run_callback(self._drain)
        self.marked.append(path)

    def interest(self, paths: Sequence[str], notify: Callable[[float], None]) -> Interest:
        """Have `notify(delay)` called, at once and on the loop, when something happens at `paths`.

        The first two are the directories `new` and `cur`, `storage.api.Mailbox.watched`; without them there is polling.
        """
        return Interest(self, paths, notify)

    def look_out(self, paths: tuple[str, ...], user: "SessionWatch") -> Lookout:
        """Have `user` told when it shall look because something happened at `paths`, as of `interest`."""
        lookout = self._lookouts.get(paths)
        if lookout is None:
            lookout = self._lookouts[paths] = Lookout(lambda notify: self.interest(paths, notify))
        lookout.users[user] = None
        return lookout

    def look_no_more(self, paths: tuple[str, ...], user: "SessionWatch") -> None:
        """`user` waits no longer; the last one ends the watches."""
        lookout = self._lookouts[paths]
        del lookout.users[user]
        if not lookout.users:
            del self._lookouts[paths]
            lookout.close()

    def count_polled(self, change: int) -> None:
        """A mailbox began (+1) or ended (-1) to be looked at by time."""
        self._polled += change
        metrics.polled(self._polled)

    def take(self, name: str, user: Interest) -> _Path:
        """The watched path, with one more user."""
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = _Path(self, name)
        path.users.append(user)
        if path.wd == -1:
            self.arm(path)
        return path

    def give_back(self, path: _Path, user: Interest) -> None:
        """One user less; the last one ends the watch."""
        path.users.remove(user)
        if not path.users:
            self._disarm(path)
            self._paths.pop(path.path, None)

    def arm(self, path: _Path) -> None:
        """Watch `path` if that can be done."""
        if self._fd is None:
            return
        try:
            directory = stat.S_ISDIR(os.stat(path.path).st_mode)
            mask = _DIRECTORY_MASK if directory else _FILE_MASK
            wd = self._fd.add_callback(os.fsencode(path.path), mask, path, CallbackId(id(path)))
        except FileNotFoundError:
            return  # a journal that nobody has written yet, or a mailbox that is gone: the look will tell
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._fail("limit", "no inotify watches left; raise fs.inotify.max_user_watches")
            else:
                self._fail("error", f"cannot watch {path.path}: {error.strerror}")
            return
        if wd == -1:  # how watchdog 7.1 reports EACCES
            self._fd.remove_callbacks([(wd, CallbackId(id(path)))])
            self._fail("error", f"cannot watch {path.path}: permission denied")
            return
        path.wd = wd
        if not path.counted:
            path.counted = True
            self._count_watches(1)

    def is_remote(self, path: str) -> bool:
        """Whether other machines can change `path`, so that events do not tell all."""
        try:
            device = os.stat(path).st_dev
            mount = self._mounts.get(device)
            if mount is None:
                mount = self._mounts[device] = mount_at(path)
                if mount.is_remote:
                    self._degraded(mount)
        except OSError:
            return False
        return mount.is_remote

    def _degraded(self, mount: Mount) -> None:
        """One line in the log for each file system."""
        metrics.degraded(NO_EVENTS, sum(mount.is_remote for mount in self._mounts.values()))
        metrics.watch_fallback("unsupported")
        log.warning(
            "degraded what=%s file_system=%s path=%r text=%r",
            NO_EVENTS,
            mount.kind or "unknown",
            mount.path,
            "other machines may write there, and no event tells of it: clients that IDLE are told of mail within "
            f"{self.poll_interval:g} s (poll-interval), and of what this machine does at once",
        )

    def close(self) -> None:
        """End all watches."""
        fd, self._fd = self._fd, None
        if fd is not None:
            fd.close()

    def _broken(self, error: OSError) -> None:
        """There will be no more events: what was watched is polled."""
        self.close()
        self._fail(
            "error",
            f"inotify cannot be read any more ({error.strerror}); every mailbox is polled until `greenmail reload`",
        )

    def _count_watches(self, change: int) -> None:
        self._watches += change
        metrics.watches(self._watches)

    def _disarm(self, path: _Path) -> None:
        wd, path.wd = path.wd, -1
        if path.counted:
            path.counted = False
            self._count_watches(-1)
        if wd != -1 and self._fd is not None:
            self._fd.remove_callbacks([(WatchDescriptor(wd), CallbackId(id(path)))])

    def _drain(self) -> None:
        """On the loop: tell everybody whose path is marked."""
        overflowed, self.overflowed = self.overflowed, False
        if overflowed:
            self._fail("overflow", "inotify events were lost; every watched mailbox is looked at")
        while self.marked:
            path = self.marked.popleft()
            path.dirty = False
            if path.lost or path.wd == -1:
                path.lost = False
                self._disarm(path)
                if path.users:
                    self.arm(path)
            for user in list(path.users):
                user.tell(random.uniform(GATHER, OVERFLOW_SPREAD) if overflowed else GATHER)

    def _fail(self, reason: str, text: str) -> None:
        """Count; and one line in the log for each reason."""
        metrics.watch_fallback(reason)
        if reason not in self._warned:
            self._warned.add(reason)
            log.warning("watch-fallback reason=%s poll_interval=%g text=%r", reason, self.poll_interval, text)


class WakingPlaces(Protocol):
    """What `watch_places.SessionPlaces` is for a `SessionWatch`."""

    wake: Callable[[float], None] | None  # called with the delay when a place is dirty; at once
    dirty: set[str]
    look_at: float  # when to look without news


class SessionWatch:
    """A `runtime.Watch`: a session's wait for its client or for news of one mailbox.

    It counts from its making on: who looks after that, and then waits, misses nothing.
    """

    def __init__(self, stream: Stream, watcher: Watcher, mailbox: Any, places: WakingPlaces | None = None) -> None:
        self._stream = stream
        self._places = places
        self._watcher = watcher
        self._paths: tuple[str, ...] = ()
        self._lookout: Lookout | None = None
        self.is_waiting = False
        self._looked_since = math.inf  # a look that began then is enough
        self._cancel: Callable[[], None] | None = None
        self._ripe: float | None = None  # when to look at the news that has come; None: no news
        self._counted = False
        self._closed = False
        self._mailbox = mailbox
        if mailbox is not None:
            self._cancel = mailbox.subscribe(self._changed_here)
            self._paths = mailbox.watched()
            self._lookout = watcher.look_out(self._paths, self)
        self._look_at = self._next_look()
        if places is not None:
            places.wake = self.news
            if places.dirty:
                self.news(0.0)

    def wait(self, timeout: float) -> Wake:
        """Wait for the client or for news, at most `timeout` seconds. Sends what was written before waiting.

        Who sleeps (Dormant) goes on waiting, as far as the mailbox is concerned.
        """
        mailbox = self._mailbox
        if mailbox is None:
            return self._wait(timeout)
        mailbox.resting(True)
        self.is_waiting = True
        is_asleep = False
        try:
            return self._wait(timeout)
        except Dormant:
            is_asleep = True
            self._stream.woken = self._rests_no_more
            raise
        finally:
            if not is_asleep:
                self._rests_no_more()

    def _rests_no_more(self) -> None:
        self.is_waiting = False
        self._mailbox.resting(False)

    def _wait(self, timeout: float) -> Wake:
        end = time.monotonic() + timeout
        self._looked_since = math.inf
        if self._lookout is not None:
            self._lookout.interest.renew()
        unsure_until = self._unsure_until()
        while True:
            now = time.monotonic()
            look_at = self._look_at if self._places is None else min(self._look_at, self._places.look_at)
            due = min(look_at, unsure_until, end if self._ripe is None else self._ripe)
            is_quiet = self._ripe is None and unsure_until == math.inf
            wake = self._stream.rest(min(due, end) - now, is_quiet and self._stream.may_sleep)
            if wake is Wake.INPUT:
                return wake
            now = time.monotonic()
            if self._ripe is not None and now >= self._ripe:
                self._ripe = None
                if self._lookout is not None:
                    if now < self._look_at:
                        self._looked_since = self._lookout.newest
                    if self._lookout.interest.polled is not self._counted:  # events came to an end, or come again
                        self._look_at = self._next_look()
                return Wake.CHANGED
            if now >= look_at:
                if now >= self._look_at:
                    self._look_at = self._next_look()
                return Wake.CHANGED
            if now >= unsure_until:
                unsure_until = float("inf")
                if self._mailbox.unsure() != unsure_until:  # else another session has looked
                    return Wake.CHANGED
            if now >= end:
                return Wake.TIMEOUT

    @property
    def news_age(self) -> float:
        """Seconds: a look that began since then is enough after `wait` said CHANGED."""
        return max(0.0, time.monotonic() - self._looked_since)

    def was_looked_at(self, since: float) -> bool:
        """As of `lookout.Looker`."""
        found: bool = self._mailbox.was_looked_at(time.monotonic() - since)
        return found

    def looks_in(self) -> float:
        """Seconds until it looks without news."""
        look_at = self._look_at if self._places is None else min(self._look_at, self._places.look_at)
        return look_at - time.monotonic()

    def has_looked(self) -> bool:
        """Whether nothing happened for certain; then it is looked again when that would be due anew."""
        is_news = self._ripe is not None or self._places is not None
        if is_news or self._lookout is None or not self._mailbox.is_unchanged():
            return False
        self._lookout.interest.renew()
        self._look_at = self._next_look()
        return True

    def close(self) -> None:
        """End the registration."""
        if self._closed:
            return
        self._closed = True
        if self._counted:
            self._watcher.count_polled(-1)
        if self._cancel is not None:
            self._cancel()
        if self._lookout is not None:
            self._watcher.look_no_more(self._paths, self)
        if self._places is not None:
            self._places.wake = None

    def _changed_here(self) -> None:
        self.news(GATHER)

    def news(self, delay: float) -> None:
        """It shall look in so many seconds; at once."""
        if self._ripe is None:
            self._ripe = time.monotonic() + delay
            self._stream.interrupt(delay)

    def _next_look(self) -> float:
        """When to look without news; jittered, so that ten thousand sessions do not look at once."""
        if self._lookout is None:
            return float("inf")
        polled = self._lookout.interest.polled
        if polled != self._counted:
            self._counted = polled
            self._watcher.count_polled(1 if polled else -1)
        interval = self._watcher.poll_interval if polled else SLOW_LOOK
        due = time.monotonic() + interval * random.uniform(0.8, 1.0)
        return due - due % TOGETHER if not polled and interval > 2 * TOGETHER else due

    def _unsure_until(self) -> float:
        """When to look because two changes in one step of the file system's clock cannot be told apart before."""
        if self._mailbox is None:
            return float("inf")
        unsure: float = self._mailbox.unsure()
        return time.monotonic() + max(LEAST_LOOK, unsure + random.uniform(0.0, GATHER))
