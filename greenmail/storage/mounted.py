"""A mailbox as an account with several namespaces gives it out: under its name there, perhaps with a private \\Seen.

And as a guest has it (`guest`), who may read it: `sealed`, no change goes through, and POP3 keeps nobody out.

The mailbox behind it (`inner`) is shared with its owner's sessions, who call it otherwise. Everything that such an
account opens is wrapped, so COPY and MOVE find a wrapper on both sides, and know what is behind it.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import (
    SEEN,
    SYSTEM_FLAGS,
    CacheKind,
    Changes,
    Content,
    Counters,
    Facts,
    FlagAction,
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
from greenmail.storage.private_seen import PrivateSeen

log = logging.getLogger(__name__)

_SEEN = frozenset({SEEN})


class _Unheld:
    """The POP3 session of one who can change nothing: it is not exclusive. See `api.Held`."""

    def release(self) -> None:
        """There is nothing to be given back."""

    def recall(self) -> bytes:
        """Nothing was noted."""
        return b""

    def note(self, data: bytes) -> None:
        """Is not kept: sessions of whoever comes are not one reader's."""


class MountedMailbox:
    """See `api.Mailbox`: `inner` under another name; with `own`, \\Seen is the reader's alone."""

    def __init__(
        self, name: str, inner: Mailbox, own: PrivateSeen | None, released: Callable[[], None], sealed: bool = False
    ) -> None:
        """`released` is called once, at `close`."""
        self.sealed = sealed
        self.name = name
        self.inner = inner
        self.own = own
        self.mailbox_id = inner.mailbox_id
        self.tracks_modseq = inner.tracks_modseq and own is None
        # Numbers of flags mean something else for each reader.
        self.answers = inner.answers if own is None else None
        self._released: Callable[[], None] | None = released

    @property
    def table(self) -> Table:
        return self.inner.table if self.own is None else self.own.table

    @property
    def uidvalidity(self) -> int:
        return self.inner.uidvalidity

    @property
    def uidnext(self) -> int:
        return self.inner.uidnext if self.own is None else self.own.uidnext

    @property
    def modseq(self) -> int:
        return self.inner.modseq if self.own is None else self.own.modseq

    @property
    def first_recent(self) -> int:
        return self.inner.first_recent

    @property
    def keywords(self) -> tuple[str, ...]:
        return self.inner.keywords

    @property
    def can_add_keywords(self) -> bool:
        return self.inner.can_add_keywords and not self.sealed

    @property
    def read_only(self) -> bool:
        """Where \\Seen is the reader's own, something can always be changed; what cannot is refused by `inner`."""
        return self.sealed or (self.inner.read_only and self.own is None)

    def _must_change(self) -> None:
        """Before a change. Raises READ_ONLY where it is sealed: RFC 4505 5."""
        if self.sealed:
            raise StorageError(Reason.READ_ONLY, "Nothing can be changed here by who has not said his name.")

    def look(self) -> os.stat_result | None:
        """Take up what anyone changed on disk."""
        found = self.inner.look()
        self._take_up()
        return found

    def _take_up(self) -> None:
        if self.own is not None:
            self.own.take_up()

    def changes(self, since: int) -> Changes:
        """What happened after `since`; at once."""
        return self.inner.changes(since) if self.own is None else self.own.changes(since)

    def last_row(self, uid: int) -> Row | None:
        """The row of `uid`, or what is remembered of it; at once."""
        return self.inner.last_row(uid) if self.own is None else self.own.last_row(uid)

    def claim_recent(self) -> int:
        """Take every \\Recent message for the caller."""
        self._must_change()
        first = self.inner.claim_recent()
        self._take_up()
        return first

    def counters(self) -> Counters:
        """As of the last look."""
        found = self.inner.counters()
        if self.own is None:
            return found
        return Counters(
            messages=len(self.table),
            recent=found.recent,
            unseen=self.own.unseen,
            deleted=found.deleted,
            measure=found.measure,
            uidnext=self.own.uidnext,
            uidvalidity=found.uidvalidity,
            modseq=self.own.modseq,
            mailbox_id=found.mailbox_id,
        )

    def deleted_storage(self) -> int:
        """Octets on disk of what is \\Deleted."""
        return self.inner.deleted_storage()

    def fill(self, uids: Sequence[int], sizes: bool = False, dates: bool = False) -> None:
        """Make sizes and dates known."""
        self.inner.fill(uids, sizes, dates)
        if self.own is not None:
            self.own.learn(uids)

    def content(self, uid: int) -> Content:
        """The message's octets."""
        return self.inner.content(uid)

    def octets(self, uid: int) -> bytes | None:
        """Of a small message that can be had quickly."""
        return self.inner.octets(uid)

    def make_many(self, uids: Sequence[int], whole: bool, facts: Facts, make: Callable[[int, bytes], Any]) -> list[Any]:
        """Of those that can be had quickly."""
        return self.inner.make_many(uids, whole, facts, make)

    def cached(self, uid: int, kind: CacheKind) -> bytes | None:
        """What was kept."""
        return self.inner.cached(uid, kind)

    def cached_many(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        """What was kept of each."""
        return self.inner.cached_many(uids, kind)

    def cache(self, uid: int, kind: CacheKind, data: bytes) -> None:
        """Keep `data`."""
        self.inner.cache(uid, kind, data)

    def cache_many(self, values: Sequence[tuple[int, CacheKind, bytes]]) -> None:
        """Keep `values`."""
        self.inner.cache_many(values)

    # Changes

    def store(self, uids: Sequence[int], change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """Change flags; a private \\Seen goes to the reader's file, all else to the mailbox."""
        self._must_change()
        if self.own is None:
            return self.inner.store(uids, change, unchanged_since)
        self.inner.look()  # it is not asked for a private \\Seen alone, and may be gone
        ours = _seen_in(change.flags)
        done = self._store_shared(uids, change.action, change.flags - ours)
        self._take_up()
        there = [uid for uid in sorted(set(uids)) if self.table.row(uid) >= 0]
        seen_before = {uid for uid in there if self.own.has_seen(uid)}
        if change.action is FlagAction.REMOVE:
            self.own.mark((), there if ours else ())
        elif ours:
            self.own.mark(there)
        elif change.action is FlagAction.REPLACE:
            self.own.mark((), there)
        flipped = {uid for uid in there if (uid in seen_before) != self.own.has_seen(uid)}
        missing = sorted({*done.missing, *(uid for uid in uids if self.table.row(uid) < 0)})
        return Stored(sorted(flipped.union(done.changed)), [], missing, done.ignored)

    def _store_shared(self, uids: Sequence[int], action: FlagAction, flags: frozenset[str]) -> Stored:
        """`change` without \\Seen. The letter S on disk is not ours: it stays, also where all others are replaced."""
        if action is not FlagAction.REPLACE:
            return self.inner.store(uids, FlagChange(action, flags)) if flags else Stored([], [], [])
        # As two changes relative to the disk, so that S is not touched, nor what others do to it meanwhile.
        done = self.inner.store(uids, FlagChange(FlagAction.ADD, flags)) if flags else Stored([], [], [])
        folded = {flag.casefold() for flag in flags} | {SEEN.casefold()}
        every = (*SYSTEM_FLAGS, *self.inner.keywords)
        others = frozenset(flag for flag in every if flag.casefold() not in folded)
        shown = {uid: row.flags for uid in uids if (row := self.inner.last_row(uid)) is not None}
        wrong = [uid for uid, found in shown.items() if not found.isdisjoint(others)]
        if not wrong:
            return done
        more = self.inner.store(wrong, FlagChange(FlagAction.REMOVE, others))
        changed = sorted({*done.changed, *more.changed})
        return Stored(changed, [], sorted({*done.missing, *more.missing}), done.ignored)

    def expunge(self, uids: Sequence[int] | None, flagged: bool = True) -> list[int]:
        """Remove what is \\Deleted on disk now, or all of `uids`."""
        self._must_change()
        gone = self.inner.expunge(uids, flagged)
        self._take_up()
        return gone

    def upload(self, freed: tuple[int, int] = (0, 0)) -> Upload:
        """Begin a message."""
        self._must_change()
        return self.inner.upload(freed)

    def save(self, uploads: Sequence[Upload]) -> list[int]:
        """Make `uploads` messages; those with \\Seen are seen by the reader alone."""
        self._must_change()
        if self.own is None:
            return self.inner.save(uploads)
        seen = [bool(_seen_in(upload.flags)) for upload in uploads]
        for upload in uploads:
            upload.flags = upload.flags - _seen_in(upload.flags)
        uids = self.inner.save(uploads)
        self._take_up()
        self._received([uid for uid, is_seen in zip(uids, seen, strict=True) if is_seen], ())
        return uids

    def _received(self, seen: Sequence[int], unseen: Sequence[int]) -> None:
        """Messages that came just now get this \\Seen. They are here: a failure of this must not look like one of that,
        or the client would bring them again."""
        try:
            self.inner.look()
            self._take_up()
            if self.own is not None:
                shared = [uid for uid in (*seen, *unseen) if _is_seen(self.inner, uid)]
                if shared:  # COPY brought the letter along
                    self.inner.store(sorted(shared), FlagChange(FlagAction.REMOVE, _SEEN))
                self.own.mark(seen)
                return
            for uids, action, shown in ((seen, FlagAction.ADD, False), (unseen, FlagAction.REMOVE, True)):
                wrong = [uid for uid in uids if _is_seen(self.inner, uid) is shown]
                if wrong:
                    self.inner.store(wrong, FlagChange(action, _SEEN))
        except StorageError as error:
            log.warning("seen mailbox=%r messages=%d error=%r", self.name, len(seen) + len(unseen), error.text)

    def copy(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        """Copy messages; what the reader has seen here he has seen there."""
        return self._transfer(uids, target, self.inner.copy)

    def move(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        """Copy, then remove."""
        self._must_change()
        return self._transfer(uids, target, self.inner.move)

    def _transfer(
        self, uids: Sequence[int], target: Mailbox, bring: Callable[[Sequence[int], Mailbox], list[tuple[int, int]]]
    ) -> list[tuple[int, int]]:
        if not isinstance(target, MountedMailbox):
            return bring(uids, target)
        target._must_change()  # COPY from what is sealed changes nothing, but for the target
        if self.own is None and target.own is None:
            return bring(uids, target.inner)
        seen = {uid for uid in uids if (row := self.last_row(uid)) is not None and SEEN in row.flags}
        pairs = bring(uids, target.inner)
        self._take_up()
        target._received([new for old, new in pairs if old in seen], [new for old, new in pairs if old not in seen])
        return pairs

    # POP3 and news

    def touch(self) -> None:
        """The mailbox changed, though none of its messages."""
        self._must_change()
        self.inner.touch()

    def guids(self, uids: Sequence[int]) -> list[str]:
        """What names the content of each message."""
        return self.inner.guids(uids)

    def save_dates(self, uids: Sequence[int]) -> Sequence[int] | None:
        """When each message came here."""
        return self.inner.save_dates(uids)

    def maildrop(self) -> list[MaildropItem] | PlainItems:
        """Every message for POP3, in POP3 order."""
        items = self.inner.maildrop()
        self._take_up()
        return items

    def lock_maildrop(self) -> Held:
        """The exclusive POP3 session."""
        if self.sealed:
            return _Unheld()
        return self.inner.lock_maildrop()

    def is_unchanged(self) -> bool:
        """Of the reader's own \\Seen nobody knows."""
        return self.own is None and self.inner.is_unchanged()

    def was_looked_at(self, age: float) -> bool:
        """Of the reader's own \\Seen nobody knows."""
        return self.own is None and self.inner.was_looked_at(age)

    def unsure(self) -> float:
        """Seconds until a look may find what no event tells of."""
        return self.inner.unsure()

    def watched(self) -> tuple[str, ...]:
        """`new`, `cur` and the journal; and where the reader's own \\Seen is."""
        paths = self.inner.watched()
        return paths if self.own is None else (*paths, os.fsdecode(self.own.watched()))

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have `notify` called when this process changes the mailbox."""
        cancels = [self.inner.subscribe(notify)]
        if self.own is not None:
            cancels.append(self.own.subscribe(notify))

        def cancel() -> None:
            for one in cancels:
                one()

        return cancel

    def resting(self, is_resting: bool) -> None:
        """Where \\Seen is the reader's own, the mailbox is kept in memory: his picture of it is made from it."""
        if self.own is None:
            self.inner.resting(is_resting)

    def close(self) -> None:
        """Give back this reference."""
        released, self._released = self._released, None
        if released is not None:
            released()


def _seen_in(flags: Flags) -> Flags:
    """\\Seen as it is spelled in `flags`, if it is there."""
    return frozenset(flag for flag in flags if flag.casefold() == SEEN.casefold())


def _is_seen(mailbox: Mailbox, uid: int) -> bool:
    row = mailbox.last_row(uid)
    return row is not None and SEEN in row.flags
