"""search-key and the arguments of SEARCH: RFC 9051 6.4.4 and 9, RFC 3501 6.4.4, RFC 4731 3.1, RFC 7162 7."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap import registry
from greenmail.imap.commands.search import SearchRequest, parse_search
from greenmail.imap.cursor import Cursor
from greenmail.imap.search_key import (
    AllKey,
    AndKey,
    FlagKey,
    HeaderKey,
    Key,
    NotKey,
    OrKey,
    Relation,
    RowKey,
    SentKey,
    SetKey,
    TextKey,
    search_key,
    search_keys,
)
from greenmail.imap.sequence_set import SequenceSet
from greenmail.imap.serialize import string

DELETED, SEEN, FLAGGED = FlagKey("\\Deleted"), FlagKey("\\Seen"), FlagKey("\\Flagged")


def parsed(text: bytes, max_depth: int = 50) -> Key:
    cur = Cursor(text, max_depth=max_depth)
    key = search_keys(cur, registry.SEARCH_KEYS)
    cur.end()
    return key


def request(text: bytes) -> SearchRequest:
    cur = Cursor(text)
    found = parse_search(cur, uid=False)
    cur.end()
    return found


def brief(key: Key) -> Key | tuple[str, object]:
    """A RowKey without what only its module knows."""
    return (key.name, key.argument) if isinstance(key, RowKey) else key


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"ALL", AllKey()),
        (b"seen", SEEN),
        (b"UNSEEN", NotKey(SEEN)),
        (b"UNKEYWORD $Junk", NotKey(FlagKey("$Junk"))),
        (b"KEYWORD $Junk", FlagKey("$Junk")),
        (b"2,4:7,9,12:*", SetKey(SequenceSet(((2, 2), (4, 7), (9, 9), (12, None))), uid=False)),
        (b"UID 1:*", SetKey(SequenceSet(((1, None),)), uid=True)),
        (b"$", SetKey(SequenceSet((), saved=True), uid=False)),
        (b"FROM Smith", HeaderKey(b"from", b"Smith")),
        (b'SUBJECT "a b"', HeaderKey(b"subject", b"a b")),
        (b'HEADER X-Spam ""', HeaderKey(b"x-spam", b"")),
        (b"BCC {3}\r\na)b", HeaderKey(b"bcc", b"a)b")),
        (b"TEXT x", TextKey(b"x", header=True)),
        (b"BODY x", TextKey(b"x", header=False)),
        (b"SENTON 1-Feb-1994", SentKey(Relation.ON, date(1994, 2, 1))),
        (b'SENTSINCE "01-FEB-1994"', SentKey(Relation.SINCE, date(1994, 2, 1))),
        (b"SENTBEFORE 1-Feb-1994", SentKey(Relation.BEFORE, date(1994, 2, 1))),
        (b"NOT SEEN", NotKey(SEEN)),
        (b"OR SEEN FLAGGED", OrKey((SEEN, FLAGGED))),
        (b"OR SEEN OR FLAGGED DELETED", OrKey((SEEN, FLAGGED, DELETED))),
        (b"OR OR SEEN FLAGGED DELETED", OrKey((SEEN, FLAGGED, DELETED))),
        (b"OR (OR SEEN FLAGGED) DELETED", OrKey((OrKey((SEEN, FLAGGED)), DELETED))),
        (b"OR NOT SEEN (FLAGGED DELETED)", OrKey((NotKey(SEEN), AndKey((FLAGGED, DELETED))))),
        (b"SEEN FLAGGED", AndKey((SEEN, FLAGGED))),
        (b"(SEEN)", SEEN),
        (b"((SEEN) (FLAGGED DELETED))", AndKey((SEEN, AndKey((FLAGGED, DELETED))))),
    ],
)
def test_search_key(text: bytes, expected: Key) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "text, name, argument",
    [
        (b"LARGER 50000", "LARGER", 50000),
        (b"SMALLER 9223372036854775807", "SMALLER", 2**63 - 1),
        (b"SINCE 1-Feb-1994", "SINCE", date(1994, 2, 1)),
        (b"BEFORE 31-Dec-9999", "BEFORE", date(9999, 12, 31)),
        (b'ON "1-Feb-1994"', "ON", date(1994, 2, 1)),
        (b"RECENT", "RECENT", None),
        # RFC 7162 3.1.5
        (b'MODSEQ "/flags/\\\\draft" all 620162338', "MODSEQ", 620162338),
        (b"MODSEQ 0", "MODSEQ", 0),
    ],
)
def test_keys_of_columns(text: bytes, name: str, argument: object) -> None:
    assert brief(parsed(text)) == (name, argument)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"SEEN ",
        b"SEEN  FLAGGED",
        b"BOGUS",
        b"SEENX",
        b"()",
        b"(SEEN",
        b"SEEN)",
        b"NOT",
        b"NOT ",
        b"OR SEEN",
        b"OR  SEEN FLAGGED",
        b"OR OR SEEN FLAGGED",
        b"FROM",
        b"FROM ",
        b"HEADER Subject",
        b"KEYWORD \\Seen",
        b"LARGER x",
        b"LARGER 9223372036854775808",
        b"SINCE 32-Jan-2024",
        b"SINCE 1-Foo-2024",
        b"ON 1-Feb-94",
        b"UID",
        b"UID x",
        b"0",
        b"1:",
        b"MODSEQ",
        b"MODSEQ x",
        b'MODSEQ "/flags/a" 1',
        b'MODSEQ "/flags/a" both 1',
        b'FROM "a\0b"',
    ],
)
def test_wrong_search_key(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parsed(text)


@pytest.mark.parametrize(
    "text, good",
    [
        (b"(" * 50 + b"SEEN" + b")" * 50, True),
        (b"(" * 51 + b"SEEN" + b")" * 51, False),
        (b"NOT " * 50 + b"SEEN", True),
        (b"NOT " * 51 + b"SEEN", False),
        (b"NOT (" * 25 + b"SEEN" + b")" * 25, True),
        (b"NOT (" * 26 + b"SEEN" + b")" * 26, False),
        (b"OR SEEN " * 900 + b"SEEN", True),
        (b"OR " * 900 + b"SEEN " * 900 + b"SEEN", True),
        (b"OR " * 100_000, False),
        (b"(" * 100_000, False),
        (b"NOT " * 100_000, False),
        (b"SEEN " * 20_000 + b"SEEN", False),
    ],
    ids=range(12),
)
def test_nesting_is_bounded(text: bytes, good: bool) -> None:
    if good:
        parsed(text)
    else:
        with pytest.raises(BadSyntax):
            parsed(text)


@pytest.mark.parametrize(
    "text, returns, charset",
    [
        (b" ALL", None, ""),
        (b" RETURN () ALL", [], ""),
        (b" RETURN (MIN COUNT) ALL", ["MIN", "COUNT"], ""),
        (b" return (all save max) charset utf-8 ALL", ["ALL", "SAVE", "MAX"], "UTF-8"),
        (b' CHARSET "us-ascii" ALL', None, "US-ASCII"),
    ],
)
def test_search_arguments(text: bytes, returns: list[str] | None, charset: str) -> None:
    found = request(text)
    assert (None if found.returns is None else list(found.returns)) == returns
    assert found.charset == charset


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"ALL",
        b" RETURN (MIN)",
        b" RETURN MIN ALL",
        b" RETURN (MIN,MAX) ALL",
        b" RETURN (MIN ) ALL",
        b" RETURN (NONE) ALL",
        b" CHARSET UTF-8",
        b" CHARSET  UTF-8 ALL",
        b" CHARSET UTF-8 RETURN (MIN) ALL",
    ],
)
def test_wrong_search_arguments(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        request(text)


def text_of(key: Key) -> bytes:
    """A search-key that means `key`."""
    match key:
        case AllKey():
            return b"ALL"
        case FlagKey(flag):
            return flag[1:].upper().encode() if flag.startswith("\\") else b"KEYWORD " + flag.encode()
        case SetKey(seqs, uid):
            pairs = [b"%s:%s" % tuple(b"*" if n is None else b"%d" % n for n in pair) for pair in seqs.ranges]
            return (b"UID " if uid else b"") + b",".join([*pairs, *([b"$"] if seqs.saved else [])])
        case SentKey(relation, day):
            months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            return f"SENT{relation.value} {day.day}-{months[day.month - 1]}-{day.year:04}".encode()
        case HeaderKey(field, text):
            return b"HEADER " + string(field) + b" " + string(text)
        case TextKey(text, header):
            return (b"TEXT " if header else b"BODY ") + string(text)
        case AndKey(keys):
            return b"(" + b" ".join(map(text_of, keys)) + b")"
        case OrKey(keys):
            return b"OR " * (len(keys) - 1) + b" ".join(_operand(inner) for inner in keys)
        case NotKey(inner):
            return b"NOT " + text_of(inner)
        case RowKey(name, argument):
            return f"{name} {argument}".encode()


def _operand(key: Key) -> bytes:
    return b"(" + text_of(key) + b")" if isinstance(key, OrKey) else text_of(key)


_numbers = st.one_of(st.none(), st.integers(1, 2**32 - 1))
_sets = st.builds(
    SequenceSet, st.lists(st.tuples(_numbers, _numbers), min_size=1, max_size=4).map(tuple), st.booleans()
)
_strings = st.binary(max_size=20).filter(lambda octets: b"\0" not in octets)
_leaves = st.one_of(
    st.just(AllKey()),
    st.builds(FlagKey, st.sampled_from(["\\Seen", "\\Draft", "$Junk", "word"])),
    st.builds(SetKey, _sets, st.booleans()),
    st.builds(SentKey, st.sampled_from(Relation), st.dates()),
    st.builds(HeaderKey, _strings.map(bytes.lower), _strings),
    st.builds(TextKey, _strings, st.booleans()),
)
_keys = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(NotKey, inner),
        st.builds(AndKey, st.lists(inner, min_size=2, max_size=4).map(tuple)),
        st.builds(OrKey, st.lists(inner, min_size=2, max_size=4).map(tuple)),
    ),
    max_leaves=12,
)


@given(_keys)
def test_what_is_written_is_read(key: Key) -> None:
    assert parsed(text_of(key)) == key


_WORDS = [
    b"OR",
    b"NOT",
    b"(",
    b")",
    b" ",
    b"SEEN",
    b"1:*",
    b"FROM",
    b'"a"',
    b"SINCE",
    b"1-Jan-2024",
    b"MODSEQ",
    b"9",
    b"UID",
]


@given(st.one_of(st.binary(), st.lists(st.sampled_from(_WORDS), max_size=15).map(b"".join)))
def test_any_octets_give_a_key_or_bad_syntax(octets: bytes) -> None:
    for rule in (search_key, search_keys):
        try:
            rule(Cursor(octets), registry.SEARCH_KEYS)
        except BadSyntax:
            continue
    try:
        parse_search(Cursor(b" " + octets), uid=True)
    except BadSyntax:
        return
