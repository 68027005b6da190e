"""The protocol by which Postfix and Exim ask about SMTP AUTH, line by line."""

import base64
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import postfix_auth
from greenmail.auth.authenticator import BACKENDS, Databases, PasswordAuthenticator, Rules
from greenmail.auth.logins import NoGuard, Patience
from greenmail.auth.postfix_auth import AuthClient, BadLine, Services
from greenmail.runtime import direct

USERS = "alice@example.org:{PLAIN}secret\nlocked:{PLAIN}secret::::::nologin=gone\n"
MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "CRAM-MD5")


class NoRegister:
    """SMTP has no seats."""

    def login(self, user: str, address: str, protocol: str) -> str | None:
        raise AssertionError("no session begins")

    def logout(self, user: str, address: str, protocol: str) -> None:
        raise AssertionError("no session ends")

    def poll(self, user: str, delay: float) -> float:
        raise AssertionError("nobody looks for mail")

    def unpoll(self, user: str) -> None:
        raise AssertionError("nobody looks for mail")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Dialogue:
    """A client, and what it was answered."""

    def __init__(self, services: Services) -> None:
        self.answers: list[str] = []
        self.client = AuthClient(services, lambda data: self.answers.extend(data.decode().splitlines()))
        self.say("VERSION\t1\t1")
        self.say("CPID\t42")

    def say(self, line: str) -> list[str]:
        self.answers.clear()
        self.client.take(line.encode())
        return self.answers


def services_for(tmp_path: Path, owner: Callable[[], tuple[int, int]] = lambda: (1000, 1001)) -> Services:
    (tmp_path / "users").write_text(USERS)
    databases = Databases([BACKENDS["passwd-file"](str(tmp_path / "users"))])
    rules = Rules(default_domain="example.org", owner=owner)
    authenticator = PasswordAuthenticator(databases, rules, direct().blocking)
    numbers = iter(range(1000))
    return Services(
        direct(), authenticator, NoRegister(), Patience(3, 0.0), NoGuard(), MECHANISMS,
        lambda address: address == "127.0.0.1", lambda: f"s{next(numbers)}",
    )  # fmt: skip


@pytest.fixture
def talk(tmp_path: Path) -> Dialogue:
    return Dialogue(services_for(tmp_path))


def test_the_greeting(tmp_path: Path) -> None:
    """Nothing that needs TLS here: that of SMTP ends at the other program."""
    said = postfix_auth.greeting(services_for(tmp_path), 4711, 7, "00112233445566778899aabbccddeeff")
    assert said.decode().split("\n") == [
        "VERSION\t1\t1",
        "MECH\tPLAIN\tplaintext",
        "MECH\tLOGIN\tplaintext",
        "MECH\tSCRAM-SHA-256\tmutual-auth",
        "MECH\tCRAM-MD5\tdictionary\tactive",
        "SPID\t4711",
        "CUID\t7",
        "COOKIE\t00112233445566778899aabbccddeeff",
        "DONE",
        "",
    ]


def plain(name: str, password: str = "secret") -> str:
    return f"resp={b64(f'{chr(0)}{name}{chr(0)}{password}'.encode())}"


PLAIN = plain("alice")
WRONG = plain("alice", "wrong")
SECURED = "service=smtp\tnologin\tlip=192.0.2.1\trip=192.0.2.7\tsecured"


@pytest.mark.parametrize(
    "line, answer",
    [
        (f"AUTH\t1\tPLAIN\t{SECURED}\t{PLAIN}", ["OK\t1\tuser=alice@example.org"]),
        (f"AUTH\t4294967295\tplain\t{SECURED}\t{PLAIN}", ["OK\t4294967295\tuser=alice@example.org"]),
        (f"AUTH\t1\tPLAIN\t{SECURED}\t{WRONG}", ["FAIL\t1\tuser=alice"]),
        (f"AUTH\t1\tPLAIN\tservice=smtp\trip=127.0.0.1\t{PLAIN}", ["OK\t1\tuser=alice@example.org"]),
        (
            f"AUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.7\t{PLAIN}",
            ["FAIL\t1\tuser=\treason=passwords are taken over TLS only"],
        ),
        (f"AUTH\t1\tPLAIN\trip=nonsense\t{PLAIN}", ["FAIL\t1\tuser=\treason=passwords are taken over TLS only"]),
        (
            f"AUTH\t1\tSCRAM-SHA-256-PLUS\t{SECURED}",
            ["FAIL\t1\tuser=\treason=this authentication mechanism is not offered"],
        ),
        (f"AUTH\t1\tEXTERNAL\t{SECURED}", ["FAIL\t1\tuser=\treason=this authentication mechanism is not offered"]),
        (f"AUTH\t1\tPLAIN\t{SECURED}\tresp=***", ["FAIL\t1\tuser=\treason=this is not base64"]),
        (f"AUTH\t1\tPLAIN\t{SECURED}\t{plain('locked')}", ["FAIL\t1\tuser=locked"]),
        (f"AUTH\t1\tPLAIN\t{SECURED}\t{plain(chr(9).join('ab'))}", ["FAIL\t1\tuser=a\1tb"]),
        (f"AUTH\t1\tPLAIN\t{SECURED}", ["CONT\t1\t"]),
        (f"AUTH\t1\tLOGIN\t{SECURED}\tresp=", ["CONT\t1\t" + b64(b"Username:")]),
    ],
)  # fmt: skip
def test_one_line(talk: Dialogue, line: str, answer: list[str]) -> None:
    assert talk.say(line) == answer


