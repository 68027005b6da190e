"""The socket at which other programs ask about logins, as a worker serves it; their protocol: tests/auth."""

import socket
from pathlib import Path

import gevent
import gevent.socket
from harness.engine import PASSWORD, USER, Seats, Users

from greenmail.auth.logins import NoGuard, Patience
from greenmail.auth.postfix_auth import Services
from greenmail.net.auth_socket import AuthSocket
from greenmail.runtime import direct


def test_it_takes_so_many_connections_and_one_more_when_one_has_gone(tmp_path: Path) -> None:
    """`max-auth-socket-connections`."""
    services = Services(
        direct(), Users({USER: PASSWORD}), Seats(), Patience(), NoGuard(), ("PLAIN",), lambda address: True, lambda: "s"
    )
    listener = gevent.socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "auth"))
    listener.listen(8)
    served = AuthSocket(listener, services, 0, most=2)
    served.start()

    def arrive() -> tuple[gevent.socket.socket, bytes]:
        client = gevent.socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        client.connect(str(tmp_path / "auth"))
        return client, client.recv(8)

    try:
        (first, said), (second, _), (third, nothing) = arrive(), arrive(), arrive()
        assert said == b"VERSION\t" and nothing == b""
        first.close()
        with gevent.Timeout(10):
            while not (found := arrive())[1]:
                found[0].close()
        for client in (second, third, found[0]):
            client.close()
    finally:
        served.close()
