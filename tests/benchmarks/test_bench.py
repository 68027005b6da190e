"""The yardstick itself: what it generates, how it counts, and what it says of the goals."""

import json
import math
import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench import corpus, curves, plots, report, servers, stalls
from bench.__main__ import workplace
from bench.measure import Figure, geometric_mean, measure
from bench.meter import Meter
from bench.rows import Row, Sizes, each, rows, selected


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(tmp_path):
    for name, count in (("small", 20), ("large", 40)):
        corpus.fill(tmp_path / name, count, mixed=True)
    first, second = (sorted(os.listdir(tmp_path / name / "cur")) for name in ("small", "large"))
    assert second[:20] == first
    for file in first:
        octets = (tmp_path / "small" / "cur" / file).read_bytes()
        assert octets == (tmp_path / "large" / "cur" / file).read_bytes()
        assert b"\r" not in octets and b"\n\n" in octets


def test_the_mixed_corpus_is_as_described():
    dice = random.Random(1)
    made = [corpus.message(number, dice, mixed=True) for number in range(400)]
    share = {word: sum(word in octets for octets in made) / 4 for word in (b"alternative", b"pdf", b"\nReferences:")}
    assert 30 < share[b"alternative"] < 42
    assert 1 < share[b"pdf"] < 7
    assert 45 < share[b"\nReferences:"] < 60


def test_links_share_files_and_copies_do_not(tmp_path):
    corpus.fill(tmp_path / "source", 3, mixed=False)
    linked = corpus.link(tmp_path / "source", tmp_path / ".Linked", 8)
    copied = corpus.duplicate(tmp_path / "source", tmp_path / ".Copied", 3)
    assert len(os.listdir(linked / "cur")) == 8
    assert {path.stat().st_ino for path in (linked / "cur").iterdir()} == {
        path.stat().st_ino for path in (tmp_path / "source" / "cur").iterdir()
    }
    assert all(path.stat().st_nlink == 1 for path in (copied / "cur").iterdir())
    assert (linked / "cur").stat().st_mtime == corpus.PAST


# The table of goals, by workload and a part of the case.
GOALS = [
    ("W1", "one at a time", 0.5), ("W1", "50 at once", 0.5), ("W2", "cold", 1.0), ("W2", "warm, new session", 0.5),
    ("W2", "warm, same session", 1.0), ("W3", "UID FLAGS, first", 0.5), ("W3", "UID FLAGS, second", 0.2),
    ("W4", "first", 1.0), ("W4", "second", 0.15), ("W4", "third", 0.15), ("W5", "first", 1.0), ("W5", "second", 0.6),
    ("W6", "first", 1.0), ("W6", "third", 0.3), ("W7", "one by one", 0.8), ("W7", "in one", 1.0), ("W8", "STORE", 0.8),
    ("W8", "single", 0.2), ("W9", "one by one", 0.6), ("W10", "COPY", 0.8), ("W10", "MOVE", 0.8),
    ("W10", "EXPUNGE", 1.0), ("W11", "UNSEEN, second", 0.3), ("W11", "FROM, first", 1.0), ("W11", "SINCE, second", 0.3),
    ("W11", "BODY, ", 0.8), ("W11", "TEXT, ", 0.8), ("W11", "BODY with a full-text index", 0.05),
    ("W11", "TEXT with a full-text index", 0.05), ("W12", "SORT REVERSE DATE, first", 1.0), ("W12", "second", 0.5),
    ("W15", "CHANGEDSINCE", 0.3), ("W15", "QRESYNC", 0.1), ("W17", "LIST, second", 0.5), ("W17", "RETR", 0.8),
]  # fmt: skip


@pytest.mark.parametrize(("number", "part", "goal"), GOALS)
def test_each_row_has_its_goal(number, part, goal, monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "cached", lambda mixed, count: tmp_path)
    cases = [row for row in rows(Sizes(1000, 5000), 100) if row.number == number and part in row.case]
    found = [row for row in cases if "another word" not in row.case]  # what no goal speaks of
    assert found
    assert {row.goal for row in found} == {goal}


