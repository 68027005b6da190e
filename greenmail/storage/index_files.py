"""`greenmail.index`, `greenmail.log` and `greenmail.cache` of one mailbox, and how they stand to each other.

The state of a mailbox is the snapshot with the records of one journal applied. A snapshot names two journals:
`journal`, which continues it from its first record on, and `previous`, an older one that it covers up to an offset. To
*fold* is to write, under the mailbox's locks, a snapshot (rename) and then the journal that it names (rename): whoever
stops in between leaves the older journal in place, and the snapshot says how much of it is in it already.

A process that follows a journal sees it replaced by st_nlink 0, reads it to its end, and goes on with the journal that
names it as `previous`. When that chain is broken (files removed, snapshot lost) the snapshot is loaded anew; when there
is none, the caller builds everything from the Maildir and the uidlist.

Removing these files at any moment loses mod-sequences and the history of expunges, and nothing else. If they cannot be
written, what happened in the Maildir stands: the files are then *stale*, other processes find the difference by listing
the directories, and the next lock holder that can folds.
"""

import logging
import os
import time
from array import array
from collections.abc import Callable
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.storage import journal, snapshot
from greenmail.storage.cache import Cache, at_once, nothing, owner_of
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.journal import Batch, Journal
from greenmail.storage.maildir_change import Change, is_large
from greenmail.storage.maildir_index import NO_CHANGE, Index, from_snapshot
from greenmail.storage.presence import is_directory

log = logging.getLogger(__name__)

FOLD_RECORDS = 10_000
_ATTEMPTS = 5


