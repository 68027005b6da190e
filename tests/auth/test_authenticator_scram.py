"""Proofs in the place of passwords, master users, and the list of who is denied: decided by the authenticator."""

import os

import pytest

from greenmail.auth import schemes, scram
from greenmail.auth.api import Attempt, Denial, Denied, Keys, Proof, Secret, User
from greenmail.auth.authenticator import BACKENDS, Databases, PasswordAuthenticator, Rules
from greenmail.auth.gate import Gate

OLD = 1_700_000_000
SCRAM = schemes.make("SCRAM-SHA-256", b"secret")
NAME = "SCRAM-SHA-256"


def direct(function, *args):
    return function(*args)


@pytest.fixture
def make(tmp_path):
    def file(name: str, text: str | None, kind: str = "passwd-file"):
        if text is None:
            return []
        path = tmp_path / name
        path.write_text(text)
        os.utime(path, (OLD, OLD))
        return [BACKENDS[kind](str(path))]

    def make_it(users: str, masters: str | None = None, denied: str | None = None, gate=None, **rules):
        databases = Databases(file("users", users), file("masters", masters), file("denied", denied, "deny-file"))
        return PasswordAuthenticator(databases, Rules(secret=b"x", **rules), direct, gate=gate)

    return make_it


def attempt(login, password=b"secret", authorize_as="", address="192.0.2.1", proof=None):
    return Attempt(login, Secret(password), address, "imap", "PLAIN", True, authorize_as, proof)


def keys(authenticator, login, authorize_as="", mechanism=NAME) -> Keys:
    found = authenticator.keys(mechanism, login, authorize_as, "192.0.2.1")
    assert found is not None
    return found


def denial(found):
    return found.denial if isinstance(found, Denied) else None


# ---- SCRAM ----


@pytest.mark.parametrize(
    "users, masters, offered",
    [
        (f"a:{SCRAM}\n", None, {NAME}),
        (f"a:{SCRAM}\nb:{{PLAIN}}x\n", None, {NAME}),
        (f"a:{SCRAM}\nb:$6$x\n", None, set()),
        (f"a:{SCRAM}\nb:$6$x::::::nologin\n", None, {NAME}),
        ("a:{PLAIN}x\n", None, {*scram.HASHES, "CRAM-MD5"}),
        ("a:{PLAIN}x\n", f"m:{SCRAM}\n", {NAME}),
        ("a:{PLAIN}x\n", "m:$6$x\n", set()),  # clients choose SCRAM for bob*m as well
        ("a:{PLAIN}x\n", "", {*scram.HASHES, "CRAM-MD5"}),
        ("", None, set()),
    ],
)
def test_scram_is_offered_if_everybody_can_use_it(make, users, masters, offered):
    assert make(users, masters).able() == offered


def test_a_new_user_without_keys_ends_the_offer_at_once(make, tmp_path):
    authenticator = make(f"a:{SCRAM}\n")
    assert authenticator.able() == {NAME}
    (tmp_path / "users").write_text(f"a:{SCRAM}\nb:$6$x\n")
    assert authenticator.able() == set()
    (tmp_path / "users").write_text(f"a:{SCRAM}\n")
    assert authenticator.able() == {NAME}
    (tmp_path / "users").unlink()
    assert authenticator.able() == set()


def test_scram_is_not_offered_where_each_domain_has_a_file(tmp_path):
    (tmp_path / "example.org").write_text(f"a@example.org:{SCRAM}\n")
    databases = Databases([BACKENDS["passwd-file"](f"{tmp_path}/%d")])
    assert PasswordAuthenticator(databases, Rules(), direct).able() == set()


def test_keys_of_a_user_and_of_nobody(make):
    authenticator = make(f"a:{SCRAM}\n")
    known = keys(authenticator, "A")
    assert (known.stored, known.iterations) == (SCRAM, 20000)
    for name in ("nobody", "", "../a", "a\0", "\udcff"):
        unknown = keys(authenticator, name)
        assert (unknown.stored, unknown.iterations, len(unknown.salt)) == ("", 20000, len(known.salt))
        assert unknown == keys(make(f"a:{SCRAM}\n"), name)  # in another worker


def test_a_locked_user_looks_like_nobody(make):
    found = keys(make(f"a:{SCRAM}\nlocked:!\n"), "locked")
    assert (found.stored, found.iterations) == ("", 20000)


