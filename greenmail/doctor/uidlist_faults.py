"""`dovecot-uidlist`: damage, loss, age, and what a restored backup does to it. `formats.md` 2."""

import os

from greenmail.doctor.bench import Bench, known_uidnext
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Mailbox
from greenmail.storage.courier import is_courier
from greenmail.storage.uidlist_format import VERSION
from greenmail.terminal import several


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """What is wrong with the UID list of a mailbox."""
    place = mailbox.place
    if is_courier(around.files, place.directory):
        text = "Courier's database is in charge: GreenMail takes over its UIDs at the first login"
        return [Finding("courier", Severity.NOTE, place.name, place.directory, text)]
    if mailbox.uidlist is None:
        return _missing(mailbox)
    path = mailbox.path(b"dovecot-uidlist")
    parsed, header = mailbox.parsed, mailbox.parsed.header
    found = []
    known = known_uidnext(around.files, place)
    if parsed.damage:
        items = tuple(text.encode("utf-8", "backslashreplace") for text in parsed.damage)
        found.append(_damaged(mailbox, path, items, is_lost=not (header.uidvalidity or known)))
    elif header.version != VERSION or not header.guid:
        lack = "has no mailbox GUID" if header.version == VERSION else f"is of version {header.version}"
        remedy = "writes it as version 3, with all UIDs"
        found.append(Finding("uidlist-old", Severity.NOTE, place.name, path, f"the UID list {lack}", remedy))
    next_uid = max(header.next_uid, parsed.highest + 1)
    recorded = max((number for uidvalidity, number in known if uidvalidity == header.uidvalidity), default=0)
    if recorded > next_uid:
        text = f"the UID list says that the next UID is {next_uid}, but {recorded - 1} was given out: an old copy?"
        remedy = f"raises the next UID to {recorded}"
        found.append(Finding("uidlist-restored", Severity.WARNING, place.name, path, text, remedy))
    return found


def _missing(mailbox: Mailbox) -> list[Finding]:
    place, messages = mailbox.place, mailbox.messages()
    traces = [name for name in (b"dovecot.index", b"dovecot.index.log") if name in mailbox.control]
    if not messages or not traces or os.path.exists(place.directory + b"/greenmail.index"):
        return []
    text = f"there is no UID list, but {text_of(traces[0])}: it was lost, with {several(len(messages), 'UID')}"
    advice = "get dovecot-uidlist back from a backup before anybody logs in, or clients download everything again"
    path = mailbox.path(b"dovecot-uidlist")
    return [Finding("uidlist-missing", Severity.ERROR, place.name, path, text, advice=advice)]


def text_of(name: bytes) -> str:
    """A plain file name as text."""
    return name.decode("utf-8", "backslashreplace")


def _damaged(mailbox: Mailbox, path: bytes, items: tuple[bytes, ...], is_lost: bool) -> Finding:
    text = f"the UID list has {several(len(items), 'fault')}"
    remedy = "writes it anew; every UID that can be read stays"
    advice = ""
    if is_lost:
        remedy, advice = "", "its UIDVALIDITY is lost: get dovecot-uidlist back from a backup before anybody logs in"
    return Finding("uidlist-damaged", Severity.ERROR, mailbox.place.name, path, text, remedy, advice, items, len(items))


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Write the UID list anew if there is a reason to; records of files that are gone stay, they do no harm."""
    around, place = bench.around, mailbox.place
    if mailbox.uidlist is None or not any(finding.remedy for finding in find(mailbox, around)):
        return
    uidlist = bench.uidlist(place)
    if uidlist.uidvalidity:
        with bench.log.replacing(mailbox.path(b"dovecot-uidlist")):
            uidlist.rewrite()
