"""The process group of a server under load is killed, again and again; who comes next finds everything."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.image import scratch
from crash.load import Client, Ledger
from crash.picture import look_at
from crash.scene import Clock, open_account, unsynced
from support.server import start

_ROUNDS = 25
_CLIENTS = 3


def _is_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _round(directory: Path, root: Path, ledger: Ledger, number: int) -> None:
    chance = random.Random(number)
    wanted = ledger.answers + chance.randint(1, 120)
    with start(directory, str(root / "Maildir")) as server:
        clients = [Client(server.imaps, ledger, f"r{number}c{n}", number * 10 + n) for n in range(_CLIENTS)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + 20
        enough = threading.Event()
        while ledger.answers < wanted and time.monotonic() < deadline and any(c.is_alive() for c in clients):
            enough.wait(0.001)  # looks at the count; nobody sets it
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        while _is_left(server.process.pid) and time.monotonic() < deadline + 20:
            enough.wait(0.005)  # workers die, and are reaped, a little later than their parent
        for client in clients:
            client.join(30)
            assert not client.failed, client.failed


def _kill_often(rounds: int, ledger: Ledger) -> None:
    with scratch() as place:
        root = place / "alice"
        root.mkdir()
        store, account = open_account(root, unsynced, Clock())
        account.create("Other")
        store.mailboxes.close()
        for number in range(rounds):
            _round(place / "server", root, ledger, number)
            ledger.judge(look_at(root))
            ledger.deaths += 1


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_is_lost_when_the_server_is_killed(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    rounds = request.config.getoption("--crash-rounds", default=None) or _ROUNDS
    ledger = Ledger()
    try:
        _kill_often(rounds, ledger)
    finally:  # also how far it got
        record_property("kills", ledger.deaths)
        record_property("answers", ledger.answers)
