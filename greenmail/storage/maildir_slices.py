"""Work on a million names that lets others run: Python's own sorting, searching and building does not.

A thread of the pool shares the interpreter with the event loop. It hands it over between two instructions, but a call
that sorts a million names is one instruction.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from greenmail.storage.maildir_name import uid_order

SLICE = 4096
_SECONDS = re.compile(rb"(?:[0-9]{10}\.)*+")
_SAMPLES = 4  # for each bucket


def set_of(names: Sequence[bytes]) -> set[bytes]:
    """`set(names)`."""
    found: set[bytes] = set()
    for start in range(0, len(names), SLICE):
        found.update(names[start : start + SLICE])
    return found


def in_uid_order(bases: Sequence[bytes]) -> list[bytes]:
    """`bases`, which are all different, in the order of `formats.md` 1.10: sorted bucket by bucket."""
    count = len(bases) // SLICE
    if not count and _differ_in_seconds(bases):
        return sorted(bases)
    if not count:
        return sorted(bases, key=uid_order)
    sample = sorted(uid_order(base) for base in _sample(bases, count * _SAMPLES))
    bounds = sample[_SAMPLES::_SAMPLES]
    buckets: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for base in bases:
        buckets[bisect_right(bounds, uid_order(base))].append(base)
    return [base for bucket in buckets for base in sorted(bucket, key=uid_order)]


def _differ_in_seconds(bases: Sequence[bytes]) -> bool:
    """Whether all begin with numbers of ten digits, no two the same: then the octets have the order of the numbers."""
    heads = [base[:11] for base in bases]
    return len(set(heads)) == len(heads) and _SECONDS.fullmatch(b"".join(heads)) is not None


def _sample(bases: Sequence[bytes], count: int) -> Iterable[bytes]:
    return random.Random(len(bases)).sample(bases, count)  # nothing secret, and the same for the same names
