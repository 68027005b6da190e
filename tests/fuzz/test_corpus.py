"""What fuzzing has found before, and what it begins with: every input in the corpus, without a fuzzer."""

import importlib
import time
from pathlib import Path

import pytest
from fuzz.table import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_has_no_finding(name: str) -> None:
    check = importlib.import_module(f"fuzz.target_{name}").check
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs, f"no corpus for {name}"
    for path in inputs:
        began = time.process_time()
        try:
            check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{name}: {path.name}") from error
        assert time.process_time() - began < 2, f"{name}: {path.name} takes too long"
