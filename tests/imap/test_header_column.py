"""Header fields found in one string: what is found is what looking at each header finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.imap.header_column import ENCODED, OPEN, PLAIN, Column, asked, column
from greenmail.imap.header_record import TOO_LONG, header_of, headers_record
from greenmail.imap.search_key import HeaderKey
from greenmail.imap.search_run import match_header
from greenmail.imap.text_probe import Needle

HEADERS = (
    b"From: Ada <ada@example.org>\r\nSubject: Re: a  word\r\nTo: bob@example.org\r\n\r\n",
    b"Subject: folded\r\n word\r\nFrom: Bob\r\n\r\n",
    b"SUBJECT : loud\r\nfrom:ADA\r\n\r\n",
    b"From: subject: word\r\n\r\n",
    b"\r\n",
    b"Subject: no end: ada\r\n",
    b"From: =?utf-8?q?Ad=C3=A1?= <a@example.org>\r\nSubject: word\r\n\r\n",
    b"From: Ad\xc3\xa1\r\nSubject: word\r\n\r\n",
    b"Subject: one\r\nSubject: two word\r\n\r\n",
    b"Subject: -\r\n\r\n",
    b"Subject: from\r\nFrom: ada\r\n\tword\r\n\r\n",
)
TEXTS = st.one_of(
    st.sampled_from(
        ["ada", "word", "re:", "a  word", "d", "from", ":", "-", "foldedword", "folded word", "á", "subject"]
    ),
    st.text(st.sampled_from("adwor :-\t"), min_size=1, max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(HEADERS), min_size=1, max_size=12), st.sampled_from([b"from", b"subject", b"to"]), TEXTS
)
def test_what_is_found_is_what_looking_finds(headers: list[bytes], field: bytes, text: str) -> None:
    text = text.lower()
    octets = asked(text)
    if octets is None:
        assert text != text.strip()
        return
    records = [headers_record(header) for header in headers]
    known = Column(column(records))
    key = HeaderKey(field, text.encode())
    expected = [bool(match_header(header_of(record), [Needle(key, text)])) for record in records]
    found = set(known.having(field, octets)) if octets else set()
    for place, kind in enumerate(known.kinds):
        if kind == PLAIN:
            assert (place in found) is expected[place]
        else:
            assert kind == ENCODED
            assert place not in found


def test_a_record_that_could_not_be_kept_is_left_to_others() -> None:
    known = Column(column([headers_record(HEADERS[0]), TOO_LONG, headers_record(HEADERS[2])]))
    assert list(known.kinds) == [PLAIN, OPEN, PLAIN]
    assert known.having(b"from", b"ada") == [0, 2]
    assert known.having(b"from", b"-") == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ada", b"ada"),
        ("re: a", b"re: a"),
        ("ü", b""),
        *((text, None) for text in ("", " a", "a\t", "a\r\nb", "a\0b")),
    ],
)
def test_asked(text: str, expected: bytes | None) -> None:
    assert asked(text) == expected
