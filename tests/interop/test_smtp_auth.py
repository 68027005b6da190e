"""A real Postfix that asks GreenMail about SMTP AUTH, set up as docs/postfix.md says."""

import re
import smtplib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import dovecot, postfix
from support import server as greenmail
from support.interop_site import make_box
from support.wire_client import unverified

pytestmark = [pytest.mark.interop]
PAGE = Path(__file__).parent.parent.parent / "docs/postfix.md"
ELSEWHERE = "bob@elsewhere.test"
LETTER = "From: alice@example.com\r\nTo: bob@elsewhere.test\r\nSubject: sent\r\n\r\nhello\r\n"


def documented() -> str:
    """The lines for main.cf of docs/postfix.md."""
    text = PAGE.read_text(encoding="utf-8").partition("## SMTP AUTH")[2]
    lines = [line.strip() for line in text.splitlines() if re.match(" +smtpd_", line)]
    assert any("smtpd_sasl_type = dovecot" in line for line in lines)
    return "\n".join(lines) + "\n"


@dataclass
class Sending:
    """Both servers."""

    mta: postfix.Postfix
    server: greenmail.Server
    maildir: Path

    def connect(self) -> smtplib.SMTP:
        smtp = smtplib.SMTP("127.0.0.1", self.mta.smtp, timeout=30, source_address=("127.0.0.7", 0))
        smtp.starttls(context=unverified())
        smtp.ehlo()
        return smtp


@pytest.fixture(scope="module")
def sending() -> Iterator[Sending]:
    """Directly below /tmp: Postfix must be able to reach the socket, and pytest keeps its own directories shut."""
    with tempfile.TemporaryDirectory(prefix="greenmail-smtp-", dir="/tmp") as made:
        place = Path(made)
        place.chmod(0o755)
        maildir = place / "Maildir"
        make_box(maildir)
        dovecot.give(maildir)
        path = place / "auth"
        with greenmail.start(
            place / "run", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER, run_path=str(place / "sockets"),
            auth_socket=str(path), auth_socket_user="postfix", auth_socket_group="postfix",
            auth_failure_delay=0.1, auth_penalty_exempt=["127.0.0.0/8"],
        ) as server:  # fmt: skip
            settings = documented().replace("private/auth", str(path))
            settings += f"smtpd_tls_cert_file = {server.cert}\nsmtpd_tls_key_file = {server.cert.with_suffix('.key')}\n"
            settings += "mynetworks = 127.0.0.99/32\n"
            with postfix.start(maildir, dovecot.OWNER, settings) as mta:
                yield Sending(mta, server, maildir)


def test_who_proves_to_be_alice_may_send(sending: Sending) -> None:
    with sending.connect() as smtp:
        assert "PLAIN" in smtp.esmtp_features["auth"] and "LOGIN" in smtp.esmtp_features["auth"]
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.com", [ELSEWHERE], LETTER)
    assert re.search(r"login .*user='alice'.*rip=127\.0\.0\.7 .*service=smtp", sending.server.logged())
    assert "sasl_username=alice" in sending.mta.logged()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_mechanism(sending: Sending, mechanism: str) -> None:
    with sending.connect() as smtp:
        if mechanism not in smtp.esmtp_features["auth"].split():
            assert mechanism == "CRAM-MD5"  # off by default
            return
        smtp.user, smtp.password = "alice", "secret"
        assert smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower().replace("-", "_")))[0] == 235


def test_a_wrong_password_may_not(sending: Sending) -> None:
    with sending.connect() as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login("alice", "wrong")
        assert caught.value.smtp_code == 535
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("alice@example.com", [ELSEWHERE], LETTER)
    assert "smtp-login: Disconnected (auth failed, 1 attempts" in sending.server.logged()


def test_without_tls_no_mechanism_is_offered(sending: Sending) -> None:
    with smtplib.SMTP("127.0.0.1", sending.mta.smtp, timeout=30, source_address=("127.0.0.7", 0)) as smtp:
        smtp.ehlo()
        assert "auth" not in smtp.esmtp_features


def test_a_program_that_asks_and_does_not_read_waits(sending: Sending) -> None:
    """It cannot send more than there is room for: each question that is not read costs memory here."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(sending.server.settings["auth-socket"]))
        raw.sendall(b"VERSION\t1\t1\nCPID\t1\n")
        raw.settimeout(2)
        line = b"AUTH\t%d\tNONE\tservice=smtp\tsecured\n"
        with pytest.raises(TimeoutError):
            for number in range(1, 400_000):
                raw.sendall(line % number)


def test_many_lines_at_once_and_nonsense(sending: Sending) -> None:
    path = str(sending.server.settings["auth-socket"])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(path)
        lines = raw.makefile("rb")
        while lines.readline() != b"DONE\n":
            pass
        request = b"\tPLAIN\tservice=smtp\tsecured\trip=127.0.0.8\tresp=AGFsaWNlAHNlY3JldA==\n"
        raw.sendall(b"VERSION\t1\t1\nCPID\t1\n" + b"".join(b"AUTH\t%d" % number + request for number in range(1, 31)))
        answers = {lines.readline() for _ in range(30)}
        assert answers == {b"OK\t%d\tuser=alice\n" % number for number in range(1, 31)}
        raw.sendall(b"EHLO example.org\n")
        assert lines.readline() == b""
    assert "auth-socket closed reason=" in sending.server.logged()
