"""A mailbox in memory; see `memory`."""

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.message.content import SMALL, BytesContent, to_crlf
from greenmail.storage.answers import Answers, Room
from greenmail.storage.api import (
    DELETED,
    SEEN,
    CacheKind,
    Changes,
    Content,
    Counters,
    Facts,
    FlagChange,
    Flags,
    Held,
    Mailbox,
    MaildropItem,
    PlainItems,
    Row,
    Stored,
    Table,
    Upload,
)
from greenmail.storage.flag_names import FlagNames, changed
from greenmail.storage.history import History, ranges
from greenmail.storage.subscribers import Subscribers

_ANSWERS = 1 << 20  # octets


class MemoryUpload:
    """A message on its way."""

    def __init__(self, freed: tuple[int, int]) -> None:
        self.freed = freed
        self.flags: Flags = frozenset()
        self.date: int | None = None
        self.data = bytearray()
        self.done = False

    def write(self, data: bytes) -> None:
        self.data += data

    def abort(self) -> None:
        self.done = True
        self.data.clear()


class MemoryHeld:
    """The exclusive POP3 session of a mailbox."""

    def __init__(self, mailbox: "MemoryMailbox") -> None:
        self._mailbox: MemoryMailbox | None = mailbox

    def release(self) -> None:
        if self._mailbox is not None:
            self._mailbox.maildrop_is_locked = False
            self._mailbox = None

    def recall(self) -> bytes:
        return self._mailbox.noted if self._mailbox is not None else b""

    def note(self, data: bytes) -> None:
        if self._mailbox is not None:
            self._mailbox.noted = data


