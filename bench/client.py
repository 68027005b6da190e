"""An IMAP client that costs next to nothing: raw sockets, and it looks only for the tagged line."""

import contextlib
import socket
import ssl
from typing import Any


class Client:
    """One connection."""

    def __init__(self, port: int, tls: bool = False) -> None:
        self.socket: Any = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.count = 0
        self.until(b"\r\n")

    def until(self, end: bytes) -> bytes:
        """Read until the data ends with a line end and `end` stands in its last 4000 octets; those octets."""
        tail = b""
        while True:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError("the server closed the connection")
            tail = (tail + data)[-4000:]
            if tail.endswith(b"\r\n") and end in tail:
                return tail

    def send(self, text: bytes) -> bytes:
        """Send one command and do not wait; its tag with a space."""
        self.count += 1
        tag = b"z%d " % self.count
        self.socket.sendall(tag + text + b"\r\n")
        return tag

    def run(self, text: bytes) -> bytes:
        """One command that must end in OK; the last octets of its answer."""
        tag = self.send(text)
        tail = self.until(tag)
        if tag + b"OK" not in tail:
            raise AssertionError(f"{text[:80]!r}: {tail[-300:]!r}")
        return tail

    def pipeline(self, texts: list[bytes]) -> None:
        """Several commands at once; done when the last is answered."""
        data = []
        for text in texts:
            self.count += 1
            data.append(b"z%d %s\r\n" % (self.count, text))
        self.socket.sendall(b"".join(data))
        self.until(b"z%d " % self.count)

    def idle(self) -> None:
        """Begin to wait for news."""
        self.send(b"IDLE")
        self.until(b"+ ")

    def close(self) -> None:
        """LOGOUT, if the connection is in a state for it."""
        with contextlib.suppress(OSError, EOFError, AssertionError):
            if self.count:
                self.run(b"LOGOUT")
        self.socket.close()

    def drop(self) -> None:
        """Close the connection without a word."""
        self.socket.close()


def session(port: int, *commands: bytes, user: str = "bench", tls: bool = False) -> Client:
    """A client that is logged in and has run `commands`."""
    client = Client(port, tls)
    client.run(b"LOGIN %b secret" % user.encode())
    for command in commands:
        client.run(command)
    return client
