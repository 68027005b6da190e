"""What an address has to wait for that guesses passwords, and when it may not come at all.

The parent keeps them for all workers and both protocols. The first failures cost the next tries of the same address 2,
4 and 8 seconds, every further one 15; when none has come for half a minute all is forgotten. A client that repeats a
wrong password, as phones do for days after a change, guesses nothing: what was among the last ten tries is not counted
again. Many failures in a day are a ban for a while. Of IPv6 a /48 is one address: who has one has 2**80 of them.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import lru_cache

STEPS = (0.0, 2.0, 4.0, 8.0, 15.0)  # seconds, by the failures that count
FORGOTTEN = 29.0  # seconds without a failure
LAST_TRIES = 10
MOST = 20_000  # addresses remembered; beyond them the one that was seen longest ago is forgotten
_ADDRESSES = 2000  # whose network is kept; of one address two


@lru_cache(maxsize=_ADDRESSES)
def network(address: str, bits: int = 48) -> str:
    """What counts as one address: itself, or of IPv6 its /48, or another network. Raises ValueError: it is none."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, bits), strict=False))


def is_new(tries: deque[str], digest: str) -> bool:
    """Whether a try is none of the last LAST_TRIES, `tries`, among which it is from now on.

    `digest` tells one pair of name and password from another and is of no other use; empty: it cannot be told.
    """
    if digest and digest in tries:
        return False
    tries.append(digest)
    return True


def after(wait: float) -> float:
    """Seconds that the next try costs, if one that has cost `wait` failed."""
    return next((step for step in STEPS if step > wait), STEPS[-1])


@dataclass(frozen=True, slots=True)
class BanRule:
    """Named as the settings are; `failures` 0: nobody is ever banned."""

    failures: int = 0
    window: float = 86_400.0  # seconds in which they count
    time: float = 3_600.0  # seconds that a ban lasts


@dataclass(frozen=True, slots=True)
class Turns:
    """How many from one address try to log in at the same time; of a worker. Named as the settings are."""

    max_logins_at_once_per_address: int = 4  # while none of them was wrong; then one
    max_waiting_logins_per_address: int = 32  # for their turn
    timeout_waiting_login: float = 60.0  # seconds that one waits for it


@dataclass(frozen=True, slots=True)
class Toll:
    """What an address has to do before its next try."""

    wait: float = 0.0  # seconds
    is_banned: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """One address for `greenmail penalty list`."""

    network: str
    failures: int  # that the present wait is for
    wait: float  # seconds, of the next try
    in_window: int  # failures that count for a ban
    banned_for: float  # seconds from now; 0: is not


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last: float = 0.0
    tries: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_TRIES))
    times: deque[float] = field(default_factory=deque)  # of the failures that count for a ban
    banned_until: float = 0.0


class Penalties:
    """Plain data, no waiting. Times are those of one monotonic clock."""

    def __init__(self, rule: BanRule) -> None:
        self.rule = rule
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def toll(self, address: str, now: float) -> Toll:
        """Before a try."""
        record = self._records.get(network(address))
        if record is None:
            return Toll()
        if record.banned_until > now:
            return Toll(is_banned=True)
        return Toll(wait=self._wait(record, now))

    def failed(self, address: str, digest: str, now: float) -> bool:
        """A try with a wrong password, or for nobody; whether the address is banned from now on. `digest`: `is_new`."""
        name = network(address)
        record = self._records.setdefault(name, _Record())
        self._records.move_to_end(name)
        if not is_new(record.tries, digest):
            return False
        record.failures = record.failures + 1 if now - record.last < FORGOTTEN else 1
        record.last = now
        banned = self._counts_for_ban(record, now)
        while len(self._records) > MOST:
            self._records.popitem(last=False)
        return banned

    def succeeded(self, address: str) -> None:
        """Somebody came in from there: nothing to wait for. What counts for a ban stays; one password may be known."""
        record = self._records.get(network(address))
        if record is not None:
            record.failures = 0

    def clear(self, address: str = "") -> int:
        """Forget one address, or all: how many were."""
        if not address:
            count = len(self._records)
            self._records.clear()
            return count
        return int(self._records.pop(network(address), None) is not None)

    def listed(self, now: float) -> list[Listed]:
        """All that there is to wait for or to be banned for."""
        found = []
        for name, record in self._records.items():
            self._forget_old(record, now)
            wait = self._wait(record, now)
            left = max(0.0, record.banned_until - now)
            if wait or left or record.times:
                found.append(Listed(name, record.failures if wait else 0, wait, len(record.times), left))
        return found

    def banned(self, now: float) -> dict[str, float]:
        """Each banned network with the seconds that are left."""
        return {name: record.banned_until - now for name, record in self._records.items() if record.banned_until > now}

    def _wait(self, record: _Record, now: float) -> float:
        if not record.failures or now - record.last >= FORGOTTEN:
            return 0.0
        return STEPS[min(record.failures, len(STEPS) - 1)]

    def _counts_for_ban(self, record: _Record, now: float) -> bool:
        if not self.rule.failures:
            return False
        record.times.append(now)
        self._forget_old(record, now)
        if len(record.times) < self.rule.failures:
            return False
        record.times.clear()
        record.banned_until = now + self.rule.time
        return True

    def _forget_old(self, record: _Record, now: float) -> None:
        while record.times and now - record.times[0] >= self.rule.window:
            record.times.popleft()
