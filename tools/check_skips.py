"""Fail on skipped tests that tests/allowed-skips.txt does not list. Usage: check_skips.py JUNIT.xml ALLOWED.txt"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def allowed(path: Path) -> set[str]:
    """The test ids listed in `path`: the text before the tab of each line that is no comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split("\t")[0].strip() for line in lines if line.strip() and not line.startswith("#")}


def skipped(path: Path) -> dict[str, str]:
    """Test id to reason, of every skipped or xfailed test in a JUnit file."""
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        for mark in case.findall("skipped"):
            found[f"{case.get('classname')}::{case.get('name')}"] = mark.get("message") or ""
    return found


def main(report: str, listing: str) -> int:
    may_skip = allowed(Path(listing))
    unlisted = {test: why for test, why in skipped(Path(report)).items() if test not in may_skip}
    for test, why in sorted(unlisted.items()):
        print(f"skipped, and not in {listing}: {test}: {why}")
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
