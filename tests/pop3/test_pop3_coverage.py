"""Each command, argument, capability and response code of the RFCs by its name, for `tests/rfc_coverage.toml`.

What surprising clients do is in `test_pop3_session.py`; this is one plain good and one plain bad case of each.
"""

import base64

import pytest
from harness.engine import remove

from greenmail.auth.logins import Patience

from .pop3_host import LOGIN, Host

PLAIN = base64.b64encode(b"\0alice\0secret")

# Beginnings of the lines that are answered; "*" stands for any lines up to the next that is expected.
AUTHORIZATION: list[tuple[str, bytes, list[str]]] = [
    ("USER", b"USER alice\r\n", ["+OK"]),
    ("USER bad", b"USER\r\nUSER \r\nUSERalice\r\n", ["-ERR", "-ERR", "-ERR"]),
    ("PASS", b"USER alice\r\nPASS secret\r\n", ["+OK", "+OK"]),
    ("PASS bad", b"PASS secret\r\nUSER alice\r\nPASS wrong\r\n", ["-ERR", "+OK", "-ERR [AUTH]"]),
    ("APOP bad", b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n", ["-ERR"]),
    ("QUIT before login", b"QUIT\r\n", ["+OK"]),
    ("AUTH", b"AUTH PLAIN\r\n" + PLAIN + b"\r\n", ["+ ", "+OK"]),
    ("AUTH bad", b"AUTH NONSENSE\r\nAUTH PLAIN a b\r\n", ["-ERR", "-ERR"]),
    ("AUTH initial-response", b"AUTH PLAIN " + PLAIN + b"\r\n", ["+OK"]),
    ("AUTH initial-response bad", b"AUTH PLAIN !\r\n", ["-ERR"]),
    ("= bad", b"AUTH PLAIN =\r\n", ["-ERR"]),
    ("* cancels", b"AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\nYWxpY2U=\r\n*\r\n", ["+ ", "-ERR", "+ ", "+ ", "-ERR"]),
    ("CAPA before login", b"CAPA\r\n", ["+OK", "*", "."]),
    ("CAPA bad", b"CAPA x\r\n", ["-ERR"]),
    ("TOP capability", b"CAPA\r\n", ["+OK", "*", "TOP", "*", "."]),
    ("USER capability", b"CAPA\r\n", ["+OK", "*", "USER", "*", "."]),
    ("SASL capability", b"CAPA\r\n", ["+OK", "*", "SASL PLAIN LOGIN", "*", "."]),
    ("RESP-CODES capability", b"CAPA\r\n", ["+OK", "*", "RESP-CODES", "*", "."]),
    ("AUTH-RESP-CODE capability", b"CAPA\r\n", ["+OK", "*", "AUTH-RESP-CODE", "*", "."]),
    ("PIPELINING capability", b"CAPA\r\nNOOP\r\nQUIT\r\n", ["+OK", "*", "PIPELINING", "*", ".", "-ERR", "+OK"]),
    ("EXPIRE capability", b"CAPA\r\n", ["+OK", "*", "EXPIRE NEVER", "*", "."]),
    ("UIDL capability", b"CAPA\r\n", ["+OK", "*", "UIDL", "*", "."]),
    ("UTF8 capability", b"CAPA\r\n", ["+OK", "*", "UTF8", "*", "."]),
    ("UTF8 USER argument", b"CAPA\r\n", ["+OK", "*", "UTF8 USER", "*", "."]),
    ("UTF8", b"UTF8\r\nUTF8\r\n", ["+OK", "+OK"]),
    ("UTF8 bad", b"UTF8 now\r\n" + LOGIN + b"UTF8\r\n", ["-ERR", "+OK", "+OK", "-ERR"]),
    ("LANG capability", b"CAPA\r\n", ["+OK", "*", "LANG", "*", "."]),
    ("LANG", b"LANG\r\nLANG EN\r\nLANG *\r\n", ["+OK", "en English", "de Deutsch", ".", "+OK en ", "+OK en "]),
    ("LANG bad", b"LANG MUL\r\nLANG e_n\r\nLANG e\r\nLANG en de\r\n", ["-ERR"] * 4),
]

TRANSACTION: list[tuple[str, bytes, list[str]]] = [
    ("STAT", b"STAT\r\n", ["+OK 3 94"]),
    ("STAT bad", b"STAT 1\r\n", ["-ERR"]),
    ("LIST", b"LIST\r\n", ["+OK", "1 23", "2 35", "3 36", "."]),
    ("LIST msg", b"LIST 2\r\n", ["+OK 2 35"]),
    ("LIST msg bad", b"LIST 4\r\nLIST 0\r\nLIST -1\r\nLIST x\r\nLIST 1 2\r\n", ["-ERR"] * 5),
    ("RETR msg", b"RETR 1\r\n", ["+OK", "Subject: one", "", "first", "."]),
    ("RETR msg bad", b"RETR\r\nRETR 4\r\nRETR one\r\n", ["-ERR"] * 3),
    ("DELE msg", b"DELE 2\r\nSTAT\r\n", ["+OK", "+OK 2 59"]),
    ("DELE msg bad", b"DELE\r\nDELE 2\r\nDELE 2\r\n", ["-ERR", "+OK", "-ERR"]),
    ("NOOP", b"NOOP\r\n", ["+OK"]),
    ("NOOP bad", b"NOOP x\r\n", ["-ERR"]),
    ("RSET", b"DELE 1\r\nRSET\r\nSTAT\r\n", ["+OK", "+OK", "+OK 3 94"]),
    ("RSET bad", b"RSET 1\r\n", ["-ERR"]),
    ("TOP msg n", b"TOP 3 1\r\n", ["+OK", "Subject: three", "X: y", "", "1", "."]),
    ("TOP msg n bad", b"TOP 3\r\nTOP 4 1\r\nTOP 1 -1\r\nTOP\r\n", ["-ERR"] * 4),
    ("UIDL", b"UIDL\r\n", ["+OK", "1 ", "2 ", "3 ", "."]),
    ("UIDL msg", b"UIDL 3\r\n", ["+OK 3 "]),
    ("UIDL msg bad", b"UIDL 4\r\nUIDL x\r\nUIDL 1 2\r\n", ["-ERR"] * 3),
    ("QUIT", b"DELE 1\r\nQUIT\r\n", ["+OK", "+OK"]),
    ("QUIT bad", b"QUIT now\r\nSTAT\r\n", ["-ERR", "+OK"]),
    ("CAPA after login", b"CAPA\r\n", ["+OK", "*", "."]),
    ("IMPLEMENTATION capability", b"CAPA\r\n", ["+OK", "*", "IMPLEMENTATION GreenMail", "*", "."]),
    ("+OK reply and -ERR reply", b"NOOP\r\nNONSENSE\r\n", ["+OK", "-ERR"]),
]


def check(answer: bytes, expected: list[str]) -> None:
    lines = answer.decode("ascii").removesuffix("\r\n").split("\r\n")
    skipping = False
    for beginning in expected:
        if beginning == "*":
            skipping = True
            continue
        while skipping and lines and not lines[0].startswith(beginning):
            lines.pop(0)
        assert lines, f"{beginning!r} is missing in {answer!r}"
        line = lines.pop(0)
        assert line.startswith(beginning) if beginning not in ("", ".") else line == beginning, answer
        skipping = False
    assert lines == []


@pytest.mark.parametrize(
    "sent, expected", [talk[1:] for talk in AUTHORIZATION], ids=[talk[0] for talk in AUTHORIZATION]
)
def test_authorization_state(sent: bytes, expected: list[str]) -> None:
    host = Host(patience=Patience(auth_failure_delay=0.0), utf8_accept=True)
    check(host.talk(host.connect(), sent), expected)


@pytest.mark.parametrize("sent, expected", [talk[1:] for talk in TRANSACTION], ids=[talk[0] for talk in TRANSACTION])
def test_transaction_state(sent: bytes, expected: list[str]) -> None:
    host = Host()
    check(host.talk(host.login(), sent), expected)


def test_stls() -> None:
    """RFC 2595 4: STLS is told while it is possible; TLS begins behind the response; not twice, not after login."""
    host = Host()
    wire = host.connect(secure=False)
    check(host.talk(wire, b"CAPA\r\n"), ["+OK", "*", "STLS", "*", "."])
    check(host.talk(wire, b"STLS x\r\n"), ["-ERR"])
    check(host.talk(wire, b"STLS\r\n"), ["+OK"])
    assert wire.secure
    assert b"STLS" not in host.talk(wire, b"CAPA\r\n")
    check(host.talk(wire, b"STLS\r\n"), ["-ERR"])
    check(host.talk(wire, LOGIN + b"STLS\r\n"), ["+OK", "+OK", "-ERR"])


def test_login_delay() -> None:
    """RFC 2449 6.5, 8.1.1: told in CAPA, before login too; who comes too soon is told so once the password is right."""
    host = Host(pop3_login_delay=60, patience=Patience(auth_failure_delay=0.0))
    check(host.talk(host.connect(), b"CAPA\r\n"), ["+OK", "*", "LOGIN-DELAY 60", "*", "."])
    check(host.talk(host.login(), b"QUIT\r\n"), ["+OK"])
    host.seats.wait = 12.3
    wire = host.connect()
    check(host.talk(wire, b"USER alice\r\nPASS wrong\r\n"), ["+OK", "-ERR [AUTH]"])
    check(host.talk(wire, LOGIN), ["+OK", "-ERR [LOGIN-DELAY] you were here just now, please wait 13 seconds"])
    assert host.seats.entries == []
    host.seats.wait = 0.0
    check(host.talk(wire, LOGIN), ["+OK", "+OK"])
    assert host.seats.polls == [("alice", 60)] * 3


def test_login_delay_does_not_begin_with_a_login_that_failed() -> None:
    """RFC 2449 6.5: it is counted from a "+OK"."""
    host = Host(pop3_login_delay=60)
    first = host.login()
    check(host.talk(host.connect(), LOGIN), ["+OK", "-ERR [IN-USE]"])
    assert host.seats.polls == [("alice", 60)]
    check(host.talk(first, b"QUIT\r\n"), ["+OK"])


def test_login_delay_is_not_told_where_there_is_none() -> None:
    host = Host()
    assert b"LOGIN-DELAY" not in host.talk(host.connect(), b"CAPA\r\n")
    host.login()
    assert host.seats.polls == []


def test_in_use() -> None:
    """RFC 2449 8.1.2: IN-USE, while another session has the maildrop."""
    host = Host()
    host.login()
    check(host.talk(host.connect(), LOGIN), ["+OK", "-ERR [IN-USE]"])


def test_sys_temp() -> None:
    """RFC 3206 4: SYS/TEMP, where trying again later may help."""
    host = Host()
    host.seats.most = 0
    check(host.talk(host.connect(), LOGIN), ["+OK", "-ERR [SYS/TEMP]"])


def test_sys_perm() -> None:
    """RFC 3206 4: SYS/PERM, where trying again will not help: RETR of a message that is not there any more."""
    host = Host()
    wire = host.login()
    remove(host.account, "INBOX", [host.uids()[1]])
    check(host.talk(wire, b"RETR 2\r\nRETR 3\r\nSTAT\r\n"), ["-ERR [SYS/PERM]", "+OK", "*", ".", "+OK 3 94"])


def test_auth_code() -> None:
    """RFC 3206 5: AUTH, for what is wrong with the credentials; not for what is wrong with the command."""
    host = Host(patience=Patience(auth_failure_delay=0.0))
    check(host.talk(host.connect(), b"USER alice\r\nPASS x\r\n"), ["+OK", "-ERR [AUTH]"])
    assert not host.talk(host.connect(), b"PASS secret\r\n").startswith(b"-ERR [AUTH]")
