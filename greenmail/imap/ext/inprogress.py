"""INPROGRESS, RFC 9585: a long SEARCH, SORT, THREAD or ESEARCH tells how far it is.

What is counted is messages whose files were read, since that is what takes long; other work is quick. A client that has
gone away is found by it, too. Not told in STORE and COPY, whose work is done in the store.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from greenmail.imap.command import Capability, Feature
from greenmail.imap.message_set import selected
from greenmail.imap.progress import Progress
from greenmail.imap.session import Session


@contextmanager
def working(session: Session) -> Iterator[None]:
    """Within it the client is told how many messages of the selected mailbox were processed. It writes nothing else."""
    interval = session.limits.progress_interval
    if not interval:
        yield
        return

    def tell(line: bytes) -> None:
        session.out.write(line)
        session.wire.flush()

    goal = len(selected(session).uids)
    session.progress = Progress(session.tag, goal, interval, session.services.runtime.now, tell)
    try:
        yield
    finally:
        session.progress = None


def _is_told(session: Session) -> bool:
    return session.limits.progress_interval > 0


FEATURE: Feature = Feature("inprogress", capabilities=(Capability("INPROGRESS", _is_told),))
