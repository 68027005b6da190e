"""The workloads, as functions of a server's ports. Each row: (number, case, prepare, work); only `work` is measured.

`first` rows run before anything is cached for that mailbox; `second` in a new session; `third` in the same one again.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from bench.client import Client, session

HEADERS = b"FETCH 1:* BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To)]"
ITEMS = b"FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE)"
BODY = b"Subject: bench\r\nFrom: a@example.org\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789\r\n" * 92


@dataclass(frozen=True)
class Ports:
    """Where a server listens."""

    imap: int
    pop3: int


@dataclass(frozen=True)
class Row:
    """One measurement. `work` gets what `prepare` made; `repeat` says whether it may run again and means the same."""

    number: str
    case: str
    prepare: Callable[[Ports], Client | None]
    work: Callable[[Ports, Client | None], None]
    repeat: bool = True


def fetch(number: str, case: str, box: bytes, command: bytes) -> list[Row]:
    """First, second and third time of one FETCH or SEARCH."""

    def select(ports: Ports) -> Client:
        return session(ports.imap, b"SELECT " + box)

    def once(ports: Ports, client: Client | None) -> None:
        assert client is not None
        client.run(command)

    def again(ports: Ports) -> Client:
        client = select(ports)
        client.run(command)
        return client

    return [
        Row(number, f"{case}, first", select, once, repeat=False),
        Row(number, f"{case}, second", select, once),
        Row(number, f"{case}, third", again, once),
    ]


def none(ports: Ports) -> None:
    return None


def login(ports: Ports, _: Client | None) -> None:
    """W1: one at a time."""
    for _number in range(50):
        session(ports.imap).close()


def select_new(box: bytes) -> Callable[[Ports, Client | None], None]:
    """W2: SELECT in a session of its own, that session's cost included."""

    def work(ports: Ports, client: Client | None) -> None:
        assert client is not None
        client.run(b"SELECT " + box)

    return work


def logged_in(ports: Ports) -> Client:
    return session(ports.imap)


def selected(box: bytes) -> Callable[[Ports], Client]:
    return lambda ports: session(ports.imap, b"SELECT " + box)


def commands(*texts: bytes) -> Callable[[Ports, Client | None], None]:
    """Run these one by one."""

    def work(ports: Ports, client: Client | None) -> None:
        assert client is not None
        for text in texts:
            client.run(text)

    return work


def append_one_by_one(ports: Ports, client: Client | None) -> None:
    """W9."""
    assert client is not None
    for _ in range(200):
        client.run(b"APPEND INBOX {%d+}\r\n%s" % (len(BODY), BODY))


def append_pipelined(ports: Ports, client: Client | None) -> None:
    """W9."""
    assert client is not None
    client.pipeline([b"APPEND INBOX {%d+}\r\n%s" % (len(BODY), BODY)] * 200)


def pop3(*texts: bytes) -> Callable[[Ports, Client | None], None]:
    """W17: a POP3 session."""

    def work(ports: Ports, _: Client | None) -> None:
        with socket.create_connection(("127.0.0.1", ports.pop3), timeout=120) as connection:
            file = connection.makefile("rb")
            file.readline()
            for text in (b"USER bench", b"PASS secret", *texts, b"QUIT"):
                connection.sendall(text + b"\r\n")
                line = file.readline()
                assert line.startswith(b"+OK"), (text, line)
                if text.startswith((b"UIDL", b"LIST", b"RETR")):
                    while file.readline() not in (b".\r\n", b""):
                        pass

    return work


def changed(box: bytes, command: bytes) -> tuple[Callable[[Ports], Client], Callable[[Ports, Client | None], None]]:
    """W18: what happened since a mod-sequence, after 20 messages were flagged. `command` names validity and modseq."""
    asked: list[bytes] = []

    def prepare(ports: Ports) -> Client:
        client = session(ports.imap, b"ENABLE QRESYNC")
        answer = client.run(b"SELECT " + box)
        found = [re.search(rb"\[%b (\d+)\]" % name, answer) for name in (b"UIDVALIDITY", b"HIGHESTMODSEQ")]
        validity, modseq = (int(item[1]) for item in found if item is not None)
        client.run(b"STORE 1:20 +FLAGS.SILENT (\\Draft)")
        client.run(b"STORE 1:20 -FLAGS.SILENT (\\Draft)")
        asked[:] = [command % {b"validity": validity, b"modseq": modseq}]
        return client

    def work(ports: Ports, client: Client | None) -> None:
        assert client is not None
        client.run(asked[0])

    return prepare, work


def rows(box: bytes, count: int) -> list[Row]:
    """All rows over the folder `box` of `count` messages."""
    some = min(1000, count)
    spread = range(1, count + 1, max(1, count // 200))
    return [
        Row("W1", "login and logout, one at a time", none, login),
        Row("W2", "SELECT cold", logged_in, select_new(box), repeat=False),
        Row("W2", "SELECT warm, new session", logged_in, select_new(box)),
        Row("W2", "SELECT warm, same session", selected(box), select_new(box)),
        *fetch("W3", "UID FLAGS", box, b"FETCH 1:* (UID FLAGS)"),
        *fetch("W4", "ENVELOPE and more", box, ITEMS),
        *fetch("W5", "BODYSTRUCTURE", box, b"FETCH 1:* BODYSTRUCTURE"),
        *fetch("W6", "HEADER.FIELDS", box, HEADERS),
        Row("W7", "bodies one by one", selected(box), commands(*[b"FETCH %d BODY.PEEK[]" % n for n in spread])),
        Row("W7", "bodies in one", selected(box), commands(b"FETCH 1:%d BODY.PEEK[]" % some)),
        Row("W8", f"STORE 1:{some}", selected(box), commands(
            b"STORE 1:%d +FLAGS (\\Answered)" % some, b"STORE 1:%d -FLAGS (\\Answered)" % some)),
        Row("W8", "single STOREs", selected(box), commands(
            *[b"STORE %d %sFLAGS (\\Flagged)" % (n, sign) for sign in (b"+", b"-") for n in spread])),
        Row("W9", "APPEND one by one", logged_in, append_one_by_one),
        Row("W9", "APPEND pipelined", logged_in, append_pipelined),
        *fetch("W11", "SEARCH UNSEEN", box, b"SEARCH UNSEEN"),
        *fetch("W11", "SEARCH FROM", box, b"SEARCH FROM judith"),
        *fetch("W11", "SEARCH BODY", box, b"SEARCH BODY xyzzy"),
        Row("W10", "COPY and MOVE", selected(box), commands(
            b"COPY 1:%d Target" % some, b"SELECT Target", b"MOVE 1:%d Target2" % some, b"SELECT Target2",
            b"STORE 1:* +FLAGS.SILENT (\\Deleted)", b"EXPUNGE", b"SELECT " + box), repeat=False),
        Row("W18", "UID FETCH CHANGEDSINCE", *changed(box, b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %(modseq)d)")),
        Row("W18", "SELECT QRESYNC", *changed(box, b"SELECT " + box + b" (QRESYNC (%(validity)d %(modseq)d))")),
        Row("W17", "POP3 UIDL and LIST", none, pop3(b"UIDL", b"LIST")),
        Row("W17", "POP3 RETR", none, pop3(*[b"RETR %d" % n for n in range(1, 201)])),
    ]  # fmt: skip
