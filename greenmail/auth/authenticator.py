"""The way of a login: name, user database, password, and whether this user may come in from there.

Everything about the user but the password is decided after the password: who does not know it learns nothing, neither
by the answer nor by the time it takes. A user who is not there is compared with somebody else's stored password.

A master user comes in as another one, with his own password: as `user*master`, or with `user` for the authorization
identity of a SASL mechanism (RFC 4616 2, RFC 5802 5.1). What holds for the login (`nologin`, `allow_nets`, the list of
who is denied) is then asked of the master, and where the mail is of the user.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from greenmail import metrics
from greenmail.auth import database, names, schemes, scram_keys
from greenmail.auth.admission import SHOWN, Admission, Claim, Databases, Rules
from greenmail.auth.anonymous import ANONYMOUS
from greenmail.auth.api import Attempt, Clear, Denial, Denied, Keys, Proof, Secret, Token, User
from greenmail.auth.app_passwords import AppPasswords
from greenmail.auth.cache import FailureCache, SuccessCache
from greenmail.auth.database import Blocking, Database, Entry, Question, StandIn, Unavailable, Verdict, Verify, Wrong
from greenmail.auth.gate import Gate
from greenmail.auth.passwd_file import PasswdFile, deny_file

log = logging.getLogger(__name__)

BACKENDS: dict[str, Callable[[str], Database]] = {"passwd-file": PasswdFile, "deny-file": deny_file}


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
        failures: FailureCache | None = None,
        app_passwords: AppPasswords | None = None,
    ) -> None:
        """`tokens` says whom a bearer token is for; it may take its time, in a pool of its own."""
        self._databases = databases
        self._rules = rules
        self._blocking = blocking
        self._cache = cache or SuccessCache()
        self._failures = failures or FailureCache()
        self._gate = gate or Gate()
        self._admission = Admission(databases, rules, blocking)
        self._app_passwords = app_passwords
        self._tokens = tokens
        self.takes_tokens = tokens is not None
        self.anonymous_user = rules.anonymous_user

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
        more = () if self._app_passwords is None else (self._app_passwords.database,)
        for one in (*self._databases.with_passwords, *more):
            summary = one.scram(self._blocking)
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

    def _invented(self, claim: Claim, mechanism: str) -> Keys:
        kinds: dict[scram_keys.Kind, int] = {}
        for one in claim.databases:
            for kind, count in one.scram(self._blocking).kinds.get(mechanism, {}).items():
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
            return Denied(denial, claim.shown[:SHOWN], proof.text)
        for name in (claim.name, claim.target) if claim.is_master else (claim.name,):
            reason = names.refusal(name)
            if reason:
                return Denied(Denial.INVALID_NAME, name[:SHOWN], f"the name {reason}")
        known = self._remembered(claim, attempt)
        if known is not None:
            return known
        if not self._gate.enter(attempt.address):
            metrics.refused(attempt.protocol, "password-queue")
            text = f"too many logins wait for their password to be checked, of {attempt.address} or of all"
            return Denied(Denial.UNAVAILABLE, claim.shown, text)
        try:
            if self._has_app_password(claim, attempt):
                attempt = replace(attempt, proof=Proof(True, vouched="app password"))
            return self._look_up(claim, attempt)
        finally:
            self._gate.leave(attempt.address)

    def _has_app_password(self, claim: Claim, attempt: Attempt) -> bool:
        """Such a password is its user's alone; whether he is there and may come in is still to be seen."""
        if self._app_passwords is None or claim.is_master or attempt.proof is not None:
            return False
        return self._app_passwords.knows(claim.name, attempt)

    def _claim(self, login: str, authorize_as: str, vouched: str = "") -> Claim:
        """`user*master` is for people to type: a name that is vouched for is a name as it stands there.

        Who does not say who he is comes in as the one whom the settings name, whatever the attempt says.
        And a token makes nobody a master: its names may be such as users chose for themselves.
        """
        if vouched == ANONYMOUS:
            name = self.normalize(self.anonymous_user)
            return Claim(name, name, self._databases.users, is_anonymous=True)
        users, masters = self._databases.users, () if vouched == "token" else self._databases.masters
        separator = self._rules.master_separator
        if masters:
            target, found, master = login.partition(separator) if separator else (login, "", "")
            if found and authorize_as in ("", target) and not vouched:
                return Claim(self._master_name(master), self.normalize(target), masters, True)
            if authorize_as and self.normalize(authorize_as) != self.normalize(login) and not found:
                return Claim(self._master_name(login), self.normalize(authorize_as), masters, True)
        return Claim(self.normalize(login), self.normalize(authorize_as or login), users)

    def _master_name(self, login: str) -> str:
        """`default-domain` is that of the users."""
        return names.normalize(login, self._rules.username_format)

    def _remembered(self, claim: Claim, attempt: Attempt) -> User | Denied | None:
        """What is known of this user and this very password from a short while ago; at once."""
        if attempt.proof is not None:
            return None
        password = attempt.password.reveal()
        entry = self._recall(claim)
        if entry is not None and entry.compared and self._cache.knows(claim.name, password, _compared(entry, attempt)):
            return self._admission.admit(entry, claim, attempt)
        denial = self._failures.recall(_key(claim, attempt), password)
        return None if denial is None else Denied(denial, claim.shown, f"{denial.value}, as a moment ago")

    def _recall(self, claim: Claim) -> Entry | None:
        """What a later database has counts only if the earlier ones are known not to know the user."""
        for one in claim.databases:
            found = one.recall(claim.name)
            if not isinstance(found, StandIn):
                return found
        return None

    def _find(self, databases: Sequence[Database], name: str) -> Entry | StandIn | Unavailable:
        """The user in the first database that has him. One that cannot be read may have something against him."""
        return database.find(databases, (), name, self._blocking)

    def _look_up(self, claim: Claim, attempt: Attempt) -> User | Denied:
        """By the databases, in order: the first that knows the user decides."""
        if attempt.proof is not None:
            return self._by_proof(claim, attempt)
        stand_in, refusal = StandIn(), None
        for one in claim.databases:
            found: Verdict
            if one.verify is not None:
                found = self._asked(one.verify, claim.name, attempt)
                refusal = refusal or Wrong(Denial.UNKNOWN.value)  # that took its time: nothing more is compared
                if isinstance(found, Entry):
                    return self._right(found, claim, attempt)
            else:
                found = one.find(claim.name, self._blocking)
            if isinstance(found, Unavailable):
                return Denied(Denial.UNAVAILABLE, claim.shown, found.text)
            if isinstance(found, Entry):
                return self._compare(found, claim, attempt)
            if isinstance(found, StandIn):
                stand_in = found if found.stored and not stand_in.stored else stand_in
            elif found.goes_on:
                refusal = found
            else:
                return self._failed(Denial.MISMATCH, found.text, claim, attempt)
        if refusal is None:
            self._verify(stand_in.stored or schemes.STAND_IN, attempt)
        if refusal is None or not refusal.goes_on:
            return self._failed(Denial.UNKNOWN, "", claim, attempt)
        return self._failed(Denial.MISMATCH, refusal.text, claim, attempt)

    @staticmethod
    def _asked(verify: Verify, name: str, attempt: Attempt) -> Verdict:
        """Nobody may log in without a password: to an LDAP server that would be a bind of nobody, and right."""
        if not schemes.is_possible(attempt.password.reveal()):
            return Wrong("the password is empty, too long, or has a NUL in it")
        return verify(name, Question(attempt.password, attempt.address, attempt.protocol, attempt.mechanism))

    def _by_proof(self, claim: Claim, attempt: Attempt) -> User | Denied:
        found = database.find(claim.databases, self._places(claim), claim.name, self._blocking)
        if isinstance(found, Unavailable):
            return Denied(Denial.UNAVAILABLE, claim.shown, found.text)
        if isinstance(found, Entry):
            return self._proved(found, claim, attempt)
        if attempt.proof is not None and attempt.proof.unavailable:
            return self._no_keys(claim)
        if claim.is_anonymous:
            log.error("anonymous-user user=%r is in no user database: nobody can come in as him", claim.name)
            return Denied(Denial.UNAVAILABLE, claim.shown, "anonymous-user is in no user database")
        return Denied(Denial.UNKNOWN, claim.shown, Denial.UNKNOWN.value)

    def _places(self, claim: Claim) -> Sequence[Database]:
        """Where users are of whom a database cannot say whether they are there."""
        return () if claim.is_master else self._databases.places

    def _no_keys(self, claim: Claim) -> Denied:
        return Denied(Denial.UNAVAILABLE, claim.shown, "the user database gave no keys, or too many logins wait for it")

    def _compare(self, entry: Entry, claim: Claim, attempt: Attempt) -> User | Denied:
        verdict = self._verify(entry.stored, attempt)
        if verdict.problem:
            log.warning("password user=%r %s", entry.name, verdict.problem)
        if not verdict.right:
            return self._failed(Denial.MISMATCH, verdict.problem, claim, attempt)
        return self._right(entry, claim, attempt)

    def _right(self, entry: Entry, claim: Claim, attempt: Attempt) -> User | Denied:
        """The password is: what is still against him?"""
        if entry.compared:
            self._cache.remember(claim.name, attempt.password.reveal(), _compared(entry, attempt))
        return self._admission.admit(entry, claim, attempt)

    def _failed(self, denial: Denial, text: str, claim: Claim, attempt: Attempt) -> Denied:
        if any(one.is_remote for one in claim.databases):
            self._failures.remember(_key(claim, attempt), attempt.password.reveal(), denial)
        return Denied(denial, claim.shown, text or denial.value)

    def _proved(self, entry: Entry, claim: Claim, attempt: Attempt) -> User | Denied:
        """By what the file says now, which may be something else than when the exchange began."""
        proof = attempt.proof
        assert proof is not None, "the caller looked"
        if proof.unavailable:
            return self._no_keys(claim)
        if not proof.right or (proof.stored != entry.stored and not proof.vouched):
            return Denied(Denial.MISMATCH, claim.shown, proof.text or Denial.MISMATCH.value)
        return self._admission.admit(entry, claim, attempt)

    def _verify(self, stored: str, attempt: Attempt) -> schemes.Verdict:
        verdict: schemes.Verdict = self._blocking(_verify, stored, attempt.password, self._rules.allow_weak_schemes)
        return verdict


def _verify(stored: str, password: Secret, allow_weak: bool) -> schemes.Verdict:
    """Runs in the pool. A stored password that cannot be compared takes as long as one that can."""
    verdict = schemes.verify(stored, password.reveal(), allow_weak)
    if verdict.problem:
        schemes.verify(schemes.STAND_IN, password.reveal(), allow_weak)
    return verdict


def _compared(entry: Entry, attempt: Attempt) -> str:
    """What the password was right for. Who compares it himself may say another thing of another protocol or address."""
    return entry.stored or f"{entry.proof} {attempt.protocol} {attempt.address}"


def _key(claim: Claim, attempt: Attempt) -> str:
    """A master is another one than the user of that name; and an app password may be for one protocol."""
    kind = "master" if claim.is_master else "user"
    return f"{kind} {attempt.protocol} {attempt.address} {claim.name}"
