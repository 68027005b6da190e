"""Penalties for addresses that guess passwords (`auth.penalties`), between the parent that keeps them and its workers.

A worker says {"op": "wrong", "address": ..., "digest": ...} of a wrong password and {"op": "right", "address": ...} of
a right one, and is not answered: the parent tells all workers what holds from then on, {"op": "toll", "network": ...,
"wait": 8.0, "banned": 0.0}, seconds. So a worker knows without asking, and a login costs no message if all is well.

Many connections are no way around it: of one address a worker checks one guess after another, and each pays what the
one before it has cost. As long as none was wrong, some are checked at a time (`Turns`). The same name and password at
the same time, as a phone sends that opens a connection for each folder, is one guess and waits for nobody; but where no
other would find a place it has none either, or whoever is refused at once would have tried a password against one that
is being checked. Names take turns, and none has all places: who guesses at one does not keep out the others.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import hashlib
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event

from greenmail import metrics
from greenmail.auth.penalties import (
    FORGOTTEN,
    LAST_TRIES,
    MOST,
    BanRule,
    Penalties,
    Toll,
    Turns,
    after,
    is_new,
    network,
)

log = logging.getLogger(__name__)

OF_ONE_NAME = 3 / 4  # of the places of those that wait for their turn


class Gatekeeper:
    """The parent's side: what to tell the workers."""

    def __init__(self, rule: BanRule) -> None:
        self.penalties = Penalties(rule)

    def hear(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Of a worker; gives what all workers are to be told."""
        address, now = message["address"], time.monotonic()
        if message["op"] == "right":
            self.penalties.succeeded(address)
        elif self.penalties.failed(address, message["digest"], now):
            rule = self.penalties.rule
            log.warning("banned network=%s failures=%d seconds=%g", network(address), rule.failures, rule.time)
            metrics.ban()
        yield self._told(address, now)

    def clear(self, address: str = "") -> tuple[int, dict[str, Any]]:
        """Forget one address, or all: how many were, and what all workers are to be told."""
        count = self.penalties.clear(address)
        return count, {"op": "toll", "network": network(address) if address else "", "wait": 0.0, "banned": 0.0}

    def known(self) -> list[dict[str, Any]]:
        """What a worker is born with: all that the others were told."""
        return [
            {"op": "toll", "network": listed.network, "wait": listed.wait, "banned": listed.banned_for}
            for listed in self.penalties.listed(time.monotonic())
            if listed.wait or listed.banned_for
        ]

    def _told(self, address: str, now: float) -> dict[str, Any]:
        toll = self.penalties.toll(address, now)
        left = self.penalties.banned(now).get(network(address), 0.0) if toll.is_banned else 0.0
        return {"op": "toll", "network": network(address), "wait": toll.wait, "banned": left}


@dataclass(slots=True)
class _Line:
    """The guesses of one network."""

    going_on: Counter[object] = field(default_factory=Counter)  # what tells one guess from another
    waiting: deque[tuple[str, Any]] = field(default_factory=deque)  # names, and events
    last: str = ""  # the name that had its turn last
    called: int = 0  # who waited, has been woken, and does not run yet


class Guard:
    """The worker's side: `auth.logins.Guard`."""

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        exempt: Callable[[str], bool],
        secret: bytes,
        known: Iterable[Mapping[str, Any]] = (),
        turns: Turns | None = None,
    ) -> None:
        """`turns`: None, the defaults of the settings."""
        self._say = say
        self._turns = turns or Turns()
        self._exempt = exempt  # whether an address is never made to wait
        self._secret = secret[:64]
        self._tolls: OrderedDict[str, tuple[float, float, float]] = OrderedDict()  # seconds, until, banned until
        self._tries: OrderedDict[str, deque[str]] = OrderedDict()  # the last digests, by network
        self._lines: dict[str, _Line] = {}
        for message in known:
            self.told(message)

    @contextmanager
    def turn(self, address: str, login: str, password: bytes) -> Iterator[Toll | None]:
        """While a guess waits and is checked: what it has to do before. None: too many wait, or for too long."""
        if self._exempt(address):
            yield Toll()
            return
        name = network(address)
        line = self._lines.setdefault(name, _Line())
        guess = self._digest(login, password) or object()
        try:
            if not self._has_turn(line, guess, login.casefold(), address):
                yield None
                return
            line.going_on[guess] += 1
            try:
                yield self.toll(address)
            finally:
                line.going_on[guess] -= 1
                line.going_on += Counter()  # without those that are zero
        finally:
            self._call(line, address)
            if not line.going_on and not line.waiting and not line.called and self._lines.get(name) is line:
                del self._lines[name]

    def _has_turn(self, line: _Line, guess: object, login: str, address: str) -> bool:
        alike = sum(name == login for name, _ in line.waiting)
        most = self._turns.max_waiting_logins_per_address
        if len(line.waiting) >= most or alike >= most * OF_ONE_NAME:
            return False
        if guess in line.going_on:
            return True
        if not line.waiting and self._has_room(line, address):
            line.last = login
            return True
        called: Any = Event()
        place = login, called
        line.waiting.append(place)
        try:
            has_turn = bool(called.wait(self._turns.timeout_waiting_login))
        finally:
            if place in line.waiting:
                line.waiting.remove(place)
            else:
                line.called -= 1
        return has_turn

    def _has_room(self, line: _Line, address: str) -> bool:
        most = 1 if self.toll(address).wait else self._turns.max_logins_at_once_per_address
        return len(line.going_on) + line.called < most

    def _call(self, line: _Line, address: str) -> None:
        while line.waiting and self._has_room(line, address):
            place = next((one for one in line.waiting if one[0] != line.last), line.waiting[0])
            line.waiting.remove(place)
            line.last, called = place
            line.called += 1
            called.set()

    def told(self, message: Mapping[str, Any]) -> None:
        """By the parent."""
        name, now = message["network"], time.monotonic()
        if not name:
            self._tolls.clear()
            return
        self._tolls.pop(name, None)
        if message["wait"] or message["banned"]:
            self._tolls[name] = message["wait"], now + FORGOTTEN, now + message["banned"]
        while len(self._tolls) > MOST:
            self._tolls.popitem(last=False)

    def toll(self, address: str) -> Toll:
        """What this address has to do before it may try to log in."""
        if not self._tolls or self._exempt(address):
            return Toll()
        wait, until, banned_until = self._tolls.get(network(address), (0.0, 0.0, 0.0))
        now = time.monotonic()
        return Toll(wait if now < until else 0.0, now < banned_until)

    def is_banned(self, address: str) -> bool:
        """Whether it may not even connect."""
        return self.toll(address).is_banned

    def wrong(self, address: str, login: str, password: bytes) -> None:
        """A login failed; `password` is empty if the client did not send it."""
        if self._exempt(address):
            return
        digest = self._digest(login, password)
        self._expect(network(address), digest)
        self._say({"op": "wrong", "address": address, "digest": digest})

    def _digest(self, login: str, password: bytes) -> str:
        """Tells one pair from another; empty if the password is not known."""
        if not password:
            return ""
        text = login.encode("utf-8", "surrogateescape") + b"\x00" + password
        return hashlib.blake2b(text, digest_size=12, key=self._secret).hexdigest()

    def _expect(self, name: str, digest: str) -> None:
        """What the parent is going to say, as far as it can be known here: the next guess may not be earlier."""
        tries = self._tries.setdefault(name, deque(maxlen=LAST_TRIES))
        self._tries.move_to_end(name)
        while len(self._tries) > MOST:
            self._tries.popitem(last=False)
        if not is_new(tries, digest):
            return
        wait, until, banned_until = self._tolls.get(name, (0.0, 0.0, 0.0))
        now = time.monotonic()
        self._tolls[name] = after(wait if now < until else 0.0), now + FORGOTTEN, banned_until

    def right(self, address: str) -> None:
        """A login succeeded where it had to wait."""
        if not self._exempt(address):
            self._say({"op": "right", "address": address})
