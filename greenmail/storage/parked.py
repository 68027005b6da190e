"""A mailbox whose sessions all wait for news, while nothing of it is in memory.

Parked is a mailbox of which everything that is known stands in its index files, and whose directories had not changed
for so long that equal times prove that nothing happened (`maildir_scan`). Columns, names, uidlist and descriptors are
given up; what is kept says how the mailbox was: `is_unchanged` compares that with the disk, four `stat` and no more.
Whoever wants more than that has it woken: opened anew by its index files, and it must be the same mailbox then, by its
directory, its GUID and its UIDVALIDITY. What sessions have been told is in their views; mod-sequences and the history
of expunges tell what is new to them, as they do for a mailbox that another worker has changed.

Nothing holds the inode of a parked mailbox's directory. If another directory gets its number, times, journal or GUID
tell that it is another one.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Lock
from greenmail.storage.maildir_box import GONE_TEXT, Box, Context, Place
from greenmail.storage.maildir_open import open_box

AFTER_FAILURE = 2.0  # seconds to the next look, where a mailbox could not be woken


@dataclass(slots=True)
class Parked:
    """What is left of a `Box`."""

    context: Context
    place: Place
    name: str
    identity: tuple[int, int]
    uidvalidity: int
    mailbox_id: str
    journal_path: bytes
    journal: tuple[int, int, int]  # device, inode, size
    times: tuple[int, int]  # of `new/` and `cur/`
    is_remote: bool
    tmp_is_purged: bool
    waking: Lock
    is_gone: bool = False
    has_failed: bool = False  # the last attempt to wake it
    looked: float = float("-inf")  # when it was found unchanged last, by the monotonic clock

    @classmethod
    def of(cls, box: Box) -> "Parked | None":
        """What to keep of this mailbox; None if it cannot be parked now. Changes nothing, at once."""
        files, times = box.index_files, box.index.times
        is_journalled = not box.read_only or box.keeps_index
        if files is None or box.is_gone or not is_journalled or box.facts or box.missed or box.unwritten:
            return None
        if not (times and box.is_settled) or times[1] or times[3] or box.uidlist.must_rewrite:
            return None
        journal = files.complete()
        if journal is None:
            return None
        return cls(
            box.context, box.place, box.name, box.identity, box.index.uidvalidity, box.index.mailbox_id,
            files.journal_path, journal, (times[0], times[2]), box.times.is_remote, box.tmp_is_purged,
            box.context.runtime.lock(),
        )  # fmt: skip

    def is_unchanged(self) -> bool:
        """Whether the mailbox is for certain as it was; that counts as a look. False says nothing: wake it."""
        if self.is_gone or self.has_failed:
            return False
        began = time.monotonic()
        glance, remote, directory = self.context.files.glance, self.is_remote, self.place.directory
        try:
            found = glance(directory, remote)
            new, cur = glance(directory + b"/new/", remote), glance(directory + b"/cur/", remote)
            journal = self.context.files.stat(self.journal_path)
        except OSError:
            return False
        is_so = (
            (found.st_dev, found.st_ino) == self.identity
            and (new.st_mtime_ns, cur.st_mtime_ns) == self.times
            and (journal.st_dev, journal.st_ino, journal.st_size) == self.journal
        )
        if is_so:
            self.looked = began
        return is_so

    @property
    def unsure(self) -> float:
        """As `api.Mailbox.unsure`."""
        return AFTER_FAILURE if self.has_failed else float("inf")

    def _is_continued(self) -> bool:
        """Whether the journal is the one that was complete, with more at its end perhaps."""
        try:
            found = self.context.files.stat(self.journal_path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.journal[:2] and found.st_size >= self.journal[2]

    def wake(self) -> Box:
        """The mailbox, open and looked at. Raises GONE; or what keeps it from being opened, and it stays parked."""
        self.has_failed = True
        if self.is_gone:
            raise StorageError(Reason.GONE, GONE_TEXT)
        try:
            box = open_box(self.context, self.place, self.name, self.times if self._is_continued() else (0, 0))
        except StorageError as error:
            if error.reason in (Reason.NOT_FOUND, Reason.GONE):
                self.is_gone = True
                raise StorageError(Reason.GONE, GONE_TEXT) from None
            raise
        index = box.index
        is_same = (box.identity, index.uidvalidity, index.mailbox_id) == (
            self.identity,
            self.uidvalidity,
            self.mailbox_id,
        )
        if self.is_gone or not is_same:  # it may have been renamed while it was opened
            self.is_gone = True
            box.close()
            raise StorageError(Reason.GONE, GONE_TEXT)
        box.tmp_is_purged = self.tmp_is_purged
        self.has_failed = False
        return box


class Keeper(Protocol):
    """Who has all mailbox objects of a worker (`shared.SharedMailboxes`), as each of them knows it."""

    def released(self, mailbox: Any) -> None:
        """One reference less."""

    def rested(self, mailbox: Any) -> None:
        """A reference began or ceased to rest."""

    def changed(self, mailbox: Any) -> None:
        """It was parked or woken: it takes another amount of memory now."""
