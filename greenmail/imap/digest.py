"""What FETCH and SEARCH keep of a message so that its file need not be read again, and how it is made.

`ready` is the one way to it: what is cached is taken from the cache, the rest is computed in the pool, a batch of
messages at a time, and cached. The pool gets open messages and gives plain octets; it never sees a mailbox.

CacheKind.HEADERS holds the header fields that clients list and search, so that any of them are picked without looking
at octets: their names in lower case with a space between them, the fields as they stand in the message, and the empty
line that ends the header or nothing if it ends without one; a NUL stands between them all. A record that is `-` alone
says that they are too long to be kept, or have a NUL in them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from operator import itemgetter

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap import render
from greenmail.imap.parts import format_parts
from greenmail.imap.serialize import string
from greenmail.imap.session import Session
from greenmail.message import collation
from greenmail.message.collation import Comparator
from greenmail.message.envelope import envelope
from greenmail.message.headers import named
from greenmail.message.preview import preview
from greenmail.message.sort_keys import sort_record
from greenmail.message.structure import scan
from greenmail.storage.api import CacheKind, Content, Mailbox

HEADERS_AT_ONCE = 256  # of messages of which nothing else is wanted
BATCH = 32  # messages opened and handed to the pool at once
MAX_HEADERS = 16384  # octets of one HEADERS record
MAX_ORDERS = 1000  # of names that are remembered at once
TOO_LONG = b"-"

# What Thunderbird, Apple Mail, Roundcube and mutt ask for in their lists, and what SEARCH has keys for.
CACHED_FIELDS = frozenset(
    b"date subject from sender reply-to to cc bcc in-reply-to message-id references newsgroups content-type "
    b"content-transfer-encoding mime-version list-id list-post list-unsubscribe priority x-priority importance "
    b"x-mailer user-agent delivered-to".split()
)

# Which comparator the keys of a SORT record are made with.
SORTED_BY = {
    CacheKind.SORT: collation.DEFAULT,
    CacheKind.SORT_ASCII: Comparator(collation.ASCII_CASEMAP),
    CacheKind.SORT_OCTET: Comparator(collation.OCTET),
}
_OF_HEADER = frozenset({CacheKind.ENVELOPE, CacheKind.HEADERS, *SORTED_BY})  # these need no body

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
    sizes: bool = False,
) -> Columns:
    """What each of `uids` (ascending) has of `kinds`: all of it, or only what is cached if the message is gone.

    `sizes`: those of messages that are read for it are wanted as well. May take long: it breathes between batches.
    """
    columns = {kind: mailbox.cached_many(uids, kind) for kind in kinds}
    if not any(None in column for column in columns.values()):
        return columns
    missing = [place for place, row in enumerate(zip(*columns.values(), strict=True)) if None in row]
    places = {uids[place]: place for place in missing}
    _of_usual(session, mailbox, places, columns, sizes)
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


def _of_usual(session: Session, mailbox: Mailbox, places: dict[int, int], columns: Columns, sizes: bool) -> None:
    """Fill in what can be read of the messages `places` without opening each, and leave the others there."""
    kinds = frozenset(columns)
    whole = not kinds <= _OF_HEADER
    uids = list(places)
    at_once = BATCH if whole else HEADERS_AT_ONCE
    for start in range(0, len(uids), at_once):
        some = uids[start : start + at_once]
        found = mailbox.read_many(some, whole, sizes)
        there = [pair for pair in zip(some, found, strict=True) if pair[1] is not None]
        made = session.blocking(_of_each, [octets for _, octets in there], kinds)
        fresh = list(zip((uid for uid, _ in there), made, strict=True))
        for uid, digest in fresh:
            place = places.pop(uid)
            for kind in kinds:
                columns[kind][place] = digest[kind]
        keep(mailbox, fresh)
        session.processed(len(fresh))
        session.breathe()


def keep(mailbox: Mailbox, made: Sequence[tuple[int, Digest]]) -> None:
    """Cache what is not cached yet of messages, ascending; the cache is append-only, so nothing is written twice.

    Kind by kind: what is asked for together lies together.
    """
    values: list[tuple[int, CacheKind, bytes]] = []
    for kind in dict.fromkeys(kind for _, digest in made for kind in digest):
        known = mailbox.cached_many([uid for uid, _ in made], kind)
        values.extend(
            (uid, kind, digest[kind])
            for (uid, digest), old in zip(made, known, strict=True)
            if old is None and kind in digest
        )
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


def read_batches(
    session: Session, mailbox: Mailbox, uids: Sequence[int], trouble: Trouble
) -> Iterator[Sequence[tuple[int, bytes | Content]]]:
    """As `open_batches`; of messages that are usual their octets."""
    for start in range(0, len(uids), BATCH):
        some = uids[start : start + BATCH]
        found = mailbox.read_many(some, True, False)
        there = [(uid, octets) for uid, octets in zip(some, found, strict=True) if octets is not None]
        if there:
            yield there
        session.processed(len(there))
        session.breathe()
        left = [uid for uid, octets in zip(some, found, strict=True) if octets is None]
        yield from open_batches(session, mailbox, left, trouble)


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
    made: list[Digest | StorageError] = []
    for content in contents:
        try:
            made.append(
                _of_header(content.header(), kinds) if kinds <= _OF_HEADER else _of_message(content.read(), kinds)
            )
        except StorageError as error:
            made.append(error)
    return made


def _of_each(octets: Sequence[bytes], kinds: frozenset[CacheKind]) -> list[Digest]:
    """Runs in the pool, with messages, or with headers where these say it all."""
    make = _of_header if kinds <= _OF_HEADER else _of_message
    return [make(one, kinds) for one in octets]


def _of_header(header: bytes, kinds: Set[CacheKind]) -> Digest:
    digest: Digest = {}
    if CacheKind.HEADERS in kinds:
        digest[CacheKind.HEADERS] = headers_record(header)
    if CacheKind.ENVELOPE in kinds:
        digest[CacheKind.ENVELOPE] = render.envelope(envelope(header, 0, len(header)))
    for kind in kinds & SORTED_BY.keys():
        digest[kind] = sort_record(header, SORTED_BY[kind])
    return digest


def _of_message(data: bytes, kinds: Set[CacheKind]) -> Digest:
    """The scan is what costs: whoever asks for a structure will ask for parts, and the other way round."""
    root = scan(data)
    digest: Digest = {}
    if kinds & _OF_HEADER:
        digest = _of_header(data[: root.header[1]], kinds)
    if CacheKind.BODY in kinds:
        digest[CacheKind.BODY] = render.body(root, extended=False)
    if CacheKind.PREVIEW in kinds:
        digest[CacheKind.PREVIEW] = string(preview(lambda start, end: data[start:end], root).encode("utf-8", "replace"))
    digest[CacheKind.BODYSTRUCTURE] = render.body(root, extended=True)
    digest[CacheKind.PARTS] = format_parts(root)
    return digest


def headers_record(header: bytes) -> bytes:
    """The HEADERS record of a message with this header."""
    fields = named(header, CACHED_FIELDS)
    names = b" ".join([name for name, _ in fields])
    record = b"\0".join([names, *[raw for _, raw in fields], b"\r\n" if ends_with_empty_line(header) else b""])
    if len(record) > MAX_HEADERS or record.count(b"\0") != len(fields) + 1:
        return TOO_LONG
    return record


def header_of(record: bytes) -> bytes:
    """The header that has the fields of a HEADERS record and no others."""
    return b"".join(record.split(b"\0")[1:])


class Subset:
    """HEADER.FIELDS of HEADERS records: which fields those are is worked out once for each order of names."""

    __slots__ = ("_pickers", "_wanted")

    def __init__(self, names: Iterable[bytes]) -> None:
        """`names` in any case, all of them CACHED_FIELDS."""
        self._wanted = frozenset(name.lower() for name in names)
        self._pickers: dict[bytes, Callable[[list[bytes]], Iterable[bytes]]] = {}

    def of(self, record: bytes) -> bytes:
        """The fields, and the empty line if the message has one: RFC 9051 6.4.5.1."""
        pieces = record.split(b"\0")
        picker = self._pickers.get(pieces[0])
        if picker is None:
            picker = self._learn(pieces[0])
        return b"".join(picker(pieces))

    def _learn(self, names: bytes) -> Callable[[list[bytes]], Iterable[bytes]]:
        places = [place for place, name in enumerate(names.split(b" "), 1) if name in self._wanted]
        if len(self._pickers) > MAX_ORDERS:
            self._pickers.clear()
        picker = self._pickers[names] = itemgetter(*places, -1) if places else itemgetter(slice(-1, None))
        return picker


def ends_with_empty_line(header: bytes) -> bool:
    """False for a message that has neither body nor empty line, RFC 9051 6.4.5.1."""
    return header == b"\r\n" or header.endswith(b"\r\n\r\n")
