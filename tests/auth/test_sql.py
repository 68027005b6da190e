"""Users in a table: SQLite here; the servers are in tests/interop."""

import sqlite3
import threading

import pytest

from greenmail.auth import remembered, sql
from greenmail.auth.api import Secret
from greenmail.auth.database import Entry, Question, StandIn, Unavailable, Unlisted, Wrong

ROWS = [
    ("bob@example.org", "bob", "example.org", "{PLAIN}secret", "/srv/bob", 5000, None),
    ("o'hara", "o'hara", "", "$6$x$y", None, None, "10.0.0.0/8"),
    ("twice", "twice", "", "{PLAIN}a", None, None, None),
    ("twice", "twice", "", "{PLAIN}b", None, None, None),
]
QUERY = "SELECT password, home, uid, allow_nets FROM users WHERE address = :user"


@pytest.fixture
def make(tmp_path):
    with sqlite3.connect(tmp_path / "mail users.db") as connection:
        connection.execute("CREATE TABLE users (address, local, domain, password, home, uid, allow_nets)")
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)", ROWS)
    connection.close()
    opened = []

    def make_it(query=QUERY, file="mail users.db", **settings):
        found = sql.Settings(f"sqlite:///{tmp_path}/{file}", query, **{"timeout": 1.0, **settings})
        opened.append(sql.SqlDatabase(found, remembered.summary((), 20000)))
        return opened[-1]

    yield make_it
    for database in opened:
        database.close()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("bob@example.org", Entry("bob@example.org", "{PLAIN}secret", uid=5000, home="/srv/bob")),
        ("o'hara", Entry("o'hara", "{CRYPT}$6$x$y", allow_nets=("10.0.0.0/8",))),
        ("BOB@example.org", StandIn()),
        ("nobody", StandIn()),
        ("' OR 1=1 --", StandIn()),
        ("%", StandIn()),
        (":user", StandIn()),
        ("\\' OR '1'='1", StandIn()),
        ("twice", Unavailable("the query gives more than one row for user twice", True)),
    ],
)
def test_users(make, name, expected):
    assert make().look_up(name) == expected


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users WHERE local = :name AND domain = :domain",
        "SELECT * FROM users WHERE local || '@' || domain = :user",
        "SELECT password, home FROM users WHERE address = :user AND 'a:b' <> '::'",
        "SELECT home, '*\\:bytes=5' AS quota_rule FROM users WHERE address = :user",
        "SELECT home AS userdb_home FROM users WHERE address = :name || '@' || :domain",
    ],
)
def test_names_are_bound_in_whole_and_in_parts(make, query):
    found = make(query).look_up("bob@example.org")
    assert isinstance(found, Entry) and found.home == "/srv/bob"


def test_a_default_scheme_of_passwords_without_one(make):
    found = make("SELECT 'x' AS password WHERE :user <> ''", default_scheme="PLAIN").look_up("bob")
    assert found == Entry("bob", "{PLAIN}x")


@pytest.mark.parametrize("settings", [{"query": "SELECT * FROM nowhere WHERE a = :user"}, {"file": "none.db"}])
def test_what_cannot_be_asked_is_not_available_and_not_made(make, tmp_path, settings):
    assert isinstance(make(**settings).look_up("bob"), Unavailable)
    assert not (tmp_path / "none.db").exists()


def test_nothing_is_written(make):
    assert isinstance(make("DELETE FROM users WHERE address = :user RETURNING home").look_up("twice"), Unavailable)
    assert isinstance(make().look_up("bob@example.org"), Entry)


def test_a_table_that_is_locked_for_long_is_not_available_for_a_while(make, tmp_path):
    database = make(timeout=0.1)
    other = sqlite3.connect(tmp_path / "mail users.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert isinstance(database.look_up("bob@example.org"), Unavailable)
    other.execute("ROLLBACK")
    other.close()
    assert isinstance(database.look_up("bob@example.org"), Entry)


def test_from_many_threads(make):
    database, found = make(connections=2), []

    def ask():
        for _ in range(20):
            found.append(database.look_up("bob@example.org"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160 and all(isinstance(one, Entry) for one in found)


def test_it_does_not_compare(make):
    assert isinstance(make().verify("bob", Question(Secret(b"x"), "::1", "imap", "PLAIN")), Wrong)


def test_a_driver_that_is_missing_is_named_with_the_extra(monkeypatch):
    assert sql.missing("sqlite:////x") == ""
    monkeypatch.setitem(sql._DRIVERS, "mysql", "no_such_driver")
    assert sql.missing("mysql+x://h/d") == "needs the Python package no_such_driver: pip install 'greenmail[sql]'"


@pytest.mark.parametrize(
    "query, expected",
    [
        ("SELECT DISTINCT address FROM users ORDER BY address", ["bob@example.org", "o'hara", "twice"]),
        ("SELECT address FROM users WHERE address = 'twice'", ["twice"]),
        ("SELECT allow_nets FROM users", ["10.0.0.0/8"]),
        ("SELECT address FROM users WHERE 0", []),
        ("", Unlisted("sql has no iterate-query")),
        ("SELECT missing FROM users", Unavailable("no such column: missing")),
    ],
)
def test_all_users(make, query, expected):
    assert make(iterate_query=query).everybody() == expected