class MemoryMailbox:
    """The one shared object of a mailbox; see `api.Mailbox` for what the methods promise."""

    def __init__(self, name: str, uidvalidity: int, now: Callable[[], float]) -> None:
        self.name = name
        self.table = Table()
        self.uidvalidity = uidvalidity
        self.uidnext = 1
        self.modseq = 1
        self.first_recent = 1
        self.mailbox_id = uuid.uuid4().hex
        self.keywords: tuple[str, ...] = ()
        self.can_add_keywords = True
        self.read_only = False
        self.tracks_modseq = True
        self.keeps_save_dates = True
        self.answers: Answers | None = Answers(Room(_ANSWERS))
        self.noted = b""  # by one POP3 session for the next
        self.maildrop_is_locked = False
        self.admit: Callable[[str, int, int], None] = lambda name, storage, messages: None  # the account's
        self._now = now
        self._names = FlagNames()
        self._history = History()
        self._data: dict[int, bytes] = {}
        self._guids: dict[int, str] = {}
        self._saved: dict[int, int] = {}
        self._cache: dict[tuple[int, CacheKind], bytes] = {}
        self._subscribers = Subscribers()
        self._unseen = 0
        self._deleted = 0
        self._size = 0
        self._gone = False

    def look(self) -> os.stat_result | None:
        if self._gone:
            raise StorageError(Reason.GONE, "The mailbox was deleted or renamed; select it again.")
        return None

    def changes(self, since: int) -> Changes:
        return self._history.changes(since, self.table)

    def last_row(self, uid: int) -> Row | None:
        return self._row(row) if (row := self.table.row(uid)) >= 0 else self._history.row(uid)

    def _row(self, row: int) -> Row:
        table = self.table
        return Row(table.uids[row], table.flags_of(row), table.modseqs[row], table.sizes[row], table.dates[row])

    def claim_recent(self) -> int:
        self.look()
        first, self.first_recent = self.first_recent, self.uidnext
        return first

    def counters(self) -> Counters:
        recent = sum(1 for uid in range(self.first_recent, self.uidnext) if self.table.row(uid) >= 0)
        return Counters(
            messages=len(self.table),
            recent=recent,
            unseen=self._unseen,
            deleted=self._deleted,
            measure=lambda: self._size,
            uidnext=self.uidnext,
            uidvalidity=self.uidvalidity,
            modseq=self.modseq,
            mailbox_id=self.mailbox_id,
        )

    def deleted_storage(self) -> int:
        table = self.table
        return sum(size for row, size in enumerate(table.sizes) if DELETED in table.flags_of(row))

    def fill(self, uids: Sequence[int], sizes: bool = False, dates: bool = False) -> None:
        """Everything is known already."""

    def content(self, uid: int) -> Content:
        data = self._data.get(uid)
        if data is None:
            raise StorageError(Reason.EXPUNGED, "The message is gone.")
        return BytesContent(data)

    def octets(self, uid: int) -> bytes | None:
        data = self._data.get(uid)
        return None if data is None or len(data) > SMALL else BytesContent(data).read()

    def make_many(self, uids: Sequence[int], whole: bool, facts: Facts, make: Callable[[int, bytes], Any]) -> list[Any]:
        known = [BytesContent(self._data[uid]) if uid in self._data else None for uid in uids]
        return [
            None if one is None else make(place, one.read() if whole else one.header())
            for place, one in enumerate(known)
        ]

    def cached(self, uid: int, kind: CacheKind) -> bytes | None:
        return self._cache.get((uid, kind))

    def cached_many(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        return [self._cache.get((uid, kind)) for uid in uids]

    def cache(self, uid: int, kind: CacheKind, data: bytes) -> None:
        self._cache[uid, kind] = data

    def cache_many(self, values: Sequence[tuple[int, CacheKind, bytes]]) -> None:
        self._cache.update({(uid, kind): data for uid, kind, data in values})

    def _writable(self) -> None:
        self.look()
        if self.read_only:
            raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")

    def _next_modseq(self) -> int:
        self.modseq = max(self.modseq + 1, int(self._now() * 1_000_000))
        return self.modseq

    def _spell(self, flags: Iterable[str]) -> tuple[Flags, Flags]:
        """Canonical spelling, learning new keywords; and the keywords that cannot be taken up."""
        spelled, new = self._names.spell(flags)
        if not self.can_add_keywords:
            return spelled - set(new), frozenset(new)
        self._names.learn_all(new)
        self.keywords = self._names.keywords
        return spelled, frozenset()

    def store(self, uids: Sequence[int], change: FlagChange, unchanged_since: int | None = None) -> Stored:
        self._writable()
        spelled, ignored = self._spell(change.flags)
        change = FlagChange(change.action, spelled)
        done = Stored([], [], [], ignored)
        for uid in sorted(set(uids)):
            row = self.table.row(uid)
            if row < 0:
                done.missing.append(uid)
            elif unchanged_since is not None and self.table.modseqs[row] > unchanged_since:
                done.modified.append(uid)
            elif (new := changed(self.table.flags_of(row), change)) != self.table.flags_of(row):
                self._count(row, -1)
                self.table.flags[row] = self.table.intern(new)
                self._count(row, 1)
                done.changed.append(uid)
        if done.changed:
            modseq = self._next_modseq()
            for uid in done.changed:
                self.table.modseqs[self.table.row(uid)] = modseq
            self._history.note_changed(done.changed, modseq)
            self._subscribers.notify()
        return done

    def _count(self, row: int, sign: int) -> None:
        flags = self.table.flags_of(row)
        self._unseen += sign * (SEEN not in flags)
        self._deleted += sign * (DELETED in flags)
        self._size += sign * self.table.sizes[row]

    def expunge(self, uids: Sequence[int] | None, flagged: bool = True) -> list[int]:
        self._writable()
        table = self.table
        wanted = None if uids is None else set(uids)
        doomed = [
            uid
            for row, uid in enumerate(table.uids)
            if (not flagged or DELETED in table.flags_of(row)) and (wanted is None or uid in wanted)
        ]
        self._remove(doomed)
        return doomed

    def _remove(self, uids: Sequence[int]) -> None:
        if not uids:
            return
        table = self.table
        self._history.note_expunged([self._row(table.row(uid)) for uid in uids], ranges(uids), self._next_modseq())
        for uid in reversed(uids):
            row = table.row(uid)
            self._count(row, -1)
            for column in (table.uids, table.flags, table.modseqs, table.sizes, table.dates):
                del column[row]
            del self._data[uid], self._guids[uid], self._saved[uid]
        self._subscribers.notify()

    def upload(self, freed: tuple[int, int] = (0, 0)) -> Upload:
        self._writable()
        self.admit(self.name, 0, 1 - freed[1])
        return MemoryUpload(freed)

    def save(self, uploads: Sequence[Upload]) -> list[int]:
        self._writable()
        messages: list[tuple[bytes, Flags, int]] = []
        octets = count = 0
        for upload in uploads:
            assert isinstance(upload, MemoryUpload), "an upload of another store"
            data = to_crlf(bytes(upload.data))
            messages.append((data, upload.flags, int(self._now()) if upload.date is None else upload.date))
            octets += len(data) - upload.freed[0]
            count += 1 - upload.freed[1]
        self.admit(self.name, octets, count)
        uids = self.add(messages)
        for upload in uploads:
            upload.abort()
        return uids

    def add(self, messages: Sequence[tuple[bytes, Flags, int]]) -> list[int]:
        """Take up messages given as octets, flags and date; their UIDs."""
        if not messages:
            return []
        modseq = self._next_modseq()
        table = self.table
        uids: list[int] = []
        for data, flags, date in messages:
            uid, self.uidnext = self.uidnext, self.uidnext + 1
            table.uids.append(uid)
            table.flags.append(table.intern(self._spell(flags)[0]))
            table.modseqs.append(modseq)
            table.sizes.append(len(data))
            table.dates.append(date)
            self._data[uid] = data
            self._guids[uid] = uuid.uuid4().hex
            self._saved[uid] = int(self._now())
            self._count(len(table) - 1, 1)
            uids.append(uid)
        self._history.note_changed(uids, modseq)
        self._subscribers.notify()
        return uids

    def copy(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        rows, target = self._rows(uids, target)
        target.admit(target.name, sum(row.size for row in rows), len(rows))
        return self._copy(rows, target)

    def _rows(self, uids: Sequence[int], target: Mailbox) -> "tuple[list[Row], MemoryMailbox]":
        self.look()
        assert isinstance(target, MemoryMailbox), "a mailbox of another store"
        target._writable()
        return [self._row(row) for uid in sorted(set(uids)) if (row := self.table.row(uid)) >= 0], target

    def _copy(self, rows: Sequence[Row], target: "MemoryMailbox") -> list[tuple[int, int]]:
        uids = target.add([(self._data[row.uid], row.flags, row.date) for row in rows])
        target._guids.update({uid: self._guids[row.uid] for row, uid in zip(rows, uids, strict=True)})
        return [(row.uid, uid) for row, uid in zip(rows, uids, strict=True)]

    def move(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        self._writable()
        pairs = self._copy(*self._rows(uids, target))  # of one quota root: no more is used afterwards
        self._remove([uid for uid, _ in pairs])
        return pairs

    def touch(self) -> None:
        self._writable()
        self._next_modseq()
        self._subscribers.notify()

    def guids(self, uids: Sequence[int]) -> list[str]:
        return [self._guids.get(uid, "") for uid in uids]

    def save_dates(self, uids: Sequence[int]) -> Sequence[int] | None:
        return [self._saved.get(uid, -1) for uid in uids] if self.keeps_save_dates else None

    def maildrop(self) -> list[MaildropItem] | PlainItems:
        self.look()
        return [MaildropItem(uid, None, None, f"memory.{uid}", self._guids[uid]) for uid in self.table.uids]

    def lock_maildrop(self) -> Held:
        self.look()
        if self.maildrop_is_locked:
            raise StorageError(Reason.IN_USE, "Another POP3 session has the mailbox open.")
        self.maildrop_is_locked = True
        return MemoryHeld(self)

    def is_unchanged(self) -> bool:
        """A look costs nothing."""
        return False

    def was_looked_at(self, age: float) -> bool:
        """A look costs nothing."""
        return False

    def unsure(self) -> float:
        return float("inf")

    def watched(self) -> tuple[str, ...]:
        return ()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        return self._subscribers.add(notify)

    def resting(self, is_resting: bool) -> None:
        """Nothing of it can be given up."""

    def close(self) -> None:
        """The store keeps its mailboxes."""

    def leave(self) -> None:
        """The name leads elsewhere from now on: every session finds this object gone."""
        self._gone = True
        self._subscribers.notify()

    def renamed(self, name: str) -> "MemoryMailbox":
        """The same messages, UIDs and identity under another name; this object is gone."""
        new = MemoryMailbox(name, self.uidvalidity, self._now)
        new.table, new.uidnext, new.modseq, new.first_recent = self.table, self.uidnext, self.modseq, self.first_recent
        new.admit = self.admit
        new.mailbox_id, new.keywords = self.mailbox_id, self.keywords
        new.can_add_keywords, new.read_only = self.can_add_keywords, self.read_only
        new._names, new._history, new._data, new._cache = self._names, self._history, self._data, self._cache
        new._guids, new._saved, new.keeps_save_dates = self._guids, self._saved, self.keeps_save_dates
        new._unseen, new._deleted, new._size = self._unseen, self._deleted, self._size
        self.leave()
        return new
