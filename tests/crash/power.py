"""What a disk may hold after the power was cut.

The model, which ext4 (data=ordered), XFS and btrfs all keep, and which grants them more disorder than they take:

* The octets of a file are safe up to the last fsync or fdatasync of that file. What was written, cut or truncated
  since may be there whole, or be missing, or half of it, or stand there as zeros. The time of a file goes with its
  octets.
* The names in a directory are safe up to the last fsync of that directory: not by an fsync of the file that has the
  name. The changes since then reach the disk in their order, each of them whole; how many of them did is free.
* What one directory kept says nothing about another one, not even about its parent or its children. An exception, for
  a journal writes both ends of a rename at once: a name that was moved between two directories is not gone from the
  old one before it is in the new one. It may be in both.
* A directory's time is that of the last change that it kept.

What was not synced at all is thus missing in one state, and there in another. Not part of the model: disks that lie
about having written, and file systems that were mounted without barriers.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from crash.image import DirectoryNode, FileNode, Node, lay_out

from greenmail.storage import journal, snapshot

_PRODUCT = 96  # states of the directories at one moment, above which only the extremes and single steps are built
DATA = ("all", "synced", "half", "zeros")


@dataclass(eq=False, slots=True)
class File:
    """One inode and the octets that it had."""

    versions: list[tuple[int, bytes, int]]  # (moment, octets, mtime)
    synced: list[tuple[int, int]] = field(default_factory=list)  # (moment, how many versions are safe)
    mode: int = 0o600
    inode: int = 0


@dataclass(slots=True)
class Step:
    """One change of a directory's names."""

    moment: int
    changes: "list[tuple[bytes, File | Directory | None]]"
    mtime_ns: int
    needs: "tuple[Directory, int] | None" = None  # not on disk before that many steps of another directory are


@dataclass(eq=False, slots=True)
class Directory:
    """One directory and what became of its names."""

    base: "dict[bytes, File | Directory]" = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    synced: list[tuple[int, int]] = field(default_factory=list)  # (moment, how many steps are safe)
    mtime_ns: int = 0
    mode: int = 0o700

    def now(self) -> "dict[bytes, File | Directory]":
        return self.after(len(self.steps))

    def after(self, count: int) -> "dict[bytes, File | Directory]":
        names = dict(self.base)
        for step in self.steps[:count]:
            for name, node in step.changes:
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        return names


def _load(node: Node, known: dict[int, File]) -> File | Directory:
    if isinstance(node, FileNode):
        if id(node) not in known:
            known[id(node)] = File([(0, node.data, node.mtime_ns)], [(0, 1)], node.mode, node.inode)
        return known[id(node)]
    made = Directory(mtime_ns=node.mtime_ns, mode=node.mode)
    made.base = {name: _load(entry, known) for name, entry in node.entries.items()}
    return made


@dataclass(frozen=True, slots=True)
class Sync:
    """An fsync that was asked for."""

    moment: int
    what: str  # "file" or "directory"
    path: str
    site: str  # the function of the store that wanted it, and what it synced


