"""Who wants to be called when a mailbox changes: `api.Mailbox.subscribe`."""

from collections.abc import Callable


class Subscribers:
    """Functions without arguments, called in the order in which they came."""

    __slots__ = ("_functions", "_next")

    def __init__(self) -> None:
        self._functions: dict[int, Callable[[], None]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._functions)

    def add(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have `notify` called at changes; gives the canceller, which may be called more than once."""
        number = self._next
        self._next += 1
        self._functions[number] = notify

        def cancel() -> None:
            self._functions.pop(number, None)

        return cancel

    def notify(self) -> None:
        """Call all of them; one may cancel itself or another, or subscribe, meanwhile."""
        for notify in list(self._functions.values()):
            notify()
