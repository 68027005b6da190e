"""What SEARCH finds in a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.message.collation import INSTALLED, Comparator, fold
from greenmail.message.content import BytesContent
from greenmail.message.search import Finder, look
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
        ("grüße", True, True),
        ("grüsse", False, False),  # by i;unicode-casemap; FUZZY finds it
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
    assert look(MAIL.read, root, [fold(needle), "\0no"], with_header=False) == [in_body, False]
    assert look(MAIL.read, root, ["\0no", fold(needle)], with_header=True) == [False, in_text]


@pytest.mark.parametrize(
    ("needle", "by"),
    [
        ("Grüße aus", INSTALLED),
        ("GRüßE AUS", INSTALLED[:2]),
        ("GRÜßE AUS", INSTALLED[:1]),
        ("inner body", INSTALLED),
        ("INNER body", INSTALLED[:2]),
    ],
)
def test_look_by_each_comparator(needle: str, by: tuple[str, ...]) -> None:
    root = scan(MAIL.read())
    for comparator in map(Comparator, INSTALLED):
        found = look(MAIL.read, root, [comparator.fold(needle)], with_header=False, comparator=comparator)
        assert found == [comparator.name in by], comparator


@given(st.text("abäß \u0308日", max_size=200), st.text("abäß日", min_size=1, max_size=6), st.integers(1, 9))
def test_blocks_find_what_the_whole_finds(text: str, needle: str, size: int) -> None:
    whole, cut = Finder([fold(needle)]), Finder([fold(needle)])
    whole.feed(text)
    cut.feed_all(text[n : n + size] for n in range(0, len(text), size))
    assert whole.found == cut.found
    if needle in text:
        assert whole.found == [True]


@given(st.binary(max_size=300))
def test_any_message_can_be_looked_through(data: bytes) -> None:
    served = BytesContent(data)
    look(served.read, scan(served.read()), ["x"], with_header=True)
