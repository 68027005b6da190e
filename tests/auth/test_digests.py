"""CRAM-MD5, RFC 2195 2, and APOP, RFC 1939 7: the examples of the RFCs, and what is none."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import digests
from greenmail.auth.api import Clear, Secret
from greenmail.errors import BadSyntax

CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"


def known(users: dict[str, str]):
    def ask(login: str) -> Clear | None:
        if login == "away":
            return None
        return Clear(Secret(users[login].encode()), "{PLAIN}" + users[login]) if login in users else Clear(Secret(b"?"))

    return ask


def run(message: bytes, users: dict[str, str]) -> digests.Digested:
    steps = digests.cram_md5(known(users), lambda: CHALLENGE)
    assert next(steps) == CHALLENGE
    with pytest.raises(StopIteration) as end:
        steps.send(message)
    return end.value.value


def test_cram_md5_as_in_the_rfc():
    found = run(b"tim b913a602c7eda7a495b4e6e7334d3890", {"tim": "tanstaaftanstaaf"})
    assert (found.login, found.proof.right, found.proof.stored) == ("tim", True, "{PLAIN}tanstaaftanstaaf")


def test_apop_as_in_the_rfc():
    ask = known({"mrose": "tanstaaf"})
    digest = b"c4c9334bac560ecc979e58001b3e22fb"
    assert digests.apop(b"<1896.697170952@dbc.mtview.ca.us>", "mrose", digest, ask).proof.right
    assert digests.apop(b"<1896.697170952@dbc.mtview.ca.us>", "mrose", digest.upper(), ask).proof.right
    assert not digests.apop(b"<1897.697170952@dbc.mtview.ca.us>", "mrose", digest, ask).proof.right


@pytest.mark.parametrize(
    "message, login",
    [
        (b"tim " + b"0" * 32, "tim"),
        (b"tom b913a602c7eda7a495b4e6e7334d3890", "tom"),
        (b"t im B913a602c7eda7a495b4e6e7334d3890", "t im"),
    ],
)
def test_who_is_not_right(message, login):
    found = run(message, {"tim": "tanstaaftanstaaf"})
    assert (found.login, found.proof.right, found.proof.unavailable) == (login, False, False)


def test_an_invented_password_is_never_right():
    digest = hmac.digest(b"?", CHALLENGE, "md5").hex().encode()
    assert not run(b"nobody " + digest, {}).proof.right


def test_a_database_that_does_not_answer():
    assert run(b"away " + b"0" * 32, {}).proof.unavailable


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b" " + b"0" * 32,
        b"tim " + b"0" * 31,
        b"tim " + b"g" * 32,
        b"t\0m " + b"0" * 32,
        b"\xff " + b"0" * 32,
    ],
)
def test_what_is_malformed(message):
    steps = digests.cram_md5(known({}))
    next(steps)
    with pytest.raises(BadSyntax):
        steps.send(message)


def test_no_challenge_is_given_twice():
    assert len({digests.challenge() for _ in range(100)}) == 100


@given(st.binary(max_size=60))
def test_any_octets_are_malformed_or_wrong(message):
    steps = digests.cram_md5(known({}))
    next(steps)
    try:
        steps.send(message)
    except BadSyntax:
        return
    except StopIteration as end:
        assert not end.value.proof.right
