"""NAMESPACE, RFC 9051 6.3.10, RFC 2342."""

from collections.abc import Sequence

from greenmail.imap import serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.language.choice import folder_name
from greenmail.storage.api import Namespace


def parse_namespace(cur: Cursor, uid: bool) -> None:
    """namespace-command = "NAMESPACE" — RFC 9051 6.3.10."""


def run_namespace(session: Session, nothing: None) -> Ok:
    """Tell prefix and separator of every namespace."""
    session.out.write(namespace_response(session))
    return Ok("NAMESPACE completed")


def namespace_response(session: Session) -> bytes:
    """namespace-response — RFC 9051 9."""
    account = account_of(session)
    personal: Sequence[Namespace] = (account.personal, *account.more_personal)
    classes = (personal, account.other_users, account.shared)
    if session.user is not None and session.user.is_anonymous:  # the second example of RFC 9051 6.3.10
        classes = ((), account.other_users, (*personal, *account.shared))
    return b"* NAMESPACE %b\r\n" % b" ".join(_namespace(session, spaces) for spaces in classes)


def _namespace(session: Session, spaces: Sequence[Namespace]) -> bytes:
    """namespace = nil / "(" 1*namespace-descr ")" — RFC 9051 9."""
    if not spaces:
        return b"NIL"
    return b"(" + b"".join(_namespace_descr(session, space) for space in spaces) + b")"


def _namespace_descr(session: Session, space: Namespace) -> bytes:
    """namespace-descr = "(" string SP (DQUOTE QUOTED-CHAR DQUOTE / nil) [namespace-response-extensions] ")".

    RFC 9051 9; the extension is TRANSLATION, RFC 5255 3.4.
    """
    prefix = serialize.mailbox_string(space.prefix, session.utf8)
    translation = folder_name(space.prefix.removesuffix(space.separator), session.out.language)
    more = b""
    if translation is not None:
        shown = serialize.mailbox_string(translation + space.separator, session.utf8)
        more = b' "TRANSLATION" (%b)' % shown
    return b"(%b %b%b)" % (prefix, serialize.separator(space.separator), more)


NAMESPACE = Command("NAMESPACE", AUTHENTICATED, parse_namespace, run_namespace)

FEATURE: Feature = Feature("NAMESPACE", commands=(NAMESPACE,), capabilities=(Capability("NAMESPACE", after_login),))
