"""AUTHENTICATE with EXTERNAL, OAUTHBEARER and XOAUTH2, octet by octet: RFC 9051 6.2.2, RFC 4422 A, RFC 7628 3."""

import base64
import json

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler

from greenmail.auth.api import Token
from greenmail.auth.sasl import MECHANISMS

BOTH = b"AUTH=OAUTHBEARER AUTH=XOAUTH2"


@pytest.fixture
def engine():
    scheduler = Scheduler()
    made = Engine(scheduler, memory_backend(scheduler), mechanisms=tuple(MECHANISMS), auth_failure_delay=0.01)
    made.users.takes_tokens = True
    made.users.tokens = {
        "good": Token("alice"),
        "later": Token(text="no answer", unavailable=True),
    }
    return made


def connect(engine, certified=(), **options):
    wire = engine.connect(**options)
    wire.certified = certified
    return wire, engine.talk(wire, b"")


def test_what_is_offered_and_when(engine):
    assert BOTH in connect(engine)[1]
    assert b"AUTH=EXTERNAL" not in connect(engine)[1]
    assert b"AUTH=EXTERNAL" in connect(engine, ("alice",))[1]
    wire, greeting = connect(engine, secure=False)
    assert BOTH not in greeting
    wire.trusted = True  # passwords may be sent here as they are, and tokens not
    assert BOTH not in engine.talk(wire, b"a CAPABILITY\r\n")
    assert engine.talk(wire, b"a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIGdvb2QBAQ==\r\n").startswith(b"a NO ")
    assert engine.users.attempts == []
    engine.users.takes_tokens = False
    assert BOTH not in connect(engine)[1]


@pytest.mark.parametrize("initial", [b"=", b"YWxpY2U=", None])
def test_external(engine, initial):
    wire, _ = connect(engine, ("alice",))
    if initial is None:
        assert engine.talk(wire, b"a AUTHENTICATE EXTERNAL\r\n") == b"+ \r\n"
        answer = engine.talk(wire, b"\r\n")
    else:
        answer = engine.talk(wire, b"a AUTHENTICATE EXTERNAL %b\r\n" % initial)
    assert answer.startswith(b"a OK [CAPABILITY ")


def test_external_without_a_certificate(engine):
    wire, _ = connect(engine)
    assert engine.talk(wire, b"a AUTHENTICATE EXTERNAL =\r\n").startswith(b"a NO This mechanism is not offered")


@pytest.mark.parametrize(
    "name, message, end",
    [
        ("OAUTHBEARER", b"n,a=alice,\1auth=Bearer %b\1\1", b"AQ==\r\n"),
        ("XOAUTH2", b"user=alice\1auth=Bearer %b\1\1", b"\r\n"),
        ("OAUTHBEARER", b"n,a=alice,\1auth=Bearer %b\1\1", b"*\r\n"),  # which is a refusal, too, and no BAD
    ],
)
def test_tokens(engine, name, message, end):
    wire, _ = connect(engine)
    line = b"a AUTHENTICATE %b %%b\r\n" % name.encode()
    error = engine.talk(wire, line % base64.b64encode(message % b"wrong"))
    assert "status" in json.loads(base64.b64decode(error.removeprefix(b"+ ").removesuffix(b"\r\n"), validate=True))
    assert engine.talk(wire, end).startswith(b"a NO [AUTHENTICATIONFAILED] ")
    answer = engine.talk(wire, line % base64.b64encode(message % b"later"))
    assert answer.startswith(b"a NO ")  # without an error, or the client would throw its token away
    assert engine.talk(wire, line % base64.b64encode(message % b"good")).startswith(b"a OK ")


def test_patience_ends_behind_the_error(engine):
    wire, _ = connect(engine)
    line = b"a AUTHENTICATE XOAUTH2 %b\r\n" % base64.b64encode(b"user=alice\1auth=Bearer wrong\1\1")
    for _ in range(2):
        assert engine.talk(wire, line).startswith(b"+ ")
        assert engine.talk(wire, b"\r\n").startswith(b"a NO ")
    assert engine.talk(wire, line).startswith(b"+ ")
    assert engine.talk(wire, b"\r\n").startswith(b"* BYE Too many failed logins\r\na NO ")
    assert wire.closed
