"""What is indexed of a message holds everything that SEARCH finds in it."""

import zlib

import pytest
from harness.text_mails import mails, needles
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenmail.fulltext import text as texts
from greenmail.fulltext.text import packed, storable, text_of, unpacked, whole
from greenmail.message import collation
from greenmail.message.collation import DEFAULT, INSTALLED, Comparator, widened
from greenmail.message.search import look
from greenmail.message.structure import scan


def found_in(data: bytes, needle: str, comparator: Comparator = DEFAULT) -> tuple[bool, bool]:
    """BODY and TEXT, by SEARCH itself."""
    root = scan(data)
    wanted = [comparator.fold(needle)]
    body, text = (
        look(lambda start, end: data[start:end], root, wanted, header, comparator)[0] for header in (False, True)
    )
    return body, text


def indexed_in(data: bytes, needle: str) -> tuple[bool, bool]:
    """The same, by the index."""
    text = text_of(data)
    assert text is not None
    header, body, _ = unpacked(packed(text))
    wanted = storable(widened(needle))
    return wanted in body, wanted in body or wanted in header


@given(mails(), needles())
@settings(max_examples=40)
@example(b"Subject: a\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-b+AAA-c", "b\0c")
@example(b"Subject: a\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-b", "\ud800b")
def test_what_search_finds_is_in_the_index(data: bytes, needle: str) -> None:
    in_index = indexed_in(data, needle)
    for comparator in map(Comparator, INSTALLED):
        for searched, indexed in zip(found_in(data, needle, comparator), in_index, strict=True):
            assert indexed or not searched


@given(st.binary(max_size=400))
def test_any_octets_have_a_text(data: bytes) -> None:
    text = text_of(data)
    assert text is not None
    assert text.count("\0") == 2
    assert whole(packed(text)) == text


@given(mails(), needles())
@settings(max_examples=40)
def test_what_is_indexed_as_body_and_has_no_line_end_in_it_is_found(data: bytes, needle: str) -> None:
    """Nearly no message is opened for nothing: only where one comparator tells apart what is one for the index."""
    wanted = storable(widened(needle))
    if wanted == widened(needle) and "\n" not in wanted and "?" not in wanted:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(collation._FOLDS, "widened", widened)
            assert indexed_in(data, needle) == found_in(data, needle, Comparator("widened"))


def test_html_is_there_as_it_stands_and_as_it_is_shown() -> None:
    text = text_of(b'Content-Type: text/html\r\n\r\n<p title="hint">so <b>mew</b>hat &uuml;ber</p>')
    assert text is not None
    _, body, shown = unpacked(packed(text))
    assert "hint" in body and "&uuml;ber" in body
    assert "hint" not in shown
    assert widened("mewhat über") in shown


def test_names_of_files_are_shown() -> None:
    head = b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''%C3%84rger.pdf\r\n\r\n"
    text = text_of(head + b"ignored")
    assert text is not None
    _, body, shown = unpacked(packed(text))
    assert "ignored" not in text
    assert body == ""
    assert widened("ärger.pdf") in shown


def test_a_message_with_too_much_text_is_not_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LONGEST", 1000)
    assert text_of(b"\r\n" + b"x" * 990) is not None
    assert text_of(b"\r\n" + b"x" * 1001) is None


@pytest.mark.parametrize(
    "octets", [b"", b"junk", packed("a\0b\0c")[:-1], packed("no sections"), zlib.compress(b"\xff\0\0")]
)
def test_what_was_never_packed_is_damage(octets: bytes) -> None:
    with pytest.raises((ValueError, zlib.error)):
        unpacked(octets)
