"""SELECT and EXAMINE, RFC 9051 6.3.2 and 6.3.3, RFC 3501 6.3.1; CLOSE and UNSELECT, RFC 9051 6.4.1 and 6.4.2."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from greenmail.errors import Refused, StorageError
from greenmail.imap import grammar, rights, serialize, text_search
from greenmail.imap.command import AUTHENTICATED, SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.expunge import expunge_known
from greenmail.imap.commands.listing import Entry, render_entry, render_renamed
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import urlauth
from greenmail.imap.ext.objectid import objectid
from greenmail.imap.message_set import selected
from greenmail.imap.news import permanentflags
from greenmail.imap.response import Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.imap.view import View, claim_recent
from greenmail.language import choice
from greenmail.storage.api import SEEN, SYSTEM_FLAGS, Mailbox, Rights

log = logging.getLogger(__name__)

_KNOWN = 500  # sets of keywords whose FLAGS are kept
_MANY = 1000  # messages that are not looked through where none is unseen


@dataclass(frozen=True, slots=True)
class SelectParam:
    """One select-param, RFC 4466 2.1: how its value is parsed, and what it does.

    `parse` reads what follows the name (a leading SP included) and gives the value. `check(session, value)` runs before
    the old mailbox is left, and may raise BadSyntax. `apply(session, value)` runs when `session.view` is the new
    mailbox and nothing of it was written yet; `after(session, value)` runs when all of SELECT's untagged responses are
    written. HIGHESTMODSEQ or NOMODSEQ is written by SELECT itself, always.
    """

    name: str
    parse: Callable[[Cursor], Any]
    apply: Callable[[Session, Any], None] | None = None
    after: Callable[[Session, Any], None] | None = None
    check: Callable[[Session, Any], None] | None = None


class SelectRequest(NamedTuple):
    """The argument of SELECT. A name that is none is kept as its refusal: the old mailbox is left all the same."""

    name: str | Refused
    params: tuple[tuple[SelectParam, Any], ...] = ()


def parse_select(cur: Cursor, uid: bool) -> SelectRequest:
    """select = "SELECT" SP mailbox [select-params] — RFC 9051 6.3.2, RFC 4466 2.1."""
    cur.space()
    name: str | Refused
    try:
        name = grammar.mailbox(cur)
    except Refused as refusal:
        name = refusal
    return SelectRequest(name, select_params(cur))


def select_params(cur: Cursor) -> tuple[tuple[SelectParam, Any], ...]:
    """select-params = SP "(" select-param *(SP select-param) ")" — RFC 4466 3."""
    if not cur.take(b" "):
        return ()
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    found: dict[str, tuple[SelectParam, Any]] = {}
    cur.open()
    while True:
        name = grammar.tagged_ext_label(cur)
        param = registry.SELECT_PARAMS.get(name)
        if param is None or name in found:
            raise cur.wrong("unknown or repeated parameter")
        found[name] = (param, param.parse(cur))
        if not cur.take(b" "):
            break
    cur.close()
    return tuple(found.values())


def run_select(session: Session, request: SelectRequest) -> Ok:
    """RFC 9051 6.3.2."""
    return _select(session, request, examine=False)


def run_examine(session: Session, request: SelectRequest) -> Ok:
    """RFC 9051 6.3.3: nothing of the mailbox changes, \\Recent included."""
    return _select(session, request, examine=True)


def _select(session: Session, request: SelectRequest, examine: bool) -> Ok:
    """Whatever comes of it, but for a mistake in a parameter, the mailbox that was selected is so no more."""
    for param, value in request.params:
        if param.check is not None:
            param.check(session, value)
    old = session.view
    mailbox, name, mine = _opened(session, request.name)
    is_selected = False
    try:
        read_only = examine or mailbox.read_only or not mine & rights.WRITING  # RFC 4314 5.2
        first_recent = mailbox.first_recent if read_only else claim_recent(mailbox)
        session.view = view = View(mailbox, read_only, first_recent, not session.rev2, old)
        is_selected = True
    finally:
        if not is_selected:
            mailbox.close()
    view.name, view.rights = name, mine
    try:
        for param, value in request.params:
            if param.apply is not None:
                param.apply(session, value)
        told = _description(session, view)
        if session.out.language != choice.DEFAULT:
            told = b"".join(map(session.out.said, told.splitlines(keepends=True)))
        assert isinstance(request.name, str), "what is no name has been refused"
        session.out.write(told + _list_line(session, view, request.name))
        for param, value in request.params:
            if param.after is not None:
                param.after(session, value)
    except (Refused, StorageError):
        session.deselect()
        raise
    text_search.changed(session, mailbox)
    word = "EXAMINE" if examine else "SELECT"
    return Ok(f"{word} completed", b"READ-ONLY" if read_only else b"READ-WRITE")


def _opened(session: Session, given: str | Refused) -> tuple[Mailbox, str, Rights]:
    """The mailbox of that name, as `rights.open_mailbox` gives it, and none that was selected before."""
    old = session.view
    mine = rights.reopened(session, old, given, "r") if old is not None and isinstance(given, str) else None
    if old is not None:
        session.out.status(b"* OK [CLOSED] Previous mailbox is now closed\r\n")
        session.unselect()
        if mine is None:
            old.mailbox.close()
    if isinstance(given, Refused):
        raise given
    if old is not None and mine is not None:
        return old.mailbox, given, mine
    return rights.open_mailbox(session, given, "r")


def _description(session: Session, view: View) -> bytes:
    """Everything about the mailbox in one piece, so that it is of one moment."""
    mailbox = view.mailbox
    parts = _flags_line(tuple(mailbox.keywords)) + permanentflags(view) + b"* %d EXISTS\r\n" % len(view.uids)
    if not session.rev2:  # RFC 9051 E: RECENT and UNSEEN are gone
        parts += b"* %d RECENT\r\n" % view.recent.count(view.uids)
        if not session.uid_only and (unseen := _first_unseen(view)):
            parts += b"* OK [UNSEEN %d] First unseen message\r\n" % unseen
    parts += b"* OK [UIDVALIDITY %d] UIDs valid\r\n* OK [UIDNEXT %d] Predicted next UID\r\n" % (
        mailbox.uidvalidity,
        mailbox.uidnext,
    )
    if mailbox.tracks_modseq:  # RFC 7162 3.1.2.1 and 3.1.2.2
        parts += b"* OK [HIGHESTMODSEQ %d] Highest mod-sequence\r\n" % view.told  # what came since is news
    else:
        parts += b"* OK [NOMODSEQ] No mod-sequences here\r\n"
    parts += b"* OK [MAILBOXID (%b)] Its name for ever\r\n" % objectid(mailbox.mailbox_id)  # RFC 8474 4.2
    return parts + urlauth.selected(session)


@lru_cache(maxsize=_KNOWN)
def _flags_line(keywords: tuple[str, ...]) -> bytes:
    return b"* FLAGS %b\r\n" % serialize.parenthesized(serialize.flag_words([*SYSTEM_FLAGS, *keywords]))


def _first_unseen(view: View) -> int:
    """The sequence number of the first message without \\Seen, or 0. RFC 3501 7.1 UNSEEN."""
    table = view.mailbox.table
    seen = [SEEN in flags for flags in table.flag_sets]
    for row, flags in enumerate(table.flags):
        if not seen[flags] and (seq := view.seq(table.uids[row])):
            return seq
        if row == _MANY and not view.mailbox.counters().unseen:
            return 0
    return 0


def _list_line(session: Session, view: View, given: str) -> bytes:
    """RFC 9051 6.3.2: rev2 wants a LIST response with the name, and the old name if that was not normalized."""
    if not session.rev2:
        return b""
    name = view.mailbox.name
    folder = next((item for item in account_of(session).folders() if item.name == name), None)
    children = "\\HasChildren" if folder is not None and folder.has_children else "\\HasNoChildren"
    attributes = (children, *(folder.special_use if folder is not None else ()))
    if name not in (given, "INBOX"):
        return render_renamed(session, name, given, attributes)
    return render_entry(session, Entry(name, attributes))


def parse_nothing(cur: Cursor, uid: bool) -> None:
    """close = "CLOSE", unselect = "UNSELECT" — RFC 9051 9."""


def run_close(session: Session, argument: None) -> Ok:
    """RFC 9051 6.4.1: expunge in silence, then deselect. It has no NO: what could not be removed stays, \\Deleted."""
    view = selected(session)
    try:
        rights.look(session, view)
        if not view.read_only and "e" in view.rights:  # else nothing is expunged, and it is OK: RFC 4314 4
            session.figures.expunged += expunge_known(session, view)
    except StorageError as error:
        log.warning(
            "close without expunge sid=%s mailbox=%r reason=%s", session.sid, view.mailbox.name, error.reason.name
        )
    session.deselect()
    return Ok("CLOSE completed")


def run_unselect(session: Session, argument: None) -> Ok:
    """RFC 9051 6.4.2."""
    session.deselect()
    return Ok("UNSELECT completed")


# None of them looks at the mailbox that was selected before: they leave it.
SELECT = Command("SELECT", states=AUTHENTICATED, parse=parse_select, run=run_select, looks=False)
EXAMINE = Command("EXAMINE", states=AUTHENTICATED, parse=parse_select, run=run_examine, looks=False)
CLOSE = Command("CLOSE", states=SELECTED, parse=parse_nothing, run=run_close, looks=False)
UNSELECT = Command("UNSELECT", states=SELECTED, parse=parse_nothing, run=run_unselect, looks=False)

FEATURE: Feature = Feature(
    "select", commands=(SELECT, EXAMINE, CLOSE, UNSELECT), capabilities=(Capability("UNSELECT", always),)
)
