"""Whole conversations, in memory. What a client sends stands beside everything the server answers."""

import base64
import logging
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.auth.api import Denial, Denied
from greenmail.auth.logins import Patience
from greenmail.errors import Reason, StorageError
from greenmail.storage.api import DELETED, SEEN, FlagAction, FlagChange, MaildropItem

from .pop3_host import LOGIN, MAIL, Host

PLAIN = base64.b64encode(b"\0alice\0secret")


def shown(answer: bytes) -> list[str]:
    """Status lines without their texts, and all other lines, so that texts may change."""
    lines = []
    for line in answer.decode("latin-1").removesuffix("\r\n").split("\r\n"):
        status = re.match(r"(\+OK|-ERR(?: \[[A-Z/-]+\])?)( .*)?$", line)
        lines.append(status[1] if status else line)
    return lines


TALKS: list[tuple[str, bytes, list[str]]] = [
    ("RFC 1939 10", b"STAT\r\nLIST\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n",
     ["+OK", "+OK", "1 23", "2 35", "3 36", ".", "+OK", "Subject: one", "", "first", ".", "+OK", "+OK"]),
    ("dots are doubled, a last line is ended", b"RETR 2\r\n",
     ["+OK", "Subject: two", "", "..", "...dots", "..x", "last", "."]),
    ("LIST and UIDL of one", b"LIST 2\r\nUIDL 2\r\nLIST 4\r\nLIST 0\r\nUIDL x\r\nLIST 99999999999\r\nlist 01\r\n",
     ["+OK", "+OK", "-ERR", "-ERR", "-ERR", "-ERR", "+OK"]),
    ("UIDL is Dovecot's", b"UIDL\r\n",
     ["+OK", "000000016b02c396", "000000026b02c396", "000000036b02c396", "."]),
    ("after DELE numbers stay", b"DELE 1\r\nLIST\r\nUIDL\r\nSTAT\r\nLIST 1\r\nRETR 1\r\nTOP 1 0\r\nDELE 1\r\n",
     ["+OK", "+OK", "2 35", "3 36", ".", "+OK", "000000026b02c396", "000000036b02c396", ".", "+OK",
      "-ERR", "-ERR", "-ERR", "-ERR"]),
    ("RSET", b"DELE 1\r\nDELE 3\r\nRSET\r\nLIST\r\n", ["+OK", "+OK", "+OK", "+OK", "1 23", "2 35", "3 36", "."]),
    ("TOP without lines", b"TOP 3 0\r\n", ["+OK", "Subject: three", "X: y", "", "."]),
    ("TOP with some", b"TOP 3 2\r\n", ["+OK", "Subject: three", "X: y", "", "1", "2", "."]),
    ("TOP with more than there are", b"TOP 2 9999999999\r\n",
     ["+OK", "Subject: two", "", "..", "...dots", "..x", "last", "."]),
    ("TOP of wrong things", b"TOP 3\r\nTOP 4 1\r\nTOP 3 -1\r\nTOP 3 1 1\r\n", ["-ERR", "-ERR", "-ERR", "-ERR"]),
    ("wrong numbers of arguments", b"STAT 1\r\nRETR\r\nRETR 1 2\r\nDELE\r\nNOOP x\r\n", ["-ERR"] * 5),
    ("not in this state", b"USER alice\r\nPASS secret\r\nAUTH PLAIN\r\nSTLS\r\nUTF8\r\nLAST\r\nAPOP x\r\nXTND\r\n\r\n",
     ["-ERR"] * 9),
    ("any case, spaces at the end", b"noop\r\nNoOp \r\nrEtR 1 \r\n",
     ["+OK", "+OK", "+OK", "Subject: one", "", "first", "."]),
]  # fmt: skip


