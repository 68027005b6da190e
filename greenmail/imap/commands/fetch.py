"""FETCH, RFC 9051 6.4.5 and 7.5.2, RFC 3501 6.4.5; modifiers RFC 4466 2.4.

Messages are answered in chunks. A chunk of flags, UIDs, sizes and dates is one join of columns; what must be rendered
or scanned is made ready for a chunk at once; octets of messages are sent one message after the other. Items stand in
the order in which they were asked for: some clients rely on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap.binary import add_binary, add_binary_size
from greenmail.imap.columns import known_rows, numbers_of, one_row, turned
from greenmail.imap.command import SELECTED, Command, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.digest import Columns, ready
from greenmail.imap.ext import messagelimit
from greenmail.imap.ext.condstore import MODSEQ
from greenmail.imap.fetch_att import (
    BinaryItem,
    BinarySizeItem,
    BodyItem,
    FetchAtt,
    FetchRequest,
    Item,
    RenderedItem,
    RowItem,
    Rows,
    fetch_atts,
    fetch_modifiers,
    named,
    parse_binary,
    parse_binary_peek,
    parse_binary_size,
    parse_body,
    parse_body_peek,
)
from greenmail.imap.header_record import TOO_LONG, Subset
from greenmail.imap.message_set import message_run, named_among, selected
from greenmail.imap.news import tells_modseq
from greenmail.imap.octets import Answer, Message, add_section, from_records, wanted_kinds
from greenmail.imap.recent import Recent
from greenmail.imap.repeats import Repeats
from greenmail.imap.response import REASON_CODES, Completion, No, Ok
from greenmail.imap.section import Section, SectionText
from greenmail.imap.sequence_set import sequence_set
from greenmail.imap.serialize import flag_list, literal_or_empty
from greenmail.imap.session import Session
from greenmail.imap.view import RECENT
from greenmail.storage.api import SEEN, CacheKind, FlagAction, FlagChange, Flags

CHUNK = 1024  # messages whose columns are answered at once, in half a millisecond
RENDERED_CHUNK = 128  # messages that are made ready at once: a BODYSTRUCTURE may have a megabyte
SEEN_CHUNK = 64  # messages that are marked \\Seen before they are sent: the client may go away
FEW = 4096  # messages that are looked up one by one in a set
JOINED = 1 << 20  # octets that are answered in one piece
CHUNK_OCTETS = 1 << 20  # of messages that a chunk marks \Seen before it sends them
_NUMBERED = [
    range(first, first + CHUNK) for first in range(1, 16 * CHUNK, CHUNK)
]  # chunks whose numbers are kept as text
_NUMBERED_LENGTH = 64  # octets of a template that is kept with them: 2.6 MiB at most

_ADD_SEEN = FlagChange(FlagAction.ADD, frozenset({SEEN}))
# A message can be read even where it cannot be marked as read.
_NO_MATTER = frozenset(
    {Reason.READ_ONLY, Reason.NO_PERMISSION, Reason.NO_SPACE, Reason.OVER_QUOTA, Reason.IN_USE, Reason.UNAVAILABLE}
)


def parse_fetch(cur: Cursor, uid: bool) -> FetchRequest:
    """fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
    [SP "(" fetch-modifier *(SP fetch-modifier) ")"] — RFC 9051 9, RFC 4466 3."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    cur.space()
    seqs = sequence_set(cur)
    cur.space()
    items = fetch_atts(cur, registry.FETCH_ATTS, MACROS)
    modifiers = fetch_modifiers(cur, registry.FETCH_MODIFIERS)
    return FetchRequest(uid, seqs, items, modifiers)


def run_fetch(session: Session, request: FetchRequest) -> Completion:
    """Answer every message of the set that the client knows; UIDs that it does not know are none, RFC 9051 6.4.9."""
    for modifier, _ in request.modifiers:
        if modifier.check is not None:
            modifier.check(session, request)
    for modifier, value in request.modifiers:
        request = modifier.apply(session, request, value)
    if request.uid and not session.uid_only and UID not in request.items:
        request = request._replace(items=(UID, *request.items))  # RFC 9051 6.4.9: UID is always in the answer
    for item in request.items:
        if isinstance(item, RowItem) and item.begin is not None:
            item.begin(session)
    for begin in request.before:
        begin(session)
    uids, limit = messagelimit.newest(session, _chosen(session, request))
    if limit and request.choose:  # a page that is too large: RFC 9738 3.1
        raise messagelimit.refusal(session.limits.message_limit)
    return messagelimit.told(session, fetch_uids(session, request, uids, backwards=bool(limit)), limit)


