"""CONTEXT=SEARCH and CONTEXT=SORT, RFC 5267: results that are told again as they change.

    ret-data-addto      = "ADDTO" SP "(" context-position SP sequence-set *(SP context-position SP sequence-set) ")"
    ret-data-removefrom = "REMOVEFROM" SP "(" context-position SP sequence-set *(...) ")"

A context is a search, and the UIDs that the client knows to match. With the news of the mailbox the messages that
changed are asked the search keys again; the difference is told. REMOVEFROM of an expunged message goes before its
EXPUNGE, everything else behind the news. REMOVEFROM may come long before the EXPUNGE, which has to wait for a command
that allows it: RFC 5267 A.3.

What SORT orders by never changes in a message. So a new result is put in its place by comparing it with few others
(`sort.places_of`), and the positions are those of the client's list.

Message numbers, and "$", in the keys mean the messages of the moment when the command came, RFC 5267 4.3. Where a UID
set has a "*", or a key depends on the time (OLDER, YOUNGER; RFC 5032 2), all messages are asked again, for time
every `_TIMED` seconds at most.
"""

import logging
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from itertools import filterfalse
from typing import Any

from greenmail.errors import BadSyntax, Refused, StorageError
from greenmail.imap import grammar
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.fetch import MACROS
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import RELEVANCY, ReturnOpt, Searched
from greenmail.imap.ext.filters import expanded
from greenmail.imap.ext.sort import places_of
from greenmail.imap.ext.unasked import begin_items, fetch_unasked
from greenmail.imap.fetch_att import Item, fetch_atts
from greenmail.imap.message_set import message_ranges, selected
from greenmail.imap.response import Ok
from greenmail.imap.search_key import AndKey, FuzzyKey, Key, NotKey, OrKey, RowKey, SetKey
from greenmail.imap.search_run import Search, walk
from greenmail.imap.sequence_set import SequenceSet, compact, ranges_of
from greenmail.imap.session import Session
from greenmail.imap.slices import slices
from greenmail.imap.view import View
from greenmail.storage.api import Mailbox

log = logging.getLogger(__name__)

_TIMED = 60.0
_PAIRS = 250  # of a position and a set in one line
_FEW = 64  # results that come or go one by one

Step = tuple[bytes, int, list[int]]  # ADDTO or REMOVEFROM, the position, and UIDs in the requested order


