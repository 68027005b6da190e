"""What SEARCH finds in a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.message.content import BytesContent
from greenmail.message.headers import Header
from greenmail.message.search import Finder, field_contains, fold, look
from greenmail.message.structure import scan

MAIL = BytesContent(
    b"""From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>
Subject: =?iso-8859-1?Q?=C4pfel?= und Birnen
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe aus M=C3=BCnchen, soft=
broken
--b
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: base64

PHA+Q2Fm6TwvcD4=
--b
Content-Type: message/rfc822

Subject: inner subject

inner body
--b
Content-Type: image/png; name=picture.png

PICTUREDATA
--b
Content-Type: text/plain
Content-Transfer-Encoding: x-unknown

as it stands
--b--
epilogue
"""
)


@pytest.mark.parametrize(
    "needle, in_body, in_text",
    [
        ("grüsse", True, True),
        ("GRÜßE AUS", True, True),
        ("softbroken", True, True),
        ("café", True, True),
        ("cafe\u0301", True, True),
        ("inner subject", True, True),
        ("INNER BODY", True, True),
        ("picture.png", True, True),  # headers of parts belong to the body
        ("as it stands", True, True),
        ("äpfel und", False, True),
        ("jürgen", False, True),
        ("Birnen", False, True),
        ("picturedata", False, False),  # no text
        ("preamble", False, False),
        ("", True, True),
    ],
)
def test_look(needle: str, in_body: bool, in_text: bool) -> None:
    root = scan(MAIL.read())
    assert look(MAIL.read, root, [needle, "\0no"], with_header=False) == [in_body, False]
    assert look(MAIL.read, root, ["\0no", needle], with_header=True) == [False, in_text]


def test_field_contains() -> None:
    header = Header(MAIL.header())
    assert field_contains(header, b"subject", "ÄPFEL UND")
    assert field_contains(header, b"from", "Jürgen <J@")
    assert field_contains(header, b"from", "")
    assert not field_contains(header, b"cc", "")


@given(st.text("abäß \u0308日", max_size=200), st.text("abäß日", min_size=1, max_size=6), st.integers(1, 9))
def test_blocks_find_what_the_whole_finds(text: str, needle: str, size: int) -> None:
    whole, cut = Finder([needle]), Finder([needle])
    whole.feed(text)
    cut.feed_all(text[n : n + size] for n in range(0, len(text), size))
    if "\u0308" not in text:  # a mark that is cut from its letter may find less
        assert whole.found == cut.found
    if needle in text:
        assert whole.found == [True]


def test_fold_is_not_slow_on_many_marks() -> None:
    fold("a" + "\u0301\u0323" * 50000)


@given(st.binary(max_size=300))
def test_any_message_can_be_looked_through(data: bytes) -> None:
    served = BytesContent(data)
    look(served.read, scan(served.read()), ["x"], with_header=True)
