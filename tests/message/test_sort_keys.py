"""What SORT and THREAD know of a message; the sent date, which is also kept alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.message.decode import sent_seconds, sent_time
from greenmail.message.headers import collect, finder
from greenmail.message.sort_keys import Place, field, sent_record, sort_record

_PIECES = [b"Date", b"dATE : ", b"date\t:", b"Dated: x", b"X-Date: y", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0"]
_DATES = [
    b"1 Jan 2024 10:00:00 +0100",
    b"Fri, 21 Nov 1997 09:55:06 -0600",
    b"2 Feb 24 1:00 EST",
    b"\r\n 3",
    b" Mar 1999",
]
_USUAL = st.builds(
    b"%b%b %b %b %b:%b%b %b%b".__mod__,
    st.tuples(
        st.sampled_from([b"", b"Tue, ", b"Tue,", b"tue, ", b"Tue,  "]),
        st.sampled_from([b"1", b"01", b"30", b"31", b"39", b"0", b"00", b"29"]),
        st.sampled_from([b"Jan", b"Feb", b"feb", b"JUN", b"Sep", b"Abc", b"June"]),
        st.sampled_from([b"2024", b"2023", b"1900", b"0999", b"24", b"9999", b"1000", b"024"]),
        st.sampled_from([b"00", b"9", b"23", b"24", b"19"]),
        st.sampled_from([b"00", b"59", b"60", b"7"]),
        st.sampled_from([b"", b":00", b":59", b":60", b":1"]),
        st.sampled_from([b"+0000", b"-0330", b"+2359", b"-2400", b"+0060", b"+9999", b"EST", b"Z", b""]),
        st.sampled_from([b"", b" (CET)", b" (cet)", b" (a (b))", b" x", b" 5 Jun 2001"]),
    ),
)


@pytest.mark.parametrize(
    "header, seconds",
    [
        (b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n\r\n", b"880127706"),  # RFC 5322 A.1.1
        (b"Subject: a\r\ndate :\r\n\t21 Nov 97 09:55:06 GMT\r\n\r\n", b"880106106"),  # A.6.2
        (b"Dated: 1 Jan 2024 10:00 +0000\r\nX-Date: 1 Jan 2024 10:00 +0000\r\n\r\n", b""),
        (b"Date: no day\r\nDate: 1 Jan 2024 10:00 +0000\r\n\r\n", b""),  # the first one counts
        (b"Date: 31 Dec 1969 23:59:59 +0000\r\n\r\n", b"-1"),
        (b"\r\n", b""),
        (b"", b""),
    ],
)
def test_the_sent_date_is_that_of_the_first_date_field(header: bytes, seconds: bytes) -> None:
    assert sent_record(header) == seconds


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*_PIECES, *_DATES]), max_size=14).map(b"".join))
def test_the_sent_date_alone_is_that_of_all_keys(header: bytes) -> None:
    found = collect(finder(b"Date"), header, 0, len(header)).get(b"date", [])
    assert collect(finder(b"Date", prefix=b"date"), header, 0, len(header)).get(b"date", []) == found
    assert sent_record(header) == field(sort_record(header), Place.DATE)


@settings(max_examples=300)
@given(st.one_of(_USUAL, st.lists(st.sampled_from([*_DATES, *_PIECES]), max_size=4).map(b"".join)))
def test_usual_dates_are_read_as_all_others_are(value: bytes) -> None:
    time = sent_time(value)
    assert sent_seconds(value) == (None if time is None else int(time.timestamp()))
