"""EXTERNAL with certificates of clients: real servers, real TLS, clients that other people wrote."""

import imaplib
import poplib
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import client_pki
from support import server as greenmail
from support.client_pki import Authority, mail

from greenmail.auth.certificates import key_of

TIMEOUT = 30


@dataclass
class Place:
    """A server that asks for certificates, and who may give them."""

    server: greenmail.Server
    authority: Authority
    strangers: Authority
    keys: Path
    crl: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("certificates")
    authority, strangers = Authority(directory), Authority(directory, "strangers")
    keys, crl = directory / "client-keys", authority.revoked(directory / "crl.pem")
    keys.write_text("# pinned\n")
    (directory / "masters").write_text("admin:*\n")
    with greenmail.start(
        directory,
        f"{directory}/mail/%u",
        "alice:{PLAIN}secret\nbob:*\ncarol:*::::::nologin\n",
        workers=1,
        tls_client_certificate="optional",
        client_ca_path=str(authority.path),
        client_crl_path=str(crl),
        client_keys_file=str(keys),
        master_passwd_file=str(directory / "masters"),
        auth_failure_delay=0.01,
    ) as server:
        yield Place(server, authority, strangers, keys, crl)


def context(place: Place, certificate: Path | None, version: str = "1.3") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(place.server.cert))
    made.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    if certificate is not None:
        made.load_cert_chain(certificate)
    return made


def imap(place: Place, certificate: Path | None, version: str = "1.3", starttls: bool = False) -> imaplib.IMAP4:
    if starttls:
        client = imaplib.IMAP4("localhost", place.server.imap, timeout=TIMEOUT)
        client.starttls(context(place, certificate, version))
        return client
    tls = context(place, certificate, version)
    return imaplib.IMAP4_SSL("localhost", place.server.imaps, ssl_context=tls, timeout=TIMEOUT)


def offers(client: imaplib.IMAP4) -> bool:
    return "AUTH=EXTERNAL" in client.capabilities


def external(client: imaplib.IMAP4, authorize_as: str = "") -> str:
    return client.authenticate("EXTERNAL", lambda challenge: authorize_as.encode())[0]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("starttls", [False, True])
def test_a_certificate_is_a_login_without_a_password(place: Place, version: str, starttls: bool) -> None:
    _, path = place.authority.client("somebody", [mail("bob")])
    with imap(place, path, version, starttls) as client:
        assert offers(client)
        assert external(client) == "OK"
        assert client.select()[0] == "OK"
        client.append("INBOX", "", "", b"x" * 300_000)  # more than a record of TLS, both ways
        assert len(client.fetch("1", "(BODY.PEEK[])")[1][0][1]) >= 300_000
        client.store("1", "+FLAGS", "\\Deleted")
        client.expunge()
    assert re.search(r"login sid=\S+ user='bob' mech=EXTERNAL rip=127.0.0.1 .*tls=yes", place.server.logged())


def test_without_a_certificate_all_is_as_ever(place: Place) -> None:
    with imap(place, None) as client:
        assert not offers(client)
        assert client.login("alice", "secret")[0] == "OK"
    with imap(place, None) as client, pytest.raises(imaplib.IMAP4.error, match="not offered"):
        external(client)
    with imaplib.IMAP4("localhost", place.server.imap, timeout=TIMEOUT) as client:
        assert not offers(client)


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("strangers", "its issuer is not in client-ca-path"),
        ("expired", "it has expired"),
        ("future", "it is not valid yet"),
        ("server", "it is not meant for clients (extended key usage)"),
        ("revoked", "it was revoked"),
        ("self-signed", "it is self-signed"),
        ("nameless", "there is no rfc822name in it"),
    ],
)
def test_a_certificate_that_is_no_good_opens_nothing_and_the_log_says_why(place: Place, kind: str, reason: str) -> None:
    authority, names = place.authority, [mail("alice")]
    if kind == "strangers":
        made, path = place.strangers.client("somebody", names)
    elif kind in ("expired", "future"):
        made, path = authority.client(kind, names, days=(-9, -1) if kind == "expired" else (1, 9))
    elif kind == "server":
        made, path = authority.client(kind, names, usage=client_pki.ExtendedKeyUsageOID.SERVER_AUTH)
    elif kind == "self-signed":
        own = Authority(authority.directory, "own")
        made, path = own.client("own", names, key=own.key)
    else:
        made, path = authority.client(kind, names if kind == "revoked" else [])
    if kind == "revoked":
        authority.revoked(place.crl, made)
    with imap(place, path) as client:
        assert not offers(client)
        with pytest.raises(imaplib.IMAP4.error):
            external(client, "alice")
        assert client.login("alice", "secret")[0] == "OK"  # which is a matter of its own
    subject = made.subject.rfc4514_string()
    line = f"client-certificate refused rip=127.0.0.1 subject={subject!r} reason={reason!r}"
    assert line in place.server.logged()


def test_a_revocation_list_counts_from_the_moment_that_it_is_there(place: Place) -> None:
    made, path = place.authority.client("leaver", [mail("bob")])
    with imap(place, path) as client:
        assert external(client) == "OK"
        place.authority.revoked(place.crl, made)
        with imap(place, path) as later:
            assert not offers(later)
        assert client.noop()[0] == "OK"  # who is in stays in
    place.authority.revoked(place.crl)


