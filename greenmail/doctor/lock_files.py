"""Locks that their holders left behind. `formats.md` 2.7, 3; `storage.stale_lock` has the rules.

A lock whose process is gone is certain. One that tells nothing of its holder, or of one on another machine, is a fault
when it is older than its stale time; before it is removed it is watched for as long as a living holder may wait before
touching it.
"""

import fcntl
import os

from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Mailbox, Place
from greenmail.storage.file_lock import SUBSCRIPTIONS_STALE
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import UIDLIST_STALE
from greenmail.storage.stale_lock import Doubt, Onlooker

_SESSION = b"dovecot-pop3-session.lock"
# Name -> the file that it guards, seconds until it is stale, whether its content names the holder.
_OF_MAILBOX = {
    b"dovecot-uidlist.lock": (b"dovecot-uidlist", UIDLIST_STALE, True),
    b"dovecot-keywords.lock": (b"dovecot-keywords", UIDLIST_STALE, False),
    b"dovecot-acl.lock": (b"dovecot-acl", 120.0, False),
}
_OF_ACCOUNT = {
    b"subscriptions.lock": (b"subscriptions", SUBSCRIPTIONS_STALE, False),
    _SESSION: (_SESSION, 300.0, True),
    b"mailboxes.lock": (b"mailboxes.lock", 120.0, False),
}
_PAUSE = 1.0
_WATCHES = 15  # pauses; longer than a living holder waits before touching its lock


def _doubts(mailbox: Mailbox, around: Circumstances) -> list[tuple[bytes, Doubt, float]]:
    """Path, doubt and stale time of each lock that is there."""
    known = {**_OF_MAILBOX, **_OF_ACCOUNT} if mailbox.place.is_inbox else _OF_MAILBOX
    found = []
    for name, (guarded, stale, has_holder) in known.items():
        if name in mailbox.control:
            looker = around.onlooker
            onlooker = looker if has_holder else Onlooker(0, "", looker.now, looker.sleep)
            path = mailbox.path(name)
            found.append((path, Doubt(around.files, path, mailbox.path(guarded), stale, onlooker), stale))
    return found


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Locks that nobody holds, as far as one look can tell."""
    found = []
    for path, doubt, stale in _doubts(mailbox, around):
        age = _age(around, path)
        if doubt.is_stale():
            text = "the process that took this lock is gone"
        elif age is not None and age >= stale and not _holder_lives(around, path):
            text = f"this lock has not been touched for {_span(age)}"
        else:
            continue
        remedy = "removes it, unless it is touched while it is watched for some seconds"
        found.append(Finding("lock", Severity.WARNING, mailbox.place.name, path, text, remedy))
    return found


def _age(around: Circumstances, path: bytes) -> float | None:
    try:
        found = around.files.lstat(path)
    except FileNotFoundError:
        return None
    return around.now - max(found.st_mtime, found.st_ctime)


def _holder_lives(around: Circumstances, path: bytes) -> bool:
    """Whether it names a process of this machine that runs, or is held open by one of ours."""
    files = around.files
    try:
        descriptor = files.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        files.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        pid, _, host = files.pread(descriptor, 512, 0).partition(b":")
    except BlockingIOError:
        return True
    finally:
        files.close(descriptor)
    is_here = os.fsdecode(host) == around.onlooker.host and pid.isdigit()
    return is_here and os.path.exists(f"/proc/{int(pid)}")


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} seconds"


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Remove stale locks; the caller holds no lock, for these may be in the way."""
    around = bench.around
    for path, doubt, stale in _doubts(mailbox, around):
        age = _age(around, path)
        if age is None or _holder_lives(around, path):
            continue
        for _ in range(_WATCHES if age >= stale else 1):
            before = _print(around.files, path)
            if doubt.is_stale():
                if before == _print(around.files, path):
                    bench.log.remove(path)
                break
            around.onlooker.sleep(_PAUSE)


def _print(files: Files, path: bytes) -> tuple[int, ...]:
    try:
        found = files.lstat(path)
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_lock(place: Place, path: bytes) -> bool:
    """Whether `path` is a lock of this mailbox, so that it cannot be put back while the mailbox is locked."""
    return os.path.basename(path) in _OF_MAILBOX and os.path.dirname(path) == place.control
