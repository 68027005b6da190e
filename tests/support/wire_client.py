"""Small IMAP and POP3 clients that hide nothing: what the server sent is what a test gets."""

import functools
import re
import socket
import ssl
from typing import Any

LITERAL = re.compile(rb"~?\{(\d+)\}$")
Parts = list["bytes | tuple[str, bytes]"]


class Imap:
    """One IMAP connection. `command` gives the tagged answer and the untagged ones: lists of text and literals."""

    def __init__(self, port: int, tls: bool = False, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if tls:
            self.socket = unverified().wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")
        self.count = 0
        self.greeting = self.line()

    def line(self) -> bytes:
        line = self.file.readline()
        if not line:
            raise EOFError("the server closed the connection")
        return line.rstrip(b"\r\n")

    def response(self) -> Parts:
        """One response: text and ("literal", octets) in turn."""
        parts: Parts = []
        while True:
            line = self.line()
            found = LITERAL.search(line)
            if found is None:
                return [*parts, line]
            parts += [line[: found.start()], ("literal", self.file.read(int(found.group(1))))]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def command(self, text: str | bytes, literal: bytes | None = None) -> tuple[bytes, list[Parts]]:
        """Send one command, `literal` synchronizing at its end; (answer without tag, untagged responses)."""
        self.count += 1
        tag = b"t%d" % self.count
        line = tag + b" " + (text.encode() if isinstance(text, str) else text)
        if literal is None:
            self.send(line + b"\r\n")
        else:
            self.send(line + b" {%d}\r\n" % len(literal))
            first = self.response()
            if not first[0].startswith(b"+"):  # type: ignore[union-attr]  # text comes first
                return flat(first)[len(tag) + 1 :], []
            self.send(literal + b"\r\n")
        untagged = []
        while True:
            parts = self.response()
            if isinstance(parts[0], bytes) and parts[0].startswith(tag + b" "):
                return flat(parts)[len(tag) + 1 :], untagged
            untagged.append(parts)

    def ok(self, text: str | bytes, literal: bytes | None = None) -> list[Parts]:
        """The untagged responses of a command that must succeed."""
        answer, untagged = self.command(text, literal)
        assert answer.startswith(b"OK"), f"{text!r}: {answer!r}"
        self.answer = answer
        return untagged

    def lines(self, text: str | bytes) -> list[bytes]:
        """The untagged responses, literals written in place."""
        return [flat(parts) for parts in self.ok(text)]

    def login(self, user: str = "alice", password: str = "secret") -> "Imap":
        self.ok(f"LOGIN {user} {password}")
        return self

    def fetch(self, what: str, uid: bool = True) -> dict[int, dict[str, Any]]:
        """FETCH: by UID, or by sequence number, the items as parsed values."""
        found = {}
        for parts in self.ok(("UID FETCH " if uid else "FETCH ") + what):
            tree = parse(parts)
            if len(tree) == 4 and tree[2] == "FETCH":
                items = dict(zip(tree[3][::2], tree[3][1::2], strict=True))
                found[items["UID"] if uid else tree[1]] = items
        return found

    def close(self) -> None:
        try:
            self.command("LOGOUT")
        except (EOFError, OSError):
            pass  # the server may have hung up first
        self.file.close()
        self.socket.close()

    def __enter__(self) -> "Imap":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@functools.cache
def unverified() -> ssl.SSLContext:
    """The one client context for self-signed certificates: without those of the system, which take long to read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def flat(parts: Parts) -> bytes:
    return b"".join(part if isinstance(part, bytes) else part[1] for part in parts)


def _tokens(parts: Parts) -> list[tuple[str, str]]:
    """("(", ")", "string" or "atom"; text), octets as Latin-1."""
    found = []
    for part in parts:
        if isinstance(part, tuple):
            found.append(("string", part[1].decode("latin-1")))
            continue
        text, place = part.decode("latin-1"), 0
        while place < len(text):
            sign = text[place]
            if sign in "()":
                found.append((sign, sign))
            elif sign == '"':
                quoted = re.compile(r'"((?:[^"\\]|\\.)*)"').match(text, place)
                assert quoted, f"unbalanced quotes in {text!r}"
                found.append(("string", re.sub(r"\\(.)", r"\1", quoted.group(1))))
                place = quoted.end() - 1
            elif sign != " ":
                atom = re.compile(r'(?:\[[^\]]*\]|[^\s()"\[])+').match(text, place)
                assert atom, f"no token at {place} in {text!r}"
                found.append(("atom", atom.group()))
                place = atom.end() - 1
            place += 1
    return found


def parse(parts: Parts) -> list[Any]:
    """A response as nested lists: numbers as int, NIL as None, all else as str."""
    stack: list[list[Any]] = [[]]
    for kind, text in _tokens(parts):
        if kind == "(":
            stack.append([])
        elif kind == ")":
            done = stack.pop()
            stack[-1].append(done)
        elif kind == "atom" and text.upper() == "NIL":
            stack[-1].append(None)
        elif kind == "atom" and text.isdigit():
            stack[-1].append(int(text))
        else:
            stack[-1].append(text)
    assert len(stack) == 1, f"unbalanced parentheses in {parts!r}"
    return stack[0]


class Pop3:
    """One POP3 connection."""

    def __init__(self, port: int, tls: bool = False, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if tls:
            self.socket = unverified().wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")
        self.greeting = self.file.readline().rstrip(b"\r\n")

    def command(self, text: str) -> bytes:
        """The first line of the answer."""
        self.socket.sendall(text.encode() + b"\r\n")
        line = self.file.readline()
        if not line:
            raise EOFError("the server closed the connection")
        return line.rstrip(b"\r\n")

    def many(self, text: str) -> list[bytes]:
        """The lines of a multi-line answer, dot-stuffing undone, without line ends."""
        answer = self.command(text)
        assert answer.startswith(b"+OK"), answer
        lines = []
        while (line := self.file.readline()) not in (b".\r\n", b""):
            assert line.endswith(b"\r\n"), line
            lines.append(line[1:-2] if line.startswith(b".") else line[:-2])
        return lines

    def login(self, user: str = "alice", password: str = "secret") -> "Pop3":
        assert self.command(f"USER {user}").startswith(b"+OK")
        answer = self.command(f"PASS {password}")
        assert answer.startswith(b"+OK"), answer
        return self

    def close(self) -> None:
        try:
            self.command("QUIT")
        except (EOFError, OSError):
            pass  # the server may have hung up first
        self.file.close()
        self.socket.close()

    def __enter__(self) -> "Pop3":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
