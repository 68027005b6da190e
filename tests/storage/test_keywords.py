"""dovecot-keywords and the keywords beyond its letters: formats.md 3.1, checks 6, 15 to 17."""

import errno
import itertools
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files
from greenmail.storage.keywords import Keywords, OverflowKeywords, is_keyword

ALPHABET = [f"kw{number:02}" for number in range(26)]


@pytest.fixture
def folder(tmp_path):
    return os.fsencode(tmp_path)


def keywords(folder, data=None):
    if data is not None:
        with open(folder + b"/dovecot-keywords", "wb") as file:
            file.write(data)
    made = Keywords(Files(), folder + b"/dovecot-keywords")
    made.refresh()
    return made


def text(folder, name="dovecot-keywords"):
    with open(os.fsdecode(folder) + "/" + name, "rb") as file:
        return file.read()


def shown(made):
    return {chr(letter): name for letter, name in made.names.items()}


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"0 $Forwarded\n1 $MDNSent\n4 custom_kw\n", {"a": "$Forwarded", "b": "$MDNSent", "e": "custom_kw"}),
        (b"25 unknown-25\n0 x\n", {"a": "x", "z": "unknown-25"}),
        (b"0 x\r\n", {"a": "x"}),
        (b"0 x", {"a": "x"}),
        (b"26 x\n0 y\n", {"a": "y"}),
        (b"nospace\n3\n -1 y\n0 y\n", {"a": "y"}),
        (b"0 $Label1\n1 $label1\n", {"a": "$Label1"}),  # names are compared without case
        (b"0 a b\n1 c\n", {"a": "unknown-0", "b": "c"}),  # would break a response
        (b"0 )\n1 \\Seen\n2 \xff\n", {"a": "unknown-0", "b": "unknown-1", "c": "unknown-2"}),
        (b"", {}),
    ],
)
def test_read(folder, data, expected):
    assert shown(keywords(folder, data)) == expected


def test_a_missing_file_has_no_names(folder):
    made = keywords(folder)
    assert (made.names, made.free, made.refresh()) == ({}, 26, False)


def test_lookup_ignores_case(folder):
    made = keywords(folder, b"3 $Label1\n")
    assert (made.letter("$LABEL1"), made.letter("other")) == (ord("d"), None)


def test_a_new_keyword_takes_the_lowest_free_index(folder):
    made = keywords(folder, b"25 x\n")
    assert made.add(["One", "two", "ONE", "X"]) == []
    assert text(folder) == b"0 One\n1 two\n25 x\n"
    assert shown(made) == {"a": "One", "b": "two", "z": "x"}


def test_names_that_are_not_shown_survive_a_write(folder):
    made = keywords(folder, b"0 a b\n")
    made.add(["new"])
    assert text(folder) == b"0 a b\n1 new\n"


def test_the_27th_keyword_gets_no_letter(folder):
    made = keywords(folder)
    assert made.add([*ALPHABET, "kw26"]) == ["kw26"]
    assert made.free == 0
    before = text(folder)
    assert made.add(["kw27", "kw03"]) == ["kw27"]
    assert text(folder) == before and before.count(b"\n") == 26


def test_the_mtime_grows_by_a_whole_second_each_time(folder):
    made = keywords(folder)
    times = []
    for name in ALPHABET[:5]:
        made.add([name])
        times.append(int(os.stat(folder + b"/dovecot-keywords").st_mtime))
    assert times[0] >= int(time.time()) - 60
    assert all(after > before for before, after in itertools.pairwise(times))


def test_an_mtime_in_the_future_still_grows(folder):
    made = keywords(folder, b"0 x\n")
    future = int(time.time()) + 10_000
    os.utime(folder + b"/dovecot-keywords", (future, future))
    made.add(["y"])
    assert int(os.stat(folder + b"/dovecot-keywords").st_mtime) == future + 1


def test_what_another_program_added_is_merged(folder):
    made = keywords(folder, b"0 x\n")
    with open(folder + b"/dovecot-keywords", "wb") as other:
        other.write(b"0 x\n1 theirs\n")
    made.add(["ours"])
    assert text(folder) == b"0 x\n1 theirs\n2 ours\n"


def test_a_leftover_lock_is_removed(folder):
    with open(folder + b"/dovecot-keywords.lock", "wb") as leftover:
        leftover.write(b"0 junk\n")
    keywords(folder).add(["x"])
    assert os.listdir(folder) == [b"dovecot-keywords"] and text(folder) == b"0 x\n"


def test_a_letter_without_a_name_gets_one(folder):
    made = keywords(folder, b"0 x\n1 unknown-25\n")
    assert made.name_letters(b"SFa", write=True) is False
    assert made.name_letters(b"SazZ", write=True) is True
    assert text(folder) == b"0 x\n1 unknown-25\n25 unknown-25?\n"
    assert shown(made)["z"] == "unknown-25?"


