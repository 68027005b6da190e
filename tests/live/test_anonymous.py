"""Whoever comes may read the archive: a real server with ANONYMOUS, and clients of others."""

import imaplib
import os
import poplib
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import need

TIMEOUT = 30
MAIL = b"From: list@example.org\nSubject: minutes\n\nAll agreed.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[greenmail.Server]:
    directory = tmp_path_factory.mktemp("anonymous")
    for name in ("new", "cur", "tmp"):
        (directory / "archive" / name).mkdir(parents=True)
    (directory / "archive" / "cur" / "1795343254.M1P1.here:2,").write_bytes(MAIL)
    passwd = f"alice:{{PLAIN}}secret\npublic:*::::::userdb_mail=maildir:{directory}/archive\n"
    with greenmail.start(
        directory, f"{directory}/mail/%u", passwd, workers=1, anonymous_user="public", quota_storage="1M"
    ) as started:
        yield started


def trusting(server: greenmail.Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.cert))


def files(server: greenmail.Server) -> list[str]:
    return sorted(os.listdir(server.directory / "archive" / "cur"))


def test_imap(server: greenmail.Server) -> None:
    before = files(server)
    client = imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=trusting(server), timeout=TIMEOUT)
    assert "AUTH=ANONYMOUS" in client.capabilities
    assert client.authenticate("ANONYMOUS", lambda challenge: b"me@example.org")[0] == "OK"
    assert client.select("INBOX", readonly=True) == ("OK", [b"1"])
    assert b"All agreed." in client.fetch("1", "(BODY[])")[1][0][1]  # type: ignore[operator, index] # as imaplib has it
    assert client.append("INBOX", "", "", b"Subject: x\r\n\r\n")[0] == "NO"
    assert client.create("more")[0] == "NO"
    assert client.getquotaroot("INBOX")[1][1] == [None]
    client.logout()
    assert files(server) == before
    assert re.search(r"anonymous sid=\S+ user='public' rip=127.0.0.1 trace='me@example.org'", server.logged())


def test_pop3(server: greenmail.Server) -> None:
    before = files(server)
    clients = []
    for _ in range(2):  # nobody keeps others out
        client = poplib.POP3_SSL("localhost", server.pop3s, context=trusting(server), timeout=TIMEOUT)
        assert "ANONYMOUS" in client.capa()["SASL"]
        assert client._shortcmd("AUTH ANONYMOUS =").startswith(b"+OK")  # type: ignore[attr-defined] # poplib has no AUTH
        clients.append(client)
    for client in clients:
        assert b"All agreed." in client.retr(1)[1]
        with pytest.raises(poplib.error_proto, match="SYS/PERM"):
            client.dele(1)
        client.quit()
    assert files(server) == before


@pytest.mark.interop
def test_mutt(server: greenmail.Server, tmp_path: Path) -> None:
    """GSASL's client."""
    mutt = need("mutt", "mutt")
    rc = tmp_path / "muttrc"
    rc.write_text(
        f"""\
set imap_authenticators="anonymous"
set ssl_force_tls=yes
set certificate_file="{server.cert}"
unset ssl_verify_host
set record=""
set folder="imaps://localhost:{server.imaps}/"
push "q"
set quit=yes
"""
    )
    folder = f"imaps://visitor@localhost:{server.imaps}/INBOX"
    command = [need("script", "bsdutils"), "-qec", f"{mutt} -n -F {rc} -f {folder}", "/dev/null"]
    env = {"HOME": str(tmp_path), "TERM": "xterm", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=env)
    assert re.search(r"anonymous sid=\S+ user='public' rip=127.0.0.1 trace='dummy'", server.logged()), done.stdout
    assert re.search(r"logout sid=\S+ user='public' .*fetched=1 .*reason='logout'\n\Z", server.logged())
