"""The command line, run in this process."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import greenmail
from greenmail import built, cli
from greenmail import log as logs
from greenmail.auth import schemes
from greenmail.auth.passwd_file import parse

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    """A configuration file with these settings."""

    def write(text: str = "passwd-file: users\nallow-plain-text: true\nmail-path: /srv/%u\n") -> str:
        path = tmp_path / "imap.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def typed(monkeypatch):
    """Standard input."""

    def write(octets: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))

    return write


def users(tmp_path):
    return parse((tmp_path / "users").read_bytes()).entries


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"greenmail {greenmail.__version__} ({built.kind()})\n"


@pytest.mark.parametrize("arguments", [["--no-such"], ["nonsense"], ["user"], ["user", "add"], ["-c"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: greenmail" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["check-config"], ["user", "list"]])
def test_a_wrong_configuration_is_status_78_with_every_error(config, capsys, command):
    path = config("bind-prot: 1\nlog-level: loud\n")
    assert cli.main([*command, "-c", path]) == 78
    assert capsys.readouterr().err == (
        "greenmail: 2 errors in the configuration\n"
        f"{path}:1: bind-prot: unknown key; did you mean bind-port?\n"
        f"{path}:2: log-level: found 'loud'; allowed: one of error, warn, info, debug, trace\n"
    )


def test_a_configuration_that_is_not_there(tmp_path, capsys):
    assert cli.main(["-c", str(tmp_path / "x")]) == 78
    assert "1 error in the configuration" in capsys.readouterr().err


def test_check_config(config, capsys, tmp_path):
    (tmp_path / "users").write_text("a:b\nnonsense\n")
    path = config("passwd-file: users\nserver.listener.p: {bind: ['[::1]:110'], protocol: pop3}\n")
    assert cli.main(["check-config", "-c", path]) == 0
    assert capsys.readouterr().out == (
        "listener p: pop3 at [::1]:110, no TLS\n"
        "note: no client can log in: there is no certificate (cert-path), and allow-plain-text is false\n"
        "passwd-file: 1 users\n"
        f"note: {tmp_path}/users: line=2 has no : in it, so no password\n"
        f"{path}: good\n"
    )


def test_check_config_as_json(config, capsys, tmp_path):
    (tmp_path / "users").write_text("a:b\nnonsense\n")
    path = config("passwd-file: users\nserver.listener.p: {bind: ['[::1]:110'], protocol: pop3}\n")
    assert cli.main(["check-config", "--json", "-c", path]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["listeners"] == [{"name": "p", "protocol": "pop3", "address": "[::1]:110", "tls": "no TLS"}]
    assert (found["ok"], found["users"], found["problems"], len(found["notes"])) == (True, 1, [], 2)
    (tmp_path / "users").unlink()
    assert cli.main(["check-config", "--json", "-c", path]) == 78
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["users"]) == (False, None)
    assert found["problems"] == [f"passwd-file: {tmp_path}/users cannot be read: No such file or directory"]


def test_check_config_names_who_keeps_others_from_scram(config, capsys, tmp_path):
    (tmp_path / "users").write_text("a:{PLAIN}x\nb:$6$x\nc:$6$y\nd:!\n")
    path = config("passwd-file: users\nsasl-mechanisms: [plain, scram-sha-256]\n")
    assert cli.main(["check-config", "-c", path]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "SCRAM" in line]
    assert told == ["note: SCRAM-SHA-256 is not offered: 2 users have no password for it, one of them is b"]


def test_check_config_looks_at_the_files(config, capsys, tmp_path):
    path = config("cert-path: c.pem\nkey-path: k.pem\npasswd-file: users\n")
    assert cli.main(["-c", path, "check-config"]) == 78
    out, err = capsys.readouterr()
    assert "listener imaps: imap at 0.0.0.0:993, TLS\n" in out and "STARTTLS" in out
    assert f"greenmail: passwd-file: {tmp_path}/users cannot be read: No such file or directory\n" in err
    assert f"cert-path of listener imaps: {tmp_path}/c.pem cannot be read" in err


def test_check_config_looks_into_the_certificate(config, capsys, tmp_path):
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("no certificate")
    path = config("cert-path: c.pem\nkey-path: k.pem\n")
    assert cli.main(["check-config", "-c", path]) == 78
    assert f"{tmp_path}/c.pem" in capsys.readouterr().err


# ---- serving ----


@pytest.fixture
def supervisor(monkeypatch):
    """Stands for the server; what `serve` was given."""
    given = []
    module = types.ModuleType("greenmail.net.supervisor")
    module.serve = lambda config: given.append(config) or 7
    monkeypatch.setitem(sys.modules, "greenmail.net.supervisor", module)
    monkeypatch.setattr(
        sys.modules.get("greenmail.net") or __import__("greenmail.net").net, "supervisor", module, raising=False
    )
    monkeypatch.setattr(logs, "setup", lambda *arguments: given.append(arguments))
    return given


@pytest.mark.parametrize("order", [["-c", "FILE"], ["--config", "FILE"], ["--config=FILE"]])
def test_serve(config, supervisor, order):
    path = config("log-level: debug\nlog-format: json\nlog-path: log\n")
    assert cli.main([part.replace("FILE", path) for part in order]) == 7
    setup, served = supervisor
    assert setup == ("debug", "json", os.path.join(os.path.dirname(path), "log"), (os.geteuid(), os.getegid()))
    assert served.source == path


def test_serve_says_what_cannot_work(config, supervisor, caplog):
    caplog.set_level("INFO")
    cli.main(["-c", config("passwd-file: users\n")])
    said = [(record.levelname.lower()[:4], record.getMessage().split(":")[0]) for record in caplog.records]
    assert ("info", "config port 993 is not opened, because cert-path and key-path are not set") in said
    assert ("warn", "config passwd-file") in said


def test_serve_without_a_place_for_the_log(config, capsys, monkeypatch):
    path = config("log-path: /no/such/directory/log\n")
    assert cli.main(["-c", path]) == 78
    assert "log-path: /no/such/directory/log cannot be opened: No such file or directory" in capsys.readouterr().err


def test_other_commands_do_not_load_the_server(config, tmp_path):
    (tmp_path / "users").write_text("a:b\n")
    code = "import sys; from greenmail import cli; cli.main(sys.argv[1:]); print('gevent' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "user", "list", "-c", config()],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "a\nFalse\n"


# ---- users ----


def test_the_life_of_a_user(config, typed, tmp_path, capsys):
    path = config()
    typed(b"secret\n")
    assert cli.main(["user", "add", "Alice", "--password-stdin", "--uid", "5", "--home", "/h", "-c", path]) == 0
    out, err = capsys.readouterr()
    assert out == "added alice\n"
    assert err == "the name is alice, by username-format and default-domain\n"
    entry = users(tmp_path)["alice"]
    assert entry.stored.startswith("{ARGON2ID}$argon2id$") and (entry.uid, entry.home) == (5, "/h")
    assert schemes.verify(entry.stored, b"secret", allow_weak=False).right

    typed(b"two words \r\n")
    assert cli.main(["-c", path, "user", "passwd", "alice", "--password-stdin", "--scheme", "SCRAM-SHA-256"]) == 0
    stored = users(tmp_path)["alice"].stored
    assert stored.startswith("{SCRAM-SHA-256}") and schemes.verify(stored, b"two words ", allow_weak=False).right

    capsys.readouterr()
    assert cli.main(["user", "-c", path, "list"]) == 0
    assert capsys.readouterr().out == "alice\n"
    assert cli.main(["user", "delete", "alice", "-c", path]) == 0
    assert users(tmp_path) == {}


def test_list_tells_who_may_not_log_in(config, tmp_path, capsys):
    (tmp_path / "users").write_text("b:x::::::nologin\na:x\n")
    assert cli.main(["user", "list", "-c", config()]) == 0
    assert capsys.readouterr().out == "b (nologin is set)\na\n"
    assert cli.main(["user", "list", "--json", "-c", config()]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"name": "b", "home": "", "uid": None, "gid": None, "no_login": "nologin is set"}
    assert (second["name"], second["no_login"]) == ("a", "")


@pytest.mark.parametrize(
    "arguments, octets, message",
    [
        (["add", "a"], b"x\n", "there is a user a already"),
        (["add", "../x"], b"x\n", "'../x' cannot be a user: the name has a / in it"),
        (["add", "x:y"], b"x\n", "has a colon"),
        (["add", "new"], b"\n", "the password is empty; nothing was changed"),
        (["add", "new"], b"", "the password is empty"),
        (["add", "new"], b"a\0b\n", "no NUL"),
        (["add", "new"], b"x" * 2000, "at most 1024 octets"),
        (["add", "new", "--home", "/a:b"], b"x\n", "has a colon"),
        (["passwd", "nobody"], b"x\n", "there is no user nobody in"),
        (["delete", "nobody"], b"", "there is no user nobody"),
    ],
)
def test_what_is_refused_changes_nothing(config, typed, tmp_path, capsys, arguments, octets, message):
    (tmp_path / "users").write_text("a:b\n")
    typed(octets)
    more = [] if arguments[0] == "delete" else ["--password-stdin"]
    assert cli.main(["user", *arguments, *more, "-c", config()]) == 1
    err = capsys.readouterr().err
    assert err.startswith("greenmail: ") and message in err
    assert (tmp_path / "users").read_text() == "a:b\n"


@pytest.mark.parametrize("command", [["list"], ["add", "a"], ["delete", "a"]])
def test_without_a_passwd_file(config, capsys, command):
    assert cli.main(["user", *command, "-c", config("log-level: info\n")]) == 1
    assert "passwd-file is not set" in capsys.readouterr().err


def test_one_file_a_domain(config, typed, tmp_path, capsys):
    path = config("passwd-file: '%d.users'\n")
    typed(b"secret\n")
    assert cli.main(["user", "add", "a@example.org", "--password-stdin", "-c", path]) == 0
    assert "give --home" in capsys.readouterr().err
    assert (tmp_path / "example.org.users").read_text().startswith("a@example.org:{ARGON2ID}")
    assert cli.main(["user", "list", "-c", path]) == 1
    assert cli.main(["user", "passwd", "a", "-c", path]) == 1


def test_a_missing_directory_is_told(config, typed, capsys):
    typed(b"secret\n")
    path = config("passwd-file: no/such/users\nmail-path: /srv/%u\n")
    assert cli.main(["user", "add", "a", "--password-stdin", "-c", path]) == 1
    assert "no/such/users was not changed: No such file or directory" in capsys.readouterr().err


def test_the_password_is_asked_for_twice_without_echo(config, tmp_path):
    """On a terminal of its own, as an administrator has it."""
    for answers, status in ((b"secret\nsecret\n", 0), (b"secret\nSecret\n", 1)):
        (tmp_path / "users").write_text("alice:old::::::\n")
        code = "import sys; from greenmail import cli; sys.exit(cli.main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "user", "passwd", "alice", "-c", config()]
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(ROOT)
            os.execv(sys.executable, command)
        said = b""
        for answer in answers.splitlines(keepends=True):
            while said.count(b": ") < 1:
                said += os.read(terminal, 1000)
            shown, said = said, b""
            assert b"secret" not in shown.lower()
            os.write(terminal, answer)
        try:
            while more := os.read(terminal, 1000):
                said += more
        except OSError:  # EIO: the other side is closed
            pass
        _, ended = os.waitpid(child, 0)
        os.close(terminal)
        assert os.waitstatus_to_exitcode(ended) == status, said
        assert b"secret" not in said.lower()
        stored = users(tmp_path)["alice"].stored
        assert schemes.verify(stored, b"secret", allow_weak=False).right is (status == 0)
        assert bool(re.search(rb"not the same", said)) is (status == 1)
