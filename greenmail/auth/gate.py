"""Bounds what waits for the password pool: in all, and for one address.

A thousand guesses a second must not make the right password wait for a minute, nor may one address use up the queue.
Who does not fit is told at once to come back later; nothing is put to sleep here.
"""

import ipaddress
from collections import Counter
from functools import lru_cache

_ADDRESSES = 1000  # whose network is kept


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


@lru_cache(maxsize=_ADDRESSES)
def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
