"""What is said and done when a server starts, or cannot."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from support.running import (
    PATIENCE,
    ROOT_ONLY,
    Client,
    children,
    ready,
    until,
    workers,
)


def test_healthz_tells_of_workers_that_do_not_come_up_and_metrics_go_on(serve):
    server = ready(serve(workers=1))
    url = f"http://127.0.0.1:{server.metrics}/healthz"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.read() == b"ok: 1 of 1 workers answer\n"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/other", timeout=PATIENCE)
    assert caught.value.code == 404
    os.kill(children(server.process.pid, "greenmail-admin")[0], signal.SIGKILL)
    until(lambda: answers(url), "the admin process's return")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=PATIENCE).read()
    except OSError:
        return b""


def test_without_standard_streams_nothing_else_takes_their_numbers(serve, tmp_path):
    """Else what a library prints would go to a client or into a file of figures."""

    def close_all():
        for number in range(3):
            os.close(number)

    server = ready(serve(workers=1, enter=close_all, log_path=str(tmp_path / "server" / "log")))
    for pid in (server.process.pid, *children(server.process.pid)):
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {os.devnull}
    assert Client(server.imap).greeting.startswith(b"* OK")


@ROOT_ONLY
def test_a_user_database_that_workers_cannot_read_is_told_at_the_start(serve_others):
    server = ready(serve_others(workers=1, user="12345", enter=lambda: os.umask(0o077)))
    passwd = server.directory / "passwd"
    passwd.chmod(0o600)
    os.kill(workers(server)[0], signal.SIGKILL)
    until(lambda: f"passwd-file path='{passwd}' cannot be read by uid=12345" in server.logged(), "the line")


def started(tmp_path, **settings):
    """What a server that cannot start says, and its status."""
    config = tmp_path / "imap.yaml"
    wanted = {"bind-addr": "127.0.0.1", "bind-port": 0, "run-path": str(tmp_path / "run"), **settings}
    config.write_text(json.dumps(wanted))
    done = subprocess.run(
        [sys.executable, "-m", "greenmail", "-c", str(config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, [row for row in done.stderr.splitlines() if "cannot-start" in row]


def test_a_port_in_use_is_one_line_and_status_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, lines = started(tmp_path, **{"bind-port": taken.getsockname()[1]})
    assert status == 1
    (line,) = lines
    assert "another program listens there" in line


def test_a_wrong_certificate_is_one_line_and_status_78(tmp_path):
    (tmp_path / "empty").write_text("")
    status, lines = started(
        tmp_path, **{"cert-path": str(tmp_path / "empty"), "key-path": str(tmp_path / "empty"), "bind-port-tls": 0}
    )
    assert status == 78
    (line,) = lines
    assert "there is no PEM certificate" in line


def test_a_run_path_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    status, lines = started(tmp_path, **{"run-path": str(tmp_path / "file" / "run")})
    assert status == 78
    (line,) = lines
    assert "run-path" in line
