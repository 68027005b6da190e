"""Courier's files. `formats.md` 6. (Signatures; the bodies follow.)"""

from dataclasses import dataclass

from greenmail.storage.filesystem import Files


@dataclass(frozen=True, slots=True)
class Imported:
    """One mailbox of Courier's, to be written in Dovecot's formats under the mailbox's lock."""

    uidvalidity: int  # 0: Courier had none: take one from the counter
    next_uid: int
    records: list[tuple[int, bytes, bytes]]  # UID, raw uidlist fields (b"O1 PUID1-123 W315"), base name; ascending UID
    keyword_order: list[str]  # give letters in this order; what gets none is overflow
    keywords: dict[bytes, frozenset[str]]  # base name -> keywords, for those that have any


def is_courier(files: Files, directory: bytes) -> bool:
    """Whether the mailbox in `directory` is to be imported: it has Courier's database and no newer uidlist."""
    raise NotImplementedError


def import_mailbox(files: Files, directory: bytes, inbox: bool) -> Imported:
    """Read Courier's files and the names in `new/` and `cur/`; changes nothing. Call it under the mailbox's lock.

    Files unknown to Courier are numbered as Courier would. Write with `Uidlist.load` and `Uidlist.rewrite`.
    """
    raise NotImplementedError
