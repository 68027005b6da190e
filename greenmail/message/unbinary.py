"""A message with binary parts as one that can be kept as lines of text: those parts become base64. RFC 3516 4.4.

In a Maildir, line ends are LF and no message has a NUL; what is read back has CRLF everywhere. So a part whose octets
are not such text, or which says that they are none (RFC 2045 2.9), is encoded; every other octet stays as it is.
"""

import base64
import re

from greenmail.message.search import walk
from greenmail.message.structure import Part, scan

_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE | re.MULTILINE
)
LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")  # what does not survive as text
_BASE64 = b"Content-Transfer-Encoding: base64\r\n"
_BLOCK = 57 * 1024  # octets encoded at once; 57 make a line of 76, RFC 2045 6.8

Edit = tuple[int, int, bytes]  # first octet, first octet behind, what comes in their place


class Unfit(Exception):
    """What is binary is no part that could be encoded."""


def as_text(data: bytes) -> bytes:
    """`data` with its binary parts encoded; the same octets if it has none. Raises Unfit."""
    edits: list[Edit] = []
    for part in walk(scan(data)):
        if part.children or part.message is not None:
            continue
        encoding = part.encoding.strip().lower()
        start, end = part.body
        if encoding != b"binary" and not LONE.search(data, start, end):
            continue
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise Unfit
        edits += [_new_header(data, part), (start, end, _encoded(data[start:end]))]
    made = _edited(data, edits)
    if b"\0" in made:
        raise Unfit
    return made


def _new_header(data: bytes, part: Part) -> Edit:
    """The edit that says base64 in the header of a part."""
    start, end = part.header
    found = _ENCODING.search(data, start, end)
    if found is not None:
        return found.start(), found.end(), _BASE64
    return start, start, _BASE64


def _encoded(body: bytes) -> bytes:
    blocks = range(0, len(body), _BLOCK)
    return b"".join([base64.encodebytes(body[place : place + _BLOCK]).replace(b"\n", b"\r\n") for place in blocks])


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    pieces, place = [], 0
    for start, end, new in sorted(edits):
        pieces += [data[place:start], new]
        place = end
    return b"".join((*pieces, data[place:]))
