"""Files in `new/` and `cur/`: without a UID, with one name, with names that no server shows. `formats.md` 1.1, 7.3."""

import os
import re
from collections import defaultdict

from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Entry, Mailbox
from greenmail.storage.courier import is_courier
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_name import base_name, is_message, sizes_of, uid_order
from greenmail.terminal import several

_SYNC = re.compile(rb",(?:U=\d+|FMD5=[0-9a-f]+)")
_YOUNG = 30.0  # seconds in which two names of one file are nobody's fault, formats.md 1.1


def find_unnumbered(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Files that the UID list does not have: that is how mail arrives, by some programs in `cur/`, too."""
    if mailbox.uidlist is None or is_courier(around.files, mailbox.place.directory):
        return []
    uids = mailbox.parsed.uids
    found = []
    for part, where in ((b"new", "delivered and"), (b"cur", "in cur/")):
        names = tuple(entry.path for entry in mailbox.messages() if entry.part == part and entry.base not in uids)
        if names:
            path = mailbox.place.directory + b"/" + part
            text = f"{several(len(names), 'file')} {where} without a UID as yet"
            remedy = "numbers them in the order of their delivery, as the next login would"
            found.append(
                Finding("no-uid", Severity.NOTE, mailbox.place.name, path, text, remedy, items=names, count=len(names))
            )
    return found


def number(mailbox: Mailbox, bench: Bench) -> None:
    """Give UIDs as a server would."""
    if not find_unnumbered(mailbox, bench.around):
        return
    uidlist = bench.uidlist(mailbox.place)
    bases = {entry.base for entry in mailbox.messages() if entry.base not in uidlist.uids}
    if uidlist.uidvalidity and bases:
        with bench.log.replacing(mailbox.path(b"dovecot-uidlist")):
            uidlist.assign(sorted(bases, key=uid_order))
        data = mailbox.place.data
        write_uidnext(bench.files, data, uidlist.uidvalidity, uidlist.next_uid)


def _twins(mailbox: Mailbox, now: float) -> list[list[Entry]]:
    """Files that share a base name, those first that may keep it; each is looked at once more."""
    by_base = defaultdict(list)
    for entry in mailbox.messages():
        by_base[entry.base].append(entry)
    found = []
    for entries in by_base.values():
        if len(entries) > 1:
            there = [entry for entry in entries if os.path.lexists(mailbox.place.directory + b"/" + entry.path)]
            # Else it was renamed while we looked, or by somebody who links before he unlinks.
            if len(there) > 1 and not (_is_one(there) and now - there[0].found.st_ctime < _YOUNG):
                found.append(sorted(there, key=_claim))
    return found


def _is_one(entries: list[Entry]) -> bool:
    """Whether all are names of one file."""
    return len({(entry.found.st_dev, entry.found.st_ino) for entry in entries}) == 1


def _claim(entry: Entry) -> tuple[bool, bool, bytes]:
    """Sort key: who has the size that the name tells, and lies in `cur/`, keeps the name."""
    size = sizes_of(entry.base).on_disk
    return size is not None and size != entry.found.st_size, entry.part == b"new", entry.name


def find_twins(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Several files with one base name: only one of them can be shown."""
    groups = _twins(mailbox, around.now)
    if not groups:
        return []
    items = tuple(entry.path for group in groups for entry in group)
    text = f"{several(len(items), 'file')} share {several(len(groups), 'base name')}"
    remedy = "gives each but the first a name of its own; a second link to the same file is removed"
    return [
        Finding(
            "twins",
            Severity.ERROR,
            mailbox.place.name,
            mailbox.place.directory,
            text,
            remedy,
            items=items,
            count=len(items) - len(groups),
        )
    ]


def part_twins(mailbox: Mailbox, bench: Bench) -> None:
    """Both bodies stay, and the flags; the second becomes a message of its own."""
    directory = mailbox.place.directory + b"/"
    pairs = []
    for first, *others in _twins(mailbox, bench.around.now):
        for entry in others:
            if _is_one([first, entry]):
                bench.log.remove(directory + entry.path)
                continue
            fields = entry.base[len(entry.base.split(b",", 1)[0]) :]
            name = bench.unique.next() + fields + entry.name[len(entry.base) :]
            pairs.append((directory + entry.path, directory + entry.part + b"/" + name))
    if pairs:
        bench.log.rename_all(pairs)


def _is_unusable(entry: Entry) -> bool:
    return entry.is_file and (not is_message(entry.name) or not entry.base)


def find_names(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Names that cannot be a message's."""
    place = mailbox.place
    items = tuple(entry.path for entry in mailbox.entries if _is_unusable(entry))
    if not items:
        return []
    text = f"{several(len(items), 'file')} cannot be shown: the name begins with a colon or has a line end in it"
    remedy = "gives each a new name"
    return [
        Finding("file-name", Severity.ERROR, place.name, place.directory, text, remedy, items=items, count=len(items))
    ]


def rename_unusable(mailbox: Mailbox, bench: Bench) -> None:
    """The files become new messages; in `cur/` they keep the flags that can be read."""
    pairs = []
    for entry in mailbox.entries:
        if _is_unusable(entry):
            info = entry.name[len(base_name(entry.name)) :].translate(None, b"\r\n")
            directory = mailbox.place.directory + b"/" + entry.part + b"/"
            pairs.append((directory + entry.name, directory + bench.unique.next() + info))
    if pairs:
        bench.log.rename_all(pairs)


def find_oddities(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """What is no file, what a sync program renamed, and what is empty: for people to look at."""
    place = mailbox.place
    odd = tuple(entry.path for entry in mailbox.entries if not entry.is_file)
    synced = tuple(entry.path for entry in mailbox.messages() if _SYNC.search(entry.base))
    empty = tuple(entry.path for entry in mailbox.messages() if entry.found.st_size == 0)
    found = []
    if odd:
        text = f"{several(len(odd), 'directory or link', 'directories or links')} among the messages"
        advice = "look into them, and move them elsewhere"
        found.append(
            Finding(
                "not-a-file",
                Severity.WARNING,
                place.name,
                place.directory,
                text,
                advice=advice,
                items=odd,
                count=len(odd),
            )
        )
    if synced:
        text = f"{several(len(synced), 'name')} changed by a sync program: each change makes a new message for clients"
        advice = "let mbsync or OfflineIMAP work on a Maildir of its own, over IMAP"
        found.append(
            Finding(
                "sync-name",
                Severity.NOTE,
                place.name,
                place.directory,
                text,
                advice=advice,
                items=synced,
                count=len(synced),
            )
        )
    if empty:
        text = f"{several(len(empty), 'message')} of no octets: perhaps lost in a power cut"
        found.append(Finding("empty", Severity.NOTE, place.name, place.directory, text, items=empty, count=len(empty)))
    return found
