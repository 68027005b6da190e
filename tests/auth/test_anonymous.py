"""ANONYMOUS, RFC 4505: what clients send, whom it makes of them, and what it is no way to."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import sasl
from greenmail.auth.admission import Databases, Rules
from greenmail.auth.anonymous import trace
from greenmail.auth.api import Attempt, Denial, Denied, Proof, Secret, User
from greenmail.auth.app_passwords import AppPasswords
from greenmail.auth.authenticator import PasswordAuthenticator
from greenmail.auth.logins import Logins, Patience
from greenmail.auth.passwd_file import PasswdFile, deny_file
from greenmail.auth.postfix_auth import Remote
from greenmail.auth.scram import Means
from greenmail.errors import BadSyntax

ANYBODY = Proof(True, vouched="ANONYMOUS")


@pytest.mark.parametrize(
    "message, expected",
    [
        (b"sirhc", "sirhc"),  # RFC 4505 4
        (b"", ""),
        (b"fred@example.com", "fred@example.com"),
        (b'"fred @ home"@example.com', '"fred @ home"@example.com'),
        (b"fred@[192.0.2.7]", "fred@[192.0.2.7]"),
        ("bj\u00f6rn@b\u00fccher.example".encode(), "bj\u00f6rn@b\u00fccher.example"),
        ("\u05d0\u05d1".encode(), "\u05d0\u05d1"),
        ("\U0001f600".encode(), "\U0001f600"),  # not assigned in Unicode 3.2, which is no reason: RFC 4505 3
        (b"two words", "two words"),
        (b"x" * 255, "x" * 255),
        ("\u00e9".encode() * 255, "\u00e9" * 255),
        (b"x" * 256, None),
        (b"@", None),
        (b"fred@", None),
        (b"@example.com", None),
        (b"fred@example..com", None),
        (b"a@b@c", None),
        (b"one\r\ntwo", None),  # C.2.1
        (b"a\0b", None),
        (b"a\x7fb", None),
        ("a\u0085b".encode(), None),  # C.2.2
        ("\ue000".encode(), None),  # C.3
        ("\ufffe".encode(), None),  # C.4
        ("\ufffd".encode(), None),  # C.6
        ("a\u202eb".encode(), None),  # C.8
        ("\U000e0041".encode(), None),  # C.9
        ("\u05d0b".encode(), None),  # from right to left, and back
        (b"\xff", None),
        (b"\xed\xa0\x80", None),  # C.5, which is no UTF-8
    ],
)
def test_trace(message, expected):
    if expected is None:
        with pytest.raises(BadSyntax):
            trace(message)
    else:
        assert trace(message) == expected


@given(st.binary(max_size=1100) | st.text(max_size=300).map(str.encode))
def test_any_octets_are_a_line_of_a_log_or_bad_syntax(message):
    try:
        found = trace(message)
    except BadSyntax:
        return
    assert found.encode() == message and len(found) <= 255 and not set(found) & set("\r\n\0\x1b")


@pytest.mark.parametrize("message", [b"a@" + b"a." * 120, b"a." * 127, b'"' + b"\\" * 250 + b"@", b"!" * 255])
def test_no_message_takes_long(message):
    try:
        trace(message)
    except BadSyntax:
        pass


def test_the_settings_say_who_it_is_and_not_the_client():
    found = sasl.start("anonymous", b"root@example.com", Means(lambda *args: None, anonymous_user="public")).credentials
    assert (found.login, found.authorize_as, found.trace) == ("public", "", "root@example.com")
    assert found.proof == ANYBODY


def test_without_the_setting_there_is_no_such_mechanism():
    with pytest.raises(BadSyntax):
        sasl.start("ANONYMOUS", b"x", Means(lambda *args: None))


# Who may come in


@pytest.fixture
def make(tmp_path):
    def direct(function, *args):
        return function(*args)

    files = {
        "users": (
            "public@example.org:*\nalice:{PLAIN}secret\nlocked:*::::::nologin\ninside:*::::::allow_nets=10.0.0.0/8\n"
            "elsewhere:*:5001:5001\nroot:*:0:0\n"
        ),
        "masters": "public@example.org:{PLAIN}secret\n",
        "denied": "denied\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text + ("denied:*\n" if name == "users" else ""))

    def made(anonymous_user, **rules):
        databases = Databases(
            (PasswdFile(str(tmp_path / "users")),),
            (PasswdFile(str(tmp_path / "masters")),),
            (deny_file(str(tmp_path / "denied")),),
        )
        apps = AppPasswords(str(tmp_path / "apps"), None, direct, lambda: 0.0)
        return PasswordAuthenticator(
            databases, Rules(anonymous_user=anonymous_user, **rules), direct, app_passwords=apps
        )

    return made


def attempt(login="public@example.org", authorize_as="", proof=ANYBODY, address="192.0.2.9"):
    return Attempt(login, Secret(b""), address, "imap", "ANONYMOUS", True, authorize_as, proof=proof)


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("public@example.org", "public@example.org"),
        ("PUBLIC@example.org", "public@example.org"),  # by the rules for names
        ("locked", Denial.NO_LOGIN),
        ("inside", Denial.NETWORK),
        ("denied", Denial.NO_LOGIN),
        ("nobody", Denial.UNAVAILABLE),  # the administrator's mistake, and no guess of the client's
        ("elsewhere", Denial.OWNER),
        ("", Denial.INVALID_NAME),
        ("../x", Denial.INVALID_NAME),
    ],
)
def test_as_whom_anybody_comes_in(make, setting, expected):
    outcome = make(setting).check(attempt(setting))
    if isinstance(outcome, User):
        assert (outcome.name, outcome.is_anonymous, outcome.master) == (expected, True, "")
    else:
        assert outcome.denial is expected


@pytest.mark.parametrize(
    "login, authorize_as", [("alice", ""), ("alice*public@example.org", ""), ("public@example.org", "alice"), ("", "x")]
)
def test_nothing_that_is_said_makes_another_one_of_him(make, login, authorize_as):
    """A master of the same name is there; so is another user."""
    outcome = make("public@example.org").check(attempt(login, authorize_as))
    assert (outcome.name, outcome.master, outcome.is_anonymous) == ("public@example.org", "", True)


def test_strangers_get_no_process_of_another_uid(make, caplog):
    outcome = make("elsewhere", lowest_uid=1000).check(attempt())
    assert isinstance(outcome, Denied) and outcome.denial is Denial.UNAVAILABLE
    assert "the mail of anonymous-user belongs to 5001:5001" in caplog.text
    assert isinstance(make("root", lowest_uid=1000, owner=lambda: (993, 993)).check(attempt()), Denied)


def test_a_user_who_is_missing_is_told_to_the_administrator(make, caplog):
    assert make("nobody").check(attempt()).denial is Denial.UNAVAILABLE
    assert "anonymous-user user='nobody' is in no user database" in caplog.text


class Everyone:
    """An Authenticator that lets everybody in."""

    takes_tokens = False

    def __init__(self, anonymous_user: str) -> None:
        self.anonymous_user = anonymous_user

    def able(self):
        return frozenset()

    def check(self, attempt):
        return User(attempt.login, is_anonymous=True)


@pytest.mark.parametrize(
    "setting, secure, offered",
    [("public", True, ("PLAIN", "ANONYMOUS")), ("public", False, ()), ("", True, ("PLAIN",))],
)
def test_when_it_is_offered(setting, secure, offered):
    logins = Logins("imap", "s1", Remote(secure=secure), None, None, Patience())
    assert logins.offered(("PLAIN", "ANONYMOUS"), Everyone(setting)) == offered


def test_the_log_has_what_he_says_of_himself(caplog):
    caplog.set_level(logging.INFO)
    logins = Logins("imap", "s1", Remote("192.0.2.7", secure=True), None, None, Patience())
    exchange = logins.begin(Everyone("public"), ("ANONYMOUS",), "ANONYMOUS", b"c2lyaGM=")
    logins.check(Everyone("public"), "ANONYMOUS", exchange.credentials)
    assert "anonymous sid=s1 user='public' rip=192.0.2.7 trace='sirhc'" in caplog.text
