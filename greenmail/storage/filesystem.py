"""The one place where the mail store changes the file system.

Every change (and every read whose failure matters) that a storage module makes goes through one `Files`, and every
system call of a `Files` goes through one function, `call(name, function, *args)`. The server uses a plain call; a test
passes its own to record the calls, to fail one of them, or to stop between any two.

Durability. What the file system promises after a power cut is only what was synced, in this order:

* `replace_file`: write all to a new temporary file, fsync it, rename it over the old one, fsync the directory. Whoever
  reads it, also after a power cut, sees the old file or the new one, whole. Without the first fsync the new name could
  hold an empty file; without the last one the old file could come back after we answered.
* `append`: write behind the end, fdatasync (it carries the new size along). After a power cut a part of the last
  write may be there: readers ignore what follows the last line end.
* a message: fsync the file in `tmp/`, rename it, `fsync_directory` of the target (`formats.md` 1.6).
* a new directory: fsync it and its parent.

A descriptor whose fsync failed is not trusted again: the kernel may have dropped the pages, and a second fsync would
succeed. Callers raise, and write anew. Paths and names are bytes everywhere: a Maildir may hold any octets.

ESTALE, NFS's word for "this is not what it was when I last saw it", means "look again": what names a path is done
again, up to three times. What uses a descriptor raises it, and whoever opened the file opens it again. A change of
names that fails so may have been carried out: `lost_answers` looks, and nobody who calls has to know.
"""

import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.storage.lost_answers import STALE_ATTEMPTS, again, is_gone, is_linked, is_made, is_renamed
from greenmail.storage.mounts import Samples
from greenmail.storage.system_calls import Entry as Entry
from greenmail.storage.system_calls import fresh_stat, kinds, rename_new, scan, utime
from greenmail.storage.system_calls import is_there as is_there

log = logging.getLogger(__name__)

_ATTEMPTS = 3  # to remove a directory that others still write to
Data = bytes | Iterable[bytes]  # in one piece or in several
Call = Callable[..., Any]  # call(name, function, *args): carry out function(*args), known as `name`


@dataclass(frozen=True, slots=True)
class Ownership:
    """Mode and group of what is made in some directory, `formats.md` 2.8."""

    file_mode: int
    directory_mode: int
    gid: int | None  # None: the group that the kernel gives is right


def ownership(directory: os.stat_result) -> Ownership:
    """What new files and directories in `directory` look like: its own bits, never less than the owner's rights.

    The group is handed on when it matters (group and others have different rights) and the kernel does not do it
    (the directory is not setgid).
    """
    mode = directory.st_mode
    group_matters = (mode >> 3) & 7 != mode & 7
    gid = directory.st_gid if group_matters and not mode & stat.S_ISGID else None
    return Ownership((mode & 0o666) | 0o600, (mode & 0o777) | 0o700, gid)


_REASONS = {
    errno.ENOSPC: (Reason.NO_SPACE, "no space left on the device"),
    errno.EDQUOT: (Reason.OVER_QUOTA, "disk quota exceeded"),
    errno.EROFS: (Reason.READ_ONLY, "the file system is read-only"),
    errno.EACCES: (Reason.NO_PERMISSION, "permission denied"),
    errno.EPERM: (Reason.NO_PERMISSION, "permission denied"),
    errno.ENAMETOOLONG: (Reason.CANNOT, "the name is too long"),
    errno.ELOOP: (Reason.CANNOT, "the path is a symbolic link"),
    errno.EILSEQ: (Reason.CANNOT, "the file system cannot hold this name"),
    errno.EINVAL: (Reason.CANNOT, "the file system refuses it"),
    errno.EMLINK: (Reason.LIMIT, "too many links"),
    errno.EFBIG: (Reason.LIMIT, "the file is too large"),
    errno.ENOENT: (Reason.NOT_FOUND, "it is not there"),
    errno.ENOTDIR: (Reason.NOT_FOUND, "it is not there"),
    errno.EEXIST: (Reason.EXISTS, "it exists already"),
    errno.ENOTEMPTY: (Reason.EXISTS, "it exists already"),
}


