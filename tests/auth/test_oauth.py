"""Tokens: signatures, keys and where they come from, and what an issuer is asked."""

import base64
import hmac
import json
import logging
import time
import warnings

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from support.issuer import AUDIENCE, EC, ED, NAME, RSA, claims, public, token

from greenmail.auth.api import Secret
from greenmail.auth.oauth import ASYMMETRIC, Introspection, Jwts
from greenmail.auth.oauth_claims import Rules
from greenmail.auth.oauth_keys import Keys, Source, parse
from greenmail.auth.web import Answer, NoAnswer

RULES = Rules(NAME, (AUDIENCE,), scope=("imap",))
SECRET = b"k" * 32


class Site:
    """A web, and a clock."""

    def __init__(self, *keys) -> None:
        self.keys = list(keys) or [public(EC, "one")]
        self.requests = []
        self.now = 0.0
        self.fails = ""
        self.status = 200
        self.answers = {}

    def __call__(self, request):
        self.requests.append(request)
        if self.fails:
            return NoAnswer(self.fails)
        found = self.answers.get(request.url, {"keys": self.keys})
        return Answer(self.status, found if isinstance(found, bytes) else json.dumps(found).encode())


def looker(site, algorithms=ASYMMETRIC, **source):
    keys = Keys(Source(**(source or {"url": "https://id/keys"})), site, lambda: site.now)
    return Jwts(keys, RULES, algorithms)


def seen(look, text):
    return look(Secret(text.encode()))


@pytest.mark.parametrize(
    "key, algorithm",
    [(RSA, "RS256"), (RSA, "PS256"), (RSA, "RS512"), (EC, "ES256"), (ED, "EdDSA")],
)
def test_good_signatures(key, algorithm):
    found = seen(looker(Site(public(key, "one"))), token(key, algorithm))
    assert found.login == "alice", found.text


def forged(header, payload, signature=b"x"):
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def with_public_key_as_secret():
    """The trick of CVE-2016-10555: a signature by HMAC with what everybody knows."""
    head, body, _ = forged({"alg": "HS256", "kid": "rsa"}, claims()).split(".")
    known = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(known, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}." + base64.urlsafe_b64encode(mac).decode().rstrip("=")


WEAK = rsa.generate_private_key(65537, 1024)
with warnings.catch_warnings():  # that it is weak
    warnings.simplefilter("ignore")
    SIGNED_BY_WEAK = token(WEAK, "RS256", "weak")


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no token was sent"),
        ("opaque", "no signed JWT"),
        ("a.b.c", "no signed JWT"),
        ("a.b.c.d.e", "no signed JWT"),  # JWE
        (forged({"alg": "none"}, claims(), b""), "'none', which is not in oauth-algorithms"),
        (forged({"alg": "None"}, claims(), b""), "not in oauth-algorithms"),
        (forged({"alg": ""}, claims()), "not in oauth-algorithms"),
        (forged({"alg": ["ES256"]}, claims()), "not in oauth-algorithms"),
        (forged({}, claims()), "not in oauth-algorithms"),
        (with_public_key_as_secret(), "'HS256', which is not in oauth-algorithms"),
        (token(RSA, "RS256", "ec"), "has no key 'ec' for RS256"),
        (token(EC, kid="gone"), "has no key 'gone' for ES256"),
        (token(EC, kid="ec")[:-6] + "AAAAAA", "its signature is wrong"),
        (token(kid="ec", header={"typ": "logout+jwt"}), "of another type"),
        (token(kid="ec", header={"typ": "secevent+jwt"}), "of another type"),
        (token(kid="ec", header={"crit": ["exp"], "exp": 1}), "the token is "),  # by the library, or by us
        (SIGNED_BY_WEAK, "its signature is wrong"),
        (token(kid="ec", aud="other"), "not for oauth-audience"),
        (token(kid="ec", exp=int(time.time()) - 60), "has expired"),
    ],
)
def test_what_is_not_believed(text, why):
    found = seen(looker(Site(public(RSA, "rsa"), public(EC, "ec"), public(WEAK, "weak"))), text)
    assert found.login == ""
    assert why in found.text
    assert not text or text[-20:] not in found.text


