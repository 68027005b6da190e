"""Remembers for some minutes which passwords were right, so that a client's tenth connection costs no hash.

What is kept is a MAC (key of this process; user, password, stored password): nothing that a core dump would show, and
nothing that is still right after the user's line changed. Failures are kept where a database on another machine is
asked, and for a shorter while: a phone with an old password would ask it all day. The same is kept of whom it does not
know and of whose password is wrong, so that neither is told from the other. Guessing stays as slow as it is: another
password is asked for anew.
"""

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable

from greenmail.auth.api import Denial


class SuccessCache:
    """Keys with the time when each becomes worthless; the oldest goes first when there are too many."""

    def __init__(self, lifetime: float = 300.0, most: int = 20000, now: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._most = most
        self._now = now
        self._key = os.urandom(32)
        self._until: dict[bytes, float] = {}  # in the order of entering, so of expiry

    def knows(self, user: str, password: bytes, stored: str) -> bool:
        """Whether this password was right for this stored one a short while ago."""
        return self._until.get(_digest(self._key, user, password, stored), float("-inf")) > self._now()

    def remember(self, user: str, password: bytes, stored: str) -> None:
        """Note that it was right just now."""
        now = self._now()
        if self._most <= 0 or self._lifetime <= 0:
            return
        for oldest in _first(self._until, 2):
            if self._until[oldest] <= now or len(self._until) >= self._most:
                del self._until[oldest]
        digest = _digest(self._key, user, password, stored)
        self._until.pop(digest, None)
        self._until[digest] = now + self._lifetime


class FailureCache:
    """What was wrong with a user and a password, for a short while."""

    def __init__(self, lifetime: float = 30.0, most: int = 20000, now: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._most = most
        self._now = now
        self._key = os.urandom(32)
        self._kept: dict[bytes, tuple[float, Denial]] = {}  # in the order of entering, so of expiry

    def recall(self, user: str, password: bytes) -> Denial | None:
        """What it was a short while ago."""
        until, denial = self._kept.get(_digest(self._key, user, password), (float("-inf"), None))
        return denial if until > self._now() else None

    def remember(self, user: str, password: bytes, denial: Denial) -> None:
        """Note what it was just now."""
        if self._most <= 0 or self._lifetime <= 0:
            return
        now = self._now()
        for oldest in _first(self._kept, 2):
            if self._kept[oldest][0] <= now or len(self._kept) >= self._most:
                del self._kept[oldest]
        digest = _digest(self._key, user, password)
        self._kept.pop(digest, None)
        self._kept[digest] = (now + self._lifetime, denial)


def _digest(key: bytes, user: str, password: bytes, stored: str = "") -> bytes:
    parts = (user.encode("utf-8", "surrogatepass"), password, stored.encode("utf-8", "surrogateescape"))
    # With their lengths, so that no two different triples are one string.
    joined = b"".join(len(part).to_bytes(8) + part for part in parts)
    return hashlib.blake2b(joined, digest_size=32, key=key).digest()


def _first(kept: Iterable[bytes], count: int) -> list[bytes]:
    return list(itertools.islice(kept, count))
