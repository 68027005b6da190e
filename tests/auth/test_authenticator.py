"""Who may log in: databases, passwords, and everything that is decided after the password."""

import logging
import os

import pytest
from support.cost import least

from greenmail.auth import schemes
from greenmail.auth.api import Attempt, Denial, Denied, Proof, Secret, Token, User
from greenmail.auth.authenticator import BACKENDS, Databases, PasswordAuthenticator, Rules
from greenmail.auth.cache import SuccessCache
from greenmail.auth.gate import Gate, network_of
from greenmail.auth.static import Static

OLD = 1_700_000_000

USERS = """
alice@example.org:{PLAIN}secret:1000:1001::/home/alice::userdb_quota_rule=*:storage=1G
bob:{PLAIN}secret
locked:{PLAIN}secret::::::nologin=gone
inside:{PLAIN}secret::::::allow_nets=10.0.0.0/8,2001:db8::/32,192.0.2.7
nowhere:{PLAIN}secret::::::allow_nets=
broken:{PLAIN}secret::::::allow_nets=local,10.0.0.300
other:{PLAIN}secret:1:1001
group:{PLAIN}secret:1000:7
nouid:{PLAIN}secret::7
weak:{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69
odd:{ROT13}frperg
empty:
"""


class Calls:
    """A `blocking` that counts."""

    def __init__(self) -> None:
        self.verified: list[str] = []

    def __call__(self, function, *args):
        if function.__name__ == "_verify":
            self.verified.append(args[0])
        return function(*args)


@pytest.fixture
def blocking():
    return Calls()


@pytest.fixture
def make(tmp_path, blocking):
    def make_it(text: str = USERS, **rules):
        path = tmp_path / "users"
        path.write_text(text)
        os.utime(path, (OLD, OLD))
        rules.setdefault("owner", lambda: (1000, 1001))
        return PasswordAuthenticator(Databases([BACKENDS["passwd-file"](str(path))]), Rules(**rules), blocking)

    return make_it


def attempt(login: str, password: bytes = b"secret", address: str = "192.0.2.1", authorize_as: str = "") -> Attempt:
    return Attempt(login, Secret(password), address, "imap", "PLAIN", True, authorize_as)


def test_the_user_as_the_file_has_it(make):
    assert make().check(attempt("Alice@Example.org")) == User(
        "alice@example.org", "/home/alice", 1000, 1001, {"quota_rule": "*:storage=1G"}
    )


@pytest.mark.parametrize(
    "given, denial",
    [
        (attempt("bob", b"wrong"), Denial.MISMATCH),
        (attempt("bob", b""), Denial.MISMATCH),
        (attempt("empty", b""), Denial.MISMATCH),
        (attempt("empty", b"x"), Denial.MISMATCH),
        (attempt("nobody"), Denial.UNKNOWN),
        (attempt("alice"), Denial.UNKNOWN),
        (attempt("locked"), Denial.NO_LOGIN),
        (attempt("locked", b"wrong"), Denial.MISMATCH),
        (attempt("inside"), Denial.NETWORK),
        (attempt("inside", b"wrong"), Denial.MISMATCH),
        (attempt("inside", address="10.1.2.3"), None),
        (attempt("inside", address="::ffff:10.1.2.3"), None),
        (attempt("inside", address="2001:db8:5::1"), None),
        (attempt("inside", address="2001:db9::1"), Denial.NETWORK),
        (attempt("inside", address="192.0.2.7"), None),
        (attempt("inside", address="no address"), Denial.NETWORK),
        (attempt("nowhere", address="10.1.2.3"), Denial.NETWORK),
        (attempt("broken", address="10.1.2.3"), Denial.NETWORK),
        (attempt("other"), Denial.OWNER),
        (attempt("group"), Denial.OWNER),
        (attempt("nouid"), Denial.OWNER),
        (attempt("weak"), Denial.MISMATCH),
        (attempt("odd", b"frperg"), Denial.MISMATCH),
        (attempt("bob", authorize_as="bob"), None),
        (attempt("bob", authorize_as="BOB"), None),
        (attempt("bob", authorize_as="alice@example.org"), Denial.MISMATCH),
        (attempt("bob", authorize_as="../x"), Denial.MISMATCH),
        (attempt(""), Denial.INVALID_NAME),
        (attempt("../bob"), Denial.INVALID_NAME),
        (attempt("bob\0"), Denial.INVALID_NAME),
        (attempt("bob\nbob"), Denial.INVALID_NAME),
        (attempt(".."), Denial.INVALID_NAME),
    ],
)
def test_who_may_come_in(make, given, denial):
    found = make().check(given)
    assert (found.denial if isinstance(found, Denied) else None) is denial


