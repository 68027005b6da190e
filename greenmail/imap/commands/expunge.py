"""EXPUNGE, RFC 9051 6.4.3, and UID EXPUNGE, RFC 9051 6.4.9, RFC 4315 2.1."""

from collections.abc import Sequence

from greenmail.errors import Refused
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import messagelimit
from greenmail.imap.ext.inprogress import in_slices
from greenmail.imap.message_set import message_uids, selected
from greenmail.imap.response import NOPERM, Completion, Ok
from greenmail.imap.sequence_set import SequenceSet, sequence_set
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.storage.api import DELETED


def parse_expunge(cur: Cursor, uid: bool) -> SequenceSet | None:
    """expunge = "EXPUNGE"; uid-expunge = "EXPUNGE" SP sequence-set — RFC 9051 6.4.3, 6.4.9."""
    if not uid:
        return None
    cur.space()
    return sequence_set(cur)


def run_expunge(session: Session, seqs: SequenceSet | None) -> Completion:
    """Remove the messages flagged Deleted, only those among `seqs` if given."""
    view = writable(session)
    known: Sequence[int] | None = None
    limit = b""
    if seqs is not None:
        known = message_uids(session, seqs, uid=True)
        if messagelimit.newest(session, known)[1]:  # those that are \\Deleted count: RFC 9738 3.1
            among = set(known)
            known, limit = messagelimit.newest(session, [uid for uid in _marked(view) if uid in among])
    removed = expunge_known(session, view, known)
    session.figures.expunged += removed
    done = Ok("EXPUNGE completed", expunged=removed > 0)  # the view notices the gaps; `execute` sends * n EXPUNGE
    return messagelimit.told(session, done, limit)


def expunge_known(session: Session, view: View, uids: Sequence[int] | None = None) -> int:
    """Remove what is \\Deleted and known to this client, only those among `uids` if given; how many.

    The mailbox decides under its lock, by the letters on disk. What this client has not been told of stays: it came
    and was flagged by somebody else, who may still think better of it.
    """
    if uids is None:
        uids = _marked(view)
    return sum(len(view.mailbox.expunge(some)) for some in in_slices(session, uids) if some)


def _marked(view: View) -> list[int]:
    """What is \\Deleted now and known to this client."""
    mailbox = view.mailbox
    mailbox.look()
    table = mailbox.table
    deleted = [DELETED in flags for flags in table.flag_sets]
    marked = [uid for uid, flags in zip(table.uids, table.flags, strict=True) if deleted[flags]]
    return [uid for uid in marked if view.seq(uid)]


def writable(session: Session) -> View:
    """The view, if the mailbox was not opened with EXAMINE and can be written; else raises Refused."""
    view = selected(session)
    if view.read_only:
        raise Refused("the mailbox is open read-only", NOPERM)
    return view


EXPUNGE = Command("EXPUNGE", states=SELECTED, uid=True, parse=parse_expunge, run=run_expunge, needs="e")

FEATURE: Feature = Feature("expunge", commands=(EXPUNGE,), capabilities=(Capability("UIDPLUS", always),))
