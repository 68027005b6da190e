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
