"""The undo log of `--fix`: everything that was there before, so that `doctor --undo` can put it back.

    file   = header *entry
    header = {"greenmail-undo": 1}
    entry  = {"do": "scope", "directory", "control", "index", "root", "uid", "gid"}   ; of the entries that follow
           / {"do": "rename", "from", "to"}
           / {"do": "mode", "path", "mode", "after"} / {"do": "owner", "path", "uid", "gid", "after"}
           / {"do": "remove", "path", "mode", "mtime_ns", "size"} *data
           / {"do": "replace", "path", "mode", "existed", "size"} *data *{"after": digest or null}
    data   = {"data": base64 of zlib}

One JSON value a line; paths are UTF-8 with surrogate escapes. An entry is written and synced before the change that it
speaks of: after a crash the log may tell of a change that did not happen (then there is nothing to undo), but never
lacks one. A last line that is not whole is of a change that did not happen. For the same reason what a replaced file
is going to be is written down before it is: `UndoLog.files` sees the rename or the append coming.

The file holds mail and is made with mode 0600. It is the caller's: when root repairs for others, they cannot write it.
"""

import base64
import contextlib
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.doctor.identity import as_caller
from greenmail.errors import Refused
from greenmail.storage.filesystem import Call, Files, plain_call
from greenmail.storage.locks import same_file

_BLOCK = 1 << 20
HEADER = {"greenmail-undo": 1}


def text(path: bytes) -> str:
    """A path as it stands in the log."""
    return path.decode("utf-8", "surrogateescape")


def octets(path: str) -> bytes:
    """The way back."""
    return path.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Scope:
    """The mailbox that entries belong to; `directory` is empty for those of the account itself."""

    root: bytes
    uid: int
    gid: int
    directory: bytes = b""
    control: bytes = b""
    index: bytes = b""  # `index-path`


