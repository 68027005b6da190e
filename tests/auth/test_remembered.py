"""Databases on other machines, as the authenticator sees them: order, memory, outages, and what is told to whom."""

import logging
from dataclasses import dataclass, field, replace

import pytest

from greenmail.auth import remembered, scram_keys
from greenmail.auth.admission import Databases, Rules
from greenmail.auth.api import Attempt, Denial, Denied, Proof, Secret, User
from greenmail.auth.authenticator import PasswordAuthenticator
from greenmail.auth.cache import FailureCache, SuccessCache
from greenmail.auth.database import Entry, Question, StandIn, Unavailable, Wrong
from greenmail.auth.passwd_file import PasswdFile, deny_file
from greenmail.auth.remembered import Remembered
from greenmail.auth.static import Static


def direct(function, *args):
    return function(*args)


@dataclass
class Elsewhere:
    """A server of users: what it knows is in memory, and what it was asked is noted."""

    users: dict[str, str] = field(default_factory=dict)
    compares: bool = True
    is_certain: bool = True  # False: as PAM, which never says who is there
    is_down: bool = False
    asked: list[str] = field(default_factory=list)
    label: str = "elsewhere"
    summary: scram_keys.Summary = scram_keys.NOTHING

    def look_up(self, name):
        self.asked.append(f"find {name}")
        if self.is_down:
            return Unavailable("it is down")
        if not self.is_certain:
            return Entry(name, is_certain=False)
        stored = "" if self.compares else "{PLAIN}" + self.users.get(name, "")
        return Entry(name, stored) if name in self.users else StandIn()

    def verify(self, name, question):
        password = question.password.reveal().decode()
        self.asked.append(f"verify {name} {password}")
        if self.is_down:
            return Unavailable("it is down")
        if self.is_certain and name not in self.users:
            return StandIn()
        return Entry(name) if self.users.get(name) == password else Wrong("no", goes_on=not self.is_certain)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock, tmp_path):
    def make_it(*backends, passwd="", places=(), masters=(), **rules):
        files = []
        if passwd:
            (tmp_path / "users").write_text(passwd)
            files = [PasswdFile(str(tmp_path / "users"))]
        users = [*files, *(Remembered(one, direct, 300, 1000, 30, clock) for one in backends)]
        return PasswordAuthenticator(
            Databases(users, [Remembered(one, direct) for one in masters], (), places),
            Rules(owner=lambda: (1000, 1000), **rules),
            direct,
            SuccessCache(300, now=clock),
            failures=FailureCache(30, now=clock),
        )

    return make_it


def attempt(login, password="secret", **more):
    return Attempt(login, Secret(password.encode()), "192.0.2.1", "imap", "PLAIN", True, **more)


def outcome(authenticator, login, password="secret", **more):
    found = authenticator.check(attempt(login, password, **more))
    return found.denial if isinstance(found, Denied) else found.name


@pytest.mark.parametrize("compares", [True, False])
def test_who_is_known_comes_in_and_is_asked_about_once(make, compares):
    there = Elsewhere({"bob": "secret"}, compares)
    authenticator = make(there)
    assert [outcome(authenticator, "bob") for _ in range(3)] == ["bob"] * 3
    assert len(there.asked) == 1
    assert outcome(authenticator, "bob", "wrong") is Denial.MISMATCH
    assert outcome(authenticator, "nobody") is Denial.UNKNOWN
    assert outcome(authenticator, "bob") == "bob" and len(there.asked) == 3


@pytest.mark.parametrize("login", ["bob", "nobody"])
def test_the_same_wrong_password_is_not_asked_for_again_for_a_while(make, clock, login):
    there = Elsewhere({"bob": "secret"})
    authenticator = make(there)
    first = outcome(authenticator, login, "wrong")
    assert outcome(authenticator, login, "wrong") is first and len(there.asked) == 1
    assert outcome(authenticator, login, "other") is first and len(there.asked) == 2
    clock.now = 31
    assert outcome(authenticator, login, "wrong") is first and len(there.asked) == 3


