"""What fuzzing has found before, and what it begins with: every input in the corpus, without a fuzzer.

And how much of its modules each target reaches with them: with less than LEAST `make fuzz` tries something else.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz.reach import Module, Reached
from fuzz.table import CORPUS, TARGETS

LEAST = 85.0  # percent
TESTS = Path(__file__).parent.parent

pytestmark = pytest.mark.interpreted


@pytest.fixture(scope="module")
def reached() -> dict[str, Reached]:
    pytest.importorskip("coverage", reason="coverage is not installed: pip install -e .[dev]")
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.reach", "--json"],
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "/usr/bin:/bin"},
        capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return {
        name: Reached(**{**one, "modules": [Module(**module) for module in one["modules"]]})
        for name, one in found.items()
    }


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_has_no_finding(reached: dict[str, Reached], name: str) -> None:
    assert reached[name].inputs == len(list((CORPUS / name).iterdir())) > 0, f"no corpus for {name}"
    assert not reached[name].findings


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_reaches_the_modules(reached: dict[str, Reached], name: str) -> None:
    for module in reached[name].modules:
        assert module.share >= LEAST, f"{module.name}: {module.share:.1f} %, without {module.missing}"
    assert reached[name].within >= LEAST - 5, "of what does not run at the import"
