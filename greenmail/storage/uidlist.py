"""`dovecot-uidlist`: which UID each message has. `formats.md` 2. (Signatures; the bodies follow.)"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from greenmail.storage.filesystem import Files


class Refreshed(Enum):
    """What `Uidlist.refresh` found."""

    UNCHANGED = "as it was"
    APPENDED = "only new lines behind the old ones: see `Uidlist.appended`"
    REREAD = "another file: everything may be different"
    MISSING = "no such file"


class Uidlist:
    """One mailbox's UID list as last read. "Locked": the caller holds `dovecot-uidlist.lock` (locks.MailboxLock).

    Lines of messages that are gone are normal and stay until the next rewrite.
    """

    uids: dict[bytes, int]  # base name -> UID, ascending; replaced as a whole by REREAD; do not change
    fields: dict[int, bytes]  # UID -> raw fields such as b"W755 Pabc", only for records that have any
    appended: list[tuple[int, bytes]]  # what the last refresh that said APPENDED added: (UID, base name)
    uidvalidity: int  # 0: not known, the file is missing or its header is broken; `start` must be called
    guid: bytes  # 32 hex digits, or empty if not known
    next_uid: int  # at least 1; never goes down unless uidvalidity changes
    must_rewrite: bool  # the file has damage or an old version; the next `assign` rewrites it, or call `rewrite`

    def __init__(self, files: Files, path: bytes) -> None:
        """`path` of the file, which need not exist; nothing is read."""

    def refresh(self, locked: bool) -> Refreshed:
        """Read what is new. Without the lock an unfinished last line is left for later. Some 3 µs if unchanged."""
        raise NotImplementedError

    def remember(self, uidvalidity: int, next_uid: int) -> None:
        """What another record (snapshot, `greenmail-data`) knows; raises `next_uid`, if the UIDVALIDITY is the same."""

    def start(self, uidvalidity: int, guid: bytes = b"") -> None:
        """Locked: give the mailbox its UIDVALIDITY and write the file (records that are known stay)."""

    def assign(self, bases: Sequence[bytes], fields: Mapping[bytes, bytes] | None = None) -> list[int]:
        """Locked and fresh: number messages in the given order, durably (append, or rewrite if need be).

        A base name that had a UID loses it. `fields`: base name -> raw fields. Raises LIMIT if UIDs run out.
        """
        raise NotImplementedError

    def should_rewrite(self, live: int) -> bool:
        """Whether a rewrite is due, when `live` of the messages exist: damage, or at most 75 % of the lines live."""
        raise NotImplementedError

    def rewrite(self, live: Collection[bytes] | None = None) -> None:
        """Locked and fresh: write the file anew, only with records whose base name is in `live` (a set) if given."""

    def field(self, uid: int, key: bytes) -> bytes | None:
        """The value of one field (`key` is one letter) of a record; b"" is a value, None is no such field."""
        raise NotImplementedError

    def set_field(self, uid: int, key: bytes, value: bytes) -> None:
        """Locked: remember a field; on disk with the next `rewrite`."""

    def rename(self, old: bytes, new: bytes) -> None:
        """Locked: the message's base name is another now, its UID stays; on disk with the next `rewrite`."""


def format_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """Raw fields from letter -> value, in the given order."""
    raise NotImplementedError


def parse_fields(raw: bytes) -> dict[bytes, bytes]:
    """Letter -> value of raw fields, in their order."""
    raise NotImplementedError


def new_guid() -> bytes:
    """A fresh mailbox GUID: 32 hex digits, 128 random bits."""
    raise NotImplementedError
