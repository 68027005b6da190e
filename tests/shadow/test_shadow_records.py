"""The answers of imaplib, taken apart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.shadow.records import answers, fetched, text_of


@pytest.mark.parametrize(
    "records, expected",
    [
        ([], []),
        ([None], []),
        ([b'(\\HasNoChildren) "/" INBOX'], [[[b"\\HasNoChildren"], b"/", b"INBOX"]]),
        ([b'() NIL "a \\"b\\" \\\\c"'], [[[], None, b'a "b" \\c']]),
        ([(b'() "/" {5}', b"a\r\nb "), b""], [[[], b"/", b"a\r\nb "]]),
        # RFC 9051 7.5.2, the example under FETCH
        ([b"23 (FLAGS (\\Seen) RFC822.SIZE 44827)"], [[b"23", [b"FLAGS", [b"\\Seen"], b"RFC822.SIZE", b"44827"]]]),
        (
            [(b"1 (BODY[] {3}", b")x("), (b" X ~{2}", b"ab"), b" UID 7)", b"2 (UID 9)"],
            [[b"1", [b"BODY[]", b")x(", b"X", b"ab", b"UID", b"7"]], [b"2", [b"UID", b"9"]]],
        ),
        ([b"5 (FLAGS ([x NIL $y))"], [[b"5", [b"FLAGS", [b"[x", None, b"$y"]]]]),
        ([b"(((a))) "], [[[[[b"a"]]]]]),
    ],
)
def test_answers(records: list[Any], expected: list[Any]) -> None:
    assert list(answers(records)) == expected


@pytest.mark.parametrize("records", [[b"1 (UID 7"], [b"1 UID 7)"], [b'1 ("ab'], [(b"1 ({1}", b"x")]])
def test_what_is_not_the_protocol_is_refused(records: list[Any]) -> None:
    with pytest.raises(BadSyntax):
        list(answers(records))


@pytest.mark.parametrize("records", [[b"1 (UID)"], [b"1 UID"], [b"1"]])
def test_what_is_no_answer_to_fetch_is_refused(records: list[Any]) -> None:
    with pytest.raises(BadSyntax):
        list(fetched(records))


def test_names_of_items_are_caseless() -> None:
    assert list(fetched([b"1 (Uid 7 rfc822.size 3)"])) == [{b"UID": b"7", b"RFC822.SIZE": b"3"}]


ATOMS = st.from_regex(rb"[A-Za-z0-9\\$\[\]&._-]{1,8}", fullmatch=True).filter(lambda atom: atom.upper() != b"NIL")
VALUES = st.recursive(
    st.none() | ATOMS | st.binary(max_size=12), lambda values: st.lists(values, max_size=4), max_leaves=12
)


def written(value: Any, how: int) -> list[bytes | tuple[bytes, bytes]]:
    """Records with the value: text, and pairs for literals."""
    if value is None:
        return [b"NIL"]
    if isinstance(value, list):
        parts: list[Any] = [b"("]
        for number, part in enumerate(value):
            parts += [b" "] * bool(number) + written(part, how + number)
        return [*parts, b")"]
    if how % 3 == 0 and b"\r" not in value and b"\n" not in value:
        return [b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"']
    return [(b"{%d}" % len(value), value)]


def together(parts: list[Any]) -> list[Any]:
    """As imaplib gives them: text up to a literal in a pair with it, and text at the end."""
    records: list[Any] = []
    text = b""
    for part in parts:
        if isinstance(part, bytes):
            text += part
        else:
            records.append((text + part[0], part[1]))
            text = b""
    return [*records, text]


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=3), st.integers(0, 2))
def test_what_was_written_is_read(expected: list[list[Any]], how: int) -> None:
    records = []
    for values in expected:
        parts: list[Any] = []
        for number, value in enumerate(values):
            parts += [b" "] * bool(number) + written(value, how + number)
        records += together(parts)
    assert list(answers(records)) == expected


@given(st.lists(st.binary(max_size=40) | st.tuples(st.binary(max_size=20).map(lambda b: b + b"{3}"), st.binary())))
def test_any_octets_give_values_or_are_refused(records: list[Any]) -> None:
    try:
        for values in answers(records):
            text_of(values)
    except BadSyntax:
        pass


def test_deep_parentheses_are_no_harm() -> None:
    (values,) = answers([b"(" * 100_000 + b")" * 100_000])
    assert "..." in text_of(values)
