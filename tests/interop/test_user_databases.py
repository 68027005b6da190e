"""Users in slapd, PostgreSQL and MariaDB from Debian: lookups, hostile names, outages, and a whole server."""

import imaplib
import os
import socket
import time

import pytest
from support import user_databases
from support.server import start

from greenmail.auth import remembered, schemes
from greenmail.auth.api import Secret
from greenmail.auth.database import Entry, Question, StandIn, Unavailable, Wrong

pytestmark = pytest.mark.interop

NOTHING = remembered.summary((), 20000)
QUERY = "SELECT password, home, uid, gid, nologin FROM users WHERE name = :user"
SQL = (
    "CREATE TABLE users (name VARCHAR(100), password VARCHAR(200), home VARCHAR(200), uid INT, gid INT,"
    " nologin BOOLEAN);"
    "INSERT INTO users VALUES ('bob-KIND', '{PLAIN}in-KIND', '/srv/bob', 5000, 5001, NULL);"
    "INSERT INTO users VALUES ('o''hara', '{PLAIN}x', NULL, NULL, NULL, TRUE);"
    "INSERT INTO users VALUES ('twice', 'a', NULL, NULL, NULL, NULL);"
    "INSERT INTO users VALUES ('twice', 'b', NULL, NULL, NULL, NULL);"
)
PEOPLE = f"ou=people,{user_databases.BASE}"
USER = """
dn: uid={uid},{people}
objectClass: inetOrgPerson
objectClass: posixAccount
uid: {uid}
cn: {uid}
sn: {uid}
mail: {mail}
uidNumber: 5000
gidNumber: 5001
homeDirectory: /srv/{uid}
userPassword: {password}
"""
HASH = schemes.make("SHA512-CRYPT", b"in-ldap").replace("{SHA512-CRYPT}", "{CRYPT}")
LDIF = (
    f"dn: {user_databases.BASE}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n"
    f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n"
    + USER.format(uid="bob", people=PEOPLE, mail="bob@example.org", password=HASH)
    + USER.format(uid="eve", people=PEOPLE, mail="two@example.org", password=HASH)
    + USER.format(uid="ute", people=PEOPLE, mail="two@example.org", password=HASH)
)
ATTRIBUTES = {"userPassword": "password", "homeDirectory": "home", "uidNumber": "uid", "gidNumber": "gid"}
BOB = {"uid": 5000, "gid": 5001, "home": "/srv/bob"}


def _module(*names):
    for name in names:
        pytest.importorskip(name)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    _module("ldap3")
    if not user_databases.found("slapd"):
        pytest.skip("slapd is not installed")
    with user_databases.slapd(tmp_path_factory.mktemp("slapd"), LDIF) as found:
        yield found


@pytest.fixture(scope="module")
def postgresql():
    _module("sqlalchemy", "psycopg")
    if not user_databases.found("postgres"):
        pytest.skip("PostgreSQL is not installed")
    with user_databases.postgresql(SQL.replace("KIND", "postgresql")) as found:
        yield found


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    _module("sqlalchemy", "pymysql")
    if not user_databases.found("mariadbd"):
        pytest.skip("MariaDB is not installed")
    with user_databases.mariadb(tmp_path_factory.mktemp("mariadb"), SQL.replace("KIND", "mysql")) as found:
        yield found


@pytest.fixture(params=["postgresql", "mysql"])
def table(request):
    """A database, and how it is asked."""
    from greenmail.auth import sql

    kind = request.param
    server = request.getfixturevalue({"mysql": "mariadb"}.get(kind, kind))
    opened = []

    def make(query=QUERY, port=server.port, password=b"sesame", timeout=1.0):
        settings = sql.Settings(f"{kind}://mail@127.0.0.1:{port}/mail", query, timeout, Secret(password))
        opened.append(sql.SqlDatabase(settings, NOTHING))
        return opened[-1]

    yield kind, server, make
    for database in opened:
        database.close()


