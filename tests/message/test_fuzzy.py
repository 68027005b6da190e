"""How well a text fits: RFC 6203 3, 4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.message.fuzzy import BEGINNING, NEAR, PIECE, WHOLE, differs_by_one, fitness, wanted


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("helo", "hello", True),  # RFC 6203 4
        ("helo", "help", True),
        ("helo", "helo", True),
        ("wrold", "world", True),
        ("world", "worlds", True),
        ("orld", "world", True),
        ("helo", "shell", False),
        ("abcd", "badc", False),
        ("abc", "abcde", False),
        ("", "a", True),
        ("", "", True),
    ],
)
def test_one_letter(one: str, other: str, same: bool) -> None:
    assert differs_by_one(one, other) is same
    assert differs_by_one(other, one) is same


@pytest.mark.parametrize(
    "text, low, high",
    [
        ("say hello now", WHOLE * 0.8, WHOLE),
        ("say hellos now", BEGINNING * 0.8, WHOLE * 0.9),
        ("othello", PIECE * 0.8, BEGINNING),
        ("say hallo now", NEAR * 0.5, PIECE * 0.8),
        ("say ehllo now", NEAR * 0.5, PIECE * 0.8),
        ("say helol now", NEAR * 0.5, PIECE * 0.8),
        ("say hlelo now", NEAR * 0.5, PIECE * 0.8),
        ("something else", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_hello(text: str, low: float, high: float) -> None:
    assert low <= fitness(wanted("hello"), [(text, 1.0)]) <= high


def test_all_words_must_fit_in_any_order_and_place() -> None:
    one = wanted("imap break")
    assert fitness(one, [("break the imap", 1.0)]) > fitness(one, [("breaks", 1.0), ("imap", 0.5)]) > 0
    assert fitness(one, [("imap break", 1.0)]) > fitness(one, [("break imap", 1.0)])
    assert fitness(one, [("imap alone", 1.0)]) == 0


def test_what_has_no_word_in_it_is_looked_for_as_it_is() -> None:
    assert fitness(wanted("-->"), [("a --> b", 0.5)]) == 0.5
    assert fitness(wanted("-->"), [("a -- > b", 0.5)]) == 0.0
    assert fitness(wanted(""), [("anything", 1.0)]) == 1.0


@given(st.text(alphabet="abc d", min_size=4, max_size=12), st.text(alphabet="abc d", max_size=40), st.data())
def test_a_word_with_one_wrong_letter_is_found(word: str, around: str, data: st.DataObject) -> None:
    word = word.replace(" ", "a")
    at = data.draw(st.integers(0, len(word) - 1))
    spoiled = data.draw(
        st.sampled_from(
            [
                word[:at] + word[at + 1 :],
                word[:at] + "x" + word[at + 1 :],
                word[:at] + "x" + word[at:],
                word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
            ]
        )
    )
    assert fitness(wanted(word), [(f"{around} {spoiled} {around}", 1.0)]) > 0


@given(st.text(), st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=3))
def test_it_is_a_share(needle: str, sections: list[tuple[str, float]]) -> None:
    assert 0 <= fitness(wanted(needle), sections) <= 1.0001
