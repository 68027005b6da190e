"""Transfer encodings, charsets, encoded words, parameters and dates."""

import base64
import quopri
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.message.decode import (
    codec,
    decode_words,
    param_text,
    sent_date,
    sent_time,
    text_blocks,
    to_text,
    transfer_decode,
    transfer_decoder,
)


@pytest.mark.parametrize(
    "data, encoding, octets",
    [
        (b"YWJj\r\nZGU=\r\n", b"base64", b"abcde"),
        (b"YW Jj!Z-GU", b"BASE64", b"abcde"),  # RFC 2045 6.8: other octets are skipped; padding is missing
        (b"YWJj=ZGVm", b"base64", b"abc"),
        (b"YWJjZ", b"base64", b"abc"),
        (b"", b"base64", b""),
        (b"a=3D=\r\nb=20\r\n", b"quoted-printable", b"a=b \r\n"),
        (b"a \t\r\nb=  \r\nc ", b"Quoted-Printable", b"a\r\nbc"),  # RFC 2045 6.7 rule 3
        (b"100=% =zz=c3=A4", b"quoted-printable", b"100=% =zz\xc3\xa4"),
        (b"a=3D", b"8bit", b"a=3D"),
        (b"\0\xff", b" Binary ", b"\0\xff"),
        (b"x", b"", b"x"),
        (b"x", b"x-uuencode", None),
    ],
)
def test_transfer_decode(data: bytes, encoding: bytes, octets: bytes | None) -> None:
    assert transfer_decode(data, encoding) == octets


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 70), st.booleans())
def test_blocks_decode_as_the_whole(data: bytes, size: int, printable: bool) -> None:
    name = b"quoted-printable" if printable else b"base64"
    if printable:
        data = data.replace(b"\r", b"").replace(b"\n", b"")
        coded = quopri.encodestring(data, quotetabs=True).replace(b"\n", b"\r\n")
    else:
        coded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    assert transfer_decode(coded, name) == data
    decoder = transfer_decoder(name)
    assert decoder is not None
    assert b"".join(decoder(coded[n : n + size] for n in range(0, len(coded), size))) == data


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"=", b"=4", b"=41", b"a", b" ", b"\r\n", b"\t", b"longer text " * 50])),
    st.integers(1, 999),
)
def test_any_quoted_printable_has_octets(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    decoder = transfer_decoder(b"quoted-printable")
    assert decoder is not None
    b"".join(decoder(data[n : n + size] for n in range(0, len(data), size)))
    assert transfer_decode(data, b"base64") is not None


def test_a_line_without_end_is_decoded_in_blocks() -> None:
    data = b"x =41" * 100000
    decoder = transfer_decoder(b"quoted-printable")
    assert decoder is not None
    assert b"".join(decoder(data[n : n + 65536] for n in range(0, len(data), 65536))) == b"x A" * 100000


@pytest.mark.parametrize(
    "data, charset, text",
    [
        (b"Gr\xc3\xbc\xc3\x9fe", b"utf-8", "Grüße"),
        (b"Gr\xfc\xdfe", b"ISO-8859-1", "Grüße"),
        (b"Gr\xfc\xdfe", b"windows-1252", "Grüße"),
        (b"\x1b$BF|K\\\x1b(B", b"iso-2022-jp", "日本"),
        (b"\xd0\xd2\xd5", b"koi8-r", "пру"),
        (b"Gr\xc3\xbc", b"us-ascii", "Grü"),  # what calls itself ASCII
        (b"Gr\xfc", b"", "Grü"),
        (b"Gr\xc3\xbc", b"no-such-charset", "Grü"),
        (b"Gr\xfc", b"no.such/charset\0", "Grü"),
        (b"abc", b"hex", "abc"),  # a codec of Python that is no charset
        (b"a\xc3", b"utf-8", "a\ufffd"),
        (b"a\xc3", b"", "aÃ"),
        (b"", b"utf-16", ""),
    ],
)
def test_to_text(data: bytes, charset: bytes, text: str) -> None:
    assert to_text(data, charset) == text


@pytest.mark.parametrize("name", [b"utf-8", b"", b"gb2312", b"iso-2022-jp", b"utf-16", b"utf-7", b"us-ascii"])
@given(parts=st.lists(st.binary(max_size=20), max_size=8))
def test_any_octets_in_any_pieces_are_text(name: bytes, parts: list[bytes]) -> None:
    assert "".join(text_blocks(parts, name)) is not None


@given(st.text(max_size=50), st.integers(1, 5))
def test_characters_may_be_cut_between_blocks(text: str, size: int) -> None:
    data = text.encode("utf-8", "ignore")
    parts = [data[n : n + size] for n in range(0, len(data), size)]
    for name in (b"utf-8", b""):
        assert "".join(text_blocks(parts, name)) == data.decode()


def test_only_charsets_are_known() -> None:
    assert codec(b'"UTF-8"') == "utf_8"
    assert codec(b"x-unknown") is None
    for name in (b"zlib", b"base64", b"rot13", b"idna", b"punycode", b"unicode_escape", b"undefined", b"mbcs"):
        assert codec(name) is None


@pytest.mark.parametrize(
    "value, text",
    [
        # RFC 2047 8
        (b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        (b"=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"),
        (b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
         "If you can read this you understand the example."),
        (b"(=?ISO-8859-1?Q?a?=)", "(a)"),
        (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
        (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"(=?ISO-8859-1?Q?a?=\t  =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
        (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
        (b"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),  # RFC 2231 5
        (b"=?utf-8?q?J=C3?= =?UTF-8?q?=B6?=", "Jö"),  # a character cut between two words
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?utf-8?x?a?= =?", "=?utf-8?x?a?= =?"),
        (b"raw \xe4", "raw ä"),
        (b"raw \xc3\xa4", "raw ä"),
        (b"", ""),
    ],
)  # fmt: skip
def test_decode_words(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@given(st.lists(st.sampled_from([b"=?", b"?=", b"?", b"q", b"b", b"utf-8", b"=E4", b" ", b"*", b"QQ=", b"\xff"])))
def test_any_value_has_words(parts: list[bytes]) -> None:
    decode_words(b"".join(parts))


@pytest.mark.parametrize(
    "params, text",
    [
        (((b"FileName*", b"utf-8''%C3%9Cbersicht.bin"),), "Übersicht.bin"),
        (((b"filename", b"a.txt"), (b"filename*", b"iso-8859-1'de'%E4.txt")), "ä.txt"),
        (((b"filename", b"=?utf-8?q?=C3=A4?="),), "ä"),
        (((b"filename*", b"no quotes%20"),), "no quotes "),
        (((b"name", b"x"),), None),
    ],
)
def test_param_text(params: tuple[tuple[bytes, bytes], ...], text: str | None) -> None:
    assert param_text(params, b"filename") == text


EST = timezone(timedelta(hours=-5))


@pytest.mark.parametrize(
    "value, time",
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", datetime(1997, 11, 21, 9, 55, 6, tzinfo=timezone(timedelta(hours=-6)))),
        (b"Tue, 1 Jul 2003 10:52:37 +0200", datetime(2003, 7, 1, 10, 52, 37, tzinfo=timezone(timedelta(hours=2)))),
        (b"21 Nov 97 09:55:06 GMT", datetime(1997, 11, 21, 9, 55, 6, tzinfo=UTC)),  # RFC 5322 A.6.2
        (b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
         datetime(1997, 11, 21, 9, 55, 6, tzinfo=timezone(timedelta(hours=-6)))),  # RFC 5322 A.6.3
        (b"1 Jan 24 10:00 EST", datetime(2024, 1, 1, 10, 0, tzinfo=EST)),
        (b"Mon, 1 JANUARY 103 00:00:60 Z", datetime(2003, 1, 1, 0, 0, 59, tzinfo=UTC)),
        (b"Thu, 13-Feb-1969 23:32:54 -0330", datetime(1969, 2, 13, 23, 32, 54, tzinfo=timezone(timedelta(hours=-3.5)))),
        (b"Mon Jan  1 10:00:00 2024", datetime(2024, 1, 1, 10, 0, 0, tzinfo=UTC)),
        (b"1 Jan 2024 10:00:00 +9999", datetime(2024, 1, 1, 10, 0, 0, tzinfo=UTC)),
        (b"31 Feb 2024 10:00:00 +0000", None),
        (b"1 Foo 2024 10:00:00 +0000", None),
        (b"not a date at all", None),
        (b"", None),
        (b"9" * 100000, None),
    ],
)  # fmt: skip
def test_sent_time(value: bytes, time: datetime | None) -> None:
    assert sent_time(value) == time


def test_sent_date_is_the_day_in_its_own_zone() -> None:
    """RFC 9051 6.4.4, SENTON: disregarding time and time zone."""
    assert sent_date(b"Mon, 1 Jan 2024 23:30:00 -0800") == date(2024, 1, 1)
    assert sent_date(b"Mon, 1 Jan 2024 00:30:00 +1200") == date(2024, 1, 1)


@given(st.text("0123456789 JanFebMoc:+-,()ZEST\n", max_size=60))
def test_any_date_field_is_a_date_or_none(text: str) -> None:
    sent_date(text.encode())
