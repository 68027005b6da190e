"""SCRAM and master users as other programs have them: GSASL in mutt, Cyrus SASL in mbsync, Python's own clients."""

import imaplib
import poplib
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scramp import ScramClient
from support import server as greenmail
from support.interop_site import need

from greenmail.auth import schemes

pytestmark = pytest.mark.interop


def stored_by_dovecot() -> str:
    if shutil.which("doveadm") is None:
        return schemes.make("SCRAM-SHA-256", b"secret")
    command = ["doveadm", "pw", "-s", "SCRAM-SHA-256", "-p", "secret"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[greenmail.Server]:
    directory = tmp_path_factory.mktemp("sasl")
    (directory / "masters").write_text(f"admin:{schemes.make('SCRAM-SHA-256', b'master')}\n")
    (directory / "denied").write_text("eve\n")
    with greenmail.start(
        directory,
        f"{directory}/mail/%u",
        f"alice:{stored_by_dovecot()}\neve:{{PLAIN}}secret\n",
        workers=2,
        master_passwd_file=str(directory / "masters"),
        deny_file=str(directory / "denied"),
        auth_failure_delay=0.1,
    ) as started:
        yield started


def logins(server: greenmail.Server) -> list[tuple[str, str, str]]:
    """(user, master, mechanism) of all logins so far."""
    line = re.compile(r"\] login sid=\S+ user='([^']*)'(?: master='([^']*)')? mech=(\S+) ")
    return [(match[1], match[2] or "", match[3]) for match in line.finditer(server.logged())]


def trusting(server: greenmail.Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.cert))


class Steps:
    """What a client sends for each challenge, as imaplib asks for it."""

    def __init__(self, client: ScramClient) -> None:
        self._client = client
        self._next = 0

    def __call__(self, challenge: bytes) -> bytes:
        self._next += 1
        client, text = self._client, challenge.decode()
        if self._next == 1:
            return client.get_client_first().encode()
        if self._next == 2:
            client.set_server_first(text)
            return client.get_client_final().encode()
        client.set_server_final(text)
        return b""


@pytest.mark.parametrize(
    "mechanism, login, password, expected",
    [
        ("SCRAM-SHA-256", "alice", "secret", ("alice", "")),
        ("SCRAM-SHA-256-PLUS", "alice", "secret", ("alice", "")),
        ("SCRAM-SHA-256-PLUS", "alice*admin", "master", ("alice", "admin")),
        ("SCRAM-SHA-256", "alice", "wrong", None),
        ("SCRAM-SHA-256", "nobody", "secret", None),
        ("SCRAM-SHA-256-PLUS", "eve", "secret", None),
    ],
)
def test_imaplib(server: greenmail.Server, mechanism: str, login: str, password: str, expected) -> None:
    before = len(logins(server))
    with imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=trusting(server)) as imap:
        assert f"AUTH={mechanism}" in imap.capabilities
        binding = ("tls-server-end-point", imap.sock) if mechanism.endswith("-PLUS") else None
        client = ScramClient([mechanism], login, password, channel_binding=binding)
        if expected is None:
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                imap.authenticate(mechanism, Steps(client))
        else:
            imap.authenticate(mechanism, Steps(client))
            imap.select("INBOX")
    assert logins(server)[before:] == ([] if expected is None else [(*expected, mechanism)])


def test_plus_after_starttls(server: greenmail.Server) -> None:
    with imaplib.IMAP4("localhost", server.imap) as imap:
        assert not any(name.startswith("AUTH=") for name in imap.capabilities)
        imap.starttls(trusting(server))
        client = ScramClient(["SCRAM-SHA-256-PLUS"], "alice", "secret", ("tls-server-end-point", imap.sock))
        imap.authenticate("SCRAM-SHA-256-PLUS", Steps(client))


def test_a_master_by_the_authorization_identity_of_plain(server: greenmail.Server) -> None:
    with imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=trusting(server)) as imap:
        imap.authenticate("PLAIN", lambda challenge: b"alice\0admin\0master")
        assert logins(server)[-1] == ("alice", "admin", "PLAIN")


