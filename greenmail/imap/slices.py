"""Long lists, a slice at a time: Python's own sorting and freeing of a hundred thousand things lets nobody in.

On the event loop somebody has to breathe between slices. In the pool nothing is needed but that there are slices: a
thread hands the interpreter over between two instructions, but `list.sort` is one instruction.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

SLICE = 4096
FEW = 1024  # where more than some octet codes are run for each
RUNS = 10  # slices of FEW that are put together at one go: most of it is done, and a comparison is all that it takes

_MERGED = 512  # that are put together, at 3 us each, before others get their turn

T = TypeVar("T")


def slices(items: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """`items`, `size` of them at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def in_order(
    items: Sequence[T], key: Callable[[T], Any], reverse: bool = False, breathe: Callable[[], None] = lambda: None
) -> list[T]:
    """`sorted(items, key=key, reverse=reverse)`: merged of sorted slices if it is long."""
    pieces = []
    for some in slices(items, FEW):
        pieces.append(sorted(some, key=key, reverse=reverse))
        breathe()
    if len(pieces) <= RUNS:
        # Python's sort finds what is in order already, and merges it.
        return sorted([item for some in pieces for item in some], key=key, reverse=reverse)
    merged: list[T] = []
    for item in heapq.merge(*pieces, key=key, reverse=reverse):
        merged.append(item)
        if not len(merged) % _MERGED:
            breathe()
    return merged


def free(items: list[Any], breathe: Callable[[], None] = lambda: None) -> None:
    """Empty a list of which nobody else has the items."""
    while items:
        del items[-SLICE:]
        breathe()
