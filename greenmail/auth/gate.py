"""Bounds what waits for the password pool: in all, and for one address.

A thousand guesses a second must not make the right password wait for a minute, nor may one address use up the queue.
Who does not fit is told at once to come back later; nothing is put to sleep here.
"""

from collections import Counter

from greenmail.auth.penalties import network


class Gate:
    """Counts who is inside. `enter` is followed by `leave` exactly if it gave True."""

    def __init__(self, most: int = 128, most_per_address: int = 32) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._inside: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> bool:
        """Whether there is room for one more from `address`."""
        place = network_of(address)
        if self._total >= self._most or self._inside[place] >= self._most_per_address:
            return False
        self._inside[place] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        """One from `address` is done."""
        place = network_of(address)
        self._total -= 1
        self._inside[place] -= 1
        if self._inside[place] <= 0:
            del self._inside[place]

    @property
    def waiting(self) -> int:
        """How many are inside, for the metrics."""
        return self._total


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has. What is none is itself."""
    try:
        return network(address, 64)
    except ValueError:
        return address