def test_login_in_steps(talk: Dialogue) -> None:
    assert talk.say(f"AUTH\t2\tLOGIN\t{SECURED}") == ["CONT\t2\tVXNlcm5hbWU6"]
    assert talk.say("CONT\t2\tYWxpY2U=") == ["CONT\t2\tUGFzc3dvcmQ6"]
    assert talk.say("CONT\t2\td3Jvbmc=") == ["FAIL\t2\tuser=alice"]
    assert talk.say("CONT\t2\td3Jvbmc=") == [], "it is over"


def test_two_at_once(talk: Dialogue) -> None:
    talk.say(f"AUTH\t1\tPLAIN\t{SECURED}")
    assert talk.say(f"AUTH\t2\tPLAIN\t{SECURED}\t{WRONG}") == ["FAIL\t2\tuser=alice"]
    assert talk.say(f"CONT\t1\t{PLAIN[5:]}") == ["OK\t1\tuser=alice@example.org"]


def test_one_that_is_cancelled(talk: Dialogue) -> None:
    talk.say(f"AUTH\t1\tPLAIN\t{SECURED}")
    assert talk.say("CANCEL\t1") == []
    assert talk.say(f"CONT\t1\t{PLAIN[5:]}") == []
    assert talk.say(f"AUTH\t1\tPLAIN\t{SECURED}\t{PLAIN}") == ["OK\t1\tuser=alice@example.org"]


def test_what_scram_says_at_last_is_acknowledged_before_ok(talk: Dialogue) -> None:
    """RFC 5802 5.1; by a real client of SCRAM."""
    client = scramp.ScramClient(["SCRAM-SHA-256"], "alice", "secret")
    first = talk.say(f"AUTH\t1\tSCRAM-SHA-256\t{SECURED}\tresp={b64(client.get_client_first().encode())}")
    client.set_server_first(base64.b64decode(first[0].split("\t")[2]).decode())
    final = talk.say(f"CONT\t1\t{b64(client.get_client_final().encode())}")
    client.set_server_final(base64.b64decode(final[0].split("\t")[2]).decode())
    assert talk.say("CONT\t1\t") == ["OK\t1\tuser=alice@example.org"]


def test_a_database_that_does_not_answer_is_temporary(tmp_path: Path) -> None:
    talk = Dialogue(services_for(tmp_path))
    (tmp_path / "users").unlink()
    assert talk.say(f"AUTH\t1\tPLAIN\t{SECURED}\t{PLAIN}") == ["FAIL\t1\tuser=alice\ttemp\tcode=temp_fail"]


def test_requests_under_way_are_bounded(talk: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postfix_auth, "MAX_REQUESTS", 2)
    for number in (1, 2):
        talk.say(f"AUTH\t{number}\tPLAIN\t{SECURED}")
    assert talk.say(f"AUTH\t3\tPLAIN\t{SECURED}") == ["FAIL\t3\tuser=\treason=too many logins are under way"]


@pytest.mark.parametrize(
    "line",
    [
        "", "HELLO", "VERSION\t2\t0", "AUTH", "AUTH\tx\tPLAIN", "AUTH\t4294967296\tPLAIN", "AUTH\t1",
        "AUTH\t-1\tPLAIN", "CONT",
    ],
)  # fmt: skip
def test_what_is_not_this_protocol_ends_the_connection(talk: Dialogue, line: str) -> None:
    with pytest.raises(BadLine):
        talk.say(line)


def test_a_number_is_used_once_at_a_time(talk: Dialogue) -> None:
    talk.say(f"AUTH\t1\tPLAIN\t{SECURED}")
    with pytest.raises(BadLine):
        talk.say(f"AUTH\t1\tPLAIN\t{SECURED}")


def test_nothing_before_the_version(tmp_path: Path) -> None:
    with pytest.raises(BadLine):
        AuthClient(services_for(tmp_path), lambda data: None).take(b"AUTH\t1\tPLAIN\tsecured")


@given(
    st.lists(st.sampled_from(["AUTH", "CONT", "1", "PLAIN", "LOGIN", "secured", "resp=", "resp=AGEAYg==", "x", "\t"]))
)
def test_any_line_is_answered_or_ends_the_connection(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as made:
        talk = Dialogue(services_for(Path(made)))
        try:
            answers = talk.say("\t".join(words))
        except BadLine:
            return
        assert all(answer.split("\t")[0] in ("OK", "FAIL", "CONT") for answer in answers)


class Everybody(NoGuard):
    """Remembers of whom it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wrong(self, address: str, login: str, password: bytes) -> None:
        self.told.append(address)


def test_clients_without_an_address_do_not_pay_for_one_another(tmp_path: Path) -> None:
    """Else one who guesses would have all of them banned."""
    guard = Everybody()
    talk = Dialogue(replace(services_for(tmp_path), guard=guard))
    talk.say(f"AUTH\t1\tPLAIN\tsecured\t{plain('alice', 'guess')}")
    assert talk.answers[0].startswith("FAIL\t1") and guard.told == []
    talk.say(f"AUTH\t2\tPLAIN\tsecured\trip=192.0.2.7\t{plain('alice', 'guess')}")
    assert guard.told == ["192.0.2.7"]
