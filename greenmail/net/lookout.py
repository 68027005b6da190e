"""One look for all: which of the sessions that wait for news of a mailbox looks when something happened on disk.

Hundreds of sessions of a worker may wait for news of one mailbox. What one of them finds, the mailbox tells the others
(`storage.api.Mailbox.subscribe`): a look of their own would find nothing more. Should that one not come to it, because
its client does not read or because the look failed, all look after PATIENCE.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gevent import get_hub

PATIENCE = 0.5  # seconds


class Looker(Protocol):
    """A session's wait for news: `watch.SessionWatch`."""

    is_waiting: bool  # it would look soon

    def news(self, delay: float) -> None:
        """It shall look in so many seconds."""

    def was_looked_at(self, since: float) -> bool:
        """Whether a look at its mailbox began after that moment of the monotonic clock, by whomever."""


class Interest(Protocol):
    """`watch.Interest`."""

    @property
    def polled(self) -> bool: ...

    def renew(self) -> None: ...

    def close(self) -> None: ...


class Lookout:
    """Who waits for news of what happens at some paths."""

    __slots__ = ("_timer", "interest", "newest", "users")

    def __init__(self, interest: Callable[[Callable[[float], None]], Interest]) -> None:
        """`interest` registers a function that is told of what happens there, with the seconds until the look."""
        self.users: dict[Looker, None] = {}
        self.newest = float("-inf")  # when we were told last that something happened, by the monotonic clock
        self._timer: Any = None
        self.interest = interest(self._happened)

    def _happened(self, delay: float) -> None:
        self.newest = time.monotonic()
        looker = next((user for user in self.users if user.is_waiting), None)
        if looker is None:  # each looks when it waits again
            self._tell(tuple(self.users), delay)
            return
        looker.news(delay)
        if self._timer is None and len(self.users) > 1:
            self._make_sure_in(delay + PATIENCE)

    def _make_sure_in(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._make_sure, self.newest)

    def _make_sure(self, since: float) -> None:
        self._stop()
        self._tell([user for user in self.users if not user.was_looked_at(since)], 0.0)
        if self.newest > since:  # something more has happened, and nobody may have looked behind that
            self._make_sure_in(PATIENCE)

    def _tell(self, users: Sequence[Looker], delay: float) -> None:
        for user in users:
            user.news(delay)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()

    def close(self) -> None:
        """Nobody waits any more."""
        self._stop()
        self.interest.close()
