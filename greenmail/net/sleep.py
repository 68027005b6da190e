"""The sleep of a connection: nobody waits for it but the event loop.

A green thread that waits takes 11 KB: two pages of Python's stack, the C stack, its frames. So where a client has been
silent for a while, and the engine can be called anew (`runtime.Dormant`), the thread ends, and another one begins when
there is something to do. Clients in IDLE sleep nearly always; signs of life are sent without waking them.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import select
import time
from collections.abc import Callable
from typing import Any

LONGEST = 86400.0  # seconds


class Sleep:
    """Until the socket is ready, or time is over; then `wake` is called, once, on the loop.

    When only the time is over that was set at the beginning, `due` is asked first: for how many seconds the sleep goes
    on; None: it does not. Nothing is given back and taken again then: ten thousand sleepers cost little else.
    """

    __slots__ = ("_due", "_io", "_is_over", "_loop", "_timer", "_until", "_wake")

    def __init__(
        self, loop: Any, io: Any, seconds: float, wake: Callable[[], None], due: Callable[[], float | None]
    ) -> None:
        """`io`: the watcher of the socket's input."""
        self._loop, self._io, self._wake, self._due = loop, io, wake, due
        self._timer: Any = None
        self._is_over = False
        io.start(self._over, False)
        self._set(seconds, True)

    def sooner(self, seconds: float) -> None:
        """Let it end in so many seconds at the latest; `wake` is told then that there may be more to do.

        Does nothing if it is over: who is being woken looks for himself.
        """
        if self._is_over:
            return
        self._stop()
        self._set(min(seconds, self._until - time.monotonic()), False)

    def _set(self, seconds: float, is_due: bool) -> None:
        seconds = min(max(seconds, 0.0), LONGEST)
        self._until = time.monotonic() + seconds
        self._timer = self._loop.timer(seconds)
        self._timer.start(self._over, is_due)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()

    def _over(self, is_due: bool) -> None:
        if self._is_over:  # the socket and the timer in one turn of the loop
            return
        self._is_over = True  # also for `sooner`, while `due` is asked
        if is_due:
            seconds = self._due()
            if seconds is not None:
                self._is_over = False
                self._stop()
                self._set(seconds, True)
                return
        self._io.stop()
        self._stop()
        self._wake()


def has_room(sock: Any) -> bool:
    """Whether a line can be sent for certain without waiting."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLOUT)
    return poll.poll(0) == [(sock.fileno(), select.POLLOUT)]
