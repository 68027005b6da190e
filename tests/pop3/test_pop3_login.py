"""The AUTHORIZATION state: who may come in, over what, how often, and how long one may take. RFC 1939 4, RFC 2595 4."""

import base64
import logging
import re
from typing import Any

import pytest

from greenmail.auth.api import Denial, Denied
from greenmail.auth.logins import Patience
from greenmail.errors import Reason, StorageError

from .pop3_host import LOGIN, Host
from .pop3_talk import shown

PLAIN = base64.b64encode(b"\0alice\0secret")


# --- Login ------------------------------------------------------------------------------------------------------------

LOGINS: list[tuple[str, bytes, list[str]]] = [
    ("USER and PASS", LOGIN, ["+OK", "+OK"]),
    ("PASS first", b"PASS secret\r\n", ["-ERR"]),
    ("wrong password", b"USER alice\r\nPASS Secret\r\n", ["+OK", "-ERR [AUTH]"]),
    ("unknown user", b"USER nobody\r\nPASS secret\r\n", ["+OK", "-ERR [AUTH]"]),
    ("a failure forgets the name", b"USER alice\r\nPASS x\r\nPASS secret\r\n", ["+OK", "-ERR [AUTH]", "-ERR"]),
    ("UTF-8 in names and passwords, RFC 6856 2.2", "USER jörg\r\nPASS grün\r\n".encode(), ["+OK", "+OK"]),
    ("what is not UTF-8 is refused", b"USER j\xf6rg\r\nUSER alice\r\nPASS \xff\r\n", ["-ERR", "+OK", "-ERR"]),
    ("bare AUTH lists mechanisms", b"AUTH\r\n", ["+OK", "PLAIN", "LOGIN", "."]),
    ("AUTH with initial response, RFC 5034 6", b"AUTH PLAIN " + PLAIN + b"\r\n", ["+OK"]),
    ("AUTH with a challenge", b"auth plain\r\n" + PLAIN + b"\r\n", ["+ ", "+OK"]),
    ("AUTH LOGIN", b"AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n", ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "+OK"]),
    ("AUTH cancelled", b"AUTH PLAIN\r\n*\r\nAUTH PLAIN " + PLAIN + b"\r\n", ["+ ", "-ERR", "+OK"]),
    ("AUTH without base64", b"AUTH PLAIN =AAA\r\nAUTH PLAIN\r\n!\r\n", ["-ERR", "+ ", "-ERR"]),
    ("AUTH, empty initial response", b"AUTH PLAIN =\r\n", ["-ERR"]),
    ("AUTH with a wrong password", b"AUTH PLAIN " + base64.b64encode(b"\0alice\0x") + b"\r\n", ["-ERR [AUTH]"]),
    ("AUTH of what is not offered", b"AUTH CRAM-MD5\r\nAUTH SCRAM-SHA-1\r\n", ["-ERR [AUTH]", "-ERR [AUTH]"]),
    ("nothing else before login", b"STAT\r\nLIST\r\nRETR 1\r\nNOOP\r\nDELE 1\r\nRSET\r\nUIDL\r\nTOP 1 1\r\n",
     ["-ERR"] * 8),
    ("QUIT", b"QUIT\r\n", ["+OK"]),
]  # fmt: skip


@pytest.mark.parametrize("sent, expected", [talk[1:] for talk in LOGINS], ids=[talk[0] for talk in LOGINS])
def test_authorization(sent: bytes, expected: list[str]) -> None:
    host = Host(patience=Patience(auth_failure_delay=0.0))
    assert shown(host.talk(host.connect(), sent)) == expected


