"""News of many places for one session: what NOTIFY waits for, RFC 5465.

What is watched is shared: a worker has one `_Place` for each mailbox of a user, whatever the number of his connections,
and a connection has a reference to it. Rules and fall-backs are those of `watch`.
"""

import random
import time
from collections.abc import Callable, Sequence

from greenmail.net.watch import SLOW_LOOK, Interest, Watcher

GATHER = 0.1  # seconds from the first event to the look: some more of a burst of deliveries are told in one answer


class _Place:
    """One thing that sessions want news of."""

    __slots__ = ("interest", "is_counted", "name", "paths", "users")

    def __init__(self, name: str, paths: tuple[str, ...], watcher: Watcher) -> None:
        self.name = name
        self.paths = paths
        self.users: list[SessionPlaces] = []
        self.interest: Interest = watcher.interest(paths, self._tell)
        self.is_counted = self.interest.polled

    def _tell(self, delay: float) -> None:
        self.interest.renew()
        for user in tuple(self.users):
            user.mark(self.name, max(delay, GATHER))


class SharedPlaces:
    """The places of a worker."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._places: dict[tuple[str, tuple[str, ...]], _Place] = {}

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks at what cannot be watched."""
        return self._watcher.poll_interval

    def __len__(self) -> int:
        return len(self._places)

    def take(self, name: str, paths: Sequence[str], user: "SessionPlaces") -> _Place:
        """The place, with one more user."""
        key = name, tuple(paths)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(name, key[1], self._watcher)
            if place.is_counted:
                self._watcher.count_polled(1)
        place.users.append(user)
        return place

    def give_back(self, place: _Place, user: "SessionPlaces") -> None:
        """One user less; the last one ends the watches."""
        place.users.remove(user)
        if not place.users:
            del self._places[place.name, place.paths]
            if place.is_counted:
                self._watcher.count_polled(-1)
            place.interest.close()


class SessionPlaces:
    """A `runtime.Places`; `wake`, `dirty` and `look_at` are for `watch.SessionWatch`."""

    def __init__(self, shared: SharedPlaces) -> None:
        self._shared = shared
        self._places: dict[str, _Place] = {}
        self.wake: Callable[[float], None] | None = None
        self.dirty: set[str] = set()
        self._again: dict[str, float] = {}  # when to look whatever happens
        self._slow_at = time.monotonic() + SLOW_LOOK * random.uniform(0.8, 1.0)
        self._poll_at = self._next_poll()

    @property
    def look_at(self) -> float:
        """When to look at what is polled, at everything, or where it was asked for."""
        return min(self._poll_at, self._slow_at, *self._again.values())

    def add(self, name: str, paths: Sequence[str]) -> None:
        """Register for what happens at `paths`; in place of others."""
        old = self._places.get(name)
        if old is not None and old.paths == tuple(paths):
            old.interest.renew()  # they may have gone and be there again
            return
        self._places[name] = self._shared.take(name, paths, self)
        if old is not None:
            self._shared.give_back(old, self)

    def drop(self, name: str) -> None:
        """End that registration, if there is one."""
        place = self._places.pop(name, None)
        self.dirty.discard(name)
        self._again.pop(name, None)
        if place is not None:
            self._shared.give_back(place, self)

    def again(self, name: str, seconds: float) -> None:
        """Look there in so many seconds, too."""
        if name in self._places:
            self._again[name] = time.monotonic() + seconds

    def changed(self) -> set[str]:
        """The names for which there may be news since they were asked for last."""
        now = time.monotonic()
        changed, self.dirty = self.dirty, set()
        for name in [name for name, moment in self._again.items() if now >= moment]:
            del self._again[name]
            changed.add(name)
        if now >= self._slow_at:
            self._slow_at = now + SLOW_LOOK * random.uniform(0.8, 1.0)
            changed = set(self._places)
        elif now >= self._poll_at:
            changed.update(name for name, place in self._places.items() if place.interest.polled)
        if now >= self._poll_at:
            self._poll_at = self._next_poll()
        return changed

    def close(self) -> None:
        """End all registrations."""
        for name in list(self._places):
            self.drop(name)

    def mark(self, name: str, delay: float) -> None:
        """There may be news; at once."""
        self.dirty.add(name)
        if self.wake is not None:
            self.wake(delay)

    def _next_poll(self) -> float:
        return time.monotonic() + self._shared.poll_interval * random.uniform(0.8, 1.0)
