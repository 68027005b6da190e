"""A store in memory: the model for tests, and the smallest complete backend.

Nothing here waits, so each method is one step for everybody else. Names are Unicode; `INBOX` in any case is INBOX.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from greenmail.errors import Reason, StorageError
from greenmail.message.content import BytesContent, to_crlf
from greenmail.storage.api import (
    DELETED,
    SEEN,
    CacheKind,
    Changes,
    Content,
    Counters,
    FlagChange,
    Flags,
    Folder,
    Held,
    Mailbox,
    MaildropItem,
    Namespace,
    Quota,
    Row,
    Stored,
    Table,
    Upload,
    is_inbox,
)
from greenmail.storage.flag_names import FlagNames, changed
from greenmail.storage.history import History, ranges
from greenmail.storage.quota_rules import OVER_TEXT, QuotaRules

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME = 1000  # characters


class MemoryUpload:
    """A message on its way."""

    def __init__(self) -> None:
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
        self.maildrop_is_locked = False
        self.admit: Callable[[str, int, int], None] = lambda name, storage, messages: None  # the account's
        self._now = now
        self._names = FlagNames()
        self._history = History()
        self._data: dict[int, bytes] = {}
        self._cache: dict[tuple[int, CacheKind], bytes] = {}
        self._subscribers: dict[int, Callable[[], None]] = {}
        self._unseen = 0
        self._deleted = 0
        self._size = 0
        self._gone = False

    def look(self) -> None:
        if self._gone:
            raise StorageError(Reason.GONE, "The mailbox was deleted or renamed; select it again.")

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
            self._notify()
        return done

    def _count(self, row: int, sign: int) -> None:
        flags = self.table.flags_of(row)
        self._unseen += sign * (SEEN not in flags)
        self._deleted += sign * (DELETED in flags)
        self._size += sign * self.table.sizes[row]

    def expunge(self, uids: Sequence[int] | None) -> list[int]:
        self._writable()
        table = self.table
        wanted = None if uids is None else set(uids)
        doomed = [
            uid
            for row, uid in enumerate(table.uids)
            if DELETED in table.flags_of(row) and (wanted is None or uid in wanted)
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
            del self._data[uid]
        self._notify()

    def upload(self) -> Upload:
        self._writable()
        self.admit(self.name, 0, 1)
        return MemoryUpload()

    def save(self, uploads: Sequence[Upload]) -> list[int]:
        self._writable()
        messages: list[tuple[bytes, Flags, int]] = []
        for upload in uploads:
            assert isinstance(upload, MemoryUpload), "an upload of another store"
            data = to_crlf(bytes(upload.data))
            messages.append((data, upload.flags, int(self._now()) if upload.date is None else upload.date))
        self.admit(self.name, sum(len(data) for data, _, _ in messages), len(messages))
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
            self._count(len(table) - 1, 1)
            uids.append(uid)
        self._history.note_changed(uids, modseq)
        self._notify()
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
        return [(row.uid, uid) for row, uid in zip(rows, uids, strict=True)]

    def move(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        self._writable()
        pairs = self._copy(*self._rows(uids, target))  # of one quota root: no more is used afterwards
        self._remove([uid for uid, _ in pairs])
        return pairs

    def maildrop(self) -> list[MaildropItem]:
        self.look()
        return [MaildropItem(uid, None, None, f"memory.{uid}", f"{self.mailbox_id}-{uid}") for uid in self.table.uids]

    def lock_maildrop(self) -> Held:
        self.look()
        if self.maildrop_is_locked:
            raise StorageError(Reason.IN_USE, "Another POP3 session has the mailbox open.")
        self.maildrop_is_locked = True
        return MemoryHeld(self)

    def watched(self) -> tuple[str, ...]:
        return ()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        key = id(notify) if id(notify) not in self._subscribers else max(self._subscribers) + 1
        self._subscribers[key] = notify

        def cancel() -> None:
            self._subscribers.pop(key, None)

        return cancel

    def _notify(self) -> None:
        for notify in list(self._subscribers.values()):
            notify()

    def close(self) -> None:
        """The store keeps its mailboxes."""

    def leave(self) -> None:
        """The name leads elsewhere from now on: every session finds this object gone."""
        self._gone = True
        self._notify()

    def renamed(self, name: str) -> "MemoryMailbox":
        """The same messages, UIDs and identity under another name; this object is gone."""
        new = MemoryMailbox(name, self.uidvalidity, self._now)
        new.table, new.uidnext, new.modseq, new.first_recent = self.table, self.uidnext, self.modseq, self.first_recent
        new.admit = self.admit
        new.mailbox_id, new.keywords = self.mailbox_id, self.keywords
        new.can_add_keywords, new.read_only = self.can_add_keywords, self.read_only
        new._names, new._history, new._data, new._cache = self._names, self._history, self._data, self._cache
        new._unseen, new._deleted, new._size = self._unseen, self._deleted, self._size
        self.leave()
        return new


class MemoryAccount:
    """One user's mailboxes; see `api.Account`."""

    def __init__(self, user: str, separator: str, special_use: Mapping[str, str], now: Callable[[], float]) -> None:
        self.user = user
        self.separator = separator
        self.personal = Namespace("", separator)
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()
        self.mailboxes: dict[str, MemoryMailbox] = {}
        self.quota_rules: QuotaRules | None = None  # None: there is no quota root
        self._special_use: dict[str, tuple[str, ...]] = {name: (use,) for name, use in special_use.items()}
        self._subscribed: list[str] = []
        self._now = now
        self._last_uidvalidity = 0
        self.create("INBOX")

    def _canonical(self, name: str) -> str:
        """`name` with INBOX in capitals. Raises CANNOT for a name that no mailbox can have."""
        levels = name.split(self.separator)
        if is_inbox(levels[0]):
            levels[0] = "INBOX"
        if "" in levels or len(name) > MAX_NAME or _CONTROL.search(name):
            raise StorageError(Reason.CANNOT, "No mailbox can have this name.")
        return self.separator.join(levels)

    def _find(self, name: str) -> MemoryMailbox:
        try:
            return self.mailboxes[self._canonical(name)]
        except KeyError:
            raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.") from None

    def _children(self, name: str) -> list[str]:
        return [other for other in self.mailboxes if other.startswith(name + self.separator)]

    def folders(self) -> list[Folder]:
        names = set(self.mailboxes)
        for name in self.mailboxes:
            levels = name.split(self.separator)
            names.update(self.separator.join(levels[:depth]) for depth in range(1, len(levels)))
        names.add("INBOX")
        given: set[str] = set()
        found: list[Folder] = []
        for name in sorted(names, key=lambda name: (name != "INBOX", name)):
            uses = tuple(use for use in self._special_use.get(name, ()) if use not in given)
            uses = uses if name in self.mailboxes else ()
            given.update(uses)
            found.append(Folder(name, name in self.mailboxes, bool(self._children(name)), uses))
        return found

    def open(self, name: str) -> Mailbox:
        return self._find(name)

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        name = self._canonical(name.removesuffix(self.separator))
        if name in self.mailboxes:
            raise StorageError(Reason.EXISTS, "The mailbox exists already.")
        self._last_uidvalidity = max(self._last_uidvalidity + 1, int(self._now()))
        mailbox = self.mailboxes[name] = MemoryMailbox(name, self._last_uidvalidity, self._now)
        mailbox.admit = self._admit
        uses = tuple(special_use)
        if uses:
            self._special_use[name] = uses
        return mailbox.mailbox_id

    def delete(self, name: str) -> None:
        name = self._canonical(name)
        if name == "INBOX":
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted.")
        if name not in self.mailboxes and self._children(name):
            raise StorageError(Reason.HAS_CHILDREN, "The name has mailboxes below it and is none itself.")
        self._find(name).leave()
        del self.mailboxes[name]

    def rename(self, old: str, new: str) -> None:
        old, new = self._canonical(old), self._canonical(new.removesuffix(self.separator))
        if old not in self.mailboxes and not self._children(old):
            raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.")
        if new in self.mailboxes:
            raise StorageError(Reason.EXISTS, "The new name is taken.")
        if old == "INBOX":
            self._rename_inbox(new)
            return
        if new.startswith(old + self.separator):
            raise StorageError(Reason.CANNOT, "A mailbox cannot become a part of itself.")
        moved = {name: new + name[len(old) :] for name in [old, *self._children(old)] if name in self.mailboxes}
        if any(name in self.mailboxes for name in moved.values()):
            raise StorageError(Reason.EXISTS, "A mailbox below the new name exists already.")
        for before, after in moved.items():
            self.mailboxes[after] = self.mailboxes.pop(before).renamed(after)
            if before in self._special_use:
                self._special_use[after] = self._special_use.pop(before)

    def _rename_inbox(self, new: str) -> None:
        """The messages move, INBOX and what is below it stay. RFC 9051 6.3.6."""
        self.create(new)
        inbox = self.mailboxes["INBOX"]
        inbox.move(list(inbox.table.uids), self.mailboxes[new])

    def subscriptions(self) -> list[str]:
        return list(self._subscribed)

    def subscribe(self, name: str) -> None:
        name = self._find(name).name
        if name not in self._subscribed:
            self._subscribed.append(name)

    def unsubscribe(self, name: str) -> None:
        name = "INBOX" if is_inbox(name) else name
        if name in self._subscribed:
            self._subscribed.remove(name)

    def _admit(self, name: str, storage: int, messages: int) -> None:
        rules = self.quota_rules
        if rules is None or not rules.enforced or rules.ignores(name, self.separator):
            return
        used = self._used(rules)
        if rules.limits_in(name, self.separator, rules.limits).exceeded_by(used[0] + storage, used[1] + messages):
            raise StorageError(Reason.OVER_QUOTA, OVER_TEXT)

    def _used(self, rules: QuotaRules) -> tuple[int, int]:
        counted = [box for box in self.mailboxes.values() if not rules.ignores(box.name, self.separator)]
        return sum(box.counters().size for box in counted), sum(len(box.table) for box in counted)

    def quota_roots(self, name: str) -> list[str]:
        rules = self.quota_rules
        return [rules.root] if rules is not None and not rules.ignores(name, self.separator) else []

    def quota(self, root: str) -> Quota:
        rules = self.quota_rules
        if rules is None or root != rules.root:
            raise StorageError(Reason.NOT_FOUND, "There is no such quota root.")
        return rules.quota(rules.limits, *self._used(rules))

    def watched(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        """The store keeps its accounts."""


class MemoryStore:
    """Accounts come into being when they are opened; `special_use` gives names their attribute in each."""

    def __init__(
        self,
        separator: str = "/",
        special_use: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.separator = separator
        self._special_use = dict(special_use or {})
        self._now = now
        self._accounts: dict[str, MemoryAccount] = {}

    def open_account(self, user: str) -> MemoryAccount:
        """The one account of `user`, shared by everybody who asks."""
        if user not in self._accounts:
            self._accounts[user] = MemoryAccount(user, self.separator, self._special_use, self._now)
        return self._accounts[user]