class Context:
    """One search and its results, as the client knows them."""

    def __init__(self, session: Session, searched: Searched, items: tuple[Item, ...]) -> None:
        self.tag = session.tag
        self.uid = searched.uid  # results are told as UIDs
        self.items = items  # that are told of messages that come and match, RFC 5465 7
        self.members: array[int] = array("I", sorted(searched.uids))
        self._order: array[int] | None = array("I", searched.uids) if searched.criteria else None
        key, self._charset = expanded(session, searched.key, searched.charset)
        self._criteria, self._key = searched.criteria, pinned(session, key)
        self._comparator = session.comparator  # whichever is active later: what was told stays true
        leaves = list(walk(self._key))
        self._has_last = any(
            isinstance(leaf, SetKey) and any(None in pair for pair in leaf.seqs.ranges) for leaf in leaves
        )
        self._is_timed = any(isinstance(leaf, RowKey) and leaf.name in ("OLDER", "YOUNGER") for leaf in leaves)
        self._modseq, self._largest = searched.modseq, searched.largest
        self._asked = session.services.runtime.elapsed()  # when all messages were asked
        self._keys: dict[int, tuple[Any, ...]] = {}  # of `places_of`, while one update is made

    def has(self, uid: int) -> bool:
        """Whether the client knows it to match."""
        place = bisect_left(self.members, uid)
        return place < len(self.members) and self.members[place] == uid

    def remove(self, uids: Sequence[int]) -> list[Step]:
        """Take away those of `uids` (ascending) that are in it."""
        gone = [uid for uid in uids if self.has(uid)]
        if not gone:
            return []
        doomed = set(gone)
        if len(gone) > _FEW:
            self.members = array("I", filterfalse(doomed.__contains__, self.members))
        else:
            for uid in gone:
                del self.members[bisect_left(self.members, uid)]
        if self._order is None:
            return [(b"REMOVEFROM", 0, gone)]
        if len(gone) > _FEW:
            places = [place for place, uid in enumerate(self._order, 1) if uid in doomed]
        else:
            places = sorted(self._order.index(uid) + 1 for uid in gone)
        steps: list[Step] = []
        for first, last in reversed(ranges_of(places)):  # the last run first: the positions of the others stay
            steps.append((b"REMOVEFROM", first, self._order[first - 1 : last].tolist()))
            del self._order[first - 1 : last]
        return steps

    def update(self, session: Session, view: View) -> tuple[list[Step], list[int]]:
        """What is different in the mailbox now, and the results that are new. Raises Refused, StorageError."""
        candidates = self._candidates(session, view)
        if not candidates:
            return [], []
        found = set(Search(session, self._key, self._charset, self._comparator).run(candidates))
        steps = self.remove([uid for uid in candidates if uid not in found])
        come = [uid for uid in candidates if uid in found and not self.has(uid)]
        if not come:
            return steps, come
        if self._order is None:
            self._add(come)
            return [*steps, (b"ADDTO", 0, come)], come
        try:
            return steps + self._sort_in(session, view.mailbox, come), come
        finally:
            self._keys = {}

    def _candidates(self, session: Session, view: View) -> list[int]:
        """The messages of the view of which something may be different, ascending; at once."""
        mailbox, now = view.mailbox, session.services.runtime.elapsed()
        is_late = self._is_timed and now >= self._asked + _TIMED
        if mailbox.modseq == self._modseq and view.largest_uid <= self._largest and not is_late:
            return []
        changes = mailbox.changes(self._modseq if self._modseq <= mailbox.modseq else 0)
        new = view.uids[bisect_right(view.uids, self._largest) :]
        gone = changes.expunged if changes.expunged is not None else view.gone(self.members)
        chosen = {uid for uid in changes.changed if uid <= self._largest and view.seq(uid)}
        chosen.update(new)
        chosen.update(uid for uid in gone if view.seq(uid))
        self._modseq, self._largest = mailbox.modseq, max(view.largest_uid, self._largest)
        if is_late or (self._has_last and (new or gone)):
            self._asked = now
            return view.uids.tolist()
        return sorted(chosen)

    def _add(self, uids: Sequence[int]) -> None:
        if len(uids) > _FEW:
            self.members = array("I", sorted((*self.members, *uids)))
            return
        for uid in uids:
            insort(self.members, uid)

    def _sort_in(self, session: Session, mailbox: Mailbox, come: list[int]) -> list[Step]:
        """Put new results (ascending) where they belong; those that become neighbours are one step."""
        assert self._order is not None
        most = len(come) * len(self._order).bit_length() * 4 > len(self._order)
        self._learn(session, sorted((*self.members, *come)) if most else come)
        steps: list[Step] = []
        for uid in sorted(come, key=self._keys.__getitem__):
            place, gone = self._place(session, mailbox, uid)
            while gone:
                steps += self.remove([gone])
                place, gone = self._place(session, mailbox, uid)
            self._order.insert(place, uid)
            insort(self.members, uid)
            if steps and steps[-1][0] == b"ADDTO" and place == steps[-1][1] - 1 + len(steps[-1][2]):
                steps[-1][2].append(uid)
            else:
                steps.append((b"ADDTO", place + 1, [uid]))
        return steps

    def _place(self, session: Session, mailbox: Mailbox, uid: int) -> tuple[int, int]:
        """Where it belongs, from 0; or a result that is gone, with which nothing can be compared."""
        assert self._order is not None
        wanted = self._keys[uid]
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            other = self._order[middle]
            if other not in self._keys:
                self._learn(session, [other])
            if mailbox.table.row(other) < 0:
                return 0, other
            if self._keys[other] < wanted:
                low = middle + 1
            else:
                high = middle
        return low, 0

    def _learn(self, session: Session, uids: list[int]) -> None:
        for some in slices(uids):
            places = places_of(session, list(some), self._criteria, self._comparator)
            self._keys.update(zip(some, places, strict=True))
            session.breathe()


class SelectedContexts:
    """The contexts of a view: `view.Contexts`."""

    def __init__(self, session: Session, view: View) -> None:
        self._session = session
        self._view = view
        self.by_tag: dict[bytes, Context] = {}

    def leaving(self, expunged: Sequence[tuple[int, int]]) -> bytes:
        """REMOVEFROM for messages that are told expunged next: their numbers are right for the last time."""
        if not expunged:
            return b""
        self._by_uid()
        seqs = {uid: seq for seq, uid in expunged}
        uids = sorted(seqs)
        return b"".join(rendered(context, context.remove(uids), seqs.__getitem__) for context in self.by_tag.values())

    def follow(self, arrived: Sequence[int]) -> Mapping[int, tuple[Item, ...]]:
        """Ask what changed the search keys again, and tell what is different."""
        session, more = self._session, dict[int, tuple[Item, ...]]()
        told: set[int] = set()
        self._by_uid()
        for context in list(self.by_tag.values()):
            try:
                steps, come = context.update(session, self._view)
            except (Refused, StorageError) as error:
                log.warning("context sid=%s text=%r", session.sid, error.text)
                del self.by_tag[context.tag]
                session.out.status(b'* NO [NOUPDATE "%b"] The search could not be repeated\r\n' % context.tag)
                continue
            if context.items and arrived:
                self._fetch(context, [uid for uid in come if uid >= arrived[0] and uid not in told], more)
                told.update(come)
            if steps:
                session.out.write(rendered(context, steps, self._view.seq))
        return more

    def _by_uid(self) -> None:
        """RFC 9586 3: once UIDONLY is enabled no message number is told, whatever the search was."""
        if self._session.uid_only:
            for context in self.by_tag.values():
                context.uid = True

    def _fetch(self, context: Context, uids: list[int], more: dict[int, tuple[Item, ...]]) -> None:
        """RFC 5465 7: behind EXISTS and before ESEARCH; together with what NOTIFY tells of the message, if it does."""
        listening = self._session.listening
        others = [uid for uid in uids if listening is None or not listening.tells_of(uid)]
        more.update((uid, context.items) for uid in uids if uid not in others)
        fetch_unasked(self._session, context.items, others)


