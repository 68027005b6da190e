"""App passwords: the file, what is good when, and that a login writes to no file of passwords."""

import logging
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import app_passwords
from greenmail.auth.admission import Databases, Rules
from greenmail.auth.api import Attempt, Denial, Proof, Secret, User
from greenmail.auth.app_passwords import AppPassword, AppPasswords, Uses, parse
from greenmail.auth.authenticator import BACKENDS, PasswordAuthenticator
from greenmail.errors import Refused

NOW = 1_795_400_000.0  # 2026-11-23
USERS = "bob:{PLAIN}main\ncarol:*\nlocked:*::::::nologin\nadmin:*\n"


def direct(function, *args):
    return function(*args)


class Place:
    """A file of users, one of app passwords, and a directory for their use."""

    def __init__(self, directory) -> None:
        self.path = str(directory / "app-passwords")
        self.uses = directory / "uses"
        self.uses.mkdir()
        (directory / "users").write_text(USERS)
        (directory / "masters").write_text("admin:{PLAIN}master\n")
        self.now = NOW
        app_passwords.add(self.path, AppPassword("nobody", "x", app_passwords.hashed("other")))
        further = AppPasswords(self.path, Uses(str(self.uses)), direct, lambda: self.now)
        one = [BACKENDS["passwd-file"](str(directory / "users"))]
        masters = [BACKENDS["passwd-file"](str(directory / "masters"))]
        self.authenticator = PasswordAuthenticator(Databases(one, masters), Rules(), direct, app_passwords=further)

    def give(self, user, password, name="phone", protocols=(), expires=""):
        made = AppPassword(user, name, app_passwords.hashed(password), frozenset(protocols), "2026-11-01", expires)
        app_passwords.add(self.path, made)
        return made

    def check(self, login, password, protocol="imap", **more):
        attempt = Attempt(login, Secret(password.encode()), "192.0.2.7", protocol, "PLAIN", True, **more)
        found = self.authenticator.check(attempt)
        return found.name if isinstance(found, User) else found.denial


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_it_is_good_beside_the_main_password_and_in_its_place(place):
    place.give("bob", "one")
    place.give("bob", "two", "laptop")
    place.give("carol", "three")
    assert [place.check("bob", password) for password in ("main", "one", "two")] == ["bob"] * 3
    assert place.check("bob", "three") is Denial.MISMATCH
    assert place.check("CAROL", "three") == "carol"
    assert place.check("carol", "main") is Denial.MISMATCH


def test_it_opens_nothing_that_the_user_may_not(place):
    for user in ("locked", "gone", "admin"):
        place.give(user, "key")
    assert place.check("locked", "key") is Denial.NO_LOGIN
    assert place.check("gone", "key") is Denial.UNKNOWN
    assert place.check("bob*admin", "key") is Denial.MISMATCH  # a master has his own password alone
    assert place.check("admin", "key") == "admin"  # the user of that name
    assert place.check("admin", "key", authorize_as="bob") is Denial.MISMATCH
    assert place.check("bob", "key") is Denial.MISMATCH
    assert place.check("bob", "x", proof=Proof(False)) is Denial.MISMATCH


@pytest.mark.parametrize(
    "protocols, expires, protocol, good, why",
    [
        ((), "", "imap", True, ""),
        (("imap",), "", "imap", True, ""),
        (("imap",), "", "pop3", False, "it is not for pop3"),
        (("pop3",), "", "imap", False, "it is not for imap"),
        (("imap", "pop3"), "", "smtp", False, "it is not for smtp"),
        ((), "2026-11-23", "imap", True, ""),  # the last day
        ((), "2026-11-22", "imap", False, "it was good until 2026-11-22"),
    ],
)
def test_protocols_and_days(place, caplog, protocols, expires, protocol, good, why):
    caplog.set_level(logging.INFO)
    place.give("bob", "key", protocols=protocols, expires=expires)
    assert (place.check("bob", "key", protocol) == "bob") is good
    line = f"app-password user='bob' name='phone' protocol={protocol} rip=192.0.2.7"
    assert (line in caplog.text) is good
    assert why in caplog.text
    assert "'key'" not in caplog.text


def test_one_that_is_revoked_is_good_no_more(place):
    place.give("bob", "one")
    place.give("bob", "two", "laptop")
    place.give("carol", "one")
    assert place.check("bob", "one") == "bob"
    assert app_passwords.revoke(place.path, "bob", "phone") == 1
    assert place.check("bob", "one") is Denial.MISMATCH
    assert place.check("carol", "one") == "carol"
    assert app_passwords.revoke(place.path, "bob", "phone") == 0
    assert app_passwords.revoke(place.path, "bob", None) == 1
    assert place.check("bob", "two") is Denial.MISMATCH


