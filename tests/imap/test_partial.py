"""PARTIAL, RFC 9394: which places a range names. Transcripts have the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.partial import parse_page

ends = st.integers(1, 30)


@given(ends, ends, st.booleans(), st.integers(0, 20))
def test_a_page_is_what_its_definition_says(one: int, two: int, from_end: bool, count: int) -> None:
    """RFC 9394 3.1: the first result is 1, the last is -1; what does not exist is left out."""
    sign = "-" if from_end else ""
    page = parse_page(Cursor(f" {sign}{one}:{sign}{two}".encode()))
    wanted = range(min(one, two), max(one, two) + 1)
    places = [place for place in range(count) if (count - place if from_end else place + 1) in wanted]
    assert list(page.places(count)) == places
    assert page.text == f"{sign}{one}:{sign}{two}".encode()


@pytest.mark.parametrize(
    "text", ["", "1:2", " 1", " 0:1", " 1:0", " 1:-1", " -1:1", " 1:*", " -0:-1", " 1:4294967296", " 01:2"]
)
def test_other_ranges_are_none(text: str) -> None:
    with pytest.raises(BadSyntax):
        cur = Cursor(text.encode())
        parse_page(cur)
        cur.end()
