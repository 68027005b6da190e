"""Ranges of UIDs say the same as a set of them."""

from hypothesis import given
from hypothesis import strategies as st

from greenmail.imap.recent import Recent


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """What a session is told of, time after time: new UIDs, and from which of them on they are its own."""
    told, last = [], 0
    for _ in range(draw(st.integers(0, 5))):
        steps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
        uids = [last := last + step for step in steps]
        told.append((uids, draw(st.integers(0, len(uids)))))
    return told


@given(histories(), st.lists(st.integers(0, 40), max_size=8), st.sets(st.integers(1, 40)))
def test_it_is_a_set(history: list[tuple[list[int], int]], asked: list[int], expunged: set[int]) -> None:
    recent, model, view = Recent(), set(), []
    for uids, first in history:
        recent.add(uids[first:])
        model.update(uids[first:])
        view += uids
    view = [uid for uid in view if uid not in expunged]
    assert [uid in recent for uid in view] == [uid in model for uid in view]
    assert recent.count(view) == len(model.intersection(view))
    asked = [uid for uid in asked if uid in view]
    answer = recent.of(asked)
    assert answer is None or answer == (bool(asked) and model.issuperset(asked))
    if answer is False:
        assert model.isdisjoint(asked)


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.integers(1, 100), min_size=1))
def test_one_range_is_never_asked_message_by_message_but_across_its_ends(
    first: int, count: int, asked: list[int]
) -> None:
    recent = Recent()
    recent.add(range(first, first + count))
    crosses = min(asked) < first <= max(asked) or min(asked) < first + count <= max(asked)
    assert (recent.of(asked) is None) == crosses


def test_what_came_back_with_its_old_uid_counts_once() -> None:
    recent = Recent()
    recent.add([3, 4, 5])
    recent.add([5, 6])
    assert recent.count([3, 4, 5, 6]) == 4


def test_after_clear_there_is_none() -> None:
    recent = Recent()
    recent.add([1, 2])
    recent.clear()
    assert (1 in recent, recent.count([1, 2]), recent.of([1, 2])) == (False, 0, False)
