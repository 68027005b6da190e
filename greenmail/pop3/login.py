"""USER and PASS, APOP (RFC 1939 7), AUTH (RFC 5034), and what a login needs before it is one."""

import contextlib
import logging
import math
from collections.abc import Callable

from greenmail import metrics
from greenmail.auth import digests, sasl
from greenmail.auth.api import Secret, User
from greenmail.auth.logins import Failed
from greenmail.auth.passage import Passage
from greenmail.auth.saslprep import utf8_text
from greenmail.errors import BadSyntax, Reason, Refused, StorageError
from greenmail.pop3.maildrop import SYS_PERM, Maildrop, Removal
from greenmail.pop3.session import AUTH, LOGIN_DELAY, SYS_TEMP, Session, leave
from greenmail.pop3.uidl import Format
from greenmail.storage.api import Held, Mailbox

log = logging.getLogger(__name__)

_LOCK_AGAIN = 0.5  # seconds


def offered(session: Session) -> tuple[str, ...]:
    """SASL mechanisms that may be used now."""
    return session.logins.offered(session.services.mechanisms, session.services.authenticator)


def greet(session: Session) -> None:
    """The first line; with a timestamp where APOP is possible. RFC 1939 4, 7."""
    if session.services.pop3_apop and session.logins.can_apop(session.services.authenticator):
        session.timestamp = digests.challenge()
    session.ok(f"GreenMail ready. {session.timestamp.decode('ascii')}".rstrip())


def run_apop(session: Session, argument: bytes) -> None:
    """name SP digest — RFC 1939 7."""
    if not session.timestamp:
        raise Refused("the greeting had no timestamp, so there is no APOP", AUTH)
    authenticator, peer = session.services.authenticator, session.wire.peer
    name, digest = argument.split()
    found = digests.apop(session.timestamp, _text(name), digest, lambda login: authenticator.clear(login, peer))
    _log_in(session, "APOP", sasl.Credentials(found.login, Secret(b""), proof=found.proof))


def run_user(session: Session, argument: bytes) -> None:
    """The answer does not tell whether there is such a user."""
    _require_privacy(session)
    if not argument:
        raise BadSyntax("USER wants a name")
    _text(argument)
    session.name = argument
    session.ok("Send the password")


def run_pass(session: Session, argument: bytes) -> None:
    """The whole rest of the line is the password: RFC 1939 7 lets spaces stand in it."""
    _require_privacy(session)
    name, session.name = session.name, None
    if name is None:
        raise BadSyntax("USER comes first")
    _text(argument)
    _log_in(session, "USER", sasl.Credentials(_text(name), Secret(argument)))


def run_auth(session: Session, argument: bytes) -> None:
    """auth-command = "AUTH" SP sasl-mech [SP initial-response] — RFC 5034 5. Without an argument: a list of mechanisms.

    Outlook asks so, as a draft of RFC 1734 had it.
    """
    if not argument:
        session.lines("Mechanisms follow", [name.encode() for name in offered(session)])
        return
    word, _, initial = argument.partition(b" ")
    mechanism = word.upper().decode("latin-1")
    if mechanism in session.services.mechanisms:
        _require_privacy(session)
    able = offered(session)
    if mechanism not in able:
        raise Refused("this mechanism is not offered", AUTH)
    exchange = session.logins.begin(session.services.authenticator, able, mechanism, initial.strip() or None)
    _log_in(session, mechanism, sasl.converse(exchange, session.write, session.read_line))


def _text(octets: bytes) -> str:
    """RFC 6856 2.2: what is not UTF-8 is refused.

    SASLprep is not applied: passwords are compared with hashes of what was typed at another time into another program,
    and IMAP's LOGIN takes them as they are too.
    """
    return utf8_text(octets, "this")


def _require_privacy(session: Session) -> None:
    """Before the password is looked at: what the answer says must not depend on it. RFC 3206 5: against policy."""
    if not session.logins.is_private:
        raise Refused("passwords are not taken in clear: begin TLS first", AUTH)


