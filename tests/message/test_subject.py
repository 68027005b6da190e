"""Base subjects, RFC 5256 2.1 and 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least

from greenmail.message.decode import decode_words
from greenmail.message.subject import base_subject


@pytest.mark.parametrize(
    "subject, base, is_reply",
    [
        ("lunch", "lunch", False),
        ("", "", False),
        ("   ", "", False),
        ("Re: lunch", "lunch", True),
        ("RE:lunch", "lunch", True),
        ("re : lunch", "lunch", True),
        ("re\t: lunch", "lunch", True),
        ("Fw: lunch", "lunch", True),
        ("FWD: lunch", "lunch", True),
        ("Aw: lunch", "Aw: lunch", False),  # only English ones are in the grammar
        ("Re[2]: lunch", "lunch", True),
        ("Re [2] : lunch", "Re [2] : lunch".removeprefix("Re [2] : "), True),
        ("Re[2][3]: lunch", "Re[2][3]: lunch", False),  # one blob at most
        ("Re: Re: Fwd: lunch", "lunch", True),
        ("[list] lunch", "lunch", False),
        ("[list] Re: lunch", "lunch", True),
        ("[list] [other] Re: [third] lunch", "lunch", True),
        ("Re: [list]", "[list]", True),  # the last blob is the base, if there is nothing else
        ("[a] [b]", "[b]", False),
        ("[list", "[list", False),
        ("[]", "[]", False),
        ("[a[b] c", "[a[b] c", False),
        ("lunch (fwd)", "lunch", True),
        ("lunch (FWD) (fwd)  ", "lunch", True),
        ("lunch(fwd)", "lunch", True),
        ("(fwd)", "", True),
        ("Re:", "", True),
        ("Re: (fwd)", "", True),
        ("[fwd: lunch]", "[fwd: lunch]"[6:-1], True),
        ("[Fwd: Re: lunch (fwd)]", "lunch", True),
        ("[Fwd: [fwd: lunch]]", "lunch", True),
        ("Re: [Fwd: lunch]", "lunch", True),
        ("[fwd:]", "", True),
        ("[fwd: lunch", "[fwd: lunch", False),
        ("[fwd: a] b", "b", False),  # then it is a blob
        ("a  b\t c", "a b c", False),
        ("a\r\n\tb", "a b", False),
        ("=?utf-8?Q?Re:_gr=C3=BCn?=", "grün", True),
        ("ſe: x", "ſe: x", False),
        ("Re: lunch Re: dinner", "lunch Re: dinner", True),
        ("reply: lunch", "reply: lunch", False),
    ],
)
def test_base_subject(subject: str, base: str, is_reply: bool) -> None:
    assert base_subject(decode_words(subject.encode())) == (base, is_reply)


@given(st.lists(st.sampled_from(["re:", "fwd", "[", "]", "[fwd:", "(fwd)", " ", "x", "[a]", ":"]), max_size=12))
def test_the_base_of_a_base_is_itself(pieces: list[str]) -> None:
    base, _ = base_subject("".join(pieces))
    assert base_subject(base)[0] == base
    assert base == base.strip(" ")


@pytest.mark.parametrize("piece", ["[a]", "re:", "[fwd:", "(fwd)", "[a] re", "[", " ", "re [", "[a"])
def test_long_subjects_take_time_in_proportion(piece: str) -> None:
    text = piece * (200_000 // len(piece)) + "]" * 20_000
    assert least(lambda: base_subject(text), 2) < 2
