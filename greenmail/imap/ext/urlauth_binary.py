"""URLAUTH=BINARY, RFC 5524: URLFETCH tells what a part is, and gives it without its transfer encoding.

    url-fetch-arg   = url-full / "(" url-full *(SP url-fetch-param) ")"
    url-fetch-param = "BODY" / "BINARY" / "BODYPARTSTRUCTURE"
    urlfetch-data   = "*" SP "URLFETCH" SP url-full SP (nstring / url-metadata)
    url-metadata    = 1*(SP "(" url-metadata-el ")")

BINARY is NIL for what has no octets of its own without an encoding: a part that has parts, TEXT of a message, a part
whose encoding is not known. BODYPARTSTRUCTURE is BODYSTRUCTURE of the part, and of the message for one without a
section; what is no part (HEADER, TEXT, MIME) has none, and the item is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from greenmail.errors import BadSyntax, Disconnected, Refused, StorageError
from greenmail.imap import grammar, render, serialize
from greenmail.imap.binary import binary_octets, decoded
from greenmail.imap.command import Capability, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.imap_url import ImapUrl
from greenmail.imap.octets import Message, section_octets
from greenmail.imap.parts import ROOT, find_part, format_parts, numbered
from greenmail.imap.section import Section, SectionText
from greenmail.imap.session import Session
from greenmail.message.decode import transfer_decoder
from greenmail.message.structure import Part, scan
from greenmail.storage.api import Content

BODY, BINARY, STRUCTURE = "BODY", "BINARY", "BODYPARTSTRUCTURE"

_AS_IT_IS = frozenset({SectionText.HEADER, SectionText.MIME, SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT})
_ENCODED = frozenset({b"base64", b"quoted-printable"})


@dataclass(frozen=True, slots=True)
class UrlFetch:
    """One argument of URLFETCH; no items: the plain form of RFC 4467."""

    url: bytes
    items: tuple[str, ...] = ()


def parse_urlfetch(cur: Cursor, uid: bool) -> tuple[UrlFetch, ...]:
    """urlfetch = "URLFETCH" 1*(SP url-fetch-arg) — RFC 5524 5."""
    found: list[UrlFetch] = []
    while not found or not cur.at_end():
        cur.space()
        found.append(_url_fetch_ext(cur) if cur.peek() == b"(" else UrlFetch(grammar.astring(cur)))
    return tuple(found)


def _url_fetch_ext(cur: Cursor) -> UrlFetch:
    """url-fetch-ext = "(" url-full *(SP url-fetch-param) ")" — RFC 5524 5. Each once: RFC 5524 3.1."""
    cur.open()
    url = grammar.astring(cur)
    items: list[str] = []
    while cur.take(b" "):
        item = grammar.atom(cur).upper()
        if item not in (BODY, BINARY, STRUCTURE) or item in items:
            raise cur.wrong("unknown or repeated parameter of a URL")
        items.append(item)
    if BODY in items and BINARY in items:
        raise BadSyntax("BODY and BINARY of one URL cannot be asked for together")
    cur.close()
    return UrlFetch(url, tuple(items))


def answer(session: Session, request: UrlFetch, found: tuple[Message, ImapUrl] | None) -> None:
    """The untagged response for one URL. Raises StorageError before anything of it was written, Disconnected behind."""
    head = b"* URLFETCH " + serialize.string(request.url)
    if found is None:
        session.out.write(head + b" NIL\r\n")
        return
    message, url = found
    items = _items(session, request, message, url)
    session.out.write(head + (b"" if items else b" NIL"))
    try:
        for opening, slices, end in items:
            session.out.write(opening)
            for piece in slices:
                session.out.write(piece)
                session.breathe()
            session.out.write(end)
    except StorageError as error:
        raise Disconnected(f"a message could not be read while it was sent: {error.text}") from error
    session.out.write(b"\r\n")


_Item = tuple[bytes, Iterator[bytes], bytes]  # what stands before the octets, they, what stands behind


def _items(session: Session, request: UrlFetch, message: Message, url: ImapUrl) -> list[_Item]:
    """What is answered; nothing if the message has no such part, which was found out before anything is written."""
    body = section_octets(message, url.section, url.partial)
    if body is None:
        return []
    if not request.items:
        opening, slices = _string(message, body[0], False, body[1])
        return [(b" " + opening, slices, b"")]
    items: list[_Item] = []
    if STRUCTURE in request.items:
        structure = _structure(session, message, url.section, BINARY in request.items)
        if structure is not None:
            items.append((b" (BODYPARTSTRUCTURE ", iter([structure]), b")"))
    if BODY in request.items:
        opening, slices = _string(message, body[0], False, body[1])
        items.append((b" (BODY " + opening, slices, b")"))
    if BINARY in request.items:
        opening, slices = _binary(message, url, body)
        items.append((b" (BINARY " + opening, slices, b")"))
    return items


def _string(message: Message, size: int, has_nul: bool, slices: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The announcement of a string with its first slice, and the others. What cannot be read is found out now."""
    if not size:  # RFC 4467 8, URLFETCH: not NIL
        return b'""', iter(())
    first = next(slices)
    content = message.content()
    assert content is not None, "it was opened before"
    content.check()
    return (b"~{%d}\r\n" if has_nul else b"{%d}\r\n") % size + first, slices


