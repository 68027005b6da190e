"""The verbs for a running server, against a real one; and its control socket, which must bear anything."""

import contextlib
import imaplib
import json
import os
import poplib
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import server as servers
from support.server import Server

from greenmail import cli

SECRET = "s3cr3t-never-shown"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers; alice and bob."""
    place = tmp_path_factory.mktemp("operations")
    for user in ("alice", "bob"):
        for part in ("cur", "new", "tmp"):
            (place / "mail" / user / part).mkdir(parents=True)
    passwd = f"alice:{{PLAIN}}{SECRET}\nbob:{{PLAIN}}{SECRET}\n"
    with servers.start(place / "site", str(place / "mail/%u"), passwd, allow_plain_text=True) as running:
        yield running


def _logged_in(server: Server, user: str) -> imaplib.IMAP4:
    """Again if a worker that a reload has just told to go took the connection: BYE, connect again."""
    while True:
        client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=20)
        try:
            client.login(user, SECRET)
            client.select("INBOX")
        except imaplib.IMAP4.abort as abort:
            assert "shutting down" in str(abort)
            client.shutdown()
        else:
            return client


@contextlib.contextmanager
def session(server: Server, user: str = "alice") -> Iterator[imaplib.IMAP4]:
    """Logged in, INBOX selected."""
    client = _logged_in(server, user)
    try:
        yield client
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            client.logout()


def verb(server: Server, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a verb writes to standard output."""
    capsys.readouterr()
    found = cli.main([*arguments, "-c", str(server.config)])
    written = capsys.readouterr()
    assert found == status, written.err
    return written.out if status == 0 else written.err


