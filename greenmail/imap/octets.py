"""Octets of a message for FETCH: BODY[section]<partial> and rev1's names for it. RFC 9051 6.4.5, 6.4.5.1, 7.5.2.

What is long goes out in slices of 64 KiB, read as they are sent: a message never is in memory as a whole, and a
slice of a part costs that slice. The length stands before the octets, so it must be right: it comes from offsets that a
scan of the message has found (CacheKind.PARTS), or from the octets themselves if they are few.
"""

from collections.abc import Iterator

from greenmail.errors import Disconnected, Reason, StorageError
from greenmail.imap.digest import Digest, Trouble, digests, keep, open_message
from greenmail.imap.header_record import CACHED_FIELDS, TOO_LONG, Subset, ends_with_empty_line
from greenmail.imap.parts import Place, find_part
from greenmail.imap.section import Partial, Section, SectionText
from greenmail.imap.session import Session
from greenmail.message.content import SMALL, header_end
from greenmail.message.headers import select
from greenmail.storage.api import CacheKind, Content, Mailbox

SLICE = 65536
COPIED = 4096  # octets that are put together sooner than written one by one
INLINE = 4 * SLICE  # octets that are read at once without asking the pool
_FIELDS = (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT)
_NO_NUL = bytes.maketrans(b"\0", b"\x80")

Span = tuple[int, int]  # first octet, first octet behind


