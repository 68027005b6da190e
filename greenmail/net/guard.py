"""Penalties for addresses that guess passwords (`auth.penalties`), between the parent that keeps them and its workers.

A worker says {"op": "wrong", "address": ..., "digest": ...} of a wrong password and {"op": "right", "address": ...} of
a right one, and is not answered: the parent tells all workers what holds from then on, {"op": "toll", "network": ...,
"wait": 8.0, "banned": 0.0}, seconds. So a worker knows without asking, and a login costs no message if all is well.
"""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenmail import metrics
from greenmail.auth.penalties import FORGOTTEN, MOST, BanRule, Penalties, Toll, network

log = logging.getLogger(__name__)


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


class Guard:
    """The worker's side: `auth.logins.Guard`."""

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        exempt: Callable[[str], bool],
        secret: bytes,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._say = say
        self._exempt = exempt  # whether an address is never made to wait
        self._secret = secret[:64]
        self._tolls: OrderedDict[str, tuple[float, float, float]] = OrderedDict()  # seconds, until, banned until
        for message in known:
            self.told(message)

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
        digest = ""
        if password:
            text = login.encode("utf-8", "surrogateescape") + b"\x00" + password
            digest = hashlib.blake2b(text, digest_size=12, key=self._secret).hexdigest()
        self._say({"op": "wrong", "address": address, "digest": digest})

    def right(self, address: str) -> None:
        """A login succeeded where it had to wait."""
        if not self._exempt(address):
            self._say({"op": "right", "address": address})
