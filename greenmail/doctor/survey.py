"""What lies in the directories of one mailbox, looked at without any lock and without changing anything.

The UID list is read after the directories: a message that was numbered before it was listed then has its line. A file
that is renamed while we look may be seen twice or not at all; what follows from a single look is looked at again by
the checks that need it (`message_files.twins`), and under the lock by every repair.
"""

import os
import stat
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

from greenmail.pop3.uidl import Format
from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import Layout
from greenmail.storage.maildir_name import base_name, is_message
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.stale_lock import Onlooker
from greenmail.storage.uidlist_format import Parsed, parse

PARTS = (b"new", b"cur")
_AGAIN = 0.05  # seconds in which a writer finishes the line that it has begun


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mailbox is."""

    name: str
    directory: bytes
    control: bytes  # where its UID list is
    is_inbox: bool
    hidden_data: bytes = b""  # `greenmail-data`, if that is not in the control directory

    @property
    def data(self) -> bytes:
        """The directory `greenmail-data`."""
        return self.hidden_data or self.control + b"/greenmail-data"


def hidden_data(directory: bytes) -> bytes:
    """Where `greenmail-data` hides in a mailbox that may have others below it in the same directory; empty: nowhere."""
    path = directory + b"/cur/.greenmail-data"
    return path if os.path.isdir(path) else b""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in `new/` or `cur/`."""

    part: bytes  # b"new" or b"cur"
    name: bytes
    found: os.stat_result

    @property
    def base(self) -> bytes:
        return base_name(self.name)

    @property
    def path(self) -> bytes:
        """Below the mailbox directory."""
        return self.part + b"/" + self.name

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.found.st_mode)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox as it was found."""

    place: Place
    entries: tuple[Entry, ...]  # everything in new/ and cur/ but names with a dot in front
    tmp: tuple[tuple[bytes, os.stat_result], ...]
    control: tuple[bytes, ...]  # names in the control directory
    uidlist: bytes | None
    parsed: Parsed

    def messages(self) -> list[Entry]:
        """Entries that are messages, or would be if each base name came once."""
        return [entry for entry in self.entries if entry.is_file and entry.base and is_message(entry.name)]

    def only(self, bases: Set[bytes]) -> "Mailbox":
        """As if there were only the files of these base names."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.base in bases))

    def path(self, name: bytes) -> bytes:
        """Of something in the control directory."""
        return self.place.control + b"/" + name


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all checks of one account are handed."""

    files: Files
    settings: MaildirSettings
    layout: Layout
    root: bytes
    control: bytes  # of INBOX and of the whole account
    owner: int  # uid that must own everything
    group: int
    onlooker: Onlooker
    uidl: Format
    quick: bool = False  # do not read messages
    progress: Callable[[int], None] = field(default=lambda octets: None)  # octets that were read

    @property
    def now(self) -> float:
        return self.onlooker.now()


def survey(around: Circumstances, place: Place) -> Mailbox:
    """Look at a mailbox. Raises OSError if it cannot be read."""
    files = around.files
    entries = [entry for part in PARTS for entry in _entries(files, place.directory, part)]
    tmp = [(name, found) for name in _names(files, place.directory + b"/tmp") if (found := _look(files, place, name))]
    path = place.control + b"/dovecot-uidlist"
    raw = _read(files, path)
    parsed = parse(raw or b"")
    if raw is not None and parsed.damage:
        around.onlooker.sleep(_AGAIN)
        raw = _read(files, path)
        parsed = parse(raw or b"")
    control = tuple(sorted(_names(files, place.control)))
    return Mailbox(place, tuple(entries), tuple(tmp), control, raw, parsed)


def _entries(files: Files, directory: bytes, part: bytes) -> list[Entry]:
    found = []
    for name in sorted(_names(files, directory + b"/" + part)):
        if name.startswith(b"."):
            continue
        try:
            found.append(Entry(part, name, files.lstat(directory + b"/" + part + b"/" + name)))
        except FileNotFoundError:
            continue  # renamed or expunged since
    return found


def _look(files: Files, place: Place, name: bytes) -> os.stat_result | None:
    try:
        return files.lstat(place.directory + b"/tmp/" + name)
    except FileNotFoundError:
        return None


def _names(files: Files, path: bytes) -> list[bytes]:
    try:
        return files.listdir(path)
    except FileNotFoundError:
        return []


def _read(files: Files, path: bytes) -> bytes | None:
    try:
        return files.read_file(path)
    except FileNotFoundError:
        return None
