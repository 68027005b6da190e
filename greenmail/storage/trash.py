"""What is no mailbox any more, or not yet: out of everybody's sight, and removed in time. `formats.md` 4.4."""

import logging
import os
import secrets
from collections.abc import Callable

from greenmail.errors import StorageError
from greenmail.storage.filesystem import Files
from greenmail.storage.presence import is_link, is_there

log = logging.getLogger(__name__)

TRASH = b"..DOVECOT-TRASHED"
_ASIDE = b"..greenmail."  # what is being made, or is no more: no mailbox for anybody
_AGE = 3600.0


def set_aside_name() -> bytes:
    """A fresh directory entry that is no mailbox: two dots in front, as every server skips."""
    return b"%b%d.%b" % (_ASIDE, os.getpid(), secrets.token_hex(8).encode("ascii"))


def to_trash(files: Files, root: bytes, path: bytes) -> bytes:
    """Make the mailbox in `path` vanish with one rename; the new path, or empty if nothing is left. Raises OSError."""
    if is_link(files, path):
        # Only the link goes: what it leads to is somebody else's, or another mailbox.
        files.unlink(path)
        return b""
    trash = root + b"/" + TRASH
    try:
        if not is_there(files, trash):
            files.rename(path, trash)
            return trash
    except FileNotFoundError:
        raise
    except OSError:
        # Made by another in the meantime, and not empty. Any other trouble shows again now.
        log.debug("trash-in-use root=%r", root)
    token = b"greenmail.%d.%b" % (os.getpid(), secrets.token_hex(8).encode("ascii"))
    try:
        files.rename(path, trash + b"/" + token)
        return trash + b"/" + token
    except FileNotFoundError:
        # Either the mailbox or the trash went away: the former shows at once.
        files.stat(path)
    files.rename(path, trash)
    return trash


def is_set_aside(files: Files, path: bytes, now: float) -> bool:
    """Whether this was set aside, or its making cut short, more than an hour ago. Raises OSError."""
    name = os.path.basename(path)
    if name != TRASH and not name.startswith(_ASIDE):
        return False
    try:
        return now - files.lstat(path).st_ctime > _AGE
    except FileNotFoundError:
        return False


def purge(files: Files, root: bytes, now: float) -> None:
    """Remove what `is_set_aside`. Raises OSError."""
    for name in files.listdir(root):
        if is_set_aside(files, root + b"/" + name, now):
            files.remove_tree(root + b"/" + name)


def remove(files: Files, path: bytes) -> OSError | None:
    """Remove a tree, for the pool."""
    try:
        files.remove_tree(path)
    except OSError as error:
        return error
    return None


def attempt(work: Callable[[float], None], now: float) -> StorageError | None:
    """For the pool: what fails is told, not raised."""
    try:
        work(now)
    except StorageError as error:
        return error
    return None
