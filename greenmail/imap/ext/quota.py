"""QUOTA, RFC 9208: what an account may use and uses, and QUOTASET for those who may say how much that is.

    quota-response     = "QUOTA" SP quota-root-name SP quota-list
    quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)
    quota-resource     = resource-name SP resource-usage SP resource-limit

STORAGE and ANNOTATION-STORAGE count in units of 1024 octets, rounded up on both sides; a resource without a limit is
not in the list. RFC 9208 5.4 means the annotations of messages (RFC 5257); here there are those of mailboxes and of the
server (RFC 5464), and it is they that are counted.

Limits are not the user's own business: `quota-set-by` says who may use SETQUOTA, and QUOTASET is told to him alone.
What he sets comes before everything that is configured (`storage.quota_set`). A limit of 0 is rounded up to the least
that `maildirsize` can say: one octet, one message; there 0 is no limit.

RFC 9208 4.3.1 allows to tell of a soft quota that others exceeded (MAY); here only who adds messages himself is told.
"""

import logging
from dataclasses import dataclass

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.status import StatusAtt
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import CANNOT, NONEXISTENT, NOPERM, Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Quota, QuotaLimits

log = logging.getLogger(__name__)

_UNIT = 1024  # octets of one STORAGE, RFC 9208 5.1, and one ANNOTATION-STORAGE, RFC 9208 5.4
_MOST = (1 << 63) - 1  # number64, RFC 9208 7
_RESOURCES = {
    "STORAGE": ("storage", _UNIT),
    "MESSAGE": ("messages", 1),
    "MAILBOX": ("mailboxes", 1),
    "ANNOTATION-STORAGE": ("annotations", _UNIT),
}
_SHOWN = 40  # characters of a name that is refused


@dataclass(frozen=True, slots=True)
class SetQuota:
    """The argument of SETQUOTA."""

    root: str
    limits: tuple[tuple[str, int], ...]


def parse_getquota(cur: Cursor, uid: bool) -> str:
    """getquota = "GETQUOTA" SP quota-root-name — RFC 9208 7."""
    cur.space()
    return quota_root_name(cur)


def parse_getquotaroot(cur: Cursor, uid: bool) -> str:
    """getquotaroot = "GETQUOTAROOT" SP mailbox — RFC 9208 7."""
    cur.space()
    return grammar.mailbox(cur)


def parse_setquota(cur: Cursor, uid: bool) -> SetQuota:
    """setquota = "SETQUOTA" SP quota-root-name SP setquota-list — RFC 9208 7."""
    cur.space()
    root = quota_root_name(cur)
    cur.space()
    cur.open()
    limits: list[tuple[str, int]] = []
    while cur.peek() != b")":
        if limits:
            cur.space()
        limits.append(setquota_resource(cur))
    cur.close()
    return SetQuota(root, tuple(limits))


def quota_root_name(cur: Cursor) -> str:
    """quota-root-name = astring — RFC 9208 7."""
    return grammar.astring_text(cur)


def setquota_resource(cur: Cursor) -> tuple[str, int]:
    """setquota-resource = resource-name SP resource-limit — RFC 9208 7. The name in upper case."""
    name = grammar.atom(cur).upper()
    cur.space()
    return name, grammar.number64(cur)


def run_getquota(session: Session, root: str) -> Ok:
    """What a quota root uses and allows. RFC 9208 4.1.1."""
    try:
        session.out.write(quota_response(session, account_of(session).quota(root)))
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            raise Refused("There is no such quota root.", NONEXISTENT) from None
        raise
    return Ok("GETQUOTA completed")


def run_getquotaroot(session: Session, name: str) -> Ok:
    """The quota roots of a mailbox, which need not exist, and what each uses and allows. RFC 9208 4.1.2."""
    found = rights.quotas(session, name)
    roots = b"".join(b" " + _root_name(session, quota) for quota in found)
    answer = b"* QUOTAROOT %b%b\r\n" % (serialize.mailbox(name, session.utf8), roots)
    session.out.write(answer + b"".join(quota_response(session, quota) for quota in found))
    return Ok("GETQUOTAROOT completed")


