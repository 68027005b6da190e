"""Mailbox patterns of LIST, RFC 9051 6.3.9."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least

from greenmail.imap.commands.patterns import compile_patterns, matches


@pytest.mark.parametrize(
    "pattern, name, expected",
    [
        ("*", "a/b", True),
        ("*", "", True),
        ("%", "a", True),
        ("%", "a/b", False),
        ("a/%", "a/b", True),
        ("a/%", "a/b/c", False),
        ("a/%", "a", False),
        ("a*", "a", True),
        ("a%", "a/b", False),
        ("%/%", "a/b", True),
        ("%/b", "a/b", True),
        ("*b", "a/b", True),
        ("*2", "baz2/bar22", True),  # RFC 9051 6.3.9.8, example 8
        ("*2", "eps2/mamba", False),
        ("a%c*e", "abcd/e", True),
        ("a%c*e", "a/cde", False),
        ("**%%**", "a/b", True),
        ("%%", "a/b", False),
        ("%*", "a/b", True),
        ("", "a", False),
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "abcd", False),
        ("A", "a", False),
        ("inbox", "INBOX", True),
        ("in*", "INBOX", True),
        ("%BoX", "INBOX", True),
        ("Inbox/%", "INBOX/a", True),
        ("inbox*", "INBOX/a", True),
        ("inboxes", "INBOXes", False),
        ("\u0131nbox", "INBOX", False),  # a dotless i is another letter
        ("\u0131*", "INBOX", False),
        ("b[ox].+", "b[ox].+", True),
    ],
)
def test_one_pattern(pattern, name, expected):
    assert matches(compile_patterns((pattern,), "/"), name) is expected


def test_one_of_several_is_enough():
    patterns = compile_patterns(("INBOX", "Drafts", "Sent/%"), "/")  # RFC 5258 5
    names = ["INBOX", "Drafts", "Sent/March2004", "Sent", "Sent/a/b"]
    assert [name for name in names if matches(patterns, name)] == names[:3]
    assert not matches(compile_patterns((), "/"), "INBOX")


def test_without_a_separator_percent_is_an_asterisk():
    assert matches(compile_patterns(("a%c",), ""), "a/b.c")
    assert matches(compile_patterns(("%",), ""), "a/b.c")


def test_asking_for_levels():
    assert compile_patterns(("a", "b/%"), "/").asks_levels
    assert not compile_patterns(("%/b", "*"), "/").asks_levels


@given(st.text("ab/%*", max_size=10), st.text("ab/", max_size=12))
def test_same_as_a_regular_expression(pattern, name):
    meaning = {"*": "(?s:.*)", "%": "[^/]*"}
    expression = "".join(meaning.get(char, re.escape(char)) for char in pattern)
    assert matches(compile_patterns((pattern,), "/"), name) == (re.fullmatch(expression, name) is not None)


@pytest.mark.parametrize(
    "pattern", ["*a" * 2000 + "b", "%a" * 2000 + "b", "*%" * 30000 + "b", "a" * 60000, "*" + "a*" * 400]
)
def test_no_pattern_takes_long(pattern):
    names = ["a" * 1000 + "/" + str(number) for number in range(30)]

    def match_all() -> None:
        patterns = compile_patterns((pattern,), "/")
        for name in names:
            matches(patterns, name)

    assert least(match_all, 1.5) < 1.5
