"""POP3 and the counting of differences, without servers."""

import pytest

from greenmail.shadow import kinds
from greenmail.shadow.account import pop3_messages
from greenmail.shadow.bodies import batches
from greenmail.shadow.kinds import Difference, Tally
from greenmail.shadow.popper import Drop


def drop(*messages: tuple[str, int]) -> Drop:
    return Drop(tuple(uidl for uidl, _ in messages), tuple(size for _, size in messages), frozenset())


A, B, C, X = ("a", 1), ("b", 2), ("c", 3), ("x", 2)


@pytest.mark.parametrize(
    "theirs, ours, expected",
    [
        (drop(A, B, C), drop(A, B, C), []),
        (drop(A, B, C), drop(A, X, C), [("pop3-uidl", "b", "x", 2)]),
        (drop(A, B, C), drop(A, ("b", 9), C), [("pop3-size", "2", "9", 2)]),
        (drop(A, B, C), drop(A, C), [("pop3-missing", "b", "", 2)]),
        (drop(A, C), drop(A, B, C), [("pop3-extra", "", "b", 2)]),
        (drop(A, B), drop(B, A), [("pop3-order", "in this order", "in another order", 0)]),
        (drop(A, B), drop(B, C), [("pop3-missing", "a", "", 1), ("pop3-extra", "", "c", 2)]),
        (drop(), drop(A), [("pop3-extra", "", "a", 1)]),
    ],
)
def test_pop3_messages(theirs: Drop, ours: Drop, expected: list[tuple[str, str, str, int]]) -> None:
    assert [(one.kind, one.theirs, one.ours, one.uid) for one in pop3_messages(theirs, ours)] == expected


def flags(uid: int, theirs: str) -> Difference:
    return Difference("flags", theirs, "", "INBOX", uid)


def test_only_what_differs_both_times_in_the_same_way_lasts() -> None:
    before, again = Tally(), Tally()
    before.add_all([flags(1, "\\Seen"), flags(2, "\\Seen"), flags(3, "\\Seen")])
    again.add_all([flags(2, "\\Seen"), flags(3, "\\Draft"), flags(4, "\\Seen")])
    lasting = before.both_times(again)
    assert lasting.kept == [flags(2, "\\Seen")] and lasting.counts == {("flags", "INBOX"): 1}


def test_of_very_many_the_first_are_kept_and_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "MOST_KEPT", 3)
    before, again = Tally(), Tally()
    for tally in (before, again):
        tally.add_all(flags(uid, "\\Seen") for uid in range(1, 11))
    lasting = before.both_times(again)
    assert [one.uid for one in lasting.kept] == [1, 2, 3]
    assert lasting.counts == {("flags", "INBOX"): 10} and lasting.differs


def test_what_is_only_told_is_no_difference() -> None:
    tally = Tally()
    tally.add(Difference("capability", "SORT", ""))
    assert not tally.differs


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([], []),
        ([1] * 51, [50, 1]),
        ([9 << 20, 1, 1], [1, 2]),
        ([4 << 20, 4 << 20, 1], [2, 1]),
    ],
)
def test_batches(sizes: list[int], expected: list[int]) -> None:
    found = list(batches(list(enumerate(sizes, start=1))))
    assert [len(batch) for batch in found] == expected
    assert [uid for batch in found for uid in batch] == list(range(1, len(sizes) + 1))
