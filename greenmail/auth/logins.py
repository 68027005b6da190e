"""A connection's logins, as far as IMAP and POP3 have them in common: check, log, patience, and a seat in the register.

What a client is told is the protocol's business; what it must not learn is decided here. A wrong password, an unknown
user and a user who may not come in are one `Failed`, after one delay; the log knows which it was.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from greenmail import metrics
from greenmail.auth import digests, sasl, scram, vouched
from greenmail.auth.anonymous import ANONYMOUS
from greenmail.auth.api import Attempt, Authenticator, Clear, Denial, Denied, Keys, Secret, Token, User
from greenmail.auth.failures import Failures, refused_login
from greenmail.auth.penalties import Toll
from greenmail.auth.sasl import Credentials
from greenmail.runtime import Runtime

log = logging.getLogger(__name__)


class Register(Protocol):
    """Who is logged in where, over all workers (the parent's register)."""

    def login(self, user: str, address: str, protocol: str) -> str | None:
        """Enter a session; None, or why the user may not have another one."""

    def logout(self, user: str, address: str, protocol: str) -> None:
        """The session is over."""

    def poll(self, user: str, delay: float) -> float:
        """Seconds until the user may log in to POP3 again; 0: now, and then not for `delay` seconds. RFC 2449 6.5."""

    def unpoll(self, user: str) -> None:
        """He was not let in after all, so the last `poll` does not count."""


class Peer(Protocol):
    """What of a connection a login depends on: a `runtime.Wire`, or what another program says of its client."""

    @property
    def peer(self) -> str:
        """The client's IP address."""

    @property
    def local(self) -> str:
        """The server's IP address."""

    @property
    def secure(self) -> bool:
        """Whether TLS is in use."""

    @property
    def trusted(self) -> bool:
        """Counts as TLS for passwords."""

    @property
    def end_point(self) -> bytes:
        """`tls-server-end-point`, RFC 5929 4, or nothing."""

    @property
    def exporter(self) -> bytes:
        """`tls-exporter`, RFC 9266, or nothing."""

    @property
    def certified(self) -> tuple[str, ...]:
        """The users for whom the client has shown a certificate that is trusted."""


class Guard(Protocol):
    """What addresses that guess passwords have to wait for, over all workers (`penalties`)."""

    def turn(self, address: str, login: str, password: bytes) -> AbstractContextManager[Toll | None]:
        """While one tries to log in: what he has to do before, known when his turn comes. None: he waits in vain.

        `password` is empty if the client did not send it.
        """

    def wrong(self, address: str, login: str, password: bytes) -> None:
        """A login failed; `password` is empty if the client did not send it."""

    def right(self, address: str) -> None:
        """A login succeeded where it had to wait."""


class NoGuard:
    """Nobody has to wait."""

    @contextmanager
    def turn(self, address: str, login: str, password: bytes) -> Iterator[Toll | None]:
        """Nothing."""
        yield Toll()

    def wrong(self, address: str, login: str, password: bytes) -> None:
        """Is not remembered."""

    def right(self, address: str) -> None:
        """Changes nothing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a client may be wrong, and how long it waits for being told so. Named as the settings are."""

    max_auth_failures: int = 3
    auth_failure_delay: float = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Failed:
    """A login that did not succeed, as much of it as a client may know."""

    unavailable: bool  # nobody could log in now; another try may succeed
    is_last: bool = False  # patience is at its end: the connection is to be closed


_KEPT = 64  # answers to what may be offered: few settings, and what can be used changes seldom
_GUESSES = frozenset({Denial.UNKNOWN, Denial.MISMATCH, Denial.INVALID_NAME})


def _wants_stored(mechanism: str) -> bool:
    """Whether it can be used only by who has a password that is stored in a certain way."""
    return mechanism.removesuffix(scram.PLUS) in scram.HASHES or mechanism == digests.CRAM_MD5


@lru_cache(maxsize=_KEPT)
def _want_stored(mechanisms: tuple[str, ...]) -> bool:
    """Whether one of them does."""
    return any(map(_wants_stored, mechanisms))


@lru_cache(maxsize=_KEPT)  # asked with each greeting
def _usable(mechanisms: tuple[str, ...], able: frozenset[str], is_certified: bool, can_bind: bool) -> tuple[str, ...]:
    """Those that can be used. `able`: of such as not everybody has the means for, those for which he has them.

    `is_certified`: the client has shown a certificate; `can_bind`: there is a TLS channel that both ends know.
    """

    def is_usable(name: str) -> bool:
        base = name.removesuffix(scram.PLUS)
        if name == vouched.EXTERNAL:
            return is_certified
        if name in (*vouched.WITH_TOKEN, ANONYMOUS):
            return name in able
        if not _wants_stored(name):
            return True
        return base in able and (base == name or can_bind)

    return tuple(filter(is_usable, mechanisms))


class Logins:
    """One connection's tries to log in."""

    __slots__ = (
        "_failures",
        "_first_failure",
        "_guard",
        "_patience",
        "_protocol",
        "_register",
        "_runtime",
        "_sid",
        "_wire",
    )

    def __init__(
        self,
        protocol: str,
        sid: str,
        wire: Peer,
        runtime: Runtime,
        register: Register,
        patience: Patience,
        guard: Guard | None = None,
    ) -> None:
        self._protocol = protocol
        self._sid = sid
        self._wire = wire
        self._runtime = runtime
        self._register = register
        self._patience = patience
        self._guard = guard or NoGuard()
        self._failures = 0
        self._first_failure = 0.0

    @property
    def is_private(self) -> bool:
        """Whether a password may be sent here as it is: TLS, or a network that the settings trust."""
        return self._wire.secure or self._wire.trusted

    def offered(self, mechanisms: tuple[str, ...], authenticator: Authenticator) -> tuple[str, ...]:
        """Those of the SASL mechanisms that may be used now, by every user.

        None without TLS: PLAIN would show the password, RFC 9051 11.3, RFC 5034 4; SCRAM would let a listener try
        passwords at home, RFC 5802 9; and the mail would follow in clear with any of them.
        """
        if not self.is_private:
            return ()
        able = frozenset[str]()
        if authenticator.takes_tokens and self._wire.secure:  # RFC 7628 3: a token is nothing for others to see
            able = frozenset(vouched.WITH_TOKEN)
        if authenticator.anonymous_user:
            able |= {ANONYMOUS}
        if _want_stored(mechanisms):
            able |= authenticator.able()
        return _usable(mechanisms, able, bool(self._wire.certified), bool(self._wire.end_point or self._wire.exporter))

    def can_apop(self, authenticator: Authenticator) -> bool:
        """Whether APOP may be used now, by every user: RFC 1939 7. As for SASL, not where others may listen."""
        return self.is_private and digests.CRAM_MD5 in authenticator.able()

    def begin(
        self, authenticator: Authenticator, offered: tuple[str, ...], mechanism: str, initial: bytes | None
    ) -> sasl.Exchange:
        """A run of one of the mechanisms in `offered`; `initial` is the initial response as on the wire, or None."""

        def keys(name: str, login: str, authorize_as: str) -> Keys | None:
            return authenticator.keys(name, login, authorize_as, self._wire.peer)

        def clear(login: str) -> Clear | None:
            return authenticator.clear(login, self._wire.peer)

        def token(sent: Secret) -> Token:
            return authenticator.token(sent, self._wire.peer)

        can_bind = any(name.endswith(scram.PLUS) for name in offered)
        means = scram.Means(
            keys,
            self._wire.end_point if can_bind else b"",
            exporter=self._wire.exporter if can_bind else b"",
            clear=clear,
            certified=self._wire.certified,
            token=token,
            anonymous_user=authenticator.anonymous_user,
        )
        return sasl.start(mechanism, sasl.initial(initial), means)

    def check(self, authenticator: Authenticator, mechanism: str, credentials: Credentials) -> User | Failed:
        """The user who came in, or that nobody did: then a while has passed."""
        peer, login = self._wire.peer, credentials.login
        with self._guard.turn(peer, login, credentials.password.reveal()) as toll:
            if toll is None:
                log.info("login refused sid=%s rip=%s reason=WAITING", self._sid, peer)
                metrics.refused(self._protocol, "waiting")
                self._runtime.sleep(self._patience.auth_failure_delay)
                return Failed(unavailable=True)
            if toll.is_banned:
                log.info("login refused sid=%s rip=%s reason=BANNED", self._sid, peer)
                metrics.refused(self._protocol, "banned")
                return Failed(unavailable=False, is_last=True)
            outcome = self._checked(authenticator, mechanism, credentials, toll)
        if isinstance(outcome, Denied):
            return self._failed(mechanism, login, outcome)
        if outcome.is_anonymous:
            log.info("anonymous sid=%s user=%r rip=%s trace=%r", self._sid, outcome.name, peer, credentials.trace)
        return outcome

    def _checked(
        self, authenticator: Authenticator, mechanism: str, credentials: Credentials, toll: Toll
    ) -> User | Denied:
        """What comes of it, behind what is to be waited for; the guard is told."""
        if toll.wait:
            self._runtime.sleep(toll.wait)
        outcome = authenticator.check(
            Attempt(
                login=credentials.login,
                password=credentials.password,
                address=self._wire.peer,
                protocol=self._protocol,
                mechanism=mechanism,
                secure=self._wire.secure,
                authorize_as=credentials.authorize_as,
                proof=credentials.proof,
            )
        )
        if isinstance(outcome, Denied):
            if outcome.denial in _GUESSES:
                self._guard.wrong(self._wire.peer, credentials.login, credentials.password.reveal())
        elif toll.wait and not outcome.is_anonymous:  # that anybody may come in shows nothing
            self._guard.right(self._wire.peer)
        return outcome

    def _failed(self, mechanism: str, login: str, denied: Denied) -> Failed:
        unavailable = denied.denial is Denial.UNAVAILABLE
        metrics.login(self._protocol, "unavailable" if unavailable else "failed")
        log.info(
            "login refused sid=%s user=%r rip=%s reason=%s text=%r",
            self._sid, denied.user, self._wire.peer, denied.denial.name, denied.text,
        )  # fmt: skip
        if not unavailable:
            self._count(mechanism, login)
        self._runtime.sleep(self._patience.auth_failure_delay)
        is_last = not unavailable and self._failures >= self._patience.max_auth_failures
        if is_last:
            metrics.refused(self._protocol, "failures")
        return Failed(unavailable, is_last)

    def _count(self, mechanism: str, login: str) -> None:
        """One failure more, in the line that fail2ban reads."""
        now = self._runtime.elapsed()
        self._first_failure = self._first_failure if self._failures else now
        self._failures += 1
        failures = Failures(
            protocol=self._protocol,
            attempts=self._failures,
            seconds=now - self._first_failure,
            login=login,
            method=mechanism,
            address=self._wire.peer,
            local=self._wire.local,
            secure=self._wire.secure,
            session=self._sid,
        )
        log.warning("%s", refused_login(failures))

    def take_seat(self, user: User) -> bool:
        """Whether the user may have one more session; `leave_seat` gives it back."""
        too_many = self._register.login(user.name, self._wire.peer, self._protocol)
        if too_many is None:
            return True
        log.warning(
            "login limit sid=%s user=%r rip=%s reason=%r", self._sid, user.name, self._wire.peer, too_many
        )  # fmt: skip
        metrics.login(self._protocol, "refused")
        metrics.refused(self._protocol, "user")
        return False

    def must_wait(self, user: User, delay: float) -> float:
        """Seconds until the user may come again: LOGIN-DELAY, RFC 2449 6.5; 0: he may come in now."""
        if user.is_anonymous:  # those who come as one are many, and do not wait for one another
            return 0.0
        wait = self._register.poll(user.name, delay) if delay else 0.0
        if wait:
            log.info("login too soon sid=%s user=%r rip=%s wait=%.1f", self._sid, user.name, self._wire.peer, wait)
            metrics.login(self._protocol, "refused")
            metrics.refused(self._protocol, "login-delay")
        return wait

    def need_not_wait(self, user: User, delay: float) -> None:
        """He did not get in: the delay begins with a login that succeeds. RFC 2449 6.5."""
        if delay and not user.is_anonymous:
            self._register.unpoll(user.name)

    def leave_seat(self, user: User) -> None:
        """The session is over, or did not come about."""
        self._register.logout(user.name, self._wire.peer, self._protocol)

    def succeeded(self, user: User, mechanism: str, more: str) -> None:
        """The line of the log; `more` is what the protocol has to say."""
        wire = self._wire
        metrics.login(self._protocol, "ok")
        log.info(
            "login sid=%s user=%r%s mech=%s rip=%s lip=%s tls=%s %s",
            self._sid, user.name, f" master={user.master!r}" if user.master else "",
            mechanism, wire.peer, wire.local, "yes" if wire.secure else "no", more,
        )  # fmt: skip