def _site() -> str:
    """The function of the store that the running sync is for."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/greenmail/storage/" in path and not path.endswith("/filesystem.py"):
            return f"{Path(path).stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "nobody"


class Recorder:
    """The `Call` of a `Files`: carries out everything but syncs, and writes down what it does to the tree at `root`.

    `ignored`: the site, as in `Sync.site`, whose syncs are left out.
    """

    def __init__(self, image: DirectoryNode, root: bytes, ignored: str = "") -> None:
        self.tree = _load(image, {})
        assert isinstance(self.tree, Directory)
        self._root = root
        self._ignored = ignored
        self._open: dict[int, tuple[File | Directory, bytes, bool, int]] = {}  # node, path, appends, position
        self.moment = 0
        self.first = -1  # the moment of `begin`
        self.answers: list[int] = []  # moments at which the client was told
        self.syncs: list[Sync] = []

    def begin(self) -> None:
        """From here on power may be cut: what went before is safe."""
        self.first = self.moment
        assert isinstance(self.tree, Directory)
        directories, files = _all_nodes(self.tree)
        for directory in directories:
            directory.synced.append((self.moment, len(directory.steps)))
        for file in files:
            file.synced.append((self.moment, len(file.versions)))
        self.syncs.clear()

    def answer(self) -> None:
        """The client is told that it is done."""
        self.answers.append(self.moment)

    # Finding nodes

    def _split(self, path: bytes) -> tuple[Directory, bytes]:
        assert path.startswith(self._root + b"/"), path
        *above, name = [part for part in path[len(self._root) :].split(b"/") if part]
        node = self.tree
        for part in above:
            below = node.now()[part]
            assert isinstance(below, Directory)
            node = below
        return node, name

    def _find(self, path: bytes) -> File | Directory | None:
        if path.rstrip(b"/") == self._root:
            return self.tree
        above, name = self._split(path.rstrip(b"/"))
        return above.now().get(name)

    def _inside(self, path: Any) -> bool:
        return isinstance(path, bytes) and (path + b"/").startswith(self._root + b"/")

    # Carrying out

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name in ("fsync", "fdatasync"):
            self._sync(args[0])
            return None
        known = self._before(name, args)
        result = function(*args)
        self.moment += 1
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, result, known, *args)
        return result

    def _before(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "link" or (name == "rename" and self._inside(args[0])):
            with contextlib.suppress(KeyError):  # a directory above it is not there: the call will say so
                return self._find(args[0])
        return None

    def _on_open(self, descriptor: int, _: Any, path: bytes, flags: int, mode: int) -> None:
        if not self._inside(path):
            return
        node = self._find(path)
        if node is None:
            node = File([(self.moment, b"", os.fstat(descriptor).st_mtime_ns)], mode=mode)
            node.inode = os.fstat(descriptor).st_ino
            self._step(path, node)
        elif flags & os.O_TRUNC and isinstance(node, File):
            self._version(node, b"", descriptor)
        self._open[descriptor] = (node, path, bool(flags & os.O_APPEND), 0)

    def _on_close(self, result: None, _: Any, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _on_write(self, written: int, _: Any, descriptor: int, data: bytes) -> None:
        if descriptor not in self._open:
            return
        node, path, appends, position = self._open[descriptor]
        assert isinstance(node, File)
        old = node.versions[-1][1]
        position = len(old) if appends else position
        self._version(node, old[:position] + bytes(data)[:written] + old[position + written :], descriptor)
        self._open[descriptor] = (node, path, appends, position + written)

    def _on_pwrite(self, written: int, _: Any, descriptor: int, data: bytes, offset: int) -> None:
        node = self._open[descriptor][0]
        assert isinstance(node, File)
        old = node.versions[-1][1]
        self._version(node, old[:offset] + data[:written] + old[offset + written :], descriptor)

    def _on_ftruncate(self, result: None, _: Any, descriptor: int, size: int) -> None:
        node = self._open[descriptor][0]
        assert isinstance(node, File)
        self._version(node, node.versions[-1][1][:size].ljust(size, b"\0"), descriptor)

    def _on_utime(self, result: None, _: Any, path: bytes | int, *rest: Any) -> None:
        node = self._open[path][0] if isinstance(path, int) else self._find(path)
        if isinstance(node, File):
            self._version(node, node.versions[-1][1], path)

    def _version(self, node: File, data: bytes, path: int | bytes) -> None:
        node.versions.append((self.moment, data, os.stat(path).st_mtime_ns))

    def _step(self, path: bytes, node: "File | Directory | None") -> None:
        above, name = self._split(path)
        above.steps.append(Step(self.moment, [(name, node)], os.stat(os.path.dirname(path)).st_mtime_ns))

    def _on_rename(self, result: None, node: "File | Directory", source: bytes, target: bytes) -> None:
        (old, old_name), (new, new_name) = self._split(source), self._split(target)
        times = [os.stat(os.path.dirname(path)).st_mtime_ns for path in (source, target)]
        if old is new:
            old.steps.append(Step(self.moment, [(old_name, None), (new_name, node)], times[0]))
            return
        new.steps.append(Step(self.moment, [(new_name, node)], times[1]))
        old.steps.append(Step(self.moment, [(old_name, None)], times[0], (new, len(new.steps))))

    def _on_link(self, result: None, node: "File | Directory", source: bytes, target: bytes) -> None:
        self._step(target, node)

    def _on_unlink(self, result: None, _: Any, path: bytes) -> None:
        self._step(path, None)

    def _on_rmdir(self, result: None, _: Any, path: bytes) -> None:
        self._step(path, None)

    def _on_mkdir(self, result: None, _: Any, path: bytes, mode: int) -> None:
        self._step(path, Directory(mtime_ns=os.stat(path).st_mtime_ns, mode=mode))

    def _sync(self, descriptor: int) -> None:
        if descriptor not in self._open:
            return
        node, path, _, _ = self._open[descriptor]
        self.moment += 1
        kind = "directory" if isinstance(node, Directory) else "file"
        site = f"{_site()} {kind}"
        self.syncs.append(Sync(self.moment, kind, os.fsdecode(path[len(self._root) :]), site))
        if self.first >= 0 and site == self._ignored:
            return
        node.synced.append((self.moment, len(node.steps) if isinstance(node, Directory) else len(node.versions)))


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": Recorder._on_open,
    "close": Recorder._on_close,
    "write": Recorder._on_write,
    "pwrite": Recorder._on_pwrite,
    "ftruncate": Recorder._on_ftruncate,
    "utime": Recorder._on_utime,
    "rename": Recorder._on_rename,
    "link": Recorder._on_link,
    "unlink": Recorder._on_unlink,
    "rmdir": Recorder._on_rmdir,
    "mkdir": Recorder._on_mkdir,
}


# States


def _all_nodes(tree: Directory) -> tuple[list[Directory], list[File]]:
    directories: list[Directory] = []
    files: dict[int, File] = {}
    seen: set[int] = set()
    stack: list[File | Directory] = [tree]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, File):
            files[id(node)] = node
            continue
        directories.append(node)
        stack.extend(node.base.values())
        stack.extend(found for step in node.steps for _, found in step.changes if found is not None)
    return directories, list(files.values())


def _safe(synced: list[tuple[int, int]], moment: int) -> int:
    return max((count for when, count in synced if when <= moment), default=0)


Choice = dict[Directory, int]


def _choices(directories: list[Directory], moment: int) -> Iterator[Choice]:
    """How many steps each directory may have kept."""
    spans = {}
    for directory in directories:
        done = sum(1 for step in directory.steps if step.moment <= moment)
        spans[directory] = range(_safe(directory.synced, moment), done + 1)
    free = [directory for directory, span in spans.items() if len(span) > 1]
    fixed = {directory: span[-1] for directory, span in spans.items()}
    count = 1
    for directory in free:
        count *= len(spans[directory])
    if count <= _PRODUCT:
        for picked in itertools.product(*(spans[directory] for directory in free)):
            yield fixed | dict(zip(free, picked, strict=True))
        return
    extremes = [sorted({spans[directory][0], spans[directory][-1]}) for directory in free]
    for picked in itertools.product(*extremes):
        yield fixed | dict(zip(free, picked, strict=True))
    for others in (0, -1):
        for one in free:
            for step in spans[one]:
                yield fixed | {directory: spans[directory][others] for directory in free} | {one: step}


def _is_legal(choice: Choice) -> bool:
    for directory, count in choice.items():
        for step in directory.steps[:count]:
            if step.needs is not None and choice[step.needs[0]] < step.needs[1]:
                return False
    return True


def _octets(file: File, moment: int, data: str) -> tuple[bytes, int]:
    done = [version for version in file.versions if version[0] <= moment]
    if not done:
        return b"", 0
    safe = min(_safe(file.synced, moment), len(done))
    _, last, mtime = done[-1]
    if data == "all" or safe == len(done):
        return last, mtime
    kept, kept_time = (done[safe - 1][1], done[safe - 1][2]) if safe else (b"", mtime)
    if data == "synced":
        return kept, kept_time
    pairs = zip(kept, last, strict=False)
    same = next((n for n, (old, new) in enumerate(pairs) if old != new), min(len(kept), len(last)))
    if data == "half":
        return last[: same + (len(last) - same + 1) // 2], mtime
    return last[:same] + b"\0" * (len(last) - same), mtime


def _build(tree: Directory, choice: Choice, moment: int, data: str) -> DirectoryNode:
    made: dict[int, FileNode] = {}

    def build(directory: Directory) -> DirectoryNode:
        count = choice[directory]
        mtime = directory.steps[count - 1].mtime_ns if count else directory.mtime_ns
        node = DirectoryNode({}, mtime, directory.mode)
        for name, entry in directory.after(count).items():
            if isinstance(entry, Directory):
                node.entries[name] = build(entry)
                continue
            if id(entry) not in made:
                octets, time = _octets(entry, moment, data)
                made[id(entry)] = FileNode(octets, time, entry.mode, entry.inode)
            node.entries[name] = made[id(entry)]
        return node

    return build(tree)


def _print(node: Node) -> Any:
    if isinstance(node, FileNode):
        return (node.data, node.mtime_ns, node.inode)
    return (node.mtime_ns, tuple((name, _print(entry)) for name, entry in sorted(node.entries.items())))


def states(recorder: Recorder, from_answer: bool = False) -> Iterator[tuple[int, DirectoryNode]]:
    """Every state that the model allows, once for each number of answers that had been given.

    `from_answer`: only those after the first answer.
    """
    tree = recorder.tree
    assert isinstance(tree, Directory)
    directories, files = _all_nodes(tree)
    moments = {step.moment for directory in directories for step in directory.steps}
    moments |= {version[0] for file in files for version in file.versions}
    moments |= {sync.moment for sync in recorder.syncs} | set(recorder.answers) | {recorder.first, recorder.moment}
    seen: set[int] = set()
    for moment in sorted(moment for moment in moments if moment >= recorder.first):
        answered = sum(1 for answer in recorder.answers if answer <= moment)
        if from_answer and not answered:
            continue
        for choice in _choices(directories, moment):
            if not _is_legal(choice):
                continue
            for data in DATA:
                image = _build(tree, choice, moment, data)
                key = hash((answered, _print(image)))
                if key not in seen:
                    seen.add(key)
                    yield answered, image


# The index remembers the uidlist by its inode number, which is another one in a copy.


def lay_out_with_inodes(image: DirectoryNode, root: bytes) -> None:
    """As `lay_out`, and what the index files say of inode numbers is true again."""
    lay_out(image, root)
    _translate(image, root)


def _translate(node: DirectoryNode, path: bytes) -> None:
    uidlist = node.entries.get(b"dovecot-uidlist")
    if isinstance(uidlist, FileNode):
        inodes = {uidlist.inode: os.stat(path + b"/dovecot-uidlist").st_ino}
        data = node.entries.get(b"greenmail-data")
        place, cur = b"/greenmail-data", node.entries.get(b"cur")
        if data is None and isinstance(cur, DirectoryNode):
            data, place = cur.entries.get(b".greenmail-data"), b"/cur/.greenmail-data"
        beyond = data.entries.get(b"keywords") if isinstance(data, DirectoryNode) else None
        if isinstance(beyond, FileNode):
            inodes[beyond.inode] = os.stat(path + place + b"/keywords").st_ino
        saved, log = node.entries.get(b"greenmail.index"), node.entries.get(b"greenmail.log")
        if isinstance(saved, FileNode) and (found := snapshot.unpack(saved.data)) is not None:
            _correct(found.meta, inodes)
            _overwrite(path + b"/greenmail.index", snapshot.pack(found))
        if isinstance(log, FileNode) and log.data.startswith(journal.MAGIC):
            batches, taken = journal.unpack(log.data[len(journal.MAGIC) :])
            for batch in batches:
                _correct(batch, inodes)
            _overwrite(
                path + b"/greenmail.log",
                journal.MAGIC + b"".join(map(journal.pack, batches)) + log.data[len(journal.MAGIC) + taken :],
            )
    for name, entry in node.entries.items():
        if isinstance(entry, DirectoryNode):
            _translate(entry, path + b"/" + name)
    os.utime(path, ns=(node.mtime_ns, node.mtime_ns))


def _correct(batch: dict[str, Any], inodes: dict[int, int]) -> None:
    times = batch.get("times")
    if times:
        for place in (4, 7):
            times[place : place + 1] = [inodes.get(inode, inode) for inode in times[place : place + 1]]


def _overwrite(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
