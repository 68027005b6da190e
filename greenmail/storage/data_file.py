"""Small files in a `greenmail-data`, which are no caches: `metadata`, `quota`, `special-use`, `url-keys`, ...

Each is replaced by its own lock file (`file_lock`): readers see the old one or the new one, whole, and a change is
relative to what the file says when it is locked, so workers do not undo each other's.

The directories above it are made when it is first needed, and are durable before it is. A mailbox or account that is
not there is never made: only `greenmail-data` and one directory in it.
"""

import os
from contextlib import suppress

from greenmail.storage.file_lock import FileLock
from greenmail.storage.filesystem import Files, Ownership, ownership, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.presence import found_at, is_directory

_STALE = 30.0  # seconds after which the lock of one who does not move is broken

Stamp = tuple[int, int, int]  # inode, size, mtime: another file has another one
NO_FILE: Stamp = (0, 0, 0)


class DataFile:
    """One of them. Methods raise StorageError."""

    __slots__ = ("_data", "_files", "_owner", "_waiting", "_what", "path")

    def __init__(
        self, files: Files, data: bytes, name: bytes, waiting: Waiting, what: str, owner: Ownership | None = None
    ) -> None:
        """`data`: a `greenmail-data`; `name`: of the file in it, perhaps in a directory. Both are made when needed.

        `what` is in it, for users: "The annotations". `owner`: else as the directory says.
        """
        self._files, self._data, self._waiting, self._what, self._owner = files, data, waiting, what, owner
        self.path = data + b"/" + name

    def stamp(self) -> Stamp:
        """What is another one after each change; NO_FILE if there is none."""
        with refusing(f"{self._what} cannot be read"):
            try:
                found = self._files.stat(self.path)
            except FileNotFoundError:
                return NO_FILE
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self) -> bytes | None:
        """All of it; None if there is none."""
        with refusing(f"{self._what} cannot be read"):
            try:
                octets: bytes = self._files.surely(self._files.read_file, self.path)
            except FileNotFoundError:
                return None
        return octets

    def prepare(self) -> None:
        """The directories are there when it returns; durable with the first change."""
        with refusing(f"{self._what} cannot be written"):
            directory = os.path.dirname(self.path)
            if is_directory(self._files, directory):
                return
            owner = ownership(self._files.stat(os.path.dirname(self._data)))
            for one in self._above():
                with suppress(FileExistsError):
                    self._files.make_directory(one, owner)

    def locked(self) -> FileLock:
        """The lock, to be used with `with`: what is given to its `commit` is the file from then on."""
        self.prepare()
        with refusing(f"{self._what} cannot be written"):
            if found_at(self._files, self.path) is None:  # whoever made the directories may have died before he synced
                for one in self._above():
                    self._files.fsync_directory(os.path.dirname(one))
        return FileLock(self._files, self.path, self._waiting, _STALE, self._owner)

    def _above(self) -> list[bytes]:
        directory = os.path.dirname(self.path)
        return [self._data] if directory == self._data else [self._data, directory]
