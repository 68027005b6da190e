"""INPROGRESS, RFC 9585: a long SEARCH, SORT, THREAD, ESEARCH, STORE or EXPUNGE tells how far it is.

What is counted is messages whose files were read or renamed, since that is what takes long; other work is quick. A
client that has gone away is found by it, too.

Not told in COPY, MOVE and a MULTIAPPEND of many messages: all of it is done or nothing, so it is one piece of work in
which locks are held, and nobody writes to a client while he holds one. A FETCH answers all the while.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from greenmail.imap.command import Capability, Feature
from greenmail.imap.message_set import selected
from greenmail.imap.progress import Progress
from greenmail.imap.session import Session

_SLICE = 2000  # messages of a change between which the client can be told something


@contextmanager
def working(session: Session, goal: int = -1) -> Iterator[None]:
    """Within it the client is told how many messages were processed, and nothing else is written.

    `goal`: messages that there are to be processed; -1: those of the selected mailbox.
    """
    interval = session.limits.progress_interval
    if not interval:
        yield
        return

    def tell(line: bytes) -> None:
        session.out.status(line)
        session.wire.flush()

    goal = len(selected(session).uids) if goal < 0 else goal
    session.progress = Progress(session.tag, goal, interval, session.services.runtime.elapsed, tell)
    try:
        yield
    finally:
        session.progress = None


def in_slices(session: Session, uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """`uids` in pieces, at least one; each is changed before the next is asked for, and no lock is held in between."""
    with working(session, len(uids)):
        for start in range(0, max(len(uids), 1), _SLICE):
            yield uids[start : start + _SLICE]
            session.processed(min(_SLICE, len(uids) - start))
            session.breathe()


def _is_told(session: Session) -> bool:
    return session.limits.progress_interval > 0


FEATURE: Feature = Feature("inprogress", capabilities=(Capability("INPROGRESS", _is_told, settled=True),))
