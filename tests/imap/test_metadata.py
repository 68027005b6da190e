"""METADATA: what the client's octets mean, and which entries are below which. RFC 5464."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.metadata import (
    GetMetadata,
    SetMetadata,
    _is_below,
    entries,
    entry,
    parse_getmetadata,
    parse_setmetadata,
)

INFINITE = 1 << 20
COMMENT = "/shared/comment"
OWN = "/private/comment"


@pytest.mark.parametrize(
    "text, expected",
    [
        (b' "" /shared/comment', GetMetadata("", (COMMENT,))),
        (b' "INBOX" (/shared/comment /private/comment)', GetMetadata("INBOX", (COMMENT, OWN))),
        (b" INBOX /private/comment /shared/comment", GetMetadata("INBOX", (OWN, COMMENT))),
        (b' "INBOX" (MAXSIZE 1024) (/shared/comment)', GetMetadata("INBOX", (COMMENT,), 0, 1024)),
        (b' (MAXSIZE 0) "INBOX" (/shared/comment)', GetMetadata("INBOX", (COMMENT,), 0, 0)),
        (b" a (depth 1 maxsize 2) /shared/comment", GetMetadata("a", (COMMENT,), 1, 2)),
        (b" (DEPTH Infinity) a ({15+}\r\n/shared/comment)", GetMetadata("a", (COMMENT,), INFINITE)),
        (b" (DEPTH 0) a (/shared/comment)", GetMetadata("a", (COMMENT,))),
        (b' a ("/Shared/Comment")', GetMetadata("a", ("/Shared/Comment",))),
        (b" &AOk- /private", GetMetadata("\u00e9", ("/private",))),
    ],
)
def test_getmetadata(text: bytes, expected: GetMetadata) -> None:
    cur = Cursor(text)
    assert parse_getmetadata(cur, False) == expected
    cur.end()


@pytest.mark.parametrize(
    "text, expected",
    [
        (b" INBOX (/private/comment NIL)", {OWN: None}),
        (b' INBOX (/private/comment "x" /SHARED/Comment {3+}\r\na\r\n)', {OWN: b"x", COMMENT: b"a\r\n"}),
        (b' INBOX (/shared/comment "a" /shared/COMMENT nil)', {COMMENT: None}),
        (b" INBOX (/shared/comment ~{3+}\r\n\0\xff\n)", {COMMENT: b"\0\xff\n"}),
        (b' INBOX ("/shared/vendor/a/b c" "")', {"/shared/vendor/a/b c": b""}),
        (b' INBOX (/shared/vendors/a "x")', {"/shared/vendors/a": b"x"}),
    ],
)
def test_setmetadata(text: bytes, expected: dict[str, bytes | None]) -> None:
    cur = Cursor(text)
    assert parse_setmetadata(cur, False) == SetMetadata("INBOX", expected)
    cur.end()


@pytest.mark.parametrize(
    "name", ["/private", "/shared/a", "/Private/a b", "/shared/\x7f~", "/shared/\x1a", "/SHARED/a/b/c"]
)
def test_names_of_entries(name: str) -> None:
    octets = name.encode()
    assert entry(Cursor(b'"%b"' % octets)) == name


@pytest.mark.parametrize(
    "name",
    [
        b"", b"/", b"a", b"shared/a", b"/public/a", b"/sharedx/a", b"/shared/", b"/shared//a", b"//shared/a",
        b"/shared/a*", b"/shared/%", b"/shared/\x19", b"/shared/\x01", "/shared/\u00e9".encode(), b"/shared/\xff",
        b"/private/a/",
    ],
)  # fmt: skip
def test_what_is_no_entry(name: bytes) -> None:
    with pytest.raises(BadSyntax):
        entry(Cursor(b"{%d+}\r\n%b" % (len(name), name)))


def test_a_client_cannot_ask_for_any_number_of_entries() -> None:
    assert len(entries(Cursor(b"(" + b" ".join([b"/shared/a"] * 1000) + b")"))) == 1000
    with pytest.raises(BadSyntax):
        entries(Cursor(b"(" + b" ".join([b"/shared/a"] * 1001) + b")"))


WORDS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4)


@given(WORDS, WORDS, st.sampled_from([0, 1, INFINITE]))
def test_an_entry_is_below_another_by_whole_components(key: list[str], stem: list[str], levels: int) -> None:
    """RFC 5464 4.2.2."""
    expected = key[: len(stem)] == stem and len(key) - len(stem) <= levels
    assert _is_below("/".join(["/shared", *key]), "/".join(["/shared", *stem]), levels) == expected