def rendered(context: Context, steps: Sequence[Step], seq: Callable[[int], int]) -> bytes:
    """ESEARCH lines with these steps, in their order. `seq` gives the number of a UID."""
    lines = []
    for some in slices(steps, _PAIRS):
        words: list[bytes] = []
        before = b""
        for word, position, uids in some:
            names = compact(uids if context.uid else map(seq, uids))
            if word == before:
                words[-1] = b"%b %d %b)" % (words[-1][:-1], position, names)
            else:
                words.append(b"%b (%d %b)" % (word, position, names))
            before = word
        uid = b" UID" if context.uid else b""
        lines.append(b'* ESEARCH (TAG "%b")%b %b\r\n' % (context.tag, uid, b" ".join(words)))
    return b"".join(lines)


def pinned(session: Session, key: Key) -> Key:
    """The key with the messages in place of message numbers and "$": RFC 5267 4.3."""
    match key:
        case SetKey(seqs, uid) if not uid or seqs.saved:
            uids = selected(session).between(message_ranges(session, seqs, uid), uid)
            return SetKey(SequenceSet(tuple(ranges_of(uids))), uid=True)
        case AndKey(keys):
            return AndKey(tuple(pinned(session, one) for one in keys))
        case OrKey(keys):
            return OrKey(tuple(pinned(session, one) for one in keys))
        case NotKey(inner):
            return NotKey(pinned(session, inner))
        case FuzzyKey(inner):
            return FuzzyKey(pinned(session, inner))
    return key


def _contexts(session: Session) -> dict[bytes, Context]:
    """Those of the selected mailbox."""
    held = selected(session).contexts
    return held.by_tag if isinstance(held, SelectedContexts) else {}


def _parse_update(cur: Cursor) -> tuple[Item, ...]:
    """modifier-update = "UPDATE" [SP "(" fetch-att *(SP fetch-att) ")"] — RFC 5267 5, RFC 5465 8."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    if cur.peek(2) != b" (":
        return ()
    cur.space()
    return fetch_atts(cur, registry.FETCH_ATTS, MACROS)


def _begin_update(session: Session, items: tuple[Item, ...]) -> None:
    """RFC 5267 4.3: a tag names one context."""
    if session.tag in _contexts(session):
        raise BadSyntax("tag reuse: updates are told under this tag already")


def _end_update(session: Session, searched: Searched, items: tuple[Item, ...]) -> None:
    """From here on updates are told; or not, if there are too many contexts. RFC 5267 4.3.1."""
    view = selected(session)
    if len(_contexts(session)) >= session.limits.max_search_contexts:
        session.out.status(b'* NO [NOUPDATE "%b"] Too many contexts\r\n' % session.tag)
        return
    if any(criterion.key == RELEVANCY for criterion in searched.criteria):
        session.out.status(b'* NO [NOUPDATE "%b"] Scores are not kept up to date\r\n' % session.tag)
        return
    begin_items(session, items)
    held = view.contexts
    if not isinstance(held, SelectedContexts):
        held = view.contexts = SelectedContexts(session, view)
    held.by_tag[session.tag] = Context(session, searched, items)


def parse_cancelupdate(cur: Cursor, uid: bool) -> tuple[bytes, ...]:
    """command-select =/ "CANCELUPDATE" 1*(SP quoted) — RFC 5267 5."""
    cur.space()
    tags = [grammar.quoted(cur)]
    while cur.take(b" "):
        tags.append(grammar.quoted(cur))
    return tuple(tags)


def run_cancelupdate(session: Session, tags: tuple[bytes, ...]) -> Ok:
    """RFC 5267 4.3.5. Refused if one of the tags names no context; the others are ended all the same."""
    view, contexts = selected(session), _contexts(session)
    unknown = [tag for tag in dict.fromkeys(tags) if contexts.pop(tag, None) is None]
    if not contexts:
        view.contexts = None
    if unknown:
        raise Refused("no updates are told under one of these tags")
    return Ok("No further updates")


def _no_data(found: Any, value: Any) -> bytes:
    return b""


def _nothing(cur: Cursor) -> None:
    """modifier-context = "CONTEXT": a hint that needs no other preparation than every search has. RFC 5267 4.2."""


CANCELUPDATE = Command("CANCELUPDATE", states=SELECTED, parse=parse_cancelupdate, run=run_cancelupdate)

FEATURE = Feature(
    "context",
    commands=(CANCELUPDATE,),
    capabilities=(Capability("CONTEXT=SEARCH", always), Capability("CONTEXT=SORT", always)),
    search_return_opts={
        "UPDATE": ReturnOpt("UPDATE", _parse_update, _no_data, begin=_begin_update, end=_end_update),
        "CONTEXT": ReturnOpt("CONTEXT", _nothing, _no_data),
    },
)
