"""Maildir++: mailbox names and their directories. `formats.md` 4. (Signatures; the bodies follow.)"""

from dataclasses import dataclass
from enum import Enum

from greenmail.storage.api import Folder
from greenmail.storage.filesystem import Files


class Encoding(Enum):
    """How names are written on disk."""

    MUTF7 = "mutf7"
    UTF8 = "utf8"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an account's mailboxes are and how they are called."""

    root: bytes
    separator: str = "/"
    prefix: str = ""  # "INBOX." in Courier's style; ends in the separator
    encoding: Encoding = Encoding.MUTF7
    name_escape: str = ""  # for example "\\": names that cannot be written otherwise
    follow_symlinks: bool = False  # to directories outside of the root


def detect_encoding(files: Files, root: bytes) -> Encoding:
    """Guess from the directories of a root; MUTF7 if nothing tells. Raises CANNOT if both occur."""
    raise NotImplementedError


def directory(layout: Layout, name: str) -> bytes:
    """The directory of a mailbox, whether it exists or not. Raises CANNOT for a name that can have none."""
    raise NotImplementedError


def name_of(layout: Layout, entry: bytes) -> str | None:
    """The mailbox name of a directory entry of the root (b".Sent"), or None if it is none or cannot be opened."""
    raise NotImplementedError


class Folders:
    """The mailboxes of one account on disk. Holds no state but the settings."""

    def __init__(self, files: Files, layout: Layout) -> None: ...

    def listing(self) -> list[Folder]:
        """All mailboxes and missing parents, sorted, INBOX first; `special_use` is empty."""
        raise NotImplementedError

    def find(self, name: str) -> bytes:
        """The directory of an existing mailbox. Raises NOT_FOUND (also for a name that cannot be)."""
        raise NotImplementedError

    def create(self, name: str) -> bytes:
        """Make the directories; the new directory. The uidlist is the caller's. Raises EXISTS, CANNOT."""
        raise NotImplementedError

    def delete(self, name: str) -> bytes:
        """Make the mailbox vanish with one rename; the directory to be given to `Files.remove_tree` (it may take long).

        Children stay. Raises NOT_FOUND, CANNOT (INBOX), HAS_CHILDREN (a name that is only a parent).
        """
        raise NotImplementedError

    def rename(self, old: str, new: str) -> list[tuple[str, str]]:
        """Rename with all children; the pairs of old and new names. Not for INBOX. Raises NOT_FOUND, EXISTS, CANNOT."""
        raise NotImplementedError

    def purge_trash(self, now: float) -> None:
        """Remove what deletions left behind more than an hour ago."""
