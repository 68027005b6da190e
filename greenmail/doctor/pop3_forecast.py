"""What POP3 clients will see: a unique id that changes is mail downloaded again. `formats.md` 6.2, 8.

What the old server gave is known where it left it: in `P` fields of the UID list, and in Courier's list. Dovecot's own
`pop3_uidl_format` is in its configuration alone, and `pop3-uidl-format` must be the same.
"""

import os

from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Entry, Mailbox
from greenmail.message.content import header_end, to_crlf
from greenmail.storage.api import MaildropItem
from greenmail.storage.courier import import_mailbox, is_courier, parse_maildrop
from greenmail.storage.uidlist_format import parse_fields
from greenmail.storage.uidlist_records import Records
from greenmail.terminal import several

_HEADER = 65536
_OF_UID = {"u", "v"}


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """The forecast for INBOX, which is all that POP3 knows."""
    if not mailbox.place.is_inbox:
        return []
    given, saved = _given(mailbox, around)
    return [
        *_renumbered(mailbox, around, given),
        *_two_formats(mailbox, around, given, saved),
        *_twice(mailbox, given),
    ]


def _given(mailbox: Mailbox, around: Circumstances) -> tuple[dict[bytes, bytes], set[bytes]]:
    """Base name -> the unique id that GreenMail will give, for numbered messages; and those that have it saved."""
    records, uidvalidity = mailbox.parsed.uids, mailbox.parsed.header.uidvalidity
    if is_courier(around.files, mailbox.place.directory):
        imported = import_mailbox(around.files, mailbox.place.directory, inbox=True)
        records = Records.of(sorted(imported.records))
        uidvalidity = imported.uidvalidity
    given, saved = {}, set()
    for entry in mailbox.messages():
        uid = records.get(entry.base)
        if uid is None:
            continue
        record = parse_fields(records.raw(uid))
        if b"P" in record:
            saved.add(entry.base)
        given[entry.base] = _by(around, mailbox, entry, _item(entry, uid, record), uidvalidity)
    return given, saved


def _item(entry: Entry, uid: int, record: dict[bytes, bytes]) -> MaildropItem:
    base = os.fsdecode(entry.base)
    uidl = record.get(b"P")
    guid = record.get(b"G")
    return MaildropItem(
        uid=uid,
        order=None,
        uidl=None if uidl is None else os.fsdecode(uidl) or base,
        base_name=base,
        guid=os.fsdecode(guid) if guid else base,
    )


def _by(around: Circumstances, mailbox: Mailbox, entry: Entry, item: MaildropItem, uidvalidity: int) -> bytes:
    def header() -> bytes:
        path = mailbox.place.directory + b"/" + entry.path
        try:
            descriptor = around.files.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            data = to_crlf(around.files.pread(descriptor, _HEADER, 0))
        finally:
            around.files.close(descriptor)
        end = header_end(data)
        return data[:end] if end >= 0 else data

    return os.fsencode(around.uidl(item, uidvalidity, header))


def _old(mailbox: Mailbox, around: Circumstances) -> dict[bytes, bytes]:
    """Base name -> unique id in Courier's list."""
    try:
        data = around.files.read_file(mailbox.place.directory + b"/courierpop3dsizelist")
    except FileNotFoundError:
        return {}
    return {entry.base_name: entry.uidl for entry in parse_maildrop(data).entries}


def _renumbered(mailbox: Mailbox, around: Circumstances, given: dict[bytes, bytes]) -> list[Finding]:
    old = _old(mailbox, around)
    changed = [
        b"%b: %b becomes %b" % (base, old[base], uidl) for base, uidl in given.items() if old.get(base, uidl) != uidl
    ]
    found = []
    if changed:
        text = f"{several(len(changed), 'message')} had another unique id with Courier"
        advice = "bring the UID list back from the time of the change, or expect these to be downloaded again"
        found.append(_finding(mailbox, "pop3-renumbered", text, advice, changed))
    depends = {piece.letter for piece in around.uidl.pieces} & _OF_UID
    lost = [entry.path for entry in mailbox.messages() if entry.part == b"cur" and entry.base not in given]
    had_more = bool(mailbox.parsed.damage) if mailbox.uidlist is not None else b"dovecot.index.log" in mailbox.control
    if depends and lost and had_more:
        text = f"{several(len(lost), 'message')} may have lost the UID: clients would download them again"
        advice = "get dovecot-uidlist back from a backup, if there is a better one"
        found.append(_finding(mailbox, "pop3-renumbered", text, advice, lost))
    return found


def _finding(mailbox: Mailbox, kind: str, text: str, advice: str, items: list[bytes]) -> Finding:
    path = mailbox.path(b"dovecot-uidlist")
    return Finding(
        kind, Severity.WARNING, mailbox.place.name, path, text, advice=advice, items=tuple(items), count=len(items)
    )


def _two_formats(
    mailbox: Mailbox, around: Circumstances, given: dict[bytes, bytes], saved: set[bytes]
) -> list[Finding]:
    """Saved ids of one form and computed ones of another: the setting is not what the old server had."""
    computed = [base for base in given if base not in saved]
    if not saved or not computed or is_courier(around.files, mailbox.place.directory):
        return []
    uids, uidvalidity = mailbox.parsed.uids, mailbox.parsed.header.uidvalidity
    for entry in mailbox.messages():
        if entry.base in saved:
            item = _item(entry, uids[entry.base], {})
            by_format = _by(around, mailbox, entry, item, uidvalidity)
            if by_format == given[entry.base]:
                return []
            break
    text = f"{several(len(computed), 'message')} without a saved unique id; the saved ones look like"
    text += f" {given[entry.base].decode('utf-8', 'backslashreplace')}, but pop3-uidl-format makes {by_format.decode()}"
    advice = "if clients know them already, set pop3-uidl-format to what the old server had"
    return [_finding(mailbox, "pop3-format", text, advice, computed)]


def _twice(mailbox: Mailbox, given: dict[bytes, bytes]) -> list[Finding]:
    seen: dict[bytes, int] = {}
    for uidl in given.values():
        seen[uidl] = seen.get(uidl, 0) + 1
    items = [b"%b: %d messages" % (uidl, number) for uidl, number in seen.items() if number > 1]
    if not items:
        return []
    text = f"{several(len(items), 'unique id')} for several messages: clients may download only one of them"
    return [_finding(mailbox, "pop3-twice", text, "choose a pop3-uidl-format with %u in it", items)]
