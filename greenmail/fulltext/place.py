"""The directory of an account's index, and which file in it is the one that counts.

    directory/lock         flock: whoever fills has it
    directory/N.sqlite     the index; of several the one with the highest number, and the others are removed
    directory/N.sqlite-wal, -shm
    directory/making       the next one, until it has its tables

A damaged index is never mended: one with the next number takes its place. No number is used again, because whoever has
the old file still open would, when he closes it, remove what belongs to the new one.

Nothing here is trusted but what this process's own user made: SQLite follows links, so there may be none. The directory
is ours and nobody else may write to it, and the file is a plain one with one name. Everything is looked at by the
descriptor of the directory, before SQLite opens the file by its path and once more afterwards.
"""

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator

_NAME = re.compile(r"([1-9][0-9]{0,9})\.sqlite(-wal|-shm|-journal)?")
_LOCK = "lock"
_MAKING = "making"


class Untrusted(OSError):
    """Somebody else can write there, or it is not what it should be."""


class Place:
    """An open directory; `close` gives back its descriptor."""

    def __init__(self, path: bytes, make: bool = False) -> None:
        """Raises OSError; Untrusted among them."""
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(self._fd)
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise Untrusted(f"{os.fsdecode(path)}: another user can write there")
        except OSError:
            self.close()
            raise
        self._identity = (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Give back the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this is the only one that fills; at once."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_LOCK, flags, 0o600, dir_fd=self._fd)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def current(self) -> int:
        """The number of the file that counts; 0: there is none."""
        return max((number for number, suffix in self._files() if not suffix), default=0)

    def path_of(self, number: int) -> bytes:
        """The path to open. Raises OSError if it is not a plain file of ours."""
        self._check(number)
        return self.path + b"/%d.sqlite" % number

    def identity(self, number: int) -> tuple[int, int]:
        """Device and inode of the file, looked at once more. Raises OSError."""
        found = os.stat(self.path, follow_symlinks=False)
        if (found.st_dev, found.st_ino) != self._identity:
            raise Untrusted(f"{os.fsdecode(self.path)}: replaced meanwhile")
        return self._check(number)

    def _check(self, number: int) -> tuple[int, int]:
        found = os.stat(f"{number}.sqlite", dir_fd=self._fd, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise Untrusted(f"{os.fsdecode(self.path)}/{number}.sqlite: not a plain file of this user")
        return found.st_dev, found.st_ino

    def begin(self) -> bytes:
        """Make an empty file for the next index, which becomes it by `finish`; its path. Under the lock."""
        for name in os.listdir(self._fd):
            if name.startswith(_MAKING):
                os.unlink(name, dir_fd=self._fd)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(_MAKING, flags, 0o600, dir_fd=self._fd))
        return self.path + b"/" + _MAKING.encode("ascii")

    def finish(self) -> int:
        """The new file counts from now on, and the old ones go; its number."""
        number = max((number for number, _ in self._files()), default=0) + 1
        os.rename(_MAKING, f"{number}.sqlite", src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self.tidy()
        return number

    def tidy(self) -> None:
        """Remove every file but those of the current number; under the lock."""
        files = self._files()
        number = max((number for number, suffix in files if not suffix), default=0)
        for old, suffix in files:
            if old < number:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{old}.sqlite{suffix}", dir_fd=self._fd)

    def octets(self) -> int:
        """What the index takes up on disk."""
        total = 0
        for number, suffix in self._files():
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(f"{number}.sqlite{suffix}", dir_fd=self._fd, follow_symlinks=False).st_size
        return total

    def _files(self) -> list[tuple[int, str]]:
        found = (_NAME.fullmatch(name) for name in os.listdir(self._fd))
        return [(int(match[1]), match[2] or "") for match in found if match is not None]
