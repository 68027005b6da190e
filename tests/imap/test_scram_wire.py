"""AUTHENTICATE and AUTH with SCRAM, octet by octet, in both protocols: RFC 9051 6.2.2, RFC 5034 4, RFC 5802 5."""

import base64

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from scramp import ScramClient

from greenmail.auth.sasl import MECHANISMS

END_POINT = b"a hash of the certificate"


@pytest.fixture
def engine():
    scheduler = Scheduler()
    return Engine(scheduler, memory_backend(scheduler), mechanisms=tuple(MECHANISMS), auth_failure_delay=0.01)


def connect(engine, end_point=b"", **options):
    wire = engine.connect(**options)
    wire.end_point = end_point
    greeting = engine.talk(wire, b"")
    return wire, greeting


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def challenge(answer: bytes) -> str:
    assert answer.startswith(b"+ ") and answer.endswith(b"\r\n"), answer
    return base64.b64decode(answer[2:-2], validate=True).decode()


def until_final(engine, wire, client, name="SCRAM-SHA-256", initial=True):
    """The server's answer to the client's proof."""
    first = b64(client.get_client_first())
    if initial:
        answer = engine.talk(wire, b"a AUTHENTICATE %b %b\r\n" % (name.encode(), first))
    else:
        assert engine.talk(wire, b"a AUTHENTICATE %b\r\n" % name.encode()) == b"+ \r\n"
        answer = engine.talk(wire, first + b"\r\n")
    client.set_server_first(challenge(answer))
    return engine.talk(wire, b64(client.get_client_final()) + b"\r\n")


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_authenticate(engine, name, initial):
    wire, _ = connect(engine)
    client = ScramClient([name], "alice", "secret")
    client.set_server_final(challenge(until_final(engine, wire, client, name, initial)))
    assert engine.sessions[0].account is None  # not before the client has had its turn
    assert b"a OK [CAPABILITY " in engine.talk(wire, b"\r\n")


def test_channel_binding(engine):
    wire, _ = connect(engine, END_POINT)
    assert b" AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 " in engine.talk(wire, b"c CAPABILITY\r\n")
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "alice", "secret", ("tls-server-end-point", END_POINT))
    client.set_server_final(challenge(until_final(engine, wire, client, "SCRAM-SHA-256-PLUS")))
    assert b"a OK " in engine.talk(wire, b"\r\n")
    other, _ = connect(engine, b"another certificate")
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "alice", "secret", ("tls-server-end-point", END_POINT))
    assert b"a NO [AUTHENTICATIONFAILED] " in until_final(engine, other, client, "SCRAM-SHA-256-PLUS")


def test_plus_is_not_offered_without_a_binding(engine):
    wire, greeting = connect(engine)
    assert b"AUTH=SCRAM-SHA-256" in greeting and b"-PLUS" not in greeting
    assert engine.talk(wire, b"a AUTHENTICATE SCRAM-SHA-256-PLUS\r\n").startswith(b"a NO ")


def test_a_client_that_was_not_told_of_plus(engine):
    wire, _ = connect(engine, END_POINT)
    answer = engine.talk(wire, b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % b64("y,,n=alice,r=abc"))
    assert answer.startswith(b"a NO [AUTHENTICATIONFAILED] ")
    assert "somebody" in engine.users.attempts[0].proof.text


@pytest.mark.parametrize("user, password", [("alice", "wrong"), ("nobody", "secret")])
def test_one_answer_for_a_wrong_password_and_an_unknown_user(engine, user, password):
    wire, _ = connect(engine)
    answer = until_final(engine, wire, ScramClient(["SCRAM-SHA-256"], user, password))
    assert answer == b"a NO [AUTHENTICATIONFAILED] User name or password is wrong\r\n"


@pytest.mark.parametrize("last", [b"*", b"eA==", b"?", b"a LOGOUT"])
def test_who_does_not_confirm_is_not_in(engine, last):
    wire, _ = connect(engine)
    client = ScramClient(["SCRAM-SHA-256"], "alice", "secret")
    assert until_final(engine, wire, client).startswith(b"+ ")
    assert engine.talk(wire, last + b"\r\n").startswith(b"a BAD ")
    assert engine.sessions[0].account is None and engine.seats.entries == []


@pytest.mark.parametrize("message", ["", "n,,n=alice", "n,,m=x,n=alice,r=abc", "x"])
def test_what_is_no_scram_is_bad_and_no_failed_login(engine, message):
    wire, _ = connect(engine)
    argument = b64(message) or b"="
    assert engine.talk(wire, b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % argument).startswith(b"a BAD ")
    assert engine.users.attempts == []


def test_not_without_tls(engine):
    wire, greeting = connect(engine, secure=False)
    assert b"AUTH=" not in greeting
    answer = engine.talk(wire, b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % b64("n,,n=alice,r=abc"))
    assert answer.startswith(b"a NO [PRIVACYREQUIRED] ")
