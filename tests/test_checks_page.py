"""`docs/checks.md` names all 50 checks, and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_check_has_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)$", (ROOT / "docs/checks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 51))
    for number, text in rows:
        found = re.findall(r"`([^`\s:]+\.py)::(\w+)`", text)
        assert found, number
        for path, name in found:
            assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), (number, path, name)


def test_each_weakness_has_a_test_that_exists() -> None:
    """The second table, and every test of the hostile suite is in it."""
    page = (ROOT / "docs/checks.md").read_text(encoding="utf-8").partition("# What is made to hurt")[2]
    rows = re.findall(r"^\| (?!what )([^-].*?) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 15
    named = set()
    for what, text in rows:
        found = re.findall(r"`([^`\s:]+\.py)::(\w+)`", text)
        assert found, what
        for path, name in found:
            assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), (what, path, name)
            named.add(name)
    paths = sorted(ROOT.glob("tests/live/test_hostile*.py"))
    assert len(paths) == 3
    for path in paths:
        there = set(re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert there - named <= {"test_five_hundred_readers_that_do_not_read_are_closed"}, "more of the same"
