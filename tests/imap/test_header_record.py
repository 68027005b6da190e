"""HEADERS records: the usual way by lines of LF gives what the slow way gives, and fields are picked from both."""

from hypothesis import example, given
from hypothesis import strategies as st

from greenmail.imap import header_record
from greenmail.imap.digest import digests
from greenmail.imap.header_record import CACHED_FIELDS, TOO_LONG, Recorder, Subset, header_of, headers_record
from greenmail.imap.made import SORTED_BY, Maker
from greenmail.message.content import BytesContent, to_crlf
from greenmail.message.headers import select
from greenmail.storage.api import CacheKind

KINDS = frozenset(
    {CacheKind.HEADERS, CacheKind.ENVELOPE, CacheKind.SENT, CacheKind.THREAD, *SORTED_BY},
)
LINES = [
    b"Subject: one", b"subject : two", b"SUBJECT:=?utf-8?q?=C3=BC?=", b"From: a@b, \"c, d\" <e@f>", b"To:", b" folded",
    b"\tfolded: also", b"Received: x", b"no field", b": nothing", b"", b"Date: 5 Jan 2024 10:00:00 +0100", b"X: \0",
    b"Message-ID: <a@b>", b"References: <c@d>", b" <e@f>", b"In-Reply-To: <g@h>", b"Cc: \xc3\xbc <a@b>", b"\r",
    b"Bcc\t: a",     b"List-Id: " + b"x" * 300, b"Sub ject: x", b"date:", b"List-Id: " + b"y" * 17000,
]  # fmt: skip
headers = st.lists(st.sampled_from(LINES), max_size=12).map(lambda lines: b"\n".join([*lines, b"", b""]))


@given(st.lists(headers, min_size=1, max_size=4), st.booleans())
@example([b"\n"], False)
@example([b"Subject: a\n"], False)  # a message without an empty line
@example([b"Subject: a\n\nTo: behind\n\n"], False)
def test_it_is_the_same_however_lines_end(found: list[bytes], cut: bool) -> None:
    recorder = Recorder()
    for octets in found:
        header = octets[:-1] if cut else octets
        assert recorder.record(header) == recorder.record(to_crlf(header)) == headers_record(to_crlf(header))


@given(headers)
def test_everything_made_of_a_header_is_the_same_however_lines_end(octets: bytes) -> None:
    header = BytesContent(octets).header()
    in_file = header.replace(b"\r\n", b"\n")
    if b"\r" in in_file:
        return
    maker = Maker(KINDS)
    assert maker.make(0, in_file) == maker.make(0, header)
    assert dict(zip(maker.order, maker.make(0, in_file), strict=True)) == digests([BytesContent(octets)], KINDS)[0]


@given(headers, st.sets(st.sampled_from(sorted(CACHED_FIELDS)), min_size=1, max_size=4))
def test_fields_are_picked_from_it(octets: bytes, names: set[bytes]) -> None:
    header = BytesContent(octets).header()
    record = Recorder().record(header.replace(b"\r\n", b"\n"))
    if record != TOO_LONG:
        assert Subset(names).of(record) == select(header, names)
        assert select(header_of(record), names) == select(header, names)


def test_spellings_are_remembered_and_not_without_end() -> None:
    recorder = Recorder()
    for number in range(3 * header_record.MAX_ORDERS):
        header = b"X-%d: a\nSubJect: b\n%b: c\n\n" % (number, b"Y" * number)
        assert recorder.record(header) == b"subject\0SubJect: b\r\n\0\r\n"
    assert len(recorder._spelled) <= header_record.MAX_ORDERS
    assert max(map(len, recorder._spelled)) <= header_record.LONGEST_NAME
