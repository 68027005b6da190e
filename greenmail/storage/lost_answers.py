"""Changes of names on a file server whose answer got lost: they fail, and may have been carried out all the same.

Done again, as a client of NFS does by itself and `Files` does after ESTALE, a rename says ENOENT then, and a link
EEXIST. Who believes that forgets what he did: a message that was delivered is refused and there, one that was moved is
gone. So the names are looked at: what is as it should be is done.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

UNSURE = (errno.ESTALE, errno.ETIMEDOUT, errno.EIO)  # after these nobody knows whether it was carried out
STALE_ATTEMPTS = 3  # besides the first

Identity = tuple[int, int]  # device and inode of a file
Lstat = Callable[[bytes], os.stat_result]
_NOTHING: Identity = (0, 0)


def again(error: OSError, is_done: Callable[[], bool], change: Callable[..., Any], *args: Any) -> bool:
    """`change(*args)` failed with `error`. True if it went when it was done again; False if it is found to be done.

    Else the last error is raised. Only what is stale is done again.
    """
    if error.errno not in UNSURE:
        raise error
    for _ in range(STALE_ATTEMPTS):
        if is_done():
            return False
        if error.errno != errno.ESTALE:
            raise error
        try:
            change(*args)
        except OSError as following:
            error = following
        else:
            return True
    if not is_done():
        raise error
    return False


def _identity(lstat: Lstat, path: bytes) -> Identity | None:
    """Of what has this name; _NOTHING if nothing has, None if that cannot be said."""
    try:
        found = lstat(path)
    except FileNotFoundError:
        return _NOTHING
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_gone(lstat: Lstat, path: bytes) -> bool:
    """Surely nothing has this name."""
    return _identity(lstat, path) == _NOTHING


def is_made(lstat: Lstat, path: bytes) -> bool:
    """Surely something has this name."""
    return _identity(lstat, path) not in (None, _NOTHING)


def is_renamed(lstat: Lstat, source: bytes, target: bytes, made: os.stat_result | None) -> bool:
    """`made`: what should have the name `target` now; None: anything, as nothing had it before."""
    if made is None:
        return is_made(lstat, target) and is_gone(lstat, source)
    return _identity(lstat, target) == (made.st_dev, made.st_ino) and is_gone(lstat, source)


def is_linked(lstat: Lstat, source: bytes, target: bytes) -> bool:
    """Both names are of one file."""
    there = _identity(lstat, target)
    return there not in (None, _NOTHING) and there == _identity(lstat, source)
