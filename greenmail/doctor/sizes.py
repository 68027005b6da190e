"""`,S=` and `,W=` in file names: Dovecot closes the connection over wrong ones. `formats.md` 1.4.

A base name is the identity of a message. So a name is corrected together with its line in the UID list, and the line
gets what the old name was good for: `G` (the message's GUID), and `P` where POP3's unique id came from the name.
"""

import hashlib
import os

from greenmail.doctor.bench import Bench, move_overflow, note_renames
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Entry, Mailbox
from greenmail.message.content import sizes
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_name import sizes_of, with_sizes, without_sizes
from greenmail.storage.uidlist import Uidlist
from greenmail.terminal import several

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ")  # their S= is the size of what is in them


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Names that tell wrong sizes; without `quick` every message that has a `,W=` is read."""
    place = mailbox.place
    items = tuple(entry.path for entry in mailbox.messages() if _measured(mailbox, entry, around) is not None)
    if not items:
        return []
    text = f"{several(len(items), 'name')} with a wrong S= or W=: Dovecot closes the connection when one is read"
    remedy = "corrects names and UID list together; UIDs, flags and POP3 ids stay"
    return [
        Finding("wrong-size", Severity.ERROR, place.name, place.directory, text, remedy, items=items, count=len(items))
    ]


def _measured(mailbox: Mailbox, entry: Entry, around: Circumstances, thorough: bool = False) -> tuple[int, int] | None:
    """The real sizes if the name tells others. `thorough`: read the file whatever was asked for."""
    claimed = sizes_of(entry.base)
    wrong = claimed.on_disk is not None and claimed.on_disk != entry.found.st_size
    if around.quick and not thorough and not wrong:
        return None
    if claimed.with_crlf is None and not wrong:
        return None
    path = mailbox.place.directory + b"/" + entry.path
    real = _read(around.files, path)
    around.progress(entry.found.st_size)
    if real is None or (claimed.on_disk in (None, real[0]) and claimed.with_crlf in (None, real[1])):
        return None
    return real


def _read(files: Files, path: bytes) -> tuple[int, int] | None:
    """(octets, octets with CRLF), or None: gone, not readable (another check says so), or compressed."""
    try:
        descriptor = files.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        return None if files.pread(descriptor, 6, 0).startswith(_COMPRESSED) else sizes(descriptor)
    finally:
        files.close(descriptor)


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Correct the names, with one rewrite of the UID list."""
    wrong = []
    taken = {entry.base for entry in mailbox.entries} | mailbox.parsed.uids.keys()
    for entry in mailbox.messages():
        real = _measured(mailbox, entry, bench.around)
        if real is None:
            continue
        base = with_sizes(without_sizes(entry.base), *real)
        if base in taken:  # names that differed in what was wrong
            base = with_sizes(bench.unique.next(), *real)
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
            for old, _, _ in numbered:
                _keep_identity(uidlist, old, bench.around)
            other = {old: base for old, base, _ in numbered}
            fields = uidlist.fields
            records = [(uid, fields.get(uid, b""), other.get(base, base)) for base, uid in uidlist.uids.items()]
            uidlist.load(uidlist.uidvalidity, uidlist.next_uid, records)
            uidlist.rewrite()
        index_root = os.fsencode(bench.around.settings.index_path)
        known = [(uidlist.uids[base], os.path.basename(new), b"/new/" in new) for _, base, new in numbered]
        note_renames(files, place, index_root, known)
    keywords = mailbox.place.control + b"/greenmail-data/keywords"
    if os.path.exists(keywords):
        with bench.log.replacing(keywords):
            move_overflow(files, place, [(old, base) for old, base, _ in renamed])


def _keep_identity(uidlist: Uidlist, old: bytes, around: Circumstances) -> None:
    """Put into the record what the old base name said of itself."""
    uid = uidlist.uids[old]
    if uidlist.field(uid, b"G") is None:
        # A field ends at a space. Dovecot's own 128-bit form of such a name is the same for it.
        guid = old if b" " not in old else hashlib.sha1(old, usedforsecurity=False).digest()[-16:].hex().encode()
        uidlist.set_field(uid, b"G", guid)
    uses_name = any(piece.letter == "f" for piece in around.uidl.pieces)
    saved = uidlist.field(uid, b"P")
    if (saved == b"" or (saved is None and uses_name)) and b" " not in old:
        uidlist.set_field(uid, b"P", old)