@pytest.mark.parametrize("sent, expected", [talk[1:] for talk in TALKS], ids=[talk[0] for talk in TALKS])
@pytest.mark.parametrize("chunk", [65536, 1])
def test_transaction(sent: bytes, expected: list[str], chunk: int) -> None:
    """Every talk pipelined in one packet (RFC 2449 6.6), and octet by octet."""
    host = Host()
    wire = host.connect(chunk=chunk)
    host.talk(wire, LOGIN)
    answer = [line.split(" ")[-1] if "6b02c396" in line else line for line in shown(host.talk(wire, sent))]
    assert answer == expected


def test_figures_of_stat_and_list() -> None:
    host = Host()
    wire = host.login()
    assert host.talk(wire, b"STAT\r\n") == b"+OK 3 94\r\n"
    assert host.talk(wire, b"DELE 2\r\nSTAT\r\nLIST 3\r\n").split(b"\r\n")[1:3] == [b"+OK 2 59", b"+OK 3 36"]
    assert host.talk(wire, b"UIDL 3\r\n") == b"+OK 3 000000036b02c396\r\n"


def test_sizes_are_octets_before_dots_are_doubled() -> None:
    mail = [*MAIL, b"lf\n\nonly\n", b"x", b"", b".\r\n" * 50000, b"a\rb\r\n\r\n" + b"." * 70000]
    host = Host(mail)
    wire = host.login()
    sizes = [int(line.split()[1]) for line in host.talk(wire, b"LIST\r\n").split(b"\r\n")[1:-2]]
    for number, size in enumerate(sizes, 1):
        answer = host.talk(wire, b"RETR %d\r\n" % number)
        assert answer.startswith(b"+OK %d octets\r\n" % size)
        body = answer.partition(b"\r\n")[2]
        assert body.endswith(b".\r\n")
        text = (b"\r\n" + body[:-3]).replace(b"\r\n.", b"\r\n")[2:]
        assert text in (host.inbox.content(number).read(), host.inbox.content(number).read() + b"\r\n")
        assert size == len(host.inbox.content(number).read())


@pytest.mark.parametrize(
    "data, lines, sent",
    [
        (b"\r\nno header\r\n", 0, b"\r\n"),
        (b"A: only a header\r\n", 5, b"A: only a header\r\n"),
        (b"A: " + b"b" * 70000 + b"\r\n\r\nx\r\ny\r\n", 1, b"A: " + b"b" * 70000 + b"\r\n\r\nx\r\n"),
        (b"A: " + b"b" * 8186 + b"\r\n\r\nx\r\ny\r\n", 0, b"A: " + b"b" * 8186 + b"\r\n\r\n"),  # the end is cut
        (b"\r\n" + b"line\r\n" * 30000, 20000, b"\r\n" + b"line\r\n" * 20000),
        (b"", 3, b""),
    ],
)
def test_top_of_odd_messages(data: bytes, lines: int, sent: bytes) -> None:
    host = Host([data])
    answer = host.talk(host.login(), b"TOP 1 %d\r\n" % lines)
    assert answer.partition(b"\r\n")[2] == sent + b".\r\n"


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


# --- One session a maildrop ------------------------------------------------------------------------------------------


def test_the_maildrop_is_for_one_session() -> None:
    """RFC 1939 4, RFC 2449 8.1.2."""
    host = Host()
    first, second = host.login(), host.connect()
    assert shown(host.talk(second, LOGIN)) == ["+OK", "-ERR [IN-USE]"]
    assert len(host.seats.entries) == 1
    assert shown(host.talk(first, b"QUIT\r\n")) == ["+OK"]
    assert shown(host.talk(second, LOGIN)) == ["+OK", "+OK"]


@pytest.mark.parametrize("how", ["hang up", "timeout", "no reader", "bad commands"])
def test_without_quit_nothing_is_removed_and_the_lock_is_free(how: str) -> None:
    host = Host()
    wire = host.login()
    host.talk(wire, b"RETR 1\r\nDELE 1\r\nDELE 2\r\n")
    if how == "hang up":
        wire.hang_up()
    elif how == "timeout":
        host.scheduler.clock.advance(599)
        host.scheduler.run()
        assert not wire.closed
        host.scheduler.clock.advance(2)
    elif how == "no reader":
        wire.refuses_writes = True
        wire.feed(b"NOOP\r\n")
    else:
        wire.feed(b"nonsense\r\n" * 20)
    host.scheduler.run()
    assert wire.closed
    if how == "timeout":
        assert wire.take() == b""  # RFC 1939 3: without a word
    assert host.uids() == [1, 2, 3]
    assert host.flags(1) == host.flags(2) == frozenset()
    assert host.seats.entries == []
    host.login()