@pytest.mark.parametrize("compares", [True, False])
def test_a_new_password_is_right_at_once_and_ends_the_old_one(make, clock, compares):
    there = Elsewhere({"bob": "old"}, compares)
    authenticator = make(there)
    assert outcome(authenticator, "bob", "old") == "bob"
    there.users["bob"] = "new"
    assert outcome(authenticator, "bob", "old") == "bob"  # for as long as it is remembered
    assert outcome(authenticator, "bob", "new") == "bob"
    assert outcome(authenticator, "bob", "old") is Denial.MISMATCH
    there.users["bob"] = "newer"
    clock.now = 301
    assert outcome(authenticator, "bob", "new") is Denial.MISMATCH


def test_nothing_is_remembered_with_a_lifetime_or_size_of_nothing():
    for lifetime, most in ((0, 10), (10, 0)):
        success, failure = SuccessCache(lifetime, most), FailureCache(lifetime, most)
        success.remember("bob", b"x", "y")
        failure.remember("bob", b"x", Denial.MISMATCH)
        assert not success.knows("bob", b"x", "y") and failure.recall("bob", b"x") is None
        there = Elsewhere({"bob": "x"}, compares=False)
        database = Remembered(there, direct, lifetime, most)
        assert isinstance(database.find("bob", direct), Entry) and database.recall("bob") is None


def test_what_is_remembered_is_bounded(clock):
    there = Elsewhere({f"u{number}": "x" for number in range(10)}, compares=False)
    database = Remembered(there, direct, 300, 3, 30, clock)
    for name in there.users:
        database.find(name, direct)
    assert [name for name in there.users if database.recall(name)] == ["u7", "u8", "u9"]
    failures = FailureCache(30, 3, clock)
    for name in there.users:
        failures.remember(name, b"x", Denial.UNKNOWN)
    assert [name for name in there.users if failures.recall(name, b"x")] == ["u7", "u8", "u9"]


def test_a_refusal_takes_as_long_as_the_slowest_of_late(clock):
    """pam_unix and many others compare a hash only if there is somebody to whom it belongs."""

    class Hasty(Elsewhere):
        def verify(self, name, question):
            clock.now += 0.25 if name in self.users else 0.001
            return super().verify(name, question)

    def pause(seconds):
        clock.now += seconds

    database = Remembered(Hasty({"bob": "secret"}), direct, now=clock, pause=pause)

    def seconds(name, password="wrong"):
        begin = clock.now
        database.verify(name, Question(Secret(password.encode()), "192.0.2.1", "imap", "PLAIN"))
        return round(clock.now - begin, 4)

    assert seconds("nobody") == 0.001  # nothing is known yet
    assert [seconds("bob"), seconds("nobody"), seconds("bob"), seconds("nobody")] == [0.25, 0.2375, 0.25, 0.2375]
    assert seconds("bob", "secret") == 0.25
    for _ in range(200):
        seconds("nobody")
    assert seconds("nobody") == 0.001


def test_a_hash_of_somebody_is_compared_for_who_is_not_there():
    there = Elsewhere({"bob": "one", "carol": "two"}, compares=False)
    database = Remembered(there, direct)
    assert database.find("nobody", direct) == StandIn("")
    for name in ("bob", "carol", "bob"):
        database.find(name, direct)
    drawn = {database.find(f"nobody{number}", direct).stored for number in range(40)}
    assert drawn == {"{PLAIN}one", "{PLAIN}two"}


def test_neither_cache_has_a_password_in_it():
    success, failure = SuccessCache(), FailureCache()
    success.remember("bob", b"tanstaafl", "{PLAIN}tanstaafl")
    failure.remember("bob", b"tanstaafl", Denial.MISMATCH)
    assert "tanstaafl" not in repr(vars(success)) + repr(vars(failure))


