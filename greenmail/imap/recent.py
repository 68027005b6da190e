"""Which messages are \\Recent for a session: RFC 3501 2.3.2; RFC 9051 does not have it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Recent:
    """Ranges of UIDs, each later than the one before. Who opens a mailbox first has one for a million messages."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []  # inclusive

    def add(self, uids: Sequence[int]) -> None:
        """These too: neighbours in the session's view, ascending, later than all before."""
        if not uids:
            return
        if self._lasts and uids[0] <= self._lasts[-1] + 1:
            self._lasts[-1] = max(uids[-1], self._lasts[-1])
        else:
            self._firsts.append(uids[0])
            self._lasts.append(uids[-1])

    def clear(self) -> None:
        """None any more."""
        self._firsts.clear()
        self._lasts.clear()

    def __contains__(self, uid: int) -> bool:
        """Whether a message of the view is."""
        place = bisect_right(self._firsts, uid)
        return place > 0 and uid <= self._lasts[place - 1]

    def count(self, uids: Sequence[int]) -> int:
        """How many of all messages of the view are, which ascend."""
        return sum(
            bisect_right(uids, last) - bisect_left(uids, first)
            for first, last in zip(self._firsts, self._lasts, strict=True)
        )

    def of(self, uids: Sequence[int]) -> bool | None:
        """Whether all of these are (True), or none (False); None if each has to be asked about."""
        if not self._firsts or not uids:
            return False
        least, most = min(uids), max(uids)
        place = bisect_right(self._firsts, least)
        if place and most <= self._lasts[place - 1]:
            return True
        begins_later = place == len(self._firsts) or self._firsts[place] > most
        return False if begins_later and (not place or self._lasts[place - 1] < least) else None
