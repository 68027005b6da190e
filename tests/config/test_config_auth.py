"""`auth`: a list of user databases, and the flat settings that mean the same."""

import re
from pathlib import Path

import pytest
import yaml

from greenmail.config import ConfigError, from_mapping, load
from greenmail.config_auth import TYPES, PasswdFileTable, StaticTable


def problems(auth, **more):
    with pytest.raises(ConfigError) as caught:
        from_mapping({"auth": auth, **more})
    return str(caught.value).replace("settings: ", "").splitlines()


SQL = {"type": "sql", "url": "sqlite:////x", "query": "SELECT 1 WHERE :user"}
LDAP = {"type": "ldap", "urls": ["ldap://h"], "base": "dc=x"}


@pytest.mark.parametrize(
    "auth, expected",
    [
        ("x", "auth: found 'x'; allowed: a list of tables, such as [{type: passwd-file, path: /etc/greenmail/users}]"),
        ([{}], "auth: found [{}]; allowed: tables that have a `type`, one of passwd-file, static, http, sql, ldap,"
               " pam, system"),
        ([5], "auth.0: found 5; allowed: a table of settings"),
        ([{"type": "passwd-file"}], "auth.0.path: is not set; give the path of a file as Dovecot's passwd-file"),
        ([{"type": "passwd-file", "path": "/%x"}], "auth.0.path: found '/%x'; allowed: a path with no other variables"
                                                   " than %u, %n, %d, %%"),
        ([{**LDAP, "filtr": "x"}], "auth.0.filtr: unknown key; did you mean filter?"),
        ([{"type": "static"}, {**LDAP, "filter": "(uid=x)"}],
         "auth.1.filter: found '(uid=x)'; allowed: a filter with %u (whole name) or %n (part before @), such as"
         " (&(objectClass=person)(uid=%n))"),
        ([{**LDAP, "urls": "http://h"}],
         "auth.0.urls: found 'http://h'; allowed: an address that begins with ldap:// or ldaps:// or ldapi://"),
        ([{**LDAP, "urls": ["ldaps://h"], "start-tls": True}],
         "auth.0.start-tls: is true, but not all of urls begin with ldap://"),
        ([{**LDAP, "bind": False, "attributes": {"a": "home"}}],
         "auth.0.attributes: has no field `password`, which is needed where bind is false"),
        ([{**LDAP, "every-user-has": ["PLAIN"]}],
         "auth.0.every-user-has: is for databases that tell what is stored: set bind or send-password to false"),
        ([{**SQL, "query": "SELECT '%u'"}],
         "auth.0.query: found \"SELECT '%u'\"; allowed: a SELECT with the name as a bound parameter, :user (whole),"
         " :name (before @) and :domain, without quotes around it, and with \\: for every other colon, such as SELECT"
         " password, home FROM users WHERE name = :user"),
        ([{**SQL, "url": "oracle://a:sesame@h/d"}],
         "auth.0.url: found 'oracle://a:***@h/d'; allowed: an address such as sqlite:////var/lib/mail/users.db,"
         " postgresql://mail@db.example.org/mail or mysql://mail@db.example.org/mail"),
        ([{"type": "http", "url": "http://h.example.org/"}],
         "auth.0.url: would show passwords to the network: https://, or http:// of this machine (127.0.0.1)"),
        ([{"type": "static", "deny": True}], "auth.0.deny: is true, but static is no list of users"),
        ([{"type": "pam", "deny": True}], "auth.0.deny: is true, but pam is no list of users"),
        ([{"type": "system", "master": True}], "auth.0.master: is true, but system has no passwords of its own"),
        ([{**SQL, "deny": True, "master": True}],
         "auth.0.deny: is true, and so is master: a list can be only one of them"),
        ([{"type": "system", "min-uid": 5, "max-uid": 4}], "auth.0.min-uid: is 5, which is above max-uid, 4"),
        ([{"type": "static", "uid": "no-such-user"}],
         "auth.0.uid: found 'no-such-user'; allowed: a user of this machine, by name or number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(auth, expected):
    assert problems(auth) == [expected]


@pytest.mark.parametrize(
    "query", ["SELECT :users", "SELECT :user, :password", "SELECT %{user}", "SELECT 1", 5, "SELECT '*:x', :user"]
)
def test_a_query_has_the_name_as_a_parameter_and_no_other(query):
    (problem,) = problems([{**SQL, "query": query}])
    assert problem.startswith("auth.0.query: found ")


@pytest.mark.parametrize("query", ["DELETE FROM users", "SELECT name FROM users WHERE name = :user", 5])
def test_a_query_of_all_names_only_reads_and_has_no_parameter(query):
    (problem,) = problems([{**SQL, "iterate-query": query}])
    assert "a SELECT without parameters" in problem


@pytest.mark.parametrize(
    "url", ["https://", "https://h:x/", "https://h:0/", "https://[::1/", "https://h/a b", "https://ü/"]
)
def test_an_address_has_a_host(url):
    (problem,) = problems([{"type": "http", "url": url}])
    assert problem.endswith(", with a host and perhaps a port behind it")


def test_no_password_of_an_address_is_in_an_error():
    for auth in ([{"type": "nix", "url": "mysql://u:tanstaafl@h/d"}], [{**SQL, "url": "x://u:tanstaafl@h/d"}]):
        assert "tanstaafl" not in "\n".join(problems(auth))


def test_the_flat_settings_are_tables_too():
    config = from_mapping({"passwd-file": "/u", "deny-file": "/d", "master-passwd-file": "/m", "auth": [
        {"type": "passwd-file", "path": "/v"}, {"type": "static", "home": "/srv/%u", "uid": 0, "gid": 0},
    ]})  # fmt: skip
    assert config.auth == [
        PasswdFileTable(type="passwd-file", path="/u"),
        PasswdFileTable(type="passwd-file", path="/d", deny=True),
        PasswdFileTable(type="passwd-file", path="/m", master=True),
        PasswdFileTable(type="passwd-file", path="/v"),
        StaticTable(type="static", home="/srv/%u", uid=0, gid=0),
    ]
    assert config.passwd_file == "/u" and not config.given("bind_port")


def test_the_first_passwd_file_of_the_list_is_that_of_greenmail_user():
    auth = [{"type": "passwd-file", "path": "/d", "deny": True}, {"type": "passwd-file", "path": "/v"}]
    assert from_mapping({"auth": auth}).passwd_file == "/v"
    assert from_mapping({"auth": auth[:1]}).passwd_file == ""


def test_the_same_file_twice_is_asked_once():
    config = from_mapping({"passwd-file": "/u", "auth": [{"type": "passwd-file", "path": "/u"}]})
    assert len(config.auth) == 1


def test_relative_paths_begin_at_the_file(tmp_path):
    (tmp_path / "imap.yaml").write_text(
        "auth:\n  - {type: passwd-file, path: users}\n  - type: ldap\n    urls: [ldap://h]\n    base: dc=x\n"
        "    ca-path: ca.pem\n    bind-password-file: secret\n"
    )
    users, ldap = load(str(tmp_path / "imap.yaml")).auth
    assert users.path == f"{tmp_path}/users"
    assert (ldap.ca_path, ldap.bind_password_file) == (f"{tmp_path}/ca.pem", f"{tmp_path}/secret")


@pytest.mark.parametrize(
    "auth, can", [([], False), ([{"type": "static"}], False), ([{**SQL, "master": True}], False),
                  ([{"type": "pam"}], True), ([SQL], True), ([LDAP], True)],
)  # fmt: skip
def test_whether_anybody_can_log_in(auth, can):
    told = [notice for notice in from_mapping({"auth": auth}).notices() if "auth is set" in notice]
    assert bool(told) is not can


def test_the_examples_of_the_documentation_are_good():
    page = (Path(__file__).parents[2] / "docs/user-databases.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    types = set()
    for text in examples:
        mine = re.sub(r"\b(uid|gid|user): vmail\b", r"\1: root", text)
        types |= {table.type for table in from_mapping(yaml.safe_load(mine)).auth}
    assert types == set(TYPES) and len(examples) >= len(TYPES)
