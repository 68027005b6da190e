"""What one client has been told about its selected mailbox.

The view is the only translator between message sequence numbers (the client's) and UIDs (everybody's). It changes
only in `news`, which gives back in one value what the client has to be told: RFC 9051 7.5.1, RFC 2180 4.

A session may lose the processor while it claims \\Recent messages and while it writes. So `news` claims first, then
reads the mailbox and changes the view in one step in which nobody else runs, and the caller writes the value in one
piece before anything else: the view and the octets sent always agree.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, filterfalse
from typing import Any, Protocol

from greenmail.errors import Reason, StorageError
from greenmail.imap.recent import Recent
from greenmail.storage.api import ALL_RIGHTS, Flags, Mailbox, Rights

RECENT = "\\Recent"  # RFC 3501 2.3.2; not in RFC 9051


@dataclass(frozen=True, slots=True)
class Changed:
    """A message whose flags the client does not know: `* seq FETCH`."""

    seq: int
    uid: int
    flags: Flags
    modseq: int


@dataclass(frozen=True, slots=True)
class News:
    """What the client must be told, in this order; every number is right at the moment it is read."""

    expunged: tuple[tuple[int, int], ...] = ()  # (seq, uid), highest first: each EXPUNGE renumbers what follows it
    exists: int | None = None  # the number of messages, if it grew
    recent: int = 0  # how many of them are \\Recent here; said when `exists` is
    changed: tuple[Changed, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.expunged or self.changed) or self.exists is not None


NO_NEWS = News()


def claim_recent(mailbox: Mailbox) -> int:
    """The first UID that is \\Recent for the caller. Raises GONE.

    A store that cannot do it for now (a full disk, a lock) keeps no mail from anybody: the messages are shown, and stay
    \\Recent for a later session.
    """
    try:
        return mailbox.claim_recent()
    except StorageError as error:
        if error.reason is Reason.GONE:
            raise
        return mailbox.uidnext


class UrlKeyNews(Protocol):
    """Whether somebody has changed the user's key for URLs of the mailbox."""

    def known(self) -> None:
        """The client knows of it."""

    def news(self) -> bytes:
        """What the client is to be told; at once."""


class Contexts(Protocol):
    """Searches whose results the client is told of as they change."""

    def leaving(self, expunged: Sequence[tuple[int, int]]) -> bytes:
        """What goes before the EXPUNGEs of these, as in `News`; at once."""

    def follow(self, arrived: Sequence[int]) -> Mapping[int, tuple[Any, ...]]:
        """Tell what is different now, behind the news, in which the client was told of the messages `arrived`.

        FETCH data items that are to be told of some of these, by UID: somebody else will.
        """


