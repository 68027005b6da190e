"""What keeps the event loop is measured, and named in the log."""

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from support import server
from support.wire_client import Imap

from greenmail.net import lag
from greenmail.net.lag import Watchdog, find_holder
from greenmail.net.work import Clock, Pool

HELD = re.compile(
    r"hub-held seconds=(?P<seconds>\d+\.\d{3}) cpu=(?P<cpu>\d+\.\d{3}) by=(?P<by>\w+) sid=(?P<sid>\S+) "
    r"at=(?P<at>\S+) suppressed=(?P<suppressed>\d+) stack='(?P<stack>[^']+)'"
)


def hold(seconds: float) -> None:
    """As a system call does that waits for a disk."""
    time.sleep(seconds)


@pytest.fixture
def watchdog():
    made = Watchdog()
    gevent.sleep(0.001)
    yield made
    made.close()


def lines(caplog) -> list[re.Match[str]]:
    """The lines so far."""
    return [line for line in map(HELD.fullmatch, caplog.messages) if line]


def hold_until(is_told: Callable[[], bool], holder: Callable[[float], object] = hold) -> None:
    """Keep the loop until that is true. Where other processes had the core meanwhile, nothing is told: so once more."""
    for _ in range(5):
        gevent.spawn(holder, lag.LONGEST_PAUSE + 2 * lag.HELD).join()
        for _ in range(200):
            if is_told():
                return
            gevent.sleep(0.01)


def test_what_kept_the_loop_is_named_with_its_stack(watchdog, caplog):
    hold_until(lambda: bool(lines(caplog)))
    (line,) = lines(caplog)
    assert line["by"] == "greenlet"
    assert line["sid"] == "-"
    assert re.search(r"net/test_net_lag\.py:\d+:hold$", line["stack"].split(" < ")[0])
    assert float(line["seconds"]) >= lag.HELD
    assert float(line["cpu"]) < 2 * lag.HELD  # it slept


def test_a_session_is_found_by_the_name_that_the_engines_give_it(watchdog, caplog):
    class Session:
        sid = "07abc"

    def serve(seconds: float, session: Session) -> None:
        hold(seconds)

    hold_until(lambda: bool(lines(caplog)), lambda seconds: serve(seconds, Session()))
    (line,) = lines(caplog)
    assert line["sid"] == "07abc"


def test_one_place_is_told_once_a_minute_and_the_next_line_counts_the_others(watchdog, caplog):
    def told() -> list[tuple[str, int]]:
        return [(place.rpartition(":")[2], left_out) for place, (_, left_out) in watchdog._told.items()]

    for left_out in (0, 1):
        expected = [("hold", left_out)]
        hold_until(lambda expected=expected: told() == expected)
        assert told() == expected
    assert len(lines(caplog)) == 1


def test_a_loop_that_waits_for_input_is_kept_by_nobody():
    gate, seen = threading.Event(), []

    def look() -> None:
        seen.append(find_holder(sys._current_frames(), home))
        gate.set()

    home = threading.get_ident()
    threading.Timer(0.05, look).start()
    while not gate.is_set():
        gevent.sleep(0.02)
    assert seen == [None]


def test_a_thread_of_the_pool_is_named_when_the_loop_itself_waits():
    pool, gate, seen = Pool("work", 1, Clock()), threading.Event(), []
    home = threading.get_ident()

    def task() -> None:
        gate.wait(20)

    def look() -> None:
        seen.append(find_holder(sys._current_frames(), home))
        gate.set()

    threading.Timer(0.1, look).start()
    pool.run(task)
    pool.close()
    assert seen[0].by == "thread"
    assert ":task < " in seen[0].stack


def test_a_loop_is_seen_waiting_for_input_from_another_thread():
    seen: list[bool] = []
    home = threading.get_ident()

    def look(gate: threading.Event) -> None:
        seen.append(lag.waits_for_input(home))
        gate.set()

    gate = threading.Event()
    threading.Timer(0.0, look, [gate]).start()
    gate.wait(20)  # a green thread that keeps the loop
    gate = threading.Event()
    threading.Timer(0.05, look, [gate]).start()
    while not gate.is_set():
        gevent.sleep(0.02)
    assert seen == [False, True]


def test_answers_that_were_taken_for_given_count_with_the_next(watchdog, monkeypatch):
    lags: list[float] = []
    monkeypatch.setattr(lag.metrics, "hub_lag", lags.append)
    for _ in range(10):
        while not any(lags):
            gevent.sleep(0.01)
        if lags.count(0.0):
            break
        lags.clear()
    assert lags[:-1] and not any(lags[:-1]) and lags[-1], "the questions that were left out, then the one that was not"


SLOW_NOOP = """
import time
from greenmail.imap.commands import basic

def run_slowly(session, argument, run=basic.NOOP.run):
    time.sleep(0.7)
    return run(session, argument)

object.__setattr__(basic.NOOP, "run", run_slowly)
"""


@pytest.mark.interpreted  # frames of compiled modules are in no stack
def test_a_command_that_sleeps_natively_is_named_by_the_server(tmp_path, monkeypatch):
    """A server in which NOOP keeps the loop, as a file system that hangs would."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_NOOP)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(lag.__file__).parents[2]}")
    with server.start(tmp_path / "server", str(tmp_path / "%u"), workers=1, allow_plain_text=True) as running:
        client = Imap(running.imap)
        client.command("LOGIN alice secret")
        client.command("NOOP")
        client.command("LOGOUT")
        page = running.scrape()
        for _ in range(200):
            line = HELD.search(running.logged())
            if line is not None:
                break
            gevent.sleep(0.02)
        logged = running.logged()
    assert line is not None, logged
    assert line["by"] == "greenlet"
    assert float(line["seconds"]) >= 0.3
    assert ":run_slowly < imap/execute.py:" in line["stack"]
    assert f"login sid={line['sid']} " in logged
    late = re.search(r'greenmail_hub_lag_seconds_bucket\{le="0.25"\} (\S+)', page)
    all_of_them = re.search(r"greenmail_hub_lag_seconds_count (\S+)", page)
    assert late is not None and all_of_them is not None
    assert float(all_of_them[1]) > float(late[1])
