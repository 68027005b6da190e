"""REPLACE, RFC 8508: a message goes, and another one comes for it, into the same mailbox or another one.

    replace = "REPLACE" SP seq-number SP mailbox append-message
    uid     =/ "UID" SP replace

The new message is on disk before the old one is removed: a crash between the two leaves both. If the old one cannot be
removed, the new one is taken back.
"""

from dataclasses import dataclass

from greenmail.errors import BadSyntax, Refused, StorageError
from greenmail.imap import grammar, rights
from greenmail.imap.append_data import Begin, Token, Walk, is_announced
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.append import incoming_of, resumed, tell_normalized
from greenmail.imap.commands.expunge import writable
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import quota
from greenmail.imap.incoming import Incoming, Streamed
from greenmail.imap.message_set import selected
from greenmail.imap.response import EXPUNGEISSUED, NONEXISTENT, Ok
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.storage.api import Mailbox


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """The arguments of REPLACE; `number` is None for "*"."""

    uid: bool
    number: int | None
    name: str
    tokens: tuple[Token, ...]
    incoming: Incoming | None = None  # None: no literal was streamed


def seq_number(cur: Cursor) -> int | None:
    """seq-number = nz-number / "*" — RFC 9051 9. None for "*"."""
    return None if cur.take(b"*") else grammar.nz_number(cur)


def parse_replace(cur: Cursor, uid: bool) -> ReplaceRequest:
    """SP seq-number SP mailbox append-message — RFC 8508 5, RFC 4466 3."""
    cur.space()
    number = seq_number(cur)
    cur.space()
    name = grammar.mailbox(cur)
    tokens = tuple(Walk().tokens(cur, is_whole=True))
    if sum(isinstance(token, Begin) for token in tokens) > 1:
        raise BadSyntax("REPLACE takes one message")  # RFC 8508 4.7
    return ReplaceRequest(uid, number, name, tokens, incoming_of(cur))


def stream_replacement(session: Session, cur: Cursor, size: int) -> Streamed | None:
    """Where the literal at the end of the text goes; None: it is the mailbox name, or a URL."""
    incoming = resumed(cur)
    if incoming is None:
        cur.space()
        number = seq_number(cur)
        cur.space()
        if is_announced(cur):
            return None
        # The text begins with tag SP ["UID" SP] "REPLACE".
        is_uid = cur.text[: cur.pos].split(None, 2)[1].upper() == b"UID"
        incoming = _incoming(session, number, is_uid, grammar.mailbox(cur))
    return incoming.announced(cur, size)


def _incoming(session: Session, number: int | None, uid: bool, name: str) -> Incoming:
    return Incoming(session, name, freed=lambda target: _freed(session, number, uid, target))


def _freed(session: Session, number: int | None, uid: bool, target: str) -> tuple[int, int]:
    """What counts less in the quota root of `target` once the old message is gone. RFC 8508 3.4."""
    view = session.view
    if view is None or not rights.share_quota(session, view.name, target):
        return 0, 0
    found = _uid(session, number, uid)
    row = view.mailbox.last_row(found) if found else None
    return (max(row.size, 0), 1) if row is not None and view.mailbox.table.row(found) >= 0 else (0, 0)


def _uid(session: Session, number: int | None, uid: bool) -> int:
    """The UID of the message that is meant, 0 if there is none."""
    view = selected(session)
    if number is None:
        return view.largest_uid
    if uid:
        return number if view.seq(number) else 0
    return view.uids[number - 1] if number <= len(view.uids) else 0


def run_replace(session: Session, request: ReplaceRequest) -> Ok:
    """APPENDUID goes before EXPUNGE or VANISHED, which `execute` sends as news. RFC 8508 4.3."""
    view = writable(session)
    old = _uid(session, request.number, request.uid)
    if not old and not request.uid:
        raise BadSyntax("there is no message of this number")
    if not old or view.gone([old]):
        raise Refused("the message is gone; nothing was replaced", EXPUNGEISSUED if old else NONEXISTENT)
    incoming = request.incoming or _incoming(session, request.number, request.uid, request.name)
    try:
        return _replace(session, view, old, request, incoming)
    finally:
        incoming.abort()


def _replace(session: Session, view: View, old: int, request: ReplaceRequest, incoming: Incoming) -> Ok:
    message = incoming.complete(request.tokens)[0]
    target = message.mailbox
    mine = incoming.granted()
    uids = target.save([message.upload])
    _remove(view.mailbox, old, target, uids)
    session.figures.appended += len(uids)
    session.figures.expunged += 1
    quota.warn(session, target.name)
    tell_normalized(session, target, request.name)
    # Who may not SELECT the mailbox learns nothing of it: RFC 4315 3.
    code = b"APPENDUID %d %d" % (target.uidvalidity, uids[0]) if "r" in mine else b""
    if code:
        session.out.status(b"* OK [%b] Replacement ready\r\n" % code)
    return Ok("REPLACE completed", expunged=True, added=code)


def _remove(mailbox: Mailbox, old: int, target: Mailbox, new: list[int]) -> None:
    """Remove the old message, or else the new one. RFC 8508 3.4: nothing half done is left."""
    try:
        mailbox.expunge([old], flagged=False)
    except StorageError:
        target.expunge(new, flagged=False)
        raise


# RFC 8508 4.1: the rights of UID STORE \\Deleted and UID EXPUNGE here; those of APPEND are asked of the target.
REPLACE = Command(
    "REPLACE",
    states=SELECTED,
    uid=True,
    uses_seqs=True,
    parse=parse_replace,
    run=run_replace,
    needs="te",
    literal=stream_replacement,
)

FEATURE: Feature = Feature("replace", commands=(REPLACE,), capabilities=(Capability("REPLACE", always),))
