"""The rules of RFC 9051 9, one table each; then: any octets give a value or BadSyntax, and values come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor


def read(rule, text, rest=b"", **options):
    """What `rule` makes of `text`; `rest` must be left."""
    cur = Cursor(text, **options)
    value = rule(cur)
    assert cur.text[cur.pos :] == rest
    return value


@pytest.mark.parametrize(
    "rule, text, expected, rest",
    [
        (grammar.tag, b"a001 OK", b"a001", b" OK"),
        (grammar.tag, b"A.]1 x", b"A.]1", b" x"),
        (grammar.atom, b"INBOX]", "INBOX", b"]"),
        (grammar.atom, b"$Forwarded)", "$Forwarded", b")"),
        (grammar.auth_type, b"scram-sha-256", "SCRAM-SHA-256", b""),
        (grammar.capability, b"Auth=Plain x", "AUTH=PLAIN", b" x"),
        (grammar.tagged_ext_label, b"changedsince 12", "CHANGEDSINCE", b" 12"),
        (grammar.base64, b"AGFsaWNlAHNlY3JldA==", b"AGFsaWNlAHNlY3JldA==", b""),
        (grammar.base64, b"", b"", b""),
        (grammar.astring, b"foo]bar baz", b"foo]bar", b" baz"),
        (grammar.astring, b'"foo bar"', b"foo bar", b""),
        (grammar.astring, b"{3}\r\nf o)", b"f o", b")"),
        (grammar.astring, b"NIL", b"NIL", b""),  # an astring is never nil
        (grammar.astring_text, b'"\xc3\xbc"', "ü", b""),
        (grammar.astring_text, b"{2}\r\n\xc3\xbc", "ü", b""),
        (grammar.string, b'""', b"", b""),
        (grammar.string, b"{0}\r\n", b"", b""),
        (grammar.string, b"{11+}\r\nFRED FOOBAR {7+}", b"FRED FOOBAR", b" {7+}"),  # RFC 7888 3
        (grammar.quoted, rb'"a\"b\\c"', rb'a"b\c', b""),
        (grammar.quoted, b'"\xe2\x82\xac"', b"\xe2\x82\xac", b""),
        (grammar.quoted, b'"\x01\t\x7f"', b"\x01\t\x7f", b""),  # TEXT-CHAR: any CHAR but CR and LF
        (grammar.nstring, b"nil)", None, b")"),
        (grammar.nstring, b'"NIL"', b"NIL", b""),
        (grammar.literal8, b"~{3}\r\na\0b", b"a\0b", b""),
        (grammar.literal8, b"~{3+}\r\na\0bc", b"a\0b", b"c"),
        (grammar.number, b"0", 0, b""),
        (grammar.number, b"00000000000007", 7, b""),
        (grammar.number, b"4294967295x", 4294967295, b"x"),
        (grammar.number64, b"9223372036854775807", 9223372036854775807, b""),
        (grammar.nz_number, b"1", 1, b""),
        (grammar.nz_number64, b"4294967296", 4294967296, b""),
        (grammar.mod_sequence_valzer, b"12345678901", 12345678901, b""),
        (grammar.mod_sequence_valzer, b"0", 0, b""),
        (grammar.partial, b"<0.2048>", (0, 2048), b""),  # RFC 9051 6.4.5
        (grammar.charset, b"utf-8 ", "UTF-8", b" "),
        (grammar.charset, b'"us-ascii"', "US-ASCII", b""),
        (grammar.header_list, b"(From {4}\r\nDate) x", (b"From", b"Date"), b" x"),
        (grammar.userid, b"mrc secret", b"mrc", b" secret"),
        (grammar.password, rb'"se\"cret"', b'se"cret', b""),
    ],
)
def test_rule(rule, text, expected, rest):
    assert read(rule, text, rest) == expected


@pytest.mark.parametrize(
    "rule, text",
    [
        (grammar.tag, b""),
        (grammar.tag, b"+ x"),
        (grammar.tag, b"* x"),
        (grammar.tag, b"\xc3\xbc x"),
        (grammar.atom, b"]"),
        (grammar.atom, b"(x)"),
        (grammar.base64, b"AGF"),
        (grammar.astring, b""),
        (grammar.astring, b"%"),
        (grammar.astring, b"\x80"),
        (grammar.astring_text, b"{1}\r\n\xff"),
        (grammar.string, b"atom"),
        (grammar.quoted, b'"a'),
        (grammar.quoted, b'"a\0b"'),  # NUL, as in a CVE of 2019
        (grammar.quoted, b'"a\rb"'),
        (grammar.quoted, b'"a\nb"'),
        (grammar.quoted, rb'"a\b"'),  # only the two quoted-specials may be escaped
        (grammar.quoted, rb'"a\"'),
        (grammar.quoted, b'"\xff"'),
        (grammar.quoted, b'"\xc3"'),
        (grammar.quoted, b'"\xed\xa0\x80"'),  # a surrogate is no UTF8-3
        (grammar.literal, b"{3}\r\nab"),
        (grammar.literal, b"{3}\r\na\0b"),
        (grammar.literal, b"{-1}\r\n"),
        (grammar.literal, b"{3}abc"),
        (grammar.literal, b"{" + b"9" * 5000 + b"}\r\n"),
        (grammar.literal, b"~{1}\r\na"),
        (grammar.literal8, b"{1}\r\na"),
        (grammar.nstring, b"x"),
        (grammar.number, b"-1"),
        (grammar.number, b"4294967296"),
        (grammar.number, b"9" * 5000),
        (grammar.number64, b"9223372036854775808"),
        (grammar.nz_number, b"0"),
        (grammar.nz_number, b"01"),
        (grammar.nz_number64, b"0"),
        (grammar.mod_sequence_valzer, b"9223372036854775808"),
        (grammar.partial, b"<0.0>"),
        (grammar.partial, b"<1>"),
        (grammar.charset, b'"\xc3\xbc"'),
        (grammar.header_list, b"()"),
        (grammar.header_list, b"(From  To)"),
        (grammar.header_list, b"(From"),
        (grammar.flag_list, b"\\Seen"),
        (grammar.flag_list, b"(\\Seen \\)"),
        (grammar.flag_list, b"( )"),
        (grammar.flag_list, b"(a ])"),
        (grammar.store_flags, b""),
    ],
)
def test_what_a_rule_refuses(rule, text):
    with pytest.raises(BadSyntax):
        rule(Cursor(text))


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"()", set()),
        (rb"(\Seen \Deleted)", {"\\Seen", "\\Deleted"}),
        (rb"(\sEEN $label1 $Label1)", {"\\Seen", "$label1"}),
        (rb"(\Recent \Flagged)", {"\\Flagged"}),  # \Recent cannot be set, RFC 3501 2.3.2
        (rb"(\XYZ NonJunk)", {"NonJunk"}),  # ignored as PERMANENTFLAGS of RFC 9051 7.1 allows
    ],
)
def test_flag_list(text, expected):
    assert read(grammar.flag_list, text) == expected
    assert read(grammar.store_flags, text) == expected


def test_store_takes_flags_without_parentheses():
    assert read(grammar.store_flags, rb"\Seen \draft x") == {"\\Seen", "\\Draft", "x"}


@pytest.mark.parametrize(
    "text, utf8, expected",
    [
        (b"INBOX", False, "INBOX"),
        (b"iNbOx", True, "INBOX"),
        (b'"inbox"', False, "INBOX"),
        (b"{5}\r\nInbox", False, "INBOX"),
        (b"inbox/x", False, "inbox/x"),
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", False, "~peter/mail/台北/日本語"),  # RFC 9051 A.1
        (b"&Jjo-!", False, "☺!"),  # RFC 9051 A.1
        (b"A&-B", False, "A&B"),
        (b"A&B", True, "A&B"),  # Thunderbird after ENABLE UTF8=ACCEPT
        (b'"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"', True, "日本語"),
        (b"&ZeVnLIqe-", True, "&ZeVnLIqe-"),
        (b'""', False, ""),
    ],
)
def test_mailbox(text, utf8, expected):
    assert read(grammar.mailbox, text, utf8=utf8) == expected


@pytest.mark.parametrize(
    "text, utf8",
    [
        (b"&Jjo!", False),  # RFC 9051 A.1: no "-"
        (b"&U,BTFw-&ZeVnLIqe-", False),  # RFC 9051 A.1: superfluous shift
        (b"A&B", False),
        (b'"\xc3\xbc"', False),
        (b"{1}\r\n\xfc", True),
    ],
)
def test_octets_that_are_no_name_are_refused_but_no_syntax_error(text, utf8):
    with pytest.raises(Refused) as refusal:
        grammar.mailbox(Cursor(text, utf8=utf8))
    assert refusal.value.code == "CANNOT"


@pytest.mark.parametrize(
    "text, expected, rest",
    [
        (b"%", "%", b""),
        (b"INBOX.* x", "INBOX.*", b" x"),
        (b'"foo bar/%"', "foo bar/%", b""),
        (b"inbox", "INBOX", b""),
        (b"foo])", "foo]", b")"),
        (b"&AOk-*", "é*", b""),
        (b"&AOk*", None, b""),
    ],
)
def test_list_mailbox(text, expected, rest):
    assert read(grammar.list_mailbox, text, rest) == expected


def test_a_streamed_literal_is_no_string():
    with pytest.raises(BadSyntax):
        grammar.astring(Cursor(b"{3}\r\nabc", staged={5: object()}))


RULES = [
    grammar.tag,
    grammar.atom,
    grammar.base64,
    grammar.quoted,
    grammar.literal,
    grammar.literal8,
    grammar.string,
    grammar.nstring,
    grammar.astring,
    grammar.astring_text,
    grammar.charset,
    grammar.header_list,
    grammar.number,
    grammar.number64,
    grammar.nz_number,
    grammar.nz_number64,
    grammar.mod_sequence_valzer,
    grammar.partial,
    grammar.list_mailbox,
    grammar.flag_list,
    grammar.store_flags,
]

LIKELY = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [
                b"(",
                b")",
                b'"',
                b"\\",
                b"{",
                b"}",
                b"{3}\r\n",
                b"~{1+}\r\n",
                b" ",
                b"NIL",
                b"1",
                b"&",
                b"-",
                b"a",
                b"\xc3\xbc",
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


@given(st.sampled_from(RULES), LIKELY, st.booleans())
def test_any_octets_give_a_value_or_bad_syntax(rule, text, utf8):
    cur = Cursor(text, utf8=utf8)
    try:
        rule(cur)
    except BadSyntax:
        return
    assert 0 <= cur.pos <= len(text)


@given(LIKELY, st.booleans())
def test_any_octets_give_a_mailbox_or_a_refusal(text, utf8):
    try:
        name = grammar.mailbox(Cursor(text, utf8=utf8))
    except (BadSyntax, Refused):
        return
    assert read(grammar.mailbox, serialize.mailbox(name, utf8), utf8=utf8) == name


@given(st.binary().map(lambda data: data.replace(b"\0", b"")))
def test_strings_come_back(data):
    assert read(grammar.string, serialize.string(data)) == data
    assert read(grammar.astring, serialize.astring(data)) == data
    assert read(grammar.nstring, serialize.nstring(data)) == data
    assert read(grammar.astring, serialize.astring(data, utf8=True)) == data


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.booleans())
def test_mailbox_names_come_back(name, utf8):
    if name.upper() == "INBOX":
        name = "INBOX"
    assert read(grammar.mailbox, serialize.mailbox(name, utf8), utf8=utf8) == name