def test_anonymous_clients_have_less_time() -> None:
    host = Host()
    wire = host.connect()
    host.scheduler.clock.advance(61)
    host.scheduler.run()
    assert wire.closed


def test_an_error_while_opening_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()

    def broken() -> list[MaildropItem]:
        raise StorageError(Reason.UNAVAILABLE, "input/output error")

    monkeypatch.setattr(host.inbox, "maildrop", broken)
    wire = host.connect()
    assert shown(host.talk(wire, LOGIN)) == ["+OK", "-ERR [SYS/TEMP]"]
    assert host.seats.entries == []
    monkeypatch.undo()
    assert shown(host.talk(wire, LOGIN)) == ["+OK", "+OK"]


def test_a_unique_id_format_that_cannot_be_read_is_said_at_login(caplog: pytest.LogCaptureFixture) -> None:
    host = Host(pop3_uidl_format="%{uid | rot13}")
    assert shown(host.talk(host.connect(), LOGIN)) == ["+OK", "-ERR [SYS/PERM]"]
    assert "rot13" in caplog.text
    assert host.seats.entries == []


# --- QUIT ------------------------------------------------------------------------------------------------------------


def test_quit_removes_and_marks_as_seen() -> None:
    host = Host()
    wire = host.login()
    host.talk(wire, b"RETR 1\r\nRETR 3\r\nTOP 2 1\r\nDELE 3\r\n")
    assert host.flags(1) == frozenset()
    assert shown(host.talk(wire, b"QUIT\r\n")) == ["+OK"]
    assert wire.closed
    assert host.uids() == [1, 2]
    assert host.flags(1) == {SEEN}
    assert host.flags(2) == frozenset()


def test_quit_removes_nothing_but_what_was_deleted_here() -> None:
    host = Host()
    host.inbox.store([1], FlagChange(FlagAction.ADD, frozenset({DELETED})))  # by an IMAP client
    wire = host.login()
    assert shown(host.talk(wire, b"DELE 2\r\nQUIT\r\n")) == ["+OK", "+OK"]
    assert host.uids() == [1, 3]
    assert DELETED in host.flags(1)


def test_a_message_removed_elsewhere_counts_as_removed() -> None:
    host = Host()
    wire = host.login()
    host.talk(wire, b"DELE 1\r\nDELE 2\r\n")
    remove(host, 1)
    assert shown(host.talk(wire, b"QUIT\r\n")) == ["+OK"]
    assert host.uids() == [3]


