"""Neither the zone nor the locale of the machine may be seen in an answer: the transcripts once more, far from Greenwich.

Turkish has an i without a dot: `"FLAGS".lower()` by such a locale would not be `flags`. Chatham is 12:45 or 13:45 ahead.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.mark.slow
def test_transcripts_in_another_zone_and_locale() -> None:
    """With the store in memory. Where tr_TR is not installed the C locale takes its place; the zone is Chatham's."""
    environment = {**os.environ, "TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}
    environment.pop("PYTEST_ADDOPTS", None)  # of this run, and not of that
    command = [
        sys.executable, "-m", "pytest", "tests/imap/test_transcripts.py", "tests/imap/test_date_time.py",
        "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not maildir",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
