"""What interrupted work left behind: in `tmp/`, half-written files, deleted mailboxes. `formats.md` 1.6, 4.4."""

import os

from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Mailbox
from greenmail.storage.stale_lock import is_alive
from greenmail.terminal import several

_OLD = 36 * 3600.0  # what every server takes for abandoned
_TRASH = b"..DOVECOT-TRASHED"
_HALF_WRITTEN = (
    b"dovecot-uidlist.tmp",
    b"greenmail.index.tmp",
    b"greenmail.log.tmp",
    b"greenmail.pop3.tmp",
    b"maildirsize.tmp",
)


def _old(mailbox: Mailbox, around: Circumstances) -> list[bytes]:
    """Paths of plain files that nobody has touched for 36 hours."""
    place = mailbox.place
    found = [
        place.directory + b"/tmp/" + name
        for name, stat in mailbox.tmp
        if not name.startswith(b".nfs")
        and not _is_standing(name, around)
        and around.now - max(stat.st_mtime, stat.st_ctime) > _OLD
    ]
    for name in _HALF_WRITTEN:
        if name in mailbox.control:
            stat = around.files.lstat(mailbox.path(name))
            if around.now - max(stat.st_mtime, stat.st_ctime) > _OLD:
                found.append(mailbox.path(name))
    return [path for path in found if os.path.isfile(path) and not os.path.islink(path)]


def _is_standing(name: bytes, around: Circumstances) -> bool:
    """Whether it is the file of which a living GreenMail makes its locks (`storage.locks`)."""
    prefix = os.fsencode(f"greenmail.{around.onlooker.host}.")
    pid = name.removeprefix(prefix).partition(b".")[0]
    return name.startswith(prefix) and pid.isdigit() and is_alive(int(pid))


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Old files in `tmp/`, and the remains of deleted mailboxes."""
    place = mailbox.place
    found = []
    old = tuple(os.path.relpath(path, place.directory) for path in _old(mailbox, around))
    if old:
        text = f"{several(len(old), 'file')} that nobody finished, older than 36 hours"
        remedy = "removes them; the undo log keeps them"
        path = place.directory + b"/tmp"
        found.append(Finding("leftover", Severity.NOTE, place.name, path, text, remedy, items=old, count=len(old)))
    if place.is_inbox and os.path.isdir(around.root + b"/" + _TRASH):
        path = around.root + b"/" + _TRASH
        if around.now - around.files.lstat(path).st_ctime > _OLD:
            advice = "nothing shows it any more: remove the directory to get back its space"
            text = "a deleted mailbox that was not removed completely"
            found.append(Finding("trash-left", Severity.NOTE, place.name, path, text, advice=advice))
    return found


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Remove the old files."""
    for path in _old(mailbox, bench.around):
        bench.log.remove(path)