def test_names_are_completed_before_they_are_looked_up(make):
    authenticator = make("alice@example.org:{PLAIN}secret\n", default_domain="Example.ORG")
    assert isinstance(authenticator.check(attempt("ALICE")), User)
    assert authenticator.normalize("Alice") == "alice@example.org"


def test_weak_schemes_by_setting(make):
    assert isinstance(make(allow_weak_schemes=True).check(attempt("weak")), User)


def test_another_owner_is_logged_with_both(make, caplog):
    found = make().check(attempt("other"))
    assert found == Denied(Denial.OWNER, "other", "mail belongs to 1:1001, this server runs as 1000:1001")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "owner user='other' mail belongs to 1:1001, this server runs as 1000:1001"
    ]


def test_the_owner_is_this_process_unless_told(make):
    line = f"a:{{PLAIN}}secret:{os.geteuid()}:{os.getegid()}\nb:{{PLAIN}}secret:{os.geteuid() + 1}:{os.getegid()}\n"
    path_authenticator = make(line, owner=Rules().owner)
    assert isinstance(path_authenticator.check(attempt("a")), User)
    assert isinstance(path_authenticator.check(attempt("b")), Denied)


def test_a_password_is_verified_for_unknown_users_too(make, blocking):
    authenticator = make()
    for login in ("nobody", "bob", "another", "locked"):
        before = len(blocking.verified)
        authenticator.check(attempt(login, b"wrong"))
        assert len(blocking.verified) == before + 1
    stand_in = blocking.verified[0]
    # Somebody's, so of the cost that is usual here; the line without a password has our own stand-in.
    assert stand_in in USERS or stand_in == schemes.STAND_IN
    authenticator.check(attempt("nobody", b"wrong"))
    assert blocking.verified[-1] == stand_in


def test_without_any_user_the_stand_in_is_ours(make, blocking):
    make("").check(attempt("nobody"))
    assert blocking.verified == [schemes.STAND_IN]
    assert isinstance(PasswordAuthenticator(Databases(), Rules(), blocking).check(attempt("nobody")), Denied)
    assert blocking.verified == [schemes.STAND_IN] * 2


def test_knowing_the_stand_ins_password_lets_nobody_in(make):
    found = make("bob:{PLAIN}secret\n").check(attempt("nobody", b"secret"))
    assert isinstance(found, Denied) and found.denial is Denial.UNKNOWN


def test_unknown_user_and_wrong_password_take_as_long(make):
    authenticator = make(f"bob:{schemes.make('ARGON2ID', b'secret')}\nlocked:!\n")

    def fastest(login: str) -> float:
        return least(lambda: authenticator.check(attempt(login, b"wrong")), 0, tries=7)

    wrong, locked = fastest("bob"), fastest("locked")
    unknown = fastest("nobody1")
    # One who is not there may cost no hash only if nobody's hash is ever skipped: a skipped one is 1000 times faster.
    assert 0.3 < unknown / wrong < 3
    assert 0.3 < locked / wrong < 3


def test_success_is_remembered_and_failure_is_not(make, blocking):
    authenticator = make()
    for _ in range(3):
        assert isinstance(authenticator.check(attempt("bob")), User)
    assert len(blocking.verified) == 1
    for _ in range(3):
        assert isinstance(authenticator.check(attempt("bob", b"wrong")), Denied)
    assert len(blocking.verified) == 4


def test_a_changed_or_removed_password_is_not_remembered(make, tmp_path):
    authenticator = make("bob:{PLAIN}secret\n")
    assert isinstance(authenticator.check(attempt("bob")), User)
    for number, text in enumerate(["bob:{PLAIN}changed\n", "\n"]):
        (tmp_path / "users").write_text(text)
        os.utime(tmp_path / "users", (OLD + 1 + number, OLD + 1 + number))
        assert isinstance(authenticator.check(attempt("bob")), Denied)


def test_what_is_remembered_is_still_subject_to_the_rules(make, blocking):
    authenticator = make()
    assert isinstance(authenticator.check(attempt("inside", address="10.0.0.1")), User)
    found = authenticator.check(attempt("inside", address="192.0.2.1"))
    assert isinstance(found, Denied) and found.denial is Denial.NETWORK
    assert len(blocking.verified) == 1


