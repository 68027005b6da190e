"""Counting over processes. Each test runs in a process of its own: prometheus_client can be set up only once."""

import os
import subprocess
import sys
import textwrap

import pytest


def python(tmp_path, code):
    """What `code` prints; it fails with its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=os.getcwd(),
        env={**os.environ, "FIGURES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAD = """
import os
from greenmail import metrics, metrics_labels

figures = os.environ["FIGURES"]

def child(slot, work):
    metrics.prepare(slot)
    pid = os.fork()
    if pid == 0:
        metrics.use_slot(slot)
        work()
        os._exit(0)
    os.waitpid(pid, 0)

def value(line):
    page = metrics.render()[0].decode()
    found = [row for row in page.splitlines() if row.startswith(line + " ")]
    return float(found[0].split()[-1]) if found else None
"""


def test_before_the_start_nothing_is_counted_and_nothing_is_loaded(tmp_path):
    python(
        tmp_path,
        """
        import sys
        from greenmail import metrics
        metrics.login("imap", "ok")
        metrics.command("imap", "NOOP", "ok", 0.1)
        assert not metrics.started()
        assert "prometheus_client" not in sys.modules
        assert metrics.render()[0] == b""
        """,
    )


def test_who_loads_prometheus_client_first_is_told(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
import prometheus_client
try:
    metrics.start(figures)
except RuntimeError as error:
    assert "before" in str(error)
else:
    raise AssertionError("it would have counted into nothing")
""",
    )


def test_two_workers_add_up_and_the_dead_keep_counting(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
metrics.start(figures)
for slot in ("worker0", "worker1"):
    child(slot, lambda: [metrics.login("imap", "ok") for _ in range(3)])
logins = 'greenmail_logins_total{protocol="imap",result="ok"}'
assert value(logins) == 6
assert metrics.fold("worker0")
assert value(logins) == 6
child("worker0", lambda: metrics.login("imap", "ok"))
assert value(logins) == 7
""",
    )


def test_gauges_of_the_dead_go_and_histograms_stay(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
metrics.start(figures)
child("worker0", lambda: (metrics.idle(5), metrics.command("imap", "FETCH", "ok", 0.003)))
count = 'greenmail_command_duration_seconds_count{command="FETCH",protocol="imap"}'
bucket = 'greenmail_command_duration_seconds_bucket{command="FETCH",le="0.005",protocol="imap"}'
assert value("greenmail_idle_sessions") == 5
assert metrics.fold("worker0")
assert value("greenmail_idle_sessions") == 0
assert (value(count), value(bucket)) == (1, 1)
child("worker0", lambda: metrics.command("imap", "FETCH", "ok", 0.003))
assert metrics.fold("worker0")
assert (value(count), value(bucket)) == (2, 2)
""",
    )


def test_a_hundred_generations_leave_the_number_of_files_constant_and_no_counter_falls(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
metrics.start(figures)
logins = 'greenmail_logins_total{protocol="imap",result="ok"}'
names = None
for number in range(100):
    child(f"worker{number % 2}", lambda: metrics.login("imap", "ok"))
    assert metrics.fold(f"worker{number % 2}")
    if number % 20 == 0:
        assert value(logins) == number + 1
    names = names or sorted(os.listdir(figures))
    assert sorted(os.listdir(figures)) == names
assert value(logins) == 100
""",
    )


def test_a_file_that_was_cut_short_by_a_kill_does_not_stop_the_page(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
metrics.start(figures)
child("worker0", lambda: metrics.login("imap", "ok"))
with open(figures + "/counter_worker0.db", "r+b") as file:
    file.write((1 << 17).to_bytes(4, "little"))  # more than was written
assert metrics.fold("worker0")
assert value('greenmail_logins_total{protocol="imap",result="failed"}') == 0
""",
    )