def test_one_that_is_down_is_no_wrong_password_and_nobody_behind_it_is_asked(make, caplog):
    caplog.set_level(logging.INFO)
    first, second = Elsewhere({"carol": "secret"}), Elsewhere({"bob": "secret"})
    authenticator = make(first, second)
    first.is_down = True
    assert outcome(authenticator, "bob") is Denial.UNAVAILABLE
    assert outcome(authenticator, "bob") is Denial.UNAVAILABLE and second.asked == []
    first.is_down = False
    assert outcome(authenticator, "bob") == "bob"
    assert [record.getMessage() for record in caplog.records if "user-database" in record.getMessage()] == [
        "user-database type=elsewhere is not available: it is down",
        "user-database type=elsewhere is available again",
    ]


def test_one_that_does_not_answer_in_time_is_down():
    def late(function, *args):
        raise TimeoutError("no answer within 5 seconds")

    database = Remembered(Elsewhere({"bob": "x"}), late)
    assert database.find("bob", direct) == Unavailable("no answer within 5 seconds")


@pytest.mark.parametrize(
    "login, password, expected",
    [
        ("bob", "in-file", "bob"),
        ("bob", "in-pam", Denial.MISMATCH),  # the first that knows him decides
        ("carol", "in-pam", "carol"),
        ("carol", "in-sql", "carol"),  # PAM said no, but never that it knows her
        ("dora", "in-sql", "dora"),
        ("dora", "wrong", Denial.MISMATCH),
        ("nobody", "wrong", Denial.MISMATCH),
    ],
)
def test_databases_in_order(make, login, password, expected):
    pam = Elsewhere({"bob": "in-pam", "carol": "in-pam"}, is_certain=False)
    sql = Elsewhere({"carol": "in-sql", "dora": "in-sql"}, compares=False)
    assert outcome(make(pam, sql, passwd="bob:{PLAIN}in-file\n"), login, password) == expected


def test_users_of_the_second_are_remembered_too(make):
    first, second = Elsewhere({"bob": "secret"}, compares=False), Elsewhere({"carol": "secret"}, compares=False)
    authenticator = make(first, second)
    assert [outcome(authenticator, "carol") for _ in range(3)] == ["carol"] * 3
    assert (first.asked, second.asked) == (["find carol"], ["find carol"])


@pytest.mark.parametrize("password", ["", "x" * 1025, "secret\0"])
def test_a_password_that_nobody_has_is_shown_to_nobody(make, password):
    there = Elsewhere({"bob": password})
    assert outcome(make(there), "bob", password) is Denial.MISMATCH
    assert there.asked == []


def test_where_the_mail_is_by_a_template(make):
    place = Static("/srv/%d/%n", "maildir:~/Mail", 1000, 1000, {"quota_rule": "*:storage=1G"})
    found = make(Elsewhere({"bob@example.org": "secret"}), places=[place]).check(attempt("Bob@Example.org"))
    extra = {"quota_rule": "*:storage=1G", "mail": "maildir:~/Mail"}
    assert found == User("bob@example.org", "/srv/example.org/bob", 1000, 1000, extra)


def test_what_the_database_itself_says_comes_before_the_template(make):
    place = Static("/srv/%n", uid=1, gid=1, extra={"quota_rule": "all"})
    line = "bob:{PLAIN}secret:1000:1000::/home/bob::userdb_quota_rule=own\n"
    found = make(passwd=line, places=[place]).check(attempt("bob"))
    assert found == User("bob", "/home/bob", 1000, 1000, {"quota_rule": "own"})


def test_a_name_without_what_the_template_needs_does_not_come_in(make):
    authenticator = make(Elsewhere({"bob": "secret"}), places=[Static("/srv/%d/%n")])
    assert outcome(authenticator, "bob") is Denial.NO_LOGIN
    assert outcome(authenticator, "bob", "wrong") is Denial.MISMATCH


