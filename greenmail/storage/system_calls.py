"""System calls that `os` lacks, or that `Files` wants as one: plain functions, which only `filesystem` calls."""

import ctypes
import errno
import os
from dataclasses import dataclass

_HERE = -100  # AT_FDCWD: a path that does not begin with a slash begins in the working directory
_NOREPLACE = 1
# What a kernel, a file system or a sandbox says that does not know the call or its flag. `os.rename` tells the rest.
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a directory."""

    name: bytes
    is_directory: bool  # itself, not through a symbolic link
    is_symlink: bool


_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # None: an old C library
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def rename_new(source: bytes, target: bytes) -> None:
    """`os.rename` that never replaces anything: FileExistsError. In one step where the file system can (not on NFS)."""
    if b"\0" in source or b"\0" in target:  # C would take what stands before it for the path
        raise ValueError("embedded null byte")
    if _renameat2 is not None:
        if _renameat2(_HERE, source, _HERE, target, _NOREPLACE) == 0:
            return
        error = ctypes.get_errno()
        if error not in _UNKNOWN:
            raise OSError(error, os.strerror(error), source, None, target)
    if is_there(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
    os.rename(source, target)


def is_there(path: bytes) -> bool:
    """`os.path.lexists` at half its cost: what is not there, as it should be, is no exception."""
    return os.access(path, os.F_OK, follow_symlinks=False)


def fresh_stat(path: bytes) -> os.stat_result:
    """The stat of a directory as a file server has it now: opening it asks the server."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def utime(path: bytes | int, mtime_ns: int) -> None:
    """Set both times."""
    os.utime(path, ns=(mtime_ns, mtime_ns))


def kinds(path: bytes) -> tuple[list[bytes], list[bytes]]:
    """Names of files, and of everything else, in a directory."""
    plain: list[bytes] = []
    others: list[bytes] = []
    with os.scandir(path) as entries:
        for entry in entries:
            (plain if entry.is_file(follow_symlinks=False) else others).append(entry.name)
    return plain, others


def scan(path: bytes) -> list[Entry]:
    """The entries of a directory."""
    with os.scandir(path) as entries:
        return [Entry(entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries]
