"""What repairs of one mailbox are done with; the caller holds the mailbox's locks."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenmail.doctor.survey import Circumstances, Place
from greenmail.doctor.undo import UndoLog
from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.index_files import IndexFiles
from greenmail.storage.index_place import index_directory
from greenmail.storage.keywords import OverflowKeywords
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_data import read_uidnext
from greenmail.storage.maildir_index import from_snapshot
from greenmail.storage.maildir_name import UniqueNames
from greenmail.storage.snapshot import read
from greenmail.storage.uidlist import Uidlist


@dataclass(frozen=True, slots=True)
class Bench:
    """One account's repairs."""

    around: Circumstances
    log: UndoLog
    unique: UniqueNames

    @property
    def files(self) -> Files:
        """For every change."""
        return self.log.files

    def uidlist(self, place: Place) -> Uidlist:
        """The UID list as it is now, with what other records know of UIDVALIDITY and UIDNEXT."""
        uidlist = Uidlist(self.files, place.control + b"/dovecot-uidlist")
        for uidvalidity, uidnext in known_uidnext(self.files, place):
            uidlist.remember(uidvalidity, uidnext)
        uidlist.refresh(locked=True)
        return uidlist


def known_uidnext(files: Files, place: Place) -> list[tuple[int, int]]:
    """UIDVALIDITY and UIDNEXT as our own records have them, the one that is no cache first."""
    found = []
    recorded = read_uidnext(files, place.data)
    if recorded is not None:
        found.append(recorded)
    saved = read(files, place.directory + b"/greenmail.index")
    index = from_snapshot(saved) if saved is not None else None
    if index is not None:
        found.append((index.uidvalidity, index.uidnext))
    return found


def note_renames(files: Files, place: Place, index_root: bytes, renamed: Sequence[tuple[int, bytes, bool]]) -> None:
    """Journal that messages (UID, file name, whether in `new/`) have other base names now; the locks are held.

    Without it a running server would take them for expunged and new again, with the UIDs that they had.
    """
    directory = place.directory
    if index_root:
        uidlist = Uidlist(files, place.control + b"/dovecot-uidlist")
        uidlist.refresh(locked=True)
        directory = index_directory(files, index_root, uidlist.guid, directory)
    index_files = IndexFiles(files, directory, ownership(files.stat(place.directory)))
    try:
        index = index_files.load()
        if index is None:
            return
        change = Change()
        for uid, name, is_new in renamed:
            if index.table.row(uid) >= 0:
                change.became(uid, name, is_new, None)
        change.value("times", [])
        index_files.record(index, change, index.modseq)
    finally:
        index_files.close()


def move_overflow(files: Files, place: Place, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Keywords beyond the 26 letters go along with a base name."""
    overflow = OverflowKeywords(files, place.data)
    overflow.refresh()
    changed = {}
    for old, new in pairs:
        if keywords := overflow.of(old):
            changed[old], changed[new] = frozenset[str](), keywords
    if changed:
        overflow.change(changed)
