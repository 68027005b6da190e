"""User databases of a whole server: the settings, a login, and what the log says."""

import contextlib
import imaplib
import os
import poplib
import signal
import sqlite3
from pathlib import Path

import pytest
from support.login_service import serving
from support.server import start

from greenmail.config import from_mapping
from greenmail.net import databases
from greenmail.net.tls import CannotStart

QUICK = {"allow_plain_text": True, "auth_failure_delay": 0.01, "max_auth_failures": 100, "workers": 1}


def login(server, user, password):
    """OK, or the code and text of the refusal."""
    client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=30)
    try:
        return client.login(user, password)[0]
    except imaplib.IMAP4.error as error:
        return str(error.args[0], "ascii").partition("]")[0].lstrip("[")
    finally:
        client.shutdown()


def reasons(server):
    """User, reason and text of every refusal in the log."""
    return [
        line.partition(" user=")[2].replace(" rip=127.0.0.1", "")
        for line in server.logged().splitlines()
        if " login refused " in line
    ]


def users_in_sqlite(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (name, password, allow_nets)")
        rows = [("carol", "{PLAIN}in-sql", None), ("far", "{PLAIN}in-sql", "10.0.0.0/8")]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)
    return f"sqlite:///{path}"


def test_several_databases_in_order(tmp_path):
    def says(question):
        if question["user"] == "dora":
            return 200, {"result": "ok"} if question.get("password") == "in-http" else {"result": "denied"}
        return (503, {}) if question["user"] == "down" else (200, {"result": "unknown"})

    (tmp_path / "denied").write_text("evil\n")
    with serving(says) as service:
        (tmp_path / "token").write_text("abc\n")
        auth = [
            {"type": "sql", "url": users_in_sqlite(tmp_path / "users.db"),
             "query": "SELECT password, allow_nets FROM users WHERE name = :user"},
            {"type": "passwd-file", "path": str(tmp_path / "denied"), "deny": True},
            {"type": "http", "url": service.url, "token-file": str(tmp_path / "token")},
            {"type": "static", "home": f"{tmp_path}/%u"},
        ]  # fmt: skip
        passwd = "alice:{PLAIN}in-file\nevil:{PLAIN}in-file\n"
        with start(tmp_path / "server", "~/Maildir", passwd, auth=auth, **QUICK) as server:
            told = [
                login(server, *pair)
                for pair in [
                    ("alice", "in-file"), ("evil", "in-file"), ("carol", "in-sql"), ("carol", "wrong"),
                    ("far", "in-sql"), ("dora", "in-http"), ("dora", "wrong"), ("dora", "wrong"), ("nobody", "x"),
                    ("down", "x"),
                ]
            ]  # fmt: skip
            assert told == [
                "OK", "AUTHENTICATIONFAILED", "OK", "AUTHENTICATIONFAILED", "AUTHENTICATIONFAILED",
                "OK", "AUTHENTICATIONFAILED", "AUTHENTICATIONFAILED", "AUTHENTICATIONFAILED", "UNAVAILABLE",
            ]  # fmt: skip
            pop = poplib.POP3("127.0.0.1", server.pop3, timeout=30)
            pop.user("dora")
            assert pop.pass_("in-http").startswith(b"+OK")  # another protocol: the service is asked again
            pop.quit()
            assert reasons(server) == [
                "'evil' reason=NO_LOGIN text='is in deny-file'",
                "'carol' reason=MISMATCH text='password mismatch'",
                "'far' reason=NETWORK text='127.0.0.1 is not in allow_nets=10.0.0.0/8'",
                "'dora' reason=MISMATCH text='denied by the service'",
                "'dora' reason=MISMATCH text='password mismatch, as a moment ago'",
                "'nobody' reason=UNKNOWN text='unknown user'",
                f"'down' reason=UNAVAILABLE text='{service.url} answered with status 503'",
            ]
            for word in ("in-file", "in-sql", "in-http", "abc"):
                assert word not in server.logged()
        assert [question["user"] for question in service.asked] == ["dora", "dora", "nobody", "down", "dora"]
        assert service.headers[0]["Authorization"] == "Bearer abc"
    assert {path.name for path in tmp_path.iterdir()} >= {"carol", "dora"}  # the homes of the template


