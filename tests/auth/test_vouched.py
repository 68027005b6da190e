"""EXTERNAL, OAUTHBEARER and XOAUTH2: what clients send, and what becomes of it."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import sasl
from greenmail.auth.api import Secret, Token
from greenmail.auth.scram import Means
from greenmail.auth.vouched import bearer, google_bearer
from greenmail.errors import BadSyntax

GOOD = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="  # RFC 7628 4.1


def ask(token: Secret) -> Token:
    found = {
        GOOD: Token("user@example.com", scope="mail"),
        b"narrow": Token(text="lacks a scope", lacks_scope=True, scope="mail"),
        b"later": Token(text="no answer", unavailable=True),
    }
    hints = {"scope": "mail", "openid_configuration": "https://example.com/.well-known/openid-configuration"}
    return found.get(token.reveal(), Token(text="the token is no good", **hints))


def run(mechanism, message, **means):
    return sasl.start(mechanism, message, Means(lambda *args: None, token=ask, **means)).credentials


@pytest.mark.parametrize(
    "certified, message, login, authorize_as",
    [
        (("fred@example.com",), b"", "fred@example.com", ""),  # RFC 4422 A.2
        (("fred@example.com",), b"fred@example.com", "fred@example.com", "fred@example.com"),
        (("admin",), b"fred@example.com", "admin", "fred@example.com"),  # whether he may is not decided here
        (("a@example.com", "b@example.com"), b"", "a@example.com", ""),
        (("a@example.com", "b@example.com"), b"B@example.com", "b@example.com", "B@example.com"),
        (("bj\u00f6rn",), "bj\u00f6rn".encode(), "bj\u00f6rn", "bj\u00f6rn"),
    ],
)
def test_external(certified, message, login, authorize_as):
    found = run("EXTERNAL", message, certified=certified)
    assert (found.login, found.authorize_as, found.proof.right) == (login, authorize_as, True)
    assert found.proof.vouched == "certificate"


def test_external_without_a_certificate_is_no_login_whatever_is_asked_for():
    found = run("EXTERNAL", b"root")
    assert not found.proof.right
    assert found.login == ""


def test_external_without_an_initial_response_has_an_empty_challenge():
    """RFC 4422 A.2."""
    exchange = sasl.start("EXTERNAL", None, Means(lambda *args: None, certified=("fred",)))
    assert exchange.challenge == b""
    exchange.respond(b"")
    assert exchange.credentials is not None


@pytest.mark.parametrize("message", [b"a\0b", b"\xff"])
def test_external_wants_utf8_without_nul(message):
    with pytest.raises(BadSyntax):
        run("EXTERNAL", message, certified=("fred",))


# RFC 7628 4.1, 4.2 and 4.3, as they stand there in base64.
EXAMPLE = (
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNS"
    "bGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
FAILING = "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE="


def test_oauthbearer_as_in_the_rfc():
    found = run("OAUTHBEARER", base64.b64decode(EXAMPLE))
    assert (found.login, found.authorize_as, found.proof.right) == ("user@example.com", "user@example.com", True)
    assert found.proof.vouched == "token"


def test_a_message_without_a_token_is_answered_with_what_is_wanted():
    """RFC 7628 4.3."""
    found = run("OAUTHBEARER", base64.b64decode(FAILING))
    assert not found.proof.right
    assert json.loads(found.error) == {
        "status": "invalid_token",
        "scope": "mail",
        "openid-configuration": "https://example.com/.well-known/openid-configuration",
    }


@pytest.mark.parametrize(
    "mechanism, message, expected",
    [
        ("OAUTHBEARER", b"n,,\1auth=Bearer narrow\1\1", {"status": "insufficient_scope", "scope": "mail"}),
        ("XOAUTH2", b"user=a\1auth=Bearer narrow\1\1", {"status": "403", "schemes": "bearer", "scope": "mail"}),
        ("XOAUTH2", b"user=a\1auth=Bearer wrong\1\1", {"status": "401", "schemes": "bearer", "scope": "mail"}),
    ],
)
def test_errors_for_clients(mechanism, message, expected):
    assert json.loads(run(mechanism, message).error) == expected


def test_what_could_not_be_found_out_says_nothing_about_the_token():
    found = run("OAUTHBEARER", b"n,a=u,\1auth=Bearer later\1\1")
    assert found.proof.unavailable
    assert found.error == b""
    assert found.login == "u"  # for the log


@pytest.mark.parametrize(
    "message, authorize_as, token",
    [
        (b"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer " + GOOD + b"\1\1", 1, GOOD),
        (b"n,,\1auth=Bearer x.y-z_~+/=\1\1", "", b"x.y-z_~+/="),
        (b"y,,\1auth=bearer  x\1\1", "", b"x"),  # RFC 7235 2.1: the scheme's case does not matter
        (b"n,a=a=2Cb=3D,\1AUTH=Bearer x\1other=\1\1", "a,b=", b"x"),
        (b"n,,\1\1", "", b""),
        (b"n,,\1auth=\1\1", "", b""),
        (b"n,,\1auth=Bearer x\1", "", b"x"),  # Lenient: one end too few
    ],
)
def test_client_responses(message, authorize_as, token):
    found = bearer(message)
    assert found.authorize_as == ("user@example.com" if authorize_as == 1 else authorize_as)
    assert found.token.reveal() == token


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\1", b"n,,", b"n,\1auth=Bearer x\1\1", b"p=tls-unique,,\1auth=Bearer x\1\1", b"n,,,\1auth=Bearer x\1\1",
        b"n,u,\1auth=Bearer x\1\1", b"n,a=,\1auth=Bearer x\1\1", b"n,a=a=2,\1auth=Bearer x\1\1",
        b"n,,\1auth=Basic x\1\1", b"n,,\1auth=Bearer x y\1\1", b"n,,\1auth=Bearer x\1auth=Bearer y\1\1",
        b"n,,\1auth=Bearer x",
        b"n,,\1=x\1\1",
        b"n,,\1host\1auth=Bearer x\1\1", b"n,,\1host=\xff\1auth=Bearer x\1\1", b"\xff,,\1auth=Bearer x\1\1",
        b"n,a=\0,\1auth=Bearer x\1\1", b"n,,\1\1auth=Bearer x\1\1",
    ],
)  # fmt: skip
def test_what_is_no_client_response(message):
    with pytest.raises(BadSyntax) as caught:
        bearer(message)
    assert "x\1" not in str(caught.value)


def test_xoauth2_as_google_documents_it():
    message = b"user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1"
    found = google_bearer(message)
    assert found.authorize_as == "someuser@example.com"
    assert found.token.reveal() == b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    assert google_bearer("user=bj\u00f6rn\1auth=Bearer x\1\1".encode()).authorize_as == "bj\u00f6rn"


@pytest.mark.parametrize(
    "message", [b"", b"auth=Bearer x\1\1", b"user=\1auth=Bearer x\1\1", b"user=\xff\1auth=Bearer x\1\1", b"user=a"]
)
def test_what_is_no_message_of_xoauth2(message):
    with pytest.raises(BadSyntax):
        google_bearer(message)


@given(st.binary(max_size=60), st.sampled_from([b"", b"n,,\1", b"n,a=", b"user=a\1auth=Bearer ", b"n,,\1auth=Bearer "]))
def test_any_octets_are_a_message_or_bad_syntax(octets, start):
    for parse in (bearer, google_bearer):
        try:
            found = parse(start + octets)
        except BadSyntax:
            continue
        assert "Secret" not in repr(found)
        assert repr(found.token) == "***"


def test_a_token_that_is_tried_again_is_no_new_guess():
    """As with passwords: phones repeat what has expired."""
    for mechanism, message in (
        ("OAUTHBEARER", b"n,a=alice,\1auth=Bearer wrong\1\1"),
        ("XOAUTH2", b"user=alice\1auth=Bearer wrong\1\1"),
    ):
        found = run(mechanism, message)
        assert found.password.reveal() == b"wrong"
        assert "wrong" not in repr(found)