@pytest.mark.parametrize(
    "sent", [b"USER alice\r\n", b"PASS secret\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"AUTH PLAIN\r\n"]
)
def test_no_password_in_clear(sent: bytes) -> None:
    """RFC 3206 5; and the password is not looked at."""
    host = Host()
    assert shown(host.talk(host.connect(secure=False), sent)) == ["-ERR [AUTH]"]
    assert host.users.attempts == []


def test_a_trusted_network_counts_as_tls() -> None:
    host = Host()
    wire = host.connect(secure=False)
    wire.trusted = True
    assert shown(host.talk(wire, LOGIN)) == ["+OK", "+OK"]
    assert not host.users.attempts[0].secure


def capabilities(host: Host, wire: Any) -> set[str]:
    lines = shown(host.talk(wire, b"CAPA\r\n"))
    assert (lines[0], lines[-1]) == ("+OK", ".")
    return set(lines[1:-1])


def test_capa_differs_before_and_after_tls_and_login() -> None:
    host = Host()
    wire = host.connect(secure=False)
    always = {"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LANG"}
    assert capabilities(host, wire) == always | {"STLS"}
    assert shown(host.talk(wire, b"AUTH\r\n")) == ["+OK", "."]
    assert shown(host.talk(wire, b"STLS\r\n")) == ["+OK"]
    assert capabilities(host, wire) == always | {"USER", "SASL PLAIN LOGIN"}
    host.talk(wire, LOGIN)
    after = capabilities(host, wire)
    assert after - always - {"USER", "SASL PLAIN LOGIN"} == {next(name for name in after if "IMPLEMENTATION" in name)}


def test_texts_in_the_language_that_was_asked_for() -> None:
    """RFC 6856 3.2: from the answer to LANG on, in UTF-8, behind +OK and -ERR and their codes; figures are figures."""
    host = Host()
    wire = host.connect()
    assert host.talk(wire, b"LANG\r\n").decode() == "+OK Language listing follows\r\nen English\r\nde Deutsch\r\n.\r\n"
    assert host.talk(wire, b"LANG de-AT\r\n") == b"+OK de Das wird hier gesprochen\r\n"
    assert host.talk(wire, b"LANG fr\r\n") == b"-ERR Diese Sprache wird hier nicht gesprochen\r\n"
    assert host.talk(wire, b"STAT\r\n") == b"-ERR melden Sie sich zuerst an\r\n"
    assert host.talk(wire, b"LANG\r\n").startswith(b"+OK Es folgen die Sprachen\r\n")
    host.talk(wire, LOGIN)
    assert host.talk(wire, b"STAT\r\n").startswith(b"+OK 3 ")
    assert host.talk(wire, b"RETR 9\r\n") == b"-ERR Diese Nachricht gibt es nicht, es sind 3\r\n"
    assert host.talk(wire, b"LANG *\r\n").startswith(b"+OK en ")
    assert host.talk(wire, b"RETR 9\r\n").startswith(b"-ERR no such message")


def test_nothing_sent_ahead_of_the_handshake_counts() -> None:
    host = Host()
    wire = host.connect(secure=False)
    assert shown(host.talk(wire, b"STLS\r\nUSER alice\r\nPASS secret\r\nCAPA\r\n")) == ["+OK"]
    assert shown(host.talk(wire, b"PASS secret\r\n")) == ["-ERR"]
    assert shown(host.talk(wire, b"STLS\r\n")) == ["-ERR"]


def test_stls_after_utf8_is_refused() -> None:
    host = Host(utf8_accept=True)
    assert shown(host.talk(host.connect(secure=False), b"UTF8\r\nSTLS\r\nUTF8 x\r\n")) == ["+OK", "-ERR", "-ERR"]


def test_failures_are_slow_and_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    wire = host.connect()
    began = host.scheduler.clock.now()
    answer = host.talk(wire, b"USER alice\r\nPASS x\r\n" * 5)
    assert shown(answer) == ["+OK", "-ERR [AUTH]"] * 3
    assert wire.closed
    assert host.scheduler.clock.now() - began == 6.0
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 3
    # fail2ban's stock filter `dovecot` looks for this.
    assert re.match(
        r"pop3-login: Disconnected \(auth failed, 3 attempts in 4 secs\): user=<alice>, method=USER, rip=192\.0\.2\.7",
        lines[-1],
    )
    assert "secret" not in caplog.text


def test_a_database_that_is_away_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(host.users, "check", lambda attempt: Denied(Denial.UNAVAILABLE, "alice", "away"))
    wire = host.connect()
    assert shown(host.talk(wire, LOGIN * 4)) == ["+OK", "-ERR [SYS/TEMP]"] * 4
    assert not wire.closed


def test_too_many_connections_of_one_user() -> None:
    host = Host()
    host.seats.most = 0
    wire = host.connect()
    assert shown(host.talk(wire, LOGIN)) == ["+OK", "-ERR [SYS/TEMP]"]
    host.seats.most = 1
    assert shown(host.talk(wire, LOGIN + b"QUIT\r\n")) == ["+OK", "+OK", "+OK"]
    assert host.seats.entries == []


# ---- what is held, and for how long ----


def test_before_login_a_whole_line_must_come_in_time() -> None:
    """A client that drips octets must not hold a connection for ever."""
    host = Host(timeout_anonymous=60.0)
    wire = host.connect()
    for _ in range(6):
        assert not wire.closed
        wire.feed(b"U")
        host.scheduler.run()
        host.scheduler.clock.advance(10)
        host.scheduler.run()
    assert wire.closed


def test_octets_that_come_without_a_pause_are_not_taken_beyond_that_time() -> None:
    host = Host(timeout_anonymous=60.0)
    wire = host.connect()
    wire.feed(b"U")
    host.scheduler.run()
    host.scheduler.clock.advance(61)
    assert host.talk(wire, b"S") == b""
    assert host.talk(wire, b"ER alice\r\n") == b""
    assert wire.closed


def test_before_login_every_command_has_its_time() -> None:
    host = Host(timeout_anonymous=60.0)
    wire = host.connect()
    for _ in range(5):
        host.scheduler.clock.advance(40)
        assert host.talk(wire, b"CAPA\r\n").startswith(b"+OK")
    assert not wire.closed


def test_the_drip_of_a_sasl_response_counts_too() -> None:
    host = Host(timeout_anonymous=60.0)
    wire = host.connect()
    assert host.talk(wire, b"AUTH PLAIN\r\n").startswith(b"+ ")
    for _ in range(8):
        wire.feed(b"A")
        host.scheduler.run()
        host.scheduler.clock.advance(10)
        host.scheduler.run()
    assert wire.closed


def test_after_login_the_time_counts_from_the_last_octets() -> None:
    host = Host(timeout_anonymous=60.0, timeout_pop3=600.0)
    wire = host.login()
    host.scheduler.clock.advance(599)
    assert host.talk(wire, b"NOOP\r\n").startswith(b"+OK")


class Broken:
    """A store or lock that cannot even be given back."""

    def __init__(self, real: Any, *names: str) -> None:
        self._real, self._names = real, names

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            return self._fail
        return getattr(self._real, name)

    def _fail(self, *args: Any) -> None:
        raise StorageError(Reason.UNAVAILABLE, "input/output error")


def test_the_seat_is_given_back_whatever_fails() -> None:
    host = Host()
    wire = host.login()
    session = host.sessions[0]
    assert session.maildrop is not None
    session.maildrop._held = Broken(session.maildrop._held, "release")  # type: ignore[assignment] # fails in its place
    session.account = Broken(session.account, "close")  # type: ignore[assignment] # the same
    answer = host.talk(wire, b"QUIT\r\n")
    assert answer.startswith(b"-ERR [SYS/TEMP]")
    assert wire.closed
    assert not host.seats.entries


def test_why_an_account_was_not_opened_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told; at three in the morning the administrator wants to know, too."""
    host = Host()
    host.account = Broken(host.account, "open")
    wire = host.connect()
    assert host.talk(wire, LOGIN).split(b"\r\n")[1].startswith(b"-ERR [SYS/TEMP]")
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("user='alice'" in line and "input/output error" in line for line in lines), lines


def test_a_lock_that_is_just_being_given_back_is_waited_for() -> None:
    """The lock file of a killed process is broken by the first look, and free at the second."""
    host = Host()
    tried: list[float] = []

    def lock() -> Any:
        tried.append(host.scheduler.clock.now())
        if len(tried) == 1:
            raise StorageError(Reason.IN_USE, "locked")
        return real()

    opened = host.account.open("INBOX")
    real = opened.lock_maildrop
    opened.lock_maildrop = lock
    host.account = Broken(host.account)
    host.account.open = lambda name: opened
    wire = host.connect()
    wire.feed(LOGIN)
    host.scheduler.run()
    host.scheduler.clock.advance(1)
    host.scheduler.run()
    assert wire.take().split(b"\r\n")[1].startswith(b"+OK")
    assert len(tried) == 2
