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
