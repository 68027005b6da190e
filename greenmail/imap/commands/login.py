"""STARTTLS, AUTHENTICATE and LOGIN, RFC 9051 6.2, RFC 4959; what to log in with, and how it goes wrong."""

import logging
from dataclasses import dataclass

from greenmail import metrics
from greenmail.auth import sasl
from greenmail.auth.api import Secret, User
from greenmail.auth.logins import Failed
from greenmail.auth.passage import Passage
from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar
from greenmail.imap.command import NOT_AUTHENTICATED, Capability, Command, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import AUTHENTICATIONFAILED, LIMIT, PRIVACYREQUIRED, UNAVAILABLE, Ok
from greenmail.imap.session import Session

log = logging.getLogger(__name__)


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
    if mechanism in session.services.mechanisms:
        _require_privacy(session, f"AUTHENTICATE {mechanism}")
    offered = _mechanisms(session)
    if mechanism not in offered:
        raise Refused(f"this mechanism is not offered; there are {' '.join(offered or session.services.mechanisms)}")
    initial = None if request.initial is None else request.initial.reveal()
    exchange = session.logins.begin(session.services.authenticator, offered, mechanism, initial)
    return _log_in(session, mechanism, sasl.converse(exchange, session.out.write, session.reader.read_line))


def _require_privacy(session: Session, what: str) -> None:
    """Before the password is looked at: what the answer says must not depend on it. RFC 9051 6.2.3, 7.1."""
    if not session.logins.is_private:
        raise Refused(f"{what} is taken over TLS alone: begin it first", PRIVACYREQUIRED)


def _log_in(session: Session, mechanism: str, credentials: sasl.Credentials) -> Ok:
    outcome = session.logins.check(session.services.authenticator, mechanism, credentials)
    if isinstance(outcome, Failed):
        if not outcome.unavailable:
            sasl.explain(credentials, session.out.write, session.reader.read_line)
        raise _refusal(session, outcome)
    sasl.conclude(credentials, session.out.write, session.reader.read_line)
    client = repr(session.client_id.get("name"))
    carrier = session.services.carrier
    if carrier is not None and carrier.must_carry(outcome):
        tag, language = session.tag.decode("latin-1"), session.out.language
        passage = Passage("imap", session.sid, outcome, mechanism, tag, client, language)
        raise carrier.carry(session.wire, passage)
    return enter(session, outcome, mechanism, client)


def enter(session: Session, user: User, mechanism: str, client: str) -> Ok:
    """What follows a login that is right: the seat, the account, the answer. `client` is for the log."""
    _enter(session, user)
    session.logins.succeeded(user, mechanism, f"client={client}")
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    return Ok("Logged in", b"CAPABILITY " + registry.capabilities(session))


def _enter(session: Session, user: User) -> None:
    """Take a seat, then open the account; a session has both or neither."""
    if not session.logins.take_seat(user):
        session.logging_out = True
        session.out.status(b"* BYE [LIMIT] Too many connections of this user\r\n")
        raise Refused("too many connections of this user; close another one", LIMIT)
    is_open = False
    try:
        session.account = session.services.open_account(user)
        is_open = True
    finally:
        if not is_open:
            metrics.login("imap", "unavailable")
            session.logins.leave_seat(user)
    session.user = user
    session.reader.authenticated = True


def _refusal(session: Session, failed: Failed) -> Refused:
    """One answer for an unknown user and a wrong password; at the end of patience BYE."""
    if failed.unavailable:
        return Refused("logins do not work for the moment, please try again later", UNAVAILABLE)
    if failed.is_last:
        session.logging_out = True
        session.out.status(b"* BYE Too many failed logins\r\n")
    return Refused("user name or password is wrong", AUTHENTICATIONFAILED)


STARTTLS = Command("STARTTLS", states=NOT_AUTHENTICATED, parse=parse_starttls, run=run_starttls)
LOGIN = Command("LOGIN", states=NOT_AUTHENTICATED, parse=parse_login, run=run_login, literal=_literal_in_clear)
AUTHENTICATE = Command("AUTHENTICATE", states=NOT_AUTHENTICATED, parse=parse_authenticate, run=run_authenticate)


def _not_logged_in(session: Session) -> bool:
    return session.account is None


def _may_start_tls(session: Session) -> bool:
    return _not_logged_in(session) and session.wire.can_start_tls


def _login_disabled(session: Session) -> bool:
    return _not_logged_in(session) and not session.logins.is_private


def _mechanisms(session: Session) -> tuple[str, ...]:
    return session.logins.offered(session.services.mechanisms, session.services.authenticator)


def _offered(session: Session) -> tuple[str, ...]:
    """AUTH=..., of the mechanisms that may be used now."""
    return tuple(f"AUTH={name}" for name in _mechanisms(session))


FEATURE: Feature = Feature(
    "login",
    commands=(STARTTLS, LOGIN, AUTHENTICATE),
    capabilities=(
        Capability("STARTTLS", _may_start_tls),
        Capability("LOGINDISABLED", _login_disabled),
        Capability("SASL-IR", _not_logged_in, settled=True),
        Capability("AUTH=", _not_logged_in, render=_offered),
    ),
)