def _binary(message: Message, url: ImapUrl, body: tuple[int, Iterator[bytes]]) -> tuple[bytes, Iterator[bytes]]:
    if url.section.text in _AS_IT_IS:
        return _string(message, body[0], False, body[1])
    if url.section.text is not SectionText.CONTENT:
        return b"NIL", iter(())
    try:
        size, has_nul, blocks = binary_octets(message, url.section, url.partial)
    except Refused:
        return b"NIL", iter(())
    return _string(message, size, has_nul, blocks)


def _structure(session: Session, message: Message, section: Section, is_decoded: bool) -> bytes | None:
    if section.text is not SectionText.CONTENT:
        return None
    content = message.content()
    assert content is not None, "it was opened before"
    found = session.blocking(structure_of, content, section.part, is_decoded)
    if isinstance(found, StorageError):
        raise found
    assert found is None or isinstance(found, bytes)
    return found


def structure_of(content: Content, path: tuple[int, ...], is_decoded: bool) -> bytes | StorageError | None:
    """Runs in the pool: BODYSTRUCTURE of a part, as it is or as it is without its encoding. RFC 5524 3.2."""
    try:
        root = scan(content.read())
        name = b".".join(b"%d" % number for number in path) or ROOT
        part = root if not path else next((part for number, part in numbered(root) if number == name), None)
        if part is None:
            return None
        if is_decoded and path and not part.is_multipart and part.message is None:
            part = _without_encoding(content, root, path, part)
        return render.body(part, extended=True)
    except StorageError as error:
        return error


def _without_encoding(content: Content, root: Part, path: tuple[int, ...], part: Part) -> Part:
    place = find_part(format_parts(root), path)
    if place is None or transfer_decoder(place.encoding) is None:
        return part
    size = lines = 0
    for block in decoded(content, place):
        size += len(block)
        lines += block.count(b"\n")
    if place.encoding not in _ENCODED:
        lines = part.lines
    return part._replace(encoding=b"BINARY", octets=size, lines=lines if part.is_text else 0)


def raise_(trouble: StorageError | Refused) -> NoReturn:
    """`Message.trouble` for one who wants to know."""
    raise trouble


def is_offered(session: Session) -> bool:
    """URLAUTH and this: where the server knows what it is called, and whom there is."""
    return bool(session.services.url_hosts) and session.services.others is not None


FEATURE: Feature = Feature("urlauth-binary", capabilities=(Capability("URLAUTH=BINARY", is_offered, settled=True),))
