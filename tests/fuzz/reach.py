"""How much of its modules each target reaches with the inputs there are, and whether any input is a finding.

    python -m fuzz.reach [--grown] [--keep] [--json] [TARGET ...]

All targets in one process: what a module does when it is imported counts for every target that it belongs to, what runs
later only for the one that made it run. `--grown` takes the inputs in `.fuzz/NAME` as well, and `--keep` puts those of
them that reach lines which the corpus does not reach into the corpus, the smallest first.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz.table import CORPUS, GROWN, TARGETS

MOST = 20  # findings of a target that are shown
LONGEST = 2.0  # seconds of processor for one input, while lines are counted


@dataclass(slots=True)
class Module:
    """One module: its lines, and those of them that no input has reached."""

    name: str
    lines: int
    functions: int  # lines that do not run when it is imported
    missing: list[int]

    @property
    def share(self) -> float:
        return 100 * (self.lines - len(self.missing)) / self.lines


@dataclass(slots=True)
class Reached:
    """What the inputs of one target have done."""

    inputs: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the lines of all its modules."""
        lines = sum(module.lines for module in self.modules)
        return 100 * (lines - sum(len(module.missing) for module in self.modules)) / lines

    @property
    def within(self) -> float:
        """Of those lines that do not run when the modules are imported."""
        lines = sum(module.functions for module in self.modules)
        return 100 * (lines - sum(len(module.missing) for module in self.modules)) / lines


def inputs_of(name: str, grown: bool) -> list[Path]:
    """The corpus of the repository, and what earlier runs have found beside it."""
    return sorted([*(CORPUS / name).glob("*"), *((GROWN / name).glob("*") if grown else ())])


def measure(names: Iterable[str], grown: bool = False) -> dict[str, Reached]:
    """Run the inputs of each target. Nothing of the modules may have been imported before."""
    import coverage  # not at the top: it is here only where something is fuzzed

    names = list(names)
    modules = sorted({module for name in names for module in TARGETS[name]})
    assert not set(modules) & sys.modules.keys(), "lines that have run already cannot be counted"
    measured = coverage.Coverage(source_pkgs=modules, data_file=None, config_file=False)
    measured.start()
    measured.switch_context("import")
    logging.disable(logging.CRITICAL)
    checks = {name: importlib.import_module(f"fuzz.target_{name}").check for name in names}
    for module in modules:
        importlib.import_module(module)
    reached = {}
    for name in names:
        measured.switch_context(name)
        reached[name] = _run(checks[name], inputs_of(name, grown))
    measured.stop()
    data = measured.get_data()
    for name in names:
        for module in TARGETS[name]:
            path, lines, _, _, _ = measured.analysis2(sys.modules[module])
            data.set_query_context("import")
            first = set(data.lines(path) or ())
            data.set_query_context(name)
            later = set(data.lines(path) or ())
            later_lines = [line for line in lines if line not in first]
            missing = [line for line in later_lines if line not in later]
            reached[name].modules.append(Module(module, len(lines), len(later_lines), missing))
    return reached


def _run(check: Callable[[bytes], None], paths: list[Path]) -> Reached:
    found = Reached(len(paths))
    began = time.process_time()
    for path in paths:
        at = time.process_time()
        try:
            check(path.read_bytes())
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(line.filename).name}:{line.lineno}"
            found.findings.append(f"{path.name}: {where}: {type(error).__name__}: {error}")
        if (took := time.process_time() - at) > LONGEST:
            found.findings.append(f"{path.name}: takes {took:.1f} s")
    found.seconds = time.process_time() - began
    return found


def keep(name: str) -> list[str]:
    """Put into the corpus what reaches more of the modules; the names of the new files."""
    import coverage  # as above

    measured = coverage.Coverage(source_pkgs=list(TARGETS[name]), data_file=None, config_file=False)
    measured.start()
    check = importlib.import_module(f"fuzz.target_{name}").check
    logging.disable(logging.CRITICAL)
    old, new = inputs_of(name, grown=False), sorted((GROWN / name).glob("*"), key=lambda path: path.stat().st_size)
    for path in [*old, *new]:
        measured.switch_context(str(path))
        with contextlib.suppress(Exception):
            check(path.read_bytes())
    measured.stop()
    data = measured.get_data()
    known: set[tuple[str, int]] = set()
    kept = []
    for path in [*old, *new]:
        data.set_query_context(str(path))
        lines = {(file, line) for file in data.measured_files() for line in data.lines(file) or ()}
        if path in new and lines - known:
            kept.append(f"found-{hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()[:10]}")
            (CORPUS / name / kept[-1]).write_bytes(path.read_bytes())
        known |= lines
    return kept


def _ranges(lines: list[int]) -> str:
    text = " ".join(map(str, lines))
    return text if len(text) < 160 else text[:160] + " ..."


def table(reached: dict[str, Reached]) -> str:
    """For people."""
    rows = []
    for name, one in reached.items():
        rows.append(f"{name:12} {one.share:5.1f} %, in functions {one.within:5.1f} %; {one.inputs} inputs")
        rows += [f"  {module.name:36} {module.share:5.1f} %  {_ranges(module.missing)}" for module in one.modules]
        rows += [f"  FOUND {finding[:500]}" for finding in one.findings[:MOST]]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.reach", description="What the inputs reach.")
    parser.add_argument("--grown", action="store_true", help="with the inputs in .fuzz/, too")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--keep", metavar="TARGET", help="put what has been found for one target into the corpus")
    given = parser.parse_args()
    if given.keep:
        print(given.keep, *keep(given.keep))
        return 0
    reached = measure(given.targets or TARGETS, given.grown)
    print(json.dumps({name: asdict(one) for name, one in reached.items()}) if given.json else table(reached))
    return int(any(one.findings for one in reached.values()))


if __name__ == "__main__":
    sys.exit(main())
