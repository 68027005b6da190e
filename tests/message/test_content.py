"""CRLF line ends from any file, and back to the disk."""

import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.errors import StorageError
from greenmail.message import content
from greenmail.message.content import STEP, BytesContent, Checkpoints, FileContent, bare_line_feeds, line_feeds, to_crlf
from greenmail.message.measured import crlf_size, sizes
from greenmail.message.to_disk import ToDisk


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    """An open descriptor of a file with these octets; whoever takes it closes it."""
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.write(fd, data)
    yield fd


def as_sent(data: bytes) -> bytes:
    """The rule spelled out octet by octet: a LF without a CR before it gets one."""
    out = bytearray()
    for n, octet in enumerate(data):
        if octet == 10 and (n == 0 or data[n - 1] != 13):
            out.append(13)
        out.append(octet)
    return bytes(out)


LINES = [
    (b"", b""),
    (b"a\nb\n", b"a\r\nb\r\n"),
    (b"a\r\nb\r\n", b"a\r\nb\r\n"),
    (b"a\r\nb\nc\rd\n", b"a\r\nb\r\nc\rd\r\n"),  # mixed; a lone CR stays
    (b"no end", b"no end"),  # formats.md 1.4: none is added
    (b"\n", b"\r\n"),
    (b"\r\r\n\n\r", b"\r\r\n\r\n\r"),
]


@pytest.mark.parametrize("data, sent", LINES)
def test_every_line_end_is_sent_as_crlf(data: bytes, sent: bytes) -> None:
    assert to_crlf(data) == sent == as_sent(data)
    assert BytesContent(data).read() == sent
    with file_of(data) as fd:
        assert sizes(fd) == (len(data), len(sent))
        assert crlf_size(fd) == len(sent)
        served = FileContent(fd)
        assert (served.size, served.read(), served.read(1, 3)) == (len(sent), sent, sent[1:3])
        served.close()
        served.close()


pieces = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"xyz" * 40, b"\r\r\n"]), max_size=60).map(b"".join)


@settings(deadline=None, max_examples=150)
@given(
    data=pieces,
    block=st.integers(1, 40),
    small=st.sampled_from([0, 40, content.SMALL]),
    cuts=st.lists(st.integers(0, 600), max_size=6),
    claim=st.booleans(),
)
def test_any_slice_equals_the_slice_of_the_whole(
    data: bytes, block: int, small: int, cuts: list[int], claim: bool
) -> None:
    sent = as_sent(data)
    before = content.BLOCK, content.FIRST, content.SMALL
    content.BLOCK, content.FIRST, content.SMALL = block, 3, small
    try:
        with file_of(data) as fd:
            served = FileContent(fd, len(sent), len(data)) if claim else FileContent(fd)
            assert served.size == len(sent)
            for start, end in itertools.pairwise(cuts):
                assert served.read(start, end) == BytesContent(data).read(start, end) == sent[start:end]
            assert served.read() == sent
            assert served.header() == BytesContent(data).header()
            again = FileContent(os.dup(fd), checkpoints=served.checkpoints)
            assert again.read(5) == sent[5:]
            again.close()
            served.close()
    finally:
        content.BLOCK, content.FIRST, content.SMALL = before


def test_a_file_of_several_blocks_is_served_right() -> None:
    data = b"0123456789\n" * 30000 + b"\r\n" * 70000 + b"end\r"
    sent = as_sent(data)
    with file_of(data) as fd:
        served = FileContent(fd)
        for start in (0, 65535, 65536, 65537, 131071, 300000, 360000, len(sent) - 2, len(sent), len(sent) + 9):
            assert served.read(start, start + 100) == sent[start : start + 100]
        assert served.read() == sent
        served.close()


@pytest.mark.parametrize("claim", [6, 9, 8, 7])
def test_a_false_claim_is_corrected_while_reading(claim: int) -> None:
    data = b"ab\ncd\n"
    with file_of(data) as fd:
        served = FileContent(fd, claim, len(data))
        assert served.read() == b"ab\r\ncd\r\n"
        assert served.size == 8
        served.close()


def test_a_claim_about_another_file_size_is_not_believed() -> None:
    with file_of(b"ab\ncd\n") as fd:
        served = FileContent(fd, 700, 600)
        assert served.size == 8
        served.close()


@pytest.mark.parametrize(
    "data, header",
    [
        (b"A: b\nC: d\n\nbody\n", b"A: b\r\nC: d\r\n\r\n"),
        (b"\nbody", b"\r\n"),  # no header at all
        (b"A: b\n", b"A: b\r\n"),  # no empty line
        (b"", b""),
        (b"X: " + b"y" * 300000 + b"\n\nb", b"X: " + b"y" * 300000 + b"\r\n\r\n"),
    ],
)
def test_header_ends_with_the_empty_line(data: bytes, header: bytes) -> None:
    with file_of(data) as fd:
        served = FileContent(fd)
        assert served.header() == header == BytesContent(data).header()
        served.close()


