"""Lists in slices: the same as Python's own, and nothing takes long at a stretch."""

import gc
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from greenmail.imap import slices
from greenmail.imap.threads import ALGORITHMS, Message
from greenmail.runtime import sparing_collections


@pytest.mark.parametrize("count", [0, 1, slices.SLICE, slices.SLICE + 1, 3 * slices.SLICE + 17])
@pytest.mark.parametrize("reverse", [False, True])
def test_in_order_is_sorted(count: int, reverse: bool) -> None:
    dice = random.Random(count)
    items = [(dice.randrange(50), number) for number in range(count)]  # many are equal: those stay as they are
    breaths: list[int] = []
    found = slices.in_order(items, lambda item: item[0], reverse, lambda: breaths.append(1))
    assert found == sorted(items, key=lambda item: item[0], reverse=reverse)
    assert len(breaths) >= count // slices.SLICE


def test_slices_are_everything() -> None:
    items = list(range(10_000))
    assert [one for some in slices.slices(items) for one in some] == items
    slices.free(items)
    assert items == []


@pytest.fixture
def eager() -> Iterator[None]:
    """As in a worker: whoever waits for the interpreter gets it soon; and what other tests hold is no part of it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    gc.freeze()  # or a collection of cycles would go through all of that at a stretch
    yield
    gc.unfreeze()
    sys.setswitchinterval(before)


def longest_wait(work: Callable[[], object]) -> float:
    """Seconds of processor time at the longest that `work`, in a thread, kept everybody else from running."""
    worker = threading.Thread(target=work)
    worker.start()
    longest = 0.0
    while worker.is_alive():
        began = time.process_time()  # of this process: what other processes take from us is not the work's fault
        time.sleep(0.0005)
        longest = max(longest, time.process_time() - began)
    return longest


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_threads_of_100000_messages_let_others_run(algorithm: str) -> None:
    dice = random.Random(1)
    messages = [
        Message(
            dice.randrange(10**8),
            b"SUBJECT %d" % dice.randrange(50_000),
            number % 2 == 0,
            b"<%d@x>" % number,
            (b"<%d@x>" % (number // 10),) if number % 3 == 0 else (),
        )
        for number in range(100_000)
    ]

    def work() -> None:
        with sparing_collections(True):
            ALGORITHMS[algorithm](messages)

    # What disturbs, as a collection begun elsewhere, is not there each time.
    assert any(longest_wait(work) < 0.06 for _ in range(3))
