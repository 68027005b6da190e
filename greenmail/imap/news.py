"""What a client is told unasked: EXPUNGE, EXISTS, RECENT and FETCH. RFC 9051 5.2, 7.4, 7.5; RFC 2180.

After ENABLE QRESYNC or UIDONLY there is VANISHED in place of EXPUNGE. A client that keeps mod-sequences learns that
an EXPUNGE waits by a HIGHESTMODSEQ from before it: who loses the connection then asks from there. RFC 7162 3.2, 6.
"""

import logging
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

from greenmail.errors import Reason, StorageError
from greenmail.imap import rights, serialize
from greenmail.imap.sequence_set import Ranges, ranges_of
from greenmail.imap.sequence_set import render as render_set
from greenmail.imap.session import Session
from greenmail.imap.view import NO_NEWS, Changed, News, View
from greenmail.storage.api import SYSTEM_FLAGS, Rights

log = logging.getLogger(__name__)

_OF_FLAGS = frozenset("stw")
_RANGES_A_LINE = 1000  # of VANISHED: some 20 KB
_KNOWN = 500  # sets of keywords whose PERMANENTFLAGS are kept

GONE_TEXT = b"The selected mailbox was deleted, renamed or replaced."
_UNREADABLE_TEXT = b"You may not read the selected mailbox any more."


def report(
    session: Session,
    may_expunge: bool,
    by_itself: bool = False,
    age: float = 0.0,
    own: bool = False,
    news_age: float = 0.0,
) -> None:
    """Look at the selected mailbox and write what the client does not know; at the end of a command, and in IDLE.

    A look in the last `age` seconds is enough, or in the last `news_age` seconds by whomever (`rights.look`).
    `by_itself`: the command was one by which this client may have taken its own mailbox away, DELETE or RENAME. `own`:
    it has expunged messages itself, and is told whatever NOTIFY says.
    """
    view = session.view
    if view is None:
        return
    wanted, largest = session.wanted, view.largest_uid
    had_pending = bool(view.pending)
    try:
        rights.look(session, view, age, news_age)
        news = view.news(may_expunge, wanted.flags) if wanted.messages or own else NO_NEWS
    except StorageError as error:
        if error.reason is Reason.GONE:
            leave_gone(session, by_itself)
        else:  # what the command did stands; the next one looks again
            log.warning(
                "look sid=%s mailbox=%r reason=%s text=%r",
                session.sid,
                view.mailbox.name,
                error.reason.name,
                error.text,
            )
            if tells_modseq(session):
                session.out.status(_highest(view))
        return
    differs = not view.read_only and (view.told_rights ^ view.rights) & _OF_FLAGS  # RFC 4314 5.1.1
    if differs or (view.offers_keywords and not view.mailbox.can_add_keywords):
        session.out.status(permanentflags(view))
    if view.url_key is not None:
        session.out.status(view.url_key.news())
    if news:
        leaving = view.contexts.leaving(news.expunged) if view.contexts is not None else b""
        session.out.write(leaving + render(session, news))
    if (view.pending or had_pending or (view.withheld and news)) and tells_modseq(session):
        session.out.status(_highest(view))
    arrived: Sequence[int] = view.uids[bisect_right(view.uids, largest) :] if news.exists is not None else ()
    more = view.contexts.follow(arrived) if view.contexts is not None else {}
    if arrived and session.listening is not None:
        session.listening.arrived(arrived, more)


def leave_gone(session: Session, by_itself: bool = False) -> None:
    """The selected mailbox is not there any more, and what has its name now is another one: never touch that.

    A client that knows rev2 understands CLOSED unasked (RFC 9051 3, transition 6), as does one that did it itself.
    Others would go on with their sequence numbers: they are disconnected, as RFC 2180 3.3 allows.
    """
    assert session.view is not None
    log.info("mailbox gone sid=%s mailbox=%r", session.sid, session.view.mailbox.name)
    rights = session.view.rights
    text = _UNREADABLE_TEXT if rights and "r" not in rights else GONE_TEXT  # who has no right at all is told nothing
    session.deselect()
    if session.rev2 or by_itself:
        session.out.status(b"* OK [CLOSED] " + text + b"\r\n")
    else:
        session.logging_out = True
        session.out.status(b"* BYE " + text + b" Please connect again.\r\n")


