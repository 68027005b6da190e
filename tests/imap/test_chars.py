"""RFC 9051 9, RFC 5234 B.1: every class over all 256 octets, against a second way to say the same."""

import re

import pytest

from greenmail.imap import chars


def _is_ctl(octet: int) -> bool:
    return octet < 0x20 or octet == 0x7F


def _is_atom_char(octet: int) -> bool:
    return 0 < octet < 0x80 and not _is_ctl(octet) and chr(octet) not in '(){ %*"\\]'


RULES = [
    ("CHAR", chars.CHAR, lambda octet: 1 <= octet <= 0x7F),
    ("CHAR8", chars.CHAR8, lambda octet: octet != 0),
    ("CTL", chars.CTL, _is_ctl),
    ("ALPHA", chars.ALPHA, lambda octet: octet < 0x80 and chr(octet).isalpha()),
    ("DIGIT", chars.DIGIT, lambda octet: chr(octet) in "0123456789"),
    ("ATOM-CHAR", chars.ATOM_CHAR, _is_atom_char),
    ("ASTRING-CHAR", chars.ASTRING_CHAR, lambda octet: _is_atom_char(octet) or octet == ord("]")),
    ("list-char", chars.LIST_CHAR, lambda octet: _is_atom_char(octet) or chr(octet) in "]%*"),
    ("tag", chars.TAG_CHAR, lambda octet: (_is_atom_char(octet) or octet == ord("]")) and octet != ord("+")),
    ("TEXT-CHAR", chars.TEXT_CHAR, lambda octet: 1 <= octet <= 0x7F and chr(octet) not in "\r\n"),
    ("QUOTED-CHAR", chars.QUOTED_SAFE, lambda octet: 1 <= octet <= 0x7F and chr(octet) not in '\r\n"\\'),
    ("base64-char", chars.BASE64_CHAR, lambda octet: octet < 0x80 and (chr(octet).isalnum() or chr(octet) in "+/")),
    (
        "tagged-label-fchar",
        chars.TAGGED_LABEL_FCHAR,
        lambda octet: octet < 0x80 and (chr(octet).isalpha() or chr(octet) in "-_."),
    ),
    (
        "tagged-label-char",
        chars.TAGGED_LABEL_CHAR,
        lambda octet: octet < 0x80 and (chr(octet).isalnum() or chr(octet) in "-_.:"),
    ),
]


@pytest.mark.parametrize("name, octets, rule", RULES, ids=[rule[0] for rule in RULES])
def test_class_over_all_octets(name, octets, rule):
    assert octets == {octet for octet in range(256) if rule(octet)}


@pytest.mark.parametrize("name, octets, rule", RULES, ids=[rule[0] for rule in RULES])
def test_regular_expression_of_a_class(name, octets, rule):
    one = re.compile(chars.one_of(octets), re.DOTALL)
    assert {octet for octet in range(256) if one.fullmatch(bytes([octet]))} == octets


def test_some_of_takes_all_and_gives_nothing_back():
    pattern = chars.some_of(chars.DIGIT)
    assert pattern.match(b"123a").group() == b"123"
    assert re.compile(pattern.pattern + b"3").match(b"123") is None
