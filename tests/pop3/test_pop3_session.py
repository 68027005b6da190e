"""Whole conversations, in memory. What a client sends stands beside everything the server answers."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost import least

from greenmail.auth.logins import Patience
from greenmail.errors import Reason, StorageError
from greenmail.storage.api import MaildropItem

from .pop3_host import LOGIN, MAIL, Host
from .pop3_talk import shown

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


def test_others_may_run_between_commands_that_are_sent_ahead() -> None:
    """64 KiB of RETR are 8,000 messages, and held up everybody else of a worker for as long as they took."""
    host, answered = Host(), list[int]()
    runtime = replace(host.services.runtime, breathe=lambda: answered.append(host.sessions[0].figures.commands))
    host.services = replace(host.services, runtime=runtime)
    wire = host.login()
    del answered[:]
    host.talk(wire, b"NOOP\r\nRETR 1\r\n" * 25)
    assert set(range(3, 52)) <= set(answered)


def test_others_may_run_while_unique_ids_are_made_of_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is opened for that."""
    host, opened, turns = Host(MAIL * 100, pop3_uidl_format="%m"), list[int](), [0]
    wire = host.login()
    session, content = host.sessions[0], host.inbox.content
    monkeypatch.setattr(host.inbox, "content", lambda uid: opened.append(uid) or content(uid))
    runtime = replace(host.services.runtime, breathe=lambda: turns.append(len(opened)))
    session.services = replace(host.services, runtime=runtime)
    host.talk(wire, b"UIDL\r\n")
    assert len(opened) == 300 and max(late - early for early, late in pairwise([*turns, 300])) <= 16


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


# --- Anything --------------------------------------------------------------------------------------------------------


def test_a_bug_ends_one_session_with_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    wire = host.login()
    monkeypatch.setattr(host.inbox, "octets", lambda uid: 1 / 0)
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

    def list_all() -> None:
        wire = host.login()
        assert host.talk(wire, b"LIST\r\nUIDL\r\nSTAT\r\nQUIT\r\n").count(b"\r\n") == 40006

    assert least(list_all, 3) < 3


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
