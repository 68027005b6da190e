"""SASLprep, RFC 4013."""

import pytest

from greenmail.auth import saslprep


@pytest.mark.parametrize(
    "text, expected",
    [
        ("I\u00adX", "IX"),  # RFC 4013 3: soft hyphen mapped to nothing
        ("user", "user"),  # no transformation
        ("USER", "USER"),  # case preserved, will not match #2
        ("\u00aa", "a"),  # output is NFKC, input in ISO 8859-1
        ("\u2168", "IX"),  # output is NFKC, will match #1
        ("\u0007", None),  # prohibited character
        ("\u06271", None),  # bidirectional check
        ("a\u00a0b", "a b"),  # RFC 4013 2.1
        ("\u0627\u06281\u0628", "\u0627\u06281\u0628"),
        ("\u0627a\u0628", None),
        ("a\u0627", None),
        ("\U0001f600", None),  # unassigned in Unicode 3.2: RFC 4013 2.5
        ("pa\u0308ss", "p\u00e4ss"),
        ("", ""),
    ],
)
def test_prepare(text, expected):
    assert saslprep.prepare(text) == expected


@pytest.mark.parametrize(
    "octets, expected",
    [
        (b"pencil", b"pencil"),
        ("pa\u0308ss".encode(), "p\u00e4ss".encode()),
        (b"\xff", b"\xff"),
        ("\U0001f600".encode(), "\U0001f600".encode()),
        (b"a\x07", b"a\x07"),
        ("\u00ad".encode(), "\u00ad".encode()),  # nothing would be left of it
    ],
)
def test_passwords_that_cannot_be_prepared_stay_as_they_are(octets, expected):
    assert saslprep.password(octets) == expected
