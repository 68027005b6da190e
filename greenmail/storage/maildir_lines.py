"""What the lines of `dovecot-uidlist` tell beside UIDs: `formats.md` 2.2."""

import os
from collections.abc import Sequence

from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_name import base_name
from greenmail.storage.maildir_scan import read_fields, read_records
from greenmail.storage.maildrop_items import MaildropItem, PlainItems


def guids(box: Box, uids: Sequence[int]) -> list[str]:
    """G of each message, or its base name; empty for one that is gone."""
    read_records(box)
    index = box.index
    rows = [index.table.row(uid) for uid in uids]
    return [
        os.fsdecode(box.uidlist.field(uid, b"G") or base_name(index.names[row])) if row >= 0 else ""
        for uid, row in zip(uids, rows, strict=True)
    ]


def maildrop(box: Box) -> list[MaildropItem] | PlainItems:
    """Every message for POP3, in POP3 order."""
    has_fields = read_fields(box, b"O", b"P", b"G")
    uids = box.index.table.uids
    if not has_fields:
        return PlainItems(uids[:], box.index.names[:])
    orders, uidls, own = (box.uidlist.fields(uids, key) for key in (b"O", b"P", b"G"))
    items = []
    for uid, name in zip(uids, box.index.names, strict=True):
        base = os.fsdecode(base_name(name))
        order, uidl, guid = orders.get(uid), uidls.get(uid), own.get(uid)
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