class IndexFiles:
    """The index files in one directory. All methods but `load` and `follow` want the mailbox's locks held."""

    def __init__(
        self,
        files: Files,
        directory: bytes,
        owner: Ownership,
        is_remote: bool = False,
        breathe: Callable[[], None] = nothing,
        blocking: Callable[..., Any] = at_once,
    ) -> None:
        self._files = files
        self._blocking = blocking
        self._breathe = breathe
        self._is_remote = is_remote  # a file that is replaced while it is open keeps a name: see `mounts`
        self._directory = directory
        self._owner = owner
        self._journal: Journal | None = None
        self.is_stale = True  # the files lack something: fold before the next record
        self._has_lost = False  # ... which others cannot know from the journal they follow
        self.cache: Cache | None = None

    @property
    def directory(self) -> bytes:
        return self._directory

    @property
    def journal(self) -> Journal | None:
        """The one that is followed."""
        return self._journal

    @property
    def journal_path(self) -> bytes:
        return self._directory + b"/greenmail.log"

    @property
    def _snapshot_path(self) -> bytes:
        return self._directory + b"/greenmail.index"

    def complete(self) -> tuple[int, int, int] | None:
        """Device, inode and size of the journal, if the files hold everything that is known; `load` finds it there."""
        if self.is_stale or self._has_lost or self._journal is None:
            return None
        try:
            return self._journal.complete()
        except OSError:
            return None

    def size(self) -> int:
        """Octets of the snapshot; 0 if there is none."""
        try:
            return self._files.stat(self._snapshot_path).st_size
        except OSError:
            return 0

    def load(self) -> Index | None:
        """The state that the files tell, or None if they tell none. Without a lock it may be a moment old."""
        for _ in range(_ATTEMPTS):
            saved = snapshot.read(self._files, self._snapshot_path)
            if saved is None:
                return None
            try:
                index = from_snapshot(saved)
                if self._goes_on(saved, index):
                    self._open_cache(index, saved)
                    return index
            except NO_CHANGE as error:
                log.warning("index-damaged directory=%r is none of a mailbox: %r", self._directory, error)
                return None
        return None

    def _goes_on(self, saved: snapshot.Snapshot, index: Index) -> bool:
        """Take up the journal; False if a fold came between reading the two files."""
        found = journal.open_journal(self._files, self.journal_path)
        self._follow_instead(found)
        self.is_stale = found is None
        if found is not None:
            return self._start(found, saved.meta, index)
        # It was removed: expunges stood there that others were told of, or will ask for.
        index.history.expunged_floor = max(index.modseq, int(time.time() * 1_000_000))
        return True

    def _start(self, found: Journal, meta: Batch, index: Index) -> bool:
        """Apply the records that the snapshot lacks; False if this journal does not belong to it."""
        if found.ident == meta["journal"]:
            for batch in found.read():
                index.apply(batch)
            return True
        previous, offset = meta["previous"]
        if found.ident == previous and found.seek(offset):
            for batch in found.read():
                index.apply(batch)
            self.is_stale = True  # the fold was not finished
            return True
        return False

    def _follow_instead(self, found: Journal | None) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = found

    def follow(self, index: Index) -> int:
        """Apply what other processes wrote; the number of batches. One fstat if there is nothing.

        Raises GONE if somebody wrote what is no change: then `index` has half of it, and is of no use any more.
        """
        count = 0
        for _ in range(_ATTEMPTS):
            if self._journal is None:
                return count
            grown, replaced = self._journal.state(self.journal_path if self._is_remote else b"")
            count += self._take(self._journal, index) if grown else 0
            if not replaced:
                return count
            found = journal.open_journal(self._files, self.journal_path)
            count += self._take(self._journal, index)  # the last lock holder may have written here until now
            if found is None:  # removed: nobody else has anything that we do not know
                self.is_stale = True
                return count
            if found.previous == self._journal.ident:
                self._follow_instead(found)
                self.is_stale = self._has_lost
                continue
            found.close()
            if not self._reload(index):
                return count
            count += 1
        return count

    def _take(self, source: Journal, index: Index) -> int:
        batches = source.read()
        try:
            for batch in batches:
                index.apply(batch)
        except NO_CHANGE as error:
            log.warning("index-damaged directory=%r a record is no change of a mailbox: %r", self._directory, error)
            raise StorageError(Reason.GONE, "The index of the mailbox is damaged; select it again.") from None
        return len(batches)

    def _reload(self, index: Index) -> bool:
        """Take the snapshot's word for everything; False if it is of no use."""
        mine = self._journal
        self._journal = None
        fresh = self.load()
        if fresh is None or (fresh.mailbox_id, fresh.uidvalidity) != (index.mailbox_id, index.uidvalidity):
            self._follow_instead(mine)  # the next lock holder folds
            self.is_stale = self._has_lost = True
            return False
        if mine is not None:
            mine.close()
        fresh.modseq = max(fresh.modseq, index.modseq)
        fresh.uidnext = max(fresh.uidnext, index.uidnext)
        fresh.first_recent = max(fresh.first_recent, index.first_recent)
        index.adopt(fresh)
        return True

    def record(self, index: Index, change: Change, modseq: int) -> None:
        """Journal `change` and apply it. If it cannot be journalled it is applied all the same, and we are stale.

        Then others find it in the Maildir, later and so under a higher mod-sequence. Where there is nothing to find
        there the mod-sequence stays: nobody must be told one that a server which starts afterwards does not have.
        """
        batch = change.batch(modseq)
        # Without a journal, as at the first contact, nobody follows one, and a snapshot has to be written anyhow.
        if is_large(change) or self._journal is None:
            index.apply(batch, change.arrived)
            self._has_lost = True
            self.fold(index)
            return
        if self.is_stale:
            self.fold(index)
        self._append(batch)
        if self.is_stale and change.only_touches:
            batch["m"] = index.modseq
        index.apply(batch)
        if self._journal is not None and self._journal.records >= FOLD_RECORDS:
            self.fold(index)

    def _append(self, batch: Batch) -> None:
        if self.is_stale or self._journal is None:
            self._has_lost = True
            return
        try:
            self._journal.append([batch])
        except OSError as error:
            self._has_lost = True
            self._became_stale(error)

    def fold(self, index: Index) -> None:
        """Write a snapshot of `index` and begin a new journal.

        It continues the old one only if everything in `index` stood there: else the others must load the snapshot.
        """
        ident = journal.new_ident()
        was_stale, self.is_stale = self.is_stale, True  # until it is written, whatever comes: no memory, no thread
        try:
            if self.cache is not None:
                self._tidy_cache(self.cache, index)
            # From here on nobody else runs: what is written is one state.
            old = self._journal
            saved = index.snapshot()
            saved.meta["journal"] = ident
            saved.meta["previous"] = [old.ident, old.offset] if old is not None else ["", 0]
            if self.cache is not None:
                _save_places(self.cache, saved)
            snapshot.write(self._files, self._snapshot_path, saved, self._owner)
            previous = "" if old is None or self._has_lost else old.ident
            journal.create(self._files, self.journal_path, ident, previous, self._owner)
        except OSError as error:
            self.is_stale = was_stale
            self._became_stale(error)
            return
        self._follow_instead(journal.open_journal(self._files, self.journal_path))
        self.is_stale = self._journal is None
        self._has_lost = False
        self.begin_cache(index)

    def _tidy_cache(self, cache: Cache, index: Index) -> None:
        """Drop what is of no use, if that is much. Lets others run."""
        is_live: Callable[[int], bool] = set(index.table.uids).__contains__
        if cache.wants_rewrite(is_live):
            cache.rewrite(is_live, self._blocking)

    def _became_stale(self, error: OSError) -> None:
        if not self.is_stale:
            log.warning("index directory=%r not written error=%s", self._directory, error)
        self.is_stale = True

    def _open_cache(self, index: Index, saved: snapshot.Snapshot | None) -> None:
        if self.cache is not None:
            self.cache.close()
        path = self._directory + b"/greenmail.cache"
        owner = owner_of(index.mailbox_id, index.uidvalidity)
        self.cache = Cache(self._files, path, owner, self._owner, self._is_remote, self._breathe)
        if saved is not None and "cache" in saved.meta:
            generation, scanned = saved.meta["cache"]
            keys = saved.columns.get("cache_keys", array("Q"))
            self.cache.restore(bytes.fromhex(generation), keys, saved.columns.get("cache_places", array("Q")), scanned)

    def begin_cache(self, index: Index) -> None:
        """Make the cache usable for an index that was not loaded from here."""
        if self.cache is None:
            self._open_cache(index, None)

    def close(self) -> None:
        """Give back the descriptors."""
        self._follow_instead(None)
        if self.cache is not None:
            self.cache.close()

    def make_directory(self, owner: Ownership) -> None:
        """Make the directory itself if it is not there (`index-path`)."""
        missing: list[bytes] = []
        path = self._directory
        while path and not is_directory(self._files, path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                self._files.make_directory(path, owner)
            except FileExistsError:
                continue


def _save_places(cache: Cache, saved: snapshot.Snapshot) -> None:
    """Where the cache's records are, for the snapshot."""
    generation, saved.columns["cache_keys"], saved.columns["cache_places"], scanned = cache.saved()
    saved.meta["cache"] = [generation.hex(), scanned]
