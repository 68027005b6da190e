"""`api.Mailbox` over a Maildir: the shared object that sessions hold.

What it does is in `maildir_scan` (look), `maildir_flags`, `maildir_write` (expunge), `maildir_save` (append) and
`maildir_copy`; here are the questions that need no change of the disk.
"""

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.message.measured import measured
from greenmail.storage import (
    maildir_copy,
    maildir_find,
    maildir_flags,
    maildir_lines,
    maildir_save,
    maildir_write,
    save_dates,
)
from greenmail.storage.answers import Answers
from greenmail.storage.api import (
    DELETED,
    CacheKind,
    Changes,
    Content,
    Counters,
    Facts,
    FlagChange,
    Held,
    Mailbox,
    MaildropItem,
    PlainItems,
    Row,
    Stored,
    Table,
    Upload,
)
from greenmail.storage.locks import Waiting, lock_session
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_change import LARGE_CHANGE
from greenmail.storage.maildir_content import Contents
from greenmail.storage.maildir_measure import Fact, measure
from greenmail.storage.maildir_octets import Make, make_many, octets_of
from greenmail.storage.maildir_save import MaildirUpload
from greenmail.storage.maildir_scan import look, read_records
from greenmail.storage.maildrop_lock import MaildropLock, Unlocked
from greenmail.storage.parked import Keeper, Parked
from greenmail.storage.quota import disk_sizes
from greenmail.storage.subscribers import Subscribers

log = logging.getLogger(__name__)

_FILL_BATCH = 500
_FIXED = 16384  # octets of an object without messages
_PARKED = 2048
_PER_ROW = 150  # of a message: columns and file name
_MANY = 10_000  # lines of a uidlist that are not kept for a mailbox that nobody has open
_SAVE_FACTS = 200  # worked-out sizes and dates that are worth taking the lock for at the end


