"""The plots of what is in bench/results/, as SVG and PNG; needs matplotlib (`pip install .[bench]`)."""

import json
import math
from pathlib import Path
from typing import Any

from bench import curves, report

COLOURS = {"dovecot": "#c1272d", "greenmail": "#1b7837"}
NAMES = {"dovecot": "Dovecot 2.3", "greenmail": "GreenMail"}
MARKS = {"dovecot": "s", "greenmail": "o"}
LESS = {"dovecot": "--", "greenmail": "-"}


def draw_all() -> list[Path]:
    """Every plot for which there are results; the files."""
    try:
        import matplotlib
    except ImportError:
        print("missing: matplotlib (pip install .[bench]): no plots")
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "greenmail", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
    made = []
    full = _latest("full-*.json") or _latest("quick-*.json")
    found = _latest(f"{curves.STEM}.json")
    if found:
        made += _curves(found)
    if full:
        made += _ratios(full)
        made += _memory(full)
    found = _latest("soak.json")
    if found:
        made += _soak(found)
    for path in made:
        print(f"plot: {path}")
    return made


def _latest(pattern: str) -> dict[str, Any] | None:
    files = sorted(report.RESULTS.glob(pattern), key=lambda path: path.stat().st_mtime)
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else None


def _foot(results: dict[str, Any]) -> str:
    facts = results["circumstances"]
    modules = "compiled" if str(facts["modules"]).startswith("compiled") else facts["modules"]
    return f"{facts['date']}, commit {facts['commit']}, Python {facts['python']}, {modules}, load {facts['load']}"


def _save(figure: Any, stem: str) -> list[Path]:
    from matplotlib import pyplot

    paths = [report.RESULTS / f"{stem}.{kind}" for kind in ("svg", "png")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=110, metadata=metadata)
    pyplot.close(figure)
    return paths


def _curves(results: dict[str, Any]) -> list[Path]:
    from matplotlib import pyplot

    data = results["curves"]
    columns = 4
    lines = math.ceil(len(data) / columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(14, 3.3 * lines + 0.9), layout="constrained", squeeze=False)
    for axes, (name, by_size) in zip(grid.flat, data.items(), strict=False):
        for who in ("dovecot", "greenmail"):
            points = [(int(count), values[who] * 1e3) for count, values in by_size.items() if values.get(who)]
            if points:
                axes.plot(
                    *zip(*points, strict=True), LESS[who], marker=MARKS[who], color=COLOURS[who], label=NAMES[who]
                )
                count, value = points[-1]
                below = any(0 < value < 1e3 * other for other in by_size[str(count)].values())
                place = (-4, -14 if below else 6)
                axes.annotate(_short(value), (count, value), textcoords="offset points", xytext=place, ha="right",
                              color=COLOURS[who], fontsize=8)  # fmt: skip
        _scale(axes, [int(count) for count in by_size])
        axes.margins(x=0.12, y=0.22)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("messages in the mailbox")
        axes.set_ylabel("wall time, ms" if name.endswith("notice") else "server CPU, ms")
    for axes in list(grid.flat)[len(data) :]:
        axes.set_visible(False)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, fontsize=12)
    figure.suptitle(f"Cost of one command as the mailbox grows (lower is better)\n{_foot(results)}", fontsize=11)
    return _save(figure, "curves")


def _scale(axes: Any, places: list[int]) -> None:
    """Log-log, with plain numbers: `places` below, and 1, 2, 5 of each decade at the side."""
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(places, [f"{count:,}" for count in places])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(ticker.NullLocator())


def _short(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2g} s"
    return f"{milliseconds:.3g} ms" if milliseconds >= 0.1 else f"{milliseconds * 1000:.3g} µs"


def _ratios(results: dict[str, Any]) -> list[Path]:
    from matplotlib import pyplot

    rows = [row for row in results["rows"] if row["goal"] and row["ratio"]]
    if not rows:
        return []
    figure, axes = pyplot.subplots(figsize=(10, 0.21 * len(rows) + 1.6), layout="constrained")
    places = range(len(rows))
    colours = ["#1b7837" if row["met"] else "#e08214" if row["ratio"] <= report.WORST else "#c1272d" for row in rows]
    axes.barh(places, [row["ratio"] for row in rows], left=0, color=colours, height=0.66)
    axes.scatter([row["goal"] for row in rows], places, marker="|", s=110, color="black", zorder=3, label="goal")
    for place, row in zip(places, rows, strict=True):
        axes.annotate(
            f"{row['ratio']:.2f}", (row["ratio"], place), textcoords="offset points", xytext=(3, -3), fontsize=7
        )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, [f"{row['row']} {row['case']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("GreenMail's server CPU as a part of Dovecot's (log; left of 1: less than Dovecot)")
    axes.margins(y=0.01)
    axes.legend(loc="lower right")
    axes.set_title(
        "CPU beside Dovecot 2.3, and the goals "
        f"(green: met, orange: at most {report.WORST}, red: above)\n{_foot(results)}",
        fontsize=10,
    )
    return _save(figure, "ratios")


def _memory(results: dict[str, Any]) -> list[Path]:
    from matplotlib import pyplot

    data = curves.memory(results)
    if not data:
        return []
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, sizes in data.items():
        who = name.partition(",")[0]
        style = ":" if name.endswith("TLS") else LESS[who]
        points = sorted(sizes.items())
        axes.plot(*zip(*points, strict=True), style, marker=MARKS[who], color=COLOURS[who],
                  label=f"{NAMES[who]},{name.partition(',')[2]}")  # fmt: skip
        for count, size in points:
            axes.annotate(
                f"{size:.0f}", (count, size), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8
            )
    _scale(axes, sorted({count for sizes in data.values() for count in sizes}))
    axes.margins(x=0.1, y=0.15)
    axes.set_xlabel("idle connections, a mailbox of 1,000 messages selected")
    axes.set_ylabel("KiB of memory (PSS) a connection")
    axes.legend()
    axes.set_title(f"Memory of idle connections (lower is better)\n{_foot(results)}", fontsize=10)
    return _save(figure, "memory")


def _soak(results: dict[str, Any]) -> list[Path]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for name, style, label in (("samples", {"linewidth": 0.6}, "at work"), ("quiet", {"marker": "o"}, "nobody there")):
        points = [(seconds / 60, size) for seconds, size in results[name]]
        axes.plot(*zip(*points, strict=True), color=COLOURS["greenmail"], label=label, **style,
                  alpha=0.5 if name == "samples" else 1)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("MiB of memory (PSS) of all processes")
    axes.legend(loc="lower right")
    axes.set_title(f"Memory under mixed work, {results['operations']:,} operations\n{_foot(results)}", fontsize=10)
    return _save(figure, "soak")
