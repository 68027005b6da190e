"""Lock files that become the file they guard: `subscriptions.lock`, `dovecot-acl.lock`. `formats.md` 3.2, 3.5.

The lock is a file that appears as `<path>.lock`, is filled with the new content, synced and renamed over the path,
which gives it back. It says nothing about its holder, so one that does not change for the stale time is broken
(`stale_lock`, rule b).

Ours is made as `greenmail.<name>.tmp` beside the path, flocked, and linked as the lock. While its maker lives nobody of
ours gets the flock; who gets it and finds a file that was there before knows that the maker is dead, and removes his
lock, if it is still that file, at once. Where there are no links the lock is made with O_EXCL alone.
"""

import fcntl
import logging
import os
from typing import Self

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, Ownership, ownership, refusing
from greenmail.storage.locks import NO_LINKS, Waiting, same_file
from greenmail.storage.stale_lock import Doubt

log = logging.getLogger(__name__)

SUBSCRIPTIONS_STALE = 30.0


def _broken() -> StorageError:
    return StorageError(Reason.IN_USE, "another program broke the lock, try again")


class FileLock:
    """`<path>.lock` that is itself the new file: `subscriptions.lock`, `dovecot-acl.lock`. Use with `with`.

    Read the file inside, for it may change until then; leave without `commit` and nothing has happened.
    """

    __slots__ = ("_beside", "_descriptor", "_doubt", "_files", "_lock", "_owner", "_path", "_waiting")

    def __init__(
        self, files: Files, path: bytes, waiting: Waiting, stale: float, owner: Ownership | None = None
    ) -> None:
        """`stale`: seconds after which the lock of one who does not move is broken. `owner`: else the directory's."""
        self._files, self._path, self._waiting, self._owner = files, path, waiting, owner
        self._lock = path + b".lock"
        self._beside = b"%b/greenmail.%b.tmp" % os.path.split(path)
        self._doubt = Doubt(files, self._lock, path, stale, waiting.onlooker())
        self._descriptor = -1

    def __enter__(self) -> Self:
        steps = self._waiting.steps()
        with refusing("the file cannot be locked"):
            owner = self._owner or ownership(self._files.stat(os.path.dirname(self._path)))
            is_locked = False
            try:
                while not (self._make(owner) and self._appear(owner)):
                    self._waiting.pause(steps)
                is_locked = True
            finally:
                if not is_locked:
                    self._drop()
        return self

    def _make(self, owner: Ownership) -> bool:
        """Have a file beside the path that is ours alone; False if another one of ours has his there."""
        while self._descriptor < 0:
            try:
                self._descriptor, is_mine = self._files.create_exclusive(self._beside, owner), True
            except FileExistsError:
                try:
                    self._descriptor, is_mine = self._files.open(self._beside, os.O_RDWR | os.O_NOFOLLOW), False
                except FileNotFoundError:
                    continue
            try:
                self._files.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._close()
                return False
            if not same_file(self._files, self._descriptor, self._beside):
                self._close()
            elif not is_mine:
                self._remove_leftover()
        return True

    def _remove_leftover(self) -> None:
        """We have the flock of a file that somebody made and did not take away: he is dead."""
        if self._is_ours():
            log.warning("lock-leftover path=%r", self._lock)
            self._files.unlink_quietly(self._lock)
        self._files.unlink(self._beside)
        self._close()

    def _appear(self, owner: Ownership) -> bool:
        """Try once to take the lock."""
        try:
            self._files.link(self._beside, self._lock)
        except FileExistsError:
            if self._is_ours():  # on NFS the answer to a successful link may have been lost
                return True
            if self._doubt.is_stale():
                self._doubt.break_lock()
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return self._create(owner)
        return True

    def _create(self, owner: Ownership) -> bool:
        try:
            descriptor = self._files.create_exclusive(self._lock, owner)
        except FileExistsError:
            if self._doubt.is_stale():
                self._doubt.break_lock()
            return False
        self._drop()
        self._descriptor = descriptor
        return True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._files.close_quietly(descriptor)

    def _drop(self) -> None:
        """Give back what is beside the path, if it is there."""
        if self._descriptor >= 0:
            if same_file(self._files, self._descriptor, self._beside):
                self._files.unlink_quietly(self._beside)
            self._close()

    def commit(self, data: bytes) -> None:
        """Write `data`, fsync, rename over the path, fsync the directory: gives back the lock.

        Raises IN_USE if somebody broke it.
        """
        with refusing("the file cannot be written"):
            self._fill(data)
            if not self._is_ours():
                raise _broken()
            self._files.rename(self._lock, self._path, self._files.fstat(self._descriptor))
            self._drop()
            self._files.fsync_directory(os.path.dirname(self._path))

    def _fill(self, data: bytes) -> None:
        """Write `data` under the name that it keeps.

        Some file systems of processes (FUSE) know files by their names only: what is written under one of two names is
        not seen under the other while the kernel remembers a size.
        """
        try:
            descriptor = self._files.open(self._lock, os.O_WRONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _broken() from None
        try:
            mine, there = self._files.fstat(self._descriptor), self._files.fstat(descriptor)
            if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                raise _broken()
            self._files.write_all(descriptor, data)
            self._files.fsync(descriptor)
        finally:
            self._files.close_quietly(descriptor)

    def _is_ours(self) -> bool:
        return same_file(self._files, self._descriptor, self._lock)

    def __exit__(self, *_: object) -> None:
        """Remove the lock if it was not committed."""
        if self._descriptor < 0:
            return
        if self._is_ours():
            self._files.unlink_quietly(self._lock)
        self._drop()
