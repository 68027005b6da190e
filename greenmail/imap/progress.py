"""How far a long command is, RFC 9585: told every few seconds while nothing else can be.

resp-text-code =/ "INPROGRESS" [SP "(" inprogress-tag SP inprogress-state ")"]
"""

from collections.abc import Callable


class Progress:
    """One command while it works; `look` is called now and then, where no answer is half written."""

    __slots__ = ("_goal", "_interval", "_next", "_now", "_tag", "_tell", "done")

    def __init__(
        self, tag: bytes, goal: int, interval: float, now: Callable[[], float], tell: Callable[[bytes], None]
    ) -> None:
        """`goal`: messages that there are to be processed; `tell` sends a line at once."""
        self._tag = b"NIL" if b"]" in tag else b'"%b"' % tag  # RFC 9585 4
        self._goal = goal
        self._interval = interval
        self._now = now
        self._tell = tell
        self._next = now() + interval
        self.done = 0  # messages that have been processed

    def look(self) -> None:
        """Tell, if it is time. RFC 9585 4: less than the goal, which the tagged response alone reaches."""
        now = self._now()
        if now < self._next:
            return
        self._next = now + self._interval
        if self._goal < 1:
            self._tell(b"* OK [INPROGRESS (%b NIL NIL)] Still working\r\n" % self._tag)
            return
        done = min(self.done, self._goal - 1)
        percent = 100 * done // self._goal
        self._tell(
            b"* OK [INPROGRESS (%b %d %d)] Processed %d%% of the messages\r\n" % (self._tag, done, self._goal, percent)
        )
