"""BODY and TEXT of one message: its octets first, and only then its text. RFC 9051 6.4.4.

Runs in the pool, a message at a time, with plain values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from greenmail.errors import StorageError
from greenmail.imap.parts import encoded_texts, format_parts, without_data
from greenmail.imap.search_key import HeaderKey, Key, SentKey, TextKey
from greenmail.message.collation import Comparator
from greenmail.message.content import header_end
from greenmail.message.headers import FOLDED, lines_of_crlf, split
from greenmail.message.search import BLOCK, header_lines, lacks, lacks_as_it_stands, look
from greenmail.message.structure import Part, scan
from greenmail.storage.api import Content

HeaderProbe = HeaderKey | SentKey
Hits = frozenset[Key]  # which keys of a kind a message matches

NOTHING: Hits = frozenset()
_LINE_ENDS_AND_COLON = frozenset("\r\n:")


@dataclass(frozen=True, slots=True)
class Needle:
    """A key that is looked for in text, with its text decoded and folded; plain values, fit for the pool."""

    key: HeaderProbe | TextKey
    text: str

    @property
    def octets(self) -> bytes | None:
        """What must be in the octets of US-ASCII mail for the text to be found there; None: that cannot be said.

        A field is looked at as `name: value`, whatever white space stands around its colon.
        """
        text = self.text
        is_plain = text and text.isascii() and text == text.strip() and not set(text) & _LINE_ENDS_AND_COLON
        # In lower case, as what is looked through: for i;octet the rest is not done with that.
        return text.lower().encode("ascii") if is_plain and not isinstance(self.key, SentKey) else None


class TextProbe:
    """The BODY and TEXT keys of a command, which messages are asked for; runs in the pool."""

    __slots__ = ("_comparator", "_needles", "_plain", "_with_header")

    def __init__(self, needles: Sequence[Needle], comparator: Comparator) -> None:
        octets = [needle.octets for needle in needles]
        self._comparator = comparator
        self._needles = needles
        # The needles as octets; none if one of them cannot be found so.
        self._plain = [] if None in octets else [needle or b"" for needle in octets]
        self._with_header = any(isinstance(needle.key, TextKey) and needle.key.header for needle in needles)

    def of(self, data: bytes, parts: bytes | None) -> tuple[Hits, bytes | None]:
        """The keys that a message matches, and its PARTS if they had to be found out; `parts`: if they are known."""
        root = scanned = None
        header, looked = self._looked_at(data)
        if parts is None:
            if looked is not None and len(data) <= BLOCK:
                rest = data[len(header) :]
                if lacks_as_it_stands(header, looked, rest, self._plain):
                    return NOTHING, None
            root = scan(data)
            parts = scanned = format_parts(root)
        if looked is not None:
            text = without_data(data, parts, len(header))
            if text is not None and lacks(header, looked + text, encoded_texts(data, parts), self._plain):
                return NOTHING, scanned
        return text_hits(data, root or scan(data), self._needles, self._comparator), scanned

    def _looked_at(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The header, and what of it is looked at as octets; None: all of the message has to be read as text."""
        if not self._plain:
            return b"", None
        end = header_end(data)
        header = data if end < 0 else data[:end]
        if not self._with_header:
            return header, b""
        return header, self._without_words(header) if b"=?" in header else header

    def _without_words(self, header: bytes) -> bytes | None:
        """The fields without those that have encoded words, as most subjects that are not English; None: one of these
        has one of the needles."""
        lines = lines_of_crlf(header)
        fields = [line.replace(FOLDED, b"\r\n") for line in lines] if lines else [one.raw for one in split(header)]
        left: list[bytes] = []
        for field in fields:
            # What a Content-Type says of charsets is looked at by `lacks`.
            if b"=?" not in field or field[:8].lower() == b"content-":
                left.append(field)
                continue
            for line in header_lines(field):
                text = self._comparator.fold(line)
                if any(needle.text in text for needle in self._needles):
                    return None
        return (b"\r\n" if lines else b"").join(left)


def probe_texts(
    contents: Sequence[Content], parts: Sequence[bytes | None], probe: TextProbe
) -> list[tuple[Hits, bytes | None] | None]:
    """Runs in the pool: what `probe` says of each message; None if it cannot be read."""
    made: list[tuple[Hits, bytes | None] | None] = []
    for content, known in zip(contents, parts, strict=True):
        try:
            data = content.read()
        except StorageError:
            made.append(None)
            continue
        made.append(probe.of(data, known))
    return made


def text_hits(data: bytes, root: Part, needles: Sequence[Needle], comparator: Comparator) -> Hits:
    """The keys that a message matches, found out by reading its text."""
    found: list[Key] = []
    for with_header in (False, True):
        group = [needle for needle in needles if isinstance(needle.key, TextKey) and needle.key.header is with_header]
        if group:
            texts = [needle.text for needle in group]
            answers = look(lambda start, end: data[start:end], root, texts, with_header, comparator)
            found.extend(needle.key for needle, answer in zip(group, answers, strict=True) if answer)
    return frozenset(found)