class View:
    """`uids[n - 1]` is the UID of message sequence number n. Made behind a `look`, and behind `claim_recent`."""

    def __init__(
        self, mailbox: Mailbox, read_only: bool, first_recent: int, shows_recent: bool = True, old: "View | None" = None
    ) -> None:
        """`old`: the view that this client had before, which is not used any more."""
        self.mailbox = mailbox
        self.name = mailbox.name  # by which the session's account knows it: the object is also others'
        self.rights: Rights = ALL_RIGHTS  # as of the last look, RFC 4314 2.1
        self.told_rights: Rights = ALL_RIGHTS  # of which PERMANENTFLAGS told
        self.read_only = read_only
        self.shows_recent = shows_recent  # False after ENABLE IMAP4rev2, which knows no \\Recent
        self.uids: array[int] = _uids(mailbox, old)
        self.recent = Recent()
        if shows_recent:
            self.recent.add(self.uids[bisect_left(self.uids, first_recent) :])
        self.told = mailbox.modseq  # the client knows everything up to this mod-sequence, but for `pending` ...
        self.answered: dict[int, int] = {}  # ... and these UIDs up to these: own STOREs, answered or silent
        self.looked = float("-inf")  # when the last look at the mailbox began, by the monotonic clock
        self.pending: set[int] = set()  # expunged, and the client not told yet
        self.complete = self.told  # the client knows everything up to this one, expunges too: RFC 7162 3.2
        self.contexts: Contexts | None = None  # searches of which updates are told: RFC 5267 4.3
        self.url_key: UrlKeyNews | None = None  # of a client that was told of URLMECH: RFC 4467 8, URLMECH
        self.withheld = False  # flags changed of which the client did not want to be told: RFC 5465 5.1
        self.offers_keywords = False  # the client has been told that it can create keywords: "\\*"

    def seq(self, uid: int) -> int:
        """The sequence number of `uid`, or 0 if this client has not been told of it."""
        place = bisect_left(self.uids, uid)
        return place + 1 if place < len(self.uids) and self.uids[place] == uid else 0

    def between(self, ranges: Iterable[tuple[int, int]], uid: bool) -> list[int]:
        """UIDs in the client's order for inclusive ascending ranges of UIDs, or of sequence numbers."""
        found: list[int] = []
        for first, last in ranges:
            found.extend(self.neighbours(first, last, uid))
        return found

    def neighbours(self, first: int, last: int, uid: bool) -> "array[int]":
        """`between` of one range, without an object for each."""
        if uid:
            return self.uids[bisect_left(self.uids, first) : bisect_right(self.uids, last)]
        return self.uids[first - 1 : last]

    @property
    def largest_uid(self) -> int:
        """The UID of the last message the client knows, 0 if it knows none: what "*" stands for."""
        return self.uids[-1] if self.uids else 0

    def flags(self, uid: int) -> Flags:
        """The flags of `uid` as known now, with \\Recent if it is; empty if nothing is known."""
        row = self.mailbox.last_row(uid)
        flags = row.flags if row else frozenset()
        return flags | {RECENT} if uid in self.recent else flags

    def gone(self, uids: Iterable[int]) -> list[int]:
        """Those of `uids` that are no longer in the mailbox, as of the last look."""
        table = self.mailbox.table
        return [uid for uid in uids if table.row(uid) < 0]

    def forget_recent(self) -> None:
        """\\Recent does not exist for this client: ENABLE IMAP4rev2."""
        self.shows_recent = False
        self.recent.clear()

    def knows_now(self, uid: int) -> bool:
        """Whether the client has been told all about `uid` that is known here."""
        row = self.mailbox.last_row(uid)
        return row is not None and row.modseq <= max(self.told, self.answered.get(uid, 0))

    def mark(self, uids: Iterable[int], modseq: int) -> None:
        """The client knows what these messages are like at `modseq`: do not tell it again."""
        for uid in uids:
            self.answered[uid] = max(modseq, self.answered.get(uid, 0))

    def withhold_nothing(self) -> None:
        """What was withheld is news again."""
        if self.withheld:
            self.withheld, self.told = False, min(self.told, self.complete)

    def news(self, may_expunge: bool, flags: bool = True) -> News:
        """Everything that `mailbox.look` has found since the last time; EXPUNGEs wait if they may not be sent.

        Without `flags` their changes are left out: `complete` stays where it is then, so that who asks for what came
        after it (RFC 7162 3.2.5) learns of them.

        The caller sends it, all and at once: from here on the client counts as told.
        May wait for `claim_recent`, and raise GONE then with nothing changed.
        """
        if self.mailbox.modseq == self.told and not (self.pending and may_expunge):
            return NO_NEWS
        first_claimed = self._claim()
        # From here to the end nobody else runs.
        mailbox = self.mailbox
        # A mod-sequence that fell tells that the store lost its memory: then everything is compared.
        changes = mailbox.changes(self.told if self.told <= mailbox.modseq else 0)
        gone = changes.expunged if changes.expunged is not None else self.gone(self.uids)
        self.pending.update(uid for uid, _ in self._told(gone))
        expunged = self._drop_pending() if may_expunge and self.pending else ()
        known = len(self.uids)
        exists = self._take_new(first_claimed)
        changed = tuple(item for uid in self._unanswered(changes.changed) if (item := self._changed(uid, known)))
        if changed and not flags:
            self.withheld, changed = True, ()
        self.answered.clear()
        self.told = mailbox.modseq
        if not (self.pending or self.withheld) or self.complete > self.told:
            self.complete = self.told
        return News(expunged, exists, self.recent.count(self.uids), changed)

    def _claim(self) -> int:
        """The first UID that is \\Recent here among those the client does not know yet. RFC 3501 2.3.2."""
        mailbox = self.mailbox
        uids = mailbox.table.uids
        if self.read_only or not uids or mailbox.first_recent > uids[-1]:
            return mailbox.first_recent
        return claim_recent(mailbox)

    def _drop_pending(self) -> tuple[tuple[int, int], ...]:
        """RFC 9051 7.5.1: each EXPUNGE renumbers what follows, so the highest goes first."""
        table = self.mailbox.table
        uids = sorted(self.pending)
        uids = [uid for uid, row in zip(uids, table.rows(uids), strict=True) if row < 0]
        self.pending.clear()  # one that came back with its old UID is not expunged any more
        found = tuple((seq, uid) for uid, seq in reversed(self._told(uids)))
        if len(found) > 64:  # one pass instead of one move of the tail for each
            doomed = {uid for _, uid in found}
            self.uids = array("I", filterfalse(doomed.__contains__, self.uids))
        else:
            for seq, _ in found:
                del self.uids[seq - 1]
        return found

    def _told(self, uids: Sequence[int]) -> list[tuple[int, int]]:
        """Those of `uids`, ascending, of which the client has been told, with their sequence numbers."""
        if len(uids) > len(self.uids) >> 4:  # one pass over all of them instead of a search for each
            numbers = compress(range(1, len(self.uids) + 1), map(set(uids).__contains__, self.uids))
            return [(self.uids[seq - 1], seq) for seq in numbers]
        return [(uid, seq) for uid in uids if (seq := self.seq(uid))]

    def _unanswered(self, uids: list[int]) -> list[int]:
        """Those of `uids` that have changed since an own STORE told of them; after it that is all there is to say."""
        if not self.answered:
            return uids
        table, answered = self.mailbox.table, self.answered
        rows = table.rows(uids)
        return [
            uid for uid, row in zip(uids, rows, strict=True) if row < 0 or answered.get(uid, 0) < table.modseqs[row]
        ]

    def _take_new(self, first_claimed: int) -> int | None:
        """Take up messages that the client does not know; how many it has then, or None if there are no new ones."""
        uids = self.mailbox.table.uids
        new = uids[bisect_right(uids, self.largest_uid) :]
        if not new:
            return None
        if self.shows_recent:
            self.recent.add(new[bisect_left(new, first_claimed) :])
        self.uids.extend(new)
        return len(self.uids)

    def _changed(self, uid: int, known: int) -> Changed | None:
        """None for what the client knows, for messages just announced (it asks for them), and for those expunged."""
        seq = self.seq(uid)
        if not 0 < seq <= known or uid in self.pending:
            return None
        row = self.mailbox.last_row(uid)
        if row is None or self.answered.get(uid, 0) >= row.modseq:
            return None
        return Changed(seq, uid, row.flags | {RECENT} if uid in self.recent else row.flags, row.modseq)


def _uids(mailbox: Mailbox, old: View | None) -> "array[int]":
    """The UIDs of all messages; if by its old view the client knows just these, they need not be copied."""
    if old is not None and old.mailbox is mailbox and old.told == mailbox.modseq and not old.pending:
        return old.uids
    return array("I", mailbox.table.uids)
