"""PREVIEW, RFC 8970: the beginning of a message's text, as plain text.

fetch-att       =/ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]
msg-att-dynamic =/ "PREVIEW" SP nstring
preview-mod     =  "LAZY"

A preview is made once and kept. With LAZY only what was kept is told, and NIL of everything else.
"""

import re
from collections.abc import Iterable

from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import FetchAtt, Item, RenderedItem, RowItem, Rows
from greenmail.imap.message_set import selected
from greenmail.imap.session import Session
from greenmail.storage.api import CacheKind


def _kept(session: Session, rows: Rows) -> Iterable[bytes]:
    """RFC 8970 4.1."""
    mailbox = selected(session).mailbox
    return [made or b"NIL" for made in mailbox.cached_many(rows.uids, CacheKind.PREVIEW)]


_LAZY = re.compile(rb" \((?:LAZY)(?>(?: LAZY)*)\)", re.IGNORECASE)

PREVIEW = RenderedItem(b"PREVIEW", CacheKind.PREVIEW)
LAZY = RowItem(b"PREVIEW %b", _kept)


def parse_preview(cur: Cursor) -> Item:
    """ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"] — RFC 8970 6.

    What else may stand in parentheses behind it is fetch-modifiers.
    """
    return LAZY if cur.try_match(_LAZY) else PREVIEW


FEATURE: Feature = Feature(
    "preview",
    capabilities=(Capability("PREVIEW", always),),
    fetch_atts={"PREVIEW": FetchAtt("PREVIEW", parse_preview)},
)
