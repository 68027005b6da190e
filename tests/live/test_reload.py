"""SIGHUP while clients come, wait and write: `support.reload_load` says who, and what may happen to them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.server import Server, start
from support.wire_client import Imap


def users(writers: int) -> str:
    names = (
        [f"idler{n}" for n in range(20)] + [f"writer{n}" for n in range(writers)] + [f"visitor{n}" for n in range(99)]
    )
    return "".join(f"{name}:{{PLAIN}}secret\n" for name in names)


def wait_until_logged(server: Server, text: str, times: int) -> None:
    end = time.monotonic() + 60
    while server.logged().count(text) < times:
        assert server.process.poll() is None and time.monotonic() < end, server.logged()[-3000:]
        time.sleep(0.02)


def under_load(directory: Path, reloads: int, apart: float, grace: float, **load: float) -> dict[str, Any]:
    """What came of it; and the mails that writers were told of are there, and no others."""
    settings = {"max_connections_per_user": 100_000, "max_connections_per_address": 0, "stop_grace": grace}
    settings |= {"max_waiting_logins": 100_000, "max_waiting_logins_per_address": 100_000}  # all from one address
    writers = int(load["writers"])
    with start(directory, f"{directory}/mail/%u", users(writers), allow_plain_text=True, **settings) as server:
        ports = {name: getattr(server, name) for name in ("imap", "imaps", "pop3", "pop3s")}
        command = [sys.executable, "-m", "support.reload_load", json.dumps({"ports": ports, **load})]
        clients = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent, text=True,
            env={**os.environ, "PYTHONPATH": "."},
        )  # fmt: skip
        assert clients.stdin is not None and clients.stdout is not None
        assert clients.stdout.readline() == "ready\n"
        begun = time.monotonic()
        for number in range(1, reloads + 1):
            server.process.send_signal(signal.SIGHUP)
            wait_until_logged(server, " reloaded", number)
            time.sleep(apart)  # not for something to happen: so that some reloads meet the one before, and some do not
        wait_for_old(server)
        seconds = time.monotonic() - begun
        clients.stdin.close()
        told: dict[str, Any] = json.loads(clients.stdout.read())
        clients.wait(60)
        log = server.logged()
        for event in ("killed pid", "process-ended", "stop-grace-over", "reload-refused", "not-carried"):
            assert event not in log, [row for row in log.splitlines() if event in row]
        assert told["failed"] == told["stuck"] == 0, told["failures"]
        found = [subject for number in range(writers) for subject in subjects(server, f"writer{number}")]
        assert sorted(found) == sorted(told["appended"]), "what was answered OK is there once, and nothing else"
    told |= {"appended": len(told["appended"]), "refused": len(told["refused"]), "seconds": round(seconds, 1)}
    print(f"{reloads} reloads:", json.dumps(told))
    return told


def wait_for_old(server: Server) -> None:
    """Until there are no more processes than at the start."""
    end = time.monotonic() + 60
    while len(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()) > 3:
        assert time.monotonic() < end
        time.sleep(0.05)


def subjects(server: Server, user: str) -> list[str]:
    with Imap(server.imap, timeout=60).login(user) as imap:
        imap.ok("SELECT INBOX")
        text = b"".join(imap.lines("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")).decode()
    return re.findall(r"Subject: (\S+)", text)


@pytest.mark.slow
def test_nobody_is_lost_by_a_reload(tmp_path: Path) -> None:
    told = under_load(tmp_path, 3, 1.0, 9, visitors=16, idlers=700, writers=8, silents=100, pause=0.05)
    seen = told["seen"]
    assert sum(count for what, count in seen.items() if what.startswith("connections")) > 1000
    assert seen["idlers sent away"] > 250 and seen["visitors done"] > 20 and told["appended"] > 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nobody_of_thousands_is_lost_by_many_reloads(tmp_path: Path) -> None:
    under_load(tmp_path, 12, 2.0, 15, visitors=60, idlers=4000, writers=20, silents=400, pause=0.05)