def _log_in(session: Session, mechanism: str, credentials: sasl.Credentials) -> None:
    outcome = session.logins.check(session.services.authenticator, mechanism, credentials)
    if isinstance(outcome, Failed):
        if not outcome.unavailable:
            sasl.explain(credentials, session.write, session.read_line)
        raise _refusal(session, outcome)
    sasl.conclude(credentials, session.write, session.read_line)
    carrier = session.services.carrier
    if carrier is not None and carrier.must_carry(outcome):
        passage = Passage("pop3", session.sid, outcome, mechanism, "", "", session.language, session.utf8)
        raise carrier.carry(session.wire, passage)
    enter(session, outcome, mechanism)


def enter(session: Session, outcome: User, mechanism: str) -> None:
    """What follows a login that is right: the seat, the account, the maildrop, the answer."""
    wait = session.logins.must_wait(outcome, session.limits.pop3_login_delay)
    if wait:
        raise Refused(f"you were here just now, please wait {math.ceil(wait)} seconds", LOGIN_DELAY)
    try:
        maildrop = _enter(session, outcome)
    except (Refused, StorageError):
        session.logins.need_not_wait(outcome, session.limits.pop3_login_delay)
        raise
    session.logins.succeeded(outcome, mechanism, f"messages={maildrop.count} octets={maildrop.octets}")
    session.ok(f"Logged in, {maildrop.count} messages ({maildrop.octets} octets)")


def _enter(session: Session, user: User) -> Maildrop:
    """Take a seat, the account, the maildrop; a session has all of them or none."""
    services, address = session.services, session.wire.peer
    if not session.logins.take_seat(user):
        raise Refused("too many connections of this user, try again later", SYS_TEMP)
    entered = False
    try:
        session.account = services.open_account(user)
        session.user = user
        session.maildrop = _open(session)
        entered = True
    except StorageError as error:
        log.warning(
            "maildrop not opened sid=%s user=%r rip=%s reason=%s text=%r",
            session.sid, user.name, address, error.reason.name, error.text,
        )  # fmt: skip
        raise
    finally:
        if not entered:
            metrics.login("pop3", "unavailable")
            if session.account is None:
                session.logins.leave_seat(user)
            leave(session)
            session.user = None
    return session.maildrop


def _open(session: Session) -> Maildrop:
    """The maildrop, with its lock. Raises IN_USE. RFC 1939 4, RFC 2449 8.1.2."""
    assert session.account is not None, "opened just before"
    services = session.services
    try:
        uidl = Format(services.pop3_uidl_format)
    except ValueError as error:
        log.error("pop3-uidl-format sid=%s text=%r", session.sid, str(error))
        raise Refused("the server's settings are wrong, please tell its administrator", SYS_PERM) from None
    removal = Removal(services.pop3_deleted_flag, mark_seen=not services.pop3_no_flag_updates)
    mailbox = session.account.open("INBOX")
    with contextlib.ExitStack() as given_back:  # unless all goes well
        given_back.callback(mailbox.close)
        held = _lock(mailbox, services.runtime.sleep)
        given_back.callback(held.release)
        maildrop = Maildrop(mailbox, held, removal, uidl, services.runtime.breathe)
        given_back.pop_all()
    return maildrop


def _lock(mailbox: Mailbox, sleep: Callable[[float], None]) -> Held:
    """The lock of the maildrop, tried twice: a session that was just cut off may still be ending. Raises IN_USE."""
    try:
        return mailbox.lock_maildrop()
    except StorageError as error:
        if error.reason is not Reason.IN_USE:
            raise
    sleep(_LOCK_AGAIN)
    return mailbox.lock_maildrop()


def _refusal(session: Session, failed: Failed) -> Refused:
    """One answer for an unknown user and a wrong password; at the end of patience a farewell."""
    if failed.unavailable:
        return Refused("logins do not work for the moment, try again later", SYS_TEMP)
    session.logging_out = session.logging_out or failed.is_last
    return Refused("user name or password is wrong", AUTH)
