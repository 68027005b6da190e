"""Measure. Usage: python -m bench [--quick] [--messages N] [--rounds N] [--only W4,W6]

Dovecot 2.3 and GreenMail get copies of the same generated Maildir, and take turns round by round. A row is repeated
until the server has used half a second (a tenth with --quick); the least of the rounds counts. What is printed is CPU
of the server's whole process tree, wall time, and the ratio GreenMail / Dovecot. JSON and a table go to bench/results/.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import dovecot, server

from bench import corpus
from bench.meter import Meter
from bench.workloads import Ports, Row, rows
from greenmail.message import structure

RESULTS = Path(__file__).parent / "results"
SERVERS = ("dovecot", "greenmail")


@contextlib.contextmanager
def serve(name: str, where: Path, maildir: Path) -> Iterator[tuple[Ports, Meter]]:
    """Start one server on `maildir`; plain-text ports, user `bench`, password `secret`."""
    meter = Meter(name)
    try:
        if name == "dovecot":
            with dovecot.start(where / "dovecot", maildir, enter=meter.enter) as theirs:
                yield Ports(theirs.imap, theirs.pop3), meter
            return
        dovecot.give(maildir)
        run = Path(tempfile.mkdtemp(prefix="greenmail-bench-"))
        run.chmod(0o755)
        with server.start(
            where / "greenmail", str(maildir), "bench:{PLAIN}secret\n", workers=1, enter=meter.enter,
            user=dovecot.OWNER,
            group=dovecot.OWNER, allow_plain_text=True, run_path=str(run),
        ) as ours:  # fmt: skip
            yield Ports(ours.imap, ours.pop3), meter
    finally:
        meter.close()


def measure(row: Row, ports: Ports, meter: Meter, enough: float) -> tuple[float, float]:
    """CPU and wall seconds of one run of `row`, the mean over as many runs as `enough` CPU seconds take."""
    cpu = wall = 0.0
    runs = 0
    while True:
        client = row.prepare(ports)
        time.sleep(0.02)  # what the preparation left to do
        before, began = meter.seconds(), time.monotonic()
        row.work(ports, client)
        wall += time.monotonic() - began
        cpu += meter.seconds() - before
        runs += 1
        if client is not None:
            client.close()
        if not row.repeat or cpu >= enough or wall >= 10 * enough or runs >= 50:
            return cpu / runs, wall / runs


def table(results: dict[tuple[str, str], dict[str, tuple[float, float]]]) -> str:
    """A Markdown table of all rows, and the geometric mean of the ratios."""
    lines = [
        "| | case | Dovecot CPU ms | GreenMail CPU ms | ratio | Dovecot wall ms | GreenMail wall ms |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    ratios = []
    for (number, case), by_server in results.items():
        theirs, ours = by_server["dovecot"], by_server["greenmail"]
        ratio = ours[0] / theirs[0] if theirs[0] else math.inf
        ratios.append(ratio)
        lines.append(
            f"| {number} | {case} | {theirs[0] * 1e3:.1f} | {ours[0] * 1e3:.1f} | **{ratio:.2f}** "
            f"| {theirs[1] * 1e3:.1f} | {ours[1] * 1e3:.1f} |"
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return "\n".join([*lines, "", f"Geometric mean of the ratios: {mean:.2f}"])


def compiled() -> str:
    """Whether the scanner of messages runs as compiled code."""
    return "pure Python" if str(structure.__file__).endswith(".py") else "compiled"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    count = options.messages or (1000 if options.quick else 10000)
    rounds = options.rounds or (1 if options.quick else 3)
    enough = 0.1 if options.quick else 0.5
    only = set(filter(None, options.only.split(",")))
    results: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="greenmail-bench-") as name:
        where = Path(name)
        where.chmod(0o755)
        print(f"making {count} messages", flush=True)
        original = corpus.account(
            where / "original", {"Bench": (count, True), "Target": (0, False), "Target2": (0, False)}
        )
        for place in range(rounds * len(SERVERS)):
            who = SERVERS[place % len(SERVERS)]
            base = where / f"{place}"
            base.mkdir(mode=0o755)
            with serve(who, base, corpus.copy(original, base)) as (ports, meter):
                for row in rows(b"Bench", count):
                    if only and row.number not in only:
                        continue
                    cpu, wall = measure(row, ports, meter, enough)
                    best = results.setdefault((row.number, row.case), {}).get(who, (math.inf, math.inf))
                    results[row.number, row.case][who] = (min(cpu, best[0]), min(wall, best[1]))
            subprocess.run(["rm", "-rf", str(base)], check=True)
            print(f"round {place // len(SERVERS) + 1}: {who} done", flush=True)
    text = table(results)
    head = ", ".join(
        [
            f"{count} messages, {rounds} rounds, {compiled()}, Python {platform.python_version()}",
            f"{os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}",
        ]
    )
    print(f"\n{head}\n\n{text}")
    RESULTS.mkdir(exist_ok=True)
    stem = f"{'quick' if options.quick else 'full'}-{count}"
    (RESULTS / f"{stem}.md").write_text(f"{head}\n\n{text}\n", encoding="utf-8")
    figures = [
        {"row": number, "case": case, **{who: {"cpu": cpu, "wall": wall} for who, (cpu, wall) in by_server.items()}}
        for (number, case), by_server in results.items()
    ]
    (RESULTS / f"{stem}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
