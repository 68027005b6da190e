"""HEADERS records of neighbouring messages as one string of octets in lower case, in which one pass finds a text.

    column = count *end *kind text

`count` is the number of records, each `end` the octet of `text` behind one of them (32 bits each), and each `kind` one
octet that says what can be told of it here. `text` has the records (see `header_record`) one after the other, in lower
case and without line ends, so that a folded field is one line.

Where a record is US-ASCII and has no encoded words, a text is found in a field if it stands behind the colon of one of
that name; a text that is not US-ASCII is in none of these. Everything else is looked at by its record.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from greenmail.imap.header_record import TOO_LONG

LEAST = 16  # records that are worth putting together
PLAIN = 0  # US-ASCII
ENCODED = 1  # encoded words or other octets in it
OPEN = 2  # no record could be kept
_COUNT = 4
_NOT_HERE = frozenset("\r\n\0")


def asked(text: str) -> bytes | None:
    """`text`, folded, as it can be looked for in a column; empty: it is in no plain record; None: not this way."""
    if not text.isascii():
        return b""
    return text.encode("ascii") if text and text == text.strip() and not _NOT_HERE.intersection(text) else None


def column(records: Sequence[bytes]) -> bytes:
    """Of these HEADERS records."""
    joined = b"".join(records).lower()
    is_plain = joined.isascii() and b"=?" not in joined
    if b"\r\n " in joined or b"\r\n\t" in joined:
        records = [record.replace(b"\r\n", b"") for record in records]
        joined = b"".join(records).lower()
    ends = array("I")
    end = 0
    for record in records:
        end += len(record)
        ends.append(end)
    kinds = bytearray(len(records))
    for place, record in enumerate(records):
        if record == TOO_LONG:
            kinds[place] = OPEN
        elif not is_plain and (b"=?" in record or not record.isascii()):
            kinds[place] = ENCODED
    return b"".join((len(records).to_bytes(_COUNT, "little"), ends.tobytes(), kinds, joined))


class Column:
    """One such string, read."""

    __slots__ = ("_ends", "_octets", "_start", "kinds")

    def __init__(self, octets: bytes) -> None:
        count = int.from_bytes(octets[:_COUNT], "little")
        self._ends = array("I")
        kinds = _COUNT + count * self._ends.itemsize
        self._ends.frombytes(octets[_COUNT:kinds])
        self.kinds = octets[kinds : kinds + count]
        self._octets = octets
        self._start = kinds + count

    def having(self, field: bytes, text: bytes) -> list[int]:
        """The places of plain records in which a field of this name has `text`.

        `field` and `text` are in lower case; `text` has no line ends, no NUL, and no white space at its ends.
        """
        octets, first = self._octets, self._start
        found: list[int] = []
        at = octets.find(text, first)
        while at >= 0:
            place = bisect_right(self._ends, at - first)
            behind = first + self._ends[place]
            if self.kinds[place] == PLAIN and self._is_in(field, at, first + self._ends[place - 1] if place else first):
                found.append(place)
                at = octets.find(text, behind)
            else:
                at = octets.find(text, at + 1)
        return found

    def _is_in(self, field: bytes, at: int, record: int) -> bool:
        """Whether what begins at `at` stands in a field of this name of the record that begins at `record`."""
        octets = self._octets
        line = octets.rfind(b"\0", record, at) + 1
        colon = octets.find(b":", line, at) if line else -1
        return colon >= 0 and octets[line:colon].rstrip(b" \t") == field