def test_a_proof_is_right_for_what_is_stored_now(make, tmp_path):
    authenticator = make(f"a:{SCRAM}\n")
    right = attempt("a", b"", proof=Proof(True, SCRAM))
    assert authenticator.check(right) == User("a")
    assert denial(authenticator.check(attempt("a", b"", proof=Proof(False, SCRAM, "wrong")))) is Denial.MISMATCH
    assert denial(authenticator.check(attempt("nobody", b"", proof=Proof(False)))) is Denial.UNKNOWN
    assert denial(authenticator.check(attempt("nobody", b"", proof=Proof(True, SCRAM)))) is Denial.UNKNOWN
    (tmp_path / "users").write_text(f"a:{schemes.make(NAME, b'secret')}\n")  # while the client was thinking
    assert denial(authenticator.check(right)) is Denial.MISMATCH


def test_a_proof_does_not_get_round_the_rules(make):
    users = f"a:{SCRAM}::::::nologin\nb:{SCRAM}::::::allow_nets=10.0.0.0/8\nc:{SCRAM}:1:1\nd:{SCRAM}\n"
    authenticator = make(users, denied="d\n")
    found = [denial(authenticator.check(attempt(name, b"", proof=Proof(True, SCRAM)))) for name in "abcd"]
    assert found == [Denial.NO_LOGIN, Denial.NETWORK, Denial.OWNER, Denial.NO_LOGIN]
    acting = authenticator.check(attempt("b", b"", "a", "10.0.0.1", Proof(True, SCRAM)))
    assert denial(acting) is Denial.MISMATCH


def test_keys_that_cannot_be_had_are_no_failure_of_the_client(make, tmp_path):
    full = make(f"a:{SCRAM}\n", gate=Gate(0, 0))
    assert full.keys(NAME, "a", "", "192.0.2.1") is None
    authenticator = make(f"a:{SCRAM}\n")
    for name in ("a", "nobody"):
        unavailable = authenticator.check(attempt(name, b"", proof=Proof(False, unavailable=True)))
        assert denial(unavailable) is Denial.UNAVAILABLE
    (tmp_path / "users").unlink()
    assert authenticator.keys(NAME, "a", "", "192.0.2.1") is None


# ---- master users ----

USERS = """
bob:{PLAIN}bobs::::/home/bob::userdb_x=1
away:{PLAIN}x::::::proxy host=other
shut:{PLAIN}x::::::nologin allow_nets=10.0.0.0/8
other:{PLAIN}x:1:1
admin:{PLAIN}admins-own
"""
MASTERS = """
admin:{PLAIN}secret
retired:{PLAIN}secret::::::nologin
inside:{PLAIN}secret::::::allow_nets=10.0.0.0/8
"""


@pytest.mark.parametrize(
    "given, expected",
    [
        (attempt("bob*admin"), None),
        (attempt("BOB*Admin"), None),
        (attempt("admin", authorize_as="bob"), None),  # RFC 4616 2
        (attempt("bob*admin", authorize_as="bob"), None),
        (attempt("bob*admin", authorize_as="shut"), Denial.UNKNOWN),
        (attempt("bob*admin", b"bobs"), Denial.MISMATCH),
        (attempt("bob*admin", b"admins-own"), Denial.MISMATCH),
        (attempt("bob*bob", b"bobs"), Denial.UNKNOWN),
        (attempt("bob", b"secret"), Denial.MISMATCH),
        (attempt("bob", b"bobs"), None),
        (attempt("bob", b"bobs", authorize_as="admin"), Denial.UNKNOWN),  # bob is no master
        (attempt("bob", b"bobs", authorize_as="bob"), None),
        (attempt("admin"), Denial.MISMATCH),  # a master is no user
        (attempt("admin", b"admins-own"), None),
        (attempt("admin*admin"), None),  # as the user of the same name
        (attempt("nobody*admin"), Denial.UNKNOWN),
        (attempt("nobody*admin", b"wrong"), Denial.MISMATCH),
        (attempt("bob*nobody"), Denial.UNKNOWN),
        (attempt("*admin"), Denial.INVALID_NAME),
        (attempt("bob*"), Denial.INVALID_NAME),
        (attempt("../x*admin"), Denial.INVALID_NAME),
        (attempt("bob*../admin"), Denial.INVALID_NAME),
        (attempt("bob*admin*admin"), Denial.UNKNOWN),
        (attempt("bob*retired"), Denial.NO_LOGIN),
        (attempt("bob*inside"), Denial.NETWORK),
        (attempt("bob*inside", address="10.1.1.1"), None),
        (attempt("shut*admin"), None),  # what is asked of the login is asked of the master
        (attempt("away*admin"), Denial.NO_LOGIN),  # there is no mail here
        (attempt("other*admin"), Denial.OWNER),
    ],
)
def test_masters(make, given, expected):
    assert denial(make(USERS, MASTERS).check(given)) is expected


def test_a_master_gets_what_the_user_has(make):
    authenticator = make(USERS, MASTERS)
    for given in (attempt("bob*admin"), attempt("bob*admin"), attempt("admin", authorize_as="bob")):
        assert authenticator.check(given) == User("bob", "/home/bob", extra={"x": "1"}, master="admin")
    assert authenticator.check(attempt("bob", b"bobs")) == User("bob", "/home/bob", extra={"x": "1"})


