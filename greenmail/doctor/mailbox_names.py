"""Directories in the root of a Maildir that are no mailboxes, or should not be. `formats.md` 4.1, 4.3."""

import os

from greenmail.doctor.account import Account
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances
from greenmail.errors import StorageError
from greenmail.storage import mutf7
from greenmail.storage.directory_lock import DirectoryLock
from greenmail.storage.filesystem import Entry
from greenmail.storage.folder_names import INBOX, Encoding, Layout, entry_of, name_of
from greenmail.storage.locks import Waiting
from greenmail.storage.nested import NestedFolders
from greenmail.storage.places import Places

_HIDDEN = b".."  # ..DOVECOT-TRASHED and its kind: meant to be hidden


def _entries(around: Circumstances) -> list[Entry]:
    """Directories of the root with a dot in front, but for those that are meant to be hidden."""
    scanned = around.files.scan(around.root)
    return sorted(
        (entry for entry in scanned if entry.name.startswith(b".") and entry.is_directory and _is_meant(entry.name)),
        key=lambda entry: entry.name,
    )


def _is_meant(name: bytes) -> bool:
    return not name.startswith(_HIDDEN) and len(name) > 1


def find(account: Account) -> list[Finding]:
    """Names that cannot be shown, and directories of other programs that are shown as mailboxes."""
    around = account.around
    if around.layout.is_nested:
        return _nested(around)
    found = []
    for entry in _entries(around):
        path = around.root + b"/" + entry.name
        if name_of(around.layout, entry.name) is None:
            found.append(_hidden(around, entry.name, path))
        elif not any(os.path.isdir(path + b"/" + part) for part in (b"cur", b"new", b"tmp")):
            text = "has no cur/, new/ or tmp/, but clients see it as a mailbox"
            advice = "move it elsewhere if it is not mail"
            found.append(Finding("not-a-mailbox", Severity.NOTE, "", path, text, advice=advice))
    return found


def _nested(around: Circumstances) -> list[Finding]:
    """Directories one below the other whose own level cannot be shown."""
    where = Places(around.files, around.settings)
    text = "no client can see this mailbox, nor those below it: its name is in another encoding, or not possible"
    advice = "rename the directory by hand"
    paths = sorted(below for below, _ in NestedFolders(around.files, around.layout, where.hidden).walk())
    hidden = {below for below in paths if below != INBOX.encode() and name_of(around.layout, below) is None}
    return [
        Finding("mailbox-name", Severity.ERROR, "", around.root + b"/" + below, text, advice=advice)
        for below in paths
        if below in hidden and below.rpartition(b"/")[0] not in hidden
    ]


def _hidden(around: Circumstances, entry: bytes, path: bytes) -> Finding:
    target = readable(around.layout, entry)
    wanted = "UTF-8" if around.layout.encoding is Encoding.UTF8 else "modified UTF-7"
    text = f"no client can see this mailbox: its name is not {wanted}, or has an empty level"
    if target is None or os.path.lexists(around.root + b"/" + target):
        advice = "rename the directory by hand" if target is None else "rename it by hand: there is one of that name"
        return Finding("mailbox-name", Severity.ERROR, "", path, text, advice=advice)
    remedy = f"renames it to {target.decode('utf-8', 'backslashreplace')}"
    return Finding("mailbox-name", Severity.ERROR, "", path, text, remedy)


def readable(layout: Layout, entry: bytes) -> bytes | None:
    """The entry under which the same mailbox could be seen, or None if that is more than a matter of spelling.

    Levels may be UTF-8 (also Latin-1, when they are not even that) in a root of modified UTF-7, or the other way
    round; empty levels are left out.
    """
    levels = [_text(level) for level in entry[1:].split(b".") if level]
    try:
        found = entry_of(layout, levels)
    except StorageError:
        return None
    return found if levels and found != entry and name_of(layout, found) is not None else None


def _text(level: bytes) -> str:
    try:
        text = level.decode("utf-8")
    except UnicodeDecodeError:
        return level.decode("latin-1")
    try:
        return mutf7.decode(level)
    except mutf7.Malformed:
        return text


def mend(account: Account, bench: Bench) -> None:
    """Rename what can be shown under another spelling, while nobody of ours works in it."""
    around = account.around
    if around.layout.is_nested:
        return  # by hand
    looker, control_root = around.onlooker, os.fsencode(around.settings.control_path.rstrip("/"))
    waiting = Waiting(looker.sleep, looker.now, around.settings.lock_timeout)
    for finding in find(account):
        target = readable(around.layout, os.path.basename(finding.path)) if finding.remedy else None
        if target is None:
            continue
        pairs = [(finding.path, around.root + b"/" + target)]
        control = finding.path
        if control_root:
            control = control_root + b"/" + os.path.basename(finding.path)
            pairs += [(control, control_root + b"/" + target)] if os.path.isdir(control) else []
        with DirectoryLock(around.files, finding.path, control, waiting):
            bench.log.rename_all(pairs)
