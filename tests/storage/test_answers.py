"""Answers that are kept: given for the same rows only, and never more than there is room for."""

import pytest

from greenmail.storage.answers import LARGEST, Answers, Room

NO_FLAGS = [frozenset()]
SOME_FLAGS = [frozenset(), frozenset({"\\Seen"})]
OTHER_FLAGS = [frozenset(), frozenset({"\\Draft"})]


def test_an_answer_is_given_again_for_the_same_rows() -> None:
    shelf = Answers(Room(1 << 20)).shelf("kind")
    shelf.keep(1, (b"rows",), NO_FLAGS, b"answer")
    assert shelf.find(1, (b"rows",), NO_FLAGS) == b"answer"
    assert shelf.find(1, (b"rows",), SOME_FLAGS) == b"answer"  # sets are added behind the others


@pytest.mark.parametrize(
    "place, made_of, sets",
    [
        (2, (b"rows",), SOME_FLAGS),
        (1, (b"ROWS",), SOME_FLAGS),
        (1, (b"rows", b""), SOME_FLAGS),
        (1, (b"rows",), OTHER_FLAGS),  # the numbers in it mean something else
        (1, (b"rows",), NO_FLAGS),
    ],
)
def test_an_answer_is_not_given_for_others(place: int, made_of: tuple[bytes, ...], sets: list[frozenset[str]]) -> None:
    shelf = Answers(Room(1 << 20)).shelf("kind")
    shelf.keep(1, (b"rows",), SOME_FLAGS, b"answer")
    assert shelf.find(place, made_of, sets) is None


def test_where_numbers_mean_something_else_nothing_old_is_given() -> None:
    shelf = Answers(Room(1 << 20)).shelf("kind")
    shelf.keep(1, (b"one",), SOME_FLAGS, b"old")
    shelf.keep(2, (b"two",), OTHER_FLAGS, b"new")
    assert shelf.find(1, (b"one",), SOME_FLAGS) is None
    assert shelf.find(1, (b"one",), OTHER_FLAGS) is None
    assert shelf.find(2, (b"two",), OTHER_FLAGS) == b"new"


def test_kinds_are_apart() -> None:
    answers = Answers(Room(1 << 20))
    answers.shelf("kind").keep(1, (b"rows",), NO_FLAGS, b"answer")
    assert answers.shelf("other").find(1, (b"rows",), NO_FLAGS) is None
    for number in range(1000):  # kinds without answers are not remembered for ever
        answers.shelf(number)
    assert len(answers._shelves) < 100
    assert answers.shelf("kind").find(1, (b"rows",), NO_FLAGS) == b"answer"


def test_what_was_used_longest_ago_goes_first() -> None:
    room = Room(64 * 1000)
    first, second = Answers(room).shelf("kind"), Answers(room).shelf("kind")
    first.keep(0, (b"",), NO_FLAGS, bytes(600))
    for place in range(1, 200):
        second.keep(place, (b"",), NO_FLAGS, bytes(600))
        assert first.find(0, (b"",), NO_FLAGS) is not None
        assert room.octets <= 64 * 1000
    assert second.find(1, (b"",), NO_FLAGS) is None
    assert second.find(199, (b"",), NO_FLAGS) is not None


def test_one_answer_does_not_drive_all_others_away() -> None:
    room = Room(64 * 1000)
    shelf = Answers(room).shelf("kind")
    shelf.keep(1, (b"",), NO_FLAGS, bytes(64 * 1000 // LARGEST + 1))
    assert shelf.find(1, (b"",), NO_FLAGS) is None
    assert room.octets == 0


def test_what_is_replaced_or_forgotten_takes_no_room() -> None:
    room = Room(1 << 20)
    answers = Answers(room)
    answers.shelf("kind").keep(1, (b"a",), NO_FLAGS, b"first")
    taken = room.octets
    answers.shelf("kind").keep(1, (b"b",), NO_FLAGS, b"other")
    assert room.octets == taken
    answers.forget()
    assert room.octets == 0