def test_both_names_are_told_to_the_log(make):
    found = make(USERS, MASTERS).check(attempt("bob*admin", b"wrong"))
    assert isinstance(found, Denied) and found.user == "bob (master admin)"


@pytest.mark.parametrize("separator, login", [("%", "bob%admin"), ("", "bob*admin")])
def test_the_separator_is_a_setting(make, separator, login):
    found = make(USERS, MASTERS, master_separator=separator).check(attempt(login))
    assert denial(found) is (None if separator else Denial.UNKNOWN)


def test_without_masters_the_separator_is_a_character_as_any(make):
    assert make("bob*admin:{PLAIN}secret\n").check(attempt("bob*admin")) == User("bob*admin")


def test_the_domain_of_users_is_not_that_of_masters(make):
    authenticator = make("bob@example.org:{PLAIN}x\n", "admin:{PLAIN}secret\n", default_domain="example.org")
    assert authenticator.check(attempt("bob*admin")) == User("bob@example.org", master="admin")


def test_masters_by_scram(make):
    authenticator = make("bob:{PLAIN}x\n", f"admin:{SCRAM}\n")
    for login, authorize_as in (("bob*admin", ""), ("admin", "bob")):
        assert keys(authenticator, login, authorize_as).stored == SCRAM
        found = authenticator.check(attempt(login, b"", authorize_as, proof=Proof(True, SCRAM)))
        assert found == User("bob", master="admin")
    assert keys(authenticator, "admin").stored == ""  # no user


def test_a_file_of_masters_that_cannot_be_read(make, tmp_path):
    authenticator = make(USERS, MASTERS)
    (tmp_path / "masters").unlink()
    assert denial(authenticator.check(attempt("bob*admin"))) is Denial.UNAVAILABLE
    assert isinstance(authenticator.check(attempt("bob", b"bobs")), User)


# ---- deny-file ----


@pytest.mark.parametrize(
    "denied, login, password, expected",
    [
        ("bob\n", "bob", b"bobs", Denial.NO_LOGIN),
        ("bob\n", "bob", b"wrong", Denial.MISMATCH),
        ("# bob\n\nalice\n", "bob", b"bobs", None),
        ("alice\r\nbob\r\n", "bob", b"bobs", Denial.NO_LOGIN),
        ("bob:{PLAIN}x:1:1\n", "bob", b"bobs", Denial.NO_LOGIN),
        ("bob", "bob", b"bobs", Denial.NO_LOGIN),
        ("BOB\n", "bob", b"bobs", None),  # names are as they are after username-format
        ("", "bob", b"bobs", None),
        ("admin\n", "bob*admin", b"secret", Denial.NO_LOGIN),
        ("bob\n", "bob*admin", b"secret", None),
    ],
)
def test_who_is_denied(make, denied, login, password, expected):
    assert denial(make(USERS, MASTERS, denied).check(attempt(login, password))) is expected


def test_a_deny_file_that_cannot_be_read_lets_nobody_in(make, tmp_path):
    authenticator = make(USERS, denied="alice\n")
    (tmp_path / "denied").unlink()
    assert denial(authenticator.check(attempt("bob", b"bobs"))) is Denial.UNAVAILABLE
    assert denial(authenticator.check(attempt("bob", b"wrong"))) is Denial.MISMATCH


# ---- CRAM-MD5 and APOP ----


def test_a_password_that_is_stored_as_it_is(make):
    authenticator = make(f"a:{{PLAIN}}x\nb:{SCRAM}\n", "m:{PLAIN}y\n")
    found = authenticator.clear("A", "192.0.2.1")
    assert (found.password.reveal(), found.stored) == (b"x", "{PLAIN}x")
    assert authenticator.clear("a*m", "192.0.2.1").password.reveal() == b"y"
    for nobody in ("b", "c", "../a", ""):
        invented = authenticator.clear(nobody, "192.0.2.1")
        assert invented.stored == "" and len(invented.password.reveal()) == 16


def test_what_cannot_be_found_out_is_no_password(make, tmp_path):
    authenticator = make("a:{PLAIN}x\n")
    (tmp_path / "users").unlink()
    (tmp_path / "users").mkdir()
    assert authenticator.clear("a", "192.0.2.1") is None


def test_the_stored_scheme_of_that_name_is_not_what_is_needed(make):
    """Dovecot's {CRAM-MD5} is half of the digest's work; it is not read here, and does not stop anything else."""
    assert make("a:{CRAM-MD5}9186d855e11eba527a7a52ca82b313e180d62234f0acc9051b527243d41e2740\n").able() == set()