def test_quit_says_so_if_a_message_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag was taken away between STORE and EXPUNGE: the message stays."""
    host = Host()
    wire = host.login()
    real = host.inbox.expunge

    def raced(uids: list[int]) -> Any:
        host.inbox.store([2], FlagChange(FlagAction.REMOVE, frozenset({DELETED})))
        return real(uids)

    monkeypatch.setattr(host.inbox, "expunge", raced)
    assert shown(host.talk(wire, b"DELE 1\r\nDELE 2\r\nQUIT\r\n")) == ["+OK", "+OK", "-ERR [SYS/TEMP]"]
    assert host.uids() == [2, 3]
    assert wire.closed


@pytest.mark.parametrize("step", ["store", "expunge"])
def test_quit_says_so_if_the_store_fails(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    wire = host.login()

    def busy(*arguments: object) -> None:
        raise StorageError(Reason.IN_USE, "locked by another program")

    monkeypatch.setattr(host.inbox, step, busy)
    assert shown(host.talk(wire, b"DELE 1\r\nQUIT\r\n")) == ["+OK", "-ERR [IN-USE]"]
    assert wire.closed
    assert host.uids() == [1, 2, 3]
    assert host.seats.entries == []
    monkeypatch.undo()
    host.login()


def test_seen_that_cannot_be_stored_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    wire = host.login()

    def full(*arguments: object) -> None:
        raise StorageError(Reason.NO_SPACE, "no space")

    monkeypatch.setattr(host.inbox, "store", full)
    assert shown(host.talk(wire, b"RETR 2\r\nQUIT\r\n"))[-1] == "+OK"
    assert "not marked as seen" in caplog.text


def test_a_read_only_maildrop_can_be_read() -> None:
    host = Host()
    host.inbox.read_only = True
    wire = host.login()
    assert shown(host.talk(wire, b"DELE 1\r\nRETR 1\r\nQUIT\r\n")) == [
        "-ERR [SYS/PERM]", "+OK", "Subject: one", "", "first", ".", "+OK",
    ]  # fmt: skip


def test_flag_instead_of_removal() -> None:
    """Dovecot's pop3_delete_type = flag."""
    host = Host(pop3_deleted_flag="$POP3Deleted", pop3_no_flag_updates=True)
    wire = host.login()
    assert shown(host.talk(wire, b"RETR 1\r\nDELE 2\r\nQUIT\r\n"))[-1] == "+OK"
    assert host.uids() == [1, 2, 3]
    assert host.flags(1) == frozenset()
    assert host.flags(2) == {"$POP3Deleted"}
    assert shown(host.talk(host.login(), b"LIST\r\n")) == ["+OK", "1 23", "2 36", "."]


# --- Others change the mailbox ---------------------------------------------------------------------------------------


def remove(host: Host, uid: int) -> None:
    host.inbox.store([uid], FlagChange(FlagAction.ADD, frozenset({DELETED})))
    host.inbox.expunge([uid])


def test_the_list_is_frozen_at_login() -> None:
    host = Host()
    wire = host.login()
    host.inbox.add([(b"new\r\n", frozenset(), 0)])
    remove(host, 2)
    assert host.talk(wire, b"STAT\r\n") == b"+OK 3 94\r\n"
    assert shown(host.talk(wire, b"RETR 2\r\nTOP 2 0\r\nRETR 3\r\nLIST\r\n")) == [
        "-ERR [SYS/PERM]", "-ERR [SYS/PERM]", "+OK", "Subject: three", "X: y", "", "1", "2", "3", "4", ".",
        "+OK", "1 23", "2 35", "3 36", ".",
    ]  # fmt: skip


