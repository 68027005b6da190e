"""Ports that systemd has bound: sd_listen_fds(3)."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from support.server import free_port, wait_until_healthy
from support.wire_client import Imap

from greenmail.config_tables import Listener
from greenmail.net import listen

ACTIVATE = """
import os, sys
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1])
os.execv(sys.executable, [sys.executable, "-m", "greenmail", "-c", sys.argv[2]])
"""
UNIT = Path(__file__).parent.parent.parent / "contrib/systemd/greenmail.socket"


def bound(address: str, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, port))
    made.listen()
    return made


def test_each_listener_takes_its_own() -> None:
    port = free_port()
    every, other = bound("::", port), bound("127.0.0.1", free_port())
    listener = Listener("imaps", "0.0.0.0", port, "imap", True, "/c", "/k")
    found = listen.activated([listener], [other, every], 120.0)
    try:
        assert found == {listen.place(listener): every}
        assert other.fileno() == -1, "nobody would answer there"
        assert every.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        every.close()


def test_a_server_serves_what_it_was_given(tmp_path: Path) -> None:
    """Also behind a reload, and not a moment without a listening socket."""
    sock, port, metrics = bound("127.0.0.1"), 0, free_port()
    port = sock.getsockname()[1]
    (tmp_path / "users").write_text("alice:{PLAIN}secret\n")
    config = tmp_path / "imap.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "passwd-file": str(tmp_path / "users"), "mail-path": str(tmp_path / "Maildir"), "processes": 1,
                "run-path": str(tmp_path / "run"), "allow-plain-text": True, "metrics-bind": f"127.0.0.1:{metrics}",
                "server": {"listener": {"imap": {"bind": [f"127.0.0.1:{port}"], "protocol": "imap"}}},
            }
        )
    )  # fmt: skip
    log = tmp_path / "log"
    assert sock.fileno() != 3

    def hand_over() -> None:
        os.dup2(sock.fileno(), 3)

    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, "1", str(config)], stdout=sink, stderr=sink, preexec_fn=hand_over,
            pass_fds=(3,), start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_healthy(metrics, process, log)
        for _ in range(2):
            with Imap(port).login() as imap:
                imap.ok("NOOP")
            process.send_signal(signal.SIGHUP)
            while "reloaded" not in log.read_text():
                assert process.poll() is None, log.read_text()
        assert "socket-not-used" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)
        sock.close()


def test_the_unit_has_the_ports_of_mail() -> None:
    ports = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("ListenStream=")]
    assert ports == ["143", "993", "110", "995"]
