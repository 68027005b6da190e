"""COPY, RFC 9051 6.4.7, and MOVE, RFC 9051 6.4.8, RFC 6851; COPYUID, RFC 9051 7.1."""

import logging
from dataclasses import dataclass

from greenmail.errors import Refused, StorageError
from greenmail.imap import grammar, rights
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.expunge import writable
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import messagelimit, quota
from greenmail.imap.message_set import message_uids, selected
from greenmail.imap.response import EXPUNGEISSUED, Completion, Ok
from greenmail.imap.sequence_set import SequenceSet, compact, sequence_set
from greenmail.imap.session import Session
from greenmail.storage.api import SYSTEM_FLAGS, FlagAction, FlagChange, Mailbox, Rights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """The argument of COPY and MOVE."""

    uid: bool
    seqs: SequenceSet
    name: str


def parse_copy(cur: Cursor, uid: bool) -> CopyRequest:
    """copy = "COPY" SP sequence-set SP mailbox — RFC 9051 9; move likewise."""
    cur.space()
    seqs = sequence_set(cur)
    cur.space()
    return CopyRequest(uid, seqs, grammar.mailbox(cur))


def run_copy(session: Session, request: CopyRequest) -> Ok:
    """All or none; COPYUID stands in the tagged OK."""
    uids = _messages(session, request)
    messagelimit.check_copy(session, uids)
    target, _, mine = rights.open_target(session, request.name)
    try:
        pairs = selected(session).mailbox.copy(uids, target) if uids else []
        if pairs:
            _drop_flags(session, target, mine, pairs)
            quota.warn(session, target.name)
        return Ok("COPY completed" if pairs else "No messages, so nothing copied", _copyuid(target, mine, pairs))
    finally:
        target.close()


def run_move(session: Session, request: CopyRequest) -> Completion:
    """COPYUID goes before EXPUNGE or VANISHED, which `execute` sends as news of the source mailbox. RFC 6851 4.3."""
    view = writable(session)
    uids, limit = messagelimit.newest(session, _messages(session, request))
    target, _, mine = rights.open_target(session, request.name)
    try:
        pairs = view.mailbox.move(uids, target) if uids else []
        code = _copyuid(target, mine, pairs)
        if pairs:
            _drop_flags(session, target, mine, pairs)
            quota.warn(session, target.name)
    finally:
        target.close()
    if code:
        session.out.status(b"* OK [%b] Moved\r\n" % code)
    done = Ok("MOVE completed" if pairs else "No messages, so nothing moved", expunged=bool(pairs), added=code)
    return messagelimit.told(session, done, limit)


def _messages(session: Session, request: CopyRequest) -> list[int]:
    """What to copy. UIDs that are gone are left out (RFC 9051 6.4.9); a message that this client still counts and that
    is gone makes the sequence form fail, RFC 2180 4.4.1."""
    uids = message_uids(session, request.seqs, request.uid)
    if not request.uid and selected(session).gone(uids):
        raise Refused("some of the messages are gone; nothing was copied", EXPUNGEISSUED)
    return uids


def _drop_flags(session: Session, target: Mailbox, mine: Rights, pairs: list[tuple[int, int]]) -> None:
    """A copy has no flag that the user may not set in the target: RFC 4314 4 COPY. The command does not fail by it."""
    flags = frozenset((*SYSTEM_FLAGS, *target.keywords))
    lost = flags - rights.settable(mine, flags)
    if not lost:
        return
    try:
        target.store([uid for _, uid in pairs], FlagChange(FlagAction.REMOVE, lost))
    except StorageError as error:
        log.warning("flags stay sid=%s mailbox=%r reason=%s", session.sid, target.name, error.reason.name)


def _copyuid(target: Mailbox, mine: Rights, pairs: list[tuple[int, int]]) -> bytes:
    """COPYUID SP nz-number SP uid-set SP uid-set; nothing if nothing was copied. RFC 4315 3.

    Who may not SELECT the target learns nothing of it.
    """
    if not pairs or "r" not in mine:
        return b""
    sources, targets = zip(*pairs, strict=True)
    return b"COPYUID %d %b %b" % (target.uidvalidity, compact(sources), compact(targets))


COPY = Command("COPY", states=SELECTED, uid=True, uses_seqs=True, parse=parse_copy, run=run_copy)
# RFC 6851 4.2: the rights of STORE \\Deleted, COPY and EXPUNGE.
MOVE = Command("MOVE", states=SELECTED, uid=True, uses_seqs=True, parse=parse_copy, run=run_move, needs="te")

FEATURE: Feature = Feature("copy", commands=(COPY, MOVE), capabilities=(Capability("MOVE", always),))
