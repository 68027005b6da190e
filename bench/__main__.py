"""Measure. Usage: python -m bench [--quick] [--messages N] [--rounds N] [--only W4,W6] [--curves | --stalls | --plots]

GreenMail and Dovecot 2.3 run at the same time on the same generated mail, and take turns at each row until the slower
one has used half a second of CPU (a tenth with --quick); the least of the rounds counts. What is printed is CPU of the
server's whole process tree, the ratio GreenMail / Dovecot, its goal, and wall time. JSON, a table and plots go to
bench/results/. --curves: how cost grows with the mailbox. --stalls: how long others wait beside one heavy client.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import corpus, curves, delivery, memory, mixed, plots, report, servers, stalls
from bench.measure import Figure, measure, sites_of
from bench.rows import Row, Sizes, rows

SERVERS = ("dovecot", "dovecot-perf", "greenmail", servers.INDEXED)
_OTHERS = ("W13", "W13T", "W14", "W16")  # which are not rows of one server after the other


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 messages, one round, small goals of time")
    parser.add_argument("--messages", type=int, default=0, help="in the mixed mailbox")
    parser.add_argument("--large", type=int, default=0, help="in the large mailbox of small messages")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", default="", help="rows, such as W4,W6")
    parser.add_argument("--connections", default="", help="W13: numbers of idle connections, such as 100,1000,10000")
    parser.add_argument("--dovecot-connections", type=int, default=0, help="W13: no more than these for Dovecot")
    parser.add_argument("--sizes", default="", help="curves: numbers of messages, such as 1000,10000,100000,1000000")
    parser.add_argument("--curves", action="store_true", help="only the scaling curves")
    parser.add_argument("--stalls", action="store_true", help="only how long others wait")
    parser.add_argument("--part", default="", help="stalls: only those with this in their names")
    parser.add_argument("--plots", action="store_true", help="only draw what is in bench/results/")
    parser.add_argument("--directory", default=None, help="where the servers' mail is made and removed")
    found = parser.parse_args()
    quick = found.quick
    found.messages = found.messages or (1000 if quick else 10000)
    found.large = found.large or (5000 if quick else 100000)
    found.rounds = found.rounds or (1 if quick else 3)
    found.enough = 0.1 if quick else 0.5
    found.connections = _numbers(found.connections) or ([50] if quick else [100, 1000, 10000])
    found.dovecot_connections = found.dovecot_connections or (50 if quick else 1000)
    found.sizes = _numbers(found.sizes) or ([1000, 5000] if quick else [1000, 10000, 100000])
    found.only = set(filter(None, found.only.split(",")))
    found.stem = "part" if found.only else f"{'quick' if quick else 'full'}-{found.messages}"
    return found


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


@contextlib.contextmanager
def workplace(directory: str | None) -> Iterator[Path]:
    """A directory for the servers and their mail."""
    where = Path(tempfile.mkdtemp(prefix="greenmail-bench-", dir=directory))
    where.chmod(0o755)
    try:
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


def main_rows(choice: argparse.Namespace, where: Path, head: dict[str, Any]) -> list[Figure]:
    """All rows that one client measures."""
    sizes = Sizes(choice.messages, choice.large)
    wanted = [row for row in rows(sizes, 100 if choice.quick else 400) if not choice.only or row.number in choice.only]
    figures = [Figure(row.number, row.case, row.goal, row.peer) for row in wanted]
    if not wanted:
        return []
    names = [name for name in SERVERS if any(name in (row.peer, row.ours) for row in wanted)]
    with servers.running(names, where / "rows") as running:
        for site in running.values():
            if site.name != "dovecot-perf":
                corpus.link(sizes.mixed, site.mail / "bench" / ".Bench", sizes.messages)
            if site.name in ("dovecot", "greenmail"):
                corpus.link(sizes.mixed, site.mail / "bench", sizes.messages)
                corpus.link(sizes.small, site.mail / "bench" / ".Large", sizes.large)
            if site.name == servers.INDEXED:
                site.fill_index()
        for number in range(choice.rounds):
            for row, figure in zip(wanted, figures, strict=True):
                _try(row, figure, lambda row=row, figure=figure: measure(
                    row, sites_of(row, running), choice.enough, figure))  # fmt: skip
                _progress(number, figure)
            report.write(choice.stem, head, report.table(figures), {"rows": report.as_json(figures)}, quiet=True)
    return figures


def _try(row: Row, figure: Figure, work: Callable[[], None]) -> None:
    try:
        work()
    except (AssertionError, OSError, EOFError) as error:
        figure.problem = f"failed: {error}"[:200]
        print(f"{row.number} {row.case}: {error!r}"[:500], flush=True)


def _progress(number: int, figure: Figure) -> None:
    theirs, ours = figure.least("dovecot")[0], figure.least("greenmail")[0]
    print(
        f"round {number + 1} {figure.number:4} {figure.case:45} {theirs * 1e3:10.2f} {ours * 1e3:10.2f} ms"
        f" {figure.ratio:6.2f}{'' if figure.met is None else f' of {figure.goal:g}'}  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def other_rows(choice: argparse.Namespace, where: Path) -> tuple[list[Figure], dict[str, Any]]:
    """W13, W14 and W16: with as many workers as there are cores."""
    wanted = {name for name in _OTHERS if not choice.only or name in choice.only}
    if not wanted:
        return [], {}
    memory.soft_limit()
    load_row = Figure("W16", "mixed load, CPU per operation", 0.6)
    news_row = Figure("W14", "delivery to notice: CPU, and the median as wall time")
    more: dict[str, Any] = {}
    with servers.running(("dovecot", "greenmail-all"), where / "others") as running:
        for site in running.values():
            mixed.prepare(site)
        for _ in range(choice.rounds):
            for name, site in running.items():
                if "W16" in wanted:
                    _mixed(choice, site, name, load_row, more)
                if "W14" in wanted:
                    _news(choice, site, name, news_row, more)
    for kind, row in (("plain", "W13"), ("TLS", "W13T")):
        if row in wanted:  # servers of their own: what others have opened and left is not what a connection takes
            with servers.running(("dovecot", "greenmail-all"), where / row) as running:
                for name, site in running.items():
                    more.setdefault(f"memory {name}", {})[kind] = _memory(choice, site, name, row)
    return [row for row in (news_row, load_row) if row.number in wanted], more


def _mixed(choice: argparse.Namespace, site: servers.Site, name: str, row: Figure, more: dict[str, Any]) -> None:
    load = mixed.run(site, 2 if choice.quick else 10)
    row.add(name.removesuffix("-all"), load.cpu / load.operations, load.wall / load.operations)
    kinds = {kind: (round(load.quantile(50, kind), 2), round(load.quantile(99, kind), 2)) for kind in load.latencies}
    more.setdefault(f"mixed {name}", []).append({
        "operations": load.operations, "seconds": round(load.wall, 1), "cores": round(load.cpu / load.wall, 2),
        "cpu us": round(load.cpu / load.operations * 1e6), "p50 ms": round(load.quantile(50), 2),
        "p99 ms": round(load.quantile(99), 2), "by kind": kinds})  # fmt: skip


def _news(choice: argparse.Namespace, site: servers.Site, name: str, row: Figure, more: dict[str, Any]) -> None:
    folder = site.folder(corpus.cached(False, 1000), 1000)
    times, cpu = delivery.delays(site, folder, 5 if choice.quick else 20)
    times.sort()
    row.add(name.removesuffix("-all"), cpu, times[len(times) // 2])
    more.setdefault(f"delivery {name}", []).append([round(value * 1e3, 1) for value in times])


def _memory(choice: argparse.Namespace, site: servers.Site, name: str, row: str) -> dict[int, Any]:
    counts = [count for count in choice.connections if name != "dovecot" or count <= choice.dovecot_connections]
    found = memory.each(site, counts, row == "W13T")
    for count, (size, cpu, idle) in found.items():
        print(f"{row} {name} {count}: {size:.1f} KiB, set-up {cpu * 1e3:.2f} ms, idle {idle:.2f} %", flush=True)
    return found


def details(more: dict[str, Any]) -> str:
    """What W13, W14 and W16 found beside CPU, as Markdown."""
    lines = [
        f"* {name}, clients {mixed.CLIENTS}: {load}"
        for name, loads in more.items()
        if name.startswith("mixed")
        for load in loads
    ]
    lines += [
        f"* {name}, ms: {times}" for name, found in more.items() if name.startswith("delivery") for times in found
    ]
    for name, kinds in more.items():
        if name.startswith("memory"):
            lines += [
                f"* {name}, {kind}, {count} connections: {size:.1f} KiB PSS each, set-up {cpu * 1e3:.2f} ms CPU, "
                f"idle {idle:.2f} % of a core"
                for kind, counts in kinds.items()
                for count, (size, cpu, idle) in counts.items()
            ]
    return "\n".join(lines)


def main() -> int:
    choice = options()
    for text in servers.missing():
        print(f"missing: {text}")
    head = report.circumstances(messages=choice.messages, large=choice.large, rounds=choice.rounds)
    print(", ".join(f"{name} {value}" for name, value in head.items()), flush=True)
    with workplace(choice.directory) as where:
        if choice.stalls:
            stalls.main(choice.quick, choice.part, where)
        elif choice.curves:
            curves.main(choice.sizes, choice.rounds, choice.enough, where)
        elif not choice.plots:
            figures = main_rows(choice, where, head)
            others, more = other_rows(choice, where)
            text = report.table(figures + others) + "\n\n" + details(more)
            head["load at the end"] = round(os.getloadavg()[0], 1)
            report.write(choice.stem, head, text, {"rows": report.as_json(figures + others), **more})
            if not choice.quick and not choice.only:
                curves.main(choice.sizes, 1, choice.enough, where)
    plots.draw_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
