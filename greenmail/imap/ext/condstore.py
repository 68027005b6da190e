"""CONDSTORE, RFC 7162 3.1: mod-sequences in FETCH, SEARCH, SELECT and STATUS, and the conditional FETCH.

SELECT writes HIGHESTMODSEQ or NOMODSEQ itself, and STORE has UNCHANGEDSINCE; both use what is here.

    fetch-modifier      =/ "CHANGEDSINCE" SP mod-sequence-value
    search-modsequence  = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer
"""

from collections.abc import Iterable, Mapping
from typing import Any

from greenmail.errors import BadSyntax
from greenmail.imap.command import Capability, Feature
from greenmail.imap.commands.select import SelectParam
from greenmail.imap.commands.status import StatusAtt
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import FetchModifier, FetchRequest, RowItem, Rows, named
from greenmail.imap.grammar import mod_sequence_valzer, quoted
from greenmail.imap.message_set import selected
from greenmail.imap.search_key import Key, RowKey, SearchKey
from greenmail.imap.session import Session
from greenmail.storage.api import Counters, Mailbox

CONDSTORE = "CONDSTORE"


def enable(session: Session) -> None:
    """A CONDSTORE enabling command was given, RFC 7162 3.1: from now on every change is told with its mod-sequence.

    The first one with a mailbox selected is told HIGHESTMODSEQ: the mod-sequence up to which the client has been told.
    """
    if CONDSTORE not in session.enabled:
        session.enabled.add(CONDSTORE)
        announce(session)


def announce(session: Session) -> None:
    """CONDSTORE was just enabled: HIGHESTMODSEQ, if a mailbox is selected that has mod-sequences. RFC 7162 3.1."""
    view = session.view
    if view is not None and view.mailbox.tracks_modseq:
        session.out.status(b"* OK [HIGHESTMODSEQ %d] Highest mod-sequence\r\n" % view.told)


def enable_in_mailbox(session: Session) -> None:
    """`enable`, for a command that needs the mailbox to have mod-sequences; BAD if it has none. RFC 7162 3.1.2.2."""
    if session.view is not None and not session.view.mailbox.tracks_modseq:
        raise BadSyntax("this mailbox has no mod-sequences")
    enable(session)


MODSEQ = RowItem(b"MODSEQ (%d)", lambda session, rows: rows.modseqs, begin=enable_in_mailbox, depends=("modseqs",))


def _parse_changedsince(cur: Cursor) -> int:
    """SP mod-sequence-value. Lenient: 0 is accepted, iOS Mail sends it; RFC 7162 7 wants a positive number."""
    cur.space()
    return mod_sequence_valzer(cur)


def _apply_changedsince(session: Session, request: FetchRequest, since: int) -> FetchRequest:
    """RFC 7162 3.1.4.1: only messages changed later than that, and MODSEQ is added to the items.

    What the mailbox remembers of its changes says which those may be, and the rows which of them are.
    """
    enable_in_mailbox(session)
    items = request.items if MODSEQ in request.items else (*request.items, MODSEQ)

    def changed(rows: Rows) -> Iterable[bool]:
        return [modseq > since for modseq in rows.modseqs]

    def among() -> list[int]:
        return selected(session).mailbox.changes(since).changed

    return request._replace(items=items, keep=(*request.keep, changed), among=among)


def _parse_search(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
    """search-modsequence. There is one mod-sequence a message, so the metadata item is ignored, RFC 7162 3.1.5."""
    cur.space()
    if cur.peek() == b'"':
        _entry_name(cur)
        cur.space()
        if not any(cur.take(kind) for kind in (b"priv", b"shared", b"all")):
            raise cur.wrong("expected priv, shared or all")
        cur.space()
    return RowKey("MODSEQ", mod_sequence_valzer(cur), _has_modseq, begin=enable_in_mailbox)


def _entry_name(cur: Cursor) -> None:
    """entry-flag-name = DQUOTE "/flags/" attr-flag DQUOTE"""
    if not quoted(cur).lower().startswith(b"/flags/"):
        raise cur.wrong("unknown metadata item")


def _has_modseq(session: Session, least: Any, rows: Rows) -> Iterable[bool]:
    return [modseq >= least for modseq in rows.modseqs]


def _status(session: Session, mailbox: Mailbox, counters: Counters) -> bytes:
    """HIGHESTMODSEQ, 0 where there are no mod-sequences; asking for it enables. RFC 7162 3.1.7."""
    enable(session)
    return b"%d" % (counters.modseq if mailbox.tracks_modseq else 0)


def _parse_nothing(cur: Cursor) -> None:
    """The parameter of SELECT has no value, RFC 7162 3.1.8."""


def _select(session: Session, value: None) -> None:
    """SELECT writes HIGHESTMODSEQ for everybody, so nothing is written here."""
    session.enabled.add(CONDSTORE)


FEATURE: Feature = Feature(
    "condstore",
    capabilities=(Capability(CONDSTORE, lambda session: session.services.condstore, settled=True),),
    enables=(CONDSTORE,),
    fetch_atts={"MODSEQ": named(MODSEQ)},
    fetch_modifiers={"CHANGEDSINCE": FetchModifier("CHANGEDSINCE", _parse_changedsince, _apply_changedsince)},
    search_keys={"MODSEQ": SearchKey("MODSEQ", _parse_search)},
    status_atts={"HIGHESTMODSEQ": StatusAtt("HIGHESTMODSEQ", _status)},
    select_params={CONDSTORE: SelectParam(CONDSTORE, _parse_nothing, _select)},
)
