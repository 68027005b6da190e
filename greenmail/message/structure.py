"""The MIME scanner: RFC 2045, 2046, and what BODYSTRUCTURE says of each part, RFC 9051 7.5.2.

One pass over the octets. Open multiparts stand on a stack, each with the place where its delimiter comes next, so
that a delimiter costs one `bytes.find` and nesting costs no recursion. Any octets give a tree:

* a boundary matches at the beginning of a line, the longest one first, then the innermost (RFC 2046 5.1.1, 5.1.2);
* a delimiter of an outer multipart ends the inner ones;
* a multipart without a part (also: without a boundary) has one empty text/plain part, because BODYSTRUCTURE has no
  words for a multipart without parts;
* what is nested deeper than `MAX_DEPTH` is application/octet-stream, and after `MAX_PARTS` parts the rest of the
  message belongs to the last one.

Offsets count octets of the message with CRLF line ends. A delimiter's own CRLF belongs to the delimiter; but a part
whose header has nothing behind it ends its header with that CRLF (`--b CRLF field CRLF CRLF --b`).
"""

import re
from functools import lru_cache
from typing import NamedTuple

from greenmail.message.content import line_feeds
from greenmail.message.envelope import Envelope, envelope
from greenmail.message.headers import Params, collect, finder, token_and_params, tokens
from greenmail.message.turn import turn

MAX_DEPTH = 100  # Dovecot's limit; clients and our own rendering recurse that deep
MAX_PARTS = 10_000  # Dovecot's limit; a BODYSTRUCTURE of a megabyte
WINDOW = 1 << 20  # octets searched at once: the interpreter lets no other thread run meanwhile

Span = tuple[int, int]  # first octet, first octet behind

_FIELDS = finder(
    b"Content-Type",
    b"Content-Transfer-Encoding",
    b"Content-ID",
    b"Content-Description",
    b"Content-MD5",
    b"Content-Disposition",
    b"Content-Language",
    b"Content-Location",
    prefix=b"content-",
)


class Part(NamedTuple):
    """One MIME entity. Text is as the message spells it; compare it without case."""

    type: bytes
    subtype: bytes
    params: Params
    content_id: bytes | None
    description: bytes | None
    encoding: bytes  # Content-Transfer-Encoding, "7bit" if there is none
    octets: int  # of the body
    lines: int  # of the body: counted for text and for messages, otherwise 0
    md5: bytes | None
    disposition: bytes | None
    disposition_params: Params
    languages: tuple[bytes, ...]
    location: bytes | None
    header: Span
    body: Span
    children: tuple["Part", ...] = ()  # of a multipart; never empty there
    envelope: Envelope | None = None  # of a message/rfc822 or message/global
    message: "Part | None" = None  # ... and the message itself

    @property
    def is_multipart(self) -> bool:
        return bool(self.children)

    @property
    def is_text(self) -> bool:
        return self.type.lower() == b"text"

    def param(self, name: bytes) -> bytes | None:
        """The value of a Content-Type parameter (name in lower case), or None."""
        return next((value for key, value in self.params if key.lower() == name), None)


def scan(data: bytes) -> Part:
    """The tree of a whole message. Never raises; linear in the message, bounded in parts and depth."""
    return _Scanner(data).run()


class _Node:
    """A part that is being read."""

    __slots__ = ("children", "fields", "header_end", "inner", "kind", "media", "params", "start")

    def __init__(self, start: int, header_end: int, fields: dict[bytes, list[bytes]]) -> None:
        self.start = start
        self.header_end = header_end
        self.fields = fields
        self.media = _PLAIN
        self.params: Params = ()
        self.kind = b""  # "multipart", "message", or neither: a leaf
        self.children: list[Part] = []
        self.inner: Part | None = None

    def first(self, name: bytes) -> bytes | None:
        values = self.fields.get(name)
        return values[0] or None if values else None

    @property
    def says_its_type_alone(self) -> bool:
        """Nothing but a Content-Type, as most parts."""
        return not self.fields or (len(self.fields) == 1 and b"content-type" in self.fields)


class _Delimiter:
    """Where the boundary of an open multipart comes next."""

    __slots__ = ("at", "needle", "node")

    def __init__(self, needle: bytes, node: _Node) -> None:
        self.needle = needle  # CRLF "--" boundary
        self.node = node
        self.at = -1  # before this scan began: not searched yet; _NEVER: it does not come again


