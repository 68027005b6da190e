"""Behind a real HAProxy, with the file of contrib/: TLS that passes through, TLS that ends there, its checks."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.server import Server, free_port, start, wait_for_port
from support.wire_client import unverified

PATTERN = Path(__file__).parent.parent.parent / "contrib/haproxy/haproxy.cfg"
CLIENT = "127.0.0.9"  # who connects to the balancer

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed"),
]


@dataclass
class Balanced:
    """HAProxy and a GreenMail behind it."""

    server: Server
    imaps: int  # HAProxy's, TLS through
    pop3s: int
    ended: int  # HAProxy's, TLS ends there
    log: Path

    def connect(self, port: int) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", port), 20, (CLIENT, 0))
        return unverified().wrap_socket(raw, server_hostname="localhost")


def written(directory: Path, ports: dict[str, int], cert: Path) -> Path:
    """The file of contrib/ with other addresses and one server."""
    text = PATTERN.read_text(encoding="utf-8").replace("/etc/haproxy/mail.pem", str(cert))
    for found, place in (("bind :993", "imaps"), ("bind :995", "pop3s"), ("bind :10993", "ended")):
        assert found + "\n" in text or found + " ssl" in text
        text = re.sub(re.escape(found) + r"\b", f"bind 127.0.0.1:{ports[place]}", text)
    text = re.sub(r"(?m)^ *server mail2 .*\n", "", text)
    for port, place in ((10143, "imaps-behind"), (10110, "pop3s-behind"), (10144, "imap-behind")):
        text = text.replace(f"10.0.0.11:{port}", f"127.0.0.1:{ports[place]}")
    assert "10.0.0." not in text
    path = directory / "haproxy.cfg"
    path.write_text(text.replace(" check ", " check inter 200 "), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    directory = tmp_path_factory.mktemp("balanced")
    names = ("imaps", "pop3s", "ended", "imaps-behind", "pop3s-behind", "imap-behind")
    ports = {name: free_port() for name in names}
    listener = {
        name.removesuffix("-behind"): {
            "bind": [f"127.0.0.1:{ports[name]}"],
            "protocol": name[:4],
            "tls": {"implicit": "s-" in name},
            "proxy-protocol": True,
        }
        for name in names[3:]
    }
    with start(
        directory, str(directory / "Maildir"), workers=1, server={"listener": listener}, proxy_networks=["127.0.0.1/32"]
    ) as server:
        both = directory / "mail.pem"
        both.write_bytes(server.cert.read_bytes() + server.cert.with_suffix(".key").read_bytes())
        log = directory / "haproxy.log"
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
        command = [str(program), "-db", "-f", str(written(directory, ports, both))]
        with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
            try:
                wait_for_port(ports["ended"], process, log)
                yield Balanced(server, ports["imaps"], ports["pop3s"], ports["ended"], log)
            finally:
                process.terminate()


def test_tls_passes_through(balanced: Balanced) -> None:
    with balanced.connect(balanced.imaps) as client:
        client.sendall(b"a LOGIN alice secret\r\nb LOGOUT\r\n")
        assert b"a OK" in b"".join(client.makefile("rb").readlines())
    assert re.search(rf"login .*rip={re.escape(CLIENT)}\b", balanced.server.logged())


def test_pop3_too(balanced: Balanced) -> None:
    with balanced.connect(balanced.pop3s) as client:
        client.sendall(b"USER alice\r\nPASS secret\r\nQUIT\r\n")
        assert client.makefile("rb").readlines()[2].startswith(b"+OK")
    assert re.search(rf"login .*mech=USER rip={re.escape(CLIENT)}\b", balanced.server.logged())


def test_tls_that_haproxy_ends_protects_a_password(balanced: Balanced) -> None:
    with balanced.connect(balanced.ended) as client:
        lines = client.makefile("rb")
        greeting = lines.readline()
        assert b"STARTTLS" not in greeting and b"LOGINDISABLED" not in greeting
        client.sendall(b"a LOGIN alice secret\r\nb LOGOUT\r\n")
        assert b"a OK" in b"".join(lines.readlines())


def test_its_checks_find_the_server_alive_and_are_not_complained_about(balanced: Balanced) -> None:
    deadline = time.monotonic() + 1.5
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            with balanced.connect(balanced.ended) as client:
                assert client.recv(100).startswith(b"* OK")
    assert "DOWN" not in balanced.log.read_text(errors="replace")
    assert "proxy-refused" not in balanced.server.logged()
    assert "tls-failed" not in balanced.server.logged(), balanced.server.logged()