class MaildirMailbox:
    """See `api.Mailbox`. One for all sessions of a worker."""

    def __init__(self, box: Box, keeper: Keeper, answers: Answers) -> None:
        self._box: Box | None = box
        self._parked: Parked | None = None  # one of the two is there
        self._keeper = keeper
        self._subscribers = Subscribers()
        self._resting = 0  # of the references
        self.answers = answers
        self.name = box.name
        self.identity = box.identity
        self.place = box.place
        self.references = 0
        self.uidvalidity = box.index.uidvalidity
        self.mailbox_id = box.index.mailbox_id
        self.tracks_modseq = box.context.tracks_modseq
        self._contents = Contents()
        self.uidnext = self.modseq = self.first_recent = 0
        self.keywords: tuple[str, ...] = ()
        self.can_add_keywords = self.read_only = False
        box.subscribe(self._subscribers.notify)
        self._mirror()

    @property
    def box(self) -> Box:
        """What is known of the mailbox. Whoever comes here without a `look` has to wait if it is parked."""
        return self._box if self._box is not None else self._wake()

    @property
    def table(self) -> Table:
        return self.box.index.table

    def _mirror(self) -> None:
        """The plain attributes, after anything may have changed."""
        box = self.box
        index = box.index
        self.uidnext, self.modseq, self.first_recent = index.uidnext, index.modseq, index.first_recent
        self.keywords = box.keyword_names()
        self.read_only = box.read_only
        self.can_add_keywords = not box.read_only and (box.keywords.free > 0 or not box.overflow.is_full)

    def look(self) -> os.stat_result | None:
        """Take up what anyone changed on disk. Parked, it stays so while all subscribers wait and nothing happened."""
        began = time.monotonic()
        if self.is_unchanged():
            return None
        if self._box is None:
            self._wake()  # which looks
            return None
        try:
            found = look(self._box)
            self._box.looked = max(began, self._box.looked)
        finally:
            self._mirror()
        return found

    def changes(self, since: int) -> Changes:
        """What happened after `since`; at once."""
        return self.box.index.history.changes(since, self.table)

    def last_row(self, uid: int) -> Row | None:
        """The row of `uid`, or what is remembered of it; at once."""
        row = self.table.row(uid)
        return self.box.index.row_of(row) if row >= 0 else self.box.index.history.row(uid)

    def counters(self) -> Counters:
        """As of the last look."""
        index = self.box.index
        return Counters(
            messages=len(self.table),
            recent=len(self.table) - bisect_left(self.table.uids, index.first_recent),
            unseen=index.unseen,
            deleted=index.deleted,
            measure=self._octets,
            uidnext=index.uidnext,
            uidvalidity=self.uidvalidity,
            modseq=index.modseq,
            mailbox_id=self.mailbox_id,
        )

    def _octets(self) -> int:
        """Where names do not tell sizes, the files are read once to know the sum."""
        index = self.box.index
        if index.unknown_sizes:
            unknown = [uid for uid, size in zip(self.table.uids, self.table.sizes, strict=True) if size < 0]
            self.fill(unknown, sizes=True)
        return index.octets

    def fill(self, uids: Sequence[int], sizes: bool = False, dates: bool = False) -> None:
        """Make sizes and dates known."""
        table, box = self.table, self.box
        columns = [column for column, asked in ((table.sizes, sizes), (table.dates, dates)) if asked]
        if len(uids) > len(table) // 8 and all(min(column, default=0) >= 0 for column in columns):
            return  # nothing is unknown, also of what is not asked
        wanted: list[tuple[int, bytes, bool]] = []
        for uid in uids:
            row = table.row(uid)
            if row < 0:
                continue
            wants_size = sizes and table.sizes[row] < 0
            if wants_size or (dates and table.dates[row] < 0):
                wanted.append((uid, box.path(box.index.names[row], uid in box.index.in_new), wants_size))
        for start in range(0, len(wanted), _FILL_BATCH):
            part = wanted[start : start + _FILL_BATCH]
            found = box.offload(len(part) > 1 or part[0][2], measure, box.files, part, box.context.max_unpacked_size)
            assert isinstance(found, list)
            self._learn(found)
            known = {fact[0] for fact in found}
            for uid, _, wants_size in part:
                if uid not in known:
                    self._measure_renamed(uid, wants_size)
            box.context.runtime.breathe()

    def _measure_renamed(self, uid: int, wants_size: bool) -> None:
        """A message that was renamed meanwhile; one that is gone stays unknown."""
        try:
            descriptor = maildir_find.open_file(self.box, uid)
        except StorageError as error:
            if error.reason is not Reason.EXPUNGED:
                raise
            return
        try:
            date = int(os.fstat(descriptor).st_mtime)
            most = self.box.context.max_unpacked_size
            size = self.box.offload(True, measured, descriptor, -1, most).crlf if wants_size else -1
            self._learn([(uid, size, date)])
        finally:
            os.close(descriptor)

    def _learn(self, facts: Sequence[Fact]) -> None:
        if not facts:
            return
        if len(self.box.facts) <= LARGE_CHANGE:  # else all that is known is written with the next change
            self.box.facts.extend(facts)
        for fact in facts:
            self.box.index.learn(*fact)

    def content(self, uid: int) -> Content:
        """The message's octets."""
        box = self.box
        descriptor = maildir_find.open_where_it_was(box, uid)
        if descriptor < 0:
            descriptor = maildir_find.open_file(box, uid)
            self._mirror()
        content, facts = self._contents.open(box, uid, descriptor)
        self._learn(facts)
        return content

    def octets(self, uid: int) -> bytes | None:
        """Of a small message that can be had quickly."""
        found = octets_of(self.box, uid)
        if found is None:
            return None
        octets, facts = found
        self._learn(facts)
        return octets

    def make_many(self, uids: Sequence[int], whole: bool, facts: Facts, make: Make) -> list[Any]:
        """Of those that can be had quickly."""
        made, known = make_many(self.box, uids, whole, facts, make)
        self._learn(known)
        return made

    def cached(self, uid: int, kind: CacheKind) -> bytes | None:
        """What was kept."""
        return self.cached_many((uid,), kind)[0]

    def cached_many(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        """What was kept of each; lets others run while much has to be scanned."""
        files = self.box.index_files
        if files is None or files.cache is None:
            return [None] * len(uids)
        try:
            return files.cache.get_many(uids, kind)
        except OSError as error:
            log.warning("cache mailbox=%r error=%s", self.name, error)
            return [None] * len(uids)

    def cache(self, uid: int, kind: CacheKind, data: bytes) -> None:
        """Keep `data`."""
        self.cache_many([(uid, kind, data)])

    def cache_many(self, values: Sequence[tuple[int, CacheKind, bytes]]) -> None:
        """Keep `values`, written at once."""
        files = self.box.index_files
        if files is None or files.cache is None or self.box.is_gone or not values:
            return
        try:
            files.cache.put_many(values)
        except OSError as error:
            log.debug("cache mailbox=%r error=%s", self.name, error)

    def deleted_storage(self) -> int:
        """Octets on disk of what is \\Deleted."""
        box, table = self.box, self.table
        doomed = [DELETED in flags for flags in table.flag_sets]
        paths = [
            box.path(box.index.names[row], table.uids[row] in box.index.in_new)
            for row, flags in enumerate(table.flags)
            if doomed[flags]
        ]
        octets = box.offload(len(paths) > _FILL_BATCH, disk_sizes, box.files, paths)
        assert isinstance(octets, int)
        return octets

    # Changes

    def claim_recent(self) -> int:
        """Take every \\Recent message for the caller."""
        try:
            return maildir_write.claim_recent(self.box)
        finally:
            self._mirror()

    def store(self, uids: Sequence[int], change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """Change flags."""
        self._writable()
        try:
            return maildir_flags.store(self.box, uids, change, unchanged_since)
        finally:
            self._mirror()

    def expunge(self, uids: Sequence[int] | None, flagged: bool = True) -> list[int]:
        """Remove what is \\Deleted on disk now, or all of `uids`."""
        self._writable()
        try:
            return maildir_write.expunge(self.box, uids, flagged)
        finally:
            self._mirror()

    def _writable(self) -> None:
        """A first refusal, before anything is done: whether it is still there is asked again under its lock."""
        if self.box.is_gone or self.box.read_only:
            self.box.check()
            raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")

    def upload(self, freed: tuple[int, int] = (0, 0)) -> Upload:
        """Begin a message."""
        self._writable()
        is_limited = self.box.admit(0, 1 - freed[1])
        return MaildirUpload(self.box, freed, is_limited)

    def save(self, uploads: Sequence[Upload]) -> list[int]:
        """Make `uploads` messages."""
        self._writable()
        mine = []
        for upload in uploads:
            assert isinstance(upload, MaildirUpload), "an upload of another store"
            mine.append(upload)
        try:
            return maildir_save.save(self.box, mine)
        finally:
            self._mirror()

    def copy(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        """Copy messages."""
        assert isinstance(target, MaildirMailbox), "a mailbox of another store"
        try:
            return maildir_copy.copy(self.box, uids, target.box)
        finally:
            self._mirror()
            target._mirror()

    def move(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        """Copy, then remove."""
        assert isinstance(target, MaildirMailbox), "a mailbox of another store"
        try:
            return maildir_copy.move(self.box, uids, target.box)
        finally:
            self._mirror()
            target._mirror()

    # POP3 and news

    def touch(self) -> None:
        """The mailbox changed, though none of its messages."""
        try:
            maildir_write.touch(self.box)
        finally:
            self._mirror()

    def guids(self, uids: Sequence[int]) -> list[str]:
        """The uidlist's G of each message, or its base name."""
        return maildir_lines.guids(self.box, uids)

    def save_dates(self, uids: Sequence[int]) -> Sequence[int] | None:
        """By line or name; INTERNALDATE of a message whose line and name do not tell."""
        read_records(self.box)
        found = save_dates.known(self.box, uids)
        if save_dates.UNKNOWN in found:
            untold = [uid for uid, when in zip(uids, found, strict=True) if when == save_dates.UNKNOWN]
            self.fill(untold, dates=True)
            dates = {uid: self.table.dates[row] for uid in untold if (row := self.table.row(uid)) >= 0}
            found = [
                dates.get(uid, -1) if when == save_dates.UNKNOWN else when
                for uid, when in zip(uids, found, strict=True)
            ]
        return found

    def maildrop(self) -> list[MaildropItem] | PlainItems:
        """Every message for POP3, in POP3 order."""
        self.look()
        return maildir_lines.maildrop(self.box)

    def lock_maildrop(self) -> Held:
        """The exclusive POP3 session; where nothing can be removed there may be several."""
        self.box.check()
        if self.box.read_only:
            return Unlocked()
        context = self.box.context
        waiting = Waiting(context.waiting.sleep, context.waiting.now, 0.0)
        held = lock_session(self.box.files, self.box.place.control, context.owner, waiting)
        index = self.box.index_files
        return MaildropLock(self.box.files, held, index.directory if index is not None else b"")

    def is_unchanged(self) -> bool:
        """Of a parked mailbox all of whose sessions wait: four `stat`."""
        parked = self._parked
        return parked is not None and self.references <= len(self._subscribers) and parked.is_unchanged()

    def was_looked_at(self, age: float) -> bool:
        """Whether a look began in the last `age` seconds."""
        looked = self._parked.looked if self._parked is not None else self.box.looked
        return time.monotonic() - looked < age and not self.is_gone

    def unsure(self) -> float:
        """When to look again."""
        return self._parked.unsure if self._parked is not None else self.box.unsure()

    def watched(self) -> tuple[str, ...]:
        """`new`, `cur` and the journal."""
        directory, files = self.place.directory, self._box.index_files if self._box is not None else None
        journal = self._parked.journal_path if self._parked is not None else files and files.journal_path
        return tuple(os.fsdecode(path) for path in (directory + b"/new", directory + b"/cur", journal) if path)

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have `notify` called when this process changes the mailbox."""
        return self._subscribers.add(notify)

    def close(self) -> None:
        """Give back this reference."""
        self._keeper.released(self)

    def memory(self) -> int:
        """Octets that it takes up, as measured with names of 70 octets; docs/performance.md."""
        if self._box is None:
            return _PARKED
        files = self.box.index_files
        cached = files.cache.memory() if files is not None and files.cache is not None else 0
        return _FIXED + _PER_ROW * len(self.table) + self.box.uidlist.memory() + cached

    def resting(self, is_resting: bool) -> None:
        """Of one reference."""
        self._resting += 1 if is_resting else -1
        self._keeper.rested(self)

    @property
    def may_park(self) -> bool:
        """Nobody is at it, and it is not parked: all who have a reference wait for news."""
        return 0 < self.references == self._resting and self._box is not None

    def park(self) -> bool:
        """Give up what is in memory, if nothing is lost by that and nobody is at it; whether it is parked now.

        May wait for the lock if something is to be written first.
        """
        if self.may_park and self.box.facts:
            self.references += 1  # others run meanwhile: whoever leaves is not the last one, who would close it
            try:
                self.save_facts(1)
            finally:
                self.close()
        box = self._box
        parked = Parked.of(box) if box is not None and self.may_park else None
        if parked is None or box is None:
            return False
        self._parked, self._box = parked, None
        self._contents.forget()
        self.answers.forget()
        box.close()
        self._keeper.changed(self)
        return True

    def _wake(self) -> Box:
        """What is known of it from now on. Raises GONE, and whatever keeps it from being opened."""
        parked = self._parked
        assert parked is not None, "a mailbox without a box is parked"
        with parked.waking:
            if self._parked is not parked:  # another session was faster
                return self.box
            began = time.monotonic()
            box = parked.wake()
            box.subscribe(self._subscribers.notify)
            self._box, self._parked = box, None
            box.looked = began
        before = self.uidnext, self.modseq
        self._mirror()
        self._keeper.changed(self)
        if before != (self.uidnext, self.modseq):  # found by `parked.wake`, which nobody was subscribed to
            self._subscribers.notify()
        return box

    @property
    def is_gone(self) -> bool:
        """The name leads elsewhere, as far as is known."""
        return self._parked.is_gone if self._parked is not None else self.box.is_gone

    def leave(self) -> None:
        """The name leads elsewhere from now on."""
        if self._parked is not None:
            self._parked.is_gone = True
            self._subscribers.notify()
        else:
            self.box.leave()

    def give_up(self) -> None:
        """Nobody has it open, and nobody will."""
        if self._box is not None:
            self._box.close()

    def rest(self) -> None:
        """Nobody has it open: what costs much memory, and can be had again, is given back."""
        if self._box is None:
            return
        self.box.index.compact_flags()
        if self.box.uidlist.lines() > _MANY:
            self.box.uidlist.rest()

    def save_facts(self, least: int = _SAVE_FACTS) -> None:
        """Before the object is given up: keep what cost reading many files, if nobody else is at the mailbox."""
        if self._box is not None and len(self._box.facts) >= least:
            maildir_write.save_facts(self._box)
