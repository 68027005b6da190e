"""What is said in a token, and whether it is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth.oauth_claims import Rules, judge

NOW = 1_800_000_000.0
RULES = Rules("https://id/", ("mail", "imap.example.org"), "email", ("imap",), 30.0, "https://id/conf")
GOOD = {"iss": "https://id/", "aud": "mail", "exp": NOW + 60, "email": "alice@example.org", "scope": "openid imap"}


def of(**changed):
    claims = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    return judge(claims, RULES, lambda: NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": ["other", "mail"]},
        {"aud": "imap.example.org"},
        {"exp": NOW - 29},  # leeway
        {"nbf": NOW + 29},
        {"exp": NOW + 0.5, "nbf": NOW - 0.5},  # RFC 7519 2: NumericDate may have a fraction
        {"scope": None, "scp": "imap"},
        {"scope": None, "scp": ["imap", "smtp"]},
        {"scope": ["imap"]},
        {"email_verified": True},
        {"azp": "client", "sub": 7, "anything": {"else": []}},
    ],
)
def test_tokens_that_are_good(changed):
    assert of(**changed).login == "alice@example.org"


@pytest.mark.parametrize(
    "changed, why",
    [
        ({"exp": NOW - 31}, "the token has expired 31 s ago"),
        ({"exp": NOW - 7200}, "the token has expired 2.0 h ago"),
        ({"exp": None}, "does not say when it ends"),
        ({"exp": "9999999999"}, "does not say when it ends"),
        ({"exp": True}, "does not say when it ends"),
        ({"exp": float("nan")}, "does not say when it ends"),
        ({"exp": float("inf")}, "does not say when it ends"),
        ({"exp": 10**400}, "does not say when it ends"),
        ({"nbf": NOW + 31}, "not valid for another 31 s"),
        ({"nbf": "tomorrow"}, "does not say when it ends"),
        ({"iss": "https://id"}, "is from 'https://id' and not from oauth-issuer"),
        ({"iss": None}, "is from None"),
        ({"iss": ["https://id/"]}, "not from oauth-issuer"),
        ({"aud": None}, "not for oauth-audience"),
        ({"aud": []}, "not for oauth-audience"),
        ({"aud": "mai"}, "not for oauth-audience"),
        ({"aud": [["mail"], {"mail": 1}, None]}, "not for oauth-audience"),
        ({"scope": "imaps"}, "has not the scope imap"),
        ({"scope": None}, "has not the scope imap"),
        ({"scope": 7, "scp": {"imap": 1}}, "has not the scope imap"),
        ({"email": None}, "no claim email"),
        ({"email": ""}, "no claim email"),
        ({"email": ["alice@example.org"]}, "no claim email"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "false"}, "not verified"),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "bound to a key"),  # RFC 9449 6.1
    ],
)
def test_tokens_that_are_not(changed, why):
    found = of(**changed)
    assert found.login == ""
    assert why in found.text
    assert found.lacks_scope is ("scope imap" in why)
    assert (found.scope, found.openid_configuration) == ("imap", "https://id/conf")


def test_the_user_is_in_the_claim_that_the_settings_name():
    rules = Rules(user_claim="preferred_username")
    claims = {"exp": NOW, "preferred_username": "bob", "email": "alice", "email_verified": False}
    assert judge(claims, rules, lambda: NOW).login == "bob"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "nbf", "scp", "cnf", "email_verified"]), JSON))
def test_any_claims_are_judged(changed):
    found = judge({**GOOD, **changed}, RULES, lambda: NOW)
    assert (found.login == "") != (found.text == "")
