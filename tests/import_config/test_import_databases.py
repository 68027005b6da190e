"""Dovecot's files of SQL and LDAP, as tables of `auth`; every password stays where it is."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greenmail.config import from_mapping
from greenmail.import_config import databases
from greenmail.import_config.convert import convert
from greenmail.import_config.draft import Draft

SQL = """\
# as in Dovecot's own example
driver = pgsql
connect = host=db.example.org dbname=mails user=admin password=geheim
default_pass_scheme = CRYPT
password_query = \\
  SELECT username AS user, password \\
  FROM users WHERE username = '%u' AND active = 'Y'
iterate_query = SELECT username FROM users
"""
LDAP = """\
uris = ldaps://ldap1.example.org ldaps://ldap2.example.org
dn = cn=mail,dc=example,dc=org
dnpass = geheim
auth_bind = yes
ldap_version = 3
base = ou=people,dc=example,dc=org
scope = onelevel
pass_attrs = uid=user,userPassword=password
pass_filter = (&(objectClass=posixAccount)(uid=%u))
user_attrs = homeDirectory=home,uidNumber=uid,=mail=maildir:~/Maildir
user_filter = (&(objectClass=posixAccount)(uid=%u))
debug_level = 1
"""


def converted(tmp_path: Path, driver: str, text: str, more: str = "") -> tuple[list[Any], dict[str, str], str]:
    """`auth`, what was left with its values, and the whole text; it is a configuration that can be read."""
    file = tmp_path / "args.conf.ext"
    file.write_text(text)
    made = convert(f"passdb {{\n driver = {driver}\n args = {file}\n}}\n{more.replace('%FILE', str(file))}")
    values = yaml.safe_load(made.yaml) or {}
    from_mapping(values)
    return values.get("auth", []), {left.setting: left.value for left in made.dropped}, made.yaml


def test_sql(tmp_path: Path) -> None:
    auth, left, text = converted(tmp_path, "sql", SQL)
    assert auth == [
        {
            "type": "sql",
            "url": "postgresql://admin@db.example.org/mails",
            "query": "SELECT username AS user, password FROM users WHERE username = :user AND active = 'Y'",
            "iterate-query": "SELECT username FROM users",
        }
    ]
    assert left["passdb sql/connect"] == "" and "geheim" not in text
    assert "passdb sql" not in left


@pytest.mark.parametrize(
    "connect, kind, expected",
    [
        ("host=h dbname=d", "mysql", ("mysql://h/d", False)),
        ("host=h port=3307 dbname=d user=u password=p", "mysql", ("mysql://u@h:3307/d", True)),
        ("/var/lib/mail.sqlite", "sqlite", ("sqlite:////var/lib/mail.sqlite", False)),
        ("mail.sqlite", "sqlite", ("", False)),
        ("host=/run/mysqld/mysqld.sock dbname=d", "mysql", ("", False)),  # a Unix socket
        ("host=a host=b dbname=d", "mysql", ("", False)),
        ("host=h dbname=d ssl_ca=/etc/ca.pem", "mysql", ("", False)),
        ("host=h dbname=d", "cassandra", ("", False)),
        ("host=h@x dbname=d", "mysql", ("", False)),
        ("host=h user=a:b dbname=d", "mysql", ("", False)),
    ],
)
def test_addresses(connect: str, kind: str, expected: tuple[str, bool]) -> None:
    assert databases._url(kind, connect) == expected


@pytest.mark.parametrize(
    "change",
    [
        ("'%u'", "'%n' AND domain = '%d'"),  # parts of the name
        ("driver = pgsql", "driver = cassandra"),
        ("password_query", "another_query"),
    ],
)
def test_a_query_that_cannot_be_carried_over_is_named_as_before(tmp_path: Path, change: tuple[str, str]) -> None:
    auth, left, _ = converted(tmp_path, "sql", SQL.replace(*change))
    assert auth == [] and "passdb sql" in left


def test_what_a_second_query_says_is_named(tmp_path: Path) -> None:
    more = "user_query = SELECT home FROM users WHERE username = '%u'\nodd = 1\n"
    auth, left, _ = converted(tmp_path, "sql", SQL + more, "userdb {\n driver = sql\n args = %FILE\n}\n")
    assert len(auth) == 1
    assert {"passdb sql/user_query", "passdb sql/odd", "userdb sql"} <= left.keys()


def test_ldap(tmp_path: Path) -> None:
    auth, left, text = converted(tmp_path, "ldap", LDAP, "userdb {\n driver = ldap\n args = %FILE\n}\n")
    assert auth == [
        {
            "type": "ldap",
            "urls": ["ldaps://ldap1.example.org", "ldaps://ldap2.example.org"],
            "base": "ou=people,dc=example,dc=org",
            "bind": True,
            "bind-dn": "cn=mail,dc=example,dc=org",
            "scope": "one",
            "filter": "(&(objectClass=posixAccount)(uid=%u))",
            "attributes": {"userPassword": "password", "homeDirectory": "home", "uidNumber": "uid"},
        }
    ]
    assert "geheim" not in text and left["passdb ldap/dnpass"] == ""
    assert left["passdb ldap/user_attrs"] == "=mail=maildir:~/Maildir"
    assert {"passdb ldap/debug_level", "userdb ldap"} <= left.keys() and "passdb ldap" not in left


def test_hosts_and_fetched_passwords(tmp_path: Path) -> None:
    auth, _, _ = converted(tmp_path, "ldap", "hosts = a.org:3890 b.org\nbase = dc=org\ntls = yes\n")
    assert auth[0]["urls"] == ["ldap://a.org:3890", "ldap://b.org"]
    assert auth[0]["bind"] is False and auth[0]["start-tls"] is True


@pytest.mark.parametrize("text", ["", "hosts = a\n", "base = dc=org\n", "hosts = a\nbase = ou=%d,dc=org\n"])
def test_a_directory_without_a_place(tmp_path: Path, text: str) -> None:
    auth, left, _ = converted(tmp_path, "ldap", text)
    assert auth == [] and "passdb ldap" in left


def test_a_file_that_is_not_here(tmp_path: Path) -> None:
    made = convert(f"passdb {{\n driver = sql\n args = {tmp_path}/nowhere\n}}\n")
    assert "passdb sql" in {left.setting for left in made.dropped}
    assert databases.read(str(tmp_path)) is None


@given(st.text(max_size=200), st.sampled_from(["sql", "ldap"]))
def test_any_text_gives_a_table_or_none(text: str, driver: str) -> None:
    values = dict(line.partition("=")[::2] for line in text.split("\n"))
    (databases._sql if driver == "sql" else databases._ldap)(Draft(), "passdb", values)
