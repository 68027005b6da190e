"""Binding: what connections inherit, both families, and messages that say what to do."""

import errno
import socket
from contextlib import closing

import pytest

from greenmail.config_tables import Listener
from greenmail.net import listen
from greenmail.net.stream import KERNEL_UNSENT
from greenmail.net.tls import CannotStart


def listener(address="127.0.0.1", port=0, name="imap"):
    return Listener(name, address, port, "imap", False, "", "")


def bound(*listeners, kept=None):
    return listen.bind_all(listeners, 7.0, kept or {})


def port_of(sockets):
    return next(iter(sockets.values())).getsockname()[1]


@pytest.fixture
def sockets():
    made = bound(listener())
    yield made
    for sock in made.values():
        sock.close()


def test_an_accepted_connection_has_every_option_of_the_listener(sockets):
    with socket.create_connection(("127.0.0.1", port_of(sockets))):
        (server,) = sockets.values()
        server.settimeout(10)
        accepted, _ = server.accept()
        with closing(accepted):
            tcp = socket.IPPROTO_TCP
            assert accepted.getsockopt(tcp, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 7000
            assert accepted.getsockopt(tcp, 25) == KERNEL_UNSENT
            assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) == 300


def test_what_is_bound_already_is_kept(sockets):
    again = bound(listener(), listener(name="other"), kept=sockets)
    key = listen.place(listener())
    assert again[key] is sockets[key]
    again[listen.place(listener(name="other"))].close()


def test_every_ipv6_address_answers_on_ipv4_too():
    sockets = bound(listener("::"))
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port_of(sockets)), 10).close()
    for sock in sockets.values():
        sock.close()


def test_both_families_may_be_given_for_one_port():
    probe = bound(listener())
    port = port_of(probe)
    for sock in probe.values():
        sock.close()
    sockets = bound(listener("0.0.0.0", port), listener("::", port))
    for sock in sockets.values():
        sock.close()


def test_without_ipv6_every_ipv4_address_answers_instead(monkeypatch, caplog):
    real = socket.socket

    def no_ipv6(family=socket.AF_INET, *rest, **more):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *rest, **more)

    monkeypatch.setattr(listen.socket, "socket", no_ipv6)
    sockets = bound(listener("::"))
    monkeypatch.undo()
    socket.create_connection(("127.0.0.1", port_of(sockets)), 10).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for sock in sockets.values():
        sock.close()


def test_without_ipv6_a_port_that_has_an_ipv4_listener_too_is_left_to_it(monkeypatch, caplog):
    """Both families written out: on a machine without IPv6 the server starts all the same."""
    real = socket.socket

    def no_ipv6(family=socket.AF_INET, *rest, **more):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *rest, **more)

    probe = bound(listener())
    port = port_of(probe)
    for sock in probe.values():
        sock.close()
    monkeypatch.setattr(listen.socket, "socket", no_ipv6)
    sockets = bound(listener("0.0.0.0", port), listener("::", port, "other"))
    monkeypatch.undo()
    assert list(sockets) == [listen.place(listener("0.0.0.0", port))]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for sock in sockets.values():
        sock.close()


def test_a_port_in_use(sockets):
    with pytest.raises(CannotStart) as caught:
        bound(listener(name="second"), listener(port=port_of(sockets)))
    assert f"127.0.0.1:{port_of(sockets)} (imap)" in caught.value.text
    assert "another program" in caught.value.text
    assert "\n" not in caught.value.text


def test_an_address_of_another_machine():
    with pytest.raises(CannotStart, match="does not have this address"):
        bound(listener("192.0.2.1"))


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EACCES, "ports below 1024 need root"),
        (errno.EADDRINUSE, "another program listens there"),
        (errno.ENOBUFS, "No buffer space"),
    ],
)
def test_messages(number, words):
    error = OSError(number, "No buffer space available")
    assert words in listen._explained("imap", "::", 143, error).text
    assert "[::]:143 (imap)" in listen._explained("imap", "::", 143, error).text
