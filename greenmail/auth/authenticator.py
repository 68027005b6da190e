"""The way of a login: name, user database, password, and whether this user may come in from there.

Everything about the user but the password is decided after the password: who does not know it learns nothing, neither
by the answer nor by the time it takes. A user who is not there is compared with somebody else's stored password.

A master user comes in as another one, with his own password: as `user*master`, or with `user` for the authorization
identity of a SASL mechanism (RFC 4616 2, RFC 5802 5.1). What holds for the login (`nologin`, `allow_nets`, the list of
who is denied) is then asked of the master, and where the mail is of the user.
"""

import ipaddress
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from greenmail import metrics
from greenmail.auth import names, schemes, scram_keys
from greenmail.auth.api import Attempt, Clear, Denial, Denied, Keys, Secret, Token, User
from greenmail.auth.cache import SuccessCache
from greenmail.auth.gate import Gate
from greenmail.auth.database import Blocking, Database, Entry, StandIn, Unavailable
from greenmail.auth.passwd_file import PasswdFile, deny_file

log = logging.getLogger(__name__)

_SHOWN = 256  # characters of what a client sent that the log gets to see


BACKENDS: dict[str, Callable[[str], Database]] = {"passwd-file": PasswdFile, "deny-file": deny_file}


def _process_owner() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about users."""

    username_format: str = "%Lu"
    default_domain: str = ""
    allow_weak_schemes: bool = False
    owner: Callable[[], tuple[int, int]] = field(default=_process_owner)  # uid and gid that mail is written with
    master_separator: str = "*"  # in `user*master`
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)  # of all workers, for invented salts


@dataclass(frozen=True, slots=True)
class Databases:
    """Whom to ask, and in which order."""

    users: Sequence[Database] = ()
    masters: Sequence[Database] = ()  # who may come in as others
    denied: Sequence[Database] = ()  # who may not come in at all

    @property
    def with_passwords(self) -> tuple[Database, ...]:
        """Where passwords are."""
        return (*self.users, *self.masters)


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who wants to come in, and as whom."""

    name: str  # whose password it is
    target: str  # whose mail
    databases: Sequence[Database]  # in which the password is
    is_master: bool = False

    @property
    def shown(self) -> str:
        """For the log."""
        return f"{self.target} (master {self.name})" if self.is_master else self.name


