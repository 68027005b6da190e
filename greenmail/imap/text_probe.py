"""BODY and TEXT of one message: its octets first, and only then its text. RFC 9051 6.4.4.

Runs in the pool, a message at a time, with plain values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from greenmail.errors import StorageError
from greenmail.imap.parts import encoded_texts, find_part, format_parts, without_data
from greenmail.imap.search_key import HeaderKey, Key, SentKey, TextKey
from greenmail.message.collation import Comparator
from greenmail.message.headers import split
from greenmail.message.search import header_lines, lacks, lacks_as_it_stands, look
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
        self._plain = None if None in octets else [needle or b"" for needle in octets]
        self._with_header = any(isinstance(needle.key, TextKey) and needle.key.header for needle in needles)

    def of(self, data: bytes, parts: bytes | None) -> tuple[Hits, bytes | None]:
        """The keys that a message matches, and its PARTS if they had to be found out; `parts`: if they are known."""
        root = scanned = None
        if parts is None:
            if self._plain is not None and lacks_as_it_stands(data, self._plain):
                return NOTHING, None
            root = scan(data)
            parts = scanned = format_parts(root)
        if self._lacks(data, parts):
            return NOTHING, scanned
        return text_hits(data, root or scan(data), self._needles, self._comparator), scanned

    def _lacks(self, data: bytes, parts: bytes) -> bool:
        """Whether it can be said without much ado that the message has none of the needles."""
        if self._plain is None:
            return False
        top = find_part(parts, ())
        end = top.header_end if top is not None else 0
        header: bytes | None = data[:end] if self._with_header else b""
        if header and b"=?" in header:
            header = self._without_words(header)
        text = without_data(data, parts, end) if header is not None else None
        if header is None or text is None:
            return False
        return lacks(header + text, encoded_texts(data, parts), self._plain)

    def _without_words(self, header: bytes) -> bytes | None:
        """The fields without those that have encoded words, as most subjects that are not English; None: one of these
        has one of the needles."""
        left: list[bytes] = []
        for field in split(header):
            # What a Content-Type says of charsets is looked at by `lacks`.
            if b"=?" not in field.raw or field.name.lower().startswith(b"content-"):
                left.append(field.raw)
                continue
            for line in header_lines(field.raw):
                text = self._comparator.fold(line)
                if any(needle.text in text for needle in self._needles):
                    return None
        return b"".join(left)


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
