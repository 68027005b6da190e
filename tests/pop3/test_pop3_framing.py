"""Lines in, dots out."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Disconnected
from greenmail.pop3.framing import MAX_DRAIN, DotStuffer, LineReader


def receiver(data: bytes, size: int) -> Callable[[], bytes]:
    pieces = iter([data[n : n + size] for n in range(0, len(data), size)])

    def receive() -> bytes:
        try:
            return next(pieces)
        except StopIteration:
            raise Disconnected from None

    return receive


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_do_not_depend_on_packets(size: int) -> None:
    reader = LineReader(receiver(b"STAT\r\nLIST\n\r\nPASS a\rb \r\n", size))
    assert [reader.read_line(100) for _ in range(4)] == [b"STAT", b"LIST", b"", b"PASS a\rb "]
    with pytest.raises(Disconnected):
        reader.read_line(100)


@pytest.mark.parametrize("size", [1, 9, 1000])
def test_a_line_too_long_is_thrown_away(size: int) -> None:
    reader = LineReader(receiver(b"x" * 50 + b"\r\nNOOP\r\n", size))
    with pytest.raises(BadSyntax):
        reader.read_line(20)
    assert reader.read_line(20) == b"NOOP"


def test_a_line_without_end_ends_the_connection() -> None:
    reader = LineReader(lambda: b"x" * 65536)
    with pytest.raises(Disconnected):
        reader.read_line(255)
    assert reader.received < MAX_DRAIN + 4 * 65536


def test_nothing_from_before_a_handshake_is_left() -> None:
    reader = LineReader(receiver(b"STLS\r\nUSER evil\r\n", 100))
    assert reader.read_line(100) == b"STLS"
    reader.discard()
    with pytest.raises(Disconnected):
        reader.read_line(100)


def stuffed(data: bytes) -> bytes:
    """RFC 1939 3 spelled out."""
    lines = data.split(b"\r\n")
    out = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    return out + (b".\r\n" if data.endswith(b"\r\n") or not data else b"\r\n.\r\n")


@pytest.mark.parametrize(
    "data, sent",
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n..\r\nx.\r\n", b"..\r\n...\r\nx.\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r.\r\n", b"a\r.\r\n.\r\n"),
    ],
)
def test_dots_are_doubled(data: bytes, sent: bytes) -> None:
    stuffer = DotStuffer()
    assert stuffer.feed(data) + stuffer.end() == sent == stuffed(data)


@given(st.lists(st.sampled_from([b"", b".", b"\r", b"\n", b"\r\n", b"a", b"\r\n."]), max_size=30))
def test_stuffing_does_not_depend_on_pieces(parts: list[bytes]) -> None:
    stuffer = DotStuffer()
    assert b"".join([*map(stuffer.feed, parts), stuffer.end()]) == stuffed(b"".join(parts))