def test_the_last_use_is_noted_and_not_at_each_login_and_not_in_the_file(place):
    made = place.give("bob", "key")
    before = os.stat(place.path)
    assert Uses(str(place.uses)).last(made) is None
    assert place.check("bob", "key", "pop3") == "bob"
    when, by = Uses(str(place.uses)).last(made)
    assert abs(when - time.time()) < 60
    assert by == "pop3 192.0.2.7"
    (path,) = place.uses.iterdir()
    path.unlink()
    assert place.check("bob", "key") == "bob"
    assert list(place.uses.iterdir()) == []  # within a minute
    place.now += 61
    assert place.check("bob", "key") == "bob"
    assert len(list(place.uses.iterdir())) == 1
    after = os.stat(place.path)
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    app_passwords.revoke(place.path, "bob", "phone")
    assert Uses(str(place.uses)).last(place.give("bob", "new")) is None  # another one of the same name


def test_a_directory_that_is_not_there_keeps_nobody_out_and_is_told_once(place, caplog):
    place.give("bob", "key")
    place.give("carol", "key")
    place.uses.rmdir()
    assert place.check("bob", "key") == "bob"
    assert place.check("carol", "key") == "carol"
    assert caplog.text.count("app-password-use") == 1


def test_a_link_in_the_directory_is_not_written_through(place, tmp_path):
    made = place.give("bob", "key")
    target = tmp_path / "target"
    target.write_text("precious")
    os.symlink(target, Uses(str(place.uses))._path(made))
    assert place.check("bob", "key") == "bob"
    assert target.read_text() == "precious"
    assert Uses(str(place.uses)).last(made) is None


def test_a_file_that_cannot_be_read_leaves_the_main_password(place, caplog):
    os.unlink(place.path)
    os.mkdir(place.path)
    assert place.check("bob", "main") == "bob"
    assert place.check("bob", "key") is Denial.MISMATCH
    assert "app-password reason=" in caplog.text


def test_scram_is_not_offered_while_somebody_has_one(tmp_path):
    """Who takes it could not get in with one: the salt is said before it is known which password is meant."""
    (tmp_path / "users").write_text("bob:{PLAIN}main\n")
    path = str(tmp_path / "app")
    (tmp_path / "app").write_text("# nobody\n")
    further = AppPasswords(path, None, direct, time.time)
    database = BACKENDS["passwd-file"](str(tmp_path / "users"))
    authenticator = PasswordAuthenticator(Databases([database]), Rules(), direct, app_passwords=further)
    assert "SCRAM-SHA-256" in authenticator.able()
    app_passwords.add(path, AppPassword("bob", "phone", app_passwords.hashed("x")))
    assert authenticator.able() == frozenset()
    app_passwords.revoke(path, "bob", "phone")
    assert "SCRAM-SHA-256" in authenticator.able()


HASH = "{SSHA256}" + "A" * 64


@pytest.mark.parametrize(
    "text, users, problems",
    [
        (f"bob:phone:{HASH}:imap:2026-11-23\n", {"bob": ["phone"]}, 0),
        (f"#c\n\nbob:a:{HASH}:imap,pop3:2026-11-23:2027-01-01\r\nbob:b:{HASH}::\n", {"bob": ["a", "b"]}, 0),
        (f"bob:a:{HASH}:imap:x\nbob:a:{HASH}:pop3:x\n", {"bob": ["a"]}, 1),
        (f"bob:a:{HASH}:ftp:x\n", {}, 1),
        (f"bob:a:{HASH}:imap:x:tomorrow\nbob:a:{HASH}:imap:x:20270101\nbob:a:{HASH}:imap:x:2027-1-1\n", {}, 3),
        (f"bob:a:{HASH}:imap\nbob::{HASH}:imap:x\n:a:{HASH}:imap:x\nbob:a::imap:x\nbob\n", {}, 5),
    ],
)
def test_the_file(text, users, problems):
    table = parse(text.encode())
    found = {user: list(entry.extra) for user, entry in table.entries.items() if entry.extra}
    assert found == users
    assert len(table.problems) == problems


@given(st.binary(max_size=200))
def test_any_octets_are_a_file(octets):
    parse(octets)


TEXT = st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters=":"), min_size=1, max_size=9)


@given(TEXT.filter(lambda user: not user.startswith("#")), TEXT, st.sets(st.sampled_from(app_passwords.PROTOCOLS)))
def test_a_line_says_what_it_was_made_of(user, name, protocols):
    made = AppPassword(user, name, HASH, frozenset(protocols), "2026-11-23", "2027-01-01")
    try:
        line = made.line()
    except Refused:
        return
    assert app_passwords.parse_line(line.decode()) == made


@pytest.mark.parametrize(
    "user, name", [("a:b", "x"), ("a", "x:y"), ("a", "x\ny"), ("a", ""), ("#a", "x"), ("a", "\x85")]
)
def test_what_cannot_be_written(tmp_path, user, name):
    with pytest.raises(Refused):
        app_passwords.add(str(tmp_path / "app"), AppPassword(user, name, HASH))
    assert not (tmp_path / "app").exists()


def test_passwords_are_random_and_their_hashes_are_those_of_a_scheme(place):
    made = {app_passwords.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == 24 and one.count("-") == 4 for one in made)
    assert app_passwords.hashed("x") != app_passwords.hashed("x")


def test_many_writers_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "app")

    def write(number):
        app_passwords.add(path, AppPassword("bob", f"device {number}", HASH))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(app_passwords.all_in(path)) == 20
    with pytest.raises(Refused, match="already"):
        write(3)
