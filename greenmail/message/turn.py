"""Giving way in the midst of long work on a thread of the pool: docs/decisions/0016-compiled-modules.md.

A thread hands the interpreter over between two instructions of Python, and compiled code has none. This module is
never compiled: to enter one of its functions is such an instruction. `turn` and `turns` are that and no more. The event
loop needs the interpreter some ten times to answer one NOOP, so what goes on for long sleeps now and then: `rest`.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

_SLICE = 1000  # of what takes a microsecond each
_MANY = 40_000
_REST = 0.0002  # seconds


def turn() -> None:
    """Let other threads run, if they wait. Costs some 50 ns."""


def turns(things: Sequence[Any]) -> Iterator[Any]:
    """The same things; others may run between them. For a short loop over very many."""
    for start in range(0, len(things), _SLICE):
        yield from things[start : start + _SLICE]


def rest(done: int) -> None:
    """Between two slices of very many: on a thread, leave the interpreter to the event loop for more than one call.

    `done`: how many things have been worked on. What takes less than some 20 ms in all needs no rest.
    """
    if done >= _MANY and threading.current_thread() is not threading.main_thread():  # on that is the event loop
        time.sleep(_REST)
