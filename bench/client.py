"""An IMAP client that costs next to nothing: raw sockets, and it looks only for the tagged line."""

import socket


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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

    def run(self, text: bytes) -> bytes:
        """One command that must end in OK; the last octets of its answer."""
        self.count += 1
        tag = b"z%d " % self.count
        self.socket.sendall(tag + text + b"\r\n")
        tail = self.until(tag)
        if tag + b"OK" not in tail:
            raise AssertionError(f"{text[:80]!r}: {tail!r}")
        return tail

    def pipeline(self, texts: list[bytes]) -> None:
        """Several commands at once; done when the last is answered."""
        data = []
        for text in texts:
            self.count += 1
            data.append(b"z%d %s\r\n" % (self.count, text))
        self.socket.sendall(b"".join(data))
        self.until(b"z%d " % self.count)

    def close(self) -> None:
        self.run(b"LOGOUT") if self.count else None
        self.socket.close()


def session(port: int, *commands: bytes) -> Client:
    """A client that is logged in and has run `commands`."""
    client = Client(port)
    client.run(b"LOGIN bench secret")
    for command in commands:
        client.run(command)
    return client
