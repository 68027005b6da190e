"""SEARCH and ESEARCH answers, and what "$" becomes: RFC 9051 6.4.4, RFC 4731 3, RFC 7162 3.1.5."""

import pytest

from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import (
    RETURN_OPTS,
    Found,
    esearch_response,
    saved_places,
    search_response,
    search_return_opts,
)

TABLE = {option.name: option for option in RETURN_OPTS}


@pytest.mark.parametrize(
    "options, found, expected",
    [
        # RFC 9051 6.4.4
        (b"(MIN COUNT)", Found(False, [2, 9, 11]), b"MIN 2 COUNT 3"),
        (b"(ALL)", Found(False, [2, 10, 11]), b"ALL 2,10:11"),
        (b"(MIN MAX)", Found(True, [7, 20, 3800]), b"UID MIN 7 MAX 3800"),
        (b"(COUNT)", Found(False, list(range(1, 16))), b"COUNT 15"),
        (b"(MIN MAX ALL COUNT)", Found(False, []), b"COUNT 0"),
        (b"(MIN MAX ALL)", Found(True, []), b"UID"),
        (b"(SAVE MIN)", Found(False, [4]), b"MIN 4"),
        # RFC 7162 3.1.10, RFC 4731 3.2
        (b"(ALL)", Found(False, [1, 2, 3, 5], [9, 1236, 8, 7]), b"ALL 1:3,5 MODSEQ 1236"),
        (b"(MIN)", Found(False, [2, 9, 23], [40, 99, 50]), b"MIN 2 MODSEQ 40"),
        (b"(MAX)", Found(False, [2, 9, 23], [40, 99, 50]), b"MAX 23 MODSEQ 50"),
        (b"(MIN MAX)", Found(False, [2, 9, 23], [40, 99, 50]), b"MIN 2 MAX 23 MODSEQ 50"),
        (b"(MIN COUNT)", Found(False, [2, 9, 23], [40, 99, 50]), b"MIN 2 COUNT 3 MODSEQ 99"),
        (b"(ALL)", Found(False, [], []), b""),
    ],
)
def test_esearch_response(options: bytes, found: Found, expected: bytes) -> None:
    returns = search_return_opts(Cursor(options), TABLE)
    line = b'* ESEARCH (TAG "A282")' + (b" " + expected if expected else b"") + b"\r\n"
    assert esearch_response(b"A282", found, returns, TABLE) == line


@pytest.mark.parametrize(
    "options, count, expected",
    [
        (b"(SAVE)", 3, [0, 1, 2]),
        (b"(SAVE MIN)", 3, [0]),
        (b"(MAX SAVE)", 3, [2]),
        (b"(MAX SAVE MIN)", 3, [0, 2]),
        (b"(MAX SAVE MIN)", 1, [0]),
        (b"(MAX SAVE MIN COUNT)", 3, [0, 1, 2]),
        (b"(ALL SAVE MIN)", 3, [0, 1, 2]),
        (b"(SAVE MIN)", 0, []),
    ],
)
def test_saved_places(options: bytes, count: int, expected: list[int]) -> None:
    assert list(saved_places(count, search_return_opts(Cursor(options), TABLE))) == expected


@pytest.mark.parametrize(
    "found, expected",
    [
        (Found(False, [2, 84, 882]), b"* SEARCH 2 84 882\r\n"),  # RFC 3501 7.2.5
        (Found(False, []), b"* SEARCH\r\n"),
        (Found(False, [2, 5, 6], [7, 917162500, 8]), b"* SEARCH 2 5 6 (MODSEQ 917162500)\r\n"),  # RFC 7162 3.1.5
        (Found(False, [], []), b"* SEARCH\r\n"),
    ],
)
def test_search_response(found: Found, expected: bytes) -> None:
    assert b"".join(search_response(found)) == expected


def test_a_long_answer_comes_in_pieces() -> None:
    pieces = list(search_response(Found(True, range(1_000_000, 1_100_000))))
    assert max(map(len, pieces)) <= 65536
    assert b"".join(pieces).count(b" ") == 100_001
