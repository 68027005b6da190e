"""STARTTLS, AUTHENTICATE and LOGIN, RFC 9051 6.2, RFC 4959; what to log in with, and how it goes wrong."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass

from greenmail import metrics
from greenmail.auth import sasl
from greenmail.auth.api import Attempt, Denial, Denied, Secret, User
from greenmail.auth.failures import Failures, refused_login
from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar
from greenmail.imap.command import NOT_AUTHENTICATED, Capability, Command, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import AUTHENTICATIONFAILED, LIMIT, PRIVACYREQUIRED, UNAVAILABLE, Ok
from greenmail.imap.session import Session

log = logging.getLogger(__name__)

# These send the password itself; they want TLS. RFC 9051 11.3.
_CLEAR = frozenset({"PLAIN", "LOGIN"})


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """The argument of LOGIN."""

    login: bytes
    password: Secret


@dataclass(frozen=True, slots=True)
class AuthenticateRequest:
    """The argument of AUTHENTICATE; `initial` is the initial response as on the wire."""

    mechanism: str
    initial: Secret | None


def is_private(session: Session) -> bool:
    """Whether a password may be sent here as it is: TLS, or a network that the settings trust."""
    return session.wire.secure or session.wire.trusted


def parse_starttls(cur: Cursor, uid: bool) -> None:
    """starttls = "STARTTLS" — RFC 9051 9."""


def run_starttls(session: Session, argument: None) -> Ok:
    """The tagged OK is the last thing in clear; what came before the handshake is forgotten. RFC 9051 6.2.1, 11.1."""
    if not session.wire.can_start_tls:
        raise BadSyntax("TLS is in use already" if session.wire.secure else "TLS is not available here")
    session.afterwards = lambda: _start_tls(session)
    return Ok("Begin TLS negotiation now")


def _start_tls(session: Session) -> None:
    session.reader.discard()
    session.wire.start_tls()
    session.client_id = {}
    log.debug("starttls sid=%s", session.sid)


def parse_login(cur: Cursor, uid: bool) -> LoginRequest:
    """login = "LOGIN" SP userid SP password — RFC 9051 9."""
    cur.space()
    login = grammar.userid(cur)
    cur.space()
    return LoginRequest(login, Secret(grammar.password(cur)))


def run_login(session: Session, request: LoginRequest) -> Ok:
    """RFC 9051 6.2.3."""
    _require_privacy(session, "LOGIN")
    return _log_in(session, "LOGIN", sasl.Credentials(_user_name(request.login), request.password))


def _literal_in_clear(session: Session, cur: Cursor, size: int) -> None:
    """A literal may be the password: without TLS the client is told so before it sends it."""
    _require_privacy(session, "LOGIN")


def _user_name(octets: bytes) -> str:
    """Names are UTF-8; other octets cannot be a user's, and fail like a wrong password does."""
    return octets.decode("utf-8", "replace")


def parse_authenticate(cur: Cursor, uid: bool) -> AuthenticateRequest:
    """authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp] *(CRLF base64) — RFC 9051 9."""
    cur.space()
    mechanism = grammar.auth_type(cur)
    if not cur.take(b" "):
        return AuthenticateRequest(mechanism, None)
    initial = b"=" if cur.take(b"=") else grammar.base64(cur)
    return AuthenticateRequest(mechanism, Secret(initial))


def run_authenticate(session: Session, request: AuthenticateRequest) -> Ok:
    """RFC 9051 6.2.2. A client that cancels with "*", or sends what is no base64, gets BAD."""
    mechanism = request.mechanism
    if mechanism not in session.services.mechanisms:
        raise Refused("this mechanism is not offered", AUTHENTICATIONFAILED)
    if mechanism in _CLEAR:
        _require_privacy(session, f"AUTHENTICATE {mechanism}")
    initial = None if request.initial is None else request.initial.reveal()
    exchange = sasl.start(mechanism, sasl.initial(initial))
    while exchange.credentials is None:
        session.out.write(b"+ %b\r\n" % sasl.encode(exchange.challenge))
        exchange.respond(sasl.response(session.reader.read_line()))
    return _log_in(session, mechanism, exchange.credentials)


def _require_privacy(session: Session, what: str) -> None:
    """Before the password is looked at: what the answer says must not depend on it. RFC 9051 6.2.3, 7.1."""
    if not is_private(session):
        raise Refused(f"{what} sends the password in clear: begin TLS first", PRIVACYREQUIRED)


