"""Sizes and dates of many messages, from their files."""

import os
from collections.abc import Sequence

from greenmail.message.measured import measured
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_name import base_name, sizes_of

Fact = tuple[int, int, int]  # UID, size, date


def measure(files: Files, wanted: Sequence[tuple[int, bytes, bool]], largest: int) -> list[Fact]:
    """Size and date of files given by UID, path, and whether the size is asked for; those that are there.

    `largest`: see `measured`.
    """
    facts: list[Fact] = []
    for uid, path, wants_size in wanted:
        try:
            if not wants_size:
                facts.append((uid, -1, int(files.stat(path).st_mtime)))
                continue
            descriptor = files.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            claimed = sizes_of(base_name(os.path.basename(path))).on_disk
            size = measured(descriptor, -1 if claimed is None else claimed, largest).crlf
            facts.append((uid, size, int(files.fstat(descriptor).st_mtime)))
        finally:
            files.close(descriptor)
    return facts
