"""Changes a passwd-file in place of an editor: one line, and not an octet of the others.

Everybody who edits through here holds a lock on `<file>.lock` (flock; the empty file stays, since removing it would let
two in). The new content is written beside the file, synced, given the old one's mode and owner, and renamed over it:
a reader sees the old file or the new one. A symbolic link stays one; what it points to is replaced.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from greenmail.errors import Refused

_NEW_MODE = 0o640


@dataclass(frozen=True, slots=True)
class NewUser:
    """A line to be."""

    name: str
    stored: str
    uid: str = ""
    gid: str = ""
    home: str = ""

    def line(self) -> bytes:
        """The line without its end. Raises Refused if a field cannot be written in one."""
        fields = (self.name, self.stored, self.uid, self.gid, "", self.home, "", "")
        for value in fields:
            if ":" in value or "\n" in value or "\r" in value or "\0" in value:
                raise Refused(f"{value!r} cannot be written to a passwd-file: it has a colon or a line end in it")
        if self.name.startswith("#"):
            raise Refused("a user name cannot begin with #: that is a comment")
        return ":".join(fields).encode("utf-8", "surrogateescape")


def add(path: str, user: NewUser, group: int = -1) -> None:
    """Append a user; a file that is not there is made, for `group` to read. Raises Refused if the name is taken."""
    line = user.line()

    def change(lines: list[bytes]) -> list[bytes]:
        if any(_is_of(user.name, there) for there in lines):
            raise Refused(f"there is a user {user.name} already")
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        return [*lines, line + b"\n"]

    edit(path, change, group, create=True)


def set_password(path: str, name: str, stored: str) -> None:
    """Replace the password of every line of this user; the rest of the line stays. Raises Refused if there is none."""
    new = NewUser(name, stored).line().split(b":")[1]

    def replaced(line: bytes) -> bytes:
        end = line[len(line.rstrip(b"\r\n")) :]
        fields = line.rstrip(b"\r\n").split(b":", 2)
        return b":".join([fields[0], new, *fields[2:]]) + end

    def change(lines: list[bytes]) -> list[bytes]:
        _must_have(name, lines)
        return [replaced(line) if _is_of(name, line) else line for line in lines]

    edit(path, change)


def delete(path: str, name: str) -> None:
    """Remove every line of this user. The mail stays. Raises Refused if there is none."""

    def change(lines: list[bytes]) -> list[bytes]:
        _must_have(name, lines)
        return [line for line in lines if not _is_of(name, line)]

    edit(path, change)


def _is_of(name: str, line: bytes) -> bool:
    return not line.startswith(b"#") and line.split(b":", 1)[0].rstrip(b"\r\n") == name.encode(
        "utf-8", "surrogateescape"
    )


def _must_have(name: str, lines: list[bytes]) -> None:
    if not any(_is_of(name, line) for line in lines):
        raise Refused(f"there is no user {name}")


def edit(path: str, change: Callable[[list[bytes]], list[bytes]], group: int = -1, create: bool = False) -> None:
    """Replace the file by what `change` makes of its lines, which have their ends. Raises what `change` raises."""
    path = os.path.realpath(path)
    with _locked(path):
        try:
            with open(path, "rb") as file:
                old: os.stat_result | None = os.fstat(file.fileno())
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            if not create:
                raise
            old, lines = None, [b""]
        whole = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        _replace(path, b"".join(change(whole)), old, group)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: str, octets: bytes, old: os.stat_result | None, group: int) -> None:
    directory = os.path.dirname(path)
    renamed = False
    descriptor, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=directory)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            if old is None:
                os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), _NEW_MODE)
            else:
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
            os.fsync(file.fileno())
        os.rename(temporary, path)
        renamed = True
    finally:
        if not renamed:
            os.unlink(temporary)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)
