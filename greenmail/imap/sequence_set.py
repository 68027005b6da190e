"""Sets of message sequence numbers or UIDs: sequence-set and uid-set of RFC 9051 9."""

from collections.abc import Iterable
from typing import NamedTuple

from greenmail.imap import chars
from greenmail.imap.cursor import Cursor

_MAX = 0xFFFFFFFF
_SET = chars.some_of(chars.DIGIT | frozenset(b"*:,$"))

Ranges = list[tuple[int, int]]  # inclusive, ascending, disjoint and not adjacent


class SequenceSet(NamedTuple):
    """Ranges as the client wrote them; None is "*". `saved`: "$" is in it, the result of the last SEARCH, RFC 5182."""

    ranges: tuple[tuple[int | None, int | None], ...]
    saved: bool = False


def sequence_set(cur: Cursor) -> SequenceSet:
    """sequence-set = (seq-number / seq-range) ["," sequence-set] / seq-last-command — RFC 9051 9.

    "$" may stand only at the end. Sets of ten thousand numbers are common: one match, then plain splitting.
    """
    words = cur.match(_SET, "a sequence set").split(b",")
    saved = words[-1] == b"$"
    if saved:
        words.pop()
    return SequenceSet(tuple(_seq_range(cur, word) for word in words), saved)


def uid_set(cur: Cursor) -> Ranges:
    """uid-set = (uniqueid / uid-range) *("," uid-set) — RFC 9051 9. Neither "*" nor "$"."""
    seqs = sequence_set(cur)
    if seqs.saved or any(None in pair for pair in seqs.ranges):
        raise cur.wrong("expected UIDs only")
    return resolve(seqs, 0)


def _seq_range(cur: Cursor, word: bytes) -> tuple[int | None, int | None]:
    """seq-range = seq-number ":" seq-number; a lone seq-number n is n:n."""
    first, colon, last = word.partition(b":")
    start = _seq_number(cur, first)
    return (start, _seq_number(cur, last)) if colon else (start, start)


def _seq_number(cur: Cursor, word: bytes) -> int | None:
    """seq-number = nz-number / "*" — RFC 9051 9. None is "*"."""
    if word == b"*":
        return None
    if not word.isdigit() or word[0] == 0x30 or len(word) > 10 or (value := int(word)) > _MAX:
        raise cur.wrong("expected a set of numbers")
    return value


def resolve(seqs: SequenceSet, largest: int) -> Ranges:
    """Inclusive (first, last) ranges, ascending, disjoint and not adjacent; what "$" stands for is not in them.

    "*" stands for `largest`, and a range may be written backwards: with largest 7,
    3291:* is (7, 3291). In an empty mailbox (largest 0) "*" is no message at all. RFC 9051 9, seq-range.
    """
    pairs = []
    for first, last in seqs.ranges:
        one = largest if first is None else first
        two = largest if last is None else last
        low, high = (one, two) if one <= two else (two, one)
        if high:
            pairs.append((low or 1, high))
    return join(pairs)


def join(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges (first <= last, any order, overlapping) as ascending, disjoint and not adjacent ones."""
    joined: Ranges = []
    for first, last in sorted(pairs):
        if joined and first <= joined[-1][1] + 1:
            if last > joined[-1][1]:
                joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """Ranges of ascending, distinct numbers."""
    ranges: Ranges = []
    start = previous = 0
    for value in numbers:
        if value != previous + 1 or not start:
            if start:
                ranges.append((start, previous))
            start = value
        previous = value
    if start:
        ranges.append((start, previous))
    return ranges


def render(ranges: Iterable[tuple[int, int]]) -> bytes:
    """sequence-set without "*" and "$": b"1:4,7"; empty if there are no ranges."""
    return b",".join([b"%d:%d" % pair if pair[0] != pair[1] else b"%d" % pair[0] for pair in ranges])


def compact(uids: Iterable[int]) -> bytes:
    """Ascending, distinct numbers as the shortest sequence-set: b"1:4,7"; empty if there are none."""
    return render(ranges_of(uids))