class UndoLog:
    """Makes changes, having written down how to take them back. The file is made with the first of them."""

    def __init__(self, path: str, call: Call = plain_call) -> None:
        self.path = path
        self._call = call
        self._files = Files(call)
        self.files = Files(self._foreseeing)  # for those who change files within `replacing`
        self._replaced = b""  # the file that is about to change
        self._appending = -1  # a descriptor that is open on it
        self._descriptor = -1
        self._scope: Scope | None = None
        self._written: Scope | None = None
        self.changes = 0

    @property
    def exists(self) -> bool:
        return self._descriptor >= 0

    def scope(self, scope: Scope) -> None:
        """What follows is about this mailbox."""
        self._scope = scope

    def _write(self, entries: Sequence[dict[str, Any]]) -> None:
        if self._descriptor < 0:
            try:
                with as_caller():
                    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
                    self._descriptor = os.open(self.path, flags, 0o600)
                    self._files.fsync_directory(os.path.dirname(os.path.abspath(os.fsencode(self.path))))
            except OSError as error:
                raise Refused(
                    f"the undo log {self.path} cannot be made, nothing was changed: {error.strerror}"
                ) from None
            entries = [HEADER, *entries]
        data = b"".join(json.dumps(entry).encode("ascii") + b"\n" for entry in entries)
        self._files.write_all(self._descriptor, data)

    def _begin(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write entries of changes that are about to be made."""
        scope = self._scope
        if scope is not None and scope != self._written:
            entry = {"do": "scope", "uid": scope.uid, "gid": scope.gid}
            entry |= {name: text(getattr(scope, name)) for name in ("root", "directory", "control", "index")}
            entries = [entry, *entries]
            self._written = scope
        self._write(entries)
        self.changes += 1

    def _sync(self) -> None:
        self._files.fdatasync(self._descriptor)

    def rename_all(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Rename, each unless the new name is taken or the old one gone; those that were renamed."""
        self._begin([{"do": "rename", "from": text(old), "to": text(new)} for old, new in pairs])
        self._sync()
        done = []
        for old, new in pairs:
            if os.path.lexists(new):
                continue
            with contextlib.suppress(FileNotFoundError):
                self._files.rename(old, new)
                done.append((old, new))
        for directory in sorted({os.path.dirname(path) for pair in done for path in pair}):
            self._files.fsync_directory(directory)
        return done

    def remove(self, path: bytes) -> None:
        """Remove a plain file; gone is fine."""
        try:
            descriptor = self._files.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        try:
            found = self._files.fstat(descriptor)
            entry = {"do": "remove", "path": text(path), "size": found.st_size}
            self._begin([entry | {"mode": stat.S_IMODE(found.st_mode), "mtime_ns": found.st_mtime_ns}])
            self._keep(descriptor)
            self._sync()
            # Another may have taken its place meanwhile, such as somebody's lock.
            if same_file(self._files, descriptor, path):
                self._files.unlink_quietly(path)
        finally:
            self._files.close(descriptor)

    def _keep(self, descriptor: int) -> None:
        offset = 0
        while block := self._files.pread(descriptor, _BLOCK, offset):
            self._write([{"data": base64.b64encode(zlib.compress(block)).decode("ascii")}])
            offset += len(block)

    @contextlib.contextmanager
    def replacing(self, path: bytes) -> Iterator[None]:
        """Within it, the file at `path` is replaced, made or removed."""
        entry = {"do": "replace", "path": text(path), "mode": 0o600, "size": 0}
        try:
            descriptor = self._files.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._begin([entry | {"existed": False}])
        else:
            try:
                found = self._files.fstat(descriptor)
                mode = stat.S_IMODE(found.st_mode)
                self._begin([entry | {"existed": True, "mode": mode, "size": found.st_size}])
                self._keep(descriptor)
            finally:
                self._files.close(descriptor)
        self._sync()
        self._replaced, self._appending = path, -1
        try:
            yield
        finally:
            self._replaced = b""
            self._expect(digest(self._files, path))

    def _expect(self, after: str | None) -> None:
        """Write down what the file is, or is about to become."""
        self._write([{"after": after}])
        self._sync()

    def _foreseeing(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Carry out a system call of `files`."""
        path = self._replaced
        if path and name == "rename" and args[1] == path:
            self._expect(digest(self._files, args[0]))
        elif path and name == "unlink" and args[0] == path:
            self._expect(None)
        elif path and name == "write" and args[0] == self._appending:
            self._expect(hashlib.sha256(self._files.read_file(path) + bytes(args[1])).hexdigest())
        result = self._call(name, function, *args)
        if path and name == "open" and args[0] == path and args[1] & os.O_APPEND:
            self._appending = result
        return result

    def change(self, entry: dict[str, Any], carry_out: Callable[[], None]) -> None:
        """Any other change: `entry` tells how to undo it."""
        self._begin([entry])
        self._sync()
        carry_out()

    def close(self) -> None:
        """Nothing more is to come."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)


def digest(files: Files, path: bytes) -> str | None:
    """SHA-256 of a file, None if there is none."""
    try:
        return hashlib.sha256(files.read_file(path)).hexdigest()
    except FileNotFoundError:
        return None


@dataclass(slots=True)
class Record:
    """One entry as it was read back."""

    values: dict[str, Any]
    scope: Scope
    data: list[tuple[int, int]]  # offset and length of its lines of data
    after: list[str | None]  # digests of what the file may have become
    origins: frozenset[str] = frozenset()  # what earlier entries found: digests at the same path, or older names


def read(path: str) -> tuple[int, list[Record]]:
    """An open descriptor of the log, and its entries in order. Raises Refused for what is no undo log of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    found = os.fstat(descriptor)
    if os.geteuid() == 0 and (found.st_uid != 0 or found.st_mode & 0o022):
        os.close(descriptor)
        raise Refused(f"{path} belongs to somebody else or can be changed by others; root does not follow it")
    records: list[Record] = []
    scope: Scope | None = None
    with os.fdopen(os.dup(descriptor), "rb") as file:
        offset = 0
        for number, line in enumerate(file):
            values = _values(line)
            if values is None or (number == 0 and values != HEADER):
                if number and not line.endswith(b"\n"):
                    break  # of a change that did not happen
                os.close(descriptor)
                raise Refused(f"{path}:{number + 1}: this is no undo log of greenmail doctor")
            scope = _take(values, (offset, len(line)), records, scope)
            offset += len(line)
    return descriptor, records


def _values(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and line.endswith(b"\n") else None


def _take(values: dict[str, Any], where: tuple[int, int], records: list[Record], scope: Scope | None) -> Scope | None:
    """Take up one line; the scope from here on."""
    if values.get("do") == "scope":
        paths = {name: octets(values[name]) for name in ("root", "directory", "control", "index")}
        return Scope(uid=values["uid"], gid=values["gid"], **paths)
    if "do" in values and scope is not None:
        records.append(Record(values, scope, [], []))
    elif "data" in values and records:
        records[-1].data.append(where)
    elif "after" in values and records:
        records[-1].after.append(values["after"])
    return scope


def is_whole(descriptor: int, record: Record) -> bool:
    """Whether all data were written; if not, the change was never made."""
    size: int = record.values.get("size", 0)
    return sum(map(len, content(descriptor, record))) >= size


def content(descriptor: int, record: Record) -> Iterator[bytes]:
    """What a file held, in pieces."""
    for offset, length in record.data:
        yield zlib.decompress(base64.b64decode(json.loads(os.pread(descriptor, length, offset))["data"]))
