"""Where the parts of a message are: what CacheKind.PARTS holds, so that a slice of a part costs no scan.

One line a part, in the order of the message, with a line end before each so that `bytes.find` finds one:

    PATH KIND HEADER-START HEADER-END BODY-START BODY-END TEXT-START ENCODING

PATH is the part number, "0" for the message itself. KIND is `p` for a multipart, `m` for a message/rfc822 or
message/global, `t` for text and `l` for other leaves. TEXT-START is where the body of an encapsulated message begins;
for everything else it is BODY-START. ENCODING is the Content-Transfer-Encoding in lower case, `?` if it is no token.
Offsets count octets with CRLF line ends. Part numbers are those of RFC 9051 6.4.5.1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from greenmail.message.structure import Part

_TOKEN = re.compile(rb"[!-~]+")

_ENCODED_TEXT = re.compile(rb"\n\S+ t \d+ \d+ (\d+) (\d+) \d+ (base64|quoted-printable)(?=\n|\Z)")

_NO_TEXT = re.compile(rb"\n\S+ l (\d+) (\d+) \d+ (\d+) ")

_USUAL_ENCODINGS = frozenset((b"7bit", b"8bit", b"base64", b"quoted-printable", b"binary"))

ROOT = b"0"


@dataclass(frozen=True, slots=True)
class Place:
    """One line: spans of octets in the message."""

    kind: bytes
    header_start: int
    header_end: int
    body_start: int
    body_end: int
    text_start: int
    encoding: bytes

    @property
    def is_leaf(self) -> bool:
        return self.kind in (b"t", b"l")

    @property
    def is_message(self) -> bool:
        return self.kind == b"m"

    @property
    def is_text(self) -> bool:
        return self.kind == b"t"


def format_parts(root: Part) -> bytes:
    """All lines for the tree of a whole message."""
    lines = [_line(ROOT, root, b"m", root.body[0])]
    if root.children or root.message is not None:
        lines += [_line(path, part, _kind(part), _text_start(part)) for path, part in numbered(root)]
    else:  # as most messages
        lines.append(_line(b"1", root, _kind(root), root.body[0]))
    return b"".join(lines)


def numbered(root: Part) -> Iterator[tuple[bytes, Part]]:
    """Each part of a message with its number, in the order of the message; RFC 9051 6.4.5.1."""
    yield from _of_message(root, b"")


def find_part(parts: bytes, path: tuple[int, ...]) -> Place | None:
    """The part of that number; the message itself for (). None if there is no such part."""
    name = b".".join(b"%d" % number for number in path) or ROOT
    start = parts.find(b"\n" + name + b" ")
    if start < 0:
        return None
    end = parts.find(b"\n", start + 1)
    words = parts[start + 1 : end if end >= 0 else None].split(b" ")
    numbers = [int(word) for word in words[2:7]]
    return Place(words[1], numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], words[7])


def encoded_texts(data: bytes, parts: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Body and encoding of each text part of the message `data` that must be decoded before it can be read."""
    for start, end, encoding in _ENCODED_TEXT.findall(parts):
        yield data[int(start) : int(end)], encoding


def without_data(data: bytes, parts: bytes, start: int) -> bytes | None:
    """The message from octet `start` on without the bodies of leaves that are not text.

    None if one of them may be a message/* without a message in it, such as message/delivery-status: that is text.
    """
    pieces: list[bytes] = []
    for first, behind, end in _NO_TEXT.findall(parts):
        if b"message" in data[int(first) : int(behind)].lower():
            return None
        pieces.append(data[start : max(start, int(behind))])  # the header may be longer now than when it was scanned
        start = max(start, int(end))
    pieces.append(data[start:])
    return b"".join(pieces)


def _of_message(message: Part, prefix: bytes) -> Iterator[tuple[bytes, Part]]:
    """A multipart's parts take the message's number; anything else is part 1 of it."""
    if message.is_multipart:
        yield from _children(message, prefix)
    else:
        yield from _with_inner(message, prefix + b"1")


def _children(part: Part, prefix: bytes) -> Iterator[tuple[bytes, Part]]:
    for number, child in enumerate(part.children, 1):
        yield from _with_inner(child, b"%b%d" % (prefix, number))


def _with_inner(part: Part, path: bytes) -> Iterator[tuple[bytes, Part]]:
    yield path, part
    if part.is_multipart:
        yield from _children(part, path + b".")
    elif part.message is not None:
        yield from _of_message(part.message, path + b".")


def _kind(part: Part) -> bytes:
    if part.is_multipart:
        return b"p"
    if part.message is not None:
        return b"m"
    return b"t" if part.is_text else b"l"


def _text_start(part: Part) -> int:
    return part.message.body[0] if part.message is not None else part.body[0]


def _line(path: bytes, part: Part, kind: bytes, text_start: int) -> bytes:
    encoding = part.encoding
    if encoding not in _USUAL_ENCODINGS:
        encoding = encoding.strip().lower()
        encoding = encoding if _TOKEN.fullmatch(encoding) else b"?"
    return b"\n%b %b %d %d %d %d %d %b" % (
        path,
        kind,
        part.header[0],
        part.header[1],
        part.body[0],
        part.body[1],
        text_start,
        encoding,
    )
