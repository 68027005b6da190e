"""What FETCH and SEARCH keep of a message so that its file need not be read again, and when it is made.

`ready` is the one way to it: what is cached is taken from the cache, the rest is computed in the pool, a batch of
messages at a time, and cached. The pool gets open messages and gives plain octets; it never sees a mailbox.
"""

from collections.abc import Callable, Iterator, Sequence

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap.made import Maker
from greenmail.imap.session import Session
from greenmail.storage.api import CacheKind, Content, Facts, Mailbox

HEADERS_AT_ONCE = 256  # of messages of which nothing else is wanted
WHOLE_AT_ONCE = 128  # messages of which all is read, each given back before the next one: some 4 ms for the pool
BATCH = 32  # messages opened and handed to the pool at once
NO_FACTS: Facts = (False, False)

Digest = dict[CacheKind, bytes]
Columns = dict[CacheKind, list[bytes | None]]  # for each of some messages what it has of a kind; None: it is gone
# Told of a message that is gone, or of which something cannot be had; the work on the others goes on.
Trouble = Callable[[StorageError | Refused], None]


def ready(
    session: Session,
    mailbox: Mailbox,
    uids: Sequence[int],
    kinds: frozenset[CacheKind],
    trouble: Trouble,
    facts: Facts = NO_FACTS,
) -> Columns:
    """What each of `uids` (ascending) has of `kinds`: all of it, or only what is cached if the message is gone.

    `facts`: those of messages that are read for it are wanted as well. May take long: it breathes between batches.
    """
    columns = {kind: mailbox.cached_many(uids, kind) for kind in kinds}
    if not any(None in column for column in columns.values()):
        return columns
    missing = [place for place, row in enumerate(zip(*columns.values(), strict=True)) if None in row]
    places = {uids[place]: place for place in missing}
    _of_usual(session, mailbox, places, columns, facts)
    for batch in open_batches(session, mailbox, list(places), trouble):
        made = session.blocking(digests, [content for _, content in batch], kinds)
        fresh: list[tuple[int, Digest]] = []
        for (uid, _), digest in zip(batch, made, strict=True):
            if isinstance(digest, StorageError):
                trouble(digest)
                continue
            fresh.append((uid, digest))
            for kind in kinds:
                columns[kind][places[uid]] = digest[kind]
        keep(mailbox, fresh)
    return columns


def _of_usual(session: Session, mailbox: Mailbox, places: dict[int, int], columns: Columns, facts: Facts) -> None:
    """Fill in what can be read of the messages `places` without opening each, and leave the others there."""
    maker = Maker(columns.keys())
    order = maker.order
    uids = list(places)
    at_once = WHOLE_AT_ONCE if maker.whole else HEADERS_AT_ONCE
    for start in range(0, len(uids), at_once):
        some = uids[start : start + at_once]
        found: list[list[bytes] | None] = mailbox.make_many(some, maker.whole, facts, maker.make)
        there = [uid for uid, made in zip(some, found, strict=True) if made is not None]
        rows = [made for made in found if made is not None]
        for kind, values in zip(order, zip(*rows, strict=True), strict=True) if rows else ():
            column = columns.get(kind)
            if column is not None:
                for uid, data in zip(there, values, strict=True):
                    column[places[uid]] = data
        _keep_columns(mailbox, there, order, rows)
        for uid in there:
            del places[uid]
        session.processed(len(there))
        session.breathe()


def keep(mailbox: Mailbox, made: Sequence[tuple[int, Digest]]) -> None:
    """Cache what is not cached yet of messages, ascending, which have the same kinds."""
    order = tuple(made[0][1]) if made else ()
    _keep_columns(mailbox, [uid for uid, _ in made], order, [[digest[kind] for kind in order] for _, digest in made])


def _keep_columns(
    mailbox: Mailbox, uids: Sequence[int], order: Sequence[CacheKind], rows: Sequence[Sequence[bytes]]
) -> None:
    """Cache what is not cached yet of `uids`, which have `rows`; the cache is append-only, so nothing is written twice.

    Kind by kind: what is asked for together lies together.
    """
    values: list[tuple[int, CacheKind, bytes]] = []
    for place, kind in enumerate(order):
        known = mailbox.cached_many(uids, kind)
        values += [(uid, kind, row[place]) for uid, row, old in zip(uids, rows, known, strict=True) if old is None]
    mailbox.cache_many(values)


def open_batches(
    session: Session, mailbox: Mailbox, uids: Sequence[int], trouble: Trouble
) -> Iterator[list[tuple[int, Content]]]:
    """The messages `uids`, open, a batch at a time; each batch is closed when the next one is asked for."""
    for start in range(0, len(uids), BATCH):
        batch: list[tuple[int, Content]] = []
        try:
            for uid in uids[start : start + BATCH]:
                content = open_message(mailbox, uid, trouble)
                if content is not None:
                    batch.append((uid, content))
            if batch:
                yield batch
        finally:
            for _, content in batch:
                content.close()
        session.processed(len(batch))
        session.breathe()


def open_message(mailbox: Mailbox, uid: int, trouble: Trouble) -> Content | None:
    """The open message, or None if it is gone or cannot be opened. Raises GONE if the whole mailbox is."""
    try:
        return mailbox.content(uid)
    except StorageError as error:
        if error.reason is Reason.GONE:
            raise
        trouble(error)
        return None


def digests(contents: Sequence[Content], kinds: frozenset[CacheKind]) -> list[Digest | StorageError]:
    """Runs in the pool: what each message has of `kinds`, and with a scan what comes for nothing with it."""
    maker = Maker(kinds)
    made: list[Digest | StorageError] = []
    for content in contents:
        try:
            octets = content.read() if maker.whole else content.header()
        except StorageError as error:
            made.append(error)
        else:
            made.append(dict(zip(maker.order, maker.make(0, octets), strict=True)))
    return made