_NEVER = 1 << 62
_NO_PARAMS: Params = ()
_NO_LANGUAGES: tuple[bytes, ...] = ()
_BLOCK = 16384  # for counting lines
_NEAR = 8192  # octets in which a delimiter is looked for as it is
_SHORT_TYPE = 64  # octets of a Content-Type that is remembered: others have a boundary or a name in them
_PLAIN = (b"text", b"plain")
_OCTETS = (b"application", b"octet-stream")
_MESSAGES = (b"rfc822", b"global")  # RFC 9051 9, media-message
_TYPE = re.compile(rb"([^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+)/([^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+)\Z")


def _read_type(text: bytes) -> tuple[tuple[bytes, bytes], Params, bytes]:
    """Type, parameters and `_Node.kind` of a Content-Type."""
    head, params = token_and_params(text)
    match = _TYPE.match(head)
    media = (match[1], match[2]) if match else _PLAIN
    major = media[0].lower()
    if major == b"multipart" or (major == b"message" and media[1].lower() in _MESSAGES):
        return media, params, major
    if major == b"text" and not any(name.lower() == b"charset" for name, _ in params):
        params = (*params, (b"charset", b"us-ascii"))
    return media, params, b""


@lru_cache(maxsize=256)
def _known_type(text: bytes) -> tuple[tuple[bytes, bytes], Params, bytes]:
    """`_read_type`: most mail says the same few."""
    return _read_type(text)


