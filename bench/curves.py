"""How cost grows with the mailbox: some rows over small messages, for both servers, in turns."""

import os
from pathlib import Path
from typing import Any

from bench import corpus, delivery, report, rows, servers
from bench.client import session
from bench.measure import Figure, measure, sites_of
from bench.rows import Row

SINGLE = 100  # single STOREs of one run
STEM = "curves"


def points(box: bytes, source: Path, count: int) -> list[tuple[str, int, Row]]:
    """Name of the curve, what one run is divided by, and the row, for a folder of `count` messages."""
    spread = range(1, count + 1, max(1, count // (SINGLE // 2)))
    texts = [b"STORE %d %bFLAGS (\\Flagged)" % (number, sign) for sign in (b"+", b"-") for number in spread]
    changes = {row.case.partition(" ")[2]: row for row in rows.changes(count, box)}
    flags, items = b"FETCH 1:* (UID FLAGS)", rows.ITEMS
    return [
        ("W2 SELECT, cold", 1, rows.select_cold(source, count)),
        ("W2 SELECT, new session", 20, Row("W2", "new session", rows.users(20), rows.each(b"SELECT " + box))),
        ("W3 UID FLAGS, again", 1, rows.known("W3", f"{count}", box, flags, (0.0, 0.0), 1)[1]),
        ("W4 ENVELOPE, second", 1, rows.known("W4", f"{count}", box, items, (0.0,), 1)[0]),
        ("W8 single STORE", len(texts), Row("W8", "single", rows.selected(box), rows.each(*texts))),
        ("W11 FROM, second", 1, rows.known("W11", f"{count}", box, b"SEARCH FROM judith", (0.0,), 1)[0]),
        ("W15 CHANGEDSINCE", 10, changes["CHANGEDSINCE"]),
        ("W15 QRESYNC SELECT", 10, changes["QRESYNC SELECT"]),
    ]


def main(sizes: list[int], rounds: int, enough: float, where: Path) -> None:
    """Measure, and write `curves.json` and `curves.md`."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    head = report.circumstances(rounds=rounds)
    with servers.running(("dovecot", "greenmail"), where / "curves") as running:
        for count in sizes:
            # A hundred thousand files are enough for a million messages: they are linked ten times.
            source = corpus.cached(False, min(count, 100000))
            box = b"C%d" % count
            for who, site in running.items():
                corpus.link(source, site.mail / "bench" / f".{box.decode()}", count)
                try:
                    session(site.imap, b"SELECT " + box).close()
                except (AssertionError, OSError, EOFError) as error:
                    print(f"{who} does not open {count} messages: {error!r}"[:500], flush=True)
            for name, divisor, row in points(box, source, count):
                figure = Figure(row.number, row.case)
                for _ in range(rounds):
                    try:
                        measure(row, sites_of(row, running), enough, figure)
                    except (AssertionError, OSError, EOFError) as error:
                        print(f"{name} {count}: {error!r}"[:500], flush=True)
                values = {who: min(cpu) / divisor for who, cpu in figure.cpu.items()}
                found.setdefault(name, {})[count] = values
                text = " ".join(f"{who} {cpu * 1e3:.3f} ms" for who, cpu in values.items())
                print(f"{name:25} {count:8} {text} load {os.getloadavg()[0]:.1f}", flush=True)
            for who, site in running.items():
                times, cpu = delivery.delays(site, box, 10)
                found.setdefault("W14 delivery, CPU", {}).setdefault(count, {})[who] = cpu
                found.setdefault("W14 delivery to notice", {}).setdefault(count, {})[who] = sorted(times)[5]
    report.write(STEM, head, table(found), {"curves": found})


def table(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Markdown: a line a curve and size."""
    lines = ["| what | messages | Dovecot ms | GreenMail ms | ratio |", "|---|--:|--:|--:|--:|"]
    for name, by_size in found.items():
        for count, values in by_size.items():
            theirs, ours = values.get("dovecot"), values.get("greenmail")
            cells = [f"{value * 1e3:.3f}" if value is not None else "" for value in (theirs, ours)]
            ratio = f"{ours / theirs:.2f}" if theirs and ours is not None else ""
            lines.append(f"| {name} | {count:,} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines)


def memory(results: dict[str, Any]) -> dict[str, dict[int, float]]:
    """KiB a connection by "server, kind" and number, of the results of a whole run."""
    return {
        f"{name.removeprefix('memory ').removesuffix('-all')}, {kind}": {
            int(n): float(row[0]) for n, row in rows.items()
        }
        for name, kinds in results.items()
        if name.startswith("memory ")
        for kind, rows in kinds.items()
    }
