"""Unique ids by both of Dovecot's notations."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.pop3.uidl import DEFAULT, Format, legal
from greenmail.storage.api import MaildropItem

ITEM = MaildropItem(22, None, None, "1704300000.M1P2.Host,S=755", "d34db33f")
VALIDITY = 1795343254


def header() -> bytes:
    return b"Subject: x\r\n\r\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        (DEFAULT, "000000166b02c396"),  # formats.md 8
        ("%{uid | hex(8)}%{uidvalidity | hex(8)}", "000000166b02c396"),
        ("%{uid|hex(8)}%{uidvalidity|hex(8)}", "000000166b02c396"),
        ("%u-%v", "22-1795343254"),
        ("%{uidvalidity}.%{uid}", "1795343254.22"),
        ("%v.%u", "1795343254.22"),  # Cyrus
        ("UID%u-%v", "UID22-1795343254"),
        ("%f", "1704300000.M1P2.Host,S=755"),
        ("%{filename | lower}", "1704300000.m1p2.host,s=755"),
        ("%Lf", "1704300000.m1p2.host,s=755"),
        ("%{guid | upper}%%", "D34DB33F%"),
        ("%g", "d34db33f"),
        ("%m", hashlib.md5(b"Subject: x\r\n\r\n").hexdigest()),
        ("%Xu", "16"),
        ("%{uid | hex}", "16"),
        ("%{uid | hex(1)}", "6"),  # cut on the left
        ("%05u", "00022"),
        ("%1u", "2"),
        ("%{uidvalidity | hex(8) | upper}%u", "6B02C39622"),
    ],
)
def test_format(text: str, expected: str) -> None:
    assert Format(text)(ITEM, VALIDITY, header) == expected


_PIECES = (
    "%u;%v;%08Xu;%Xu;%05u;%9u;%12u;%3Xu;%Uu;%{uid | hex(8)};%{uid | hex(9)};%{uid|hex|upper|lower};%{uid|hex|hex};%%;-;"
    "%{uid | hex(8) | upper};%{uid|upper|hex};%08Xv;%g;x y;%0100u;%{uidvalidity | hex(4)};%f;ß"
)


@given(
    st.lists(st.sampled_from(_PIECES.split(";")), max_size=4), st.integers(1, 0xFFFFFFFF), st.integers(1, 0xFFFFFFFF)
)
def test_many_ids_at_once_are_what_each_would_be(pieces: list[str], uid: int, uidvalidity: int) -> None:
    made = Format("".join(["%u", *pieces]))
    form, uids = made.of_uids(uidvalidity)
    item = MaildropItem(uid, None, None, "base", "guid")
    if uids:
        assert (form % ((uid,) * uids)).decode() == made(item, uidvalidity, header)


@pytest.mark.parametrize(
    "text, expected",
    [
        (DEFAULT, (b"%08x6b02c396", 1)),
        ("%u-%Xu%%-%v", (b"%d-%x%%-1795343254", 2)),
        ("%{uid | hex(8) | upper}", (b"%08X", 1)),
        ("%{uid | hex(7)}", (b"", 0)),  # would be cut
        ("%u%g", (b"", 0)),
        ("%u" + "x" * 61, (b"", 0)),  # too long with a large UID: a hash
        ("%u ", (b"", 0)),
    ],
)
def test_ids_that_are_made_of_uids(text: str, expected: tuple[bytes, int]) -> None:
    assert Format(text).of_uids(VALIDITY) == expected


@pytest.mark.parametrize(
    "text", ["", "constant", "%", "%q", "%{uid", "%{nothing}", "%{uid | rot13}", "%{uid | hex(}", "%%"]
)
def test_wrong_formats_say_so(text: str) -> None:
    with pytest.raises(ValueError, match="unique id format"):
        Format(text)


@pytest.mark.parametrize(
    "uidl, base, expected",
    [
        ("UID13-1795343589", "x", "UID13-1795343589"),
        ("", "1704300000.x", "1704300000.x"),  # an empty field P is the base name
        ("k" * 200, "x", "k" * 200),  # what the old server gave out stays
        ("has space", "x", hashlib.sha256(b"has space").hexdigest()),
    ],
)
def test_a_message_keeps_its_own_id(uidl: str, base: str, expected: str) -> None:
    assert Format()(MaildropItem(1, None, uidl, base, "g"), VALIDITY, header) == expected


@given(st.text(max_size=100))
def test_ids_are_visible_and_short(text: str) -> None:
    found = legal(text)
    assert 1 <= len(found) <= 70
    assert all("!" <= char <= "~" for char in found)
    assert found == text or len(found) == 64
