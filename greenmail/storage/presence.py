"""Whether something is there: asked through `Files`, as everything that can fail.

`os.path.isdir` and its kind say "no" whatever went wrong. A disk that does not answer would then be a mailbox that is
not there, and a control directory that is not there is one that a RENAME need not take along. So what is not plainly
"there is no such thing" is raised; and that counts when it was said twice (`Files.surely`).
"""

import errno
import os
import stat

from greenmail.storage.filesystem import Files

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def found_at(files: Files, path: bytes, is_followed: bool = True) -> os.stat_result | None:
    """What is there, behind a symbolic link if `is_followed`; None if nothing is. Raises OSError."""
    look = files.stat if is_followed else files.lstat
    try:
        found: os.stat_result = files.surely(look, path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    return found


def is_directory(files: Files, path: bytes) -> bool:
    """Also through a symbolic link. Raises OSError."""
    found = found_at(files, path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_link(files: Files, path: bytes) -> bool:
    """A symbolic link, wherever it leads. Raises OSError."""
    found = found_at(files, path, is_followed=False)
    return found is not None and stat.S_ISLNK(found.st_mode)


def is_there(files: Files, path: bytes) -> bool:
    """Anything, be it a link that leads nowhere. Raises OSError."""
    return found_at(files, path, is_followed=False) is not None