def test_a_master_in_pop3(server: greenmail.Server) -> None:
    pop3 = poplib.POP3_SSL("localhost", server.pop3s, context=trusting(server))
    pop3.user("alice*admin")
    pop3.pass_("master")
    assert pop3.stat() == (0, 0)
    pop3.quit()
    assert logins(server)[-1] == ("alice", "admin", "USER")


def test_mutt(server: greenmail.Server, tmp_path: Path) -> None:
    """GSASL's client; left to itself mutt takes LOGIN, and NeoMutt knows no names of SCRAM to be told."""
    mutt = need("mutt", "mutt")
    rc = tmp_path / "muttrc"
    rc.write_text(
        f"""\
set imap_user=alice
set imap_pass=secret
set imap_authenticators="scram-sha-256"
set ssl_force_tls=yes
set certificate_file="{server.cert}"
unset ssl_verify_host
set record=""
set folder="imaps://localhost:{server.imaps}/"
push "q"
set quit=yes
"""
    )
    before = len(logins(server))
    folder = f"imaps://alice@localhost:{server.imaps}/INBOX"
    command = [need("script", "bsdutils"), "-qec", f"{mutt} -n -F {rc} -f {folder}", "/dev/null"]
    env = {"HOME": str(tmp_path), "TERM": "xterm", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=env)
    found = logins(server)[before:]
    assert found and found[0][0] == "alice", (done.stdout, done.stderr, server.logged()[-2000:])
    assert found[0][2] == "SCRAM-SHA-256"


def test_mbsync(server: greenmail.Server, tmp_path: Path) -> None:
    mbsync = need("mbsync", "isync")
    (tmp_path / "near").mkdir()
    rc = tmp_path / "mbsyncrc"
    rc.write_text(
        f"""\
IMAPAccount green
Host localhost
Port {server.imaps}
User alice
Pass secret
SSLType IMAPS
CertificateFile {server.cert}
AuthMechs SCRAM-SHA-256

IMAPStore far
Account green

MaildirStore near
Path {tmp_path}/near/
Inbox {tmp_path}/inbox

Channel all
Far :far:
Near :near:
Patterns *
"""
    )
    before = len(logins(server))
    command = [mbsync, "-c", str(rc), "--list", "all"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path)})
    if "SCRAM" in done.stderr and "mechanism" in done.stderr and not logins(server)[before:]:
        pytest.skip("Cyrus SASL has no SCRAM here (Debian: libsasl2-modules)")
    assert done.returncode == 0, done.stderr
    assert logins(server)[before:] == [("alice", "", "SCRAM-SHA-256")]


def test_apop_and_cram_md5_of_the_standard_library_and_curl(tmp_path: Path) -> None:
    """Off unless asked for; the password is stored as it is."""
    with greenmail.start(
        tmp_path,
        f"{tmp_path}/mail/%u",
        "alice:{PLAIN}secret\n",
        sasl_mechanisms=["PLAIN", "CRAM-MD5"],
        pop3_apop=True,
        auth_failure_delay=0.1,
    ) as server:
        pop3 = poplib.POP3_SSL("localhost", server.pop3s, context=trusting(server))
        assert pop3.apop("alice", "secret").startswith(b"+OK")
        pop3.quit()
        with imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=trusting(server)) as imap:
            assert imap.login_cram_md5("alice", "secret")[0] == "OK"
        assert [found[2] for found in logins(server)] == ["APOP", "CRAM-MD5"]
        if shutil.which("curl"):
            for name, at in (
                ("CRAM-MD5", f"imaps://localhost:{server.imaps}"),
                ("+APOP", f"pop3s://localhost:{server.pop3s}"),
            ):
                command = ["curl", "-sS", "--cacert", str(server.cert), "--login-options", f"AUTH={name}"]
                subprocess.run([*command, "--user", "alice:secret", at], check=True, timeout=20)
            assert [found[2] for found in logins(server)][2:] == ["CRAM-MD5", "APOP"]
