"""Work on a million names that lets others run: Python's own sorting, searching and building does not.

A thread of the pool shares the interpreter with the event loop. It hands it over between two instructions, but a call
that sorts a million names is one instruction.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenmail.storage.maildir_name import uid_order

SLICE = 4096
_HEAD = 11  # ten digits and a dot
_SECONDS = re.compile(rb"(?:[0-9]{10}\.)*+")
_SAMPLES = 4  # for each bucket


def set_of(names: Sequence[bytes]) -> set[bytes]:
    """`set(names)`."""
    found: set[bytes] = set()
    for start in range(0, len(names), SLICE):
        found.update(names[start : start + SLICE])
    return found


def in_uid_order(bases: Sequence[bytes]) -> list[bytes]:
    """`bases`, which are all different, in the order of `formats.md` 1.10: sorted bucket by bucket.

    Numbers of ten digits, as nearly all names begin with, have the order of their octets: then only names of the same
    second are looked at closely.
    """
    if _begin_with_seconds(bases):
        return _by_number_in_runs(_sorted(bases, bytes))
    return _sorted(bases, uid_order)


def _sorted(bases: Sequence[bytes], key: Callable[[bytes], Any]) -> list[bytes]:
    count = len(bases) // SLICE
    if not count:
        return sorted(bases, key=key)
    bounds = sorted(map(key, _sample(bases, count * _SAMPLES)))[_SAMPLES::_SAMPLES]
    buckets: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for base in bases:
        buckets[bisect_right(bounds, key(base))].append(base)
    return [base for bucket in buckets for base in sorted(bucket, key=key)]


def _begin_with_seconds(bases: Sequence[bytes]) -> bool:
    for start in range(0, len(bases), SLICE):
        heads = [base[:_HEAD] for base in bases[start : start + SLICE]]
        joined = b"".join(heads)
        if len(joined) < _HEAD * len(heads) or not _SECONDS.fullmatch(joined):
            return False
    return True


def _by_number_in_runs(bases: list[bytes]) -> list[bytes]:
    """Names in the order of their octets, with those of one second in their own order."""
    start = 0
    for place in range(1, len(bases) + 1):
        if place < len(bases) and bases[place].startswith(bases[start][:_HEAD]):
            continue
        if place - start > 1:
            bases[start:place] = sorted(bases[start:place], key=uid_order)
        start = place
    return bases


def _sample(bases: Sequence[bytes], count: int) -> Iterable[bytes]:
    return random.Random(len(bases)).sample(bases, count)  # nothing secret, and the same for the same names
