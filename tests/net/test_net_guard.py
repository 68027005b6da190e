"""Penalties over all workers and both protocols: who guesses waits, then is banned; nobody else notices."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.server import Server, start
from support.wire_client import unverified

from greenmail.auth.penalties import BanRule, Toll
from greenmail.net.guard import Gatekeeper, Guard
from greenmail.net.server import Crowds

HERE = "192.0.2.7"


class House:
    """A parent and its workers, without processes between them."""

    def __init__(self, rule: BanRule, exempt: str = "") -> None:
        self.gatekeeper = Gatekeeper(rule)
        self.said: list[dict[str, Any]] = []
        self.guards = [Guard(self.hear, lambda address: address == exempt, b"secret") for _ in range(2)]

    def hear(self, message: dict[str, Any]) -> None:
        self.said.append(message)
        for told in self.gatekeeper.hear(message):
            self.tell(told)

    def tell(self, told: dict[str, Any]) -> None:
        for guard in self.guards:
            guard.told(told)


def test_all_workers_know_at_once_and_a_good_login_costs_nothing() -> None:
    house = House(BanRule())
    one, other = house.guards
    assert one.toll(HERE) == Toll()
    one.wrong(HERE, "alice", b"guess")
    assert one.toll(HERE) == other.toll(HERE) == Toll(wait=2.0)
    other.wrong(HERE, "alice", b"guess")
    assert one.toll(HERE).wait == 2.0, "the same pair is no new guess"
    other.wrong(HERE, "alicegue", b"ss")
    assert one.toll(HERE).wait == 4.0
    one.right(HERE)
    assert other.toll(HERE) == Toll()
    assert b"guess" not in repr(house.said).encode()


def test_a_ban_and_its_end_by_hand() -> None:
    house = House(BanRule(failures=2))
    for guard in house.guards:
        guard.wrong(HERE, "alice", b"")
    assert house.guards[0].is_banned(HERE) and house.guards[1].is_banned(HERE)
    assert not house.guards[0].is_banned("192.0.2.8")
    late = Guard(house.hear, lambda address: False, b"secret", house.gatekeeper.known())
    assert late.is_banned(HERE)
    count, told = house.gatekeeper.clear(HERE)
    house.tell(told)
    assert count == 1 and not house.guards[0].is_banned(HERE)
    house.guards[0].wrong(HERE, "alice", b"")
    count, told = house.gatekeeper.clear()
    house.tell(told)
    assert count == 1 and house.guards[1].toll(HERE) == Toll()


def test_a_worker_is_born_with_all_that_is_known() -> None:
    """However much it is: messages to one that does not listen yet would be lost."""
    gatekeeper = Gatekeeper(BanRule(failures=1))
    for number in range(5000):
        list(gatekeeper.hear({"op": "wrong", "address": f"10.0.{number >> 8}.{number & 255}", "digest": ""}))
    guard = Guard(lambda message: None, lambda address: False, b"secret", gatekeeper.known())
    assert all(guard.is_banned(f"10.0.{number >> 8}.{number & 255}") for number in range(5000))


def test_who_is_exempt_is_not_spoken_of() -> None:
    house = House(BanRule(failures=1), exempt=HERE)
    house.guards[0].wrong(HERE, "alice", b"guess")
    house.guards[0].right(HERE)
    assert house.said == [] and house.guards[0].toll(HERE) == Toll()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("guarded")
    with start(
        directory, str(directory / "Maildir"), auth_penalty_exempt=["127.0.0.1/32"], auth_ban_failures=3,
        auth_failure_delay=0.01, secure_networks=["127.0.0.0/8"],
    ) as made:  # fmt: skip
        yield made


def connect(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30, (source, 0))


def imap_login(server: Server, source: str, password: str) -> bytes:
    with connect(server.imap, source) as client:
        client.sendall(f"a LOGIN alice {password}\r\nb LOGOUT\r\n".encode())
        return b"".join(line for line in client.makefile("rb") if line.startswith(b"a "))


def pop3_login(server: Server, source: str, password: str) -> bytes:
    with connect(server.pop3, source) as client:
        client.sendall(f"USER alice\r\nPASS {password}\r\nQUIT\r\n".encode())
        return client.makefile("rb").readlines()[2]


def test_wrong_passwords_by_imap_make_pop3_wait_too_and_a_right_one_ends_it(server: Server) -> None:
    assert imap_login(server, "127.0.0.2", "wrong").startswith(b"a NO [AUTHENTICATIONFAILED]")
    began = time.monotonic()
    assert pop3_login(server, "127.0.0.2", "secret").startswith(b"+OK")
    assert time.monotonic() - began >= 2.0
    assert imap_login(server, "127.0.0.2", "secret").startswith(b"a OK")
    assert time.monotonic() - began < 4.0, "nothing to wait for any more"


def guess(server: Server, source: str) -> None:
    """Be banned."""
    clients = [connect(server.imap, source) for _ in range(3)]
    for number, client in enumerate(clients):  # at once: none of them has to wait yet
        client.sendall(f"a LOGIN alice guess{number}\r\n".encode())
    for client in clients:
        lines = client.makefile("rb")
        lines.readline()
        assert lines.readline().startswith(b"a NO")
        client.close()


def test_guessing_ends_in_a_ban_of_that_address_alone(server: Server) -> None:
    guess(server, "127.0.0.3")
    with connect(server.imap, "127.0.0.3") as client:
        assert client.recv(100) == b""
    with connect(server.imaps, "127.0.0.3") as client, pytest.raises(OSError):
        unverified().wrap_socket(client)
    assert imap_login(server, "127.0.0.4", "secret").startswith(b"a OK")
    assert "banned network=127.0.0.3 failures=3 seconds=3600" in server.logged()
    page = server.scrape()
    assert (
        re.search(r"greenmail_bans_total [1-9]", page)
        and 'greenmail_refused_total{limit="banned",protocol="imap"}' in page
    )


def test_the_networks_that_are_exempt_may_err(server: Server) -> None:
    for number in range(4):
        assert imap_login(server, "127.0.0.1", f"wrong{number}").startswith(b"a NO")
    assert imap_login(server, "127.0.0.1", "secret").startswith(b"a OK")


def test_one_address_does_not_take_all_connections() -> None:
    crowds = Crowds(2, lambda address: address == "192.0.2.1")
    assert [crowds.join(HERE) for _ in range(3)] == [HERE, HERE, None]
    assert crowds.join("::ffff:" + HERE) is None
    assert [crowds.join("192.0.2.1") for _ in range(5)] == [""] * 5
    assert crowds.join("2001:db8::1") == crowds.join("2001:db8:0:2::1") == "2001:db8::/48"
    assert crowds.join("2001:db8:0:3::1") is None
    crowds.leave(HERE)
    crowds.leave("")
    assert crowds.join(HERE) == HERE
    assert Crowds(0, lambda address: False).join(HERE) == ""


def test_a_crowd_of_connections_is_told_so(tmp_path: Path) -> None:
    with start(
        tmp_path, str(tmp_path / "Maildir"), workers=1, max_connections_per_address=3, auth_penalty_exempt=[]
    ) as server:
        crowd = [connect(server.imap, "127.0.0.5") for _ in range(3)]
        for client in crowd:
            assert client.recv(100).startswith(b"* OK")
        with connect(server.imap, "127.0.0.5") as client:
            assert client.recv(100).startswith(b"* BYE [LIMIT]")
        with connect(server.imap, "127.0.0.6") as client:
            assert client.recv(100).startswith(b"* OK")
        assert "address-limit protocol=imap rip=127.0.0.5" in server.logged()
        crowd[0].sendall(b"a LOGOUT\r\n")
        assert crowd[0].makefile("rb").readlines()[-1].startswith(b"a OK")
        with connect(server.imap, "127.0.0.5") as client:
            assert client.recv(100).startswith(b"* OK")
        for client in crowd:
            client.close()


def greenmail(server: Server, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "greenmail", *words, "-c", str(server.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_penalties_are_listed_and_lifted_from_the_shell(server: Server) -> None:
    guess(server, "127.0.0.13")
    status, text = greenmail(server, "penalty", "list")
    assert status == 0 and re.search(r"^127\.0\.0\.13 .* 5\dm \d+s$", text, re.MULTILINE), text
    assert '"network": "127.0.0.13"' in greenmail(server, "penalty", "list", "--json")[1]
    assert greenmail(server, "penalty", "clear") == (1, "greenmail: name addresses, or give --all\n")
    assert "is no IP address" in greenmail(server, "penalty", "clear", "example.org")[1]
    assert greenmail(server, "penalty", "clear", "192.0.2.1")[1].endswith("nothing is held against 192.0.2.1\n")
    assert greenmail(server, "penalty", "clear", "127.0.0.13") == (0, "forgotten: 1\n")
    assert imap_login(server, "127.0.0.13", "secret").startswith(b"a OK")
    assert greenmail(server, "penalty", "clear", "--all")[0] == 0
    assert greenmail(server, "penalty", "list") == (0, "nothing is held against anybody\n")
