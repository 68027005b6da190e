"""The directories above a file in a `greenmail-data`: made when the file is first needed, and durable with it.

A mailbox or account that is not there is never made: only `greenmail-data` and one directory in it.
"""

import os
from contextlib import suppress

from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.presence import is_directory


def make_above(files: Files, data: bytes, path: bytes) -> None:
    """`data` (a `greenmail-data`) and the directory of `path` are there when it returns. Raises OSError."""
    directory = os.path.dirname(path)
    if is_directory(files, directory):
        return
    owner = ownership(files.stat(os.path.dirname(data)))
    for one in _both(data, directory):
        with suppress(FileExistsError):
            files.make_directory(one, owner)


def sync_above(files: Files, data: bytes, path: bytes) -> None:
    """Make durable that both are there, before the first file: whoever made them may have died before he did."""
    for one in _both(data, os.path.dirname(path)):
        files.fsync_directory(os.path.dirname(one))


def _both(data: bytes, directory: bytes) -> list[bytes]:
    return [data] if directory == data else [data, directory]