def test_a_scrape_that_holds_the_directory_is_not_disturbed(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
import fcntl
metrics.start(figures)
child("worker0", lambda: metrics.login("imap", "ok"))
with open(figures + "/lock") as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    assert metrics.fold("worker0") is False
assert metrics.fold("worker0") is True
""",
    )


def test_names_of_commands_are_bounded_whatever_comes(tmp_path):
    python(
        tmp_path,
        HEAD
        + """
metrics.start(figures)
def flood():
    for number in range(1000):
        metrics.command("imap", f"X{number}", "bad", 0.001)
    metrics.command("imap", "X" * 1000, "bad", 0.001)
    metrics.command("imap", "\\xe9\\"", "bad", 0.001)
    metrics.command("imap", "", "bad", 0.001)
child("worker0", flood)
page = metrics.render()[0].decode()
assert page.count("greenmail_commands_total{") <= 151
assert value('greenmail_commands_total{command="other",protocol="imap",result="bad"}') == 1000 - 150 + 3
""",
    )


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_every_metric_is_on_the_page_with_its_help(tmp_path, accept):
    python(
        tmp_path,
        HEAD
        + f"""
metrics.start(figures)
def everything():
    metrics.connection_opened("imap", True)
    metrics.connection_closed("imap", 1, 1)
    metrics.refused("imap", "user")
    metrics.handshake("imap", "ok")
    metrics.command("imap", "NOOP", "ok", 0.1)
    metrics.watch_fallback("limit")
    metrics.degraded("no-events", 1)
    metrics.index_rebuild("missing")
    metrics.process_restart("worker")
    metrics.register_timeout()
    metrics.certificate_expiry("/x", 1e9)
    metrics.pool_tasks("work", 1, 2)
    metrics.pool_wait("work", 0.1)
    metrics.hub_lag(0.1)
    metrics.uidl_changed()
    metrics.text_search(True)
    metrics.full_text(1, 1, 1)
child("worker0", everything)
page, kind = metrics.render({accept!r})
for kind, attribute, name, text, labels in metrics_labels.TABLE:
    assert f"# HELP {{name}}" in page.decode(), name
    assert text in page.decode(), name
""",
    )


def test_files_that_somebody_removed_cost_the_figures_and_not_the_server(tmp_path):
    """As a timer that empties /tmp does."""
    python(
        tmp_path,
        HEAD
        + """
import shutil
metrics.start(figures)
child("worker0", lambda: metrics.login("imap", "ok"))
shutil.rmtree(figures)
assert metrics.fold("worker0")
metrics.login("imap", "ok")
try:
    metrics.prepare("worker1")
except OSError:
    pass
else:
    raise AssertionError("there is no directory")
pid = os.fork()
if pid == 0:
    metrics.use_slot("worker1")
    metrics.login("imap", "ok")
    metrics.command("imap", "NOOP", "ok", 0.1)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
""",
    )


def test_a_tally_counts_as_prometheus_client_does(tmp_path):
    """Where a release of it has other inner parts, commands are counted by its own way."""
    python(
        tmp_path,
        HEAD
        + """
import json
from greenmail.metrics_tally import Tally

class Lacking:
    @staticmethod
    def of(counter, histogram):
        assert isinstance(Tally.of(counter, histogram), Tally)
        assert Tally.of(counter, object()) is None and Tally.of(object(), histogram) is None

def work():
    for name, tally in (("NOOP", Tally), ("FETCH", Lacking)):
        metrics.Tally = tally
        for number, seconds in enumerate((0.0, 0.0005, 0.00051, 0.2, 30.0, 31.0)):
            metrics.command("imap", name, ("ok", "no")[number % 2], seconds)
    found = metrics.summary()
    assert found["commands"] == 12 and sum(found["buckets"]) == 12 and found["buckets"][0] == 4

def lines(name):
    page = metrics.render()[0].decode().splitlines()
    return [line.replace(name, "-") for line in page if f'command="{name}"' in line and "created" not in line]

metrics.start(figures)
child("worker0", work)
assert lines("NOOP") == lines("FETCH") and len(lines("NOOP")) >= 18
child("worker0", work) if metrics.fold("worker0") else None
assert value('greenmail_commands_total{command="NOOP",protocol="imap",result="no"}') == 6
assert lines("NOOP") == lines("FETCH")
""",
    )
