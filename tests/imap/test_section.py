"""section, section-binary and partial: RFC 9051 6.4.5.1 and 9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.section import (
    MAX_PART_DEPTH,
    Partial,
    Section,
    SectionText,
    format_section,
    partial,
    section,
    section_binary,
)

HEADER, TEXT, MIME = SectionText.HEADER, SectionText.TEXT, SectionText.MIME
FIELDS, NOT_FIELDS = SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT


@pytest.mark.parametrize(
    "text, expected",
    [
        # RFC 9051 6.4.5.1, the table of the complex message
        (b"[HEADER]", Section((), HEADER)),
        (b"[TEXT]", Section((), TEXT)),
        (b"[1]", Section((1,))),
        (b"[3.HEADER]", Section((3,), HEADER)),
        (b"[3.TEXT]", Section((3,), TEXT)),
        (b"[4.1.MIME]", Section((4, 1), MIME)),
        (b"[4.2.2.1]", Section((4, 2, 2, 1))),
        (b"[]", Section()),
        (b"[HEADER.FIELDS (DATE FROM)]", Section((), FIELDS, (b"DATE", b"FROM"))),
        (b"[header.fields.not (a)]", Section((), NOT_FIELDS, (b"a",))),
        (b"[1.2.HEADER.FIELDS (X)]", Section((1, 2), FIELDS, (b"X",))),
        (b'[HEADER.FIELDS ("a b" {3}\r\nx)y NIL)]', Section((), FIELDS, (b"a b", b"x)y", b"NIL"))),
        (b"[4294967295]", Section((4294967295,))),
    ],
)
def test_section(text: bytes, expected: Section) -> None:
    cur = Cursor(text)
    assert section(cur) == expected
    assert cur.at_end()
    assert section(Cursor(format_section(expected))) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[0]",
        b"[01]",
        b"[1.]",
        b"[1.0]",
        b"[.1]",
        b"[MIME]",
        b"[HEADER.FIELDS]",
        b"[HEADER.FIELDS ()]",
        b"[HEADER.FIELDS  (A)]",
        b"[HEADER.FIELDS (A B]",
        b"[HEADERS]",
        b"[TEXT.1]",
        b"[1 ]",
        b"[4294967296]",
        b"[1.HEADER.MIME]",
        b"[" + b"1." * MAX_PART_DEPTH + b"1]",
    ],
)
def test_wrong_section(text: bytes) -> None:
    cur = Cursor(text)
    with pytest.raises(BadSyntax):
        section(cur)


@pytest.mark.parametrize("text, expected", [(b"[]", Section()), (b"[1.2]", Section((1, 2)))])
def test_section_binary(text: bytes, expected: Section) -> None:
    assert section_binary(Cursor(text)) == expected


@pytest.mark.parametrize("text", [b"[HEADER]", b"[1.MIME]", b"[1.]", b"[x]", b"1"])
def test_wrong_section_binary(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        section_binary(Cursor(text))


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"<0.2048>", Partial(0, 2048)),
        (b"<9223372036854775807.1>", Partial(2**63 - 1, 1)),
        (b" rest", None),
        (b"", None),
    ],
)
def test_partial(text: bytes, expected: Partial | None) -> None:
    assert partial(Cursor(text)) == expected


@pytest.mark.parametrize("text", [b"<0.0>", b"<0>", b"<.1>", b"<1.1", b"<9223372036854775808.1>", b"<-1.1>"])
def test_wrong_partial(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        partial(Cursor(text))


_names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)
_parts = st.lists(st.integers(1, 2**32 - 1), max_size=6).map(tuple)
_sections = st.one_of(
    st.builds(Section, _parts, st.just(SectionText.CONTENT), st.just(())),
    st.builds(Section, _parts, st.sampled_from([HEADER, TEXT]), st.just(())),
    st.builds(Section, _parts.filter(bool), st.just(MIME), st.just(())),
    st.builds(Section, _parts, st.sampled_from([FIELDS, NOT_FIELDS]), st.lists(_names, min_size=1).map(tuple)),
)


@given(_sections)
def test_what_is_answered_can_be_asked_for(wanted: Section) -> None:
    assert section(Cursor(format_section(wanted))) == wanted


@given(st.one_of(st.binary(), st.lists(st.sampled_from(b"[].<>() 01HEADERFIELDSNOTMIMEX"), max_size=40).map(bytes)))
def test_any_octets_give_a_section_or_bad_syntax(octets: bytes) -> None:
    for rule in (section, section_binary, partial):
        try:
            rule(Cursor(octets))
        except BadSyntax:
            continue
