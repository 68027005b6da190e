"""Octets in, command lines out; messages out with their dots doubled. RFC 1939 3, RFC 2449 4."""

from collections.abc import Callable

from greenmail.errors import BadSyntax, Disconnected

MAX_DRAIN = 1 << 20  # octets of a line too long that are read and thrown away, before the connection is closed


class LineReader:
    """Lines of one connection; what was sent ahead waits in the buffer (PIPELINING, RFC 2449 6.6)."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self.received = 0  # octets, for the log
        self._receive = receive
        self._buffer = bytearray()

    def read_line(self, limit: int) -> bytes:
        """The next line without its end, at most `limit` octets with it.

        A longer one is thrown away and raises BadSyntax; the stream then stands at the next line.
        """
        looked = 0
        # Lenient: a bare LF ends a line, for people on telnet; RFC 1939 3 wants CRLF.
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked >= limit:
                self._drain()
                raise BadSyntax("line is too long")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if end >= limit:
            raise BadSyntax("line is too long")
        return line.removesuffix(b"\r")

    def discard(self) -> None:
        """Forget what was sent ahead: nothing from before a TLS handshake may count after it. RFC 2595 4."""
        self._buffer.clear()

    def take_rest(self) -> bytes:
        """What was received and not yet used, for another reader."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _drain(self) -> None:
        """Throw away the rest of a line."""
        thrown = 0
        while (end := self._buffer.find(b"\n")) < 0:
            thrown += len(self._buffer)
            self._buffer.clear()
            if thrown > MAX_DRAIN:
                raise Disconnected("line too long")
            self._more()
        del self._buffer[: end + 1]

    def _more(self) -> None:
        data = self._receive()
        self.received += len(data)
        self._buffer += data


class DotStuffer:
    """The octets of a multi-line response, piece by piece: a line that begins with "." gets another. RFC 1939 3."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets before the next piece

    def feed(self, data: bytes) -> bytes:
        if len(data) > 1 and data[0] not in b".\n":  # nothing begins in the piece before: it need not be copied
            self._tail = data[-2:]
            # Base64 has no dots, and that is seen fifty times sooner than that no line begins with one.
            return data.replace(b"\r\n.", b"\r\n..") if b"." in data else data
        whole = self._tail + data
        self._tail = whole[-2:]
        return whole.replace(b"\r\n.", b"\r\n..")[2:]

    def end(self) -> bytes:
        """The terminating line; it begins with a line end if the text does not end in one."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
