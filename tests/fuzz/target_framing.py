"""Octets of a client, cut anywhere: the same frames come out, nothing but Disconnected is raised, memory is bounded."""

from typing import Any

from greenmail.errors import BadSyntax, Disconnected, Refused
from greenmail.imap.framing import PIECE, Reader
from greenmail.imap.session import Limits
from greenmail.pop3.framing import DotStuffer, LineReader

LIMITS = Limits(max_line=100, max_line_anonymous=40, max_command_size=300, max_request_size=500, max_drain=2000)


class Sink:
    """A literal that is streamed."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = 0

    def write(self, data: bytes) -> None:
        assert 0 < len(data) <= PIECE
        assert not self.ended
        self.data += data

    def finish(self) -> bytes:
        assert not self.ended
        self.ended = 1
        return self.data

    def abort(self) -> None:
        self.ended = 2


def frames(stream: bytes, piece: int, authenticated: bool, minus: bool) -> tuple[list[Any], bytes]:
    """What a reader makes of `stream`, which comes in pieces; and what it answered."""
    waiting = [stream[at : at + piece] for at in range(0, len(stream), piece)][::-1]
    said = bytearray()
    sinks: list[Sink] = []

    def receive() -> bytes:
        if not waiting:
            raise Disconnected
        return waiting.pop()

    def begin(text: bytes, size: int, synchronizing: bool) -> Sink | None:
        assert text.endswith(b"\r\n")
        if b"APPEND" not in text:
            return None
        if size > LIMITS.max_request_size:
            raise Refused("message is too large", "TOOBIG")
        sinks.append(Sink())
        return sinks[-1]

    reader = Reader(receive, said.extend, LIMITS, minus)
    reader.authenticated = authenticated
    found: list[Any] = []
    try:
        while True:
            frame = reader.next_frame(begin)
            most = 2 * reader.max_command_size + reader.max_line  # a line and a literal that go over it are still read
            assert len(frame.text) <= most, len(frame.text)
            assert frame.failure is None or not frame.sinks
            frame.discard()
            found.append((frame.text, dict(frame.staged), str(frame.failure)))
    except Disconnected as end:
        found.append(end.text)
    assert all(sink.ended == 2 for sink in sinks), "an upload was left behind"
    assert not any(waiting) or b"BYE" in said
    return found, bytes(said)


def lines(stream: bytes, piece: int) -> list[bytes | str]:
    """The lines that POP3 reads."""
    waiting = [stream[at : at + piece] for at in range(0, len(stream), piece)][::-1]

    def receive() -> bytes:
        if not waiting:
            raise Disconnected
        return waiting.pop()

    reader = LineReader(receive)
    found: list[bytes | str] = []
    while True:
        try:
            line = reader.read_line(60)
            assert len(line) <= 60 and b"\n" not in line
            found.append(line)
        except BadSyntax as bad:
            found.append(bad.text)
        except Disconnected:
            return found


def stuffed(data: bytes, piece: int) -> bytes:
    """A multi-line answer of POP3."""
    stuffer = DotStuffer()
    sent = b"".join(stuffer.feed(data[at : at + piece]) for at in range(0, len(data), piece))
    return sent + stuffer.end()


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    piece, flags, stream = data[0] % 64 + 1, data[1], data[2:]
    whole = frames(stream, PIECE, bool(flags & 1), bool(flags & 2))
    assert whole == frames(stream, piece, bool(flags & 1), bool(flags & 2)), "the cuts make a difference"
    assert lines(stream, PIECE) == lines(stream, piece), "the cuts make a difference to POP3"
    text = stream.replace(b"\r", b"").replace(b"\n", b"\r\n")
    sent = stuffed(text, piece)
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
    body = sent[:-3].split(b"\r\n")
    assert not any(line == b"." for line in body), "the answer ends too early"
    restored = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in body)
    assert restored.rstrip(b"\r\n") == text.rstrip(b"\r\n")