def parsed(server: Server, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(verb(server, capsys, *arguments, "--json"))


def until(look: Callable[[], Any], seconds: float = 15) -> Any:
    """What `look` gives, as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


def test_who_shows_each_session_with_what_it_does(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with session(server) as first, session(server, "bob"):
        first.noop()
        found = parsed(server, capsys, "who", "alice")
        (mine,) = found["sessions"]
        assert found["silent"] == []
        assert (mine["user"], mine["address"], mine["protocol"]) == ("alice", "127.0.0.1", "imap")
        assert (mine["mailbox"], mine["state"], mine["command"], mine["tls"]) == ("INBOX", "ready", "NOOP", "")
        assert mine["commands"] >= 3 and mine["received"] > 30 and mine["sent"] > 100
        assert mine["port"] == first.sock.getsockname()[1]
        first.send(b"i1 IDLE\r\n")
        assert first.readline().startswith(b"+")
        assert parsed(server, capsys, "who", mine["id"])["sessions"][0]["state"] == "idle"
        first.send(b"DONE\r\n")
        first.readline()
        everybody = parsed(server, capsys, "who")["sessions"]
        assert {one["user"] for one in everybody} == {"alice", "bob"}
        assert {one["user"] for one in parsed(server, capsys, "who", "b*")["sessions"]} == {"bob"}
        assert len(parsed(server, capsys, "who", "127.0.0.0/8")["sessions"]) == 2
        assert parsed(server, capsys, "who", "192.0.2.1", "carol")["sessions"] == []
        text = verb(server, capsys, "who")
        assert re.search(r"^\w+  alice +127\.0\.0\.1  imap", text, re.MULTILINE)
        assert text.endswith("2 sessions of 2 users\n")


def test_kick_says_bye_and_is_logged(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with session(server) as idle, session(server, "bob") as other:
        idle.send(b"i1 IDLE\r\n")
        idle.readline()
        (mine,) = parsed(server, capsys, "kick", "alice")["sessions"]
        assert idle.readline() == b"* BYE [UNAVAILABLE] Disconnected by the administrator.\r\n"
        assert idle.readline() == b""
        assert other.noop()[0] == "OK"
        line = re.compile(rf"kicked sid={mine['id']} user='alice' protocol=imap rip=127\.0\.0\.1 by=uid:{os.geteuid()}")
        assert line.search(server.logged())
        until(lambda: f"logout sid={mine['id']}" in server.logged())
        assert "there is no such session: alice" in verb(server, capsys, "kick", "alice", status=1)


def test_kick_ends_pop3_and_a_client_that_does_not_read(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client = poplib.POP3("127.0.0.1", server.pop3, timeout=20)
    client.user("alice")
    client.pass_(SECRET)
    (mine,) = parsed(server, capsys, "kick", "alice")["sessions"]
    assert mine["protocol"] == "pop3" and mine["mailbox"] == "INBOX"
    assert client.sock.recv(100) == b""
    client.close()


def test_explain_shows_what_commands_cost_and_nothing_secret(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with session(server) as client:
        client.append("INBOX", None, None, b"Subject: private words\r\n\r\nprivate body\r\n")
        client.noop()
        client.fetch("1:*", "(ENVELOPE BODY[])")
        client.send(f"x0 LOGIN alice {SECRET}\r\n".encode())
        assert client.readline().startswith(b"x0 BAD")
        client.send(f"LOGIN alice {SECRET}\r\n".encode())  # without a tag: the user's name is the command
        client.readline()
        client.send(f"x1 {SECRET}\r\n".encode())
        client.readline()
        client.send(b"x2 SEARCH SUBJECT {7+}\r\nprivate\r\n")
        while b"x2" not in client.readline():
            pass
        (mine,) = parsed(server, capsys, "who", "alice")["sessions"]
        found = parsed(server, capsys, "explain", mine["id"])
        text = verb(server, capsys, "explain", mine["id"])
    commands = [step["command"] for step in found["steps"]]
    assert commands == [
        "CAPABILITY", "LOGIN ...", "SELECT INBOX", "APPEND INBOX {40} ...", "NOOP", "FETCH 1:* (ENVELOPE BODY[])",
        "LOGIN ...",
        "(unknown)", "(unknown)", "SEARCH SUBJECT {7+} ...",
    ]  # fmt: skip
    for word in (SECRET, "private"):
        assert word not in json.dumps(found) and word not in text
    fetch = found["steps"][5]
    assert fetch["answer"] == "OK FETCH completed" and fetch["sent"] > 100 and fetch["received"] > 20
    assert found["steps"][3]["received"] > 40, "the literal counts"
    assert all(0 <= step["computed"] <= step["seconds"] + 0.05 for step in found["steps"])
    assert found["commands"] == len(commands)
    assert "there is no session 'nope' now" in verb(server, capsys, "explain", "nope", status=1)


def test_explain_keeps_the_last_commands_only(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with session(server) as client:
        for number in range(40):
            client._simple_command("UID", "SEARCH", f"UID {number + 1}")
        (mine,) = parsed(server, capsys, "who", "alice")["sessions"]
        steps = parsed(server, capsys, "explain", mine["id"])["steps"]
    assert [step["command"] for step in steps] == [f"UID SEARCH UID {number}" for number in range(17, 41)]


def test_trace_writes_down_a_users_sessions_without_secrets(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    found = parsed(server, capsys, "trace", "alice", "on", "--minutes", "5")
    path = Path(found["path"])
    assert path.parent == Path(server.settings["run-path"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with session(server) as client, session(server, "bob") as other:
        client.append("INBOX", None, None, b"Subject: private words\r\n\r\nprivate body\r\n")
        client.fetch("1:*", "(ENVELOPE BODY[])")
        client.send(f"x0 LOGIN alice {SECRET}\r\n".encode())
        assert client.readline().startswith(b"x0 BAD")
        other.noop()
        ended = parsed(server, capsys, "trace", "alice", "off")
        assert ended["path"] == str(path)
        client.noop()
    text = path.read_text()
    assert " SELECT INBOX" in text and " S: * 1 EXISTS" in text
    assert re.search(r"S: \* 1 FETCH \(ENVELOPE \(NIL <13 octets> .*BODY\[\] <40 octets>\)?", text)
    for word in (SECRET, "private"):
        assert word not in text
    assert len({line.split()[1] for line in text.splitlines()}) == 1, "alice's session, and nobody else's"
    assert "NOOP" not in text, "it had ended"


def test_a_trace_goes_on_over_a_reload(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(parsed(server, capsys, "trace", "bob", "on")["path"])
    verb(server, capsys, "reload")
    with session(server, "bob") as client:
        client.noop()
    assert " NOOP" in path.read_text()
    (trace,) = parsed(server, capsys, "status")["traces"]
    assert (trace["user"], trace["path"]) == ("bob", str(path))
    parsed(server, capsys, "trace", "bob", "off")
    assert parsed(server, capsys, "status")["traces"] == []


def test_a_trace_ends_at_its_time(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with control(server) as (sock, lines):
        sock.sendall(b'{"v": 1, "do": "trace", "with": {"user": "bob", "on": true, "seconds": 1}}\n')
        path = Path(json.loads(lines.readline())["result"]["path"])
    until(lambda: not parsed(server, capsys, "status")["traces"])
    with session(server, "bob") as client:
        client.noop()
    assert path.read_bytes() == b""


def test_there_is_a_limit_of_traces(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        parsed(server, capsys, "trace", f"user{number}", "on")
    assert "there are 20 traces already" in verb(server, capsys, "trace", "one-more", "on", status=1)
    for number in range(20):
        parsed(server, capsys, "trace", f"user{number}", "off")


def test_a_trace_stops_at_its_size(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(parsed(server, capsys, "trace", "bob", "on", "--mib", "0.001")["path"])
    with session(server, "bob") as client:
        for _ in range(40):
            client.noop()
    assert 900 < path.stat().st_size < 1500
    parsed(server, capsys, "trace", "bob", "off")


def test_status_tells_of_workers_and_what_they_do(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with session(server):

        def look() -> Any:
            found = parsed(server, capsys, "status")
            return found if found["totals"]["sessions"]["imap"] else None

        found = until(look)
        assert len(found["workers"]) == 2 and all(worker["ready"] for worker in found["workers"])
        assert found["totals"]["users"] == 1 and found["totals"]["connections"] == 1
        assert found["totals"]["memory"] > 20 << 20 and found["totals"]["minute"]["commands"] > 0
        assert found["certificates"][0]["expires"] > time.time()
        assert found["totals"]["cache"]["used"] == 1
        text = verb(server, capsys, "status")
        assert "1 connection, 1 user: 1 IMAP session" in text and "Certificates" in text


def test_top_needs_a_terminal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert "top needs a terminal" in verb(server, capsys, "top", status=1)


def test_reload_takes_up_the_configuration_or_says_why_not(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    before = {worker["pid"] for worker in parsed(server, capsys, "status")["workers"]}
    good = server.config.read_text()
    assert verb(server, capsys, "reload") == "reloaded\n"
    after = {worker["pid"] for worker in parsed(server, capsys, "status")["workers"] if not worker["leaving"]}
    assert len(after) == 2 and not before & after
    with session(server) as client:
        other = server.directory / "other.yaml"  # the server's own is broken, the verb's is not
        other.write_text(good)
        server.config.write_text(good.replace('"processes": 2', '"processes": "many"'))
        try:
            capsys.readouterr()
            assert cli.main(["reload", "-c", str(other)]) == 1
            assert "processes: found 'many'" in capsys.readouterr().err
        finally:
            server.config.write_text(good)
        assert client.noop()[0] == "OK"


# --- the socket ---


@contextlib.contextmanager
def control(server: Server) -> Iterator[tuple[socket.socket, Any]]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        run = os.open(server.settings["run-path"], os.O_RDONLY)
        sock.connect(f"/proc/self/fd/{run}/control")
        os.close(run)
        with sock.makefile("rb") as lines:
            yield sock, lines


BAD = [
    (b"nonsense", "bad-request"),
    (b"[]", "bad-request"),
    (b'"x"', "bad-request"),
    (b"{}", "bad-request"),
    (b'{"v": 2, "do": "ping"}', "bad-request"),
    (b'{"v": 1, "do": 7}', "bad-request"),
    (b'{"v": 1, "do": "ping", "with": []}', "bad-request"),
    (b'{"v": 1, "do": "ping", "id": {}}', "bad-request"),
    (b"[" * 30000, "bad-request"),
    (b"\xff\xfe\x00", "bad-request"),
    (b'{"v": 1, "do": "dance"}', "unknown"),
    (b'{"v": 1, "do": "kick"}', "refused"),
    (b'{"v": 1, "do": "kick", "with": {"words": "alice"}}', "refused"),
    (b'{"v": 1, "do": "who", "with": {"words": [1]}}', "refused"),
    (b'{"v": 1, "do": "explain", "with": {"session": ""}}', "refused"),
    (b'{"v": 1, "do": "trace", "with": {"user": "a", "on": true, "seconds": -1}}', "refused"),
    (b'{"v": 1, "do": "trace", "with": {"user": "a", "on": true, "limit": "x"}}', "refused"),
    (b'{"v": 1, "do": "trace", "with": {"user": "a", "on": true, "seconds": NaN}}', "refused"),
]


def test_bad_requests_are_answered_and_the_server_goes_on(server: Server) -> None:
    with control(server) as (sock, lines):
        for request, code in BAD:
            sock.sendall(request + b"\n")
            answer = json.loads(lines.readline())
            assert (answer["ok"], answer["error"]["code"]) == (False, code), request[:60]
        sock.sendall(b'\n{"v": 1, "id": "a", "do": "ping"}\n{"v": 1, "id": 2, "do": "ping"}\n')
        answers = [json.loads(lines.readline()) for _ in range(2)]
        assert [answer["id"] for answer in answers] == ["a", 2]
        assert answers[0]["result"]["pid"] == server.process.pid


def test_a_line_without_end_is_dropped(server: Server) -> None:
    with control(server) as (sock, lines):
        with contextlib.suppress(OSError):
            for _ in range(40):
                sock.sendall(b"x" * 4096)
        with contextlib.suppress(ConnectionResetError):
            answer = lines.readline()
            assert not answer or json.loads(answer)["error"]["code"] == "too-long"
    with control(server) as (sock, lines):
        sock.sendall(b'{"v": 1, "do": "ping"}\n')
        assert json.loads(lines.readline())["ok"]


def test_there_is_a_limit_of_clients(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        served = 0
        for _ in range(36):
            sock, lines = stack.enter_context(control(server))
            with contextlib.suppress(OSError):
                sock.sendall(b'{"v": 1, "do": "ping"}\n')
                served += bool(lines.readline())
    assert served == 32
    until(lambda: _pings(server))


def _pings(server: Server) -> bool:
    with contextlib.suppress(OSError), control(server) as (sock, lines):
        sock.sendall(b'{"v": 1, "do": "ping"}\n')
        return bool(lines.readline())
    return False


def test_the_socket_is_for_its_owner_alone(server: Server) -> None:
    place = Path(server.settings["run-path"]) / "control"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    if os.geteuid() != 0:
        return  # nobody else can be tried
    place.chmod(0o666)
    code = (
        "import os, socket, sys; os.setgroups([]); os.setresgid(65534, 65534, 65534);"
        " os.setresuid(65534, 65534, 65534);"
        " s = socket.socket(socket.AF_UNIX);"
        ' s.connect(sys.argv[1]); s.sendall(b\'{"v": 1, "do": "ping"}\\n\'); sys.exit(len(s.recv(100)))'
    )
    for directory in (place.parent, *place.parent.parents):
        if not os.stat(directory).st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)
    try:
        ended = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, timeout=20)
        assert ended.returncode in (0, 1), ended.stderr  # nothing was answered: end of stream, or reset
        assert b"PermissionError" not in ended.stderr
        until(lambda: "control-refused uid=65534" in server.logged())
    finally:
        place.chmod(0o600)


def test_without_a_server_verbs_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "imap.yaml"
    config.write_text(f"run-path: {tmp_path}\npasswd-file: users\nmail-path: /srv/%u\n")
    for arguments in (["who"], ["status"], ["reload"], ["stop"], ["kick", "x"], ["explain", "x"]):
        assert cli.main([*arguments, "-c", str(config)]) == 1
        assert f"no server is running here: {tmp_path}/control does not answer" in capsys.readouterr().err


def test_stop_waits_until_the_server_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mail").mkdir()
    with servers.start(tmp_path / "site", str(tmp_path / "mail/%u"), workers=1) as running:
        assert verb(running, capsys, "stop") == "stopped\n"
        assert running.process.wait(20) == 0
        assert not (Path(running.settings["run-path"]) / "control").exists()
