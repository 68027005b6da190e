"""Waiting for one socket: until it is ready, there is news for its session, or time is over.

Each command of a client is such a wait. Setting a timer and taking it away again would cost as much as reading the
command: so one timer stays as it is from wait to wait, and goes off early for those that last longer; then it is set
for the rest. A wait that would end before it sets another.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import math
import time
from collections.abc import Callable
from typing import Any

from gevent import get_hub
from gevent.hub import Waiter

from greenmail.net.sleep import Sleep
from greenmail.net.work import Clock
from greenmail.runtime import Wake

READ = 1
WRITE = 2

_INPUT, _TIMEOUT = Wake.INPUT, Wake.TIMEOUT  # an Enum takes its time to find its members


class Readiness:
    """Of one socket; used by one green thread, but for `interrupt`."""

    __slots__ = ("_clock", "_due", "_ios", "_loop", "_timer", "_until", "_waiter")

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._clock = clock
        self._loop = get_hub().loop
        self._ios = {READ: self._loop.io(descriptor, READ)}
        self._waiter: Any = None
        self._until = math.inf  # when the present wait ends, by the monotonic clock
        self._timer: Any = None
        self._due = math.inf  # when the timer goes off

    def wait(self, event: int, seconds: float, descriptor: int) -> Wake:
        """Wait until the socket is ready (INPUT), `interrupt` was called (CHANGED) or time is over (TIMEOUT)."""
        if seconds <= 0:
            return Wake.TIMEOUT
        io = self._ios.get(event)
        if io is None:
            io = self._ios[event] = self._loop.io(descriptor, event)
        used = self._clock.used()
        self._until = until = time.monotonic() + seconds
        if until < self._due:
            self._set(until, seconds)
        waiter = self._waiter = Waiter()
        io.start(waiter.switch, _INPUT)
        try:
            wake: Wake = waiter.get()
            return wake
        finally:
            self._waiter = None
            io.stop()
            self._clock.resumed(used)

    def _set(self, due: float, seconds: float) -> None:
        self._end_timer()
        self._due = due
        self._timer = self._loop.timer(seconds)
        self._timer.start(self._ring)

    def _ring(self) -> None:
        """The timer has gone off: for the present wait, or for one before it."""
        self._end_timer()
        if self._waiter is None:
            return
        left = self._until - time.monotonic()
        if left > 0:
            self._set(self._until, left)
        else:
            self._waiter.switch(_TIMEOUT)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer, self._due = None, math.inf

    def interrupt(self) -> bool:
        """End the wait; False if there is none. May be called by any green thread."""
        if self._waiter is None:
            return False
        self._loop.run_callback(self._waiter.switch, Wake.CHANGED)
        return True

    def sleep(self, seconds: float, wake: Callable[[], None], due: Callable[[], float | None]) -> Sleep:
        """Wait for input without a green thread."""
        return Sleep(self._loop, self._ios[READ], seconds, wake, due)

    @property
    def is_closed(self) -> bool:
        """Nobody can wait any more."""
        return not self._ios

    def close(self) -> None:
        """Give the watchers back."""
        for io in self._ios.values():
            io.close()
        self._ios = {}
        self._end_timer()