class Answer:
    """One untagged FETCH response. Nothing is written before it is known that there is something to say."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._pieces = [session.fetch_opening % number]
        self._gathered = 0
        self._empty = True
        self.is_torn = False  # a part of it was sent, and its end was not

    def add(self, item: bytes) -> None:
        """One complete data item."""
        if not self._empty:
            self._pieces.append(b" ")
        self._pieces.append(item)
        self._empty = False
        self._gathered += len(item)
        if self._gathered > SLICE:
            self._write()

    def add_literal(self, head: bytes, octets: bytes) -> None:
        """One complete data item: its name and the length, and `octets`, which are copied no more."""
        if not self._empty:
            self._pieces.append(b" ")
        self._pieces += (head, octets)
        self._empty = False
        self._gathered += len(head) + len(octets)
        if self._gathered > SLICE:
            self._write()

    def stream(self, slices: Iterator[bytes]) -> None:
        """Octets that belong to the item just added; each is sent before the next is asked for.

        The client counts on all of them: an error in the middle can only end the connection.
        """
        self._write()
        try:
            for piece in slices:
                self._session.out.write(piece)
                self._session.breathe()
        except StorageError as error:
            raise Disconnected(f"a message could not be read while it was sent: {error.text}") from error

    def end(self) -> None:
        """Close the response; if there is nothing in it, nothing is sent."""
        if not self._empty:
            self._pieces.append(b")\r\n")
            self._write()
            self.is_torn = False

    def _write(self) -> None:
        """What was gathered; a BODYSTRUCTURE of a megabyte in slices too."""
        pieces, gathered = self._pieces, self._gathered
        self.is_torn = True
        self._pieces = []
        self._gathered = 0
        out = self._session.out
        if gathered <= COPIED:
            out.write(b"".join(pieces))
            return
        for piece in pieces:
            if len(piece) <= INLINE:
                out.write(piece)
                continue
            for start in range(0, len(piece), SLICE):
                out.write(piece[start : start + SLICE])
                self._session.breathe()


class Message:
    """One message that is being answered: opened when its octets are needed, and then once."""

    def __init__(self, session: Session, mailbox: Mailbox, uid: int, digest: Digest, trouble: Trouble) -> None:
        self.session = session
        self.mailbox = mailbox
        self.uid = uid
        self.digest = digest
        self.trouble = trouble
        self._content: Content | None = None
        self._lost = False
        self._octets: bytes | None = None  # all of a short message, once it was read as a whole

    def content(self) -> Content | None:
        """The open message; None if it cannot be had."""
        if self._content is None and not self._lost:
            self._content = open_message(self.mailbox, self.uid, self.trouble)
            self._lost = self._content is None
        return self._content

    def all(self) -> bytes | None:
        """All octets of a short message that was not opened yet, and need not be for them; None: see `content`."""
        if self._octets is None and self._content is None and not self._lost:
            self._octets = self.mailbox.octets(self.uid)
        return self._octets

    def close(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None

    def place(self, content: Content, path: tuple[int, ...]) -> Place | None:
        """The part of that number, None if there is none; the message itself for (). May scan, in the pool."""
        parts = self.known_parts()
        if parts is None:
            made = self.session.blocking(digests, [content], frozenset({CacheKind.PARTS}))[0]
            if isinstance(made, StorageError):
                raise made
            keep(self.mailbox, [(self.uid, made)])
            self.digest = {**self.digest, **made}
            parts = self.digest[CacheKind.PARTS]
        return find_part(parts, path)

    def header(self, content: Content) -> bytes:
        """The header with its empty line; of a large message read in the pool, where the header itself may be large."""
        if content.size <= INLINE:
            return content.header()
        found = self.session.blocking(_read_header, content)
        if isinstance(found, StorageError):
            raise found
        return bytes(found)

    def whole(self, content: Content) -> bytes:
        """All octets of a short message, read once."""
        if self._octets is None:
            self._octets = content.read()
        return self._octets

    @property
    def has_octets(self) -> bool:
        """Everything is in memory already, and cutting it into slices spares nothing."""
        return self._octets is not None

    def slices(self, content: Content, first: int, last: int) -> Iterator[bytes]:
        """Octets first..last, fit for literals: without NUL. Raises UNAVAILABLE if the message became shorter."""
        if self._octets is not None:
            return iter([without_nul(self._octets[first:last])])
        return map(without_nul, read_slices(content, first, last))

    def known_parts(self) -> bytes | None:
        """The parts, if no scan is needed for them."""
        return self.digest.get(CacheKind.PARTS) or self.mailbox.cached(self.uid, CacheKind.PARTS)


def wanted_kinds(section: Section) -> frozenset[CacheKind]:
    """What should be cached of a message before this section of it is answered."""
    if section.part:
        return frozenset({CacheKind.PARTS})
    if from_records(section):
        return frozenset({CacheKind.HEADERS})
    return frozenset()


def add_section(answer: Answer, message: Message, name: bytes, section: Section, partial: Partial | None) -> None:
    """Answer `name`; leave it out if the message cannot be read, NIL if it has no such part."""
    try:
        if section.text in _FIELDS:
            _add_fields(answer, message, name, section, partial)
        else:
            _add_span(answer, message, name, section, partial)
    except StorageError as error:
        message.trouble(error)


def origin(partial: Partial | None) -> bytes:
    """["<" number ">"] behind the section in an answer."""
    return b"" if partial is None else b"<%d>" % partial.origin


def cut(span: Span, partial: Partial | None) -> Span:
    """The octets of `span` that `partial` asks for; an empty span if it begins behind the end."""
    first, last = span
    if partial is None:
        return span
    start = min(first + partial.origin, last)
    return start, min(start + partial.length, last)


def from_records(section: Section) -> bool:
    """HEADER.FIELDS of fields that HEADERS holds."""
    return (
        not section.part
        and section.text is SectionText.HEADER_FIELDS
        and all(name.lower() in CACHED_FIELDS for name in section.fields)
    )


def _add_fields(answer: Answer, message: Message, name: bytes, section: Section, partial: Partial | None) -> None:
    """HEADER.FIELDS and HEADER.FIELDS.NOT. The origin counts in the subset, RFC 9051 6.4.5."""
    record = message.digest.get(CacheKind.HEADERS, TOO_LONG) if from_records(section) else TOO_LONG
    subset: bytes | None
    if record != TOO_LONG:
        subset = Subset(section.fields).of(record)
    else:
        content = message.content()
        if content is None:
            return
        subset = _subset(message, content, section)
        if subset is None:
            answer.add(name + origin(partial) + b" NIL")
            return
    first, last = cut((0, len(subset)), partial)
    add_octets(answer, name + origin(partial), subset[first:last])


def _subset(message: Message, content: Content, section: Section) -> bytes | None:
    """The fields; None if there is no such part with a header."""
    if not section.part:
        return _select(message, message.header(content), section)
    span = _span(message, content, Section(section.part, SectionText.HEADER))
    return None if span is None else _select(message, content.read(*span), section)


def _select(message: Message, header: bytes, section: Section) -> bytes:
    exclude = section.text is SectionText.HEADER_FIELDS_NOT
    if len(header) <= INLINE:
        subset = select(header, section.fields, exclude)
    else:
        subset = bytes(message.session.blocking(select, header, section.fields, exclude))
    # RFC 9051 6.4.5.1: no empty line where the message has none
    return subset if ends_with_empty_line(header) else subset.removesuffix(b"\r\n")


def without_nul(octets: bytes) -> bytes:
    """Octets that a literal may hold, as many of them."""
    return octets.translate(_NO_NUL) if b"\0" in octets else octets


def add_octets(answer: Answer, label: bytes, octets: bytes) -> None:
    """An item whose octets are few. NUL may not be in a literal (RFC 9051 9): it becomes 0x80, as with Dovecot."""
    if octets:
        answer.add_literal(b"%b {%d}\r\n" % (label, len(octets)), without_nul(octets))
    else:
        answer.add(label + b' ""')


def _add_span(answer: Answer, message: Message, name: bytes, section: Section, partial: Partial | None) -> None:
    is_all = section.text is SectionText.CONTENT and not section.part
    if is_all and (octets := message.all()) is not None:
        first, last = cut((0, len(octets)), partial)
        add_octets(answer, name + origin(partial), octets[first:last])
        return
    content = message.content()
    if content is None:
        return
    span = _span(message, content, section)
    if span is None:
        answer.add(name + origin(partial) + b" NIL")
        return
    first, last = cut(span, partial)
    if last - first <= SLICE or message.has_octets:
        label = name + origin(partial) if partial is not None else name
        add_octets(answer, label, b"".join(message.slices(content, first, last)))
        return
    # The first slice is read before anything is promised: an unreadable message is still left out then.
    slices = message.slices(content, first, last)
    begin = next(slices)
    content.check()
    answer.add(name + origin(partial) + b" {%d}\r\n" % (last - first) + begin)
    answer.stream(slices)


def section_octets(message: Message, section: Section, partial: Partial | None) -> tuple[int, Iterator[bytes]] | None:
    """How many octets BODY[section]<partial> has, and they, a slice at a time; None: the message has no such part.

    Raises StorageError, as `message.trouble` has to; also while they are read.
    """
    content = message.content()
    assert content is not None, "trouble was not raised"
    if section.text in _FIELDS:
        subset = _subset(message, content, section)
        if subset is None:
            return None
        first, last = cut((0, len(subset)), partial)
        return last - first, map(without_nul, _slices_of(subset, first, last))
    span = _span(message, content, section)
    if span is None:
        return None
    first, last = cut(span, partial)
    return last - first, map(without_nul, read_slices(content, first, last))


def _slices_of(octets: bytes, first: int, last: int) -> Iterator[bytes]:
    for start in range(first, last, SLICE):
        yield octets[start : min(start + SLICE, last)]


def read_slices(content: Content, first: int, last: int) -> Iterator[bytes]:
    """Octets first..last, a slice at a time. Raises UNAVAILABLE if the message is shorter than it was."""
    for start in range(first, last, SLICE):
        end = min(start + SLICE, last)
        octets = content.read(start, end)
        if len(octets) != end - start:
            raise StorageError(Reason.UNAVAILABLE, "a message on disk became shorter than it was")
        yield octets


def _span(message: Message, content: Content, section: Section) -> Span | None:
    """Where the section is; None if the message has no such part, or the part is not of a kind that has it."""
    if not section.part:
        return _top_span(message, content, section.text)
    place = message.place(content, section.part)
    if place is None:
        return None
    if section.text is SectionText.CONTENT:
        return place.body_start, place.body_end
    if section.text is SectionText.MIME:
        return place.header_start, place.header_end
    if not place.is_message:  # RFC 9051 6.4.5.1: HEADER and TEXT are there for encapsulated messages only
        return None
    if section.text is SectionText.TEXT:
        return place.text_start, place.body_end
    return place.body_start, place.text_start


def _top_span(message: Message, content: Content, text: SectionText) -> Span:
    """BODY[], BODY[HEADER], BODY[TEXT]."""
    if text is SectionText.HEADER and (content.size <= SMALL or message.known_parts() is None):
        return 0, len(message.header(content))
    header, size = _top_sizes(message, content)
    if text is SectionText.HEADER:
        return 0, header
    return (header, size) if text is SectionText.TEXT else (0, size)


def _top_sizes(message: Message, content: Content) -> tuple[int, int]:
    """(octets of the header, octets of the message), counted and not claimed by a file name."""
    if content.size <= SMALL or (content.size <= INLINE and message.known_parts() is None):
        octets = message.whole(content)
        end = header_end(octets)
        return (len(octets) if end < 0 else end), len(octets)
    place = message.place(content, ())
    assert place is not None  # every message is itself
    return place.header_end, place.body_end


def _read_header(content: Content) -> bytes | StorageError:
    """Runs in the pool."""
    try:
        return content.header()
    except StorageError as error:
        return error