PAM = {
    "imap": "auth sufficient pam_exec.so quiet expose_authtok {d}/password\nauth required pam_deny.so\n"
    "account sufficient pam_exec.so quiet {d}/account\naccount required pam_deny.so\n",
}
PASSWORD = """#!/bin/sh
read -r password
case $PAM_USER in
slow) sleep 60 ;;
crash) kill -SEGV $PPID ;;
esac
echo "$PAM_TYPE $PAM_SERVICE $PAM_RHOST" >> "$0.log"
[ "$password" = in-pam ] && [ "$PAM_USER" != nobody ]
"""
ACCOUNT = "#!/bin/sh\n[ $PAM_USER != closed ]\n"


@pytest.fixture
def pam(tmp_path):
    """A service whose modules run programs, as PAM's modules may do what they like."""
    pytest.importorskip("pamela")
    for name, text in (("password", PASSWORD), ("account", ACCOUNT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "pam.d").mkdir()
    for name, text in PAM.items():
        (tmp_path / "pam.d" / name).write_text(text.format(d=tmp_path))
    return {"type": "pam", "service": "imap", "directory": str(tmp_path / "pam.d"), "timeout": 1}


def test_pam_is_asked_by_a_process_of_its_own(tmp_path, pam):
    auth = [pam, {"type": "static", "home": f"{tmp_path}/%u"}]
    with start(tmp_path / "server", "~/Maildir", "alice:{PLAIN}in-file\n", auth=auth, **QUICK) as server:
        said = {
            pair: login(server, *pair)
            for pair in [
                ("bob", "in-pam"), ("bob", "wrong"), ("nobody", "in-pam"), ("closed", "in-pam"), ("slow", "in-pam"),
                ("crash", "in-pam"), ("alice", "in-file"), ("alice", "in-pam"),
            ]
        }  # fmt: skip
        wrong = "AUTHENTICATIONFAILED"
        assert list(said.values()) == ["OK", wrong, wrong, wrong, "UNAVAILABLE", "UNAVAILABLE", "OK", wrong]
        told = reasons(server)
        assert told[0] == "'bob' reason=MISMATCH text='pam: Authentication failure (code 7)'"
        assert told[1] == "'nobody' reason=MISMATCH text='pam: Authentication failure (code 7)'"
        assert told[2].startswith("'closed' reason=NO_LOGIN text='pam: ")
        assert told[3:5] == [f"'{user}' reason=UNAVAILABLE text='pam: no answer'" for user in ("slow", "crash")]
        assert told[5] == "'alice' reason=MISMATCH text='password mismatch'"  # the first that knows her decides
        assert (tmp_path / "password.log").read_text().splitlines()[0] == "auth imap 127.0.0.1"
        pids = [line for line in server.logged().splitlines() if "fork kind=verifier" in line]
        os.kill(int(pids[-1].rpartition("pid=")[2]), signal.SIGKILL)
        assert login(server, "bob", "wrong again") == wrong  # what is asked meanwhile waits for the next one
        assert "in-pam" not in server.logged() and "wrong again" not in server.logged()


def check(*auth):
    config = from_mapping({"auth": list(auth)})
    databases.check(config)
    databases.secrets(config)


def test_what_is_missing_is_told_at_the_start(tmp_path, monkeypatch):
    (tmp_path / "empty").write_text("\n")
    http = {"type": "http", "url": "https://h.example.org/"}
    sql = {"type": "sql", "url": "sqlite:////x", "query": "SELECT :user"}
    for auth, text in [
        ({"type": "pam", "service": "no-such", "directory": str(tmp_path)},
         f"auth.0: type pam has no file {tmp_path}/no-such, which says what to ask"),
        ({**http, "ca-path": f"{tmp_path}/none"},
         f"auth.0.ca-path: {tmp_path}/none: cannot be used: No such file or directory"),
        ({**http, "token-file": f"{tmp_path}/none"},
         f"auth.0.token-file: {tmp_path}/none cannot be read: No such file or directory"),
        ({**sql, "password-file": f"{tmp_path}/empty"},
         f"auth.0.password-file: {tmp_path}/empty must have one line of ASCII in it"),
    ]:  # fmt: skip
        with pytest.raises(CannotStart) as caught:
            check(auth)
        assert caught.value.text == text
    check(sql)
    monkeypatch.setattr("importlib.import_module", lambda name: exec(f"import no_{name}"))
    for auth, package, extra in [
        (sql, "sqlalchemy", "sql"),
        ({"type": "ldap", "urls": ["ldap://h"], "base": "dc=x"}, "ldap3", "ldap"),
    ]:
        with pytest.raises(CannotStart, match=f"needs the Python package {package}: pip install 'greenmail.{extra}.'"):
            check(auth)
