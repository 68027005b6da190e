"""A database that is asked over the network, as the authenticator sees it: threads, a memory, and what the log says.

What it said of a user is kept for some minutes, so that with `cache` a client's tenth connection asks nobody: the same
password for what was the user then. Another password is always asked for anew. A user's other password takes the place
of the first: so a password that was changed is over as soon as the new one was used, or when the time is.

Who is not there is to take as long as a wrong password. Where hashes are told, one of those seen lately is compared for
him. Where a server compares, a refusal is held back for as long as the slowest one took of late.
"""

import hmac
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from greenmail.auth import scram_keys
from greenmail.auth.database import (
    Blocking,
    Entry,
    Found,
    Listed,
    Question,
    StandIn,
    Unavailable,
    Verdict,
    Verify,
    Wrong,
)

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 1.0  # seconds for which a refusal is held back, at most
_FADING = 0.95  # of that time, with each refusal
_SEEN = 64  # stored passwords, for those who are not there


class Backend(Protocol):
    """A database as it is asked on a thread: it may wait, and has its own limits of time. It raises nothing."""

    label: str  # for the log: its type
    compares: bool  # wants to be shown the password; otherwise `look_up` tells what is stored
    summary: scram_keys.Summary

    def look_up(self, name: str) -> Found:
        """The user."""

    def verify(self, name: str, question: Question) -> Verdict:
        """The user, if the password is right."""

    def everybody(self) -> Listed:
        """The names of all users."""


class Remembered:
    """Satisfies `database.Database`."""

    is_remote = True

    def __init__(
        self,
        backend: Backend,
        run: Blocking,
        lifetime: float = 300.0,
        most: int = 20000,
        negative: float = 30.0,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`run` is a pool for this: a server that does not answer must not keep a thread from comparing passwords.

        It may raise TimeoutError.

        `negative` is how long it is remembered that there is no such user: only that the next database is asked.
        """
        self._backend = backend
        self._run = run
        self._lifetime = lifetime
        self._negative = negative
        self._most = most
        self._now = now
        self._kept: dict[str, tuple[float, Entry | StandIn]] = {}  # in the order of entering
        self._is_down = False
        self._pause = pause
        self._slowest = 0.0
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._secret = os.urandom(16)

    @property
    def verify(self) -> Verify | None:
        """How it is shown a password."""
        return self._verify if self._backend.compares else None

    def recall(self, name: str) -> Entry | StandIn | None:
        """What it said a short while ago."""
        until, entry = self._kept.get(name, (float("-inf"), None))
        return entry if until > self._now() else None

    def find(self, name: str, blocking: Blocking) -> Found:
        """What it says now."""
        found: Found = self._asked(self._backend.look_up, name)
        self._tell(found)
        if isinstance(found, StandIn):
            found = StandIn(self._stand_in(name))
        elif isinstance(found, Entry) and found.stored and found.stored not in self._seen:
            self._seen.append(found.stored)
        if isinstance(found, StandIn) or (isinstance(found, Entry) and found.stored):
            self._keep(name, found)
        return found

    def _verify(self, name: str, question: Question) -> Verdict:
        verdict: Verdict = self._asked(self._compared, name, question)
        self._tell(verdict)
        if isinstance(verdict, Entry):
            # Of no other time: what is remembered of an earlier password ends here.
            verdict = replace(verdict, proof=os.urandom(12).hex())
        if isinstance(verdict, Entry | StandIn):
            self._keep(name, verdict)
        return verdict

    def _compared(self, name: str, question: Question) -> Verdict:
        """On a thread: what the server says, and if it is no, not sooner than usual."""
        begin = self._now()
        verdict = self._backend.verify(name, question)
        if isinstance(verdict, Wrong | StandIn):
            took = self._now() - begin
            self._slowest = min(max(took, self._slowest * _FADING), _LONGEST_PAUSE)
            if took < self._slowest:
                self._pause(self._slowest - took)
        return verdict

    def _stand_in(self, name: str) -> str:
        """A hash to compare for who is not there; empty: none has been seen."""
        if not self._seen:
            return ""
        drawn = hmac.digest(self._secret, name.encode("utf-8", "surrogatepass"), "sha256")
        return self._seen[int.from_bytes(drawn[:8]) % len(self._seen)]

    def _asked(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return self._run(function, *args)
        except TimeoutError as error:
            return Unavailable(str(error))

    def everybody(self, blocking: Blocking) -> Listed:
        """What it says now; nothing of it is remembered."""
        listed: Listed = self._asked(self._backend.everybody)
        return listed

    def scram(self, blocking: Blocking) -> scram_keys.Summary:
        """What the settings say that every user has."""
        return self._backend.summary

    def _keep(self, name: str, found: Entry | StandIn) -> None:
        lifetime = self._lifetime if isinstance(found, Entry) else self._negative
        self._kept.pop(name, None)
        if self._most <= 0 or lifetime <= 0:
            return
        now = self._now()
        for oldest in [oldest for oldest, _ in zip(self._kept, range(2), strict=False)]:
            if self._kept[oldest][0] <= now or len(self._kept) >= self._most:
                del self._kept[oldest]
        self._kept[name] = (now + lifetime, found)

    def _tell(self, found: Found | Wrong) -> None:
        """The log has it once that it does not answer, and once that it does again."""
        if isinstance(found, Unavailable):
            if found.of_one:
                log.warning("user-database type=%s %s", self._backend.label, found.text)
            elif not self._is_down:
                self._is_down = True
                log.error("user-database type=%s is not available: %s", self._backend.label, found.text)
        elif self._is_down:
            self._is_down = False
            log.info("user-database type=%s is available again", self._backend.label)


def summary(schemes: tuple[str, ...], rounds: int) -> scram_keys.Summary:
    """Of users who all have these: PLAIN, SCRAM-SHA-256, SCRAM-SHA-1. The rest cannot be said."""
    kind = scram_keys.Kind() if "PLAIN" in schemes else scram_keys.Kind(rounds, 16, False)
    kinds = {name: {kind: 1} for name in scram_keys.NOTHING.lacking if name in schemes or "PLAIN" in schemes}
    return scram_keys.Summary(
        kinds, {name: count for name, count in scram_keys.NOTHING.lacking.items() if name not in kinds}
    )
