"""NAMESPACE, RFC 9051 6.3.10, RFC 2342."""

from collections.abc import Sequence

from greenmail.imap import serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Namespace


def parse_namespace(cur: Cursor, uid: bool) -> None:
    """namespace-command = "NAMESPACE" — RFC 9051 6.3.10."""


def run_namespace(session: Session, nothing: None) -> Ok:
    """Tell prefix and separator of every namespace."""
    account = account_of(session)
    classes = ((account.personal, *account.more_personal), account.other_users, account.shared)
    rendered = b" ".join(_namespace(spaces, session.utf8) for spaces in classes)
    session.out.write(b"* NAMESPACE %b\r\n" % rendered)
    return Ok("NAMESPACE completed")


def _namespace(spaces: Sequence[Namespace], utf8: bool) -> bytes:
    """namespace = nil / "(" 1*namespace-descr ")" — RFC 9051 9."""
    if not spaces:
        return b"NIL"
    return b"(" + b"".join(_namespace_descr(space, utf8) for space in spaces) + b")"


def _namespace_descr(space: Namespace, utf8: bool) -> bytes:
    """namespace-descr = "(" string SP (DQUOTE QUOTED-CHAR DQUOTE / nil) ... ")" — RFC 9051 9."""
    return b"(%b %b)" % (serialize.mailbox_string(space.prefix, utf8), serialize.separator(space.separator))


NAMESPACE = Command("NAMESPACE", AUTHENTICATED, parse_namespace, run_namespace)

FEATURE: Feature = Feature("NAMESPACE", commands=(NAMESPACE,), capabilities=(Capability("NAMESPACE", after_login),))