def _chosen(session: Session, request: FetchRequest) -> Sequence[int]:
    """The messages of the set, as far as modifiers leave them."""
    among = request.among() if request.among is not None else None
    if among is not None and len(among) <= FEW and not request.choose:
        return named_among(session, request.seqs, request.uid, among)
    uids = message_run(session, request.seqs, request.uid)
    for choose in request.choose:
        uids = choose(list(uids))
    if among is None:
        return uids
    known = set(among)
    return [uid for uid in uids if uid in known]


def fetch_uids(session: Session, request: FetchRequest, uids: Sequence[int], backwards: bool = False) -> Completion:
    """Answer these messages (ascending) of the client's view; the request's set does not count any more.

    `backwards`: the last one first.
    """
    return _Fetch(session, request, backwards).run(uids)


class _Fetch:
    """One FETCH while it runs."""

    def __init__(self, session: Session, request: FetchRequest, backwards: bool) -> None:
        self.session = session
        self.backwards = backwards
        self.view = selected(session)
        self.mailbox = self.view.mailbox
        self.uid = request.uid
        self.items = request.items
        self.keep = request.keep
        columns = [item for item in self.items if isinstance(item, RowItem)]
        self.needs_size = any(item.needs_size for item in columns)
        self.needs_date = any(item.needs_date for item in columns)
        self.only_columns = len(columns) == len(self.items)
        self.subsets: dict[Item, Subset] = {
            item: Subset(item.section.fields)
            for item in self.items
            if isinstance(item, BodyItem) and from_records(item.section) and item.partial is None
        }
        self.joins = all(isinstance(item, RowItem | RenderedItem) or item in self.subsets for item in self.items)
        self.kinds = frozenset(kind for item in self.items for kind in _kinds(item))
        self.sees = any(not isinstance(item, RowItem | RenderedItem) and not item.peek for item in self.items)
        self.sees = self.sees and not self.view.read_only and not self.mailbox.read_only
        self.sees = self.sees and "s" in self.view.rights  # RFC 4314 4 FETCH
        self.trouble: list[StorageError | Refused] = []
        keeps = self.joins and not self.sees and not self.keep and not backwards
        self.repeats = Repeats(session, self.view, self.items) if keeps else None

    def run(self, uids: Sequence[int]) -> Completion:
        chunks = self._chunks(uids)
        for chunk in reversed(list(chunks)) if self.backwards else chunks:
            if not self._repeat(chunk):
                self._answer(chunk)
            self.session.breathe()
        self.session.figures.fetched += len(uids)
        return self._completion()

    def _completion(self) -> Completion:
        """RFC 9051 7.1 EXPUNGEISSUED, UNKNOWN-CTE: what could be answered was answered, and the tag says what not."""
        if not self.trouble:
            return Ok("FETCH completed")
        worst = next((error for error in self.trouble if isinstance(error, Refused)), self.trouble[0])
        if isinstance(worst, Refused):
            return No(worst.text, worst.code.encode("ascii"))
        code = REASON_CODES[worst.reason].encode("ascii")
        if worst.reason is not Reason.EXPUNGED:
            return No(worst.text, code)
        if self.uid:
            # The EXPUNGE is told behind this UID command; a NO makes Apple Mail ask again and again. RFC 5530 3
            return Ok("FETCH completed, some messages are gone", code)
        return No("some messages are gone", code)

    def _chunks(self, uids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Some messages at a time; fewer if they will be marked \\Seen before they are sent and are large."""
        if not self.sees:
            most = CHUNK if self.only_columns else RENDERED_CHUNK
            # Chunks end where those of others do, whatever the first message is: then they are worth keeping.
            start, end = 0, most - (self.view.seq(uids[0]) - 1) % most if uids else 0
            while start < len(uids):
                yield uids[start:end]
                start, end = end, end + most
            return
        chunk: list[int] = []
        octets = 0
        for uid in uids:
            row = self.mailbox.last_row(uid)
            chunk.append(uid)
            octets += max(row.size if row else 0, 0)
            if len(chunk) == SEEN_CHUNK or octets >= CHUNK_OCTETS:
                yield chunk
                chunk, octets = [], 0
        if chunk:
            yield chunk

    def _repeat(self, chunk: Sequence[int]) -> bool:
        """Answer as before, if everything is as it was then."""
        octets = self.repeats.find(chunk) if self.repeats is not None else None
        if octets is None:
            return False
        if FLAGS in self.items and self.mailbox.modseq > self.view.told:
            rows = known_rows(self.mailbox, chunk)
            self._told(rows.uids, rows.modseqs)
        self.session.out.write(octets)
        return True

    def _answer(self, chunk: Sequence[int]) -> None:
        chunk = self._kept(chunk)
        seen = self._see(chunk) if self.sees else frozenset()
        columns: Columns = {}
        if self.kinds:
            facts = (self.needs_size, self.needs_date)
            columns = ready(self.session, self.mailbox, chunk, self.kinds, self.trouble.append, facts)
        if self.needs_size or self.needs_date:  # behind `ready`: what is opened there need not be opened here
            self.mailbox.fill(chunk, sizes=self.needs_size, dates=self.needs_date)
        # Nobody else runs from here until the columns are made.
        rows = known_rows(self.mailbox, chunk)
        if len(rows.uids) < len(chunk):
            self.trouble.append(StorageError(Reason.EXPUNGED, "some messages are gone"))
            known = set(rows.uids)
            columns = {kind: list(compress(column, map(known.__contains__, chunk))) for kind, column in columns.items()}
        if self.backwards:
            rows, columns = turned(rows), {kind: column[::-1] for kind, column in columns.items()}
        if self.joins and not seen and self._is_known(rows) and _is_short(columns):
            self._join(rows, columns)
        else:
            self._one_by_one(rows, columns, seen)

    def _kept(self, chunk: Sequence[int]) -> Sequence[int]:
        """What the modifiers leave of the chunk."""
        for test in self.keep:
            rows = known_rows(self.mailbox, chunk)
            chunk = list(compress(rows.uids, test(rows)))
        return chunk

    def _see(self, chunk: Sequence[int]) -> frozenset[int]:
        """Mark the chunk \\Seen; the messages that were not so before. RFC 9051 6.4.5."""
        rows = known_rows(self.mailbox, chunk)
        unseen = [uid for uid, flags in zip(rows.uids, rows.flags, strict=True) if SEEN not in flags]
        if not unseen:
            return frozenset()
        try:
            return frozenset(self.mailbox.store(unseen, _ADD_SEEN).changed)
        except StorageError as error:
            if error.reason not in _NO_MATTER:
                raise
            return frozenset()

    def _numbers(self, rows: Rows) -> Sequence[int]:
        if self.session.uid_only:
            return rows.uids
        return numbers_of(self.view, rows.uids[::-1])[::-1] if self.backwards else numbers_of(self.view, rows.uids)

    def _is_known(self, rows: Rows) -> bool:
        return not (self.needs_size and -1 in rows.sizes) and not (self.needs_date and -1 in rows.dates)

    def _join(self, rows: Rows, rendered: Columns) -> None:
        """The whole chunk from its columns."""
        columns = [self._values(item, rows, rendered) for item in self.items]
        template = b" ".join(_template(item) for item in self.items) + b")\r\n"
        octets = _formatted(self.session.fetch_opening, template, self._numbers(rows), columns)
        if self.repeats is not None:
            self.repeats.keep(rows.uids, octets)
        if FLAGS in self.items:
            self._told(rows.uids, rows.modseqs)
        self.session.out.write(octets)

    def _values(self, item: Item, rows: Rows, rendered: Columns) -> Iterable[Any]:
        """What `_template` of the item is formatted with, for each row."""
        match item:
            case RowItem():
                return item.column(self.session, rows)
            case RenderedItem(_, kind):
                return rendered[kind]
        subset = self.subsets[item].of
        return [literal_or_empty(subset(record or b"")) for record in rendered[CacheKind.HEADERS]]

    def _one_by_one(self, rows: Rows, rendered: Columns, seen: frozenset[int]) -> None:
        columns = {item: self._column(item, rows) for item in self.items if isinstance(item, RowItem)}
        numbers = self._numbers(rows)
        for place, uid in enumerate(rows.uids):
            values = {item: column[place] for item, column in columns.items()}
            digest = {kind: data for kind, column in rendered.items() if (data := column[place]) is not None}
            message = Message(self.session, self.mailbox, uid, digest, self.trouble.append)
            answer = Answer(self.session, numbers[place])
            try:
                for item in self.items:
                    self._item(answer, message, item, values)
                if uid in seen and FLAGS not in self.items:
                    self._add_flags(answer, uid)
                elif uid in seen and tells_modseq(self.session):
                    self._add(answer, (UID, MODSEQ), one_row(rows, place))
                elif FLAGS in self.items:
                    self._told(rows.uids[place : place + 1], rows.modseqs[place : place + 1])
                answer.end()
            finally:
                message.close()
                if answer.is_torn:  # no tagged line can be understood behind half a response
                    self.session.logging_out = True
            self.session.breathe()

    def _column(self, item: RowItem, rows: Rows) -> list[bytes | None]:
        """The item for each row; None where it is not known and never will be."""
        sizes = rows.sizes if item.needs_size else ()
        dates = rows.dates if item.needs_date else ()
        values: list[bytes | None] = [item.template % (value,) for value in item.column(self.session, rows)]
        for unknown in (sizes, dates):
            for place, value in enumerate(unknown):
                if value < 0:
                    values[place] = None
        return values

    def _item(self, answer: Answer, message: Message, item: Item, values: dict[RowItem, bytes | None]) -> None:
        match item:
            case RowItem():
                value = values[item]
                if value is None:
                    message.trouble(StorageError(Reason.EXPUNGED, "some messages are gone"))
                else:
                    answer.add(value)
            case RenderedItem(name, kind):
                rendered = message.digest.get(kind)
                if rendered is not None:  # else it is gone, and `ready` has said so
                    answer.add(name + b" " + rendered)
            case BodyItem(name, section, partial):
                add_section(answer, message, name, section, partial)
            case BinaryItem():
                add_binary(answer, message, item)
            case BinarySizeItem():
                add_binary_size(answer, message, item)

    def _add_flags(self, answer: Answer, uid: int) -> None:
        """RFC 9051 6.4.5: flags that this FETCH has changed are told with it; RFC 7162 3.2.4: with UID and MODSEQ."""
        rows = known_rows(self.mailbox, [uid])
        if rows.uids:
            self._add(answer, (UID, FLAGS, MODSEQ) if tells_modseq(self.session) else (FLAGS,), rows)

    def _add(self, answer: Answer, items: Sequence[RowItem], rows: Rows) -> None:
        """Items of the one message in `rows` that were not asked for; with them the client has its flags."""
        for item in items:
            if item not in self.items and not (item is UID and self.session.uid_only):
                answer.add(item.template % tuple(item.column(self.session, rows)))
        self.view.mark(rows.uids, rows.modseqs[0])

    def _told(self, uids: Sequence[int], modseqs: Sequence[int]) -> None:
        """The client has the flags of these messages: news need not repeat them.

        Unless it wants mod-sequences with every change (RFC 7162 3.1) and has not asked for them here.
        """
        if self.mailbox.modseq <= self.view.told:
            return
        if tells_modseq(self.session) and MODSEQ not in self.items:
            return
        for uid, modseq in zip(uids, modseqs, strict=True):
            if modseq > self.view.told:
                self.view.mark((uid,), modseq)


def _kinds(item: Item) -> frozenset[CacheKind]:
    """What must be ready before the item can be answered."""
    match item:
        case RenderedItem(_, kind):
            return frozenset({kind})
        case BodyItem(_, section) | BinaryItem(_, section) | BinarySizeItem(_, section):
            return wanted_kinds(section)
    return frozenset()


def _is_short(columns: Columns) -> bool:
    """Whether everything is there and was kept, and little enough to be answered in one piece."""
    octets = 0
    for column in columns.values():
        for data in column:
            if data is None or data == TOO_LONG:
                return False
            octets += len(data)
    return octets <= JOINED


def _formatted(opening: bytes, template: bytes, numbers: Sequence[int], columns: Sequence[Iterable[Any]]) -> bytes:
    """`opening` with each of `numbers`, and `template` behind it with each row of `columns`: all at once, since a call
    costs as much as a number."""
    count = len(numbers)
    if count == CHUNK and numbers in _NUMBERED and len(template) <= _NUMBERED_LENGTH:
        text = _numbered(opening, template, numbers[0])
    else:
        text = (opening + template) * count
        columns = (numbers, *columns)
    width = len(columns)
    values: list[Any] = [None] * (width * count)
    for place, column in enumerate(columns):
        values[place::width] = column
    return text % tuple(values)


@lru_cache(2 * len(_NUMBERED))
def _numbered(opening: bytes, template: bytes, first: int) -> bytes:
    """What `_formatted` formats, with the numbers in it: a chunk of any mailbox has the same."""
    return (opening + template.replace(b"%", b"%%")) * CHUNK % tuple(range(first, first + CHUNK))


def _template(item: Item) -> bytes:
    match item:
        case RowItem(template):
            return template
        case RenderedItem(name) | BodyItem(name):
            return name.replace(b"%", b"%%") + b" %b"
    return b""


def _flags_column(session: Session, rows: Rows) -> Iterable[bytes]:
    """Each distinct set of flags is rendered once a chunk; \\Recent is the session's, RFC 3501 2.3.2."""
    known = set(rows.flags)
    rendered: dict[Flags, bytes] = {flags: flag_list(flags) for flags in known}
    recent = session.view.recent if session.view is not None else Recent()
    are_recent = recent.of(rows.uids)
    if are_recent is False:
        return map(rendered.__getitem__, rows.flags)
    with_recent: dict[Flags, bytes] = {flags: flag_list(flags | {RECENT}) for flags in known}
    if are_recent:  # nobody has opened the mailbox before
        return map(with_recent.__getitem__, rows.flags)
    return [
        with_recent[flags] if uid in recent else rendered[flags]
        for uid, flags in zip(rows.uids, rows.flags, strict=True)
    ]


def _dates_column(session: Session, rows: Rows) -> Iterable[bytes]:
    return session.internal_dates.format(rows.dates)


UID = RowItem(b"UID %d", lambda session, rows: rows.uids, depends=())
FLAGS = RowItem(b"FLAGS %b", _flags_column, depends=("flags",))
SIZE = RowItem(b"RFC822.SIZE %d", lambda session, rows: rows.sizes, needs_size=True, depends=("sizes",))
INTERNALDATE = RowItem(b"INTERNALDATE %b", _dates_column, needs_date=True, depends=("dates",))

MACROS: dict[bytes, tuple[str, ...]] = {
    b"ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    b"FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    b"FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}

# RFC 3501 6.4.5: RFC822 is BODY[], RFC822.HEADER is BODY.PEEK[HEADER], RFC822.TEXT is BODY[TEXT], by other names.
_ATTS: tuple[FetchAtt, ...] = (
    *map(named, (UID, FLAGS, SIZE, INTERNALDATE)),
    named(RenderedItem(b"ENVELOPE", CacheKind.ENVELOPE)),
    named(RenderedItem(b"BODYSTRUCTURE", CacheKind.BODYSTRUCTURE)),
    named(BodyItem(b"RFC822", Section())),
    named(BodyItem(b"RFC822.HEADER", Section(text=SectionText.HEADER), peek=True)),
    named(BodyItem(b"RFC822.TEXT", Section(text=SectionText.TEXT))),
    FetchAtt("BODY", parse_body),
    FetchAtt("BODY.PEEK", parse_body_peek),
    FetchAtt("BINARY", parse_binary),
    FetchAtt("BINARY.PEEK", parse_binary_peek),
    FetchAtt("BINARY.SIZE", parse_binary_size),
)

FETCH = Command("FETCH", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_fetch, run=run_fetch)

FEATURE: Feature = Feature("fetch", commands=(FETCH,), fetch_atts={att.name: att for att in _ATTS})
