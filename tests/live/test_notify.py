"""NOTIFY at a running server with two workers: what others do is told without a command."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import Server, start
from support.wire_client import Imap

pytestmark = pytest.mark.slow
FOLDERS = ("INBOX", "Lists", "Work")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with start(tmp_path / "server", str(tmp_path / "%u"), workers=2) as made:
        yield made


def deliver(maildir: Path, name: str) -> None:
    """As a delivery program does: by rename."""
    (maildir / "tmp" / name).write_bytes(b"Subject: hi\n\n")
    os.rename(maildir / "tmp" / name, maildir / "new" / name)


def soon(client: Imap, start: bytes) -> bytes:
    """The next line, which must come within a second and begin so."""
    begun = time.monotonic()
    line = client.line()
    assert time.monotonic() - begun < 1, line
    assert line.startswith(start), line
    return line


def test_deliveries_elsewhere_are_told_to_all_connections_within_a_second(server: Server, tmp_path: Path) -> None:
    """Four connections, so that both workers have some; one of them in IDLE."""
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(Imap(server.imaps, tls=True).login("alice")) for _ in range(4)]
        clients[0].command("CREATE Lists")
        clients[0].command("CREATE Work")
        clients[0].ok("SELECT Work")
        for client in clients:
            client.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge)) (personal (MessageNew MessageExpunge))")
        clients[1].ok("SELECT INBOX")
        clients[1].send(b"i IDLE\r\n")
        assert clients[1].line().startswith(b"+ ")
        before = dict.fromkeys(clients, 0)
        for number in range(3):
            deliver(tmp_path / "alice" / ".Lists", f"170000000{number}.x")
            for client in clients:
                line = soon(client, b"* STATUS Lists (MESSAGES ")
                assert int(line.split()[4]) > before[client]
                before[client] = int(line.split()[4])
        deliver(tmp_path / "alice" / ".Work", "1700000009.x")
        soon(clients[0], b"* 1 EXISTS")
        soon(clients[0], b"* 1 RECENT")
        soon(clients[0], b"* 1 FETCH (UID 1)")
        for client in clients[1:]:
            soon(client, b"* STATUS Work (MESSAGES 1 ")
        clients[1].send(b"DONE\r\n")
        assert clients[1].line().startswith(b"i OK")


def test_names_subscriptions_annotations_and_flags_are_told_across_workers(server: Server, tmp_path: Path) -> None:
    with Imap(server.imaps, tls=True).login("alice") as listener, contextlib.ExitStack() as opened:
        others = [opened.enter_context(Imap(server.imaps, tls=True).login("alice")) for _ in range(4)]
        events = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange"
        listener.ok(f"NOTIFY SET (personal ({events} ServerMetadataChange))")
        for number, other in enumerate(others):
            box = f"Box{number}"
            other.ok(f"CREATE {box}")
            soon(listener, b'* LIST (\\HasNoChildren) "/" %b' % box.encode())
            other.ok(f"SUBSCRIBE {box}")
            soon(listener, b'* LIST (\\Subscribed \\HasNoChildren) "/" %b' % box.encode())
            other.ok(f"APPEND {box}", b"Subject: hi\r\n\r\n")
            soon(listener, b"* STATUS %b (MESSAGES 1 UIDNEXT 2 " % box.encode())
            other.ok(f"SELECT {box}")
            other.ok("STORE 1 +FLAGS (\\Seen)")
            soon(listener, b"* STATUS %b (UIDVALIDITY " % box.encode())
            other.ok(f'SETMETADATA {box} (/shared/comment "x")')
            soon(listener, b"* METADATA %b /shared/comment" % box.encode())
            other.ok(f'SETMETADATA "" (/private/comment "{number}")')
            soon(listener, b'* METADATA "" /private/comment')
            other.ok("UNSELECT")
            other.ok(f"RENAME {box} New{number}")
            soon(listener, b'* LIST (\\HasNoChildren) "/" New%d ("OLDNAME" (%b))' % (number, box.encode()))
            other.ok(f"DELETE New{number}")
            soon(listener, b'* LIST (\\NonExistent) "/" New%d' % number)


def test_the_watches_are_shared_and_given_back(tmp_path: Path) -> None:
    with start(tmp_path / "server", str(tmp_path / "%u"), workers=1) as server:
        with (
            Imap(server.imaps, tls=True).login("alice") as first,
            Imap(server.imaps, tls=True).login("alice") as second,
        ):
            for name in FOLDERS[1:]:
                first.ok(f"CREATE {name}")
            counts = []
            for client in (first, second):
                client.ok("NOTIFY SET (personal (MessageNew MessageExpunge))")
                client.ok("NOOP")
                counts.append(watches(server))
            first.ok("NOTIFY NONE")
            counts.append(watches(server))
            second.ok("NOTIFY NONE")
            counts.append(watches(server))
        assert counts[0] == counts[1] == counts[2] >= 2 * len(FOLDERS) and counts[3] == 0, counts


def watches(server: Server) -> int:
    [line] = [line for line in server.scrape().splitlines() if line.startswith("greenmail_watches")]
    return int(float(line.rpartition(" ")[2]))
