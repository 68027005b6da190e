"""Messages that are neighbours are taken up, and dropped, as columns: with the same result as one by one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.api import Flags, Table
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index

SETS: list[Flags] = [
    frozenset(),
    frozenset({"\\Seen"}),
    frozenset({"\\Deleted"}),
    frozenset({"\\Seen", "\\Deleted", "k"}),
]
COUNT = 8
kinds = st.sampled_from(SETS)


def made(flags: list[Flags], in_new: set[int]) -> Index:
    """Messages with every third UID from 3 on."""
    index, change = Index(), Change()
    for place, some in enumerate(flags):
        uid = 3 * place + 3
        change.came(uid, b"m%d" % uid, uid in in_new, some, (-1 if place % 3 else 10, 5))
    index.apply(change.batch(100))
    return index


def state(index: Index) -> tuple[Any, ...]:
    table = index.table
    columns = [list(column) for column in (table.uids, table.modseqs, table.sizes, table.dates)]
    flags = [table.flags_of(row) for row in range(len(table))]
    rows = [index.history.row(uid) for uid in range(3 * COUNT + 4)]
    counters = index.unseen, index.deleted, index.octets, index.unknown_sizes, index.uidnext
    changes = index.history.changes(0, table)
    return columns, flags, index.names, index.in_new, index.new_names, counters, rows, changes.changed, changes.expunged


def counted(index: Index) -> tuple[int, ...]:
    index.recount()
    return index.unseen, index.deleted, index.octets, index.unknown_sizes


@given(
    before=st.lists(kinds, min_size=COUNT, max_size=COUNT),
    after=st.lists(kinds, min_size=COUNT, max_size=COUNT),
    first=st.integers(0, COUNT),
    last=st.integers(0, COUNT),
    in_new=st.sampled_from([set[int](), {6}]),
)
def test_other_flags_of_neighbours(
    before: list[Flags], after: list[Flags], first: int, last: int, in_new: set[int]
) -> None:
    together, single = made(before, in_new), made(before, in_new)
    uids = [3 * place + 3 for place in range(first, last)]
    change = Change()
    change.became_all(uids, [b"m%d:2,S" % uid for uid in uids], after[first:last])
    together.apply(change.batch(200))
    for uid, some in zip(uids, after[first:last], strict=True):
        change = Change()
        change.became(uid, b"m%d:2,S" % uid, False, some)
        single.apply(change.batch(200))
    assert state(together) == state(single)
    assert (together.unseen, together.deleted, together.octets, together.unknown_sizes) == counted(together)


@given(
    flags=st.lists(kinds, min_size=COUNT, max_size=COUNT),
    gone=st.sets(st.integers(1, 3 * COUNT + 1)),
    in_new=st.sampled_from([set[int](), {6, 9}]),
)
def test_what_goes_together(flags: list[Flags], gone: set[int], in_new: set[int]) -> None:
    together, single = made(flags, in_new), made(flags, in_new)
    change = Change()
    change.went(sorted(gone))
    together.apply(change.batch(200))
    for uid in sorted(gone):
        change = Change()
        change.went([uid])
        single.apply(change.batch(200))
    assert state(together) == state(single)
    assert (together.unseen, together.deleted, together.octets, together.unknown_sizes) == counted(together)


@pytest.mark.parametrize("gone", [[[6, 6], [3, 9]], [[3, 12], [6, 9]], [[9, 3]], [[6, 6], [6, 6]]])
def test_ranges_that_nobody_of_us_writes_cost_no_other_message(gone: list[list[int]]) -> None:
    """In any order, over each other, or backwards: who shares a mailbox may have written them."""
    index = made([frozenset()] * COUNT, set())
    index.apply({"m": 200, "gone": gone})
    left = [uid for uid in range(3, 3 * COUNT + 3, 3) if not any(first <= uid <= last for first, last in gone)]
    assert set(left) <= set(index.table.uids) <= {*left, 3}
    assert len(index.names) == len(index.table.flags) == len(index.table)
    assert (index.unseen, index.deleted, index.octets, index.unknown_sizes) == counted(index)


@pytest.mark.parametrize(
    "uids, rows",
    [
        ([], []),
        ([5, 7, 9], [0, 1, 2]),
        ([5, 7, 9, 11, 13], [0, 1, 2, 3, 4]),
        ([7, 9, 11, 13, 15], [1, 2, 3, 4, -1]),
        ([5, 7, 9, 12, 13], [0, 1, 2, -1, 4]),
        ([7], [1]),
        ([7, 9], [1, 2]),
        ([5, 9], [0, 2]),
        ([5, 8, 9], [0, -1, 2]),
        ([4, 5, 7], [-1, 0, 1]),
        ([9, 7, 5], [2, 1, 0]),
        ([5, 5, 9], [0, 0, 2]),
    ],
)
def test_rows_of_uids(uids: list[int], rows: list[int]) -> None:
    table = Table()
    table.uids.extend([5, 7, 9, 11, 13])
    assert list(table.rows(uids)) == rows
