"""QUOTA, RFC 9208: what an account may use and uses. Limits are the administrator's, so SETQUOTA is refused.

    quota-response     = "QUOTA" SP quota-root-name SP quota-list
    quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)
    quota-resource     = resource-name SP resource-usage SP resource-limit

STORAGE counts in units of 1024 octets, rounded up on both sides; a resource without a limit is not in the list.
"""

import logging
from dataclasses import dataclass

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.status import StatusAtt
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import NONEXISTENT, NOPERM, Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Quota

log = logging.getLogger(__name__)

_UNIT = 1024  # octets of one STORAGE, RFC 9208 5.1


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
    """Not for users: there is no QUOTASET among the capabilities. RFC 9208 4.1.3."""
    raise Refused("Limits are set by the administrator.", NOPERM)


def quota_response(session: Session, quota: Quota) -> bytes:
    """The untagged QUOTA, RFC 9208 4.2.1."""
    resources = []
    if quota.storage_limit is not None:
        resources.append(b"STORAGE %d %d" % (-(-quota.storage_used // _UNIT), -(-quota.storage_limit // _UNIT)))
    if quota.messages_limit is not None:
        resources.append(b"MESSAGE %d %d" % (quota.messages_used, quota.messages_limit))
    return b"* QUOTA %b (%b)\r\n" % (_root_name(session, quota), b" ".join(resources))


def _root_name(session: Session, quota: Quota) -> bytes:
    return serialize.astring(quota.root.encode("utf-8", "surrogateescape"), session.utf8)


def warn(session: Session, name: str) -> None:
    """Messages were put into a mailbox: say so if its soft quota is exceeded now. RFC 9208 4.3.1.

    One that is enforced refused them, unless they were only moved. What cannot be found out is not said.
    """
    try:
        quotas = rights.quotas(session, name)
    except StorageError as error:
        log.debug("quota sid=%s error=%r", session.sid, error.text)
        return
    if any(quota.is_soft and quota.is_exceeded for quota in quotas):
        session.out.write(b"* NO [OVERQUOTA] Your mail takes up more room than it may.\r\n")


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
    ),
    status_atts={
        # In octets, as the sum of RFC822.SIZE would be that RFC 9208 4.1.4 allows in its place.
        "DELETED-STORAGE": StatusAtt(
            "DELETED-STORAGE", lambda session, mailbox, counters: b"%d" % mailbox.deleted_storage()
        ),
    },
)
