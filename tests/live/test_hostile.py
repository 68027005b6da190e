"""Clients that announce much, read nothing or talk nonsense: memory stays bounded and neighbours are served."""

import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import Site, make_box
from support.wire_client import Imap, unverified

MIB = 1 << 20
LISTEN, TIME_WAIT = "0A", "06"  # states in /proc/net/tcp


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    maildir = tmp_path / "alice" / "Maildir"
    make_box(maildir)
    with greenmail.start(
        tmp_path / "run", str(tmp_path / "%u" / "Maildir"), fresh=True, max_connections_per_user=1000, timeout_write=5
    ) as server:
        yield Site(server, maildir, tmp_path)


def processes(site: Site) -> list[str]:
    pid = site.server.process.pid
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(site: Site) -> int:
    """Octets of private memory of the whole server."""
    total = 0
    for process in processes(site):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty:", "Private_Clean:")):
                total += int(line.split()[1]) * 1024
    return total


def test_a_hundred_announced_appends_cost_no_memory(site: Site) -> None:
    clients = [site.imap() for _ in range(100)]
    before = resident(site)
    for client in clients:
        client.send(b"a APPEND INBOX {50000000}\r\n")
    for client in clients:
        assert client.line().startswith(b"+")
        client.send(b"x" * 1000)
    assert resident(site) - before < 50 * MIB
    for client in clients:
        client.file.close()
        client.socket.close()
    with site.imap() as client:
        client.ok("NOOP")
        deadline = time.monotonic() + 20
        while any((site.maildir / "tmp").glob("*M*")):
            assert time.monotonic() < deadline, "uploads that were cut off are still in tmp/"
            time.sleep(0.1)
        client.ok("SELECT INBOX")
        assert client.fetch("1:* (UID)") == {}