def test_header_does_not_read_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"A: b\r\n\r\n" + b"x" * 1000000
    with file_of(data) as fd:
        served = FileContent(fd, len(data), len(data))
        read: list[int] = []
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, n, at: read.append(n) or real(fd, n, at))
        assert served.header() == b"A: b\r\n\r\n"
        assert sum(read) <= content.FIRST
        served.close()


def test_slices_read_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one too, of which nobody knows yet where its lines end."""
    data = b"line\n" * 100000
    sent = as_sent(data)
    with file_of(data) as fd:
        served = FileContent(fd, len(sent), len(data))
        read: list[int] = []
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, n, at: read.append(at) or real(fd, n, at))
        found = [served.read(start, start + content.BLOCK) for start in range(0, len(sent) + 1, content.BLOCK)]
        assert b"".join(found) == sent
        blocks = [at for at in read if at]
        assert sorted(set(blocks)) == blocks and read.count(0) == 2, "MAGIC, and the first block"
        served.close()


def test_a_closed_file_is_a_storage_error() -> None:
    with file_of(b"abc") as fd:
        served = FileContent(fd)
        served.close()
        with pytest.raises(StorageError):
            served.read()


def test_unfinished_checkpoints_are_not_shared() -> None:
    with file_of(b"a\nb") as fd:
        unfinished = Checkpoints()
        served = FileContent(fd, checkpoints=unfinished)
        assert served.checkpoints is not unfinished
        served.close()


DISK = [
    (b"a\r\nb\r\n", b"a\nb\n"),
    (b"a\rb\nc\r\n", b"a\rb\nc\n"),  # formats.md 1.4: a lone CR stays; a lone LF too
    (b"x\r\r\ny", b"x\r\r\ny"),  # "x CR LF" on disk would lose a CR
    (b"\r", b"\r"),
    (b"\r\n\r\n", b"\n\n"),
]


@pytest.mark.parametrize("data, disk", DISK)
def test_to_disk(data: bytes, disk: bytes) -> None:
    out = ToDisk()
    assert out.feed(data) + out.end() == disk
    assert (out.disk_size, out.crlf_size) == (len(disk), len(as_sent(disk)))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([b"", b"a", b"\r", b"\n", b"\r\n", b"\r\r\n", b"long" * 9]), max_size=25))
def test_to_disk_does_not_depend_on_the_pieces_and_loses_nothing(parts: list[bytes]) -> None:
    whole, cut = ToDisk(), ToDisk()
    data = b"".join(parts)
    at_once = whole.feed(data) + whole.end()
    assert b"".join([*(cut.feed(part) for part in parts), cut.end()]) == at_once
    assert (cut.disk_size, cut.crlf_size) == (len(at_once), len(as_sent(at_once)))
    assert as_sent(at_once) == as_sent(data)


@pytest.mark.parametrize("around", [b"\r\n", b"\n", b"\r", b"\n\r\n", b"\r\r\n", b"\n\n"])
@pytest.mark.parametrize("before", [3, 2, 1, 0])
def test_line_ends_are_counted_where_two_steps_meet(around: bytes, before: int) -> None:
    data = b"x" * (STEP - before) + around + b"\nyz\r\n"
    assert bare_line_feeds(data) == len(re.findall(rb"(?<!\r)\n", data))
    assert bare_line_feeds(b"\n" + data, after_cr=True) == len(re.findall(rb"(?<!\r)\n", data))


@pytest.mark.parametrize("lines", [1, 2000])
def test_a_slice_that_ends_before_it_begins_is_empty(lines: int) -> None:
    data = (b"x" * 70 + b"\r\n") * lines
    with file_of(data) as fd:
        served = FileContent(fd)
        for start, end in ((7, 3), (2, 1), (1, 0), (len(data), 5), (len(data) + 9, len(data) - 1), (3, -1)):
            assert served.read(start, end) == BytesContent(data).read(start, end) == b""
        served.close()


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"", b"a", b"\r", b"\n", b"\r\n", b"\0", b"long" * 9])).map(b"".join), st.data())
def test_line_feeds_are_those_that_count_finds(data: bytes, dice: st.DataObject) -> None:
    start = dice.draw(st.integers(0, len(data) + 2))
    end = dice.draw(st.integers(start, len(data) + 4))
    assert line_feeds(data, start, end) == data.count(b"\n", start, end)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_large_message_is_read_in_any_slices(end: bytes) -> None:
    data = (b"x" * 70 + end) * 5000 + b"mixed\n" + b"\r\nend\r"
    whole = to_crlf(data)
    for slices in (
        [(0, None)],
        [(10, 200_001), (200_001, 200_001), (0, 5), (200_000, None)],
        [(70_000, 70_100), (0, None)],
    ):
        with file_of(data) as fd:
            content = FileContent(fd)
            assert [content.read(*one) for one in slices] == [whole[slice(*one)] for one in slices]
            content.close()
