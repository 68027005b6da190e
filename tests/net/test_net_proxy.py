"""The PROXY protocol: what a load balancer says before the client's first octet, and who is believed."""

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.server import Server, free_port, start
from support.wire_client import unverified

from greenmail.net import proxy
from greenmail.net.proxy import BadHeader, Closed, Origin

Proxied = tuple[Server, dict[str, int]]
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = b"a1 CAPABILITY\r\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 993)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
V6 += struct.pack("!HH", 4711, 993)


def v2(command: int, family: int, data: bytes = b"", tlvs: bytes = b"", version: int = 0x20) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version | command, family, len(data) + len(tlvs)) + data + tlvs


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def of_tls(flags: int, version: bytes = b"TLSv1.3", cipher: bytes = b"TLS_AES_256_GCM_SHA384") -> bytes:
    return tlv(0x20, struct.pack("!BL", flags, 0) + tlv(0x21, version) + tlv(0x23, cipher))


def read(data: bytes, piece: int = 0) -> tuple[Origin | None, bytes]:
    """What `data` says, sent in pieces; and what is left for who reads on."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        waiting = [data[at : at + piece] for at in range(0, len(data), piece)] if piece else [data]

        def wait() -> None:
            if not waiting:
                there.close()
                return
            there.send(waiting.pop(0))

        found = proxy.read(here, wait)
        there.send(b"".join(waiting) + b".") if there.fileno() >= 0 else None
        return found, here.recv(1 << 17)[:-1]


HEADERS = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 993\r\n", Origin("192.0.2.7", 4711, "198.51.100.1", 993)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 993\r\n", Origin("2001:db8::7", 4711, "2001:db8::1", 993)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (v2(1, 0x11, V4), Origin("192.0.2.7", 4711, "198.51.100.1", 993)),
    (v2(1, 0x21, V6), Origin("2001:db8::7", 4711, "2001:db8::1", 993)),
    (v2(1, 0x11, V4, tlv(0x05, b"id") + tlv(0xE0, b"x" * 300)), Origin("192.0.2.7", 4711, "198.51.100.1", 993)),
    (v2(0, 0x00), None),  # LOCAL: a check of the balancer's own
    (v2(0, 0x11, V4), None),
    (v2(1, 0x00), None),
    (
        v2(1, 0x11, V4, of_tls(1)),
        Origin("192.0.2.7", 4711, "198.51.100.1", 993, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ),
    (v2(1, 0x11, V4, of_tls(0)), Origin("192.0.2.7", 4711, "198.51.100.1", 993)),
    (v2(1, 0x11, V4, of_tls(1, b"T\nL", b"a b")), Origin("192.0.2.7", 4711, "198.51.100.1", 993, "TLS")),
    (v2(1, 0x11, V4, tlv(0x03, b"\x01\x02\x03\x04")), Origin("192.0.2.7", 4711, "198.51.100.1", 993)),
]


@pytest.mark.parametrize("header, said", HEADERS)
@pytest.mark.parametrize("piece", [0, 1, 5])
def test_a_header_is_taken_and_not_one_octet_behind_it(header: bytes, said: Origin | None, piece: int) -> None:
    assert read(header + BEHIND, piece) == (said, BEHIND)


@pytest.mark.parametrize(
    "data",
    [
        b"a1 LOGIN alice secret\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.700 198.51.100.1 4711 993\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 993\r\n",
        b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 993\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 993\n",
        b"PROXY TCP4 " + b"1" * 200,
        b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
        v2(1, 0x11, V4[:-1]),
        v2(2, 0x11, V4),
        v2(1, 0x11, V4, version=0x10),
        v2(1, 0x12, V4),  # a datagram
        v2(1, 0x31, b"/run/x".ljust(108, b"\x00") * 2),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client of TLS
    ],
)
@pytest.mark.parametrize("piece", [0, 1])
def test_what_is_no_header_is_refused(data: bytes, piece: int) -> None:
    with pytest.raises(BadHeader) as caught:
        read(data, piece)
    assert str(caught.value)


@pytest.mark.parametrize("data, began", [(b"", False), (b"PROXY TC", True), (v2(1, 0x11, V4)[:-1], True)])
def test_an_end_before_the_header(data: bytes, began: bool) -> None:
    with pytest.raises(Closed) as caught:
        read(data)
    assert caught.value.began is began


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"])
)
def test_any_octets_are_a_header_or_refused(data: bytes, begin: bytes) -> None:
    try:
        found, _ = read(begin + data)
    except (BadHeader, Closed):
        return
    assert found is None or socket.getaddrinfo(found.peer, 0, flags=socket.AI_NUMERICHOST)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp("proxied")
    ports = {name: free_port() for name in ("plain", "tls")}
    listener = {
        name: {
            "protocol": "imap",
            "proxy-protocol": True,
            "bind": [f"127.0.0.1:{port}"],
            "tls": {"implicit": name == "tls"},
        }
        for name, port in ports.items()
    }
    with start(
        directory, str(directory / "Maildir"), workers=1, server={"listener": listener},
        proxy_networks=["127.0.0.1/32"], secure_networks=["192.0.2.0/24"], timeout_handshake=2, log_level="debug",
    ) as server:  # fmt: skip
        yield server, ports


def say(port: int, header: bytes, command: bytes, source: str = "127.0.0.1") -> list[bytes]:
    """The greeting and the lines of the answer to one command."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as connection:
        connection.sendall(header + command)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").readlines()