def test_a_letter_is_named_in_memory_where_nothing_can_be_written(folder):
    made = keywords(folder, b"0 x\n")
    assert made.name_letters(b"z", write=False) is True
    assert (text(folder), shown(made)) == (b"0 x\n", {"a": "x", "z": "unknown-25"})
    made.add(["y"])
    assert made.name_letters(b"z", write=True) is True or b"25 unknown-25\n" in text(folder)


@pytest.mark.parametrize("name", ["a b", "", "(", "é", "\\Seen", "a]", 'a"', "a%", "a*", "x" * 256, "a\n", "{3}"])
def test_what_is_no_keyword_is_refused(folder, name):
    assert not is_keyword(name)
    for made in (keywords(folder), OverflowKeywords(Files(), folder + b"/greenmail-data")):
        with pytest.raises(StorageError) as caught:
            made.add([name]) if isinstance(made, Keywords) else made.change({b"m": [name]})
        assert caught.value.reason is Reason.CANNOT
    assert os.listdir(folder) == []


def overflow(folder):
    made = OverflowKeywords(Files(), folder + b"/greenmail-data")
    made.refresh()
    return made


def test_overflow_is_there_after_a_restart(folder):
    made = overflow(folder)
    made.change({b"1704103200.a,S=1": {"kw26"}, b"b with space": ["KW27", "kw26"]})
    made.change({b"c": ["kw27"]})
    again = overflow(folder)
    assert again.names == ["kw26", "KW27"]
    assert again.of(b"1704103200.a,S=1") == {"kw26"}
    assert again.of(b"b with space") == {"kw26", "KW27"}
    assert again.of(b"c") == {"KW27"}  # the first spelling stays
    assert again.of(b"other") == frozenset()


def test_overflow_is_forgotten_with_its_message(folder):
    made = overflow(folder)
    made.change({b"a": ["x"], b"b": ["y"], b"c": ["x"]})
    made.change({b"a": []}, live={b"a", b"b"})
    again = overflow(folder)
    assert (again.of(b"a"), again.of(b"b"), again.of(b"c")) == (frozenset(), {"y"}, frozenset())
    assert again.names == ["x", "y"]


def test_an_overflow_file_of_a_later_version_keeps_its_lines(folder):
    os.mkdir(folder + b"/greenmail-data")
    with open(folder + b"/greenmail-data/keywords", "wb") as file:
        file.write(b"greenmail-keywords 1\nk 0 x\nm 0,7 a\nm zz b\nk 9 )(\nz later 1\nm 0 b\nhalf")
    made = overflow(folder)
    assert (made.names, made.of(b"a"), made.of(b"b")) == (["x"], {"x"}, {"x"})
    made.change({b"c": ["y"]})
    assert text(folder, "greenmail-data/keywords") == (
        b"greenmail-keywords 1\nk 0 x\nk 1 y\nm 0 a\nm 0 b\nm 1 c\nz later 1\nhalf\n"
    )


def test_overflow_has_a_limit(folder):
    made = overflow(folder)
    made.change({b"a": [f"k{number}" for number in range(1000)]})
    with pytest.raises(StorageError) as caught:
        made.change({b"a": ["one-more"]})
    assert caught.value.reason is Reason.LIMIT
    assert len(overflow(folder).of(b"a")) == 1000


def test_a_limit_that_was_lowered_takes_nothing_away(folder):
    made = overflow(folder)
    made.change({b"a": ["k0", "k1", "k2"]})
    lower = OverflowKeywords(Files(), folder + b"/greenmail-data", limit=2)
    lower.change({b"b": ["K2", "k0"]})
    assert lower.is_full and lower.of(b"b") == {"k2", "k0"}
    with pytest.raises(StorageError) as caught:
        lower.change({b"b": ["k3"]})
    assert caught.value.reason is Reason.LIMIT and lower.of(b"b") == {"k2", "k0"}
    lower.change({b"c": ["k3"]}, is_import=True)  # another server's keywords are no client's whim
    assert overflow(folder).names == ["k0", "k1", "k2", "k3"]


def test_a_failed_overflow_write_changes_nothing(folder):
    overflow(folder).change({b"a": ["x"]})

    def full(name, function, *args):
        if name == "write":
            raise OSError(errno.ENOSPC, "full")
        return function(*args)

    made = OverflowKeywords(Files(full), folder + b"/greenmail-data")
    with pytest.raises(StorageError) as caught:
        made.change({b"a": ["y"]})
    assert caught.value.reason is Reason.NO_SPACE
    assert made.of(b"a") == {"x"} and overflow(folder).of(b"a") == {"x"}


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=8).filter(lambda base: b"\n" not in base),
        st.sets(st.sampled_from(ALPHABET), min_size=1),
        max_size=6,
    )
)
def test_overflow_round_trip(tmp_path_factory, messages):
    folder = os.fsencode(tmp_path_factory.mktemp("overflow"))
    overflow(folder).change(messages)
    again = overflow(folder)
    assert {base: again.of(base) for base in messages} == messages


@given(st.binary(max_size=40))
def test_any_bytes_can_be_read(tmp_path_factory, data):
    folder = os.fsencode(tmp_path_factory.getbasetemp())
    for name in keywords(folder, data).names.values():
        assert is_keyword(name) or len(name) > 255
