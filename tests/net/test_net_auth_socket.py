"""The socket at which other programs ask about logins, as a worker serves it; their protocol: tests/auth."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import gevent.socket
import pytest
from harness.engine import PASSWORD, USER, Seats, Users

from greenmail.auth.logins import NoGuard, Patience
from greenmail.auth.postfix_auth import Services
from greenmail.net.auth_socket import AuthSocket
from greenmail.runtime import direct

Arrive = Callable[[], tuple[gevent.socket.socket, bytes]]


@pytest.fixture
def breaths() -> list[int]:
    """One for each time at which others may run."""
    return []


@pytest.fixture
def arrive(tmp_path: Path, breaths: list[int]) -> Iterator[Arrive]:
    """A function that gives a client, and what it is told first; there is room for two."""
    users = Users({USER: PASSWORD})
    services = Services(
        replace(direct(), breathe=lambda: breaths.append(1)),
        users,
        Seats(),
        Patience(),
        NoGuard(),
        ("PLAIN", "CRAM-MD5"),
        lambda address: True,
        lambda: "s",
    )
    listener = gevent.socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "auth"))
    listener.listen(8)
    served = AuthSocket(listener, services, 0, most=2)
    served.start()
    clients = []

    def arrived() -> tuple[gevent.socket.socket, bytes]:
        client = gevent.socket.socket(socket.AF_UNIX)
        clients.append(client)
        client.settimeout(20)
        client.connect(str(tmp_path / "auth"))
        return client, client.recv(8)

    yield arrived
    for client in clients:
        client.close()
    served.close()


def test_it_takes_so_many_connections_and_one_more_when_one_has_gone(arrive: Arrive) -> None:
    """`max-auth-socket-connections`."""
    (first, said), _, (_, nothing) = arrive(), arrive(), arrive()
    assert said == b"VERSION\t" and nothing == b""
    first.close()
    with gevent.Timeout(10):
        while not arrive()[1]:
            gevent.sleep(0.001)


def test_a_bug_is_in_the_log_and_ends_one_connection(
    arrive: Arrive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not on standard error, where gevent would write it."""
    with monkeypatch.context() as broken:
        broken.setattr(Users, "able", lambda self: 1 / 0)
        assert arrive()[1] == b""
    assert "bug in the answer to an auth client" in caplog.text
    assert arrive()[1] == b"VERSION\t"


def test_others_may_run_beside_one_who_never_stops_talking(arrive: Arrive, breaths: list[int]) -> None:
    client, _ = arrive()
    client.sendall(b"VERSION\t1\t1\n" + b"CPID\t1\n" * 20_000)
    client.shutdown(socket.SHUT_WR)
    while client.recv(4096):
        pass
    assert len(breaths) >= 5