def test_databases_in_order_and_the_first_that_knows_decides(tmp_path, blocking):
    for name, text in (("one", "bob:{PLAIN}first\n"), ("two", "bob:{PLAIN}second\ncarol:{PLAIN}second\n")):
        (tmp_path / name).write_text(text)
    databases = [BACKENDS["passwd-file"](str(tmp_path / name)) for name in ("one", "two")]
    authenticator = PasswordAuthenticator(Databases(databases), Rules(), blocking)
    assert isinstance(authenticator.check(attempt("bob", b"first")), User)
    assert isinstance(authenticator.check(attempt("bob", b"second")), Denied)
    assert isinstance(authenticator.check(attempt("carol", b"second")), User)
    (tmp_path / "one").unlink()  # it may have had something against carol
    found = authenticator.check(attempt("carol", b"second"))
    assert isinstance(found, Denied) and found.denial is Denial.UNAVAILABLE


def test_the_queue_is_bounded_in_all_and_for_an_address(make, tmp_path):
    inner: list[User | Denied] = []
    depth = [0]

    def blocking(function, *args):
        """While one login waits in the pool, another comes."""
        if depth[0] < 5 and function.__name__ == "_verify":
            depth[0] += 1
            inner.append(authenticator.check(attempt("bob", address=addresses[depth[0]])))
        return function(*args)

    path = tmp_path / "users"
    path.write_text("bob:{PLAIN}secret\n")
    authenticator = PasswordAuthenticator(
        Databases([BACKENDS["passwd-file"](str(path))]), Rules(), blocking, SuccessCache(0), Gate(3, 2)
    )
    addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    assert isinstance(authenticator.check(attempt("bob", address=addresses[0])), User)
    denials = [found.denial if isinstance(found, Denied) else None for found in inner]
    assert denials == [Denial.UNAVAILABLE, None]  # the third of one address was refused, and then depth was used up
    assert authenticator.waiting == 0


def test_passwords_are_in_no_log_line_and_no_answer(make, caplog):
    caplog.set_level(0)
    authenticator = make()
    for login in ("bob", "nobody", "weak", "odd", "other", "broken", "inside"):
        found = authenticator.check(attempt(login, b"tanstaaf"))
        assert "tanstaaf" not in repr(found) and "secret" not in repr(found)
        authenticator.check(attempt(login))
    text = caplog.text + repr([record.args for record in caplog.records])
    assert "tanstaaf" not in text and "secret" not in text and "frperg" not in text and "5ebe2294" not in text


# ---- cache and gate ----


def test_cache_forgets():
    now = [0.0]
    cache = SuccessCache(lifetime=300, most=3, now=lambda: now[0])
    cache.remember("a", b"p", "s")
    assert cache.knows("a", b"p", "s")
    for other in (("a", b"q", "s"), ("b", b"p", "s"), ("a", b"p", "t"), ("ap", b"", "s"), ("", b"ap", "s")):
        assert not cache.knows(*other)
    now[0] = 299.9
    assert cache.knows("a", b"p", "s")
    now[0] = 300.0
    assert not cache.knows("a", b"p", "s")
    for number in range(5):
        cache.remember(f"u{number}", b"p", "s")
    assert [cache.knows(f"u{number}", b"p", "s") for number in range(5)] == [False, False, True, True, True]
    assert len(cache._until) == 3