def test_the_client_is_who_the_proxy_says(proxied: Proxied) -> None:
    server, ports = proxied
    answer = say(ports["plain"], b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 993\r\n", b"a LOGIN alice secret\r\n")
    assert answer[-1].startswith(b"a OK"), answer  # 192.0.2.0/24 is in secure-networks; the proxy is not
    assert "rip=192.0.2.7" in server.logged()
    answer = say(ports["plain"], b"PROXY TCP4 198.51.100.7 198.51.100.1 4711 993\r\n", b"a LOGIN alice secret\r\n")
    assert answer[-1].startswith(b"a NO [PRIVACYREQUIRED]"), answer


def test_tls_that_the_proxy_ended_counts(proxied: Proxied) -> None:
    _, ports = proxied
    elsewhere = socket.inet_aton("203.0.113.7") + V4[4:]
    answer = say(ports["plain"], v2(1, 0x11, elsewhere, of_tls(1)), b"a LOGIN alice secret\r\n")
    assert b"STARTTLS" not in answer[0] and b"LOGINDISABLED" not in answer[0]
    assert answer[-1].startswith(b"a OK"), answer


def test_tls_that_ends_here_follows_the_header(proxied: Proxied) -> None:
    server, ports = proxied
    with socket.create_connection(("127.0.0.1", ports["tls"]), 10) as connection:
        connection.sendall(v2(1, 0x21, V6))
        with unverified().wrap_socket(connection, server_hostname="localhost") as tls:
            tls.sendall(b"a LOGIN alice secret\r\n")
            lines = tls.makefile("rb")
            lines.readline()
            assert lines.readline().startswith(b"a OK")
    assert "rip=2001:db8::7" in server.logged()


@pytest.mark.parametrize(
    "header, source, reason",
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 993\r\n", "127.0.0.3", "the peer is not in proxy-networks"),
        (b"", "127.0.0.1", "Unrecognized proxy protocol version signature"),
    ],
)
def test_who_is_not_believed_gets_no_answer(proxied: Proxied, header: bytes, source: str, reason: str) -> None:
    server, ports = proxied
    before = server.logged().count(reason)
    try:
        assert say(ports["plain"], header, b"a LOGIN alice secret\r\n", source) == []
    except OSError:
        pass  # closed with octets that nobody reads: reset
    assert server.logged().count(reason) == before + 1
    assert 'greenmail_refused_total{limit="proxy",protocol="imap"}' in server.scrape()


def test_who_says_nothing_is_closed_in_time(proxied: Proxied) -> None:
    server, ports = proxied
    with socket.create_connection(("127.0.0.1", ports["plain"]), 10) as connection:
        assert connection.recv(100) == b""
    assert "did not come in time" in server.logged()


def test_a_look_whether_the_port_is_open_is_no_news(proxied: Proxied) -> None:
    server, ports = proxied
    before = server.logged().count("proxy-refused")
    socket.create_connection(("127.0.0.1", ports["plain"]), 10).close()
    with socket.create_connection(("127.0.0.1", ports["plain"]), 10) as connection:
        connection.sendall(v2(0, 0))
        assert connection.recv(100).startswith(b"* OK")
    assert server.logged().count("proxy-refused") == before
