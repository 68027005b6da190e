"""The cursor: taking, matching, counting parentheses, saying where it went wrong."""

import re

import pytest

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor


def test_tokens_are_compared_without_case():
    cur = Cursor(b"fetch 1")
    assert cur.take(b"FETCH")
    assert cur.pos == 5


def test_a_token_that_does_not_come_moves_nothing():
    cur = Cursor(b"FET")
    assert not cur.take(b"FETCH")
    assert cur.pos == 0
    with pytest.raises(BadSyntax):
        cur.expect(b"FETCH")


@pytest.mark.parametrize("text", [b"", b"\t", b"x", b"\xa0"])
def test_space_is_exactly_one_space(text):
    with pytest.raises(BadSyntax):
        Cursor(text).space()


def test_two_spaces_are_one_too_many():
    cur = Cursor(b"  x")
    cur.space()
    with pytest.raises(BadSyntax, match="octet 2"):
        cur.expect(b"x")


def test_end():
    Cursor(b"").end()
    with pytest.raises(BadSyntax):
        Cursor(b" ").end()


def test_match_says_what_it_expected_and_where():
    cur = Cursor(b"abc")
    cur.pos = 1
    with pytest.raises(BadSyntax, match="expected a number at octet 2"):
        cur.match(re.compile(rb"[0-9]+"), "a number")
    assert cur.try_match(re.compile(rb"[0-9]+")) is None
    assert cur.pos == 1


def test_nesting_is_bounded():
    cur = Cursor(b"(" * 60, max_depth=50)
    with pytest.raises(BadSyntax, match="nested"):
        for _ in range(60):
            cur.open()
    assert cur.depth == 51


def test_closed_parentheses_do_not_count():
    cur = Cursor(b"()" * 60, max_depth=1)
    for _ in range(60):
        cur.open()
        cur.close()
    cur.end()


def test_peek_gives_less_at_the_end():
    cur = Cursor(b"ab")
    assert cur.peek(3) == b"ab"
    cur.pos = 2
    assert cur.peek() == b""
    assert cur.at_end()
