"""What the lines of `dovecot-uidlist` tell beside UIDs: `formats.md` 2.2. It was refreshed before."""

import os
from collections.abc import Sequence

from greenmail.storage.api import MaildropItem
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_name import base_name


def guids(box: Box, uids: Sequence[int]) -> list[str]:
    """G of each message, or its base name; empty for one that is gone."""
    index = box.index
    rows = [index.table.row(uid) for uid in uids]
    return [
        os.fsdecode(box.uidlist.field(uid, b"G") or base_name(index.names[row])) if row >= 0 else ""
        for uid, row in zip(uids, rows, strict=True)
    ]


def maildrop(box: Box) -> list[MaildropItem]:
    """Every message for POP3, in POP3 order."""
    items = []
    for uid, name in zip(box.index.table.uids, box.index.names, strict=True):
        base = os.fsdecode(base_name(name))
        order, uidl, guid = (box.uidlist.field(uid, key) for key in (b"O", b"P", b"G"))
        items.append(
            MaildropItem(
                uid=uid,
                order=int(order) if order is not None and order.isdigit() and len(order) < 19 else None,
                uidl=None if uidl is None else os.fsdecode(uidl) or base,
                base_name=base,
                guid=os.fsdecode(guid) if guid else base,
            )
        )
    return sorted(items, key=lambda item: (item.order is None, item.order or 0, item.uid))
