"""CAPABILITY, NOOP and LOGOUT, RFC 9051 6.1; CHECK, RFC 3501 6.4.1."""

from greenmail.imap.command import ANY, SELECTED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session


def parse_nothing(cur: Cursor, uid: bool) -> None:
    """A command without arguments."""


def run_capability(session: Session, argument: None) -> Ok:
    """RFC 9051 6.1.1; what is true now: before TLS, before and after login it differs."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    session.out.write(b"* CAPABILITY %b\r\n" % registry.capabilities(session))
    return Ok("CAPABILITY completed")


def run_noop(session: Session, argument: None) -> Ok:
    """RFC 9051 6.1.2; the news that it fetches come from `execute`."""
    return Ok("NOOP completed")


def run_check(session: Session, argument: None) -> Ok:
    """RFC 3501 6.4.1: everything is on disk when its command has been answered, so there is nothing to do."""
    return Ok("CHECK completed")


def run_logout(session: Session, argument: None) -> Ok:
    """RFC 9051 6.1.3: BYE comes before the tagged OK."""
    session.logging_out = True
    session.out.status(b"* BYE Logging out\r\n")
    return Ok("LOGOUT completed")


CAPABILITY = Command("CAPABILITY", states=ANY, parse=parse_nothing, run=run_capability)
NOOP = Command("NOOP", states=ANY, parse=parse_nothing, run=run_noop)
LOGOUT = Command("LOGOUT", states=ANY, parse=parse_nothing, run=run_logout, looks=False)
CHECK = Command("CHECK", states=SELECTED, parse=parse_nothing, run=run_check)


def _literal_plus(session: Session) -> tuple[str, ...]:
    return ("LITERAL-",) if session.services.literal_minus else ("LITERAL+",)


FEATURE: Feature = Feature(
    "basic",
    commands=(CAPABILITY, NOOP, LOGOUT, CHECK),
    capabilities=(
        Capability("IMAP4rev2", always),
        Capability("IMAP4rev1", always),
        Capability("LITERAL+", always, render=_literal_plus, settled=True),  # RFC 7888 5: never both
    ),
    enables=("IMAP4REV2",),
)
