"""Measuring rows: servers in turn, A B A B, until the slower has used enough CPU; the least of the rounds counts."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.rows import Row
from bench.servers import Site

SETTLE = 0.01  # what the preparation left to do
MOST_RUNS = 60


@dataclass
class Figure:
    """One row of the table: seconds of CPU and wall time by server and round, or why there are none."""

    number: str
    case: str
    goal: float = 0.0
    peer: str = "dovecot"
    unit: str = "s"  # of `cpu`
    cpu: dict[str, list[float]] = field(default_factory=dict)
    wall: dict[str, list[float]] = field(default_factory=dict)
    problem: str = ""

    def add(self, name: str, cpu: float, wall: float) -> None:
        """The figures of a round."""
        self.cpu.setdefault(name, []).append(cpu)
        self.wall.setdefault(name, []).append(wall)

    def least(self, name: str) -> tuple[float, float]:
        """CPU and wall time of `dovecot` (whichever it was) or `greenmail`; nan where there are none."""
        found = "greenmail" if name == "greenmail" else self.peer
        return min(self.cpu.get(found, [math.nan])), min(self.wall.get(found, [math.nan]))

    @property
    def ratio(self) -> float:
        """GreenMail's CPU as a part of Dovecot's; nan without one of them."""
        theirs, ours = self.least("dovecot")[0], self.least("greenmail")[0]
        return ours / theirs if theirs > 0 else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none, or no ratio."""
        return None if not self.goal or math.isnan(self.ratio) else self.ratio <= self.goal


def once(row: Row, site: Site) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    run = row.prepare(site)
    try:
        time.sleep(SETTLE)
        before, began = site.meter.seconds(), time.monotonic()
        row.work(site, run)
        wall = time.monotonic() - began
        return site.meter.seconds() - before, wall
    finally:
        run.close(site)


def measure(row: Row, sites: Sequence[Site], enough: float, figure: Figure) -> None:
    """One round of `row` on these servers in turn: the mean of as many runs as the slower one needs for `enough`."""
    lacking = [site.name for site in sites if row.needs and row.needs not in site.capabilities]
    if lacking:
        figure.problem = f"{', '.join(lacking)}: no {row.needs.decode()}"
        return
    sums = {site.name: [0.0, 0.0] for site in sites}
    began, runs = time.monotonic(), 0
    while True:
        for site in sites:
            cpu, wall = once(row, site)
            sums[site.name][0] += cpu
            sums[site.name][1] += wall
        runs += 1
        if max(cpu for cpu, _ in sums.values()) >= enough or runs >= MOST_RUNS:
            break
        if time.monotonic() - began > 12 * enough:
            break
    for name, (cpu, wall) in sums.items():
        figure.add("greenmail" if name == row.ours else name, cpu / runs, wall / runs)


def sites_of(row: Row, running: dict[str, Site]) -> list[Site]:
    """The servers on which a row runs: its Dovecot, if there is one, and GreenMail."""
    return [running[name] for name in (row.peer, row.ours) if name in running]


def geometric_mean(figures: Sequence[Figure]) -> float:
    """Over the rows with a goal and a ratio; nan if there are none."""
    ratios = [figure.ratio for figure in figures if figure.met is not None]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
