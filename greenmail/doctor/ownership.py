"""Owners and permissions: the server runs as the owner of the mail, and must be able to use it all. `formats.md` 2.8.

Looked at through `lstat`, with the ids of whoever started us, and never through symbolic links.
"""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial

from greenmail.doctor.account import Account
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.identity import as_caller, give, is_root, set_mode
from greenmail.doctor.survey import Circumstances
from greenmail.terminal import several

_PARTS = (b"cur", b"new", b"tmp")
_DIRECTORY, _MESSAGE, _CONTROL = 0o700, 0o400, 0o600  # what the owner needs
# Dovecot's counter is a file that nobody writes to; snapshots and lists of others are theirs.
_READ_ONLY = (b"dovecot-uidvalidity.",)
_OURS = (b"dovecot-", b"greenmail", b"subscriptions", b"maildirsize", b"courier")

Found = tuple[bytes, os.stat_result, int]  # path, what it is, what the owner needs


def _walk(around: Circumstances) -> Iterator[Found]:
    """Everything that the server has to do with."""
    roots = {around.root, around.control}
    for root in sorted(roots):
        yield root, os.lstat(root), _DIRECTORY
        yield from _mailbox(root)
        if around.layout.is_nested:
            yield from _nested(around, root)
            continue
        is_control_root = bool(around.settings.control_path) and root == around.control
        for entry in sorted(_scan(root), key=lambda entry: entry.name):
            is_below = entry.name.startswith(b".") and entry.is_dir(follow_symlinks=False)
            # In a home directory there are others with a dot in front, which are none of our business.
            is_mail = is_control_root or any(os.path.isdir(entry.path + b"/" + part) for part in _PARTS)
            if is_below and is_mail:
                yield entry.path, entry.stat(follow_symlinks=False), _DIRECTORY
                yield from _mailbox(entry.path)


def _nested(around: Circumstances, above: bytes) -> Iterator[Found]:
    """Mailboxes below one another, or their control directories; of DIRNAME=, the directory within."""
    for entry in sorted(_scan(above), key=lambda entry: entry.name):
        is_inner = entry.name == around.layout.inner
        if (is_inner or not around.layout.is_reserved(entry.name, False)) and entry.is_dir(follow_symlinks=False):
            yield entry.path, entry.stat(follow_symlinks=False), _DIRECTORY
            yield from _mailbox(entry.path)
            if not is_inner:
                yield from _nested(around, entry.path)


def _mailbox(directory: bytes) -> Iterator[Found]:
    for entry in _scan(directory):
        if entry.name in _PARTS and entry.is_dir(follow_symlinks=False):
            yield entry.path, entry.stat(follow_symlinks=False), _DIRECTORY
            for message in _scan(entry.path):
                if message.is_file(follow_symlinks=False):
                    yield from _one(message, _MESSAGE)
        elif entry.name.startswith(_OURS) and entry.is_file(follow_symlinks=False):
            yield from _one(entry, _MESSAGE if entry.name.startswith(_READ_ONLY) else _CONTROL)


def _one(entry: "os.DirEntry[bytes]", needs: int) -> Iterator[Found]:
    try:
        yield entry.path, entry.stat(follow_symlinks=False), needs
    except FileNotFoundError:
        return  # renamed or removed since it was listed


def _scan(path: bytes) -> list["os.DirEntry[bytes]"]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, PermissionError):
        return []  # of the latter the directory's own mode or owner tells


def _faults(around: Circumstances) -> tuple[list[Found], list[Found]]:
    """What belongs to somebody else, and what its owner may not use."""
    foreign, barred = [], []
    with as_caller():
        for path, found, needs in _walk(around):
            if found.st_uid != around.owner:
                foreign.append((path, found, needs))
            elif stat.S_IMODE(found.st_mode) & needs != needs:
                barred.append((path, found, needs))
    return foreign, barred


def _finding(kind: str, found: list[Found], around: Circumstances, text: str, remedy: str, advice: str) -> Finding:
    items = tuple(os.path.relpath(path, around.root) for path, _, _ in found)
    return Finding(kind, Severity.ERROR, "", around.root, text, remedy, advice, items, len(items))


def find(account: Account) -> list[Finding]:
    """Files of others, files that cannot be used, and a Maildir that is open to everybody."""
    around = account.around
    foreign, barred = _faults(around)
    result = []
    if foreign:
        text = f"{several(len(foreign), 'file or directory', 'files and directories')} not owned by uid {around.owner}"
        remedy = f"gives them to uid {around.owner}, gid {around.group}" if is_root() else ""
        advice = "" if is_root() else "run doctor --fix as root to change owners"
        result.append(_finding("owner", foreign, around, text, remedy, advice))
    if barred:
        number = several(len(barred), "file or directory", "files and directories")
        text = f"the owner may not use {number} as the server has to"
        result.append(_finding("mode", barred, around, text, "adds the permissions that the owner needs", ""))
    mode = stat.S_IMODE(os.lstat(around.root).st_mode)
    if _is_open(around.root):
        text = f"mode {mode:04o}: every local user may look into this Maildir"
        remedy = f"sets mode {mode & ~0o007:04o}"
        result.append(Finding("open-to-all", Severity.WARNING, "", around.root, text, remedy))
    return result


def _is_open(root: bytes) -> bool:
    """Whether everybody has rights in this directory, and can get there."""
    if not os.lstat(root).st_mode & 0o007:
        return False
    path = os.path.realpath(root)
    with as_caller():
        while path != b"/":
            path = os.path.dirname(path)
            if not os.stat(path).st_mode & 0o001:
                return False
    return True


def mend(account: Account, bench: Bench) -> None:
    """Owners first: permissions are the owner's to change."""
    around = account.around
    foreign, _ = _faults(around)
    root = around.root
    if foreign and is_root():
        with as_caller():
            for path, found, _ in foreign:
                if not _is_link(found):
                    entry: dict[str, object] = {"do": "owner", "path": path.decode("utf-8", "surrogateescape")}
                    entry |= {"uid": found.st_uid, "gid": found.st_gid, "after": [around.owner, around.group]}
                    base = root if path.startswith(root) else around.control
                    bench.log.change(entry, partial(give, base, path, around.owner, around.group))
    for path, found, needs in _faults(around)[1]:
        base = root if path.startswith(root) else around.control
        mode = stat.S_IMODE(found.st_mode)
        bench.log.change(_mode_entry(path, mode, mode | needs), partial(set_mode, base, path, mode | needs))
    mode = stat.S_IMODE(os.lstat(root).st_mode)
    if _is_open(root):
        change: Callable[[], None] = partial(set_mode, root, root, mode & ~0o007)
        bench.log.change(_mode_entry(root, mode, mode & ~0o007), change)


def _is_link(found: os.stat_result) -> bool:
    """Whether changing its owner may change something elsewhere."""
    return stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1)


def _mode_entry(path: bytes, before: int, after: int) -> dict[str, object]:
    return {"do": "mode", "path": path.decode("utf-8", "surrogateescape"), "mode": before, "after": after}
