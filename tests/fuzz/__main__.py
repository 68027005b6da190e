"""`make fuzz`: each target, or those that are named, for some time; then how much of its modules was reached.

    python -m fuzz [--seconds N] [TARGET ...]

The octets that reached something new are kept in `.fuzz/NAME` and are where the next run begins, beside the corpus of
the repository. A finding is left in `.fuzz/findings/` and ends the run with status 1: put it into the corpus, which
`make test` runs, then mend it.
"""

import argparse
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fuzz.table import TARGETS

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
WORK = HERE.parent.parent / ".fuzz"
LONGEST = 8192  # octets of an input
SLOWEST = 10  # seconds that one input may take


def target(name: str) -> Callable[[bytes], None]:
    """The function that takes one input."""
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.target_{name}").check
    return check


def fuzz(name: str, options: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process itself."""
    import atheris  # not at the top: it is here only where something is fuzzed

    with atheris.instrument_imports(include=[*TARGETS[name], f"fuzz.target_{name}"], enable_loader_override=False):
        check = target(name)
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether nothing was found."""
    found, grown = WORK / "findings", WORK / name
    found.mkdir(parents=True, exist_ok=True)
    grown.mkdir(exist_ok=True)
    (CORPUS / name).mkdir(exist_ok=True)
    log = WORK / f"{name}.log"
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
    print(f"{name:12} {'FOUND SOMETHING' if done.returncode else 'nothing found'}, inputs {runs or '?'}", flush=True)
    if done.returncode:
        print(text[max(text.rfind("=== Uncaught"), len(text) - 6000) :])
    subprocess.run([sys.executable, "-m", "fuzz", "--reached", name], check=False)
    return not done.returncode


def reached(name: str) -> None:
    """Print how many lines of each module the inputs reach, with the import of the module."""
    import coverage  # not at the top: as atheris

    measured = coverage.Coverage(source_pkgs=list(TARGETS[name]), data_file=None, config_file=False)
    measured.start()
    check = target(name)
    for path in sorted([*(CORPUS / name).glob("*"), *(WORK / name).glob("*")]):
        try:
            check(path.read_bytes())
        except Exception as error:
            print(f"  {path.name}: {type(error).__name__}: {error}")
    measured.stop()
    for module in TARGETS[name]:
        _, lines, _, missing, _ = measured.analysis2(sys.modules[module])
        share = measured.report([sys.modules[module]], file=io.StringIO())
        print(f"  {module:40} {share:5.1f} % of {len(lines)} lines; not reached: {_ranges(missing)}")


def _ranges(lines: list[int]) -> str:
    text = " ".join(map(str, lines))
    return text if len(text) < 100 else text[:100] + " ..."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads octets of others.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--inside", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("--reached", metavar="TARGET", help="only say what the inputs there are reach")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args()
    if given.inside:
        fuzz(given.inside, given.targets)
    elif given.reached:
        reached(given.reached)
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
