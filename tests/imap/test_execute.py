"""What all commands have in common: errors, bugs, farewells, logs; and any octets at all."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.wire import MemoryWire
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.imap import execute
from greenmail.imap.trace import TRACE
from greenmail.storage.memory_mailbox import MemoryMailbox, MemoryUpload


def make_engine(**options: object) -> Engine:
    scheduler = Scheduler()
    return Engine(scheduler, memory_backend(scheduler), **options)


@pytest.fixture
def engine() -> Engine:
    return make_engine()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The log of the engine, as it grows."""
    caplog.set_level(TRACE, logger="greenmail")

    class Lines(list[str]):
        def __iter__(self) -> Iterator[str]:
            return iter([record.getMessage() for record in caplog.records])

    yield Lines()


@pytest.mark.parametrize(
    "reason, code",
    [
        (Reason.NO_SPACE, b"UNAVAILABLE"),
        (Reason.OVER_QUOTA, b"OVERQUOTA"),
        (Reason.IN_USE, b"INUSE"),
        (Reason.NO_PERMISSION, b"NOPERM"),
        (Reason.CORRUPT, b"CORRUPTION"),
    ],
)
def test_what_the_store_refuses_is_no(reason: Reason, code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    engine.fill("INBOX", 1)
    wire = engine.select()

    def refuse(*args: object) -> object:
        raise StorageError(reason, "not today")

    monkeypatch.setattr(MemoryMailbox, "store", refuse)
    assert engine.talk(wire, b"a STORE 1 +FLAGS (\\Seen)\r\n") == b"a NO [%b] Not today\r\n" % code
    monkeypatch.undo()
    assert engine.talk(wire, b"b NOOP\r\n") == b"b OK NOOP completed\r\n"


def test_bug_is_logged_once_and_the_connection_goes_on(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.fill("INBOX", 1)
    wire = engine.select()
    monkeypatch.setattr(MemoryMailbox, "store", lambda *args: 1 // 0)
    assert engine.talk(wire, b"a STORE 1 +FLAGS (\\Seen)\r\nb NOOP\r\n").startswith(b"a NO [SERVERBUG] ")
    assert [record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR] == [True]


def test_bug_within_a_literal_ends_the_connection(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows where the next command begins."""
    wire = engine.login()
    monkeypatch.setattr(MemoryUpload, "write", lambda self, data: 1 // 0)
    assert engine.talk(wire, b"a APPEND INBOX {3+}\r\nabc\r\nb NOOP\r\n").startswith(b"* BYE [SERVERBUG] ")
    assert wire.closed
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_failing_look_spoils_no_command(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command that needs no mailbox did stands, though the selected one cannot be looked at."""
    wire = engine.select()

    def fails(self: MemoryMailbox) -> None:
        raise StorageError(Reason.UNAVAILABLE, "input/output error")

    monkeypatch.setattr(MemoryMailbox, "look", fails)
    assert engine.talk(wire, b"a NOOP\r\n") == b"a OK NOOP completed\r\n"
    assert engine.talk(wire, b"b CHECK\r\n") == b"b NO [UNAVAILABLE] Input/output error\r\n"


def test_short_command_looks_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/decisions/0012: what came before the command is found by the first look; one that took long looks again."""
    wire = engine.select()
    looks: list[str] = []
    whole, store = MemoryMailbox.look, MemoryMailbox.store
    clock = [100.0]
    monkeypatch.setattr("greenmail.imap.rights.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(MemoryMailbox, "look", lambda self: (looks.append(""), whole(self))[1])
    engine.talk(wire, b"a NOOP\r\n")
    assert len(looks) == 1
    engine.fill("INBOX", 1)
    looks.clear()
    assert b"* 1 EXISTS" in engine.talk(wire, b"b NOOP\r\n")
    looks.clear()

    def slow(self: MemoryMailbox, *args: object) -> object:
        clock[0] += 0.01
        return store(self, *args)

    monkeypatch.setattr(MemoryMailbox, "store", slow)
    engine.talk(wire, b"c STORE 1 +FLAGS (\\Seen)\r\n")
    assert len(looks) >= 2


def test_client_that_goes_away_while_it_is_written_to(engine: Engine) -> None:
    """Everything is given back: seat, account, mailbox."""
    engine.fill("INBOX", 1)
    wire = engine.select()
    wire.refuses_writes = True
    wire.feed(b"a NOOP\r\n")
    engine.scheduler.run()
    assert wire.closed
    assert engine.seats.entries == []
    assert engine.sessions[0].view is None


def test_seat_is_given_back_at_logout_and_when_the_account_cannot_be_opened(engine: Engine) -> None:
    wire = engine.login()
    assert engine.seats.entries == [("alice", "192.0.2.7", "imap")]
    engine.talk(wire, b"a LOGOUT\r\n")
    assert engine.seats.entries == []

    def fails() -> object:
        raise StorageError(Reason.UNAVAILABLE, "the disk is gone")

    engine.backend.open_account = fails
    wire = engine.connect()
    assert b"a NO [UNAVAILABLE] The disk is gone" in engine.talk(wire, b"a LOGIN alice secret\r\n")
    assert engine.seats.entries == []
    assert engine.talk(wire, b"b SELECT INBOX\r\n").startswith(b"b BAD ")


def test_when_no_more_keywords_can_be_added_the_client_is_told(engine: Engine) -> None:
    """RFC 9051 7.1: PERMANENTFLAGS once more, then without the flag that offers new keywords."""
    engine.fill("INBOX", 1)
    wire, reader = engine.select(), engine.login()
    assert b"PERMANENTFLAGS ()" in engine.talk(reader, b"e EXAMINE INBOX\r\n")
    engine.talk(wire, b"a STORE 1 FLAGS.SILENT (one)\r\n")
    engine.talk(reader, b"n NOOP\r\n")
    mailbox = engine.sessions[0].view.mailbox
    mailbox.can_add_keywords = False
    assert engine.talk(wire, b"b STORE 1 +FLAGS.SILENT (one two)\r\n") == (
        b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft one)] No more keywords can be"
        b" added here\r\n"
        b"b NO [LIMIT] A keyword is too long, or there are too many in this mailbox; other flags were stored\r\n"
    )
    assert engine.talk(wire, b"c NOOP\r\n") == b"c OK NOOP completed\r\n"
    assert engine.talk(reader, b"n NOOP\r\n") == b"n OK NOOP completed\r\n"
    mailbox.can_add_keywords = True
    assert b"one \\*)]" in engine.talk(wire, b"d SELECT INBOX\r\n")


def test_too_many_connections_of_a_user(engine: Engine) -> None:
    engine.seats.most = 1
    engine.login()
    wire = engine.connect()
    answer = engine.talk(wire, b"a LOGIN alice secret\r\n")
    assert b"* BYE [LIMIT] " in answer
    assert b"\r\na NO [LIMIT] " in answer
    assert wire.closed
    assert len(engine.seats.entries) == 1


def test_password_is_not_looked_at_without_tls(engine: Engine) -> None:
    """RFC 9051 6.2.3: the answer is the same for every password, and the user database is not asked."""
    wire = engine.connect(secure=False)
    engine.talk(wire, b"a LOGIN alice secret\r\nb AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n")
    assert engine.users.attempts == []
    wire.trusted = True
    assert b"c OK [CAPABILITY" in engine.talk(wire, b"c LOGIN alice secret\r\n")


def test_failed_login_takes_two_seconds(engine: Engine) -> None:
    wire, before = engine.connect(), engine.scheduler.clock.now()
    engine.talk(wire, b"a LOGIN alice wrong\r\n")
    assert engine.scheduler.clock.now() - before == 2.0


def test_failed_login_is_logged_for_fail2ban(engine: Engine, lines: list[str]) -> None:
    wire = engine.connect()
    engine.talk(wire, b"a LOGIN ali<ce wrong\r\nb AUTHENTICATE PLAIN AGFsaWNlAHdyb25n\r\n")
    assert [line for line in lines if line.startswith("imap-login")] == [
        "imap-login: Disconnected (auth failed, 1 attempts in 0 secs): "
        "user=<ali?ce>, method=LOGIN, rip=192.0.2.7, lip=192.0.2.1, TLS, session=<s1>",
        "imap-login: Disconnected (auth failed, 2 attempts in 2 secs): "
        "user=<alice>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, TLS, session=<s1>",
    ]


def set_clock(engine: Engine, step: float) -> None:
    """The wall clock says another time from now on, to the sessions that there are."""
    clock = engine.scheduler.clock
    for session in engine.sessions:
        runtime = replace(session.services.runtime, now=lambda: clock.now() + step)
        session.services = replace(session.services, runtime=runtime)
        session.logins._runtime = runtime


@pytest.mark.parametrize("step", [1e6, -1e6])
def test_between_two_failed_logins_the_clock_may_be_set(step: float, engine: Engine, lines: list[str]) -> None:
    wire = engine.connect()
    engine.talk(wire, b"a LOGIN alice wrong\r\n")
    set_clock(engine, step)
    engine.talk(wire, b"b LOGIN alice wrong\r\n")
    assert "2 attempts in 2 secs" in [line for line in lines if line.startswith("imap-login")][1]


@pytest.mark.parametrize("step", [1e6, -1e6])
def test_who_sends_commands_too_fast_waits_whatever_the_clock_is_set_to(step: float) -> None:
    engine = make_engine(max_commands_per_minute=2)
    wire, clock = engine.login(), engine.scheduler.clock
    set_clock(engine, step)
    before = clock.now()
    engine.talk(wire, b"n NOOP\r\n" * 3)  # the login was the first of the two
    assert 59.0 < clock.now() - before < 61.0


def test_log_of_a_session(engine: Engine, lines: list[str]) -> None:
    wire = engine.login()
    engine.talk(wire, b"a APPEND INBOX {5+}\r\nA: b\n\r\nb LOGOUT\r\n")
    told = [line for line in lines if line.split()[0] in ("login", "logout")]
    assert told[0] == "login sid=s1 user='alice' mech=LOGIN rip=192.0.2.7 lip=192.0.2.1 tls=yes client=None"
    assert told[1].startswith("logout sid=s1 user='alice' rip=192.0.2.7 commands=3 in=64 out=")
    assert told[1].endswith("seconds=0.0 fetched=0 appended=1 expunged=0 reason='logout'")


def test_the_log_of_a_session_that_a_bug_ended_says_so(
    engine: Engine, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = engine.login()
    monkeypatch.setattr(MemoryWire, "flush", lambda wire: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.talk(wire, b"a NOOP\r\n")
    assert next(line for line in lines if line.startswith("logout")).endswith("reason='bug'")


def test_trace_shows_neither_passwords_nor_bodies(engine: Engine, lines: list[str]) -> None:
    wire = engine.connect()
    engine.talk(wire, b"a AUTHENTICATE PLAIN AGFsaWNlAHdyb25n\r\n")
    engine.talk(wire, b"b AUTHENTICATE PLAIN\r\nAGFsaWNlAHdyb25n\r\n")
    engine.talk(wire, b"c LOGIN alice {6+}\r\nsecret\r\nd APPEND INBOX (\\Seen) {9+}\r\nA: hidden\r\n")
    engine.talk(wire, b"e STATUS {5+}\r\nINBOX (MESSAGES)\r\n")
    text = "\n".join(lines)
    assert "name=APPEND" in text
    assert "INBOX (\\\\Seen) " in text
    assert "c OK [CAPABILITY" in text
    for secret in ("secret", "hidden", "AGFs"):
        assert secret not in text


def test_literal_of_append_goes_nowhere_before_login(engine: Engine) -> None:
    """Refused, drained, and not read as a command."""
    wire = engine.connect()
    answer = engine.talk(wire, b"a APPEND INBOX {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n")
    assert answer.splitlines()[1:] == [b"a BAD APPEND is not allowed now: log in first", b"c OK NOOP completed"]


def test_upload_is_removed_when_the_command_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[int] = []
    monkeypatch.setattr(MemoryUpload, "abort", lambda self: aborted.append(len(self.data)))
    wire = engine.login()
    engine.talk(wire, b"a APPEND INBOX {5+}\r\nA: b\n nonsense\r\n")
    assert aborted == [5]
    wire.feed(b"b APPEND INBOX {5+}\r\nA:")
    wire.hang_up()
    engine.scheduler.run()
    assert aborted == [5, 2]


@pytest.mark.parametrize("chunk", [1, 2, 7, 65536])
def test_octets_may_come_in_any_pieces(chunk: int) -> None:
    engine = make_engine()
    wire = engine.connect(chunk=chunk)
    answer = engine.talk(
        wire,
        b"a LOGIN {5+}\r\nalice {6+}\r\nsecret\r\nb APPEND INBOX (\\Seen) {5+}\r\nA: b\n {4+}\r\nC: d\r\n"
        b"c SELECT INBOX\r\nd IDLE\r\nDONE\r\ne STORE 1:2 FLAGS (\\Draft)\r\nf LOGOUT\r\n",
    )
    tagged = [line.split()[:2] for line in answer.splitlines() if line[:1] in b"abcdef" and line[1:2] == b" "]
    assert tagged == [[b"a", b"OK"], [b"b", b"OK"], [b"c", b"OK"], [b"d", b"OK"], [b"e", b"OK"], [b"f", b"OK"]]
    assert wire.closed


WORDS = (
    b"a LOGIN alice secret", b"b SELECT INBOX", b"c UID STORE 1:* ", b"+FLAGS (\\Seen)", b"d APPEND INBOX ",
    b"{5}", b"{5+}", b"~{5+}", b"{99999999999999999999}", b"\r\n", b"\n", b"\r", b"\x00", b"(", b")", b'"', b"\\",
    b"hello", b"$", b"*", b"1:4", b"e FETCH 1 (FLAGS)", b"f IDLE", b"DONE", b"g AUTHENTICATE PLAIN", b"=",
    b"h LOGOUT", b"i ENABLE IMAP4rev2", b" ", b"j UID ", b"k COPY 1 INBOX", b"l MOVE 1 INBOX", b"m CLOSE",
    b"n SEARCH ALL", b"o ID (", b"NIL", b"\xff", b"p LIST \"\" *", b"q STATUS INBOX (", b"MESSAGES", b"r CREATE x",
    b"s DELETE x", b"t RENAME x y", b"UNCHANGEDSINCE 1", b"((((((((",
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    login=st.booleans(),
    pieces=st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=8)), max_size=30),
    chunk=st.integers(1, 100),
)
@example(login=True, pieces=[b"a APPEND ", b"{5+}\r\n", b"INBOX ", b"{5+}\r\n", b"hello", b"\r\n"], chunk=3)
def test_any_octets(login: bool, pieces: list[bytes], chunk: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is sent: no traceback, every tagged answer once, and the session ends when the client goes."""
    caplog.clear()
    engine = make_engine()
    engine.fill("INBOX", 2)
    wire = engine.connect(chunk=chunk)
    engine.talk(wire, b"login LOGIN alice secret\r\nselect SELECT INBOX\r\n" if login else b"")
    engine.talk(wire, b"".join(pieces))
    wire.hang_up()
    engine.scheduler.run()
    assert wire.closed
    assert engine.seats.entries == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_others_may_run_between_commands_that_are_sent_ahead(engine: Engine) -> None:
    """64 KiB of NOOP are 8,000 commands, and held up everybody else of a worker for as long as they took."""
    answered: list[int] = []
    runtime = replace(engine.services.runtime, breathe=lambda: answered.append(engine.sessions[0].figures.commands))
    engine.services = replace(engine.services, runtime=runtime)
    wire = engine.login()
    del answered[:]
    engine.talk(wire, b"n NOOP\r\n" * 50)
    assert set(range(2, 51)) <= set(answered)


def test_octets_that_come_without_a_pause_are_not_taken_beyond_the_time_before_login() -> None:
    engine = make_engine(timeout_anonymous=60.0)
    wire = engine.connect()
    engine.talk(wire, b"a")
    engine.scheduler.clock.advance(61)
    engine.talk(wire, b" NO")
    assert b"a OK" not in engine.talk(wire, b"OP\r\n")
    assert wire.closed


def test_a_command_in_the_wrong_state_is_counted_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    wire = engine.login()
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr("greenmail.metrics.command", lambda protocol, name, result, _: seen.append((name, result)))
    assert engine.talk(wire, b"a LOGIN alice secret\r\nb NONSENSE\r\n").startswith(b"a BAD ")
    assert seen == [("LOGIN", "bad"), ("", "bad")]


def test_long_texts_of_clients_are_not_kept(engine: Engine) -> None:
    wire = engine.login()
    answer = engine.talk(wire, b"a STATUS INBOX (%b)\r\n" % (b"X" * 5000))
    assert answer.startswith(b"a BAD ") and answer.count(b"X") == 40
    engine.talk(wire, b"a NOOP\r\n")
    before = execute._words.cache_info().misses
    answer = engine.talk(wire, b"a CREATE x (USE (\\%b))\r\n" % (b"Y" * 5000))
    assert answer.startswith(b"a NO ") and answer.count(b"Y") == 5000
    assert execute._words.cache_info().misses == before
