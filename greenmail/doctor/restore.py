"""`doctor --undo`: goes through an undo log backwards and puts everything back as it was.

What has changed since the repair is left alone and told of: somebody's newer UIDs or flags are worth more than the old
octets. A message that got other flags meanwhile gets its old base name, and keeps the new flags. A UID that the
repaired list gave out is not given again, for the highest is written down (`greenmail-data/uidnext`).
"""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from greenmail.doctor.audit import Run
from greenmail.doctor.bench import note_renames
from greenmail.doctor.identity import acting_as, as_caller, give, set_mode
from greenmail.doctor.lock_files import is_lock
from greenmail.doctor.survey import Place, hidden_data
from greenmail.doctor.undo import Record, Scope, content, digest, is_whole, octets
from greenmail.errors import StorageError
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.locks import MailboxLock, Owner, Waiting
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_name import base_name
from greenmail.storage.uidlist import Uidlist
from greenmail.storage.uidlist_format import parse


@dataclass(slots=True)
class Restored:
    """What came of it."""

    done: int = 0
    idle: int = 0  # changes that had never been made, or are back already
    left: list[str] = field(default_factory=list)  # what was left alone, and why
    renamed: list[bytes] = field(default_factory=list)  # messages that have another base name again
    touched: set[bytes] = field(default_factory=set)  # directories to be synced


class _Changed(Exception):
    """It is not any more as the repair left it."""


@dataclass(frozen=True, slots=True)
class Means:
    """What it is done with."""

    run: Run
    waiting: Waiting
    host: str  # ours, in lock files
    descriptor: int  # of the log


def restore(means: Means, records: list[Record]) -> Restored:
    """Undo all, the last first."""
    result = Restored()
    _note_origins(means.descriptor, records)
    remaining = list(reversed(records))
    while remaining:
        scope = remaining[0].scope
        count = next((n for n, record in enumerate(remaining) if record.scope != scope), len(remaining))
        block, remaining = remaining[:count], remaining[count:]
        with acting_as(scope.uid, scope.gid):
            _block(means, block, result)
    return result


def _note_origins(descriptor: int, records: list[Record]) -> None:
    """What was changed more than once: how earlier entries found it, so that an undo can be done again."""
    paths = Counter(record.values["path"] for record in records if record.values["do"] == "replace")
    contents: dict[str, set[str]] = {}
    names: dict[str, frozenset[str]] = {}
    for record in records:
        values = record.values
        if values["do"] == "replace" and paths[values["path"]] > 1 and values["existed"]:
            known = contents.setdefault(values["path"], set())
            record.origins = frozenset(known)
            known.add(_digest_of(descriptor, record) or "")
        elif values["do"] == "rename":
            record.origins = names.get(values["from"], frozenset())
            names[values["to"]] = record.origins | {values["from"]}


def _block(means: Means, block: list[Record], result: Restored) -> None:
    """The entries of one mailbox, or of the account itself."""
    scope = block[0].scope
    place = Place("", scope.directory, scope.control, False, hidden_data(scope.directory))
    outside = [record for record in block if _is_outside(record, place)]
    inside = [record for record in block if not _is_outside(record, place)]
    try:
        with _locked(means, scope, needed=bool(inside)):
            for record in inside:
                _one(means.run.files, means.descriptor, record, result)
            _settle(means.run.files, scope, result)
    except StorageError as error:
        result.left.append(f"{os.fsdecode(scope.directory)}: {error.text}")
    except OSError as error:  # of the syncing: everything is in its place, but may not be so after a power cut
        result.left.append(f"{os.fsdecode(scope.directory)}: {error.strerror or error}")
    for record in outside:
        _one(means.run.files, means.descriptor, record, result)
    result.renamed.clear()


def _is_outside(record: Record, place: Place) -> bool:
    """A lock can be put back only when it is not held."""
    return record.values["do"] == "remove" and is_lock(place, octets(record.values["path"]))


@contextlib.contextmanager
def _locked(means: Means, scope: Scope, needed: bool) -> Iterator[None]:
    if not scope.directory or not needed:
        yield
        return
    owner = Owner.this_process(means.host)
    lock = MailboxLock(means.run.files, scope.directory, owner, means.waiting, scope.control)
    try:
        with lock:
            yield
    finally:
        lock.close()


def _one(files: Files, descriptor: int, record: Record, result: Restored) -> None:
    where = record.values.get("path") or record.values.get("to", "")
    try:
        if _take_back(files, descriptor, record, result):
            result.done += 1
        else:
            result.idle += 1
    except _Changed as changed:
        result.left.append(f"{where}: {changed}")
    except OSError as error:
        result.left.append(f"{where}: {error.strerror or error}")


def _take_back(files: Files, descriptor: int, record: Record, result: Restored) -> bool:
    """Whether there was anything to take back."""
    kind = record.values["do"]
    if kind == "rename":
        return _rename(files, record, result)
    steps = {"remove": _put_back, "replace": _replace, "mode": _mode, "owner": _owner}
    return is_whole(descriptor, record) and steps[kind](files, descriptor, record)


