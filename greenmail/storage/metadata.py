"""`greenmail-data/metadata`: the annotations of one mailbox, RFC 5464.

    file  = "1" LF *(entry SP value LF)         ; sorted by entry
    entry = 1*octet                             ; in lower case, RFC 5464 3.2
    octet = %x21-24 / %x26-7E / %x80-FF / "%" 2HEXDIG      ; in a value SP, too

    1
    /private/comment My own comment
    /shared/comment Really useful mailbox%0D%0ATwo lines

It goes where the mailbox goes, and is not a cache: one that cannot be understood is neither used nor replaced. What a
user keeps of others' mailboxes is in `greenmail-data/private-metadata/<mailbox id>` of his own account, and what he
keeps of the server in `greenmail-data/server-metadata`.

The file is replaced by its own lock file (`file_lock`), so readers see the old one or the new one, whole; a change is
durable when `change` returns, and relative to what the file says when it is locked. A mailbox that is renamed or
deleted meanwhile takes the lock away with it, and nothing has happened.
"""

import logging
import re
from collections.abc import Callable, Mapping

from greenmail.errors import Reason, StorageError
from greenmail.storage.data_directory import make_above, sync_above
from greenmail.storage.file_lock import FileLock
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.presence import found_at

log = logging.getLogger(__name__)

FILE = b"metadata"
SERVER_FILE = b"server-metadata"
PRIVATE_DIRECTORY = b"private-metadata"
PRIVATE = "/private/"  # how entries begin that are each user's own

_VERSION = b"1\n"
_STALE = 30.0  # seconds after which the lock of one who does not move is broken
_SPECIAL_IN_ENTRY = re.compile(rb"[\x00-\x20\x7f%]")
_SPECIAL_IN_VALUE = re.compile(rb"[\x00-\x1f\x7f%]")
_ESCAPED = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX = re.compile(rb"[0-9A-F]{2}")

Annotations = dict[str, bytes]  # by entry, in lower case


class MetadataFile:
    """The annotations of one mailbox, or of the server. Methods raise StorageError."""

    __slots__ = ("_admit", "_data", "_files", "_path", "_waiting")

    def __init__(
        self, files: Files, data: bytes, name: bytes, waiting: Waiting, admit: Callable[[int], None] | None = None
    ) -> None:
        """`data`: a `greenmail-data`; `name`: of the file in it, perhaps in a directory. Both are made when needed.

        `admit` is told by how many octets (`weight`) the annotations are about to grow, and may raise.
        """
        self._files, self._data, self._waiting, self._admit = files, data, waiting, admit
        self._path = data + b"/" + name

    def read(self) -> Annotations:
        """All annotations; CORRUPT if the file cannot be understood."""
        with refusing("The annotations cannot be read"):
            try:
                octets = self._files.surely(self._files.read_file, self._path)
            except FileNotFoundError:
                return {}
        found = parse(octets)
        if found is None:
            log.error("metadata path=%r cannot be understood", self._path)
            raise StorageError(Reason.CORRUPT, "The file with the annotations is damaged; ask your administrator.")
        return found

    def change(self, values: Mapping[str, bytes | None], most: int) -> None:
        """Set annotations, or remove those that are None: all, or none. LIMIT if there were more than `most` then."""
        before = self.read()
        if all(before.get(entry) == value for entry, value in values.items()):
            return
        self._prepare()
        with FileLock(self._files, self._path, self._waiting, _STALE) as lock:
            old = self.read()
            new = {entry: value for entry, value in {**old, **values}.items() if value is not None}
            if len(new) > max(most, len(old)):
                raise StorageError(Reason.LIMIT, f"There can be no more than {most} annotations here.")
            if self._admit is not None:
                self._admit(weight(new) - weight(old))
            if new != old:
                lock.commit(render(new))

    def change_with(
        self, values: Mapping[str, bytes | None], most: int, share: Callable[[Mapping[str, bytes | None]], None]
    ) -> None:
        """Set the private ones of `values` here, and those that are shared by `share`; all, or none."""
        mine = {entry: value for entry, value in values.items() if entry.startswith(PRIVATE)}
        others = {entry: value for entry, value in values.items() if entry not in mine}
        before = self.read()
        self.change(mine, most)
        try:
            if others:
                share(others)
        except StorageError:
            self.change({entry: before.get(entry) for entry in mine}, len(before))
            raise

    def _prepare(self) -> None:
        """The directories above are there when it returns, and durable before there is a file."""
        with refusing("The annotations cannot be written"):
            make_above(self._files, self._data, self._path)
            if found_at(self._files, self._path) is None:
                sync_above(self._files, self._data, self._path)


def parse(octets: bytes) -> Annotations | None:
    """What a file says; None if it is no such file."""
    if not octets.startswith(_VERSION) or not octets.endswith(b"\n"):
        return None
    found: Annotations = {}
    for line in octets[len(_VERSION) :].split(b"\n")[:-1]:
        entry, space, value = line.partition(b" ")
        pair = _unescaped(entry), _unescaped(value)
        if not entry or not space or pair[0] is None or pair[1] is None:
            return None
        found[pair[0].decode("utf-8", "surrogateescape")] = pair[1]
    return found


def _unescaped(text: bytes) -> bytes | None:
    digits = _ESCAPED.findall(text)
    if not all(map(_HEX.fullmatch, digits)):
        return None
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), text)


def render(annotations: Mapping[str, bytes]) -> bytes:
    """The file for these annotations."""
    lines = [
        b"%b %b\n"
        % (
            _SPECIAL_IN_ENTRY.sub(_escape, entry.encode("utf-8", "surrogateescape")),
            _SPECIAL_IN_VALUE.sub(_escape, annotations[entry]),
        )
        for entry in sorted(annotations)
    ]
    return _VERSION + b"".join(lines)


def _escape(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def weight(annotations: Mapping[str, bytes]) -> int:
    """Octets of names and values: ANNOTATION-STORAGE, RFC 9208 5.4."""
    return sum(len(entry.encode("utf-8", "surrogateescape")) + len(value) for entry, value in annotations.items())


def files_beside(files: Files, data: bytes) -> list[bytes]:
    """In the pool: where an account keeps annotations that are on no mailbox of its own; `data`: its own."""
    directory = data + b"/" + PRIVATE_DIRECTORY
    try:
        names = files.listdir(directory)
    except OSError:
        names = []  # nearly always there is none
    return [data + b"/" + SERVER_FILE, *(directory + b"/" + name for name in names if b"." not in name)]


def shared_of(annotations: Mapping[str, bytes]) -> Annotations:
    """Those that are not one user's own."""
    return {entry: value for entry, value in annotations.items() if not entry.startswith(PRIVATE)}