def test_a_size_that_lies_is_corrected(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    host.inbox.table.sizes[0] = 1000
    wire = host.login()
    assert host.talk(wire, b"LIST 1\r\nSTAT\r\n") == b"+OK 1 1000\r\n+OK 3 1071\r\n"
    assert host.talk(wire, b"RETR 1\r\n").startswith(b"+OK 23 octets\r\n")
    assert host.talk(wire, b"LIST 1\r\nSTAT\r\nDELE 1\r\nSTAT\r\n").split(b"\r\n")[:2] == [b"+OK 1 23", b"+OK 3 94"]
    assert "wrong size" in caplog.text


def test_order_and_unique_ids_are_the_maildrops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Courier's list, or uidlist fields O and P: `formats.md` 6.2 and 8."""
    host = Host()
    items = [
        MaildropItem(3, 1, "UID3-7", "c", "c"),
        MaildropItem(1, 2, "", "base.1", "a"),
        MaildropItem(2, None, None, "b", "b"),
    ]
    monkeypatch.setattr(host.inbox, "maildrop", lambda: items)
    answer = host.talk(host.login(), b"UIDL\r\nLIST\r\n")
    assert answer.split(b"\r\n")[1:4] == [b"1 UID3-7", b"2 base.1", b"3 000000026b02c396"]
    assert answer.split(b"\r\n")[6:9] == [b"1 36", b"2 23", b"3 35"]


def test_a_store_that_fails_in_the_middle_of_a_message_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent must not look like a whole message."""
    host = Host([b"x" * 200000])
    wire = host.login()
    content = host.inbox.content(1)

    class Failing:
        size = content.size

        def read(self, start: int, end: int) -> bytes:
            if start > 100000:
                raise StorageError(Reason.UNAVAILABLE, "input/output error")
            return bytes(content.read(start, end))

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(host.inbox, "content", lambda uid: Failing())
    answer = host.talk(wire, b"DELE 1\r\nRSET\r\nRETR 1\r\nQUIT\r\n")
    assert not answer.endswith(b".\r\n")
    assert wire.closed
    assert host.uids() == [1]


# --- Anything --------------------------------------------------------------------------------------------------------


def test_a_bug_ends_one_session_with_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    wire = host.login()
    monkeypatch.setattr(host.inbox, "content", lambda uid: 1 / 0)
    assert shown(host.talk(wire, b"DELE 1\r\nRETR 2\r\nQUIT\r\n")) == ["+OK", "-ERR [SYS/TEMP]"]
    assert wire.closed
    assert host.uids() == [1, 2, 3]
    assert caplog.text.count("Traceback") == 1
    monkeypatch.undo()
    host.login()


def test_lines_too_long_are_refused() -> None:
    host = Host()
    wire = host.connect()
    assert shown(host.talk(wire, b"USER " + b"a" * 9000 + b"\r\nUSER alice\r\n")) == ["-ERR", "+OK"]


def test_bad_commands_in_a_row_end_the_connection() -> None:
    host = Host()
    wire = host.connect()
    assert shown(host.talk(wire, b"BAD\r\n" * 19 + b"CAPA\r\n" + b"BAD\r\n" * 30)).count("-ERR") == 39
    assert wire.closed


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    host = Host()
    host.talk(host.login(), b"RETR 1\r\nTOP 1 0\r\nDELE 1\r\nQUIT\r\n")
    assert re.search(r"login sid=s1 user='alice' mech=USER rip=192.0.2.7 .* tls=yes messages=3 octets=94", caplog.text)
    assert re.search(r"logout sid=s1 user='alice' .* commands=6 .* retr=1 retr_octets=23 top=1 removed=1", caplog.text)
    assert "secret" not in caplog.text
    assert "first" not in caplog.text


def test_a_large_maildrop_is_quick() -> None:
    host = Host([b"x\r\n"] * 20000)
    began = time.process_time()
    wire = host.login()
    assert host.talk(wire, b"LIST\r\nUIDL\r\nSTAT\r\n").count(b"\r\n") == 40005
    assert time.process_time() - began < 3


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([
                b"STAT\r\n", b"LIST\r\n", b"RETR 1\r\n", b"TOP 2 1\r\n", b"DELE 2\r\n", b"DELE 1\r\n", b"RSET\r\n",
                b"UIDL\r\n", b"NOOP\r\n", b"CAPA\r\n", b"QUIT\r\n", b"USER alice\r\n", b"PASS secret\r\n",
                b"AUTH PLAIN\r\n", b"UTF8\r\n", b"STLS\r\n", b"LIST 1\r\n", LOGIN,
            ]),
            st.binary(max_size=20), st.just(b"\r\n"),
        ),
        max_size=30,
    ),
    st.booleans(),
)  # fmt: skip
def test_any_octets_are_answered_and_only_quit_removes(parts: list[bytes], logged_in: bool) -> None:
    host = Host(patience=Patience(auth_failure_delay=0.0))
    wire = host.login() if logged_in else host.connect()
    host.talk(wire, b"".join(parts))
    wire.hang_up()
    host.scheduler.run()
    assert wire.closed
    assert host.seats.entries == []
    assert not host.inbox.maildrop_is_locked
    if b"QUIT" not in b"".join(parts).upper():
        assert host.uids() == [1, 2, 3]


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
