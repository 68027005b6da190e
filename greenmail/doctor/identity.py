"""Working as the owner of the mail, when root does.

What root makes in a user's Maildir the server could not open afterwards; and where users own the directories, root
must not follow what they put there. So the effective ids are those of the owner for all the work on an account, and
root's again only for the two things that need it: the undo log, and giving files to their owner, step by step from the
root of the Maildir without following links.
"""

import contextlib
import os
import stat
from collections.abc import Iterator


def is_root() -> bool:
    """Whether we were started by root."""
    return os.getuid() == 0


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Have the effective ids of the owner of the mail; nothing happens unless root started us."""
    if os.geteuid() != 0 or (uid, gid) == (os.geteuid(), os.getegid()):
        yield
        return
    groups, own = os.getgroups(), os.getegid()
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own)
        os.setgroups(groups)


@contextlib.contextmanager
def as_caller() -> Iterator[None]:
    """Within `acting_as`, have the ids of who started us."""
    uid, gid = os.geteuid(), os.getegid()
    if not is_root() or uid == 0:
        yield
        return
    os.seteuid(0)
    os.setegid(os.getgid())
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)


def open_below(root: bytes, path: bytes) -> int:
    """An O_PATH descriptor of `path`, which is `root` or below it, reached without following any symbolic link.

    Raises OSError, ELOOP or ENOTDIR for a link.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    parts = [part for part in path[len(root) :].split(b"/") if part]
    if not path.startswith(root) or b".." in parts:
        raise PermissionError(1, "it is not below the Maildir")
    descriptor = os.open(root, flags)
    for part in parts:
        try:
            below = os.open(part, flags, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def give(root: bytes, path: bytes, uid: int, gid: int) -> None:
    """Change owner and group. Refuses links, and files with another name elsewhere. Raises OSError."""
    descriptor = open_below(root, path)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1):
            raise PermissionError(1, "it is a link, or has one elsewhere: change its owner by hand")
        os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
    finally:
        os.close(descriptor)


def set_mode(root: bytes, path: bytes, mode: int) -> None:
    """Change permissions. Refuses links. Raises OSError."""
    descriptor = open_below(root, path)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise PermissionError(1, "it is a symbolic link")
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)