def figure(theirs: list[float], ours: list[float], goal: float = 0.5) -> Figure:
    made = Figure("W9", "something", goal)
    for name, values in (("dovecot", theirs), ("greenmail", ours)):
        for value in values:
            made.add(name, value, 2 * value)
    return made


@pytest.mark.parametrize(
    ("made", "ratio", "met"),
    [
        (figure([2.0, 4.0], [3.0, 1.0]), 0.5, True),  # the least of the rounds
        (figure([2.0], [1.5]), 0.75, False),
        (figure([2.0], [1.5], goal=0), 0.75, None),
        (figure([], [1.0]), math.nan, None),  # no Dovecot
        (figure([1.0], []), math.nan, None),
        (figure([0.0], [1.0]), math.nan, None),
    ],
)
def test_ratio_and_goal(made, ratio, met):
    assert made.ratio == pytest.approx(ratio, nan_ok=True)
    assert made.met is met


def test_the_mean_is_over_the_rows_with_a_goal():
    made = [figure([1.0], [0.2]), figure([1.0], [0.8]), figure([1.0], [9.0], goal=0), figure([], [1.0])]
    assert geometric_mean(made) == pytest.approx(0.4)
    text = report.table([*made, figure([1.0], [1.3], goal=0.9)])
    assert "Goals met: 1 of 3" in text
    assert "Above 1.2: 1: W9 something" in text
    json.dumps(report.as_json(made), allow_nan=False)


def test_stalls_are_judged_by_p99_or_by_the_worst():
    stall = stalls.Stall("x", 1.0, [0.001] * 198 + [0.05, 0.2])
    assert (stall.quantile(0.5), stall.judged) == pytest.approx((1.0, 1.0))
    assert "| yes |" in stalls.line(stall)
    stall.goal_ms = stalls.GOAL_SILENT_MS
    assert stall.judged == pytest.approx(200)
    assert "| no |" in stalls.line(stall)


def test_plots_are_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install .[bench]")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    head = report.circumstances()
    by_size = {1000: {"dovecot": 0.1, "greenmail": 0.01}, 10000: {"dovecot": 1.0, "greenmail": 0.02}}
    report.write(curves.STEM, head, "", {"curves": {"W2 SELECT, cold": by_size}}, quiet=True)
    memory = {"memory dovecot": {"plain": {100: (600.0, 0.01, 0.0)}}}
    data = {"rows": report.as_json([figure([1.0], [0.3])]), **memory}
    report.write("full-1", head, "", data, quiet=True)
    made = plots.draw_all()
    assert {path.name for path in made} == {
        f"{name}.{kind}" for name in ("curves", "ratios", "memory") for kind in ("png", "svg")
    }
    assert all(path.stat().st_size > 5000 for path in made)


@pytest.mark.slow
def test_a_row_is_measured_on_a_server(tmp_path):
    """GreenMail alone, one small row: CPU and wall time, and a capability that is not there."""
    corpus.fill(tmp_path / "source", 5, mixed=False)
    row = Row("W0", "NOOP", selected(b"Bench"), each(*[b"NOOP"] * 20))
    with workplace(None) as where, servers.running(("greenmail",), where) as running:
        site = running["greenmail"]
        corpus.link(tmp_path / "source", site.mail / "bench" / ".Bench", 5)
        found = Figure(row.number, row.case)
        measure(row, [site], 0.001, found)
        lacking = Figure("W0", "none")
        measure(Row("W0", "none", row.prepare, row.work, needs=b"X-NOBODY-HAS-THIS"), [site], 0.001, lacking)
    (cpu,), (wall,) = found.cpu["greenmail"], found.wall["greenmail"]
    assert 0 < cpu < 5
    assert 0 < wall < 60
    assert lacking.problem == "greenmail: no X-NOBODY-HAS-THIS"
    assert not lacking.cpu


def test_without_a_control_group_the_living_processes_are_counted():
    meter = Meter("test")
    meter.close()
    meter.group, meter.pid = None, os.getpid()
    before = meter.seconds()
    sum(range(200000))
    assert meter.seconds() >= before > 0
    assert os.getpid() in meter.processes()