def run_setquota(session: Session, argument: SetQuota) -> Ok:
    """The limits of a quota root are these, and no others. RFC 9208 4.1.3."""
    if not may_set(session):
        raise Refused("Limits are set by the administrator.", NOPERM)
    unknown = next((name for name, _ in argument.limits if name not in _RESOURCES), None)
    if unknown is not None:
        raise Refused(f"{unknown[:_SHOWN]} is not limited here; {', '.join(_RESOURCES)} can be.", CANNOT)
    limits = QuotaLimits(**{_RESOURCES[name][0]: _rounded(name, limit) for name, limit in argument.limits})
    quota = rights.set_quota(session, argument.root, limits)
    user, master = account_of(session).user, session.user.master if session.user is not None else ""
    log.info("setquota sid=%s user=%r master=%r root=%r limits=%r", session.sid, user, master, argument.root, limits)
    session.out.write(quota_response(session, quota))
    return Ok("SETQUOTA completed")


def _rounded(name: str, limit: int) -> int:
    """In octets or numbers; 0 would not be a limit on disk. RFC 9208 3.2, 4.1.3: it may be rounded."""
    return max(1, min(limit * _RESOURCES[name][1], _MOST))


def may_set(session: Session) -> bool:
    """Whether SETQUOTA is for this one: `quota-set-by`."""
    who = session.services.quota_set_by
    is_master = session.user is not None and bool(session.user.master)
    return session.account is not None and (who == "owners" or (who == "masters" and is_master))


def quota_response(session: Session, quota: Quota) -> bytes:
    """The untagged QUOTA, RFC 9208 4.2.1."""
    rows = (
        (b"STORAGE", _UNIT, quota.storage_used, quota.storage_limit),
        (b"MESSAGE", 1, quota.messages_used, quota.messages_limit),
        (b"MAILBOX", 1, quota.mailboxes_used, quota.mailboxes_limit),
        (b"ANNOTATION-STORAGE", _UNIT, quota.annotations_used, quota.annotations_limit),
    )
    resources = [
        b"%b %d %d" % (name, -(-used // unit), -(-limit // unit))
        for name, unit, used, limit in rows
        if limit is not None
    ]
    return b"* QUOTA %b (%b)\r\n" % (_root_name(session, quota), b" ".join(resources))


def _root_name(session: Session, quota: Quota) -> bytes:
    return serialize.astring(quota.root.encode("utf-8", "surrogateescape"), session.utf8)


def warn(session: Session, name: str) -> None:
    """Messages were put into a mailbox: say so if its soft quota is exceeded now. RFC 9208 4.3.1.

    One that is enforced refused them, unless they were only moved. What cannot be found out is not said.
    """
    try:
        is_over = rights.is_over_soft_quota(session, name)
    except StorageError as error:
        log.debug("quota sid=%s error=%r", session.sid, error.text)
        return
    if is_over:
        session.out.status(b"* NO [OVERQUOTA] Your mail takes up more room than it may.\r\n")


GETQUOTA = Command("GETQUOTA", AUTHENTICATED, parse_getquota, run_getquota)
GETQUOTAROOT = Command("GETQUOTAROOT", AUTHENTICATED, parse_getquotaroot, run_getquotaroot)
SETQUOTA = Command("SETQUOTA", AUTHENTICATED, parse_setquota, run_setquota)

FEATURE: Feature = Feature(
    "quota",
    commands=(GETQUOTA, GETQUOTAROOT, SETQUOTA),
    capabilities=(
        Capability("QUOTA", after_login),
        Capability("QUOTA=RES-STORAGE", after_login),
        Capability("QUOTA=RES-MESSAGE", after_login),
        Capability("QUOTA=RES-MAILBOX", after_login),
        Capability("QUOTA=RES-ANNOTATION-STORAGE", after_login),
        Capability("QUOTASET", may_set),
    ),
    status_atts={
        # In octets, as the sum of RFC822.SIZE would be that RFC 9208 4.1.4 allows in its place.
        "DELETED-STORAGE": StatusAtt(
            "DELETED-STORAGE", lambda session, mailbox, counters: b"%d" % mailbox.deleted_storage()
        ),
    },
)
