"""Remembers for some minutes which passwords were right, so that a client's tenth connection costs no hash.

What is kept is HMAC(key of this process, user, password, stored password): nothing that a core dump would show, and
nothing that is still right after the user's line changed. Failures are not kept: guessing stays as slow as it is.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable


class SuccessCache:
    """Keys with the time when each becomes worthless; the oldest goes first when there are too many."""

    def __init__(self, lifetime: float = 300.0, most: int = 20000, now: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._most = most
        self._now = now
        self._key = os.urandom(32)
        self._until: dict[bytes, float] = {}  # in the order of entering, so of expiry

    def _digest(self, user: str, password: bytes, stored: str) -> bytes:
        parts = (user.encode("utf-8", "surrogatepass"), password, stored.encode("utf-8", "surrogateescape"))
        # With their lengths, so that no two different triples are one string.
        joined = b"".join(len(part).to_bytes(8) + part for part in parts)
        return hmac.digest(self._key, joined, hashlib.sha256)

    def knows(self, user: str, password: bytes, stored: str) -> bool:
        """Whether this password was right for this stored one a short while ago."""
        return self._until.get(self._digest(user, password, stored), float("-inf")) > self._now()

    def remember(self, user: str, password: bytes, stored: str) -> None:
        """Note that it was right just now."""
        now = self._now()
        for oldest in list(self._first(2)):
            if self._until[oldest] <= now or len(self._until) >= self._most:
                del self._until[oldest]
        digest = self._digest(user, password, stored)
        self._until.pop(digest, None)
        self._until[digest] = now + self._lifetime

    def _first(self, count: int) -> list[bytes]:
        return [digest for digest, _ in zip(self._until, range(count), strict=False)]
