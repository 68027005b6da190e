"""Clients of a server that is reloaded: `python -m support.reload_load SETTINGS`, until the end of its input.

Four kinds, on green threads. Each has its own rule of what counts as a failure; whatever else a server does to a
client (refuse, reset, break off an answer, say nothing) is one, too.

    visitors   connect, log in, look, log out, IMAP and POP3, plain and TLS, all the time: nothing ever comes in between
    idlers     wait in IDLE: who is sent away is told BYE, and comes back
    writers    APPEND with hardly a pause: what was answered OK is there once, what was answered by BYE alone is not
    silent     connected, not logged in: who is sent away is told BYE
"""

import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.os
import gevent.pool
import gevent.socket
import gevent.ssl

PATIENCE = 60


class SentAway(Exception):
    """The server has said BYE, or closed a POP3 connection between two commands."""


class Broken(Exception):
    """What must not happen."""


@dataclass
class Load:
    """What runs, and what came of it."""

    ports: dict[str, int]
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    appended: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # subjects of mails that were answered by BYE
    slowest: float = 0.0
    over: bool = False

    def connect(self, name: str) -> "Client":
        begun = time.monotonic()
        sock = gevent.socket.create_connection(("127.0.0.1", self.ports[name]), timeout=PATIENCE)
        if name.endswith("s"):
            context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        client = Client(sock)
        self.seen[f"connections {name}"] += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)
        return client

    def forever(self, kind: str, once: Callable[[int], None], number: int, pause: float) -> None:
        """One client after the other, until it is over."""
        while not self.over:
            try:
                once(number)
                self.seen[f"{kind} done"] += 1
            except SentAway:
                self.seen[f"{kind} sent away"] += 1
                if kind == "visitors":
                    self.failures.append(f"{kind} {number}: sent away")
            except (OSError, EOFError, Broken) as error:
                self.failures.append(f"{kind} {number}: {error!r}")
            gevent.sleep(pause)

    # --- kinds ---

    def visitor(self, number: int) -> None:
        if number % 3 == 0:
            self.pop3_visitor(number)
            return
        client = self.connect("imaps" if number % 8 == 1 else "imap")
        client.greeted(b"* OK")
        for text in (f"LOGIN visitor{number} secret", "SELECT INBOX", "STATUS INBOX (MESSAGES)", "NOOP"):
            client.imap(text)
            self.seen["answers"] += 1
        client.imap("LOGOUT", ends=True)
        client.end()

    def pop3_visitor(self, number: int) -> None:
        client = self.connect("pop3s" if number % 8 == 1 else "pop3")
        client.greeted(b"+OK")
        for text in (f"USER visitor{number}", "PASS secret", "STAT", "NOOP", "QUIT"):
            client.pop3(text)
            self.seen["answers"] += 1
        client.end()

    def idler(self, number: int) -> None:
        client = self.connect("imap")
        client.greeted(b"* OK")
        client.imap(f"LOGIN idler{number % 20} secret")
        client.imap("SELECT INBOX")
        client.send(b"i IDLE\r\n")
        line = client.line()
        if line.startswith(b"* BYE"):
            raise SentAway
        if not line.startswith(b"+"):
            raise Broken(f"answer to IDLE: {line!r}")
        self.seen["idlers began"] += 1
        while not self.over:
            if not client.has_line(0.5):
                continue
            line = client.line()
            if line.startswith(b"* BYE"):
                client.end()
                raise SentAway
            if not line.startswith(b"* OK Still"):
                raise Broken(f"in IDLE: {line!r}")
        client.send(b"DONE\r\n")
        client.answer(b"i ")
        client.imap("LOGOUT", ends=True)
        client.end()

    def writer(self, number: int) -> None:
        client = self.connect("imap")
        client.greeted(b"* OK")
        client.imap(f"LOGIN writer{number} secret")
        while not self.over:
            subject = f"{number}-{len(self.appended) + len(self.refused)}-{time.monotonic_ns()}"
            mail = f"Subject: {subject}\r\n\r\n{'x' * 500}\r\n".encode()
            try:
                client.imap(f"APPEND INBOX {{{len(mail)}+}}\r\n{mail.decode()}")
            except SentAway:
                self.refused.append(subject)
                client.end()
                raise
            self.appended.append(subject)
            self.seen["writers began"] += 1
            self.seen["answers"] += 1
            gevent.sleep(0.02)
        client.imap("LOGOUT", ends=True)

    def silent(self, number: int) -> None:
        client = self.connect("imap" if number % 2 else "pop3")
        client.greeted(b"* OK" if number % 2 else b"+OK")
        while not self.over:
            if client.has_line(0.5):
                line = client.file.readline()
                if number % 2 and not line.startswith(b"* BYE"):
                    raise Broken(f"before the login: {line!r}")
                client.end()
                raise SentAway


class Client:
    """Lines over a green socket."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def line(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise Broken(f"broken off: {line!r}")
        return bytes(line)

    def has_line(self, seconds: float) -> bool:
        """Whether something has come, the end for instance; of a client without TLS."""
        try:
            gevent.socket.wait_read(self.sock.fileno(), timeout=seconds, timeout_exc=TimeoutError())
        except TimeoutError:
            return False
        return True

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except ConnectionError:
            return  # what was said before stands in the socket: reading tells whether it was a BYE

    def greeted(self, expected: bytes) -> None:
        line = self.line()
        if line.startswith(b"* BYE"):
            raise SentAway
        if not line.startswith(expected):
            raise Broken(f"greeting {line!r}")

    def imap(self, text: str, ends: bool = False) -> None:
        self.send(b"a " + text.encode() + b"\r\n")
        self.answer(b"a ", ends)

    def answer(self, tag: bytes, ends: bool = False) -> None:
        """The tagged answer, which must be OK; BYE comes only where something `ends`, or in place of an answer."""
        while not (line := self.line()).startswith(tag):
            if line.startswith(b"* BYE") and not ends:
                raise SentAway
        if not line.startswith(tag + b"OK"):
            raise Broken(f"answer {line!r}")

    def pop3(self, text: str) -> None:
        self.send(text.encode() + b"\r\n")
        line = self.line()
        if not line.startswith(b"+OK"):
            raise Broken(f"answer to {text}: {line!r}")

    def end(self) -> None:
        """Nothing more comes, and the connection is closed as it should be."""
        rest = self.file.read()
        self.file.close()
        self.sock.close()
        if rest:
            raise Broken(f"behind the end: {rest!r}")


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    load = Load(settings["ports"])
    pauses = {"visitor": settings["pause"], "idler": 0.0, "writer": 0.0, "silent": 0.0}
    group = gevent.pool.Group()
    for kind, pause in pauses.items():
        for number in range(settings[f"{kind}s"]):
            group.spawn(load.forever, f"{kind}s", getattr(load, kind), number, pause)
            gevent.sleep(0.0005)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not (
        load.seen["idlers began"] >= settings["idlers"] and load.seen["writers began"] >= settings["writers"]
    ):
        gevent.sleep(0.05)
    print("ready", flush=True)
    while gevent.os.tp_read(0, 100):
        pass
    load.over = True
    group.join(PATIENCE)
    told = {
        "seen": dict(sorted(load.seen.items())), "failures": load.failures[:20], "failed": len(load.failures),
        "appended": load.appended, "refused": load.refused, "slowest": round(load.slowest, 3), "stuck": len(group),
    }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
