"""How fast a client may be: `max-commands-per-minute`."""


class Pace:
    """A bucket that holds the commands of one minute and fills steadily; who has emptied it waits for the next drop."""

    __slots__ = ("_full", "_left", "_then")

    def __init__(self, per_minute: int) -> None:
        self._full = float(per_minute)  # 0: no limit
        self._left = self._full
        self._then = 0.0

    def wait(self, now: float) -> float:
        """Seconds until one more command may be carried out, which is counted here; 0: at once.

        `now` is `Runtime.elapsed`, not the wall clock, which somebody may set.
        """
        if not self._full:
            return 0.0
        if self._then:
            self._left = min(self._full, self._left + max(0.0, now - self._then) * self._full / 60.0)
        self._then = now
        self._left -= 1.0
        return max(0.0, -self._left * 60.0 / self._full)
