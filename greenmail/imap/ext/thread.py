"""THREAD, RFC 5256; the algorithm REFS of draft-ietf-morg-inthread.

thread          = ["UID" SP] "THREAD" SP thread-alg SP search-criteria
thread-data     = "THREAD" [SP 1*thread-list]

How threads are made is in `imap.threads`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from greenmail.imap import grammar, threads
from greenmail.imap.columns import known_rows, numbers_of
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.search_key import Key, search_keys
from greenmail.imap.search_run import Search, check_charset
from greenmail.imap.session import Session
from greenmail.imap.sort_records import sort_records
from greenmail.message.sort_keys import thread_keys

_THREADS_AT_ONCE = 512  # threads written at once


@dataclass(frozen=True, slots=True)
class ThreadRequest:
    """The arguments of THREAD."""

    uid: bool
    algorithm: str
    charset: str
    key: Key


def parse_thread(cur: Cursor, uid: bool) -> ThreadRequest:
    """thread — RFC 5256 5. An algorithm that nobody knows is BAD: the capabilities name those that are known."""
    from greenmail.imap import registry  # not at the top: it imports this module

    cur.space()
    start = cur.pos
    algorithm = grammar.atom(cur).upper()
    if algorithm not in threads.ALGORITHMS:
        cur.pos = start
        raise cur.wrong("unknown threading algorithm")
    cur.space()
    charset = grammar.charset(cur)
    cur.space()
    return ThreadRequest(uid, algorithm, charset, search_keys(cur, registry.SEARCH_KEYS))


def run_thread(session: Session, request: ThreadRequest) -> Completion:
    """Search, thread, answer."""
    check_charset(request.charset)
    uids = Search(session, request.key, request.charset).run()
    view = selected(session)
    records = sort_records(session, view.mailbox, uids)
    view.mailbox.fill(uids, dates=True)
    rows = known_rows(view.mailbox, uids)
    arrived = dict(zip(rows.uids, rows.dates, strict=True))
    known = [(uid, record) for uid, record in zip(uids, records, strict=True) if record is not None]
    uids = [uid for uid, _ in known]
    numbers = uids if request.uid else numbers_of(view, uids)
    dates = [arrived.get(uid, -1) for uid in uids]
    lists = session.blocking(_thread, request.algorithm, [record for _, record in known], dates, list(numbers))
    session.out.write(b"* THREAD")
    for number, piece in enumerate(lists):
        session.out.write(b" " + piece if not number else piece)
        session.breathe()
    session.out.write(b"\r\n")
    return Ok("THREAD completed")


def _thread(algorithm: str, records: Sequence[bytes], dates: Sequence[int], numbers: Sequence[int]) -> list[bytes]:
    """Runs in the pool: the thread-lists, some at a time."""
    messages = []
    for record, arrived in zip(records, dates, strict=True):
        keys = thread_keys(record)
        sent = arrived if keys.date is None else keys.date
        messages.append(threads.Message(sent, keys.subject, keys.is_reply, keys.message_id, keys.references))
    forest = threads.ALGORITHMS[algorithm](messages)
    return [b"".join(some) for some in _pieces(list(threads.render(forest, numbers)))]


def _pieces(lists: list[bytes]) -> list[list[bytes]]:
    return [lists[start : start + _THREADS_AT_ONCE] for start in range(0, len(lists), _THREADS_AT_ONCE)]


THREAD = Command(
    "THREAD", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_thread, run=run_thread
)  # fmt: skip

FEATURE = Feature(
    "thread",
    commands=(THREAD,),
    capabilities=tuple(Capability(f"THREAD={name}", always) for name in threads.ALGORITHMS),
)
