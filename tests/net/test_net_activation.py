"""systemd: ports that it has bound, sd_listen_fds(3), and what it is told, sd_notify(3)."""

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.server import free_port, start, wait_until_healthy
from support.wire_client import Imap

from greenmail.auth.penalties import BanRule
from greenmail.config_tables import Listener
from greenmail.net import family, listen, systemd
from greenmail.net.family import Child, Family, Kind

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


@pytest.mark.interop
def test_systemd_itself_hands_over(tmp_path: Path) -> None:
    """By its program for trying that: the server is started by the first client, who waits meanwhile."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd-socket-activate is not installed (Debian: systemd)")
    ports = [free_port(), free_port()]
    (tmp_path / "users").write_text("alice:{PLAIN}secret\n")
    listeners = {
        name: {"bind": [f"127.0.0.1:{port}"], "protocol": name}
        for name, port in zip(("imap", "pop3"), ports, strict=True)
    }
    settings = {
        "passwd-file": str(tmp_path / "users"), "mail-path": str(tmp_path / "Maildir"), "processes": 1,
        "run-path": str(tmp_path / "run"), "allow-plain-text": True, "server": {"listener": listeners},
    }  # fmt: skip
    (tmp_path / "imap.yaml").write_text(yaml.safe_dump(settings))
    log = tmp_path / "log"
    addresses = [word for port in ports for word in ("-l", f"127.0.0.1:{port}")]
    search = f"PYTHONPATH={':'.join(sys.path)}"
    command = [program, *addresses, "-E", search, sys.executable, "-m", "greenmail", "-c", str(tmp_path / "imap.yaml")]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                first = Imap(ports[0]).login()
                break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
        first.ok("SELECT INBOX")
        with socket.create_connection(("127.0.0.1", ports[1]), 30) as pop3:
            assert pop3.recv(100).startswith(b"+OK")
        first.close()
        assert "socket-not-used" not in log.read_text()
    finally:
        process.terminate()
        assert process.wait(20) == 0


# --- What systemd is told ---


class Told:
    """Where NOTIFY_SOCKET leads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(60)

    def until(self, wanted: str) -> dict[str, str]:
        """What comes in the message that has `wanted`; signs of life in between do not count."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            if wanted in lines:
                return dict(line.split("=", 1) for line in lines)
            assert lines == ["WATCHDOG=1"], lines


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    made = Told(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield made
    made.socket.close()


def test_each_step_is_told(told: Told, tmp_path: Path) -> None:
    with start(tmp_path / "server", str(tmp_path / "Maildir"), workers=1) as server:
        told.until("READY=1")
        for _ in range(3):
            told.until("WATCHDOG=1")
        for text in (server.config.read_text(), "not-a-setting: 1"):
            server.config.write_text(text)
            before = time.monotonic_ns() // 1000
            server.process.send_signal(signal.SIGHUP)
            at = int(told.until("RELOADING=1")["MONOTONIC_USEC"])
            assert before <= at <= time.monotonic_ns() // 1000
            told.until("READY=1")
        server.process.send_signal(signal.SIGTERM)
        told.until("STOPPING=1")


@pytest.mark.slow
def test_a_worker_that_hangs_is_no_sign_of_life(told: Told, tmp_path: Path) -> None:
    with start(tmp_path / "server", str(tmp_path / "Maildir"), workers=1) as server:
        told.until("READY=1")
        told.until("WATCHDOG=1")
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (worker,) = [int(each) for each in children if "worke" in Path(f"/proc/{each}/comm").read_text()]
        os.kill(worker, signal.SIGSTOP)
        try:
            told.socket.settimeout(0.5)
            while "watchdog-withheld" not in server.logged():
                with contextlib.suppress(TimeoutError):
                    assert told.socket.recv(4096) == b"WATCHDOG=1"
        finally:
            os.kill(worker, signal.SIGCONT)
        told.socket.settimeout(60)
        told.until("WATCHDOG=1")


@pytest.mark.parametrize(
    "silent, stuck, kind, is_well",
    [
        (0.0, 0.0, Kind.WORKER, True),
        (family.SILENT - 1, family.STUCK - 1, Kind.WORKER, True),
        (family.SILENT + 1, 0.0, Kind.WORKER, False),  # its event loop hangs
        (0.0, family.STUCK + 1, Kind.WORKER, False),  # its threads do, for a disk
        (0.0, 0.0, Kind.ADMIN, False),  # serves nobody
    ],
)
def test_who_is_well(silent: float, stuck: float, kind: Kind, is_well: bool) -> None:
    ours, theirs = socket.socketpair()
    now = time.monotonic()
    alone = Family(5, BanRule())
    alone.children[1] = Child(kind, 0, 1, ours, 1, now, now - silent, now - stuck)
    assert alone.is_well(now) is is_well
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    "environment, every",
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, math.inf),  # somebody else's
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
        ({}, math.inf),
    ],
)
def test_how_often_a_sign_of_life_is_wanted(
    environment: dict[str, str], every: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    made = systemd.Watchdog()
    assert made.every == every
    assert made.next == math.inf, "nothing is due before the first, which comes when all is ready"
    said: list[str] = []
    monkeypatch.setattr(systemd, "notify", said.append)
    for now in (7.0, 7.0 + 1.4, 7.0 + 1.5):
        made.tend(now, is_well=True)
    assert said == ([] if every == math.inf else ["WATCHDOG=1"] * 2)
    assert "WATCHDOG_USEC" not in os.environ, "no child is to think that it is meant"
