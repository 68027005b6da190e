"""What one client has been told about its selected mailbox.

The view is the only translator between message sequence numbers (the client's) and UIDs (everybody's). It changes
only in `news`, where the client is told: RFC 9051 7.5.1, RFC 2180 4.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from greenmail.storage.api import Flags, Mailbox


class View:
    """`uids[n - 1]` is the UID of message sequence number n."""

    def __init__(self, mailbox: Mailbox, read_only: bool, first_recent: int) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.uids: array[int] = array("I", mailbox.table.uids)
        self.recent: set[int] = set(self.uids[bisect_left(self.uids, first_recent) :])
        self.told = mailbox.modseq  # the client knows everything up to this mod-sequence ...
        self.answered: dict[int, int] = {}  # ... and these UIDs up to these: own STOREs, answered or silent
        self.pending: set[int] = set()  # expunged, and the client not told yet

    def seq(self, uid: int) -> int:
        """The sequence number of `uid`, or 0 if this client has not been told of it."""
        place = bisect_left(self.uids, uid)
        return place + 1 if place < len(self.uids) and self.uids[place] == uid else 0

    def between(self, ranges: Iterable[tuple[int, int]], uid: bool) -> list[int]:
        """UIDs in the client's order for inclusive ascending ranges of UIDs, or of sequence numbers."""
        found: list[int] = []
        for first, last in ranges:
            if uid:
                found.extend(self.uids[bisect_left(self.uids, first) : bisect_right(self.uids, last)])
            else:
                found.extend(self.uids[first - 1 : last])
        return found

    @property
    def largest_uid(self) -> int:
        return self.uids[-1] if self.uids else 0

    def flags(self, uid: int) -> Flags:
        """The flags of `uid` as known now, with \\Recent if it is; empty if nothing is known."""
        row = self.mailbox.last_row(uid)
        flags = row.flags if row else frozenset()
        return flags | {"\\Recent"} if uid in self.recent else flags

    def mark(self, uids: Iterable[int], modseq: int) -> None:
        """The client knows what these messages are like at `modseq`: do not tell it again."""
        for uid in uids:
            self.answered[uid] = modseq

    def news(self, may_expunge: bool, tell: "Teller") -> None:
        """Tell everything that `mailbox.look` has found since the last time.

        EXPUNGE first and highest sequence number first, then EXISTS and RECENT, then FETCH: so that every number is
        right at the moment it is read.
        """
        mailbox = self.mailbox
        if mailbox.modseq == self.told and not (self.pending and may_expunge):
            return
        changes = mailbox.changes(self.told)
        gone = changes.expunged if changes.expunged is not None else self._missing()
        self.pending.update(uid for uid in gone if self.seq(uid))
        if may_expunge and self.pending:
            self._tell_expunged(tell)
        self._tell_exists(tell)
        for uid in changes.changed:
            self._tell_changed(uid, tell)
        self.answered.clear()
        self.told = mailbox.modseq

    def _missing(self) -> list[int]:
        live = set(self.mailbox.table.uids)
        return [uid for uid in self.uids if uid not in live]

    def _tell_expunged(self, tell: "Teller") -> None:
        """RFC 9051 7.5.1: each EXPUNGE renumbers what follows, so the highest goes first."""
        uids = sorted(self.pending, reverse=True)
        numbers = [self.seq(uid) for uid in uids]
        tell.expunged([(seq, uid) for seq, uid in zip(numbers, uids, strict=True) if seq])
        for seq in numbers:
            if seq:
                del self.uids[seq - 1]
        self.recent -= self.pending
        self.pending.clear()

    def _tell_exists(self, tell: "Teller") -> None:
        table = self.mailbox.table
        new = table.uids[bisect_right(table.uids, self.largest_uid) :] if len(table) else array("I")
        if not new:
            return
        if not self.read_only and self.mailbox.first_recent <= new[-1]:
            first = self.mailbox.claim_recent()
            new = table.uids[bisect_right(table.uids, self.largest_uid) :]
            self.recent.update(uid for uid in new if uid >= first)
        elif self.read_only:
            self.recent.update(uid for uid in new if uid >= self.mailbox.first_recent)
        self._fresh = len(self.uids)
        self.uids.extend(new)
        tell.exists(len(self.uids), len(self.recent))

    def _tell_changed(self, uid: int, tell: "Teller") -> None:
        row = self.mailbox.last_row(uid)
        seq = self.seq(uid)
        if row is None or not seq or uid in self.pending or self.answered.get(uid, 0) >= row.modseq:
            return
        tell.changed(seq, uid, self.flags(uid), row.modseq)


class Teller:
    """Where news goes: `execute` renders them as untagged responses, IDLE likewise, extensions otherwise."""

    def __init__(
        self,
        expunged: Callable[[list[tuple[int, int]]], None],
        exists: Callable[[int, int], None],
        changed: Callable[[int, int, Flags, int], None],
    ) -> None:
        self.expunged = expunged  # (seq, uid) pairs, highest first
        self.exists = exists  # messages, recent
        self.changed = changed  # seq, uid, flags, modseq
