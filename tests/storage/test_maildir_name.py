"""File names of messages: formats.md 1.1 to 1.4, 1.10."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage import maildir_name
from greenmail.storage.maildir_name import Sizes, UniqueNames

NAMES = st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"/", b":").replace(b"\0", b",")) | st.text(
    ":2,FSTDRaz,X.", min_size=1, max_size=20
).map(str.encode)


@pytest.mark.parametrize(
    "name, base, letters",
    [
        (
            b"1795343252.M9P6.mx.example.org,S=784,W=823:2,DFRSae",
            b"1795343252.M9P6.mx.example.org,S=784,W=823",
            b"DFRSae",
        ),
        (b"1704500000.V801I2f99M900009.mx1", b"1704500000.V801I2f99M900009.mx1", b""),
        (b"a:2,PS", b"a", b"S"),
        (b"a:2,FS,extra", b"a", b"FS"),
        (b"a:2,TSRFDba", b"a", b"DFRSTab"),
        (b"a:1,xyz", b"a", b""),
        (b"a:b:2,S", b"a", b"S"),
        (b"a:2,S:x", b"a", b""),
        (b"a:2,SS", b"a", b"S"),
        (b"a:", b"a", b""),
        (b"a:2", b"a", b""),
        (b":2,S", b"", b"S"),
    ],
)
def test_parts_of_a_name(name, base, letters):
    assert maildir_name.base_name(name) == base
    assert maildir_name.letters_of(name) == letters


@pytest.mark.parametrize(
    "name, letters, expected",
    [
        (b"a:2,FSXZz", b"FSTza", b"a:2,FSTXZaz"),  # formats.md 1.3
        (b"a:2,TSRFDba", b"TSRFDba", b"a:2,DFRSTab"),
        (b"a:2,FSXZz,extra", b"F", b"a:2,FXZ,extra"),
        (b"a:2,PS", b"SD", b"a:2,DPS"),
        (b"a:2,ZXP", b"F", b"a:2,FZXP"),
        (b"a:1,xyz", b"S", b"a:2,S"),
        (b"a", b"", b"a:2,"),
        (b"a", b"Sb", b"a:2,Sb"),
        (b"a:b:2,S", b"T", b"a:b:2,T"),
        (b"a,S=1,W=2:2,S,x,y", b"", b"a,S=1,W=2:2,,x,y"),
        (b"a:2,1S", b"S", b"a:2,1S"),
    ],
)
def test_letters_are_written_in_order_and_unknown_ones_stay(name, letters, expected):
    assert maildir_name.with_letters(name, letters) == expected


@given(NAMES, st.sets(st.sampled_from(b"DFRSTabcz")))
def test_what_is_written_is_read_and_nothing_else_changes(name, letters):
    written = maildir_name.with_letters(name, letters)
    assert set(maildir_name.letters_of(written)) == letters
    assert maildir_name.base_name(written) == maildir_name.base_name(name)
    assert maildir_name.with_letters(written, letters) == written
    again = maildir_name.with_letters(maildir_name.with_letters(written, b""), letters)
    assert again == written


@pytest.mark.parametrize(
    "name, expected",
    [(b"a", b"a:2,"), (b"a:2,S", b"a:2,S"), (b"a:1,x", b"a:1,x"), (b"a,S=3", b"a,S=3:2,")],
)
def test_move_from_new_to_cur(name, expected):
    assert maildir_name.in_cur(name) == expected


@pytest.mark.parametrize(
    "name, expected",
    [
        (b"a", True),
        (b".a", False),
        (b"", False),
        (b"a\nb", False),
        (b"a\r", False),
        (b":2,S", True),  # to be renamed, but there
        (b"msg.123", True),
    ],
)
def test_which_names_are_messages(name, expected):
    assert maildir_name.is_message(name) == expected


@pytest.mark.parametrize(
    "base, expected",
    [
        (b"1.M2P3.mx,S=784,W=823", Sizes(784, 823)),
        (b"1.M2P3.mx,W=823,S=784", Sizes(784, 823)),
        (b"1.M2P3.mx,S=784", Sizes(784, None)),
        (b"1.M2P3.mx", Sizes(None, None)),
        (b"1.mx,S=12x,W=5", Sizes(None, 5)),
        (b"1.mx,S=,W=5", Sizes(None, 5)),
        (b"1.mx,S=1,S=2", Sizes(1, None)),
        (b"1.mx,S=x,S=2", Sizes(None, None)),  # the first one counts
        (b"1.mx,U=12,S=7,FMD5=9", Sizes(7, None)),
        (b"1.mx,S=-5", Sizes(None, None)),
        (b"1.mx,S=99999999999999999999", Sizes(None, None)),
        (b"1.mx,S=9999999999999999999", Sizes(None, None)),
        (b"1.mx,S=0", Sizes(0, None)),
    ],
)
def test_size_fields(base, expected):
    assert maildir_name.sizes_of(base) == expected


def test_size_fields_are_added_and_taken_away():
    name = maildir_name.with_sizes(b"1.M2P3.mx", 784, 823)
    assert name == b"1.M2P3.mx,S=784,W=823"
    assert maildir_name.without_sizes(name + b",U=4") == b"1.M2P3.mx,U=4"


def test_order_of_new_uids():
    ordered = [
        b"msg.77",
        b"9.M5P1.mx",
        b"10.1234_0.mx",
        b"10.M3P9.mx",
        b"10.M20P1.mx",
        b"10.V801I2fM30.mx",
        b"11.a",
        b"11.b:2,S",
        b"1795343252.M1.mx",
    ]
    assert sorted(ordered[4:] + ordered[:4], key=maildir_name.uid_order) == ordered


@given(st.binary(max_size=60))
def test_any_name_has_a_place(name):
    assert isinstance(maildir_name.uid_order(name)[0], int)


def test_unique_names_increase_even_if_the_clock_stands_still_or_goes_back():
    times = iter([1000.5, 1000.5, 999.0, 1000.500001])
    names = UniqueNames("mx.example.org", lambda: next(times))
    made = [names.next() for _ in range(4)]
    pid = os.getpid()
    assert made == [
        b"1000.M500000P%dQ1.mx.example.org" % pid,
        b"1000.M500001P%dQ2.mx.example.org" % pid,
        b"1000.M500002P%dQ3.mx.example.org" % pid,
        b"1000.M500003P%dQ4.mx.example.org" % pid,
    ]
    assert sorted(made, key=maildir_name.uid_order) == made


@pytest.mark.parametrize(
    "host, written",
    [("a/b:c", b"a\\057b\\072c"), ("a,b", b"a\\054b"), ("a b\n", b"a_b_"), ("", b"localhost")],
)
def test_host_names_are_made_harmless(host, written):
    name = UniqueNames(host, lambda: 1.0).next()
    assert name.endswith(b"." + written)
    assert maildir_name.base_name(name) == name