def test_types_and_missing_key_ids():
    look = looker(Site(public(EC, "one"), public(RSA, "two")))
    for header in ({"typ": "at+jwt"}, {"typ": "application/at+JWT"}, {"typ": None}):
        assert seen(look, token(header=header)).login == "alice"
    assert seen(look, jwt.encode(claims(), RSA, "RS256")).login == "alice"  # whichever key fits


def test_a_key_that_is_for_one_algorithm_is_not_for_another():
    look = looker(Site(public(RSA, "one", alg="PS256")))
    assert seen(look, token(RSA, "PS256")).login == "alice"
    assert "no key" in seen(look, token(RSA, "RS256")).text


def test_secret_keys_are_taken_from_a_file_alone_and_if_the_settings_name_the_algorithm(tmp_path):
    one = {"kty": "oct", "kid": "one", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
    path = tmp_path / "keys"
    path.write_text(json.dumps({"keys": [one]}))
    signed = token(SECRET, "HS256")
    assert seen(looker(Site(), ("HS256",), path=str(path)), signed).login == "alice"
    assert "not in oauth-algorithms" in seen(looker(Site(), path=str(path)), signed).text
    assert seen(looker(Site(one), ("HS256",)), signed).login == ""


@pytest.mark.parametrize(
    "octets",
    [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [7, null, {"kty": "RSA"}]}', b"\xff", b"[" * 5000],
)
def test_what_is_no_set_of_keys(octets):
    assert isinstance(parse(octets, secrets=False), str)


def test_keys_that_are_not_for_signatures_or_not_known_are_left_out():
    """RFC 7517 5."""
    keys = [public(RSA, "enc", use="enc"), {"kty": "new", "kid": "x"}, public(EC, "one", use="sig"), {"kid": 7}]
    found = parse(json.dumps({"keys": keys}).encode(), secrets=False)
    assert [key.kid for key in found] == ["one"]


def test_keys_are_fetched_again_for_a_new_key_id_but_not_at_every_one():
    site = Site()
    look = looker(site)
    assert seen(look, token()).login == "alice"
    for number in range(50):
        assert seen(look, token(kid=f"made up {number}")).login == ""
    assert len(site.requests) == 1  # within 30 seconds of the last
    site.keys.append(public(RSA, "two"))
    site.now = 31
    assert seen(look, token(RSA, "RS256", "two")).login == "alice"
    assert len(site.requests) == 2
    site.now = 31 + 3600
    assert seen(look, token()).login == "alice"
    assert len(site.requests) == 3


def test_without_an_answer_the_old_keys_stay_and_without_any_it_cannot_be_found_out(caplog):
    site = Site()
    site.fails = "id did not answer within 5 seconds"
    look = looker(site)
    found = seen(look, token())
    assert found.unavailable
    assert "did not answer" in found.text
    assert seen(look, token()).unavailable
    assert len(site.requests) == 1  # nobody waits for it a second time within 30 seconds
    site.fails, site.now = "", 31
    assert seen(look, token()).login == "alice"
    site.status, site.now = 500, 31 + 3600
    assert seen(look, token()).login == "alice"
    assert "https://id/keys answers 500" in caplog.text


def test_a_file_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "keys"
    look = looker(Site(), path=str(path))
    assert seen(look, token()).unavailable
    path.write_text(json.dumps({"keys": [public(RSA, "rsa")]}))
    assert "no key 'one'" in seen(look, token()).text
    path.write_text(json.dumps({"keys": [public(EC, "one"), public(RSA, "rsa")]}))
    assert seen(look, token()).login == "alice"
    path.unlink()
    assert seen(look, token()).login == "alice"


@pytest.mark.parametrize(
    "document, why",
    [
        ({"issuer": NAME, "jwks_uri": "https://id/keys"}, ""),
        ({"issuer": "https://evil/", "jwks_uri": "https://id/keys"}, "is of another issuer"),
        ({"issuer": NAME, "jwks_uri": "http://id/keys"}, "no https address"),
        ({"issuer": NAME, "jwks_uri": "file:///etc/passwd"}, "no https address"),
        ({"issuer": NAME, "jwks_uri": 7}, "no https address"),
        ({"issuer": NAME}, "leads to no document"),
        ([], "leads to no document"),
    ],
)
def test_discovery(document, why):
    """RFC 8414 3.3."""
    site = Site()
    site.answers["https://id/conf"] = document
    found = seen(looker(site, openid_configuration="https://id/conf", issuer=NAME), token())
    assert (found.login == "alice") is not bool(why)
    assert why in found.text


@given(st.binary(max_size=60), st.sampled_from([b"", b"eyJhbGciOiJFUzI1NiJ9.", b"eyJhbGciOiJFUzI1NiJ9.e30."]))
def test_any_octets_are_a_token_that_is_no_good(octets, start):
    assert looker(Site())(Secret(start + octets)).login == ""


def test_deep_nesting_in_a_header():
    deep = base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")
    assert "no signed JWT" in seen(looker(Site()), f"{deep}.e30.eA").text


# --- introspection, RFC 7662 ---

URL = "https://id/introspect"


class Clock:
    """Both clocks."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def asking(site, clock, rules=RULES):
    return Introspection(URL, ("green mail", Secret(b"s:cret")), rules, site, 30.0, (clock, clock))


def active(clock, **changed):
    good = {"active": True, "iss": NAME, "aud": AUDIENCE, "exp": clock.now + 600, "email": "alice", "scope": "imap"}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def test_what_is_asked_and_that_it_is_remembered_for_a_while():
    site, clock = Site(), Clock()
    site.answers[URL] = active(clock)
    look = asking(site, clock)
    assert seen(look, "opaque+/=").login == "alice"
    assert seen(look, "opaque+/=").login == "alice"
    (request,) = site.requests
    assert request.body == b"token=opaque%2B%2F%3D&token_type_hint=access_token"  # RFC 7662 2.1
    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b"green+mail:s%3Acret"  # RFC 6749 2.3.1
    site.answers[URL] = {"active": False}
    clock.now += 31
    assert "not active" in seen(look, "opaque+/=").text
    assert len(site.requests) == 2


def test_it_is_not_remembered_for_longer_than_the_token_lives():
    site, clock = Site(), Clock()
    site.answers[URL] = active(clock, exp=clock.now - 25)  # within the leeway of 30
    look = asking(site, clock)
    assert seen(look, "t").login == "alice"
    clock.now += 6
    assert "has expired" in seen(look, "t").text


@pytest.mark.parametrize(
    "changed, login, why",
    [
        ({"iss": None}, "alice", ""),
        ({"exp": None}, "alice", ""),
        ({"iss": "other"}, "", "not from oauth-issuer"),
        ({"aud": None}, "", "not for oauth-audience"),
        ({"scope": "smtp"}, "", "has not the scope"),
        ({"active": "true"}, "", "not active"),
        ({"active": None}, "", "not active"),
        ({"email": None, "username": "bob"}, "", "no claim email"),
    ],
)
def test_what_the_issuer_says(changed, login, why):
    site, clock = Site(), Clock()
    site.answers[URL] = active(clock, **changed)
    found = seen(asking(site, clock), "t")
    assert found.login == login
    assert why in found.text


@pytest.mark.parametrize(
    "status, body, why",
    [(401, {}, "answers 401"), (200, b"<html>", "no"), (200, [], "does not answer with a JSON object"),
     (200, b"[" * 9000, "does not answer")],
)  # fmt: skip
def test_an_answer_that_is_none(status, body, why, caplog):
    site, clock = Site(), Clock()
    site.answers[URL], site.status = body, status
    look = asking(site, clock)
    found = seen(look, "secret-token")
    assert found.unavailable
    assert why in found.text
    assert seen(look, "other").unavailable
    assert len(site.requests) == 1  # and nobody waits for it again within 5 seconds
    clock.now += 6
    assert seen(look, "other").unavailable
    assert len(site.requests) == 2
    assert "secret-token" not in caplog.text


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("greenmail.auth.oauth._MOST_REMEMBERED", 10)
    site, clock = Site(), Clock()
    site.answers[URL] = active(clock)
    look = asking(site, clock)
    for number in range(40):
        seen(look, f"token {number}")
    assert len(look._known) <= 10


def test_no_token_and_no_secret_in_the_log(caplog):
    caplog.set_level(logging.DEBUG)
    site, clock = Site(), Clock()
    site.answers[URL] = active(clock)
    text = token()
    seen(looker(Site()), text)
    seen(asking(site, clock), text)
    for part in text.split("."):
        assert part not in caplog.text
    assert "cret" not in caplog.text
