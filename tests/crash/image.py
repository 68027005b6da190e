"""A directory tree in memory: taken once, laid out many times, also in states that it never had."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class FileNode:
    """One file; hard links are the same object under several names."""

    data: bytes
    mtime_ns: int
    mode: int = 0o600
    inode: int = 0


@dataclass(slots=True)
class DirectoryNode:
    """One directory."""

    entries: "dict[bytes, FileNode | DirectoryNode]" = field(default_factory=dict)
    mtime_ns: int = 0
    mode: int = 0o700


Node = FileNode | DirectoryNode


def take(path: bytes) -> DirectoryNode:
    """The tree at `path` as it is now."""
    return _take(path, {})


def _take(path: bytes, known: dict[int, FileNode]) -> DirectoryNode:
    found = os.stat(path)
    node = DirectoryNode({}, found.st_mtime_ns, found.st_mode & 0o7777)
    for name in sorted(os.listdir(path)):
        below = path + b"/" + name
        entry = os.lstat(below)
        if os.path.isdir(below):
            node.entries[name] = _take(below, known)
            continue
        if entry.st_ino not in known:
            data = Path(os.fsdecode(below)).read_bytes()
            known[entry.st_ino] = FileNode(data, entry.st_mtime_ns, entry.st_mode & 0o7777, entry.st_ino)
        node.entries[name] = known[entry.st_ino]
    return node


def lay_out(node: DirectoryNode, path: bytes, made: dict[int, bytes] | None = None) -> None:
    """Make the tree at `path`, which is not there, with its times and hard links."""
    made = {} if made is None else made
    os.mkdir(path, node.mode)
    for name, entry in node.entries.items():
        below = path + b"/" + name
        if isinstance(entry, DirectoryNode):
            lay_out(entry, below, made)
        elif id(entry) in made:
            os.link(made[id(entry)], below)
        else:
            _write(entry, below)
            made[id(entry)] = below
    os.utime(path, ns=(node.mtime_ns, node.mtime_ns))


def _write(node: FileNode, path: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, node.mode)
    try:
        os.write(descriptor, node.data)
        os.utime(descriptor, ns=(node.mtime_ns, node.mtime_ns))
    finally:
        os.close(descriptor)


def names(node: DirectoryNode, above: bytes = b"") -> Iterator[bytes]:
    """The path of every file below, relative."""
    for name, entry in node.entries.items():
        if isinstance(entry, DirectoryNode):
            yield from names(entry, above + name + b"/")
        else:
            yield above + name


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for many short lives, in memory if there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="greenmail-crash-", dir=place))
    try:
        yield path
    finally:
        shutil.rmtree(path)
