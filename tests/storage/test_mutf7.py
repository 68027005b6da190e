"""Modified UTF-7: RFC 3501 5.1.3, RFC 9051 Appendix A.1, formats.md 4.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage import mutf7


@pytest.mark.parametrize(
    "name, coded",
    [
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 5.1.3
        ("台北日本語", b"&U,BTF2XlZyyKng-"),  # RFC 9051 Appendix A.1
        ("A&B", b"A&-B"),
        ("&", b"&-"),
        ("&&", b"&-&-"),
        ("März", b"M&AOQ-rz"),
        ("ä&ä", b"&AOQ-&-&AOQ-"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("日本語", b"&ZeVnLIqe-"),
        ("\U0001f800", b"&2D7cAA-"),
        ("a\tb", b"a&AAk-b"),
        ("", b""),
        ('foo bar"\\', b'foo bar"\\'),
    ],
)
def test_both_ways(name, coded):
    assert mutf7.encode(name) == coded
    assert mutf7.decode(coded) == name


@pytest.mark.parametrize(
    "coded",
    [
        b"&Jjo!",  # RFC 3501 5.1.3: the shift back is missing
        b"&Jjo",
        b"&U,BTFw-&ZeVnLIqe-",  # RFC 3501 5.1.3: a superfluous shift
        b"&AGEAYg-",  # printable US-ASCII in base64
        b"&AGE-",
        b"&AAA-",  # NUL
        b"M\xe4rz",
        "März".encode(),
        b"a\tb",
        b"&AOR-",  # padding bits that are not 0
        b"&AO-",
        b"&A-",
        b"&AOQ=-",
        b"&U/BTFw-",  # "/" where "," belongs
        b"&2D0-",  # half a surrogate pair
        b"&!-",
        b"&  -",
        b"a&b",
        b"&ACY-",  # "&" in base64
        b"\x7f",
    ],
)
def test_only_the_one_form_is_decoded(coded):
    with pytest.raises(mutf7.Malformed):
        mutf7.decode(coded)


def test_half_a_surrogate_pair_cannot_be_encoded():
    with pytest.raises(UnicodeEncodeError):
        mutf7.encode("a\ud83d")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_name_has_one_form(name):
    coded = mutf7.encode(name)
    assert coded.isascii() and mutf7.decode(coded) == name


@given(st.one_of(st.binary(), st.text("&-ab,+/QOAé", max_size=12).map(str.encode)))
def test_any_octets_are_decoded_or_malformed(coded):
    try:
        name = mutf7.decode(coded)
    except mutf7.Malformed:
        return
    assert mutf7.encode(name) == coded
