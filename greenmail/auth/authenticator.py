"""The way of a login: name, user database, password, and whether this user may come in from there.

Everything about the user but the password is decided after the password: who does not know it learns nothing, neither
by the answer nor by the time it takes. A user who is not there is compared with somebody else's stored password.
"""

import ipaddress
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from greenmail import metrics
from greenmail.auth import names, schemes
from greenmail.auth.api import Attempt, Denial, Denied, Secret, User
from greenmail.auth.cache import SuccessCache
from greenmail.auth.gate import Gate
from greenmail.auth.passwd_file import Entry, PasswdFile, StandIn, Unavailable

log = logging.getLogger(__name__)

Blocking = Callable[..., Any]
_SHOWN = 256  # characters of what a client sent that the log gets to see


class Database(Protocol):
    """Where users are."""

    def recall(self, name: str) -> Entry | None:
        """The user, if that can be said at once."""

    def find(self, name: str, blocking: Blocking) -> Entry | StandIn | Unavailable:
        """The user, working through `blocking`."""


BACKENDS: dict[str, Callable[[str], Database]] = {"passwd-file": PasswdFile}


def _process_owner() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about users."""

    username_format: str = "%Lu"
    default_domain: str = ""
    allow_weak_schemes: bool = False
    owner: Callable[[], tuple[int, int]] = field(default=_process_owner)  # uid and gid that mail is written with


class PasswordAuthenticator:
    """Satisfies `api.Authenticator`. One a worker, used by its green threads; the pool sees plain values only."""

    def __init__(
        self,
        databases: Sequence[Database],
        rules: Rules,
        blocking: Blocking,
        cache: SuccessCache | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._databases = tuple(databases)
        self._rules = rules
        self._blocking = blocking
        self._cache = cache or SuccessCache()
        self._gate = gate or Gate()

    def normalize(self, login: str) -> str:
        """A client's spelling of a name as the rest of the server knows it."""
        return names.normalize(login, self._rules.username_format, self._rules.default_domain)

    @property
    def waiting(self) -> int:
        """Logins that wait for the pool or are in it, for the metrics."""
        return self._gate.waiting

    def check(self, attempt: Attempt) -> User | Denied:
        """The user, or why not. Takes equally long for an unknown user and a wrong password."""
        name = self.normalize(attempt.login)
        reason = names.refusal(name)
        if reason:
            return Denied(Denial.INVALID_NAME, name[:_SHOWN], f"the name {reason}")
        entry = self._recall(name)
        if entry is not None and self._cache.knows(name, attempt.password.reveal(), entry.stored):
            return self._admit(entry, attempt)
        if not self._gate.enter(attempt.address):
            metrics.refused(attempt.protocol, "password-queue")
            text = f"too many logins wait for their password to be checked, of {attempt.address} or of all"
            return Denied(Denial.UNAVAILABLE, name, text)
        try:
            return self._look_up(name, attempt)
        finally:
            self._gate.leave(attempt.address)

    def _recall(self, name: str) -> Entry | None:
        # Only the first database: what a later one has counts only if the earlier ones do not know the user.
        return self._databases[0].recall(name) if self._databases else None

    def _look_up(self, name: str, attempt: Attempt) -> User | Denied:
        stand_in = ""
        for database in self._databases:
            found = database.find(name, self._blocking)
            if isinstance(found, Unavailable):
                return Denied(Denial.UNAVAILABLE, name, found.text)
            if isinstance(found, Entry):
                return self._compare(found, attempt)
            stand_in = stand_in or found.stored
        self._verify(stand_in or schemes.STAND_IN, attempt)
        return Denied(Denial.UNKNOWN, name, Denial.UNKNOWN.value)

    def _compare(self, entry: Entry, attempt: Attempt) -> User | Denied:
        verdict = self._verify(entry.stored, attempt)
        if verdict.problem:
            log.warning("password user=%r %s", entry.name, verdict.problem)
        if not verdict.right:
            return Denied(Denial.MISMATCH, entry.name, verdict.problem or Denial.MISMATCH.value)
        self._cache.remember(entry.name, attempt.password.reveal(), entry.stored)
        return self._admit(entry, attempt)

    def _verify(self, stored: str, attempt: Attempt) -> schemes.Verdict:
        verdict: schemes.Verdict = self._blocking(_verify, stored, attempt.password, self._rules.allow_weak_schemes)
        return verdict

    def _admit(self, entry: Entry, attempt: Attempt) -> User | Denied:
        """Whether a user who knows the password may come in."""
        name = entry.name
        if attempt.authorize_as and self.normalize(attempt.authorize_as) != name:
            return Denied(Denial.MISMATCH, name, f"may not act as {attempt.authorize_as[:_SHOWN]!r}")
        if entry.no_login:
            return Denied(Denial.NO_LOGIN, name, entry.no_login)
        if entry.allow_nets is not None and not _within(attempt.address, entry):
            return Denied(Denial.NETWORK, name, f"{attempt.address} is not in allow_nets={','.join(entry.allow_nets)}")
        uid, gid = self._rules.owner()
        if (entry.uid is not None and entry.uid != uid) or (entry.gid is not None and entry.gid != gid):
            text = f"mail belongs to {_owner(entry.uid, entry.gid)}, this server runs as {_owner(uid, gid)}"
            log.error("owner user=%r %s", name, text)
            return Denied(Denial.OWNER, name, text)
        return User(name, entry.home, entry.uid, entry.gid, entry.extra)


def _verify(stored: str, password: Secret, allow_weak: bool) -> schemes.Verdict:
    """Runs in the pool. A stored password that cannot be compared takes as long as one that can."""
    verdict = schemes.verify(stored, password.reveal(), allow_weak)
    if verdict.problem:
        schemes.verify(schemes.STAND_IN, password.reveal(), allow_weak)
    return verdict


def _owner(uid: int | None, gid: int | None) -> str:
    return f"{'any' if uid is None else uid}:{'any' if gid is None else gid}"


def _within(address: str, entry: Entry) -> bool:
    """Whether the client's address is in `allow_nets`. What cannot be read there allows nothing."""
    try:
        client = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(client, "ipv4_mapped", None)
    for net in entry.allow_nets or ():
        try:
            if (mapped or client) in ipaddress.ip_network(net, strict=False):
                return True
        except ValueError:
            log.warning("allow-nets user=%r has %r, which is not a network", entry.name, net)
    return False
