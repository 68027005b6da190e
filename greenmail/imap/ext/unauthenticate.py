"""UNAUTHENTICATE, RFC 8437: the connection is as it was before login, but for TLS and what ID said.

What a session remembers of a user is undone in one place, `Session.leave`: an extension that keeps state belongs there.
"""

import logging

from greenmail.errors import BadSyntax, StorageError
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.basic import parse_nothing
from greenmail.imap.response import Ok
from greenmail.imap.session import Session

log = logging.getLogger(__name__)


def run_unauthenticate(session: Session, argument: None) -> Ok:
    """RFC 8437 3: never NO, but BYE if not all can be undone. Failed logins of before still count.

    Not in a process of the mail's owner, which can log in nobody.
    """
    if session.is_hosted:
        raise BadSyntax("UNAUTHENTICATE is not offered here")
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    name = session.user.name if session.user else ""
    try:
        session.leave()
    except (StorageError, OSError, ValueError) as error:  # of the store and of the register
        log.error("bug sid=%s user=%r in unauthenticate: %r", session.sid, name, error)
        session.logging_out = True
        session.out.status(b"* BYE [SERVERBUG] Not all could be forgotten, please connect again.\r\n")
    session.afterwards = session.wire.stop_compression
    log.info("unauthenticate sid=%s user=%r rip=%s", session.sid, name, session.wire.peer)
    return Ok("You are nobody now", b"CAPABILITY " + registry.capabilities(session))


UNAUTHENTICATE = Command(
    "UNAUTHENTICATE", states=AUTHENTICATED, parse=parse_nothing, run=run_unauthenticate, looks=False
)


def _offered(session: Session) -> bool:
    return after_login(session) and not session.is_hosted


FEATURE: Feature = Feature(
    "unauthenticate", commands=(UNAUTHENTICATE,), capabilities=(Capability("UNAUTHENTICATE", _offered),)
)
