"""Comparators: RFC 5051, RFC 4790 9.2 and 9.3."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenmail.message.collation import (
    ASCII_CASEMAP,
    DEFAULT,
    INSTALLED,
    OCTET,
    Comparator,
    casemap,
    fold,
    widened,
)

texts = st.text(
    st.sampled_from("abzABZ19 äÄßẞéıİſſǄǅǆﬁＦｆªª½™㎏한글각ᄀ\u0301\u0323\u0308ΣσςǰŉԵՒև\ud800\0"), max_size=12
)
any_text = st.one_of(texts, st.text(max_size=30))
comparators = st.sampled_from(INSTALLED).map(Comparator)


def decomposed(char: str) -> str:
    """By UnicodeData.txt, as RFC 5051 2 (2) (b) says it; syllables of Hangul, which are not in it, by their rule."""
    found = unicodedata.decomposition(char).split()
    if not found:
        return unicodedata.normalize("NFD", char) if "\uac00" <= char <= "\ud7a3" else char
    return "".join(decomposed(chr(int(code, 16))) for code in found if not code.startswith("<"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", b""),
        ("abc", b"ABC"),
        ("Ab 1~", b"AB 1~"),
        ("\u01c4", b"Dz\xcc\x8c"),  # RFC 5051 2, the example
        ("\u01c5", b"Dz\xcc\x8c"),
        ("\u01c6", b"Dz\xcc\x8c"),
        ("d\u017e", b"DZ\xcc\x8c"),  # two characters, each with a titlecase of its own
        ("\u00e4", b"A\xcc\x88"),
        ("\u00c4", b"A\xcc\x88"),
        ("\u00df", b"\xc3\x9f"),  # no simple titlecase: "ss" is another string
        ("\ufb01", b"fi"),  # decomposed after the cases were mapped
        ("\uff46", b"F"),
        ("\u00aa", b"a"),
        ("\u0131", b"I"),
        ("\u0130", b"I\xcc\x87"),
        ("\u03c2\u03c3\u03a3", "ΣΣΣ".encode()),
        ("\u1e69", b"S\xcc\xa3\xcc\x87"),
        ("s\u0307\u0323", b"S\xcc\x87\xcc\xa3"),  # marks stay in their order: characters are mapped one by one
        ("\uac01", "\u1100\u1161\u11a8".encode()),
        ("a\ud800", b"A?"),
    ],
)
def test_casemap(text: str, key: bytes) -> None:
    assert casemap(text) == key == DEFAULT.key(text)


@given(st.characters(exclude_categories=["Cs"]))
@example("\u0344")
@example("\ufdfa")
def test_each_character_by_the_steps_of_the_rfc(char: str) -> None:
    titled = char.title() if len(char.title()) == 1 else char
    assert casemap(char) == "".join(map(decomposed, titled)).encode()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_folded_strings_are_equal_where_keys_are(one: str, other: str) -> None:
    assert (fold(one) == fold(other)) is (casemap(one) == casemap(other))
    assert (fold(one) in fold(other)) is (casemap(one) in casemap(other))
    for name in INSTALLED:
        comparator = Comparator(name)
        assert (comparator.fold(one) == comparator.fold(other)) is (comparator.key(one) == comparator.key(other))
        assert (comparator.fold(one) in comparator.fold(other)) is (comparator.key(one) in comparator.key(other))


@given(any_text, any_text, comparators)
def test_characters_are_mapped_one_by_one(one: str, other: str, comparator: Comparator) -> None:
    """So it makes no difference where a text is cut into blocks."""
    assert comparator.fold(one + other) == comparator.fold(one) + comparator.fold(other)
    assert comparator.key(one + other) == comparator.key(one) + comparator.key(other)
    assert widened(one + other) == widened(one) + widened(other)


@given(any_text, any_text, any_text, comparators)
def test_what_is_found_is_found_widened(before: str, needle: str, after: str, comparator: Comparator) -> None:
    """The full-text index, which holds widened texts, leaves out nothing by any comparator."""
    text = before + needle.swapcase() + after
    if comparator.fold(needle) in comparator.fold(text):
        assert widened(needle) in widened(text)
    assert widened(needle) in widened(before + needle + after)


@pytest.mark.parametrize(
    ("one", "other"),
    [("strasse", "STRAẞE"), ("ﬁn", "FIN"), ("ΜΆΪΟΣ", "μάϊος"), ("ﬀ", "ff"), ("ŉ", "ʼN"), ("ⅷ", "viii")],
)
def test_widened_is_wider(one: str, other: str) -> None:
    assert widened(one) == widened(other)


@given(any_text)
def test_us_ascii_is_in_lower_case(text: str) -> None:
    """What searches look through first is octets in lower case."""
    if text.isascii():
        assert fold(text) == Comparator(ASCII_CASEMAP).fold(text) == widened(text) == text.lower()


def test_ascii_casemap_and_octet() -> None:
    ascii_casemap, octet = Comparator(ASCII_CASEMAP), Comparator(OCTET)
    assert ascii_casemap.key("aZäÄ{") == "AZäÄ{".encode()
    assert ascii_casemap.fold("aZäÄ") == "azäÄ"
    assert octet.key("aZäÄ") == "aZäÄ".encode()
    assert octet.fold("aZäÄ") == "aZäÄ"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), comparators)
def test_order_is_that_of_utf8(found: list[str], comparator: Comparator) -> None:
    """RFC 5051 2: no UTF-16, by which characters beyond U+FFFF come before U+E000."""
    by_key = sorted(found, key=comparator.key)
    assert [comparator.key(one) for one in by_key] == sorted(comparator.key(one) for one in found)
    assert comparator.key("\U00010000") > comparator.key("\uffff")


def test_selected() -> None:
    assert Comparator(OCTET).selected == "i;octet"
    assert Comparator(OCTET, is_falling=True).selected == "-i;octet"


def test_many_marks_are_not_slow() -> None:
    text = "a" + "\u0301\u0323" * 50000
    assert len(fold(text)) == len(casemap(text).decode()) == len(widened(text)) == len(text)