def permanentflags(view: View) -> bytes:
    """The untagged OK with PERMANENTFLAGS; to be sent again when no more keywords can be added, RFC 9051 7.1."""
    flags = _changeable(view.rights, tuple(view.mailbox.keywords))
    view.told_rights = view.rights
    view.offers_keywords = view.mailbox.can_add_keywords and not view.read_only and "w" in view.rights
    if view.read_only:
        flags, text = (), b"No flag can be changed here"
    elif view.offers_keywords:
        flags, text = (*flags, b"\\*"), b"Flags that can be changed for good"
    else:
        text = b"No more keywords can be added here" if "w" in view.rights else b"You may change no others here"
    return b"* OK [PERMANENTFLAGS %b] %b\r\n" % (serialize.parenthesized(flags), text)


@lru_cache(maxsize=_KNOWN)
def _changeable(mine: Rights, keywords: tuple[str, ...]) -> tuple[bytes, ...]:
    every = (*SYSTEM_FLAGS, *keywords)
    settable = rights.settable(mine, every)
    return tuple(serialize.flag_words(flag for flag in every if flag in settable))


def render(session: Session, news: News) -> bytes:
    """The untagged responses, in the order in which their numbers are right."""
    if vanishes(session):
        parts = vanished(sorted(uid for _, uid in news.expunged))
    else:
        parts = [b"* %d EXPUNGE\r\n" % seq for seq, _ in news.expunged]
    if news.exists is not None:
        parts.append(b"* %d EXISTS\r\n" % news.exists)
        if not session.rev2:
            parts.append(b"* %d RECENT\r\n" % news.recent)
    with_modseq, rendered = tells_modseq(session), dict[frozenset[str], bytes]()
    for item in news.changed:
        words = rendered.get(item.flags)
        if words is None:
            words = rendered[item.flags] = serialize.flag_list(item.flags)
        parts.append(_fetch(session.uid_only, item, words, with_modseq))
    return b"".join(parts)


def vanishes(session: Session) -> bool:
    """VANISHED is said in place of EXPUNGE: RFC 7162 3.2.10, not with NOMODSEQ; RFC 9586 3, always."""
    return session.uid_only or ("QRESYNC" in session.enabled and tells_modseq(session))


def vanished(uids: Sequence[int], word: bytes = b"VANISHED") -> list[bytes]:
    """Lines for these UIDs, which ascend; none if there are none. RFC 7162 3.2.10."""
    return vanished_ranges(ranges_of(uids), word)


def vanished_ranges(ranges: Ranges, word: bytes = b"VANISHED") -> list[bytes]:
    """`vanished` for ranges of UIDs, ascending."""
    starts = range(0, len(ranges), _RANGES_A_LINE)
    return [b"* %b %b\r\n" % (word, render_set(ranges[start : start + _RANGES_A_LINE])) for start in starts]


def highestmodseq(session: Session) -> bytes:
    """The response code for a client that has enabled QRESYNC: all changes up to here have been told. RFC 7162 3.2.7.

    Nothing where there are no mod-sequences.
    """
    if "QRESYNC" not in session.enabled or session.view is None or not tells_modseq(session):
        return b""
    return b"HIGHESTMODSEQ %d" % session.view.complete


def _highest(view: View) -> bytes:
    text = b"Everything is told" if view.complete == view.told else b"Not everything is told yet"
    return b"* OK [HIGHESTMODSEQ %d] %b\r\n" % (view.complete, text)


def _fetch(uid_only: bool, item: Changed, words: bytes, with_modseq: bool) -> bytes:
    """An unasked FETCH: always with UID (RFC 9051 7.5.2), with MODSEQ for those who know it (RFC 7162 3.2)."""
    modseq = b" MODSEQ (%d)" % item.modseq if with_modseq else b""
    if uid_only:
        return b"* %d UIDFETCH (FLAGS %b%b)\r\n" % (item.uid, words, modseq)
    return b"* %d FETCH (UID %d FLAGS %b%b)\r\n" % (item.seq, item.uid, words, modseq)


def tells_modseq(session: Session) -> bool:
    """Changes are told with their mod-sequence: CONDSTORE is enabled, and the mailbox has them. RFC 7162 3.1."""
    return "CONDSTORE" in session.enabled and session.view is not None and session.view.mailbox.tracks_modseq
