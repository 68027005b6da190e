"""BINARY[part], BINARY.PEEK[part] and BINARY.SIZE[part]: RFC 9051 6.4.5 and 7.5.2, RFC 3516 4.2 and 4.3.

Content is decoded block by block. The length of what will be sent must be known first, and whether there is a NUL in
it: so a long part is decoded twice, the first time in the pool.
"""

from collections.abc import Iterable, Iterator

from greenmail.errors import Refused, StorageError
from greenmail.imap.fetch_att import BinaryItem, BinarySizeItem
from greenmail.imap.octets import INLINE, Answer, Message, origin, read_slices
from greenmail.imap.parts import Place
from greenmail.imap.response import CANNOT, UNKNOWN_CTE
from greenmail.imap.section import Partial, Section
from greenmail.message.content import to_crlf
from greenmail.message.decode import transfer_decoder
from greenmail.storage.api import Content

_IDENTITY = b"binary"


def add_binary(answer: Answer, message: Message, item: BinaryItem) -> None:
    """Answer BINARY[part]; leave it out if it cannot be had, NIL if the message has no such part."""
    label = item.name + origin(item.partial)
    try:
        content = message.content()
        if content is None:
            return
        place = _leaf(message, content, item.section)
        if place is None:
            answer.add(label + b" NIL")
        elif place.body_end - place.body_start <= INLINE:
            _add(answer, label, b"".join(window(decoded(content, place), item.partial)))
        else:
            size, has_nul = _measured(message, content, place, item.partial)
            blocks = window(decoded(content, place), item.partial)
            answer.add(_head(label, size, has_nul))
            answer.stream(blocks)
    except (Refused, StorageError) as error:
        message.trouble(error)


def add_binary_size(answer: Answer, message: Message, item: BinarySizeItem) -> None:
    """Answer BINARY.SIZE[part]: the length that BINARY[part] has; 0 if the message has no such part."""
    try:
        content = message.content()
        if content is None:
            return
        place = _leaf(message, content, item.section)
        size = 0 if place is None else _measured(message, content, place, None)[0]
        answer.add(item.name + b" %d" % size)
    except (Refused, StorageError) as error:
        message.trouble(error)


def binary_octets(message: Message, section: Section, partial: Partial | None) -> tuple[int, bool, Iterator[bytes]]:
    """How many octets BINARY[part]<partial> has, whether a NUL is among them, and they, in blocks.

    Raises Refused for what cannot be decoded, and for no such part; StorageError, as `message.trouble` has to.
    """
    content = message.content()
    assert content is not None, "trouble was not raised"
    place = _leaf(message, content, section)
    if place is None:
        raise Refused("there is no such part", CANNOT)
    size, has_nul = _measured(message, content, place, partial)
    return size, has_nul, window(decoded(content, place), partial)


def decoded(content: Content, place: Place) -> Iterator[bytes]:
    """The part's octets without transfer encoding, in blocks; lines of text end in CRLF, RFC 9051 7.5.2."""
    decoder = transfer_decoder(place.encoding)
    assert decoder is not None  # `_leaf` has made sure
    blocks = decoder(read_slices(content, place.body_start, place.body_end))
    return _with_crlf(blocks) if place.is_text else blocks


def window(blocks: Iterable[bytes], partial: Partial | None) -> Iterator[bytes]:
    """Those octets of `blocks` that `partial` asks for."""
    if partial is None:
        yield from blocks
        return
    skip, left = partial.origin, partial.length
    for block in blocks:
        piece = block[skip : skip + left]
        skip = max(skip - len(block), 0)
        left -= len(piece)
        if piece:
            yield piece
        if not left:
            return


def measure(content: Content, place: Place, partial: Partial | None) -> tuple[int, bool] | StorageError:
    """Runs in the pool: how many octets `window(decoded(...))` gives, and whether a NUL is among them."""
    size, has_nul = 0, False
    try:
        for block in window(decoded(content, place), partial):
            size += len(block)
            has_nul = has_nul or b"\0" in block
    except StorageError as error:
        return error
    return size, has_nul


def _measured(message: Message, content: Content, place: Place, partial: Partial | None) -> tuple[int, bool]:
    found = message.session.blocking(measure, content, place, partial)
    if isinstance(found, StorageError):
        raise found
    size, has_nul = found
    return size, has_nul


def _leaf(message: Message, content: Content, section: Section) -> Place | None:
    """The part to be decoded, or None if there is none. Raises Refused if it cannot be decoded.

    BINARY[] is the message itself, which has no transfer encoding of its own.
    """
    place = message.place(content, section.part)
    if place is None:
        return None
    if not section.part:
        return Place(b"l", 0, 0, 0, place.body_end, 0, _IDENTITY)
    if not place.is_leaf:
        raise Refused("BINARY is for parts that have no parts themselves", CANNOT)
    if transfer_decoder(place.encoding) is None:
        raise Refused("the part has a Content-Transfer-Encoding that is not known here", UNKNOWN_CTE)
    return place


def _with_crlf(blocks: Iterable[bytes]) -> Iterator[bytes]:
    after_cr = False
    for block in blocks:
        if block:
            yield to_crlf(block, after_cr)
            after_cr = block.endswith(b"\r")


def _head(label: bytes, size: int, has_nul: bool) -> bytes:
    """literal8 only if there is a NUL: so the client knows without looking. RFC 9051 7.5.2."""
    if not size:
        return label + b' ""'
    return label + (b" ~{%d}\r\n" if has_nul else b" {%d}\r\n") % size


def _add(answer: Answer, label: bytes, octets: bytes) -> None:
    answer.add(_head(label, len(octets), b"\0" in octets) + octets)
