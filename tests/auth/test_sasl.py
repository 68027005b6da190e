"""SASL PLAIN and LOGIN, and what both protocols say around them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import sasl
from greenmail.auth.sasl import MECHANISMS, start
from greenmail.errors import BadSyntax


def found(exchange):
    credentials = exchange.credentials
    return credentials.login, credentials.password.reveal(), credentials.authorize_as


@pytest.mark.parametrize(
    "message, expected",
    [
        (b"\0tim\0tanstaaftanstaaf", ("tim", b"tanstaaftanstaaf", "")),  # RFC 4616 4, first example
        (b"Ursel\0Kurt\0xipj3plmq", ("Kurt", b"xipj3plmq", "Ursel")),  # RFC 4616 4, second example
        ("\0tïm\0pässword".encode(), ("tïm", "pässword".encode(), "")),
        (b"\0tim\0", ("tim", b"", "")),  # the authenticator refuses it, in the same time as any other
        (b"\0tim\0 a b ", ("tim", b" a b ", "")),
    ],
)
def test_plain(message, expected):
    assert found(start("PLAIN", message)) == expected
    later = start("plain", None)
    assert later.challenge == b"" and later.credentials is None  # RFC 4616 4: an empty challenge
    later.respond(message)
    assert found(later) == expected


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"\0",
        b"\0\0",
        b"\0tim",
        b"\0\0secret",
        b"a\0b\0c\0d",
        b"\0tim\0sec\xffret",
        b"\0t\xffm\0x",
        b"\xff\0tim\0x",
    ],
)
def test_plain_that_is_malformed(message):
    with pytest.raises(BadSyntax):
        start("PLAIN", message)


def test_login():
    exchange = start("LOGIN", None)
    assert exchange.challenge == b"Username:"
    exchange.respond(b"tim")
    assert (exchange.challenge, exchange.credentials) == (b"Password:", None)
    exchange.respond(b"secret")
    assert found(exchange) == ("tim", b"secret", "")


def test_login_with_the_name_as_initial_response():
    exchange = start("Login", b"tim")
    assert exchange.challenge == b"Password:"
    exchange.respond("gehéim".encode())
    assert found(exchange) == ("tim", "gehéim".encode(), "")


@pytest.mark.parametrize("name, password", [(b"", b"x"), (b"t\0m", b"x"), (b"\xff", b"x"), (b"tim", b"a\0b")])
def test_login_that_is_malformed(name, password):
    exchange = start("LOGIN", name)
    with pytest.raises(BadSyntax):
        exchange.respond(password)


@pytest.mark.parametrize("name", ["", "NTLM", "SCRAM-SHA-512", "PLAIN ", "pläin"])
def test_unknown_mechanisms(name):
    with pytest.raises(BadSyntax):
        start(name, None)


@pytest.mark.parametrize("line, octets", [(b"", b""), (b"AHRpbQB0", b"\0tim\0t"), (b"YQ==", b"a")])
def test_response(line, octets):
    assert sasl.response(line) == octets


@pytest.mark.parametrize(
    "line", [b"*", b"=", b"YQ", b"YQ=", b"Y Q==", b"YQ==\r", b"????", b"YQ==YQ==", b"\xff\xff\xff\xff"]
)
def test_responses_that_are_no_base64_or_cancel(line):
    with pytest.raises(BadSyntax):
        sasl.response(line)


def test_cancelling_says_so():
    with pytest.raises(BadSyntax, match="cancelled"):
        sasl.response(b"*")


@pytest.mark.parametrize("argument, octets", [(None, None), (b"=", b""), (b"YQ==", b"a")])
def test_initial_response(argument, octets):
    assert sasl.initial(argument) == octets


@pytest.mark.parametrize("argument", [b"", b"*", b"==", b"a"])
def test_initial_response_that_is_malformed(argument):
    with pytest.raises(BadSyntax):
        sasl.initial(argument)


def test_secrets_do_not_show():
    exchange = start("PLAIN", b"\0tim\0tanstaaf")
    assert "tanstaaf" not in repr(exchange.credentials)


@given(
    st.sampled_from(sorted(MECHANISMS)),
    st.none() | st.binary(max_size=30),
    st.lists(st.binary(max_size=30), max_size=4),
)
def test_any_octets_give_credentials_or_bad_syntax(name, first, rest):
    try:
        exchange = start(name, first)
        for octets in rest:
            if exchange.credentials is not None:
                break
            exchange.respond(octets)
    except BadSyntax:
        return
    if exchange.credentials is not None:
        found = exchange.credentials
        assert found.login or (found.proof is not None and not found.proof.right)  # a token that is no good is nobody's
        assert b"\0" not in found.password.reveal()
    else:
        assert isinstance(exchange.challenge, bytes)


@given(st.binary(max_size=100))
def test_any_line_is_base64_or_bad_syntax(line):
    try:
        assert base64.b64encode(sasl.response(line)) == line
    except BadSyntax:
        pass
