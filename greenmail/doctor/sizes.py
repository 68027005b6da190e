"""`,S=` and `,W=` in file names: Dovecot closes the connection over wrong ones. `formats.md` 1.4.

A base name is the identity of a message. So a name is corrected together with its line in the UID list, and the line
gets what the old name was good for: `G` (the message's GUID), and `P` where POP3's unique id came from the name.
The sizes of a compressed file are those of what is in it.
"""

import hashlib
import os

from greenmail.doctor.bench import Bench, move_overflow, note_renames
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Entry, Mailbox
from greenmail.message.compressed import MAGIC, kind_of
from greenmail.message.measured import Measured, measured
from greenmail.storage import save_dates
from greenmail.storage.maildir_name import sizes_of, with_sizes, without_sizes
from greenmail.storage.uidlist import Uidlist
from greenmail.terminal import several


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Names that tell wrong sizes, and compressed files that are damaged.

    Without `quick` every message that has a `,W=`, and every compressed one, is read.
    """
    place = mailbox.place
    wrong, damaged = [], []
    for entry in mailbox.messages():
        real = _measured(mailbox, entry, around)
        if real is not None and real.damage:
            damaged.append(entry.path)
        elif real is not None and _is_wrong(entry, real):
            wrong.append(entry.path)
    found: list[Finding] = []
    if wrong:
        text = f"{several(len(wrong), 'name')} with a wrong S= or W=: Dovecot closes the connection when one is read"
        remedy = "corrects names and UID list together; UIDs, flags and POP3 ids stay"
        found.append(
            Finding(
                "wrong-size",
                Severity.ERROR,
                place.name,
                place.directory,
                text,
                remedy,
                items=tuple(wrong),
                count=len(wrong),
            )
        )
    if damaged:
        text = f"{several(len(damaged), 'compressed message')} that cannot be unpacked to the end"
        found.append(
            Finding(
                "damaged-message",
                Severity.ERROR,
                place.name,
                place.directory,
                text,
                advice="restore these files from a backup",
                items=tuple(damaged),
                count=len(damaged),
            )
        )
    return found


def _is_wrong(entry: Entry, real: Measured) -> bool:
    claimed = sizes_of(entry.base)
    return claimed.on_disk not in (None, real.disk) or claimed.with_crlf not in (None, real.crlf)


def _measured(mailbox: Mailbox, entry: Entry, around: Circumstances) -> Measured | None:
    """What is in the file; None if it need not be read to judge its name, or cannot be."""
    claimed = sizes_of(entry.base)
    differs = claimed.on_disk is not None and claimed.on_disk != entry.found.st_size
    if around.quick and not differs:
        return None
    path = mailbox.place.directory + b"/" + entry.path
    try:
        descriptor = around.files.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError):  # gone, or another check says so
        return None
    try:
        is_compressed = kind_of(around.files.pread(descriptor, MAGIC, 0)) is not None
        if is_compressed and around.quick:
            return None
        if not (is_compressed or differs or claimed.with_crlf is not None):
            return None
        return measured(
            descriptor,
            -1 if claimed.on_disk is None else claimed.on_disk,
            around.settings.max_unpacked_size,
        )
    finally:
        around.files.close(descriptor)
        around.progress(entry.found.st_size)


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Correct the names, with one rewrite of the UID list."""
    wrong = []
    taken = {entry.base for entry in mailbox.entries} | set(mailbox.parsed.uids)
    for entry in mailbox.messages():
        real = _measured(mailbox, entry, bench.around)
        if real is None or real.damage or not _is_wrong(entry, real):
            continue
        base = with_sizes(without_sizes(entry.base), real.disk, real.crlf)
        if base in taken:  # names that differed in what was wrong
            base = with_sizes(bench.unique.next(), real.disk, real.crlf)
        taken.add(base)
        wrong.append((entry, base))
    if wrong:
        _correct(mailbox, bench, wrong)


def _correct(mailbox: Mailbox, bench: Bench, batch: list[tuple[Entry, bytes]]) -> None:
    place, files = mailbox.place, bench.files
    uidlist = bench.uidlist(place)
    directory = place.directory + b"/"
    names = {directory + entry.path: (entry, base) for entry, base in batch}
    pairs = [(path, directory + e.part + b"/" + base + e.name[len(e.base) :]) for path, (e, base) in names.items()]
    done = bench.log.rename_all(pairs)
    renamed = [(names[old][0].base, names[old][1], new) for old, new in done]
    numbered = [(old, base, new) for old, base, new in renamed if old in uidlist.uids]
    if numbered:
        with bench.log.replacing(mailbox.path(b"dovecot-uidlist")):
            for old, base, _ in numbered:
                _keep_identity(uidlist, old, base, bench.around)
            other = {old: base for old, base, _ in numbered}
            records = [(uid, raw, other.get(base, base)) for uid, raw, base in uidlist.uids.records()]
            uidlist.load(uidlist.uidvalidity, uidlist.next_uid, records)
            uidlist.rewrite()
        index_root = os.fsencode(bench.around.settings.index_path)
        known = [(uidlist.uids[base], os.path.basename(new), b"/new/" in new) for _, base, new in numbered]
        note_renames(files, place, index_root, known)
    keywords = mailbox.place.data + b"/keywords"
    if os.path.exists(keywords):
        with bench.log.replacing(keywords):
            move_overflow(files, place, [(old, base) for old, base, _ in renamed])


def _keep_identity(uidlist: Uidlist, old: bytes, base: bytes, around: Circumstances) -> None:
    """Put into the record what the old base name said of itself, and the new one does not say."""
    uid = uidlist.uids[old]
    came = save_dates.named(old)
    if came not in (save_dates.UNKNOWN, save_dates.named(base)) and uidlist.field(uid, save_dates.KEY) is None:
        uidlist.set_field(uid, save_dates.KEY, b"%d" % came)
    if uidlist.field(uid, b"G") is None:
        # A field ends at a space. Dovecot's own 128-bit form of such a name is the same for it.
        guid = old if b" " not in old else hashlib.sha1(old, usedforsecurity=False).digest()[-16:].hex().encode()
        uidlist.set_field(uid, b"G", guid)
    uses_name = any(piece.letter == "f" for piece in around.uidl.pieces)
    saved = uidlist.field(uid, b"P")
    if (saved == b"" or (saved is None and uses_name)) and b" " not in old:
        uidlist.set_field(uid, b"P", old)
