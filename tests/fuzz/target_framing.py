"""Octets of a client, cut anywhere: the same frames come out, nothing but Disconnected is raised, memory is bounded."""

import re
from typing import Any

from greenmail.errors import BadSyntax, Disconnected, Reason, Refused, StorageError
from greenmail.imap.framing import PIECE, Reader
from greenmail.imap.session import Limits
from greenmail.pop3.framing import DotStuffer, LineReader

LIMITS = Limits(max_line=100, max_line_anonymous=40, max_command_size=300, max_request_size=500, max_drain=2000)
LARGE = Limits(max_line=8000, max_line_anonymous=40, max_command_size=300_000, max_request_size=500_000)
_RUN = re.compile(rb"\x01(.)(.)", re.DOTALL)  # octet 2 is there 64 times as often as octet 1 says
MOST = 1 << 18


class Sink:
    """A literal that is streamed; one that a text asks for breaks."""

    def __init__(self, breaks: bytes) -> None:
        self.data = b""
        self.finished = 0
        self.aborted = False
        self.breaks = breaks

    def write(self, data: bytes) -> None:
        assert 0 < len(data) <= PIECE
        assert not self.aborted
        self.data += data
        if b"full" in self.breaks:
            raise StorageError(Reason.NO_SPACE, "the disk is full")

    def finish(self) -> bytes:
        assert not self.aborted
        self.finished += 1
        if b"over" in self.breaks:
            raise StorageError(Reason.OVER_QUOTA, "too much")
        return self.data

    def abort(self) -> None:
        self.aborted = True


class Wire:
    """What a client sends, in pieces, and what it is answered."""

    def __init__(self, stream: bytes, piece: int) -> None:
        self.waiting = [stream[at : at + piece] for at in range(0, len(stream), piece)][::-1]
        self.said = bytearray()

    def receive(self) -> bytes:
        if not self.waiting:
            raise Disconnected
        return self.waiting.pop()


def frames(stream: bytes, piece: int, limits: Limits, flags: int) -> tuple[list[Any], bytes]:
    """What a reader makes of `stream`, which comes in pieces; and what it answered."""
    wire = Wire(stream, piece)
    sinks: list[Sink] = []

    def begin(text: bytes, size: int, synchronizing: bool) -> Sink | None:
        assert text.endswith(b"\r\n")
        if b"APPEND" not in text:
            return None
        if size > limits.max_request_size:
            raise Refused("message is too large", "TOOBIG")
        if b"none" in text:
            raise StorageError(Reason.NOT_FOUND, "there is no such mailbox")
        if b"CATENATE" in text and reader.staged:
            return sinks[-1]  # one more piece of the same message
        sinks.append(Sink(text))
        return sinks[-1]

    reader = Reader(wire.receive, wire.said.extend, limits, bool(flags & 2))
    reader.authenticated = bool(flags & 1)
    found: list[Any] = []
    try:
        while True:
            frame = reader.next_frame(begin)
            most = 2 * reader.max_command_size + reader.max_line  # a line and a literal that go over it are still read
            assert len(frame.text) <= most, len(frame.text)
            assert frame.failure is None or not frame.sinks
            assert all(sink.finished for sink in frame.sinks)
            assert all(0 < place <= len(frame.text) for place in frame.staged)
            for sink in frame.sinks:
                sink.abort()
            found.append((frame.text, dict(frame.staged), str(frame.failure)))
            if b"IDLE" in frame.text:
                found.append(_line(reader))
            if b"TWICE" in frame.text:  # as when the session goes on in another process
                reader.put_back(reader.take_rest())
                assert reader.buffered <= len(stream)
    except Disconnected as end:
        found.append(end.text)
    assert all(sink.aborted for sink in sinks), "an upload was left behind"
    assert not any(wire.waiting) or b"BYE" in wire.said
    reader.discard()
    assert reader.buffered == 0
    return found, bytes(wire.said)


def _line(reader: Reader) -> bytes | str:
    try:
        line = reader.read_line()
    except BadSyntax as bad:
        return bad.text
    assert len(line) <= reader.max_line and b"\n" not in line
    return line


def thrown_away(stream: bytes, piece: int) -> None:
    """RFC 9051 6.2.1: what came before TLS begins is gone, and the rest is read as if nothing had been."""
    wire = Wire(stream, piece)
    reader = Reader(wire.receive, wire.said.extend, LIMITS)
    reader.put_back(b"a NOOP\r\nb INJECTED\r\n")
    assert reader.next_frame(lambda *_: None).text == b"a NOOP"
    reader.discard()
    try:
        assert b"INJECTED" in stream or b"INJECTED" not in reader.next_frame(lambda *_: None).text
    except Disconnected:
        pass


def lines(stream: bytes, piece: int) -> list[bytes | str]:
    """The lines that POP3 reads."""
    wire = Wire(stream, piece)
    reader = LineReader(wire.receive)
    found: list[bytes | str] = []
    while True:
        try:
            line = reader.read_line(60)
            assert len(line) <= 60 and b"\n" not in line
            found.append(line)
            if line == b"STLS":
                reader.discard()
                assert reader.take_rest() == b""
                return found  # what is left depends on the cuts
        except BadSyntax as bad:
            found.append(bad.text)
        except Disconnected as end:
            found.append(end.text)
            assert reader.received <= len(stream)
            return found


def stuffed(data: bytes, piece: int) -> bytes:
    """A multi-line answer of POP3."""
    stuffer = DotStuffer()
    sent = b"".join(stuffer.feed(data[at : at + piece]) for at in range(0, len(data), piece))
    return sent + stuffer.end()


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    flags, stream = data[1], _RUN.sub(lambda run: run[2] * (64 * run[1][0]), data[2:])[:MOST]
    piece = data[0] % 64 + 1 if len(stream) <= len(data) else 4096 + data[0]
    limits = LARGE if flags & 4 else LIMITS
    whole = frames(stream, PIECE, limits, flags)
    assert whole == frames(stream, piece, limits, flags), "the cuts make a difference"
    thrown_away(stream, piece)
    assert lines(stream, PIECE) == lines(stream, piece), "the cuts make a difference to POP3"
    text = stream.replace(b"\r", b"").replace(b"\n", b"\r\n")
    sent = stuffed(text, piece)
    assert sent == stuffed(text, len(text) or 1)
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
    body = sent[:-3].split(b"\r\n")
    assert not any(line == b"." for line in body), "the answer ends too early"
    restored = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in body)
    assert restored.rstrip(b"\r\n") == text.rstrip(b"\r\n")
