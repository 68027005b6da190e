"""How well a text fits what somebody looks for, who may have misspelled it: RFC 6203 3 leaves it to the server.

The words of what is looked for are looked up one by one, wherever they stand. A word fits if it is there as a word, as
the beginning or a piece of one, or if some word differs from it by one letter that is wrong, missing, too much, or
exchanged with the next one. All words must fit. Everything here is folded text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WHOLE, BEGINNING, PIECE, NEAR = 1.0, 0.8, 0.6, 0.4  # how well a word fits
_MOST_WORDS = 16  # of what is looked for
_LOOKED_AT = 1 << 16  # characters in which words are compared letter by letter
_PLACES = 50  # places in which a word, or a half of it, is looked at
_LEAST_NEAR = 4  # letters of a word that may be misspelled
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    phrase: str
    words: tuple[str, ...]


def wanted(text: str) -> Wanted:
    """Of a folded text."""
    return Wanted(text, tuple(dict.fromkeys(_WORD.findall(text)))[:_MOST_WORDS])


def fitness(one: Wanted, sections: Sequence[tuple[str, float]]) -> float:
    """From 0 (it does not fit) to 1, the best of `sections`, each with its weight; a word may be in any of them."""
    if not one.words:
        return max((weight for text, weight in sections if one.phrase in text), default=0.0)
    total = 0.0
    for word in one.words:
        found = max((_word(word, text) * weight for text, weight in sections), default=0.0)
        if not found:
            return 0.0
        total += found
    together = max((weight for text, weight in sections if one.phrase in text), default=0.0)
    return 0.8 * total / len(one.words) + 0.2 * together


def _word(word: str, text: str) -> float:
    """How well one word fits; what is there often fits a little better."""
    best, count = 0.0, 0
    for at in _places(word, text):
        begins = not at or not (text[at - 1].isalnum() or text[at - 1] == "_")
        end = at + len(word)
        ends = end == len(text) or not (text[end].isalnum() or text[end] == "_")
        best = max(best, (WHOLE if ends else BEGINNING) if begins else PIECE)
        count += 1
    if best:
        return best * (0.9 + 0.1 * min(count, 10) / 10)
    return NEAR if len(word) >= _LEAST_NEAR and _has_near(word, text[:_LOOKED_AT]) else 0.0


def _places(word: str, text: str) -> Iterator[int]:
    at = text.find(word)
    for _ in range(_PLACES):
        if at < 0:
            return
        yield at
        at = text.find(word, at + 1)


def halves(word: str) -> tuple[str, str]:
    """Two pieces, one of which is whole in every word that differs by one letter."""
    middle = len(word) // 2
    return word[:middle], word[middle:]


def _has_near(word: str, text: str) -> bool:
    # An exchange of the two letters in the middle breaks both halves: so it is looked for by itself.
    middle = len(word) // 2
    exchanged = word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
    if exchanged in text:
        return True
    for half in halves(word):
        for at in _places(half, text):
            found = _word_at(text, at)
            if abs(len(found) - len(word)) <= 1 and differs_by_one(word, found):
                return True
    return False


def _word_at(text: str, at: int) -> str:
    """The word that this place is in, as far as it may be of use."""
    start = at
    while start > 0 and at - start < 64 and text[start - 1].isalnum():
        start -= 1
    match = _WORD.match(text, start, start + 192)
    return match[0] if match is not None else ""


def differs_by_one(one: str, other: str) -> bool:
    """Whether one letter is wrong, missing, too much, or two neighbours are exchanged; also if nothing is."""
    if len(one) > len(other):
        one, other = other, one
    at = next((place for place, letter in enumerate(one) if letter != other[place]), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    return one[at + 1 :] == other[at + 1 :] or (
        one[at : at + 2] == other[at : at + 2][::-1] and one[at + 2 :] == other[at + 2 :]
    )
