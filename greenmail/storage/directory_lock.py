"""Keeping everybody out of a mailbox whose directory is about to be renamed.

Only the `flock` of `greenmail.lock` is taken: it goes with the file wherever that is renamed to, while a dotlock would
be left behind in the renamed directory. Dovecot's dotlock is waited for.
"""

import fcntl
import logging
import os
from collections.abc import Iterable
from types import TracebackType

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, ownership, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.presence import found_at, is_there

log = logging.getLogger(__name__)


def distinct(files: Files, directories: Iterable[bytes]) -> list[bytes]:
    """In the order in which they are locked; a link and what it leads to are one mailbox, and have one lock."""
    single: dict[object, bytes] = {}
    with refusing("The mailbox cannot be locked"):
        for directory in directories:
            found = found_at(files, directory)
            single[directory if found is None else (found.st_dev, found.st_ino)] = directory
    return sorted(single.values())


class DirectoryLock:
    """Use it with `with`. Raises IN_USE after `waiting.timeout`, GONE if there is no such directory."""

    def __init__(self, files: Files, directory: bytes, control: bytes, waiting: Waiting) -> None:
        self._files = files
        self._directory = directory
        self._dotlock = control + b"/dovecot-uidlist.lock"
        self._waiting = waiting
        self._fd = -1

    def __enter__(self) -> "DirectoryLock":
        with refusing("The mailbox cannot be locked"):
            for step in self._waiting.steps():
                if self._take():
                    return self
                self._waiting.sleep(step)
            if self._take():
                return self
        raise StorageError(Reason.IN_USE, "The mailbox is in use by another program; try again later.")

    def _take(self) -> bool:
        path = self._directory + b"/greenmail.lock"
        try:
            self._fd = self._open(path)
        except FileNotFoundError:
            raise StorageError(Reason.GONE, "The mailbox is not there any more.") from None
        try:
            self._files.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine, there = self._files.fstat(self._fd), self._files.stat(path)
            if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino) and not is_there(self._files, self._dotlock):
                return True
        except (BlockingIOError, FileNotFoundError):
            log.debug("waiting-for path=%r", path)
        self._close()
        return False

    def _open(self, path: bytes) -> int:
        try:
            return self._files.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            owner = ownership(self._files.stat(self._directory))
        try:
            return self._files.create_exclusive(path, owner)
        except FileExistsError:
            return self._files.open(path, os.O_RDWR | os.O_NOFOLLOW)

    def _close(self) -> None:
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            self._files.close_quietly(descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
