"""Giving way in the midst of long work that is compiled: docs/decisions/0016-compiled-modules.md.

A thread of the pool hands the interpreter over between two instructions of Python, and compiled code has none. This
module is never compiled: to enter one of its functions is such an instruction.
"""

from collections.abc import Iterator, Sequence
from typing import Any

_SLICE = 1000  # of what takes a microsecond each


def turn() -> None:
    """Let other threads run, if they wait. Costs some 50 ns."""


def turns(things: Sequence[Any]) -> Iterator[Any]:
    """The same things; others may run between them. For a short loop over very many."""
    for start in range(0, len(things), _SLICE):
        yield from things[start : start + _SLICE]
