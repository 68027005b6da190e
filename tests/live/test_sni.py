"""Several certificates in a real server, asked for by name with OpenSSL's own client."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import need
from support.pki import make_certificate

pytestmark = pytest.mark.interop

NAMES = ("mail.example.com", "mail.example.net")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[greenmail.Server]:
    directory = tmp_path_factory.mktemp("sni")
    pairs = [make_certificate(directory, name) for name in NAMES]
    more = [{"cert-path": str(cert), "key-path": str(key)} for cert, key in pairs]
    with greenmail.start(directory, f"{directory}/mail/%u", workers=1, certificates=more) as started:
        yield started


def shown(port: int, name: str, *more: str) -> str:
    """The subject of the certificate, and its serial number."""
    wanted = ["-servername", name] if name else ["-noservername"]
    command = [need("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *wanted, *more]
    talk = subprocess.run(command, input=b"a LOGOUT\nQUIT\n", capture_output=True, timeout=30, check=False)
    command = ["openssl", "x509", "-noout", "-subject", "-serial"]
    return subprocess.run(command, input=talk.stdout, capture_output=True, check=True).stdout.decode()


def test_openssl(server: greenmail.Server) -> None:
    for name in NAMES:
        for port, more in (
            (server.imaps, ()),
            (server.imaps, ("-tls1_2",)),
            (server.imap, ("-starttls", "imap")),
            (server.pop3s, ()),
            (server.pop3, ("-starttls", "pop3")),
        ):
            assert f"CN = {name}\n" in shown(port, name, *more), (name, more)
    for name in ("", "elsewhere.example"):
        assert "CN = localhost\n" in shown(server.imaps, name)
    assert re.search(r"certificate path=\S+mail.example.net.crt names='mail.example.net'", server.logged())


def test_an_expiry_for_each_and_the_words_of_check_config(server: greenmail.Server) -> None:
    for name in ("localhost", *NAMES):
        line = rf'greenmail_certificate_expiry_timestamp_seconds{{path="{server.directory}/{name}.crt"}} \d'
        assert re.search(line, server.scrape()), server.scrape()
    command = [sys.executable, "-m", "greenmail", "check-config", "-c", str(server.config)]
    key = server.directory / f"{NAMES[0]}.key"
    octets = key.read_bytes()
    key.write_bytes(b"")
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    key.write_bytes(octets)
    assert found.returncode != 0 and f"key-path: {key}: there is no PEM private key" in found.stdout + found.stderr


def test_a_new_one_after_a_reload(server: greenmail.Server, tmp_path: Path) -> None:
    old = shown(server.imaps, NAMES[0])
    for path, fresh in zip(
        (server.directory / f"{NAMES[0]}.crt", server.directory / f"{NAMES[0]}.key"),
        make_certificate(tmp_path, NAMES[0]),
        strict=True,
    ):
        fresh.rename(path)
    server.process.send_signal(signal.SIGHUP)
    assert any(shown(server.imaps, NAMES[0]) != old for _ in range(500))
