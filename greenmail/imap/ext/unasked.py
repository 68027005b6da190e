"""FETCH that nobody asked for in a command: what NOTIFY and UPDATE want to know of new messages. RFC 5465 5.2, 7."""

import logging
from collections.abc import Iterable, Sequence

from greenmail.errors import Refused, StorageError
from greenmail.imap.commands.fetch import UID, fetch_uids
from greenmail.imap.ext.condstore import MODSEQ
from greenmail.imap.fetch_att import FetchRequest, Item, RowItem
from greenmail.imap.news import tells_modseq
from greenmail.imap.sequence_set import SequenceSet
from greenmail.imap.session import Session

log = logging.getLogger(__name__)


def begin_items(session: Session, items: Iterable[Item]) -> None:
    """Asking for them has effects: MODSEQ enables CONDSTORE, RFC 7162 3.1."""
    for item in items:
        if isinstance(item, RowItem) and item.begin is not None:
            item.begin(session)


def fetch_unasked(session: Session, items: Iterable[Item], uids: Sequence[int]) -> None:
    """Tell these items of messages of the view, ascending, and UID (RFC 9051 7.5.2); nothing of those that are gone."""
    wanted = dict.fromkeys(items)
    if not wanted or not uids:
        return
    if not session.uid_only:
        wanted = {UID: None, **wanted}
    if tells_modseq(session):
        wanted[MODSEQ] = None  # RFC 7162 3.1
    try:
        fetch_uids(session, FetchRequest(uid=True, seqs=SequenceSet(()), items=tuple(wanted)), list(uids))
    except (StorageError, Refused) as error:
        log.warning("unasked-fetch sid=%s text=%r", session.sid, error.text)