def test_rows_are_users_and_names_are_never_sql(table):
    kind, _, make = table
    database = make()
    assert database.look_up(f"bob-{kind}") == Entry(f"bob-{kind}", f"{{PLAIN}}in-{kind}", **BOB)
    assert database.look_up("o'hara") == Entry("o'hara", "{PLAIN}x", no_login="nologin is set")
    for name in ("nobody", "' OR '1'='1", "\\' OR 1=1 -- ", "%", "x'; DROP TABLE users; --", "naïve ☃"):
        assert database.look_up(name) == StandIn()
    found = database.look_up("twice")
    assert isinstance(found, Unavailable) and found.of_one
    assert database.look_up(f"bob-{kind}") == Entry(f"bob-{kind}", f"{{PLAIN}}in-{kind}", **BOB)


def test_a_server_that_refuses_or_is_silent_is_not_available(table):
    kind, _, make = table
    refused = make(password=b"wrong-password").look_up("bob")
    assert isinstance(refused, Unavailable) and "wrong-password" not in refused.text
    assert isinstance(make(query="SELECT * FROM nowhere WHERE a = :user").look_up("bob"), Unavailable)
    sleep = {"postgresql": "SELECT pg_sleep(30), :user", "mysql": "SELECT SLEEP(30), :user"}[kind]
    begin = time.monotonic()
    assert isinstance(make(query=sleep).look_up("bob"), Unavailable)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert isinstance(make(port=silent.getsockname()[1], timeout=0.5).look_up("bob"), Unavailable)
    assert isinstance(make(port=1).look_up("bob"), Unavailable)
    assert time.monotonic() - begin < 20


def test_connections_that_the_server_closed_are_opened_again(table):
    kind, _, make = table
    end = {
        "postgresql": "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database() AND :user <> ''",
        "mysql": "SELECT 1 AS n FROM users WHERE :user <> '' LIMIT 1",
    }[kind]
    database = make()
    assert isinstance(database.look_up(f"bob-{kind}"), Entry)
    assert isinstance(make(query=end).look_up("x"), Entry)
    assert isinstance(database.look_up(f"bob-{kind}"), Entry)


@pytest.fixture
def people(slapd):
    """How the directory is asked."""
    from greenmail.auth import directory

    opened = []

    def make(urls=(f"ldap://127.0.0.1:{slapd.port}",), **more):
        settings = {
            "urls": urls, "base": PEOPLE, "timeout": 1.0, "attributes": ATTRIBUTES, "bind_dn": user_databases.ADMIN_DN,
            "bind_password": Secret(user_databases.ADMIN_PASSWORD.encode()), **more,
        }  # fmt: skip
        opened.append(directory.Directory(directory.Settings(**settings), NOTHING))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def question(password):
    return Question(Secret(password.encode()), "192.0.2.1", "imap", "PLAIN")


def test_the_server_compares_by_a_bind(people):
    database = people()
    assert database.verify("bob", question("in-ldap")) == Entry("bob", **BOB)
    for password in ("wrong", "in-ldap "):
        found = database.verify("bob", question(password))
        assert isinstance(found, Wrong) and not found.goes_on
    for name in ("nobody", "*", "bob)(uid=*", "b*", "\\62ob"):
        assert database.verify(name, question("in-ldap")) == StandIn()
        assert database.look_up(name) == StandIn()
    assert database.look_up("bob") == Entry("bob", **BOB)


def test_the_hash_is_fetched_and_compared_here(people):
    found = people(compares=False).look_up("bob")
    assert isinstance(found, Entry) and schemes.verify(found.stored, b"in-ldap", False).right
    unseen = people(compares=False, bind_dn="").look_up("bob")  # nobody may not read it
    assert isinstance(unseen, Entry) and not schemes.verify(unseen.stored, b"in-ldap", False).right


def test_two_entries_are_nobody(people):
    database = people(filter="(mail=%u)")
    assert isinstance(database.verify("bob@example.org", question("in-ldap")), Entry)
    assert database.look_up("two@example.org") == Unavailable(
        "more than one entry is that of user two@example.org", True
    )


