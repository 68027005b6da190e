"""OAUTHBEARER and XOAUTH2: a real server, a real issuer over HTTP, clients that other people wrote."""

import base64
import imaplib
import json
import poplib
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imapclient
import pytest
from support import server as greenmail
from support.issuer import AUDIENCE, NAME, RSA, Issuer, basic, serving, token

TIMEOUT = 30
CLIENTS = {"OAUTHBEARER": "oauthbearer_login", "XOAUTH2": "oauth2_login"}


@dataclass
class Place:
    server: greenmail.Server
    issuer: Issuer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("oauth")
    (directory / "masters").write_text("admin:{PLAIN}master\n")
    with (
        serving() as issuer,
        greenmail.start(
            directory,
            f"{directory}/mail/%u",
            "alice:{PLAIN}secret\nlocked:*::::::nologin\nadmin:*\n",
            workers=1,
            log_level="trace",
            master_passwd_file=str(directory / "masters"),
            oauth_issuer=NAME,
            oauth_audience=AUDIENCE,
            oauth_openid_configuration=f"{issuer.url}/.well-known/openid-configuration",
            oauth_scope="imap",
            oauth_timeout=2,
            auth_failure_delay=0.01,
        ) as server,
    ):
        yield Place(server, issuer)


def trusting(server: greenmail.Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.cert))


def client_of(server: greenmail.Server) -> imapclient.IMAPClient:
    return imapclient.IMAPClient("localhost", server.imaps, ssl_context=trusting(server), timeout=TIMEOUT)


def raw(server: greenmail.Server) -> imaplib.IMAP4_SSL:
    return imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=trusting(server), timeout=TIMEOUT)


@pytest.mark.parametrize("mechanism", list(CLIENTS))
def test_imapclient(place: Place, mechanism: str) -> None:
    with client_of(place.server) as client:
        assert f"AUTH={mechanism}".encode() in client.capabilities()
        getattr(client, CLIENTS[mechanism])("alice", token())
        assert client.select_folder("INBOX")[b"EXISTS"] == 0
    assert re.search(rf"login sid=\S+ user='alice' mech={mechanism} rip=127.0.0.1", place.server.logged())
    assert place.issuer.asked[:2] == ["/.well-known/openid-configuration", "/keys"]


def test_nothing_is_offered_in_clear(place: Place) -> None:
    with imaplib.IMAP4("localhost", place.server.imap, timeout=TIMEOUT) as client:
        assert not {"AUTH=OAUTHBEARER", "AUTH=XOAUTH2"} & set(client.capabilities)
        with pytest.raises(imaplib.IMAP4.error, match="over TLS"):
            client.authenticate("OAUTHBEARER", lambda challenge: b"n,,\1auth=Bearer x\1\1")
        client.starttls(trusting(place.server))
        assert "AUTH=OAUTHBEARER" in client.capabilities


