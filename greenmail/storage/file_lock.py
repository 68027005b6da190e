"""Lock files that become the file they guard: `subscriptions.lock`, `dovecot-acl.lock`. `formats.md` 3.2, 3.5.

The lock is created with O_EXCL, filled with the new content, synced and renamed over the file, which gives it back. It
says nothing about its holder, so one that does not change for the stale time is broken (`stale_lock`, rule b).
"""

import os
from typing import Self

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, ownership, refusing
from greenmail.storage.locks import Waiting, same_file
from greenmail.storage.stale_lock import Doubt

SUBSCRIPTIONS_STALE = 30.0


class FileLock:
    """`<path>.lock` that is itself the new file: `subscriptions.lock`, `dovecot-acl.lock`. Use with `with`.

    Read the file inside, for it may change until then; leave without `commit` and nothing has happened.
    """

    __slots__ = ("_descriptor", "_doubt", "_files", "_lock", "_path", "_waiting")

    def __init__(self, files: Files, path: bytes, waiting: Waiting, stale: float) -> None:
        """`stale`: seconds after which the lock of one who does not move is broken."""
        self._files, self._path, self._waiting = files, path, waiting
        self._lock = path + b".lock"
        self._doubt = Doubt(files, self._lock, path, stale, waiting.onlooker())
        self._descriptor = -1

    def __enter__(self) -> Self:
        steps = self._waiting.steps()
        with refusing("the file cannot be locked"):
            owner = ownership(self._files.stat(os.path.dirname(self._path)))
            while True:
                try:
                    self._descriptor = self._files.create_exclusive(self._lock, owner)
                except FileExistsError:
                    if self._doubt.is_stale():
                        self._doubt.break_lock()
                    self._waiting.pause(steps)
                else:
                    return self

    def commit(self, data: bytes) -> None:
        """Write `data`, fsync, rename over the path, fsync the directory: gives back the lock.

        Raises IN_USE if somebody broke it.
        """
        with refusing("the file cannot be written"):
            self._files.write_all(self._descriptor, data)
            self._files.fsync(self._descriptor)
            if not self._is_ours():
                raise StorageError(Reason.IN_USE, "another program broke the lock, try again")
            self._files.rename(self._lock, self._path)
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)
            self._files.fsync_directory(os.path.dirname(self._path))

    def _is_ours(self) -> bool:
        return same_file(self._files, self._descriptor, self._lock)

    def __exit__(self, *_: object) -> None:
        """Remove the lock if it was not committed."""
        if self._descriptor < 0:
            return
        if self._is_ours():
            self._files.unlink_quietly(self._lock)
        descriptor, self._descriptor = self._descriptor, -1
        self._files.close(descriptor)
