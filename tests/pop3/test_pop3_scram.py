"""AUTH with SCRAM: RFC 5034 4, RFC 5802 5."""

import base64

import pytest
from scramp import ScramClient

from greenmail.auth.sasl import MECHANISMS, OFF

from .pop3_host import Host

NAME = b"SCRAM-SHA-256"


@pytest.fixture
def host():
    return Host(mechanisms=tuple(name for name in MECHANISMS if name not in OFF))


def challenge(answer: bytes) -> str:
    assert answer.startswith(b"+ ") and answer.endswith(b"\r\n"), answer
    return base64.b64decode(answer[2:-2], validate=True).decode()


def until_final(host, wire, client, initial: bool) -> bytes:
    first = base64.b64encode(client.get_client_first().encode())
    if not initial:
        assert host.talk(wire, b"AUTH %b\r\n" % NAME) == b"+ \r\n"
    answer = host.talk(wire, b"AUTH %b %b\r\n" % (NAME, first) if initial else first + b"\r\n")
    client.set_server_first(challenge(answer))
    return host.talk(wire, base64.b64encode(client.get_client_final().encode()) + b"\r\n")


@pytest.mark.parametrize("initial", [True, False])
def test_auth(host, initial):
    wire = host.connect()
    client = ScramClient([NAME.decode()], "alice", "secret")
    client.set_server_final(challenge(until_final(host, wire, client, initial)))
    assert host.talk(wire, b"\r\n").startswith(b"+OK Logged in, 3 messages")


def test_a_wrong_password(host):
    answer = until_final(host, host.connect(), ScramClient([NAME.decode()], "alice", "wrong"), True)
    assert answer.startswith(b"-ERR [AUTH] ")


def test_who_does_not_confirm_is_not_in(host):
    wire = host.connect()
    assert until_final(host, wire, ScramClient([NAME.decode()], "alice", "secret"), True).startswith(b"+ ")
    assert host.talk(wire, b"*\r\n").startswith(b"-ERR ")
    assert host.talk(wire, b"STAT\r\n").startswith(b"-ERR ")


def test_what_is_told(host):
    wire = host.connect()
    assert b"SASL PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-1\r\n" in host.talk(wire, b"CAPA\r\n")
    assert host.talk(wire, b"AUTH SCRAM-SHA-256-PLUS\r\n").startswith(b"-ERR [AUTH] ")
    wire.end_point = b"a hash"
    assert b" SCRAM-SHA-256-PLUS " in host.talk(wire, b"CAPA\r\n")