@pytest.mark.parametrize(
    "mechanism, user, changed, status, reason",
    [
        ("OAUTHBEARER", "alice", {"exp": 1}, "invalid_token", "the token has expired"),
        ("XOAUTH2", "alice", {"exp": 1}, "401", "the token has expired"),
        ("OAUTHBEARER", "alice", {"scope": "smtp"}, "insufficient_scope", "has not the scope imap"),
        ("XOAUTH2", "alice", {"scope": "smtp"}, "403", "has not the scope imap"),
        ("OAUTHBEARER", "", {"email": "nobody"}, "invalid_token", "reason=UNKNOWN"),
        ("OAUTHBEARER", "", {"email": "locked"}, "invalid_token", "reason=NO_LOGIN"),
        ("OAUTHBEARER", "alice", {"email": "locked"}, "invalid_token", "may not act as 'alice'"),
        ("OAUTHBEARER", "alice", {"email": "admin"}, "invalid_token", "may not act as 'alice'"),
        ("OAUTHBEARER", "", {"email": "alice*admin"}, "invalid_token", "reason=UNKNOWN"),
        ("OAUTHBEARER", "", {"email": "../alice"}, "invalid_token", "reason=INVALID_NAME"),
    ],
)
def test_errors(place: Place, mechanism: str, user: str, changed: dict[str, object], status: str, reason: str) -> None:
    """RFC 7628 3.2.2, 3.2.3: JSON, the client's empty answer, and then NO."""
    challenges = []
    sent = token(**changed)
    message = f"n,{f'a={user}' if user else ''},\1auth=Bearer {sent}\1\1"
    if mechanism == "XOAUTH2":
        message = f"user={user}\1auth=Bearer {sent}\1\1"

    def answer(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return message.encode() if len(challenges) == 1 else b"\1" if mechanism == "OAUTHBEARER" else b""

    before = len(place.server.logged())
    with raw(place.server) as client, pytest.raises(imaplib.IMAP4.error, match="is wrong"):
        client.authenticate(mechanism, answer)
    found = json.loads(challenges[1])
    assert (found["status"], found["scope"]) == (status, "imap")
    assert ("openid-configuration" in found) is (mechanism == "OAUTHBEARER")
    logged = place.server.logged()[before:]
    assert reason in logged
    assert f"method={mechanism}, rip=127.0.0.1" in logged  # the line for fail2ban


def test_a_client_that_cancels_after_the_error_was_counted_all_the_same(place: Place) -> None:
    before = len(place.server.logged())
    with raw(place.server) as client:
        message = base64.b64encode(b"n,a=alice,\1auth=Bearer x\1\1").decode()
        client.send(f"a AUTHENTICATE OAUTHBEARER {message}\r\n".encode())
        assert client.readline().startswith(b"+ ")
        client.send(b"*\r\n")
        assert client.readline().startswith(b"a NO ")
        client.send(b"b NOOP\r\n")
        assert client.readline().startswith(b"b OK")
    assert "user=<alice>, method=OAUTHBEARER" in place.server.logged()[before:]


def test_pop3(place: Place) -> None:
    client = poplib.POP3_SSL("localhost", place.server.pop3s, context=trusting(place.server), timeout=TIMEOUT)
    assert {"OAUTHBEARER", "XOAUTH2"} <= set(client.capa()["SASL"])
    bad = base64.b64encode(b"user=alice\1auth=Bearer x\1\1").decode()
    error = client._shortcmd(f"AUTH XOAUTH2 {bad}")
    assert json.loads(base64.b64decode(error[2:]))["status"] == "401"
    with pytest.raises(poplib.error_proto):
        client._shortcmd("")
    assert client._shortcmd("AUTH OAUTHBEARER").startswith(b"+ ")
    good = base64.b64encode(f"n,a=alice,\1auth=Bearer {token()}\1\1".encode()).decode()
    assert client._shortcmd(good).startswith(b"+OK")
    client.quit()


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("protocol", ["imaps", "pop3s"])
def test_curl(place: Place, protocol: str) -> None:
    port = getattr(place.server, protocol)
    command = ["curl", "-sS", "--cacert", str(place.server.cert), "-u", "alice", "--oauth2-bearer"]
    for sent, status in ((token(), 0), ("wrong", 67)):  # 67: login denied
        done = subprocess.run(
            [*command, sent, f"{protocol}://localhost:{port}/"], capture_output=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == status, done.stderr


def test_a_new_key_of_the_issuer_is_asked_for_and_a_long_token_fits(place: Place) -> None:
    with raw(place.server) as client:
        groups = [f"group-{number:04}" for number in range(400)]  # some issuers list all of them
        sent = token(groups=groups)
        assert len(sent) > 7000
        client.authenticate("OAUTHBEARER", lambda challenge: f"n,,\1auth=Bearer {sent}\1\1".encode())
    before = len(place.issuer.asked)
    for number in range(5):
        with raw(place.server) as client, pytest.raises(imaplib.IMAP4.error):
            sent = token(RSA, "RS256", f"made up {number}")
            client.authenticate("OAUTHBEARER", lambda challenge, sent=sent: f"n,,\1auth=Bearer {sent}\1\1".encode())
    assert len(place.issuer.asked) - before <= 2


def test_no_token_is_in_the_log_even_at_trace(place: Place) -> None:
    sent = [token(), token(exp=1), "not-a-jwt-at-all"]
    for one in sent:
        for mechanism in CLIENTS.values():
            with client_of(place.server) as client:
                try:
                    getattr(client, mechanism)("alice", one)
                except imapclient.exceptions.LoginError:
                    continue
        with raw(place.server) as client:  # where it is no command, and where it is none of the right form
            octets = base64.b64encode(f"n,,\1auth=Bearer {one}\1\1".encode()).decode()
            for line in (f"a AUTHENTICATE OAUTHBEARER {octets} more", f"b AUTHENTICATE OAUTHBEARER {octets[:-2]}!"):
                client.send(f"{line}\r\n".encode())
                assert client.readline()[2:5] == b"BAD"
        pop3 = poplib.POP3_SSL("localhost", place.server.pop3s, context=trusting(place.server), timeout=TIMEOUT)
        with pytest.raises(poplib.error_proto):
            pop3._shortcmd(f"AUTH OAUTHBEARER {octets} more")
        pop3.close()
    logged = place.server.logged() + place.server.scrape()
    for part in [piece for one in sent for piece in one.split(".")]:
        assert part not in logged
        for shift in range(3):  # in base64, wherever it begins
            assert base64.b64encode(b"x" * shift + part.encode()).decode()[4:-4] not in logged


def test_users_of_the_issuer_alone(tmp_path: Path) -> None:
    """No list of them here: every name that a good token has is a user's, and no password is right."""
    static = {"type": "static", "home": str(tmp_path / "mail" / "%n"), "allow-all-users": True}
    with (
        serving() as issuer,
        greenmail.start(
            tmp_path,
            "%h",
            workers=1,
            passwd_file="",
            auth=[static],
            oauth_issuer=NAME,
            oauth_audience=AUDIENCE,
            oauth_jwks_url=f"{issuer.url}/keys",
            auth_failure_delay=0.01,
        ) as server,
    ):
        with client_of(server) as client:
            client.oauthbearer_login("zoe", token(email="zoe"))
            client.append("INBOX", "Subject: x\r\n\r\n")
        with client_of(server) as client, pytest.raises(imapclient.exceptions.LoginError):
            client.login("zoe", "")
        assert (tmp_path / "mail" / "zoe" / "cur").is_dir()


def test_introspection_and_an_issuer_that_is_silent(tmp_path: Path) -> None:
    (tmp_path / "client-secret").write_text("hush\n")
    with (
        serving() as issuer,
        greenmail.start(
            tmp_path,
            f"{tmp_path}/mail/%u",
            workers=1,
            oauth_introspection_url=f"{issuer.url}/introspect",
            oauth_client_id="greenmail",
            oauth_client_secret_file=str(tmp_path / "client-secret"),
            oauth_user_claim="username",
            oauth_timeout=1,
            auth_failure_delay=0.01,
        ) as server,
    ):
        issuer.active["opaque"] = {"active": True, "username": "alice", "exp": time.time() + 60}
        for _ in range(3):
            with client_of(server) as client:
                client.oauthbearer_login("alice", "opaque")
        assert issuer.asked == ["/introspect"]
        assert issuer.authorization == basic("greenmail", "hush")
        with client_of(server) as client, pytest.raises(imapclient.exceptions.LoginError):
            client.oauthbearer_login("alice", "other")
        issuer.gate.clear()
        slow = threading.Thread(target=_fail, args=(server,))
        slow.start()
        with client_of(server) as client:  # a password is not kept waiting by it
            client.login("alice", "secret")
        slow.join(TIMEOUT)
        issuer.gate.set()
        logged = server.logged()
    assert "oauth-introspection reason='127.0.0.1 did not answer within 1 seconds'" in logged
    assert "reason=UNAVAILABLE" in logged
    assert "hush" not in logged


def _fail(server: greenmail.Server) -> None:
    with client_of(server) as client, pytest.raises(imapclient.exceptions.LoginError, match="try again later"):
        client.oauthbearer_login("alice", "silence")