@pytest.mark.parametrize("how", ["ldaps", "starttls"])
def test_tls_wants_a_certificate_of_the_authority_and_of_the_name(slapd, people, how):
    def ask(host="localhost", ca=str(slapd.ca)):
        url = f"ldaps://{host}:{slapd.tls_port}" if how == "ldaps" else f"ldap://{host}:{slapd.port}"
        return people(urls=(url,), start_tls=how == "starttls", ca_path=ca).verify("bob", question("in-ldap"))

    assert ask() == Entry("bob", **BOB)
    unknown = ask(ca="")
    assert isinstance(unknown, Unavailable) and "certificate" in unknown.text
    misnamed = ask(host="127.1")  # 127.0.0.1 to the resolver, and not a name of the certificate
    assert isinstance(misnamed, Unavailable) and misnamed.text.endswith("the certificate is of another name")


def test_the_next_server_is_asked_and_an_outage_is_over_when_it_is(slapd, people):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"ldap://127.0.0.1:{port}" for port in (1, silent.getsockname()[1], slapd.port)]
        assert people(urls=urls).verify("bob", question("in-ldap")) == Entry("bob", **BOB)
        assert isinstance(people(urls=urls[:2]).verify("bob", question("in-ldap")), Unavailable)
    assert isinstance(people(bind_password=Secret(b"wrong-password")).look_up("bob"), Unavailable)
    assert isinstance(people(base="dc=nowhere").look_up("bob"), StandIn | Unavailable)
    database = people()
    assert database.look_up("bob") == Entry("bob", **BOB)
    slapd.stop()
    try:
        assert isinstance(database.look_up("bob"), Unavailable)
    finally:
        slapd.go()
    assert database.verify("bob", question("in-ldap")) == Entry("bob", **BOB)


def test_all_of_them_behind_one_server(tmp_path, slapd, postgresql, mariadb):
    (tmp_path / "sesame").write_text("sesame\n")
    (tmp_path / "ruler").write_text(user_databases.ADMIN_PASSWORD)
    query = "SELECT password FROM users WHERE name = :user"
    auth = [
        {"type": "sql", "url": f"{kind}://mail@127.0.0.1:{port}/mail", "password-file": f"{tmp_path}/sesame",
         "query": query}
        for kind, port in (("postgresql", postgresql.port), ("mysql", mariadb.port))
    ]  # fmt: skip
    auth += [
        {"type": "ldap", "urls": [f"ldaps://localhost:{slapd.tls_port}"], "ca-path": str(slapd.ca), "base": PEOPLE,
         "bind-dn": user_databases.ADMIN_DN, "bind-password-file": f"{tmp_path}/ruler",
         "attributes": {"sn": "name_there"}},
        {"type": "static", "home": f"{tmp_path}/%u"},
    ]  # fmt: skip
    settings = {"allow_plain_text": True, "auth_failure_delay": 0.01, "workers": 1, "auth_cache_negative_ttl": 300}

    def login(user, password):
        client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=30)
        try:
            return client.login(user, password)[0]
        except imaplib.IMAP4.error as error:
            return str(error.args[0], "ascii").partition("]")[0].lstrip("[")
        finally:
            client.shutdown()

    def age() -> None:
        """Of a passwd-file that was written this very moment nothing is remembered: it may be written once more."""
        os.utime(tmp_path / "server/passwd", (1_700_000_000, 1_700_000_000))

    with start(tmp_path / "server", "~/Maildir", auth=auth, enter=age, **settings) as server:
        for user, kind in (("bob-postgresql", "postgresql"), ("bob-mysql", "mysql"), ("bob", "ldap")):
            assert login(user, f"in-{kind}") == "OK"
            assert login(user, "wrong") == "AUTHENTICATIONFAILED"
            assert (tmp_path / user / "Maildir" / "cur").is_dir()
        assert login("nobody", "in-ldap") == "AUTHENTICATIONFAILED"
        slapd.stop()
        try:
            assert login("bob-mysql", "wrong again") == "AUTHENTICATIONFAILED"
            assert login("bob", "in-ldap") == "OK"  # remembered
        finally:
            slapd.go()
        for word in ("in-postgresql", "in-mysql", "in-ldap", "sesame\n", "ruler"):
            assert word not in server.logged()
