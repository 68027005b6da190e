"""Header fields and the words of structured fields."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.message import headers
from greenmail.message.headers import (
    MAX_FIELDS,
    MAX_VALUE,
    Header,
    collect,
    finder,
    select,
    split,
    token_and_params,
    tokens,
    unfold,
)

HEADER = (
    b"From: John Doe <jdoe@machine.example>\r\n"
    b"To: Mary Smith\r\n <mary@example.net>\r\n"
    b"subject : Saying\r\n\tHello\r\n"
    b"Received: one\r\n"
    b"Received: two\r\n"
    b"\r\n"
    b"Body: this is none\r\n"
)


def test_fields_are_unfolded_in_order_and_found_in_any_case() -> None:
    header = Header(HEADER)
    assert [field.name for field in header.fields] == [b"From", b"To", b"subject", b"Received", b"Received"]
    assert header.first(b"TO") == b"Mary Smith <mary@example.net>"
    assert header.first(b"Subject") == b"Saying\tHello"
    assert header.all(b"received") == [b"one", b"two"]
    assert (header.first(b"Cc"), header.all(b"Cc"), header.first(b"")) == (None, [], None)


@pytest.mark.parametrize(
    "names, exclude, answer",
    [
        ((b"from", b"RECEIVED"), False,
         b"From: John Doe <jdoe@machine.example>\r\nReceived: one\r\nReceived: two\r\n\r\n"),
        ((b"To",), False, b"To: Mary Smith\r\n <mary@example.net>\r\n\r\n"),
        ((b"SUBJECT",), False, b"subject : Saying\r\n\tHello\r\n\r\n"),
        ((b"X",), False, b"\r\n"),
        ((b"from", b"received", b"subject"), True, b"To: Mary Smith\r\n <mary@example.net>\r\n\r\n"),
    ],
)  # fmt: skip
def test_select(names: tuple[bytes, ...], exclude: bool, answer: bytes) -> None:
    assert select(HEADER, names, exclude) == answer


def test_select_ends_a_header_that_is_cut_off() -> None:
    assert select(b"A: b", [b"a"]) == b"A: b\r\n\r\n"
    assert select(b"", [b"a"]) == b"\r\n"


def test_lines_that_are_no_fields_are_kept() -> None:
    header = b"From someone Mon Jan 1 10:00:00\r\nA: b\r\nnonsense\r\n more\r\n: empty\r\n\r\n"
    assert [field.name for field in split(header)] == [b"", b"A", b"", b""]
    assert b"".join(field.raw for field in split(header)) + b"\r\n" == header
    assert select(header, [b"a"], exclude=True) == header.replace(b"A: b\r\n", b"")


def test_ten_thousand_fields_and_a_very_long_one() -> None:
    header = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(10000)) + b"L: " + b"\r\n x" * 200000 + b"\r\n\r\n"
    assert Header(header).first(b"x-9999") == b"9999"
    assert select(header, [b"X-7"]) == b"X-7: 7\r\n\r\n"
    assert len(collect(finder(b"L"), header, 0, len(header))[b"l"][0]) == 2 * 200000 - 1


def test_what_is_read_for_its_meaning_is_bounded() -> None:
    header = b"To: a@b\r\n" * 5000 + b"Subject: x" + b"\r\n y" * 1000000 + b"\r\nDate: d\r\n  e\r\n\te\r\n"
    found = collect(finder(b"To", b"Subject", b"Date"), header, 0, len(header))
    assert len(found[b"to"]) == MAX_FIELDS
    assert MAX_VALUE // 2 - 10 < len(found[b"subject"][0]) < MAX_VALUE
    assert found[b"date"] == [b"d  e\te"]
    assert collect(finder(b"To"), header, 9, 12) == {b"to": [b""]}


@given(st.binary(max_size=200))
def test_no_octet_of_a_header_is_lost(data: bytes) -> None:
    found = b"".join(field.raw for field in split(data))
    assert data.startswith(found)
    assert data[len(found) :] in (b"",) or data[len(found) :].startswith((b"\r\n", b"\n"))
    Header(data)
    unfold(data)


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"text/plain; charset=us-ascii (Plain text)", (b"text/plain", ((b"charset", b"us-ascii"),))),  # RFC 2045 5.1
        (b'text/plain; charset="us-ascii"', (b"text/plain", ((b"charset", b"us-ascii"),))),
        (b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
         (b"application/x-stuff", ((b"title*", b"us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A"),))),  # RFC 2231 4
        (b"message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/moore/bulk-mailer.tar\"",
         (b"message/external-body",
          ((b"access-type", b"URL"), (b"URL", b"ftp://cs.utk.edu/pub/moore/bulk-mailer.tar")))),  # RFC 2231 3
        (b"a/b; title*0*=us-ascii'en'This%20is%20even%20more%20; "
         b"title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
         (b"a/b", ((b"title*", b"us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn't it!"),))),  # 4.1
        (b"a/b; n*1=late; n*0=early", (b"a/b", ((b"n", b"earlylate"),))),  # RFC 2231 3: any order
        (b"a/b; n*0=50%; n*1*=%20x", (b"a/b", ((b"n*", b"''50%25%20x"),))),
        (b"a/b; n*1=alone; n*x=odd", (b"a/b", ((b"n*x", b"odd"), (b"n*1", b"alone")))),
        (b"a/b; n*0=x; n*2=y", (b"a/b", ((b"n", b"x"),))),
        (b'a/b; x="q\\"uo\\\\te"; y=z', (b"a/b", ((b"x", b'q"uo\\te'), (b"y", b"z")))),
        (b'text/plain; charset="unclosed', (b"text/plain", ())),
        (b"multipart/mixed; boundary=a/b=c?d", (b"multipart/mixed", ((b"boundary", b"a/b=c?d"),))),  # no token
        (b"multipart/mixed; boundary=\"bnd 4\"; ; =x; y", (b"multipart/mixed", ((b"boundary", b"bnd 4"),))),
        (b"attachment (really); filename = x.txt ;size=5", (b"attachment", ((b"filename", b"x.txt"), (b"size", b"5")))),
        (b"a/b; x=1\"; y=2", (b"a/b", ((b"x", b'1"'), (b"y", b"2")))),
        (b"", (b"", ())),
        (b"(((", (b"", ())),
    ],
)  # fmt: skip
def test_token_and_params(value: bytes, expected: object) -> None:
    assert token_and_params(value) == expected


@pytest.mark.parametrize(
    "value, expected", [(b"de, en", (b"de", b"en")), (b"i-mingo (Mingo)", (b"i-mingo",)), (b", ,", ()), (b"", ())]
)
def test_tokens(value: bytes, expected: tuple[bytes, ...]) -> None:
    assert tokens(value) == expected


@given(
    st.lists(st.sampled_from([b'"', b"\\", b"(", b")", b";", b"=", b"a", b" ", b"*", b"0", b"[", b"\xe4", b"\r\n "]))
)
def test_any_value_has_tokens_and_params(parts: list[bytes]) -> None:
    value = b"".join(parts)
    head, params = token_and_params(value)
    assert isinstance(head, bytes)
    assert all(name for name, _ in params)
    tokens(value)


@given(
    st.lists(st.sampled_from([b"To", b"X", b":", b" ", b"\r\n", b"a" * 30, b"To: b\r\n", b"\r\n c"]), max_size=40),
    st.integers(50, 90),  # longer than a name with what stands before its colon
)
def test_windows_hide_no_field(parts: list[bytes], window: int) -> None:
    data = b"".join(parts)
    whole = collect(finder(b"To"), data, 0, len(data))
    before = headers.WINDOW, headers.SHORT
    headers.WINDOW, headers.SHORT = window, 0
    try:
        assert collect(finder(b"To"), data, 0, len(data)) == whole
    finally:
        headers.WINDOW, headers.SHORT = before
    if b"\r\n\r\n" not in data and not data.startswith(b"\r\n"):
        assert whole.get(b"to", []) == Header(data).all(b"to")


@given(
    st.lists(
        st.sampled_from(
            [b"To", b"x-A", b":", b" ", b"\t", b"\r", b"\n", b"\r\n", b"To: b\r\n", b"\r\n c", b"\xff", b"a b: c"]
        ),
        max_size=30,
    )
)
def test_short_headers_are_selected_from_as_long_ones_are(parts: list[bytes]) -> None:
    header = b"".join(parts)
    before = headers.SHORT
    found = select(header, [b"to", b"X-a"])
    headers.SHORT = 0
    try:
        assert select(header, [b"to", b"X-a"]) == found
    finally:
        headers.SHORT = before


@pytest.mark.interpreted
@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                b"To",
                b"Content-X",
                b":",
                b" ",
                b"\t",
                b"\r",
                b"\r\n",
                b"To : b\r\n",
                b"\r\n c",
                b"\r\n\t",
                b"\xff",
                b"\0",
                b"\n",
            ]
        ),
        max_size=14,
    )
)
def test_usual_headers_are_taken_apart_as_all_others_are(parts: list[bytes]) -> None:
    header = b"".join(parts)
    wanted = {b"to", b"content-x"}
    assert headers.named(header, wanted) == headers._named_among_any(header, wanted)
    usual = [collect(finder(name, prefix=prefix), header, 0, len(header)) for name, prefix in _FINDERS]
    usual_ways = headers.lines_of_crlf, headers.lines_of_lf
    headers.lines_of_crlf = headers.lines_of_lf = lambda header: None
    try:
        assert usual == [collect(finder(name), header, 0, len(header)) for name, _ in _FINDERS]
    finally:
        headers.lines_of_crlf, headers.lines_of_lf = usual_ways


_FINDERS = [(b"To", b""), (b"Content-X", b"content-"), (b"Content-X", b"")]
_VALUE_PIECES = [
    b"text/plain",
    b";",
    b" ",
    b"\t",
    b"=",
    b'"',
    b"name",
    b"charset=utf-8",
    b'; name="a b"',
    b"; x=1",
    b"(c)",
    b"\\",
    b"\r\n ",
    b"*0",
    b"*",
    b"/",
    b",",
    b'""',
    b"\xff",
    b"\x00",
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(_VALUE_PIECES), max_size=12).map(b"".join))
def test_usual_values_are_read_as_all_others_are(value: bytes) -> None:
    assert token_and_params(value) == headers._read_any(value)
