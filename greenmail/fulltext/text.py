"""What is indexed of a message: everything that SEARCH BODY and TEXT look at, widened (`message.collation`), and more.

    text = header NUL body NUL shown

`header` has the lines of the message's own header, `body` the headers and texts within it, each as
`message.search.look` looks at them, one behind the other with a line end between: what is not found here is not found
there, by whichever comparator. `shown` is for fuzzy search alone: what a browser shows of HTML, and the names of
attached files.

SQLite wants UTF-8 without NUL. `storable` makes it so, character by character, of texts and of what is looked for.
"""

import re
import zlib
from collections.abc import Iterable, Iterator

from greenmail.message.collation import widened
from greenmail.message.decode import param_text
from greenmail.message.preview import without_markup
from greenmail.message.search import Read, header_lines, leaf_text, text_leaves, walk
from greenmail.message.structure import Part, scan

LONGEST = 4 << 20  # characters; a message that has more is not indexed: whoever searches opens it
DIVIDER = "\0"
_SHOWN = 65536  # characters of an HTML part of which the text is looked for
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` of the same length without NUL and surrogates."""
    return _NOT_STORABLE.sub("?", text)


def text_of(data: bytes) -> str | None:
    """What is indexed of a message; None if that is too much. Total on any octets."""
    root = scan(data)
    room = LONGEST
    sections = []
    for pieces in (header_of(data, root), body_of(data, root), _shown(data, root)):
        section: list[str] = []
        for piece in pieces:
            room -= len(piece)
            if room < 0:
                return None
            section.append(piece)
        sections.append(storable("".join(section)))
    return DIVIDER.join(sections)


def header_of(data: bytes, root: Part) -> Iterator[str]:
    """The lines of the message's own header."""
    return _lines(data[slice(*root.header)])


def body_of(data: bytes, root: Part) -> Iterator[str]:
    """The headers within the body, and the texts in it."""
    read = _reader(data)
    texts = {id(part) for part in text_leaves(root)}
    for part in walk(root):
        if part is not root:
            yield from _lines(data[slice(*part.header)])
        if id(part) in texts:
            yield from map(widened, leaf_text(read, part))
            yield "\n"


def _shown(data: bytes, root: Part) -> Iterator[str]:
    """Text of HTML without its markup, and the names of files."""
    read = _reader(data)
    for part in walk(root):
        for params, name in ((part.disposition_params, b"filename"), (part.params, b"name")):
            found = param_text(params, name)
            if found:
                yield widened(found) + "\n"
        if part.type.lower() == b"text" and part.subtype.lower() == b"html":
            yield widened(without_markup(_beginning(leaf_text(read, part)))) + "\n"


def _beginning(blocks: Iterable[str]) -> str:
    found = ""
    for block in blocks:
        found += block
        if len(found) >= _SHOWN:
            break
    return found[:_SHOWN]


def _lines(header: bytes) -> Iterator[str]:
    for line in header_lines(header):
        yield widened(line)
        yield "\n"


def _reader(data: bytes) -> Read:
    return lambda start, end: data[start:end]


def packed(text: str) -> bytes:
    """As it is kept."""
    return zlib.compress(text.encode("utf-8"), 3)


def unpacked(octets: bytes) -> tuple[str, str, str]:
    """Header, body and shown. Raises ValueError or zlib.error for what `packed` never made."""
    header, body, shown = _inflated(octets).split(DIVIDER)
    return header, body, shown


def plain(text: str) -> str:
    """As FTS5 gets it, which reads up to a NUL."""
    return text.replace(DIVIDER, "\n")


def whole(octets: bytes) -> str:
    """What was `packed`."""
    return _inflated(octets)


def _inflated(octets: bytes) -> str:
    worker = zlib.decompressobj()
    data = worker.decompress(octets, 4 * (LONGEST + 2))
    if not worker.eof:
        raise ValueError("too long, or cut short")
    return data.decode("utf-8")