class PasswordAuthenticator:
    """Satisfies `api.Authenticator`. One a worker, used by its green threads; the pool sees plain values only."""

    def __init__(
        self,
        databases: Databases,
        rules: Rules,
        blocking: Blocking,
        cache: SuccessCache | None = None,
        gate: Gate | None = None,
        tokens: Callable[[Secret], Token] | None = None,
    ) -> None:
        """`tokens` says whom a bearer token is for; it may take its time, in a pool of its own."""
        self._databases = databases
        self._rules = rules
        self._blocking = blocking
        self._cache = cache or SuccessCache()
        self._gate = gate or Gate()
        self._tokens = tokens
        self.takes_tokens = tokens is not None

    def normalize(self, login: str) -> str:
        """A client's spelling of a name as the rest of the server knows it."""
        return names.normalize(login, self._rules.username_format, self._rules.default_domain)

    @property
    def waiting(self) -> int:
        """Logins that wait for the pool or are in it, for the metrics."""
        return self._gate.waiting

    def able(self) -> frozenset[str]:
        """The mechanisms of SCRAM, and CRAM-MD5, that every user can use, and every master user."""
        found: list[frozenset[str]] = []
        for database in self._databases.with_passwords:
            summary = database.scram(self._blocking)
            if summary != scram_keys.EMPTY:
                found.append(summary.mechanisms)
        return frozenset.intersection(*found) if found else frozenset()

    def keys(self, mechanism: str, login: str, authorize_as: str, address: str) -> Keys | None:
        """What a proof is to be compared with: invented for an unknown user. None: that cannot be found out now."""
        claim = self._claim(login, authorize_as)
        if not self._gate.enter(address):
            return None
        try:
            found = None if names.refusal(claim.name) else self._find(claim.databases, claim.name)
            if isinstance(found, Unavailable):
                return None
            entry = found if isinstance(found, Entry) else None
            keys = self._kept_keys(entry, mechanism) if entry is not None else None
            return keys or self._invented(claim, mechanism)
        finally:
            self._gate.leave(address)

    def clear(self, login: str, address: str) -> Clear | None:
        """The password that is stored as it is: invented for an unknown user. None: that cannot be found out now."""
        claim = self._claim(login, "")
        if not self._gate.enter(address):
            return None
        try:
            found = None if names.refusal(claim.name) else self._find(claim.databases, claim.name)
        finally:
            self._gate.leave(address)
        if isinstance(found, Unavailable):
            return None
        password = schemes.plain(found.stored) if isinstance(found, Entry) else None
        if isinstance(found, Entry) and password is not None:
            return Clear(Secret(password), found.stored)
        return Clear(Secret(os.urandom(16)))

    def token(self, token: Secret, address: str) -> Token:
        """Whom a bearer token is for; the user database is asked by `check`, later."""
        if self._tokens is None:
            return Token(text="no tokens are taken here")
        if not self._gate.enter(address):
            return Token(text="too many logins wait to be checked", unavailable=True)
        try:
            return self._tokens(token)
        finally:
            self._gate.leave(address)

    def _kept_keys(self, entry: Entry, mechanism: str) -> Keys | None:
        salt = scram_keys.salt_for(self._rules.secret, entry.name)
        if schemes.plain(entry.stored) is None:
            return scram_keys.keys_of(entry.stored, mechanism, salt)
        keys: Keys | None = self._blocking(scram_keys.keys_of, entry.stored, mechanism, salt)
        return keys

    def _invented(self, claim: _Claim, mechanism: str) -> Keys:
        kinds: dict[scram_keys.Kind, int] = {}
        for database in claim.databases:
            for kind, count in database.scram(self._blocking).kinds.get(mechanism, {}).items():
                kinds[kind] = kinds.get(kind, 0) + count
        kind = scram_keys.invented_kind(self._rules.secret, claim.name, kinds)
        if kind.is_derived:
            keys: Keys = self._blocking(scram_keys.invented, self._rules.secret, claim.name, mechanism, kind)
            return keys
        return scram_keys.invented(self._rules.secret, claim.name, mechanism, kind)

    def check(self, attempt: Attempt) -> User | Denied:
        """The user, or why not. Takes equally long for an unknown user and a wrong password."""
        proof = attempt.proof
        claim = self._claim(attempt.login, attempt.authorize_as, proof.vouched if proof is not None else "")
        if proof is not None and proof.vouched and not proof.right:
            denial = Denial.UNAVAILABLE if proof.unavailable else Denial.MISMATCH
            return Denied(denial, claim.shown[:_SHOWN], proof.text)
        for name in (claim.name, claim.target) if claim.is_master else (claim.name,):
            reason = names.refusal(name)
            if reason:
                return Denied(Denial.INVALID_NAME, name[:_SHOWN], f"the name {reason}")
        entry = self._recall(claim)
        is_known = entry is not None and self._cache.knows(claim.name, attempt.password.reveal(), entry.stored)
        if entry is not None and is_known and attempt.proof is None:
            return self._admit(entry, claim, attempt)
        if not self._gate.enter(attempt.address):
            metrics.refused(attempt.protocol, "password-queue")
            text = f"too many logins wait for their password to be checked, of {attempt.address} or of all"
            return Denied(Denial.UNAVAILABLE, claim.shown, text)
        try:
            return self._look_up(claim, attempt)
        finally:
            self._gate.leave(attempt.address)

    def _claim(self, login: str, authorize_as: str, vouched: str = "") -> _Claim:
        """`user*master` is for people to type: a name that is vouched for is a name as it stands there.

        And a token makes nobody a master: its names may be such as users chose for themselves.
        """
        users, masters = self._databases.users, () if vouched == "token" else self._databases.masters
        separator = self._rules.master_separator
        if masters:
            target, found, master = login.partition(separator) if separator else (login, "", "")
            if found and authorize_as in ("", target) and not vouched:
                return _Claim(self._master_name(master), self.normalize(target), masters, True)
            if authorize_as and self.normalize(authorize_as) != self.normalize(login) and not found:
                return _Claim(self._master_name(login), self.normalize(authorize_as), masters, True)
        return _Claim(self.normalize(login), self.normalize(authorize_as or login), users)

    def _master_name(self, login: str) -> str:
        """`default-domain` is that of the users."""
        return names.normalize(login, self._rules.username_format)

    def _recall(self, claim: _Claim) -> Entry | None:
        # Only the first database: what a later one has counts only if the earlier ones do not know the user.
        found = claim.databases[0].recall(claim.name) if claim.databases else None
        return found if isinstance(found, Entry) else None

    def _find(self, databases: Sequence[Database], name: str) -> Entry | StandIn | Unavailable:
        """The user in the first database that has him. One that cannot be read may have something against him."""
        stand_in = ""
        for database in databases:
            found = database.find(name, self._blocking)
            if not isinstance(found, StandIn):
                return found
            stand_in = stand_in or found.stored
        return StandIn(stand_in)

    def _look_up(self, claim: _Claim, attempt: Attempt) -> User | Denied:
        found = self._find(claim.databases, claim.name)
        if isinstance(found, Unavailable):
            return Denied(Denial.UNAVAILABLE, claim.shown, found.text)
        if isinstance(found, Entry):
            return (
                self._compare(found, claim, attempt) if attempt.proof is None else self._proved(found, claim, attempt)
            )
        if attempt.proof is None:
            self._verify(found.stored or schemes.STAND_IN, attempt)
        elif attempt.proof.unavailable:
            return self._no_keys(claim)
        return Denied(Denial.UNKNOWN, claim.shown, Denial.UNKNOWN.value)

    def _no_keys(self, claim: _Claim) -> Denied:
        return Denied(Denial.UNAVAILABLE, claim.shown, "the user database gave no keys, or too many logins wait for it")

    def _compare(self, entry: Entry, claim: _Claim, attempt: Attempt) -> User | Denied:
        verdict = self._verify(entry.stored, attempt)
        if verdict.problem:
            log.warning("password user=%r %s", entry.name, verdict.problem)
        if not verdict.right:
            return Denied(Denial.MISMATCH, claim.shown, verdict.problem or Denial.MISMATCH.value)
        self._cache.remember(entry.name, attempt.password.reveal(), entry.stored)
        return self._admit(entry, claim, attempt)

    def _proved(self, entry: Entry, claim: _Claim, attempt: Attempt) -> User | Denied:
        """By what the file says now, which may be something else than when the exchange began."""
        proof = attempt.proof
        assert proof is not None, "the caller looked"
        if proof.unavailable:
            return self._no_keys(claim)
        if not proof.right or (proof.stored != entry.stored and not proof.vouched):
            return Denied(Denial.MISMATCH, claim.shown, proof.text or Denial.MISMATCH.value)
        return self._admit(entry, claim, attempt)

    def _verify(self, stored: str, attempt: Attempt) -> schemes.Verdict:
        verdict: schemes.Verdict = self._blocking(_verify, stored, attempt.password, self._rules.allow_weak_schemes)
        return verdict

    def _admit(self, entry: Entry, claim: _Claim, attempt: Attempt) -> User | Denied:
        """Whether somebody who knows the password may come in."""
        name = claim.shown
        if claim.target != claim.name and not claim.is_master:
            return Denied(Denial.MISMATCH, name, f"may not act as {attempt.authorize_as[:_SHOWN]!r}")
        if entry.no_login:
            return Denied(Denial.NO_LOGIN, name, entry.no_login)
        if entry.allow_nets is not None and not _within(attempt.address, entry):
            return Denied(Denial.NETWORK, name, f"{attempt.address} is not in allow_nets={','.join(entry.allow_nets)}")
        denied = self._find(self._databases.denied, claim.name)
        if isinstance(denied, Unavailable):
            return Denied(Denial.UNAVAILABLE, name, denied.text)
        if isinstance(denied, Entry):
            return Denied(Denial.NO_LOGIN, name, "is in deny-file")
        if claim.is_master:
            return self._admit_master(entry, claim)
        return self._user(entry)

    def _admit_master(self, master: Entry, claim: _Claim) -> User | Denied:
        """The user as whom a master comes in: who must be there, but need not be allowed to log in himself."""
        target = self._find(self._databases.users, claim.target)
        if isinstance(target, Unavailable):
            return Denied(Denial.UNAVAILABLE, claim.shown, target.text)
        if isinstance(target, StandIn):
            return Denied(Denial.UNKNOWN, claim.shown, "the password is the master's, but there is no such user")
        if target.is_elsewhere:
            return Denied(Denial.NO_LOGIN, claim.shown, target.no_login)
        found = self._user(target)
        return found if isinstance(found, Denied) else replace(found, master=master.name)

    def _user(self, entry: Entry) -> User | Denied:
        uid, gid = self._rules.owner()
        if (entry.uid is not None and entry.uid != uid) or (entry.gid is not None and entry.gid != gid):
            text = f"mail belongs to {_owner(entry.uid, entry.gid)}, this server runs as {_owner(uid, gid)}"
            log.error("owner user=%r %s", entry.name, text)
            return Denied(Denial.OWNER, entry.name, text)
        return User(entry.name, entry.home, entry.uid, entry.gid, entry.extra)


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
