"""watchdog's inotify descriptor, read by the event loop instead of a thread.

What this process writes to a mailbox that is watched comes back as events, too. A thread is woken by each of them while
the loop works on, and then both want the interpreter; the loop reads all that has come when it gets to it.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import select
from collections.abc import Callable

from gevent import get_hub
from watchdog.observers.inotify_c import InotifyFD

_READ = 1  # libev's EV_READ


class Inotify(InotifyFD):
    """One inotify instance, made after the fork; never started as a thread. Raises OSError if there can be no more."""

    def __init__(self, failed: Callable[[OSError], None]) -> None:
        """`failed` is told, on the loop, that nothing can be read any more."""
        super().__init__()
        self._is_reading = False  # `close` leaves the descriptors to the thread if that has not begun to read
        self._failed = failed
        self._ready = select.poll()
        self._ready.register(self._inotify_fd, select.POLLIN)
        self._io = get_hub().loop.io(self._inotify_fd, _READ, ref=False)
        self._io.start(self._read)

    def _read(self) -> None:
        """Hand over one portion; the loop comes again if there is more. A call without events would block."""
        try:
            events = self.read_events() if self._ready.poll(0) else ()
        except OSError as error:
            self._io.stop()
            self._failed(error)
            return
        for event in events:
            self.handle_event(event)

    def close(self) -> None:
        """End it, and all watches."""
        self._io.stop()
        self._io.close()
        super().close()