def _rename(files: Files, record: Record, result: Restored) -> bool:
    old, new = octets(record.values["from"]), octets(record.values["to"])
    if not os.path.lexists(new):
        if any(os.path.lexists(path) for path in (old, *map(octets, record.origins))):
            return False
        old, new = _with_other_flags(files, old, new)
    if os.path.lexists(old):
        raise _Changed("the old name is taken")
    files.rename(new, old)
    result.touched.update(os.path.dirname(path) for path in (old, new))
    if record.scope.directory and base_name(os.path.basename(old)) != base_name(os.path.basename(new)):
        result.renamed.append(old)
    return True


def _with_other_flags(files: Files, old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """Where a message is that was renamed since: the name to give it, and the name that it has."""
    mailbox = os.path.dirname(os.path.dirname(new))
    base = base_name(os.path.basename(new))
    for part in (b"/cur/", b"/new/"):
        with contextlib.suppress(FileNotFoundError):
            for name in files.listdir(mailbox + part):
                if base_name(name) == base:
                    directory = mailbox + part
                    return directory + base_name(os.path.basename(old)) + name[len(base) :], directory + name
    raise _Changed("it is not there any more")


def _settle(files: Files, scope: Scope, result: Restored) -> None:
    """Make renames durable, and tell running servers of them: the UID list has the old names back by now."""
    for directory in sorted(result.touched):
        files.fsync_directory(directory)
    result.touched.clear()
    if not result.renamed:
        return
    uidlist = Uidlist(files, scope.control + b"/dovecot-uidlist")
    uidlist.refresh(locked=True)
    named = [(uidlist.uids.get(base_name(os.path.basename(path))), path) for path in result.renamed]
    result.renamed.clear()
    known = [(uid, os.path.basename(path), b"/new/" in path) for uid, path in named if uid is not None]
    note_renames(
        files, Place("", scope.directory, scope.control, False, hidden_data(scope.directory)), scope.index, known
    )


def _put_back(files: Files, descriptor: int, record: Record) -> bool:
    path = octets(record.values["path"])
    if os.path.lexists(path):
        if _digest_of(descriptor, record) == digest(files, path):
            return False
        raise _Changed("there is a newer file of this name")
    made = files.create_exclusive(path, Ownership(record.values["mode"], 0o700, None))
    try:
        for piece in content(descriptor, record):
            files.write_all(made, piece)
        files.set_mtime(made, record.values["mtime_ns"])
        files.fsync(made)
    finally:
        files.close(made)
    files.fsync_directory(os.path.dirname(path))
    return True


def _digest_of(descriptor: int, record: Record) -> str | None:
    hashed = hashlib.sha256()
    for piece in content(descriptor, record):
        hashed.update(piece)
    return hashed.hexdigest()


def _replace(files: Files, descriptor: int, record: Record) -> bool:
    path, existed = octets(record.values["path"]), record.values["existed"]
    now = digest(files, path)
    before = _digest_of(descriptor, record) if existed else None
    if now == before or now in record.origins:
        return False
    if now not in record.after:
        raise _Changed("it has changed since the repair")
    if not existed:
        files.unlink(path)
        files.fsync_directory(os.path.dirname(path))
        return True
    data = b"".join(content(descriptor, record))
    if os.path.basename(path) == b"dovecot-uidlist":
        _keep_uidnext(files, path, data)
    # Dovecot looks at nothing finer than whole seconds, and would keep its own idea of the keywords: formats.md 3.1.
    mtime = int(files.stat(path).st_mtime) + 1 if os.path.basename(path) == b"dovecot-keywords" else None
    files.replace_file(path, data, Ownership(record.values["mode"], 0o700, None), path + b".undo", mtime)
    return True


def _keep_uidnext(files: Files, path: bytes, data: bytes) -> None:
    """What the repaired list gave out is never given to another message."""
    ours, theirs = parse(files.read_file(path)), parse(data)
    next_uid = max(ours.header.next_uid, ours.highest + 1)
    if next_uid > max(theirs.header.next_uid, theirs.highest + 1):
        directory = os.path.dirname(path)
        kept = hidden_data(directory) or directory + b"/greenmail-data"
        write_uidnext(files, kept, ours.header.uidvalidity, next_uid)


def _mode(files: Files, descriptor: int, record: Record) -> bool:
    path, mode = octets(record.values["path"]), record.values["mode"]
    found = files.lstat(path).st_mode & 0o7777
    if found == mode:
        return False
    if found != record.values["after"]:
        raise _Changed("it has another mode now")
    set_mode(_base(record.scope, path), path, mode)
    return True


def _owner(files: Files, descriptor: int, record: Record) -> bool:
    path, values = octets(record.values["path"]), record.values
    with as_caller():
        found = files.lstat(path)
        if found.st_uid == values["uid"]:
            return False
        if found.st_uid != values["after"][0]:
            raise _Changed("it has another owner now")
        give(_base(record.scope, path), path, values["uid"], values["gid"])
    return True


def _base(scope: Scope, path: bytes) -> bytes:
    """The directory from which `path` is reached without following links."""
    return scope.root if path.startswith(scope.root) else os.path.dirname(path)
