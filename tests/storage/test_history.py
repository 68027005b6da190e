"""Which UIDs are remembered as expunged."""

import time

from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.history import EXPUNGED_LIMIT, History, ranges

_BATCHES = st.lists(st.sets(st.integers(1, 60), min_size=1, max_size=8), max_size=8)


@given(_BATCHES)
def test_what_was_expunged_is_known_at_every_moment(batches: list[set[int]]) -> None:
    history, gone = History(), set[int]()
    for modseq, uids in enumerate(batches, 1):
        history.note_expunged([], ranges(sorted(uids)), modseq)
        gone |= uids
        assert {uid for uid in range(70) if history.knows_expunged(uid)} == gone


def test_what_is_beyond_the_limit_is_forgotten() -> None:
    history = History()
    for modseq, first in ((1, 1), (2, 3)):
        history.note_expunged([], [(first, first)], modseq)
    assert history.knows_expunged(1)
    history.note_expunged([], [(uid, uid) for uid in range(11, 11 + 2 * (EXPUNGED_LIMIT - 1), 2)], 3)
    assert not history.knows_expunged(1) and history.knows_expunged(3) and history.expunged_floor == 1


def test_many_questions_about_a_long_history_take_no_time() -> None:
    """Each message that another server numbered is one, asked under the lock."""
    history = History()
    history.note_expunged([], [(2 * uid, 2 * uid) for uid in range(1, EXPUNGED_LIMIT + 1)], 1)
    since = time.monotonic()
    assert not any(history.knows_expunged(3 * EXPUNGED_LIMIT + uid) for uid in range(20_000))
    assert time.monotonic() - since < 2  # looking through the ranges each time takes ten times as long