def test_an_expired_revocation_list_lets_nobody_in(place: Place) -> None:
    _, path = place.authority.client("somebody", [mail("bob")])
    place.authority.revoked(place.crl, days=-1)
    with imap(place, path) as client:
        assert not offers(client)
    place.authority.revoked(place.crl)
    assert "reason='the revocation list in client-crl-path has expired'" in place.server.logged()


def test_a_pinned_key_is_good_whoever_signed_and_until_it_is_taken_out(place: Place) -> None:
    made, path = place.strangers.client("laptop", days=(-9, -1))
    place.keys.write_text(f"alice:{key_of(made)}:laptop\n")
    with imap(place, path) as client:
        assert external(client) == "OK"
    assert "subject='CN=laptop' users=('alice',) by=key" in place.server.logged()
    place.keys.write_text("")
    with imap(place, path) as client:
        assert not offers(client)


@pytest.mark.parametrize(
    "names, authorize_as, expected",
    [
        (["alice"], "alice", "user='alice' mech=EXTERNAL"),
        (["alice"], "ALICE", "user='alice' mech=EXTERNAL"),
        (["Alice"], "", "user='alice' mech=EXTERNAL"),
        (["alice", "bob"], "bob", "user='bob' mech=EXTERNAL"),
        (["admin"], "bob", "user='bob' master='admin' mech=EXTERNAL"),
        (["alice"], "bob", "login refused sid=SID user='bob (master alice)' rip=127.0.0.1 reason=UNKNOWN"),
        (["carol"], "", "reason=NO_LOGIN"),
        (["nobody"], "", "reason=UNKNOWN"),
        (["bob*admin"], "", "reason=UNKNOWN"),
    ],
)
def test_who_may_act_as_whom(place: Place, names: list[str], authorize_as: str, expected: str) -> None:
    """RFC 4422 A."""
    _, path = place.authority.client("somebody", [mail(name) for name in names])
    before = len(place.server.logged())
    with imap(place, path) as client:
        try:
            outcome = external(client, authorize_as)
        except imaplib.IMAP4.error:
            outcome = "NO"
    assert outcome == ("OK" if "mech=" in expected else "NO")
    assert expected in re.sub(r"sid=\S+", "sid=SID", place.server.logged()[before:])


def test_pop3(place: Place) -> None:
    _, path = place.authority.client("somebody", [mail("bob")])
    client = poplib.POP3_SSL("localhost", place.server.pop3s, context=context(place, path), timeout=TIMEOUT)
    assert "EXTERNAL" in client.capa()["SASL"]
    assert client._shortcmd("AUTH EXTERNAL =").startswith(b"+OK")
    client.quit()
    client = poplib.POP3("localhost", place.server.pop3, timeout=TIMEOUT)
    client.stls(context(place, path))
    assert client._shortcmd("AUTH EXTERNAL").startswith(b"+ ")
    assert client._shortcmd("").startswith(b"+OK")
    client.quit()


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(place: Place) -> None:
    _, path = place.authority.client("somebody", [mail("bob")])
    url = f"imaps://localhost:{place.server.imaps}/"
    command = [
        "curl",
        "-sS",
        "--cacert",
        str(place.server.cert),
        "--cert",
        str(path),
        "--login-options",
        "AUTH=EXTERNAL",
    ]
    done = subprocess.run([*command, "-u", "bob:", url], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert "INBOX" in done.stdout


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl(place: Place) -> None:
    _, path = place.authority.client("somebody", [mail("bob")])
    where = ["-connect", f"127.0.0.1:{place.server.imap}", "-starttls", "imap", "-crlf", "-quiet", "-ign_eof"]
    done = subprocess.run(
        ["openssl", "s_client", *where, "-cert", str(path), "-key", str(path)],
        input=b"a AUTHENTICATE EXTERNAL =\nb LOGOUT\n",
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert b"a OK" in done.stdout, done.stderr


def test_required_is_a_condition_of_the_connection(tmp_path: Path) -> None:
    """Also by an authority between the client's and the root, which the server alone trusts."""
    root = Authority(tmp_path, "root")
    middle, strangers = Authority(tmp_path, "middle", root), Authority(tmp_path, "strangers")
    settings = {"tls_client_certificate": "required", "client_ca_path": str(root.path), "client_certificate_user": "cn"}
    with greenmail.start(tmp_path, f"{tmp_path}/mail/%u", workers=1, **settings) as server:
        place = Place(server, root, strangers, tmp_path, tmp_path)
        with imap(place, middle.client("alice")[1]) as client:
            assert external(client) == "OK"
        for refused in (None, strangers.client("alice")[1]):
            with pytest.raises((OSError, imaplib.IMAP4.error)):
                imap(place, refused)
        logged = server.logged()
    assert "tls-failed protocol=imap rip=127.0.0.1 reason='peer did not return a certificate'" in logged
    assert "client-certificate refused rip=127.0.0.1 subject='CN=alice'" in logged
