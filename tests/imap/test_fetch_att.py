"""fetch-att, macros and fetch-modifiers: RFC 9051 9, RFC 4466 2.4, RFC 7162 7."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.commands.fetch import FLAGS, INTERNALDATE, SIZE, UID, parse_fetch
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.condstore import MODSEQ
from greenmail.imap.fetch_att import BinaryItem, BinarySizeItem, BodyItem, FetchRequest, Item, RenderedItem
from greenmail.imap.section import Partial, Section, SectionText
from greenmail.storage.api import CacheKind

ENVELOPE = RenderedItem(b"ENVELOPE", CacheKind.ENVELOPE)
BODY = RenderedItem(b"BODY", CacheKind.BODY)
BODYSTRUCTURE = RenderedItem(b"BODYSTRUCTURE", CacheKind.BODYSTRUCTURE)
DATE_FROM = Section((), SectionText.HEADER_FIELDS, (b"DATE", b"FROM"))


def parsed(text: bytes, uid: bool = False) -> FetchRequest:
    cur = Cursor(b" 1 " + text)
    request = parse_fetch(cur, uid)
    cur.end()
    return request


@pytest.mark.parametrize(
    "text, expected",
    [
        # RFC 9051 6.4.5, the example
        (b"(FLAGS BODY[HEADER.FIELDS (DATE FROM)])", [FLAGS, BodyItem(b"BODY[HEADER.FIELDS (DATE FROM)]", DATE_FROM)]),
        (b"ALL", [FLAGS, INTERNALDATE, SIZE, ENVELOPE]),
        (b"fast", [FLAGS, INTERNALDATE, SIZE]),
        (b"Full", [FLAGS, INTERNALDATE, SIZE, ENVELOPE, BODY]),
        (b"uid", [UID]),
        (b"(UID FLAGS uid)", [UID, FLAGS]),
        (b"(BODY BODYSTRUCTURE)", [BODY, BODYSTRUCTURE]),
        (b"BODY[]", [BodyItem(b"BODY[]", Section())]),
        (b"BODY.PEEK[1]<0.393216>", [BodyItem(b"BODY[1]", Section((1,)), Partial(0, 393216), peek=True)]),
        (b"BINARY[1]", [BinaryItem(b"BINARY[1]", Section((1,)))]),
        (b"BINARY.PEEK[1.2]<5.6>", [BinaryItem(b"BINARY[1.2]", Section((1, 2)), Partial(5, 6), peek=True)]),
        (b"BINARY.SIZE[3]", [BinarySizeItem(b"BINARY.SIZE[3]", Section((3,)))]),
        (b"RFC822", [BodyItem(b"RFC822", Section())]),
        (b"(RFC822.SIZE)", [SIZE]),
        (b"RFC822.HEADER", [BodyItem(b"RFC822.HEADER", Section((), SectionText.HEADER), peek=True)]),
        (b"RFC822.TEXT", [BodyItem(b"RFC822.TEXT", Section((), SectionText.TEXT))]),
        (b"(MODSEQ)", [MODSEQ]),
    ],
)
def test_fetch_att(text: bytes, expected: list[Item]) -> None:
    assert list(parsed(text).items) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"()",
        b"(FLAGS",
        b"(FLAGS )",
        b"( FLAGS)",
        b"FLAGS UID",
        b"(ALL)",
        b"(FLAGS FAST)",
        b"ALLX",
        b"BODY.PEEK",
        b"BODY.PEEK1",
        b"BODY[",
        b"BINARY",
        b"BINARY[TEXT]",
        b"BINARY.SIZE[1]<0.1>",
        b"RFC822.SIZE[1]",
        b"FLAGS[]",
        b"UID<0.1>",
        b"(UID) ()",
        b"(UID) (CHANGEDSINCE)",
        b"(UID) (CHANGEDSINCE x)",
        b"(UID) (CHANGEDSINCE 1 CHANGEDSINCE 1)",
        b"(UID) (BOGUS)",
        b"(UID)(CHANGEDSINCE 1)",
        b"(" + b"UID FLAGS " * 2 + b"BODY[1]" + b"".join(b" BODY[%d]" % n for n in range(2, 1200)) + b")",
    ],
)
def test_wrong_fetch_att(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parsed(text)


def test_modifiers_are_a_table() -> None:
    ((modifier, value),) = parsed(b"UID (changedsince 12345)").modifiers
    assert (modifier.name, value) == ("CHANGEDSINCE", 12345)


def test_changedsince_zero_is_accepted() -> None:
    """iOS Mail 16 sends it, though RFC 7162 7 wants a positive number."""
    ((_, value),) = parsed(b"UID (CHANGEDSINCE 0)").modifiers
    assert value == 0


_WORDS = [
    b"BODY",
    b".PEEK",
    b"[",
    b"]",
    b"(",
    b")",
    b" ",
    b"HEADER.FIELDS",
    b"1",
    b".",
    b"<0.1>",
    b"UID",
    b"ALL",
    b"{1}\r\nx",
]


@given(st.one_of(st.binary(), st.lists(st.sampled_from(_WORDS), max_size=12).map(b"".join)))
def test_any_octets_give_a_request_or_bad_syntax(octets: bytes) -> None:
    try:
        parse_fetch(Cursor(b" 1:* " + octets), uid=False)
    except BadSyntax:
        return