def held(site: Site) -> int:
    """Connections to the IMAPS port that the kernel holds for the server: open, or closed with octets left to send."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    states = [row[3] for row in rows if int(row[1].split(":")[1], 16) == site.server.imaps]
    return sum(state not in (LISTEN, TIME_WAIT) for state in states)


def processor_time(site: Site) -> float:
    """Seconds that the server has worked so far."""
    ticks = 0
    for process in processes(site):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("tls", [True, False])
def test_a_client_that_does_not_read_costs_no_work(tmp_path: Path, tls: bool) -> None:
    make_box(tmp_path / "alice" / "Maildir")
    with greenmail.start(tmp_path / "run", str(tmp_path / "%u" / "Maildir"), allow_plain_text=True) as server:
        site = Site(server, tmp_path / "alice" / "Maildir", tmp_path)
        client = Imap(server.imaps if tls else server.imap, tls=tls).login()
        client.ok("APPEND INBOX", b"Subject: big\r\n\r\n" + b"0123456789abcde\n" * (8 * MIB // 16))
        client.ok("SELECT INBOX")
        client.send(b"f FETCH 1 BODY.PEEK[]\r\n")
        client.socket.recv(1)
        time.sleep(1)  # until it is stuck
        before = processor_time(site)
        time.sleep(2)  # the length of the test itself
        assert processor_time(site) - before < 0.2
        client.file.close()
        client.socket.close()


def never_reading(site: Site, count: int) -> None:
    """`count` clients ask for 64 MiB each and read nothing. That they are cut off does not show at their end."""
    with site.imap() as client:
        client.ok("APPEND INBOX", b"Subject: big\r\n\r\n" + b"0123456789abcde\n" * (8 * MIB // 16))
    before = resident(site)
    stuck = [site.imap() for _ in range(count)]
    for client in stuck:
        client.ok("SELECT INBOX")
        client.send(b"".join(b"%d FETCH 1 BODY.PEEK[]\r\n" % number for number in range(8)))
    deadline = time.monotonic() + 30
    slowest, most = 0.0, before
    with site.imap() as neighbour:
        while (left := held(site)) > 1:
            assert time.monotonic() < deadline, f"{left - 1} of {count} clients that never read are still connected"
            asked = time.monotonic()
            neighbour.ok("NOOP")
            slowest = max(slowest, time.monotonic() - asked)
            most = max(most, resident(site))
            time.sleep(0.05)  # a client that asks now and then
    assert slowest < 3, f"a neighbour waited {slowest:.1f} s"
    assert most - before < 96 * MIB + count * MIB / 2, f"{(most - before) / MIB:.0f} MiB for {count} clients"
    for client in stuck:
        client.file.close()
        client.socket.close()


def test_readers_that_do_not_read_are_closed(site: Site) -> None:
    never_reading(site, 60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_five_hundred_readers_that_do_not_read_are_closed(site: Site) -> None:
    never_reading(site, 500)


def octets(dice: random.Random) -> bytes:
    """Something like a command, or nothing like one."""
    words = [
        b"a1",
        b"LOGIN",
        b"{5}\r\n",
        b"{99999999999}",
        b"{3+}\r\nabc",
        b"\r\n",
        b"(",
        b")",
        b'"',
        b"\\",
        b"*",
        b"~{4}",
        b"\x00",
    ]
    words += [
        b"CAPABILITY",
        b"AUTHENTICATE PLAIN",
        b"USER",
        b"PASS",
        b"RETR 1",
        b"FETCH",
        b"BODY[",
        b"STARTTLS",
        b"\xff\xfe",
        b"NOOP",
    ]
    pieces = [dice.choice(words) if dice.random() < 0.7 else dice.randbytes(dice.randrange(40)) for _ in range(30)]
    return b" ".join(pieces) + b"\r\n"


def bombard(site: Site, seconds: float, seed: int) -> int:
    """Random octets on every port, before and after login; the number of connections made."""
    dice = random.Random(seed)
    deadline, count = time.monotonic() + seconds, 0
    ports = [site.server.imap, site.server.imaps, site.server.pop3, site.server.pop3s]
    context = unverified()
    while time.monotonic() < deadline:
        port = dice.choice(ports)
        count += 1
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as plain:
                tls = port in (site.server.imaps, site.server.pop3s) and dice.random() < 0.8
                end = context.wrap_socket(plain) if tls else plain
                if tls and port == site.server.imaps and dice.random() < 0.7:
                    end.sendall(b"l LOGIN alice secret\r\ns SELECT INBOX\r\n")
                for _ in range(5):
                    end.sendall(octets(dice))
                end.settimeout(0.05)
                while end.recv(65536):
                    pass
        except (OSError, ssl.SSLError):
            continue
    return count


def outlives(site: Site, seconds: float) -> None:
    warmed, seed = 0, 100
    while (
        warmed < 60
    ):  # on a machine with much else to do a quarter of the time is not enough to have used everything once
        warmed, seed = warmed + bombard(site, seconds / 4, seed), seed + 1
    before = resident(site)
    count = bombard(site, seconds, 2)
    grown = resident(site) - before
    assert grown < max(0.05 * before, 4 * MIB), f"grew by {grown / MIB:.1f} MiB over {count} connections"
    with site.imap() as client:
        client.ok("NOOP")
    assert "Traceback" not in site.server.logged()


def test_random_octets_leave_no_trace(site: Site) -> None:
    outlives(site, 8)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_random_octets_for_long(site: Site) -> None:
    outlives(site, float(os.environ.get("GREENMAIL_SOAK", "60")))


def test_too_many_connections_are_told_so(tmp_path: Path) -> None:
    maildir = tmp_path / "alice" / "Maildir"
    make_box(maildir)
    with greenmail.start(tmp_path / "run", str(tmp_path / "%u" / "Maildir"), max_connections_per_user=3) as server:
        clients = [Imap(server.imaps, tls=True).login() for _ in range(3)]
        with Imap(server.imaps, tls=True) as fourth:
            fourth.send(b"l LOGIN alice secret\r\n")
            assert b"[LIMIT]" in fourth.line()
        clients.pop().close()
        deadline = time.monotonic() + 10
        while True:
            try:
                Imap(server.imaps, tls=True).login().close()
                break
            except (AssertionError, EOFError):
                assert time.monotonic() < deadline, "a place was not given back"
                time.sleep(0.05)
        for client in clients:
            client.close()