_PLAIN_TYPE = _read_type(b"text/plain")
_MESSAGE_TYPE = _read_type(b"message/rfc822")


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.open: list[_Node] = []
        self.delimiters: list[_Delimiter] = []  # of `open`, outermost first
        self.parts = 0
        self.line_counts: list[int] = []
        self.root: Part | None = None

    def run(self) -> Part:
        data = self.data
        start = 0
        while True:
            turn()
            hit = self._next(start - 2)
            before = len(self.delimiters)
            self._enter(start, hit)
            if len(self.delimiters) != before:
                hit = self._next(self.open[-1].header_end - 2)
            behind = 0
            while hit and (behind := hit.at + len(hit.needle)) and data.startswith(b"--", behind):
                self._close_above(hit)
                self.delimiters.remove(hit)
                hit = self._next(self._line_end(behind) - 2)
            if not hit or self.parts >= MAX_PARTS:
                break
            self._close_above(hit)
            start = self._line_end(behind)
        while self.open:
            self._close(len(data))
        return self.root or self._empty(0)

    def _next(self, place: int) -> _Delimiter | None:
        """The delimiter that comes first at or after `place`: the longest, then the innermost. RFC 2046 5.1.2."""
        place = max(place, 0)
        best: _Delimiter | None = None
        for delimiter in self.delimiters:
            if delimiter.at < place:
                delimiter.at = self._find_delimiter(delimiter.needle, place)
            if delimiter.at == _NEVER:
                continue
            order = (delimiter.at, -len(delimiter.needle))
            if best is None or order <= (best.at, -len(best.needle)):
                best = delimiter
        return best

    def _find_delimiter(self, needle: bytes, place: int) -> int:
        """Where `needle`, which begins with CRLF and a hyphen, comes first at or after `place`.

        Beyond a header and a short body the hyphen is looked for first: twenty times faster, and base64 has none.
        """
        found = self.data.find(needle, place, place + _NEAR)
        if found >= 0:
            return found
        place += max(_NEAR - len(needle) + 1, 0)
        hyphen = self._find(b"-", place + 2, len(self.data))
        return self._find(needle, hyphen - 2, len(self.data)) if hyphen != _NEVER else _NEVER

    def _find(self, needle: bytes, place: int, limit: int) -> int:
        """Where `needle` comes first, at or after `place` and before `limit`."""
        while place <= limit - len(needle):
            found = self.data.find(needle, place, min(place + WINDOW + len(needle) - 1, limit))
            if found >= 0:
                return found
            place += WINDOW
            turn()
        return _NEVER

    def _line_end(self, place: int) -> int:
        """The offset behind the line end at or after `place`."""
        found = self.data.find(b"\r\n", place)
        return len(self.data) if found < 0 else found + 2

    def _enter(self, start: int, hit: _Delimiter | None) -> None:
        """Open the part at `start`, and while it is a message the message in it."""
        end = hit.at if hit else len(self.data)
        limit = end + 2 if hit else end
        digest = bool(self.open) and self.open[-1].media[1].lower() == b"digest"
        while True:
            header_end = self._header_end(start, limit)
            node = _Node(start, header_end, collect(_FIELDS, self.data, start, header_end))
            self._classify(node, digest)
            self.open.append(node)
            self.parts += 1
            if node.kind != b"message":
                break
            start, limit, digest = header_end, max(end, header_end), False
        boundary = _boundary(node) if node.kind == b"multipart" else b""
        if boundary:
            self.delimiters.append(_Delimiter(b"\r\n--" + boundary, node))

    def _header_end(self, start: int, limit: int) -> int:
        if self.data.startswith(b"\r\n", start) and start + 2 <= limit:
            return start + 2
        found = self._find(b"\r\n\r\n", start, limit)
        return max(limit, start) if found == _NEVER else found + 4

    def _classify(self, node: _Node, digest: bool) -> None:
        """Content-Type with the defaults of RFC 2045 5.2 and RFC 2046 5.1.5."""
        text = node.first(b"content-type")
        if text is None:
            node.media, node.params, node.kind = _MESSAGE_TYPE if digest else _PLAIN_TYPE
        else:
            node.media, node.params, node.kind = _known_type(text) if len(text) <= _SHORT_TYPE else _read_type(text)
        if node.kind and len(self.open) >= MAX_DEPTH:
            node.media, node.params, node.kind = _OCTETS, (), b""

    def _close_above(self, hit: _Delimiter) -> None:
        """End everything inside the multipart whose delimiter was found, there where it was found."""
        while self.open[-1] is not hit.node:
            self._close(hit.at)

    def _close(self, end: int) -> None:
        """End the innermost open part before octet `end`, and give it to the one around it."""
        node = self.open.pop()
        if self.delimiters and self.delimiters[-1].node is node:
            self.delimiters.pop()
        part = self._part(node, max(end, node.header_end))
        if not self.open:
            self.root = part
        elif self.open[-1].kind == b"message":
            self.open[-1].inner = part
        else:
            self.open[-1].children.append(part)

    def _part(self, node: _Node, end: int) -> Part:
        inner = node.inner
        children = tuple(node.children)
        if node.kind == b"multipart" and not children:
            children = (self._empty(end),)
        start, behind = node.start, node.header_end
        counted = inner is not None or node.media[0].lower() == b"text"
        lines = self._lines(behind, end) if counted else 0
        content_id = description = md5 = disposition = location = None
        encoding, disposition_params, languages = b"7bit", _NO_PARAMS, _NO_LANGUAGES
        if not node.says_its_type_alone:
            content_id, description = node.first(b"content-id"), node.first(b"content-description")
            encoding = token_and_params(node.first(b"content-transfer-encoding") or b"")[0] or b"7bit"
            md5, location = node.first(b"content-md5"), node.first(b"content-location")
            kind, params = token_and_params(node.first(b"content-disposition") or b"")
            if kind:
                disposition, disposition_params = kind, params
            languages = tokens(node.first(b"content-language") or b"")
        fields = (
            node.media[0], node.media[1], node.params, content_id, description, encoding, end - behind, lines, md5,
            disposition, disposition_params, languages, location, (start, behind), (behind, end), children,
            envelope(self.data, *inner.header) if inner else None, inner,
        )  # fmt: skip
        return tuple.__new__(Part, fields)  # as Part(*fields), in a third of the time

    def _empty(self, place: int) -> Part:
        """The text/plain part of a multipart that has none."""
        return self._part(_plain_node(place), place)

    def _lines(self, start: int, end: int) -> int:
        """Line ends between two offsets; nested messages ask for the same octets again and again."""
        if end - start <= 4 * _BLOCK:
            return line_feeds(self.data, start, end)
        counts = self.line_counts
        if not counts:
            total = 0
            for place in range(0, len(self.data) + _BLOCK, _BLOCK):
                counts.append(total)
                total += line_feeds(self.data, place, place + _BLOCK)
                turn()
        first, last = -(-start // _BLOCK), end // _BLOCK
        inner = counts[last] - counts[first]
        return line_feeds(self.data, start, first * _BLOCK) + inner + line_feeds(self.data, last * _BLOCK, end)


def _plain_node(place: int) -> _Node:
    node = _Node(place, place, {})
    node.params = ((b"charset", b"us-ascii"),)
    return node


def _boundary(node: _Node) -> bytes:
    """The boundary without the white space it may not end in; empty if there is none. RFC 2046 5.1.1."""
    return next((value.rstrip() for name, value in node.params if name.lower() == b"boundary"), b"")
