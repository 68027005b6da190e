"""The table, the goals and the JSON of a run."""

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from bench.measure import Figure, geometric_mean
from greenmail.message import headers

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
WORST = 1.2  # no row with a goal may be above it
MEAN = 0.4  # the goal of their geometric mean


def compiled() -> str:
    """Whether C runs, or the same modules as Python; the servers are started with this interpreter and its modules."""
    return "compiled" if str(headers.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else "pure Python"


def commit() -> str:
    """Short name of the commit, `+` if there is more than it."""
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "greenmail"], cwd=ROOT).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changed else "")


def circumstances(**more: Any) -> dict[str, Any]:
    """What a reader of the figures has to know."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "modules": compiled(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        **more,
    }


def _milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    return f"{seconds * 1e3:.1f}" if seconds < 10 else f"{seconds * 1e3:.0f}"


def _cells(figure: Figure) -> str:
    theirs, ours = figure.least("dovecot"), figure.least("greenmail")
    ratio = "" if math.isnan(figure.ratio) else f"**{figure.ratio:.2f}**"
    goal = f"{figure.goal:g}" if figure.goal else ""
    met = {None: "", True: "yes", False: "no"}[figure.met]
    case = f"{figure.case} ({figure.problem})" if figure.problem else figure.case
    cpus, walls = (f"{_milliseconds(theirs[n])} | {_milliseconds(ours[n])}" for n in (0, 1))
    return f"| {figure.number} | {case} | {cpus} | {ratio} | {goal} | {met} | {walls} |"


def table(figures: Sequence[Figure]) -> str:
    """Markdown: all rows, and how the goals stand."""
    lines = [
        "| | case | Dovecot CPU ms | GreenMail CPU ms | ratio | goal | met | Dovecot wall ms | GreenMail wall ms |",
        "|---|---|--:|--:|--:|--:|---|--:|--:|",
        *map(_cells, figures),
    ]
    return "\n".join([*lines, "", summary(figures)])


def summary(figures: Sequence[Figure]) -> str:
    """One paragraph about the goals."""
    judged = [figure for figure in figures if figure.met is not None]
    if not judged:
        return "No row with a goal has a ratio."
    above = [f"{figure.number} {figure.case}" for figure in judged if figure.ratio > WORST]
    return (
        f"Geometric mean over the {len(judged)} rows with a goal: {geometric_mean(figures):.2f} (goal {MEAN}). "
        f"Goals met: {sum(bool(figure.met) for figure in judged)} of {len(judged)}. "
        f"Above {WORST}: {len(above)}{': ' + '; '.join(above) if above else ''}."
    )


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """All rounds of all rows."""
    return [
        {
            "row": figure.number, "case": figure.case, "goal": figure.goal or None, "met": figure.met,
            "ratio": None if math.isnan(figure.ratio) else round(figure.ratio, 4), "peer": figure.peer,
            "problem": figure.problem, "cpu": figure.cpu, "wall": figure.wall,
        }
        for figure in figures
    ]  # fmt: skip


def write(stem: str, head: dict[str, Any], text: str, data: dict[str, Any], quiet: bool = False) -> Path:
    """Put `stem`.md and `stem`.json into the results; prints the text."""
    RESULTS.mkdir(exist_ok=True)
    line = ", ".join(f"{name} {value}" for name, value in head.items())
    if not quiet:
        print(f"\n{line}\n\n{text}", flush=True)
    (RESULTS / f"{stem}.md").write_text(f"{line}\n\n{text}\n", encoding="utf-8")
    path = RESULTS / f"{stem}.json"
    path.write_text(json.dumps({"circumstances": head, **data}, indent=1) + "\n", encoding="utf-8")
    return path
