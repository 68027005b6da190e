"""THREAD, RFC 5256; the algorithm REFS of draft-ietf-morg-inthread.

thread          = ["UID" SP] "THREAD" SP thread-alg SP search-criteria
thread-data     = "THREAD" [SP 1*thread-list]

How threads are made is in `imap.threads`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenmail.imap import grammar, threads
from greenmail.imap.columns import dates_of, in_turns, numbers_of
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.commands.search import search_criteria, write_line
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.inprogress import working
from greenmail.imap.ext.messagelimit import check_whole
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.results import Results
from greenmail.imap.search_key import Key
from greenmail.imap.search_run import Search, check_charset
from greenmail.imap.session import Session
from greenmail.imap.slices import SLICE, free, slices
from greenmail.imap.sort_records import thread_slices
from greenmail.message.sort_keys import has_date, thread_keys
from greenmail.runtime import sparing_collections


@dataclass(frozen=True, slots=True)
class ThreadRequest:
    """The arguments of THREAD."""

    uid: bool
    algorithm: str
    charset: str
    key: Key


def parse_thread(cur: Cursor, uid: bool) -> ThreadRequest:
    """thread — RFC 5256 5. An algorithm that nobody knows is BAD: the capabilities name those that are known."""
    cur.space()
    start = cur.pos
    algorithm = grammar.atom(cur).upper()
    if algorithm not in threads.ALGORITHMS:
        cur.pos = start
        raise cur.wrong("unknown threading algorithm")
    cur.space()
    return ThreadRequest(uid, algorithm, *search_criteria(cur))


def run_thread(session: Session, request: ThreadRequest) -> Completion:
    """Search, thread, answer."""
    check_charset(request.charset)
    search = Search(session, request.key, request.charset)
    check_whole(session, search.key)
    results = Results(session, search.key, search.charset, search.comparator.selected, request.algorithm, request.uid)
    octets = results.octets()
    if octets is None:
        with working(session):
            uids = search.run()
            with sparing_collections(len(uids) > SLICE):
                messages, numbers, is_whole = _found(session, uids, request.uid)
                octets = session.blocking(_thread, request.algorithm, messages, numbers)
        if is_whole and not search.lost:
            results.keep(octets)
    write_line(session, b"* THREAD %b\r\n" % octets if octets else b"* THREAD\r\n")
    return Ok("THREAD completed")


def _found(session: Session, uids: Sequence[int], uid: bool) -> tuple[list[threads.Message], list[int], bool]:
    """What the messages are threaded by, the numbers by which the client knows them, and whether nothing is missing."""
    view = selected(session)
    messages: list[threads.Message] = []
    numbers: list[int] = []
    is_whole = True
    columns = thread_slices(session, view.mailbox, uids, session.comparator)
    for some, records in zip(slices(uids), columns, strict=True):
        undated = [one for one, record in zip(some, records, strict=True) if record and not has_date(record)]
        arrived = dict(zip(undated, in_turns(view.mailbox, undated, dates_of, session.breathe), strict=True))
        known = some if uid else numbers_of(view, some)
        is_whole = is_whole and None not in records and -1 not in arrived.values()
        made = session.blocking(_messages, some, records, arrived)
        messages += [message for message in made if message is not None]
        numbers += [number for number, message in zip(known, made, strict=True) if message is not None]
    return messages, numbers, is_whole


def _messages(
    uids: Sequence[int], records: Sequence[bytes | None], arrived: Mapping[int, int]
) -> list[threads.Message | None]:
    """Runs in the pool: what each message is threaded by; None for one that is gone."""
    return [_message(record, uid, arrived) if record else None for uid, record in zip(uids, records, strict=True)]


def _message(record: bytes, uid: int, arrived: Mapping[int, int]) -> threads.Message:
    sent, subject, is_reply, message_id, references = thread_keys(record)
    if sent is None:
        sent = arrived[uid]  # RFC 5256 2.2
    return threads.Message(sent, subject, is_reply, message_id, references)


def _thread(algorithm: str, messages: list[threads.Message], numbers: Sequence[int]) -> bytes:
    """Runs in the pool: the thread-lists. `messages` are used up."""
    with sparing_collections(len(messages) > SLICE):
        forest = threads.ALGORITHMS[algorithm](messages)
        octets = b"".join(threads.render(forest, numbers))
        free(messages)
        free(forest.roots)
        while forest.children:  # as `free`: one by one
            forest.children.popitem()
    return octets


THREAD = Command(
    "THREAD", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_thread, run=run_thread
)  # fmt: skip

FEATURE: Feature = Feature(
    "thread",
    commands=(THREAD,),
    capabilities=tuple(Capability(f"THREAD={name}", always) for name in threads.ALGORITHMS),
)