@pytest.mark.parametrize(
    "address, network",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_network_of(address, network):
    assert network_of(address) == network


def test_gate():
    gate = Gate(3, 2)
    assert [gate.enter(address) for address in ("::1", "::2", "::3", "a", "b")] == [True, True, False, True, False]
    gate.leave("::1")
    assert gate.enter("b") and not gate.enter("c") and gate.waiting == 3
    for address in ("::2", "a", "b"):
        gate.leave(address)
    assert gate.waiting == 0 and not gate._inside


def test_a_name_of_any_length_stays_short_in_the_log(make):
    found = make().check(attempt("x" * 8000))
    assert isinstance(found, Denied) and found.denial is Denial.INVALID_NAME
    assert len(found.user) <= 256


VOUCHED = Proof(True, vouched="certificate")


@pytest.mark.parametrize(
    "login, authorize_as, address, expected",
    [
        ("bob", "", "192.0.2.9", "bob"),
        ("BOB", "bob", "192.0.2.9", "bob"),
        ("nobody", "", "192.0.2.9", Denial.UNKNOWN),
        ("locked", "", "192.0.2.9", Denial.NO_LOGIN),
        ("inside", "", "192.0.2.9", Denial.NETWORK),
        ("inside", "", "10.1.2.3", "inside"),
        ("bob", "alice@example.org", "192.0.2.9", Denial.MISMATCH),  # he is no master
    ],
)
def test_who_is_vouched_for_needs_no_password_and_no_less_of_all_else(make, login, authorize_as, address, expected):
    outcome = make().check(Attempt(login, Secret(b""), address, "imap", "EXTERNAL", True, authorize_as, proof=VOUCHED))
    assert (outcome.name if isinstance(outcome, User) else outcome.denial) == expected


def test_a_proof_that_is_wrong_is_not_made_right_by_a_voucher(make):
    proof = Proof(False, text="the token has expired", vouched="token")
    outcome = make().check(Attempt("bob", Secret(b""), "192.0.2.9", "imap", "OAUTHBEARER", True, proof=proof))
    assert outcome == Denied(Denial.MISMATCH, "bob", "the token has expired")


def test_tokens_are_looked_at_within_the_bounds_of_waiting_logins(tmp_path):
    seen = []

    def tokens(token):
        seen.append(token.reveal())
        return Token("bob")

    gate = Gate(1, 1)
    authenticator = PasswordAuthenticator(Databases(), Rules(), lambda f, *args: f(*args), gate=gate, tokens=tokens)
    assert authenticator.takes_tokens
    assert authenticator.token(Secret(b"x"), "192.0.2.9") == Token("bob")
    assert gate.enter("192.0.2.9")
    assert authenticator.token(Secret(b"x"), "192.0.2.9").unavailable
    assert seen == [b"x"]
    none = PasswordAuthenticator(Databases(), Rules(), lambda f, *args: f(*args))
    assert not none.takes_tokens
    assert none.token(Secret(b"x"), "192.0.2.9").login == ""


@pytest.mark.parametrize(
    "vouched, login, authorize_as, expected",
    [
        ("certificate", "admin", "bob", ("bob", "admin")),
        ("token", "admin", "bob", "may not act as 'bob'"),  # who chooses his name with the issuer is no master by that
        ("certificate", "bob*admin", "", Denial.UNKNOWN.value),  # nor is who has such a name signed
        ("token", "bob*admin", "", Denial.UNKNOWN.value),
        ("certificate", "admin", "", Denial.UNKNOWN.value),  # a master is no user
    ],
)
def test_masters_who_are_vouched_for(tmp_path, vouched, login, authorize_as, expected):
    (tmp_path / "users").write_text("bob:{PLAIN}secret\n" + ("admin:*\n" if vouched == "token" else ""))
    (tmp_path / "masters").write_text("admin:{PLAIN}master\n")
    databases = Databases(
        [BACKENDS["passwd-file"](str(tmp_path / "users"))], [BACKENDS["passwd-file"](str(tmp_path / "masters"))]
    )
    authenticator = PasswordAuthenticator(databases, Rules(), lambda function, *args: function(*args))
    proof = Proof(True, vouched=vouched)
    outcome = authenticator.check(Attempt(login, Secret(b""), "192.0.2.9", "imap", "X", True, authorize_as, proof))
    assert ((outcome.name, outcome.master) if isinstance(outcome, User) else outcome.text) == expected


@pytest.mark.parametrize("listed", ["", "bob:{PLAIN}secret\nlocked:*::::::nologin\n"])
@pytest.mark.parametrize("everybody", [False, True])
def test_a_token_of_somebody_whom_nobody_lists(tmp_path, listed, everybody):
    (tmp_path / "users").write_text(listed)
    users = [BACKENDS["passwd-file"](str(tmp_path / "users"))] if listed else []
    databases = Databases(users, places=[Static(home="/mail/%n", is_everybody=everybody)])
    authenticator = PasswordAuthenticator(databases, Rules(), lambda function, *args: function(*args))

    def outcome(login, proof):
        found = authenticator.check(Attempt(login, Secret(b""), "192.0.2.9", "imap", "X", True, proof=proof))
        return (found.name, found.home) if isinstance(found, User) else found.denial

    token = Proof(True, vouched="token")
    assert outcome("zoe", token) == (("zoe", "/mail/zoe") if everybody else Denial.UNKNOWN)
    assert outcome("a/b", token) is Denial.INVALID_NAME
    if listed:
        assert outcome("locked", token) is Denial.NO_LOGIN
    assert not isinstance(outcome("zoe", Proof(False)), tuple)  # SCRAM: nobody's keys
    assert not isinstance(outcome("zoe", None), tuple)