def _log_in(session: Session, mechanism: str, credentials: sasl.Credentials) -> Ok:
    wire = session.wire
    outcome = session.services.authenticator.check(
        Attempt(
            login=credentials.login,
            password=credentials.password,
            address=wire.peer,
            protocol="imap",
            mechanism=mechanism,
            secure=wire.secure,
            authorize_as=credentials.authorize_as,
        )
    )
    if isinstance(outcome, Denied):
        raise _failed(session, mechanism, credentials.login, outcome)
    _enter(session, outcome)
    metrics.login("imap", "ok")
    log.info(
        "login sid=%s user=%r mech=%s rip=%s lip=%s tls=%s client=%r",
        session.sid, outcome.name, mechanism, wire.peer, wire.local, "yes" if wire.secure else "no",
        session.client_id.get("name"),
    )  # fmt: skip
    from greenmail.imap import registry  # not at the top: it imports this module

    return Ok("Logged in", b"CAPABILITY " + registry.capabilities(session))


def _enter(session: Session, user: User) -> None:
    """Take a seat, then open the account; a session has both or neither."""
    register, address = session.services.register, session.wire.peer
    too_many = register.login(user.name, address, "imap")
    if too_many is not None:
        log.warning("login limit sid=%s user=%r rip=%s reason=%r", session.sid, user.name, address, too_many)
        metrics.login("imap", "refused")
        metrics.refused("imap", "user")
        session.logging_out = True
        session.out.write(b"* BYE [LIMIT] Too many connections of this user\r\n")
        raise Refused("too many connections of this user; close another one", LIMIT)
    with ExitStack() as undo:
        undo.callback(register.logout, user.name, address, "imap")
        undo.callback(metrics.login, "imap", "unavailable")
        session.account = session.services.open_account(user)
        undo.pop_all()
    session.user = user
    session.reader.authenticated = True


def _failed(session: Session, mechanism: str, login: str, denied: Denied) -> Refused:
    """One answer for an unknown user and a wrong password, and after a while; at the end of patience BYE."""
    wire, now = session.wire, session.services.runtime.now
    unavailable = denied.denial is Denial.UNAVAILABLE
    metrics.login("imap", "unavailable" if unavailable else "failed")
    log.info(
        "login refused sid=%s user=%r reason=%s text=%r", session.sid, denied.user, denied.denial.name, denied.text
    )
    if unavailable:
        session.services.runtime.sleep(session.limits.auth_failure_delay)
        return Refused("logins do not work for the moment, please try again later", UNAVAILABLE)
    session.auth_failures += 1
    if session.auth_failures == 1:
        session.first_failure = now()
    failures = Failures(
        protocol="imap",
        attempts=session.auth_failures,
        seconds=now() - session.first_failure,
        login=login,
        method=mechanism,
        address=wire.peer,
        local=wire.local,
        secure=wire.secure,
        session=session.sid,
    )
    log.warning("%s", refused_login(failures))
    session.services.runtime.sleep(session.limits.auth_failure_delay)
    if session.auth_failures >= session.limits.max_auth_failures:
        metrics.refused("imap", "failures")
        session.logging_out = True
        session.out.write(b"* BYE Too many failed logins\r\n")
    return Refused("user name or password is wrong", AUTHENTICATIONFAILED)


STARTTLS = Command("STARTTLS", states=NOT_AUTHENTICATED, parse=parse_starttls, run=run_starttls)
LOGIN = Command("LOGIN", states=NOT_AUTHENTICATED, parse=parse_login, run=run_login, literal=_literal_in_clear)
AUTHENTICATE = Command("AUTHENTICATE", states=NOT_AUTHENTICATED, parse=parse_authenticate, run=run_authenticate)


def _not_logged_in(session: Session) -> bool:
    return session.account is None


def _may_start_tls(session: Session) -> bool:
    return _not_logged_in(session) and session.wire.can_start_tls


def _login_disabled(session: Session) -> bool:
    return _not_logged_in(session) and not is_private(session)


def _offered(session: Session) -> tuple[str, ...]:
    """AUTH=..., of the mechanisms that may be used now."""
    offered = session.services.mechanisms if is_private(session) else ()
    return tuple(f"AUTH={name}" for name in session.services.mechanisms if name in offered or name not in _CLEAR)


FEATURE = Feature(
    "login",
    commands=(STARTTLS, LOGIN, AUTHENTICATE),
    capabilities=(
        Capability("STARTTLS", _may_start_tls),
        Capability("LOGINDISABLED", _login_disabled),
        Capability("SASL-IR", _not_logged_in),
        Capability("AUTH=", _not_logged_in, render=_offered),
    ),
)
