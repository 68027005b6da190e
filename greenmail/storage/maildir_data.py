"""`greenmail-data/uidnext`: the highest UIDNEXT that a mailbox ever had.

    file = uidvalidity SP uidnext LF

A `dovecot-uidlist` that was restored from a backup has an old next UID; without this record UIDs would be used twice.
Both numbers have ten digits and are written in place, in one piece, under the mailbox's locks. It is not synced: after
a power cut the uidlist itself, which is synced, is at least as new. A record that cannot be read costs its protection.
"""

import contextlib
import logging
import os

from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.snapshot import replace_cache_file

log = logging.getLogger(__name__)


def read_uidnext(files: Files, directory: bytes) -> tuple[int, int] | None:
    """UIDVALIDITY and UIDNEXT, or None if there is no such record."""
    try:
        parts = files.read_file(directory + b"/uidnext").split()
    except OSError:
        return None
    if len(parts) != 2 or not all(part.isdigit() and len(part) <= 10 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def write_uidnext(files: Files, directory: bytes, uidvalidity: int, uidnext: int) -> None:
    """Record it; a failure is logged and costs only the protection."""
    data = b"%010d %010d\n" % (uidvalidity, uidnext)
    path = directory + b"/uidnext"
    try:
        try:
            descriptor = files.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            _create(files, directory, path, data)
            return
        try:
            files.pwrite(descriptor, data, 0)
        finally:
            files.close(descriptor)
    except OSError as error:
        log.warning("uidnext directory=%r not written error=%s", directory, error)


def _create(files: Files, directory: bytes, path: bytes, data: bytes) -> None:
    owner = ownership(files.stat(os.path.dirname(directory)))
    with contextlib.suppress(FileExistsError):
        files.make_directory(directory, owner)
    replace_cache_file(files, path, [data], owner)
