"""sslscan against every TLS port: no protocol, cipher, curve or extension that it knows to be weak."""

import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.interop_site import make_box, need
from support.server import Server, start

pytestmark = pytest.mark.interop
WEAK = ("RC4", "3DES", "DES-", "NULL", "EXP", "MD5", "anon", "ADH", "AECDH", "IDEA", "SEED")
PORTS = {"imaps": (), "pop3s": (), "imap": ("--starttls-imap",), "pop3": ("--starttls-pop3",)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need("sslscan", "sslscan")
    here = tmp_path_factory.mktemp("sslscan")
    make_box(here / "alice" / "Maildir")
    with start(here / "run", str(here / "%u" / "Maildir"), workers=1) as running:
        yield running


@pytest.mark.parametrize("name", PORTS)
def test_nothing_is_weak(server: Server, tmp_path: Path, name: str) -> None:
    report = tmp_path / "report.xml"
    where = f"127.0.0.1:{getattr(server, name)}"
    command = ["sslscan", "--no-colour", *PORTS[name], f"--xml={report}", where]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    found = ElementTree.parse(report).getroot().find("ssltest")
    assert found is not None
    enabled = {f"{one.get('type')}{one.get('version')}" for one in found.iter("protocol") if one.get("enabled") == "1"}
    assert enabled == {"tls1.2", "tls1.3"}
    ciphers = list(found.iter("cipher"))
    assert ciphers
    for cipher in ciphers:
        text = cipher.get("cipher", "")
        assert int(cipher.get("bits", "0")) >= 128, text
        assert not any(word in text for word in WEAK), text
        assert cipher.get("strength") in ("strong", "acceptable"), (text, cipher.get("strength"))
    assert all(one.get("vulnerable") == "0" for one in found.iter("heartbleed"))
    assert all(one.get("supported") == "0" for one in found.iter("compression"))
    assert all(one.get("supported") == "0" or one.get("secure") == "1" for one in found.iter("renegotiation"))
