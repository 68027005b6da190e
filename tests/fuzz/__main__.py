"""`make fuzz`: each target, or those that are named, for some time; then how much of its modules was reached.

    python -m fuzz [--seconds N] [TARGET ...]

The octets that reached something new are kept in `.fuzz/NAME` and are where the next run begins, beside the corpus of
the repository. A finding is left in `.fuzz/findings/` and ends the run with status 1: put it into the corpus, which
`make test` runs, then mend it. `.fuzz/runs.csv` has a line for each run: when, target, seconds, seconds of processor,
inputs, findings.
"""

import argparse
import importlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fuzz.table import CORPUS, TARGETS
from fuzz.table import GROWN as WORK

HERE = Path(__file__).parent
LONGEST = 8192  # octets of an input
SLOWEST = 60  # seconds that one input may take
WORKED = 5.0  # seconds of processor
GROWTH = 256 << 10  # KiB of memory


def target(name: str) -> Callable[[bytes], None]:
    """The function that takes one input."""
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.target_{name}").check
    return check


def bounded(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The same, with limits of work and memory for each input."""

    def measured(data: bytes) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF)
        check(data)
        after = resource.getrusage(resource.RUSAGE_SELF)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert worked < WORKED, f"{worked:.1f} s of processor"
        assert after.ru_maxrss - before.ru_maxrss < GROWTH, f"{after.ru_maxrss - before.ru_maxrss} KiB"

    return measured


def fuzz(name: str, options: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process itself."""
    import atheris  # not at the top: it is here only where something is fuzzed

    with atheris.instrument_imports(include=[*TARGETS[name], f"fuzz.target_{name}"], enable_loader_override=False):
        check = target(name)
    atheris.Setup([sys.argv[0], *options], bounded(check))
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether nothing was found."""
    found, grown = WORK / "findings", WORK / name
    found.mkdir(parents=True, exist_ok=True)
    grown.mkdir(exist_ok=True)
    (CORPUS / name).mkdir(exist_ok=True)
    log = WORK / f"{name}.log"
    began, used = time.monotonic(), _processor()
    with log.open("w") as sink:
        done = subprocess.run(
            [
                sys.executable, "-m", "fuzz", "--inside", name, "--", str(grown), str(CORPUS / name),
                f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}", "-rss_limit_mb=1024",
                f"-artifact_prefix={found}/{name}-", "-print_final_stats=1",
            ],
            stdout=sink, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    text = log.read_text(errors="replace")
    runs = text.rpartition("stat::number_of_executed_units:")[2].split("\n")[0].strip()
    took, worked = time.monotonic() - began, _processor() - used
    with (WORK / "runs.csv").open("a") as book:
        book.write(
            f"{time.strftime('%FT%TZ', time.gmtime())},{name},{took:.0f},{worked:.0f},{runs},{done.returncode}\n"
        )
    outcome = "FOUND SOMETHING" if done.returncode else "nothing found"
    print(f"{name:12} {outcome}, inputs {runs or '?'}, {took:.0f} s, {worked:.0f} s of processor", flush=True)
    if done.returncode:
        print(text[max(text.rfind("=== Uncaught"), len(text) - 6000) :])
    subprocess.run([sys.executable, "-m", "fuzz.reach", "--grown", name], check=False)
    return not done.returncode


def _processor() -> float:
    """Seconds of what has been run so far."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads octets of others.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--inside", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args()
    if given.inside:
        fuzz(given.inside, given.targets)
    else:
        WORK.mkdir(exist_ok=True)
        unknown = set(given.targets) - TARGETS.keys()
        if unknown:
            parser.error(f"no such target: {', '.join(sorted(unknown))}")
        # Not `all`: each target has its time, whatever another has found.
        return int(not min([run(name, given.seconds) for name in given.targets or TARGETS]))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(HERE.parent))
    sys.exit(main())
