"""`greenmail-data/metadata`: the annotations of one mailbox, RFC 5464.

    file  = "1" LF *(entry SP value LF)         ; sorted by entry
    entry = 1*octet                             ; in lower case, RFC 5464 3.2
    octet = %x21-24 / %x26-7E / %x80-FF / "%" 2HEXDIG      ; in a value SP, too

    1
    /private/comment My own comment
    /shared/comment Really useful mailbox%0D%0ATwo lines

It goes where the mailbox goes. One that cannot be understood is neither used nor replaced. What a
user keeps of others' mailboxes is in `greenmail-data/private-metadata/<mailbox id>` of his own account, and what he
keeps of the server in `greenmail-data/server-metadata`.

A change (`data_file`) is durable when `change` returns. A mailbox that is renamed or deleted meanwhile takes the lock
away with it, and nothing has happened.
"""

import logging
import re
from collections.abc import Callable, Mapping

from greenmail.errors import Reason, StorageError
from greenmail.storage.data_file import DataFile
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting

log = logging.getLogger(__name__)

FILE = b"metadata"
SERVER_FILE = b"server-metadata"
PRIVATE_DIRECTORY = b"private-metadata"
PRIVATE = "/private/"  # how entries begin that are each user's own

_VERSION = b"1\n"
_SPECIAL_IN_ENTRY = re.compile(rb"[\x00-\x20\x7f%]")
_SPECIAL_IN_VALUE = re.compile(rb"[\x00-\x1f\x7f%]")
_ESCAPED = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX = re.compile(rb"[0-9A-F]{2}")

Annotations = dict[str, bytes]  # by entry, in lower case


class MetadataFile:
    """The annotations of one mailbox, or of the server. Methods raise StorageError."""

    __slots__ = ("_admit", "_file")

    def __init__(
        self, files: Files, data: bytes, name: bytes, waiting: Waiting, admit: Callable[[int], None] | None = None
    ) -> None:
        """`data`: a `greenmail-data`; `name`: of the file in it, perhaps in a directory. Both are made when needed.

        `admit` is told by how many octets (`weight`) the annotations are about to grow, and may raise.
        """
        self._file = DataFile(files, data, name, waiting, "The annotations")
        self._admit = admit

    def read(self) -> Annotations:
        """All annotations; CORRUPT if the file cannot be understood."""
        octets = self._file.read()
        found = {} if octets is None else parse(octets)
        if found is None:
            log.error("metadata path=%r cannot be understood", self._file.path)
            raise StorageError(Reason.CORRUPT, "The file with the annotations is damaged; ask your administrator.")
        return found

    def change(self, values: Mapping[str, bytes | None], most: int) -> None:
        """Set annotations, or remove those that are None: all, or none. LIMIT if there were more than `most` then."""
        before = self.read()
        if all(before.get(entry) == value for entry, value in values.items()):
            return
        with self._file.locked() as lock:
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