def refusal(error: OSError, what: str) -> StorageError:
    """`error` as the store's answer; `what` says for the user what could not be done, without paths.

    What is not in the table (EIO, EMFILE, ENFILE, ENOMEM, ESTALE, ETIMEDOUT, ...) is UNAVAILABLE: it may go by.
    """
    known = _REASONS.get(error.errno or 0)
    if known is None:
        log.error("storage what=%r errno=%s error=%s", what, errno.errorcode.get(error.errno or 0, error.errno), error)
        known = Reason.UNAVAILABLE, "the server's disk or memory does not answer, try again later"
    made = StorageError(known[0], f"{what}: {known[1]}")
    made.__cause__ = error  # for `is_stale`: in a compiled module `raise` knows nothing of `from`
    return made


class refusing:
    """Within it, an OSError that nobody handled becomes `refusal(error, what)`.

    Not a generator: it stands around every look, and must cost next to nothing.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise refusal(error, self._what) from error


def plain_call(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Carry it out: the `Call` of the server."""
    return function(*args)


class Files:
    """System calls on files. All raise OSError as they come; see `refusal`."""

    __slots__ = ("_call", "samples")

    def __init__(self, call: Call = plain_call) -> None:
        self._call = call
        self.samples = Samples()

    def through(self, wrap: Callable[[Call], Call]) -> "Files":
        """The same, with every system call going through `wrap` of what it goes through now."""
        return Files(wrap(self._call))

    def _named(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """A call that names a path: done again when it is stale, which says that nothing was done."""
        stale = 0
        while True:
            try:
                return self._call(name, function, *args)
            except OSError as error:
                stale += 1
                if error.errno != errno.ESTALE or stale > STALE_ATTEMPTS:
                    raise

    def open(self, path: bytes, flags: int, mode: int = 0o600) -> int:
        """A descriptor, close-on-exec; no FIFO that a user put there stops us. `create_exclusive` minds the umask."""
        descriptor: int = self._named("open", os.open, path, flags | os.O_CLOEXEC | os.O_NONBLOCK, mode)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._call("close", os.close, descriptor)

    def close_quietly(self, descriptor: int) -> None:
        """Close what nothing more is expected of; the descriptor is gone whatever the kernel says."""
        try:
            self.close(descriptor)
        except OSError as error:
            log.warning("close error=%s", error)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """The number of octets written, perhaps fewer than asked: see `write_all`."""
        written: int = self._call("write", os.write, descriptor, data)
        return written

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        written: int = self._call("pwrite", os.pwrite, descriptor, data, offset)
        return written

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        data: bytes = self._call("pread", os.pread, descriptor, length, offset)
        return data

    def truncate(self, descriptor: int, size: int) -> None:
        self._call("ftruncate", os.ftruncate, descriptor, size)

    def fsync(self, descriptor: int) -> None:
        self._call("fsync", os.fsync, descriptor)

    def fdatasync(self, descriptor: int) -> None:
        self._call("fdatasync", os.fdatasync, descriptor)

    def chmod(self, descriptor: int, mode: int) -> None:
        self._call("fchmod", os.fchmod, descriptor, mode)

    def chown(self, descriptor: int, gid: int) -> None:
        self._call("fchown", os.fchown, descriptor, -1, gid)

    def rename(self, source: bytes, target: bytes, made: os.stat_result | None = None) -> None:
        """`made`: what is renamed, where something else may have the name `target`."""
        try:
            self._call("rename", os.rename, source, target)
        except OSError as error:
            is_done = partial(is_renamed, self.lstat, source, target, made)
            again(error, is_done, self._call, "rename", os.rename, source, target)

    def rename_new(self, source: bytes, target: bytes) -> None:
        """As `rename`, where nothing has the name `target`: FileExistsError if something has, and nothing is done."""
        try:
            self._call("rename", rename_new, source, target)
        except OSError as error:
            is_done = partial(is_renamed, self.lstat, source, target, None)
            again(error, is_done, self._call, "rename", rename_new, source, target)

    def rename_first(self, source: bytes, target: bytes) -> None:
        """As `rename`, where several do the same and only one may be told that he did it; perhaps none is."""
        self._named("rename", os.rename, source, target)

    def link(self, source: bytes, target: bytes) -> None:
        try:
            self._call("link", os.link, source, target)
        except OSError as error:
            again(error, partial(is_linked, self.lstat, source, target), self._call, "link", os.link, source, target)

    def unlink(self, path: bytes) -> bool:
        """False if it is gone, but somebody else may have removed or renamed it."""
        try:
            self._call("unlink", os.unlink, path)
        except OSError as error:
            return again(error, partial(is_gone, self.lstat, path), self._call, "unlink", os.unlink, path)
        return True

    def mkdir(self, path: bytes, mode: int) -> None:
        """Subject to the umask: see `make_directory`."""
        try:
            self._call("mkdir", os.mkdir, path, mode)
        except OSError as error:
            again(error, partial(is_made, self.lstat, path), self._call, "mkdir", os.mkdir, path, mode)

    def rmdir(self, path: bytes) -> None:
        try:
            self._call("rmdir", os.rmdir, path)
        except OSError as error:
            again(error, partial(is_gone, self.lstat, path), self._call, "rmdir", os.rmdir, path)

    def set_mtime(self, path: bytes | int, mtime_ns: int) -> None:
        """Set both times of a file, given by path or descriptor."""
        self._call("utime", utime, path, mtime_ns)

    def touch(self, path: bytes | int) -> None:
        """Set both times of a file to now."""
        self._call("utime", os.utime, path)

    def flock(self, descriptor: int, operation: int) -> None:
        self._call("flock", fcntl.flock, descriptor, operation)

    def stat(self, path: bytes) -> os.stat_result:
        result: os.stat_result = self._named("stat", os.stat, path)
        return result

    def glance(self, path: bytes, is_remote: bool) -> os.stat_result:
        """The stat of a directory, for the looks that come with every command.

        Elsewhere than on a local disk a stat may be half a minute old: opening the directory asks the server.
        """
        found: os.stat_result = self._named("glance", fresh_stat if is_remote else os.stat, path)
        return found

    def glance_at(self, descriptor: int) -> os.stat_result:
        """The same for a descriptor."""
        found: os.stat_result = self._call("glance", os.fstat, descriptor)
        return found

    def lstat(self, path: bytes) -> os.stat_result:
        result: os.stat_result = self._named("lstat", os.lstat, path)
        return result

    def fstat(self, descriptor: int) -> os.stat_result:
        result: os.stat_result = self._call("fstat", os.fstat, descriptor)
        return result

    def listdir(self, path: bytes) -> list[bytes]:
        names: list[bytes] = self._named("listdir", os.listdir, path)
        return names

    def scan(self, path: bytes) -> list[Entry]:
        """The entries of a directory with their kinds, in no order."""
        entries: list[Entry] = self._named("scandir", scan, path)
        return entries

    def kinds(self, path: bytes) -> tuple[list[bytes], list[bytes]]:
        """Names of files, and of what is a directory, a link or anything else; without a call for each."""
        found: tuple[list[bytes], list[bytes]] = self._named("scandir", kinds, path)
        return found

    def surely(self, look: Callable[[bytes], Any], path: bytes) -> Any:
        """`look(path)`, where FileNotFoundError counts only if it comes twice.

        For files from whose absence much follows: a network file system that has an old directory in its memory says
        once that a file, which was replaced by a rename, is not there.
        """
        try:
            return look(path)
        except FileNotFoundError:
            return look(path)

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Write until all is written: a short write is followed by the rest, or by the error that explains it."""
        written = self.write(descriptor, data)
        while written < len(data):
            written += self.write(descriptor, memoryview(data)[written:])

    def create_exclusive(self, path: bytes, owner: Ownership) -> int:
        """A descriptor of a new empty file, open for reading and writing; FileExistsError if there is one.

        Mode and group are those of `owner` whatever the umask is. If we may not give the file to its group, the
        group gets no rights rather than the wrong group.
        """
        descriptor = self.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, owner.file_mode)
        try:
            self._own(descriptor, owner.file_mode, owner.gid)
        except OSError:
            self.close(descriptor)
            self.unlink(path)
            raise
        return descriptor

    def _own(self, descriptor: int, mode: int, gid: int | None) -> None:
        made = self.fstat(descriptor)
        if gid is not None and made.st_gid != gid:
            try:
                self.chown(descriptor, gid)
            except PermissionError:
                log.warning("chgrp gid=%s error=%r", gid, "not permitted; the group gets no rights")
                mode &= ~0o070
            made = self.fstat(descriptor)
        # A setgid bit that a directory inherited stays.
        if stat.S_IMODE(made.st_mode) & 0o777 != mode:
            self.chmod(descriptor, mode | (made.st_mode & stat.S_ISGID))

    def make_directory(self, path: bytes, owner: Ownership) -> None:
        """A new directory with mode and group of `owner`; FileExistsError if there is one. Not synced."""
        self.mkdir(path, owner.directory_mode)
        try:
            descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                self._own(descriptor, owner.directory_mode, owner.gid)
            finally:
                self.close(descriptor)
        except OSError:
            self.rmdir(path)
            raise

    def fsync_directory(self, path: bytes) -> None:
        """Make durable which names are in the directory."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(descriptor)
        finally:
            self.close(descriptor)

    def read_file(self, path: bytes) -> bytes:
        """All of a file."""
        descriptor = self.open(path, os.O_RDONLY)
        try:
            return self.read_from(descriptor, 0)
        finally:
            self.close(descriptor)

    def read_from(self, descriptor: int, offset: int) -> bytes:
        """All of an open file from `offset` to its end. A device has none, so what is long must be a file."""
        pieces: list[bytes] = []
        while piece := self.pread(descriptor, 1 << 20, offset):
            if len(piece) == 1 << 20 and not pieces and not stat.S_ISREG(self.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def replace_file(
        self, path: bytes, data: Data, owner: Ownership, temporary: bytes = b"", mtime: int | None = None
    ) -> os.stat_result:
        """Durably put a file with `data` in the place of `path`, new or not; the new file's stat.

        It is written as `temporary` (`path`.tmp if empty), of which a leftover is removed: the caller holds the lock
        that makes it a leftover. `mtime` in whole seconds. If it fails the old file stands, or (only if the last
        sync fails) the new one.
        """
        temporary = temporary or path + b".tmp"
        try:
            descriptor = self.create_exclusive(temporary, owner)
        except FileExistsError:
            self.unlink(temporary)
            descriptor = self.create_exclusive(temporary, owner)
        try:
            try:
                for piece in [data] if isinstance(data, bytes) else data:
                    self.write_all(descriptor, piece)
                if mtime is not None:
                    self.set_mtime(descriptor, mtime * 1_000_000_000)
                self.fsync(descriptor)
                made = self.fstat(descriptor)
            finally:
                self.close(descriptor)
            self.rename(temporary, path, made)
        except OSError:
            self.unlink_quietly(temporary)
            raise
        self.fsync_directory(os.path.dirname(path))
        return made

    def append(self, path: bytes, data: bytes, durable: bool = True) -> None:
        """Write `data` behind the end of an existing file, at once if the kernel can, and fdatasync it."""
        descriptor = self.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            self.write_all(descriptor, data)
            if durable:
                self.fdatasync(descriptor)
        finally:
            self.close(descriptor)

    def unlink_quietly(self, path: bytes) -> None:
        """Remove what only takes up space: if it cannot be done, that is logged and nothing else."""
        try:
            self.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("unlink path=%r error=%s", path, error)

    def remove_tree(self, path: bytes) -> None:
        """Remove a directory with all that is in it. Symbolic links are removed, not followed. Gone is fine."""
        for attempt in range(_ATTEMPTS):
            try:
                if not stat.S_ISDIR(self.lstat(path).st_mode):
                    self.unlink(path)
                    return
                for entry in self.scan(path):
                    self._remove(path + b"/" + entry.name, entry.is_directory)
                self.rmdir(path)
            except FileNotFoundError:
                return
            except OSError as error:
                # Somebody put something into it in the meantime; on NFS also the remains of open files.
                if error.errno != errno.ENOTEMPTY or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _remove(self, path: bytes, is_directory: bool) -> None:
        if is_directory:
            self.remove_tree(path)
            return
        with contextlib.suppress(FileNotFoundError):
            self.unlink(path)


def sync_names(files: Files, path: bytes) -> None:
    """`Files.fsync_directory`; what may be written but not read (a home of mode 0711) cannot be synced, and is not."""
    try:
        files.fsync_directory(path)
    except PermissionError as error:
        log.warning("sync path=%r error=%s", path, error)


def is_stale(cause: BaseException | None) -> bool:
    """Whether this, or what it was made of, is ESTALE."""
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ESTALE:
            return True
        cause = cause.__cause__
    return False
