"""Responses are valid whatever the values are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor


@pytest.mark.parametrize(
    "data, utf8, expected",
    [
        (b"", False, b'""'),
        (b"Terry Gray", False, b'"Terry Gray"'),  # RFC 9051 8
        (b'say "hi" \\', False, rb'"say \"hi\" \\"'),
        (b"a\r\nb", False, b"{4}\r\na\r\nb"),
        (b"\xc3\xbc", False, b"{2}\r\n\xc3\xbc"),  # RFC 9051 A: no UTF-8 in quoted strings before ENABLE
        (b"\xc3\xbc", True, b'"\xc3\xbc"'),
        (b"\xfc", True, b"{1}\r\n\xfc"),
        (b"a\0b", False, b"{3}\r\na\x80b"),
        (b"x" * 1024, False, b'"' + b"x" * 1024 + b'"'),
        (b"x" * 1025, False, b"{1025}\r\n" + b"x" * 1025),
    ],
)
def test_string(data, utf8, expected):
    assert serialize.string(data, utf8) == expected


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"INBOX", b"INBOX"),
        (b"foo bar", b'"foo bar"'),
        (b"", b'""'),
        (b"NIL", b'"NIL"'),
        (b"a]", b'"a]"'),
        (b"50%", b'"50%"'),
        (b"INBOX.Sent\n", b"{11}\r\nINBOX.Sent\n"),
    ],
)
def test_astring(data, expected):
    assert serialize.astring(data) == expected


def test_nstring():
    assert serialize.nstring(None) == b"NIL"
    assert serialize.nstring(b"NIL") == b'"NIL"'


def test_literal8_keeps_nul():
    assert serialize.literal8(b"a\0") == b"~{2}\r\na\0"


@pytest.mark.parametrize(
    "name, utf8, expected",
    [
        ("INBOX", False, b"INBOX"),
        ("日本語", False, b"&ZeVnLIqe-"),
        ("日本語", True, '"日本語"'.encode()),
        ("Entwürfe", False, b"Entw&APw-rfe"),
        ("A&B", False, b"A&-B"),
        ("A&B", True, b"A&B"),
        ("foo bar", True, b'"foo bar"'),
    ],
)
def test_mailbox(name, utf8, expected):
    assert serialize.mailbox(name, utf8) == expected


def test_mailbox_string_is_never_an_atom():
    assert serialize.mailbox_string("INBOX.", False) == b'"INBOX."'


@pytest.mark.parametrize("char, expected", [("/", b'"/"'), ("\\", b'"\\\\"'), ("", b"NIL")])
def test_separator(char, expected):
    assert serialize.separator(char) == expected


@pytest.mark.parametrize(
    "flags, expected",
    [
        ((), b"()"),
        (("\\Seen",), b"(\\Seen)"),
        (("b", "\\Recent", "\\Seen", "a", "\\Answered"), b"(\\Answered \\Seen \\Recent a b)"),
        (("good", "two words", "", "bad)", "kéy"), b"(good)"),
        (("\\*", "\\Seen"), b"(\\Seen \\*)"),
    ],
)
def test_flag_list_has_flags_only(flags, expected):
    assert serialize.flag_list(flags) == expected


def test_addresses():
    # RFC 9051 8, the envelope of the example
    terry = serialize.address(b"Terry Gray", None, b"gray", b"cac.washington.edu")
    assert terry == b'("Terry Gray" NIL "gray" "cac.washington.edu")'
    assert serialize.address_list([terry, terry]) == b"(" + terry + terry + b")"
    assert serialize.address_list([]) == b"NIL"


@pytest.mark.parametrize(
    "words, utf8, expected",
    [
        ("done", False, b"done"),
        ("two\r\n* BYE lines", False, b"two  * BYE lines"),
        ("[ALERT] x", False, b"ALERT] x"),
        ("", False, b" "),
        ("Größe", False, b"Gr??e"),
        ("Größe", True, "Größe".encode()),
    ],
)
def test_text(words, utf8, expected):
    assert serialize.text(words, utf8) == expected


@given(st.binary(), st.booleans())
def test_a_string_is_a_string(data, utf8):
    cur = Cursor(serialize.string(data, utf8))
    assert len(grammar.string(cur)) == len(data)
    cur.end()


@given(st.lists(st.text()))
def test_a_flag_list_is_a_flag_list(flags):
    cur = Cursor(serialize.flag_list(flags))
    grammar.flag_list(cur)
    cur.end()


@given(st.text(), st.booleans())
def test_a_text_is_one_line(words, utf8):
    rendered = serialize.text(words, utf8)
    assert rendered and not set(rendered) & {0, 10, 13} and not rendered.startswith(b"[")
    assert utf8 or rendered.isascii()