def test_who_is_known_by_several_names_is_denied_by_each(tmp_path):
    class Aliases(Elsewhere):
        def verify(self, name, question):
            return Entry("bob")

    for denied, expected in (("bob", Denial.NO_LOGIN), ("alias", Denial.NO_LOGIN), ("carol", None)):
        (tmp_path / denied).write_text(f"{denied}\n")
        databases = Databases([Remembered(Aliases(), direct)], (), [deny_file(str(tmp_path / denied))])
        found = PasswordAuthenticator(databases, Rules(), direct).check(attempt("alias"))
        assert (found.denial if isinstance(found, Denied) else None) is expected
    assert found == User("bob")


VOUCHED = Proof(True, vouched="certificate")


@pytest.mark.parametrize(
    "places, expected",
    [((), Denial.UNKNOWN), ((Static("/srv/%n"),), Denial.UNKNOWN), ((Static("/srv/%n", is_everybody=True),), "bob")],
)
def test_who_is_vouched_for_must_be_known_to_somebody(make, places, expected):
    pam = Elsewhere({"bob": "secret"}, is_certain=False)
    assert outcome(make(pam, places=places), "bob", "", proof=VOUCHED) == expected


def test_who_is_vouched_for_is_looked_up_without_a_password(make):
    there = Elsewhere({"bob": "secret"})
    authenticator = make(there)
    assert outcome(authenticator, "bob", "", proof=VOUCHED) == "bob"
    assert outcome(authenticator, "nobody", "", proof=VOUCHED) is Denial.UNKNOWN
    there.is_down = True
    assert outcome(authenticator, "bob", "", proof=VOUCHED) is Denial.UNAVAILABLE
    assert there.asked == ["find bob", "find nobody", "find bob"]


def test_a_master_of_elsewhere_comes_in_as_a_user_of_elsewhere(make):
    authenticator = make(Elsewhere({"bob": "x"}), masters=[Elsewhere({"admin": "secret"})])
    assert outcome(authenticator, "bob*admin") == "bob"
    assert outcome(authenticator, "nobody*admin") is Denial.UNKNOWN
    assert outcome(authenticator, "bob*admin", "wrong") is Denial.MISMATCH
    assert outcome(authenticator, "admin") is Denial.UNKNOWN  # what is remembered of the master is not the user's


@pytest.mark.parametrize(
    "schemes, mechanisms",
    [
        ((), set()),
        (("SCRAM-SHA-256",), {"SCRAM-SHA-256"}),
        (("SCRAM-SHA-256", "SCRAM-SHA-1"), {"SCRAM-SHA-256", "SCRAM-SHA-1"}),
        (("PLAIN",), {"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}),
    ],
)
def test_scram_is_offered_where_the_settings_say_that_everybody_has_it(make, schemes, mechanisms):
    there = Elsewhere({"bob": "x"}, compares=False, summary=remembered.summary(schemes, 8192))
    assert make(there).able() == mechanisms
    assert make(there, passwd="bob:{PLAIN}x\n").able() == mechanisms
    assert make(there, Elsewhere({"bob": "x"})).able() == set()  # that one wants to be shown the password
    for name in mechanisms & {"SCRAM-SHA-256"}:
        keys = make(there).keys(name, "nobody", "", "192.0.2.1")
        assert keys is not None and keys.iterations == (4096 if "PLAIN" in schemes else 8192)


class OnlyImap(Elsewhere):
    """A service that has a mind of its own about protocols and addresses, as PAM has with a service for each."""

    def verify(self, name, question):
        if question.protocol != "imap" or question.address != "192.0.2.1":
            return Wrong("not from there")
        return super().verify(name, question)


@pytest.mark.parametrize("other", [{"protocol": "pop3"}, {"address": "198.51.100.9"}])
def test_what_a_service_said_of_one_protocol_and_address_is_said_of_no_other(make, other):
    authenticator = make(OnlyImap({"bob": "secret"}))
    elsewhere = replace(attempt("bob"), **other)
    assert isinstance(authenticator.check(elsewhere), Denied)
    assert outcome(authenticator, "bob") == "bob", "its refusal there does not keep him out here"
    assert isinstance(authenticator.check(elsewhere), Denied)
