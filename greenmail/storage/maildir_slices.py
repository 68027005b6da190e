"""Work on a million names that lets others run: Python's own sorting, searching and building does not.

A thread of the pool shares the interpreter with the event loop. It hands it over between two instructions, but a call
that sorts a million names is one instruction.
"""

import operator
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, repeat
from typing import Any

from greenmail.message.turn import rest
from greenmail.storage.maildir_name import only_messages, uid_order

SLICE = 4096
_CLOSE = 1024  # names among which those of one second are looked at closely, which takes a millisecond
_HEAD = 11  # ten digits and a dot
_SECONDS = re.compile(rb"(?:[0-9]{10}\.)*+")
_SAMPLES = 4  # for each bucket
_CUTS = 8  # names of each run that are looked at, to know where to cut


def set_of(names: Sequence[bytes]) -> set[bytes]:
    """`set(names)`."""
    found: set[bytes] = set()
    for start in range(0, len(names), SLICE):
        found.update(names[start : start + SLICE])
        rest(start)
    return found


def in_octet_order(*lists: Sequence[bytes]) -> list[bytes]:
    """All of them, sorted: runs are, each is cut where the others are, and what belongs together is sorted again."""
    runs: list[list[bytes]] = []
    for names in lists:
        for start in range(0, len(names), SLICE):
            runs.append(sorted(names[start : start + SLICE]))
            rest(start)
    if len(runs) < 2:
        return runs[0] if runs else []
    step = max(1, SLICE // _CUTS)
    # Runs are alike, as directories are in no order: so each is looked at elsewhere.
    sample = sorted(name for number, run in enumerate(runs) for name in run[number * step // len(runs) :: step])
    places = [0] * len(runs)
    found: list[bytes] = []
    for bound in sample[_CUTS::_CUTS]:
        bucket: list[bytes] = []
        for number, run in enumerate(runs):
            end = bisect_left(run, bound, places[number])
            bucket += run[places[number] : end]
            places[number] = end
        bucket.sort()
        found += bucket
        rest(len(found))
    bucket = []
    while runs:
        bucket += runs.pop()[places.pop() :]
    bucket.sort()
    found += bucket
    return found


def let_go(things: list[Any]) -> None:
    """Empty the list: no other thread can run while a million objects are given back."""
    count = len(things)
    while things:
        del things[-SLICE:]
        rest(count - len(things))


def in_uid_order(bases: Sequence[bytes]) -> list[bytes]:
    """`bases`, which are all different, in the order of `formats.md` 1.10: sorted bucket by bucket.

    Numbers of ten digits, as nearly all names begin with, have the order of their octets: then only names of the same
    second are looked at closely.
    """
    if _begin_with_seconds(bases):
        return _by_number_in_runs(_sorted(bases))
    return _sorted(bases, uid_order)


def _sorted(bases: Sequence[bytes], key: Callable[[bytes], Any] | None = None) -> list[bytes]:
    count = len(bases) // SLICE
    if not count:
        return sorted(bases, key=key)
    sample = _sample(bases, count * _SAMPLES)
    bounds: list[Any] = sorted(sample if key is None else map(key, sample))[_SAMPLES::_SAMPLES]
    buckets: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for start in range(0, len(bases), SLICE):
        some = bases[start : start + SLICE]
        for base, place in zip(some, map(bisect_right, repeat(bounds), map(key, some) if key else some), strict=False):
            buckets[place].append(base)
    found: list[bytes] = []
    for bucket in buckets:
        bucket.sort(key=key)
        found += bucket
    return found


def _begin_with_seconds(bases: Sequence[bytes]) -> bool:
    for start in range(0, len(bases), SLICE):
        heads = [base[:_HEAD] for base in bases[start : start + SLICE]]
        joined = b"".join(heads)
        if len(joined) < _HEAD * len(heads) or not _SECONDS.fullmatch(joined):
            return False
    return True


def _by_number_in_runs(bases: list[bytes]) -> list[bytes]:
    """Names in the order of their octets, with those of one second in their own order."""
    for rows in same_seconds(bases):
        bases[rows] = sorted(bases[rows], key=uid_order)
    return bases


def same_seconds(bases: Sequence[bytes]) -> Iterator[slice]:
    """Where two or more names stand together that begin with the same ten digits; these may be put in another order."""
    end = 0  # of the last run
    for start in range(0, len(bases), _CLOSE):
        heads = [base[:_HEAD] for base in bases[start : start + _CLOSE + 1]]
        for place in compress(range(start, start + _CLOSE), map(operator.eq, heads, heads[1:])):
            if place < end:
                continue
            end, head = place + 2, bases[place][:_HEAD]
            while end < len(bases) and bases[end].startswith(head):
                end += 1
            yield slice(place, end)
        rest(start)


def messages_of(names: list[bytes]) -> list[bytes]:
    """Those that can be messages."""
    found: list[bytes] = []
    for start in range(0, len(names), SLICE):
        found += only_messages(names[start : start + SLICE])
    return found


def base_names(names: Sequence[bytes]) -> list[bytes]:
    """`base_name` of each."""
    return [name.partition(b":")[0] for name in names]


def _sample(bases: Sequence[bytes], count: int) -> Iterable[bytes]:
    return random.Random(len(bases)).sample(bases, count)  # nothing secret, and the same for the same names
