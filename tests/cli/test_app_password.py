"""`greenmail user app-password`, and what it makes, used against a server."""

import imaplib
import json
import os
import poplib
import ssl

import pytest
from support import server as greenmail

from greenmail.cli import main


@pytest.fixture
def config(tmp_path):
    (tmp_path / "users").write_text("bob:{PLAIN}main\n")
    path = tmp_path / "imap.yaml"
    path.write_text(f"passwd-file: users\napp-passwords-file: app\nmail-path: {tmp_path}/mail/%u\nrun-path: run\n")
    return path


def run(config, *words):
    return main(["user", "app-password", *words, "-c", str(config)])


def test_add_list_revoke(config, capsys, tmp_path):
    assert run(config, "add", "Bob", "phone", "--protocol", "imap", "--expires", "2999-12-31") == 0
    password = capsys.readouterr().out.strip()
    assert len(password) == 24
    assert password not in (tmp_path / "app").read_text()
    assert os.stat(tmp_path / "app").st_mode & 0o7777 == 0o640
    assert run(config, "add", "bob", "phone") == 1
    assert "bob has an app password phone already" in capsys.readouterr().err
    assert run(config, "list") == 0
    line = capsys.readouterr().out
    assert line.startswith("bob phone  imap  made 20")
    assert line.endswith("until 2999-12-31  not used\n")
    assert run(config, "add", "bob", "old laptop", "--json") == 0
    assert json.loads(capsys.readouterr().out)["password"]
    assert run(config, "list", "bob", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["protocols"], row["expires"], row["last_used"]) for row in rows] == [
        ("phone", ["imap"], "2999-12-31", None),
        ("old laptop", ["imap", "pop3", "smtp"], None, None),
    ]
    assert run(config, "list", "carol") == 0
    assert capsys.readouterr().out == ""
    assert run(config, "revoke", "bob", "phone") == 0
    assert run(config, "revoke", "bob", "phone") == 1
    assert "bob has no app password phone" in capsys.readouterr().err


@pytest.mark.parametrize("day", ["2020-01-01", "tomorrow", "2999-02-30", "29991231"])
def test_a_day_that_is_none_or_over(config, capsys, day):
    assert run(config, "add", "bob", "phone", "--expires", day) == 1
    assert "--expires: found" in capsys.readouterr().err


def test_without_the_setting(tmp_path, capsys):
    (tmp_path / "imap.yaml").write_text("passwd-file: users\nmail-path: /m/%u\n")
    assert run(tmp_path / "imap.yaml", "list") == 1
    assert "app-passwords-file is not set" in capsys.readouterr().err


def test_they_go_with_the_user(config, capsys, tmp_path):
    """Or they would be good again for who gets the name one day."""
    run(config, "add", "bob", "phone")
    assert main(["user", "delete", "bob", "-c", str(config)]) == 0
    assert (tmp_path / "app").read_text() == ""


@pytest.mark.slow
def test_a_server_takes_them(tmp_path, capsys):
    (tmp_path / "app").write_text("")
    with greenmail.start(
        tmp_path,
        f"{tmp_path}/mail/%u",
        "bob:*\n",
        workers=1,
        app_passwords_file=str(tmp_path / "app"),
        auth_failure_delay=0.01,
    ) as server:
        run(server.config, "add", "bob", "phone", "--protocol", "imap")
        password = capsys.readouterr().out.strip()
        context = ssl.create_default_context(cafile=str(server.cert))
        with imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=context) as client:
            assert "AUTH=SCRAM-SHA-256" not in client.capabilities
            assert client.login("bob", password)[0] == "OK"
        client = poplib.POP3_SSL("localhost", server.pop3s, context=context)
        client.user("bob")
        with pytest.raises(poplib.error_proto):
            client.pass_(password)
        client.close()
        run(server.config, "list", "--json")
        (row,) = json.loads(capsys.readouterr().out)
        assert row["last_by"] == "imap 127.0.0.1"
        assert os.stat(tmp_path / "run" / "app-passwords").st_mode & 0o7777 == 0o700
        logged = server.logged()
    assert "app-password user='bob' name='phone' protocol=imap rip=127.0.0.1" in logged
    assert "app-password refused user='bob' name='phone' rip=127.0.0.1 reason='it is not for pop3'" in logged
    assert password not in logged
