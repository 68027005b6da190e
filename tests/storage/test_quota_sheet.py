"""`maildirsize`: what its octets say, whatever they are. `formats.md` 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.quota import Sheet, extended, head_of, limits_of, parse
from greenmail.storage.quota_rules import Limits


def sheet(data: bytes) -> tuple[int, int, int, bool]:
    found = parse(data)
    return found.storage, found.messages, found.changes, found.is_damaged


@pytest.mark.parametrize(
    "data, storage, messages, changes",
    [
        (b"10485760S,1000C\n300 1\n943 1\n1863 3\n-943 -1\n", 2163, 4, 4),  # as Dovecot writes it
        (b"1000S\n         300           1\n        -100          -1\n", 200, 0, 2),  # as Courier does, 12 columns
        (b"1000S\n", 0, 0, 0),
        (b"\n5 1\n", 5, 1, 1),
        (b"0S\n5\t1 \n", 5, 1, 1),
        (b"1000S\r\n5 1\r\n", 5, 1, 1),
        (b"1000S\n5 1\n7", 5, 1, 1),  # the last line is still being written
        (b"1000S\n5 1\n77 ", 5, 1, 1),
    ],
)
def test_sums(data: bytes, storage: int, messages: int, changes: int) -> None:
    assert sheet(data) == (storage, messages, changes, False)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"1000S", b"1000S\nx\n", b"1000S\n5\n", b"1000S\n5 1 1\n", b"1000S\n\n", b"1000S\n5 1\n\0\0\0\0\n5 1\n",
        b"1000S\n-5 1\n", b"1000S\n5 -1\n", b"\0\0\0\n5 1\n", b"1000S\n+5 1\n", b"1000S\n5 1\n12300 1 1\n",
        b"no quota\n5 1\n", b"1000S\n9999999999999999999 1\n", b"1000S\n5.5 1\n",
    ],
)  # fmt: skip
def test_damage(data: bytes) -> None:
    assert parse(data).is_damaged


@pytest.mark.parametrize(
    "head, limits",
    [
        (b"10485760S,1000C", Limits(10485760, 1000)),
        (b"1000C,5S", Limits(5, 1000)),
        (b"1000C", Limits(0, 1000)),
        (b"0S", Limits()),
        (b"0S,0C", Limits()),
        (b"", Limits()),
        (b" 5S\r", Limits(5)),
        (b"5S,7X", Limits(5)),
    ],
)
def test_heads(head: bytes, limits: Limits) -> None:
    assert limits_of(head) == limits
    assert parse(head + b"\n").head == head


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 40))
def test_a_head_is_read_as_it_was_written(storage: int, messages: int) -> None:
    limits = Limits(storage, messages)
    assert limits_of(head_of(limits)) == limits
    assert not parse(head_of(limits) + b"\n").is_damaged


@given(st.binary() | st.text(alphabet="0123456789 -SC,\n\0").map(str.encode))
def test_any_octets_are_a_sheet(data: bytes) -> None:
    found = parse(data)
    assert isinstance(found, Sheet)
    assert found.is_damaged or (found.storage >= 0 and found.messages >= 0)
    limits_of(found.head)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 9)), max_size=20))
def test_the_sum_of_lines(lines: list[tuple[int, int]]) -> None:
    data = b"0S\n" + b"".join(b"%d %d\n" % line for line in lines)
    assert sheet(data) == (sum(a for a, _ in lines), sum(b for _, b in lines), len(lines), False)


@given(st.text(alphabet="0123 -SC,\n").map(str.encode), st.text(alphabet="0123 -\n").map(str.encode))
def test_reading_on_is_reading_all(first: bytes, more: bytes) -> None:
    """What is known of a good file need not be read again."""
    known = parse(first)
    if not known.is_damaged:
        end = first.rfind(b"\n") + 1
        assert extended(known, (first + more)[end:]) == parse(first + more)
