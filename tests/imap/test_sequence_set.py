"""sequence-set and uid-set, RFC 9051 9."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.sequence_set import SequenceSet, compact, ranges_of, render, resolve, sequence_set, uid_set


@pytest.mark.parametrize(
    "text, largest, expected",
    [
        (b"2:4", 9, [(2, 4)]),
        (b"4:2", 9, [(2, 4)]),  # RFC 9051 9, seq-range: equivalent
        (b"3291:*", 7, [(7, 3291)]),  # RFC 9051 9, seq-range: includes the last message
        (b"2,4:7,9,12:*", 15, [(2, 2), (4, 7), (9, 9), (12, 15)]),  # RFC 9051 9, sequence-set
        (b"*:4,5:7", 10, [(4, 10)]),  # RFC 9051 9, sequence-set
        (b"*", 3, [(3, 3)]),
        (b"1:*", 3, [(1, 3)]),
        (b"*:*", 3, [(3, 3)]),
        (b"2:4,3:6", 9, [(2, 6)]),
        (b"1,2,3", 9, [(1, 3)]),
        (b"5,1,3", 9, [(1, 1), (3, 3), (5, 5)]),
        (b"1:10,3:4", 20, [(1, 10)]),
        (b"4294967295", 1, [(4294967295, 4294967295)]),
        (b"*", 0, []),  # an empty mailbox has no last message
        (b"*:5", 0, [(1, 5)]),
    ],
)
def test_resolve(text, largest, expected):
    cur = Cursor(text)
    assert resolve(sequence_set(cur), largest) == expected
    cur.end()


def test_result_of_the_last_search():
    assert sequence_set(Cursor(b"$")) == SequenceSet((), saved=True)  # RFC 5182 3
    assert sequence_set(Cursor(b"1:2,$")) == SequenceSet(((1, 2),), saved=True)
    assert resolve(sequence_set(Cursor(b"1:2,$")), 9) == [(1, 2)]


def test_a_set_ends_where_its_characters_end():
    cur = Cursor(b"1,2 (FLAGS)")
    sequence_set(cur)
    assert cur.peek() == b" "


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"1,",
        b",1",
        b"1::2",
        b"1:",
        b":1",
        b"01",
        b"4294967296",
        b"1:2:3",
        b"$,1",
        b"1:$",
        b"**",
        b"9" * 5000,
    ],
)
def test_what_is_no_sequence_set(text):
    with pytest.raises(BadSyntax):
        sequence_set(Cursor(text))


def test_uid_set_has_numbers_only():
    assert uid_set(Cursor(b"5:2,9")) == [(2, 5), (9, 9)]
    for text in (b"*", b"1:*", b"$", b"1,$"):
        with pytest.raises(BadSyntax):
            uid_set(Cursor(text))


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ([], b""),
        ([5], b"5"),
        ([1, 2, 3, 4, 7], b"1:4,7"),
        ([1, 3, 5], b"1,3,5"),
        ([4294967294, 4294967295], b"4294967294:4294967295"),
    ],
)
def test_compact(numbers, expected):
    assert compact(numbers) == expected


numbers = st.integers(1, 0xFFFFFFFF)
seq_numbers = st.one_of(st.none(), st.integers(1, 60))


@given(st.sets(st.one_of(st.integers(1, 60), numbers)))
def test_compact_comes_back(wanted):
    ordered = sorted(wanted)
    ranges = ranges_of(ordered)
    assert [value for first, last in ranges for value in range(first, last + 1)] == ordered
    if ordered:
        assert uid_set(Cursor(compact(ordered))) == ranges
        assert render(ranges) == compact(ordered)


@given(st.lists(st.tuples(seq_numbers, seq_numbers), min_size=1), st.integers(1, 60))
def test_resolve_means_the_same_numbers(pairs, largest):
    def word(value):
        return b"*" if value is None else b"%d" % value

    text = b",".join(word(first) + b":" + word(last) for first, last in pairs)
    expected = set()
    for pair in pairs:
        low, high = sorted(largest if value is None else value for value in pair)
        expected.update(range(low, high + 1))
    ranges = resolve(sequence_set(Cursor(text)), largest)
    assert {value for first, last in ranges for value in range(first, last + 1)} == expected
    assert all(one[1] + 1 < two[0] for one, two in pairwise(ranges))


@given(st.one_of(st.binary(), st.text("0123456789:,*$").map(str.encode)))
def test_any_octets_give_a_set_or_bad_syntax(text):
    try:
        sequence_set(Cursor(text))
    except BadSyntax:
        pass


def test_a_hundred_thousand_are_fast():
    odd = range(1, 200_001, 2)
    found: list[int] = []

    def there_and_back() -> None:
        found.append(len(resolve(sequence_set(Cursor(compact(odd))), 1)))

    assert least(there_and_back, 2) < 2  # some 0.2 s on the slowest machine we have
    assert found[0] == 100_000
