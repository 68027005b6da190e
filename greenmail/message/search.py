"""Text for SEARCH: decoded and folded, and looked through in blocks. RFC 9051 6.4.4, RFC 5255 4.6.

Strings are compared as a comparator folds them (`collation`), most often i;unicode-casemap: "u" finds "Ü". Only text is
looked at: text/* and message/* parts in their charset, header fields with their encoded words decoded. Pictures and
other data are not.

A text of which no charset is known, or whose octets are none of it, is converted as far as it can be (`decode`) and
compared like all others. RFC 5255 4.6 (c) would compare its octets, and "invoice" would not be in what says "Invoice".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from greenmail.message.collation import DEFAULT, Comparator
from greenmail.message.decode import (
    decode_words,
    reads_ascii,
    text_blocks,
    to_text,
    transfer_decode,
    transfer_decoder,
)
from greenmail.message.headers import split
from greenmail.message.structure import Part

BLOCK = 65536  # octets read at once
ENCODED = (b"base64", b"quoted-printable")

Read = Callable[[int, int], bytes]  # `Content.read`

_QUOTED = b"quoted-printable"
_ENCODING = b"content-transfer-encoding"
_UNENCODED = re.compile(rb"content-transfer-encoding:[ \t]*+(?:7bit|8bit|binary|quoted-printable)[ \t]*+\r\n(?![ \t])")
_CHARSET = re.compile(rb"charset(?:\s*=\s*\"?([^\s;\"]*))?")


class Finder:
    """Looks for several strings in blocks of text at once, also where one block ends and the next begins.

    `needles` are folded, by the comparator by which the text is compared.
    """

    __slots__ = ("_comparator", "_keep", "_tail", "found", "needles")

    def __init__(self, needles: Sequence[str], comparator: Comparator = DEFAULT) -> None:
        self._comparator = comparator
        self.needles = tuple(needles)
        self.found = [not needle for needle in self.needles]  # the empty string is in every text
        self._keep = max((len(needle) for needle in self.needles), default=1) - 1
        self._tail = ""

    @property
    def done(self) -> bool:
        return all(self.found)

    def feed(self, text: str) -> None:
        """The next block; not folded yet."""
        text = self._tail + self._comparator.fold(text)
        for place, needle in enumerate(self.needles):
            if not self.found[place] and needle in text:
                self.found[place] = True
        self._tail = text[-self._keep :] if self._keep > 0 else ""

    def end(self) -> None:
        """What comes next does not belong to what came before."""
        self._tail = ""

    def feed_all(self, blocks: Iterable[str]) -> None:
        """Blocks of one text, until everything is found."""
        for block in blocks:
            self.feed(block)
            if self.done:
                break
        self.end()


def header_lines(header: bytes) -> Iterator[str]:
    """Each field as one decoded line."""
    for field in split(header):
        if field.name:
            yield f"{to_text(field.name)}: {decode_words(field.value)}"
        else:
            yield to_text(field.value)


def leaf_text(read: Read, part: Part) -> Iterator[str]:
    """The text of one part without children, decoded in blocks."""
    octets = _blocks(read, *part.body)
    decoder = transfer_decoder(part.encoding)
    if decoder is not None:
        octets = decoder(octets)
    return text_blocks(octets, part.param(b"charset") or b"")


def _blocks(read: Read, start: int, end: int) -> Iterator[bytes]:
    """Octets start..end, each block read when it is asked for."""
    for place in range(start, end, BLOCK):
        yield read(place, min(place + BLOCK, end))


def text_leaves(root: Part) -> Iterator[Part]:
    """The parts that hold text, in order: text/* and message/* without a message in them."""
    for part in walk(root):
        if _holds_text(part):
            yield part


def walk(root: Part) -> Iterator[Part]:
    """Every part in the order of the message; of a message in a message, both."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        if part.message is not None:
            waiting.append(part.message)
        waiting.extend(reversed(part.children))


def look(
    read: Read, root: Part, needles: Sequence[str], with_header: bool, comparator: Comparator = DEFAULT
) -> list[bool]:
    """For each needle (folded), whether it is in the message: BODY, or (`with_header`) TEXT. RFC 9051 6.4.4.

    The body's own headers (of parts and of messages within) belong to the body.
    """
    finder = Finder(needles, comparator)
    for part in walk(root):
        if finder.done:
            break
        if part is not root or with_header:
            for line in header_lines(read(*part.header)):
                finder.feed_all((line,))
        if _holds_text(part):
            finder.feed_all(leaf_text(read, part))
    return finder.found


def lacks_as_it_stands(header: bytes, looked: bytes, rest: bytes, needles: Iterable[bytes]) -> bool:
    """As `lacks`, of a message whose parts are not known: `looked` is what of its header is looked at.

    All of `rest`, which follows the header, is taken for text as it stands, and for quoted-printable too if anything
    is. False also where something is encoded otherwise.
    """
    low = rest.lower()
    top = header.lower()
    if not _is_unencoded(top) or not _is_unencoded(low):
        return False
    is_quoted = _QUOTED in top or _QUOTED in low
    return lacks(header, looked + rest, ((rest, _QUOTED),) if is_quoted else (), needles)


def lacks(header: bytes, text: bytes, encoded: Iterable[tuple[bytes, bytes]], needles: Iterable[bytes]) -> bool:
    """True if none of `needles` can be in the text of a message, found out without reading it as text.

    `text` is what is looked at of the message, at least all headers of parts and texts; `encoded` are bodies of text
    parts and their transfer encodings, where that is one of ENCODED. `header` is asked for a charset, whether it is
    looked at or not. A needle is US-ASCII in lower case, without colons and line ends: then it is found in header
    fields and text of US-ASCII there where it is found in the octets, but for folded lines. False says nothing.
    """
    low = text.lower()
    if not low.isascii() or b"\x1b" in low or (b"?" in low and b"=?" in low):  # one octet is found much faster
        return False
    unfolded = low.replace(b"\r\n", b"") if any(b" " in needle or b"\t" in needle for needle in needles) else b""
    if any(needle in low or needle in unfolded for needle in needles):
        return False
    if not _charsets_read_ascii(header.lower()) or not _charsets_read_ascii(low):
        return False
    for body, encoding in encoded:
        octets = transfer_decode(body, encoding) or b""
        if not octets.isascii() or b"\x1b" in octets:
            return False
        octets = octets.lower()
        if any(needle in octets for needle in needles):
            return False
    return True


def _is_unencoded(low: bytes) -> bool:
    """Whether there is no encoding but quoted-printable in these octets, which are in lower case; True is certain."""
    at = low.find(_ENCODING)
    while at >= 0:
        match = _UNENCODED.match(low, at)
        if match is None:
            return False
        at = low.find(_ENCODING, match.end())
    return True


def _charsets_read_ascii(low: bytes) -> bool:
    """Whether all charsets that are named in these octets, which are in lower case, read US-ASCII as it stands."""
    at = low.find(b"charset")
    while at >= 0:
        match = _CHARSET.match(low, at)
        if match is None or not match[1] or not reads_ascii(match[1]):
            return False
        at = low.find(b"charset", match.end())
    return True


def _holds_text(part: Part) -> bool:
    return part.message is None and not part.children and part.type.lower() in (b"text", b"message")
