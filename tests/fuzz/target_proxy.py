"""The PROXY header: an origin, nothing, or BadHeader; and not one octet behind it is taken, however it arrives."""

import socket

from greenmail.net import proxy

BEHIND = b"\x16\x03\x01a1 NOOP\r\n"


class Wire:
    """A non-blocking socket to which octets come in pieces."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.coming = [data[at : at + piece] for at in range(0, len(data), piece)][::-1]
        self.here = b""
        self.taken = 0
        self.ended = False

    def recv(self, count: int, flags: int = 0) -> bytes:
        assert count > 0
        if not self.here and not self.ended:
            raise BlockingIOError
        found = self.here[:count]
        if not flags & socket.MSG_PEEK:
            self.here = self.here[count:]
            self.taken += len(found)
        return found

    def wait(self) -> None:
        assert not self.ended, "it waits for what cannot come"
        if self.coming:
            self.here += self.coming.pop()
        else:
            self.ended = True


def outcome(data: bytes, piece: int) -> tuple[object, int]:
    """What the header says, and how many octets it took."""
    wire = Wire(data, piece)
    try:
        found: object = proxy.read(wire, wire.wait)
    except proxy.BadHeader:
        return "bad", 0
    except proxy.Closed:
        return "closed", 0
    return found, wire.taken


def check(data: bytes) -> None:
    if not data:
        return
    found, taken = outcome(data[1:], 1 << 16)
    assert (found, taken) == outcome(data[1:], data[0] % 32 + 1), "the cuts make a difference"
    if isinstance(found, proxy.Origin):
        assert outcome(data[1 : 1 + taken] + BEHIND, 1 << 16) == (found, taken)
        assert 0 <= found.peer_port < 1 << 16 and 0 <= found.local_port < 1 << 16
        for word in (found.peer, found.local, found.tls_version, found.tls_cipher):
            assert word.isprintable() and " " not in word, found
