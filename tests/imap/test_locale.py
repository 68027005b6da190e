"""Neither zone nor locale of the machine may be seen in an answer: the transcripts once more, far from Greenwich.

Turkish has an i without a dot: "FLAGS".lower() by such a locale would not be "flags". Chatham is 12:45 or 13:45 ahead.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


def run(*arguments: str) -> None:
    """Python, elsewhere. Where tr_TR is not installed the C locale takes its place; the zone is Chatham's."""
    elsewhere = {"TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONPATH": str(TESTS)}
    environment = {**os.environ, **elsewhere}
    environment.pop("PYTEST_ADDOPTS", None)  # of this run, and not of that
    done = subprocess.run(
        [sys.executable, *arguments], cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(450)  # a pytest of its own: 10 s, and much more where the disk has other work
def test_transcripts_in_another_zone_and_locale() -> None:
    """With the store in memory; they set their zone themselves, so nothing of Chatham's may be in an answer."""
    files = ("tests/imap/test_transcripts.py", "tests/imap/test_date_time.py", "tests/imap/test_search_run.py")
    run("-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not maildir")


CHATHAM = r"""
@config time-zone
@append INBOX () "01-Jan-2024 10:14:59 +0000"
| Subject: ends a day in summer
|
| x
@append INBOX () "01-Jan-2024 10:15:00 +0000"
| Subject: begins one
|
| x
@append INBOX () "01-Jul-2024 11:15:00 +0000"
| Subject: begins one in winter
|
| x
@read INBOX
@select 1
C1: a FETCH 1:3 INTERNALDATE
S1: * 1 FETCH (INTERNALDATE " 1-Jan-2024 23:59:59 +1345")
S1: * 2 FETCH (INTERNALDATE " 2-Jan-2024 00:00:00 +1345")
S1: * 3 FETCH (INTERNALDATE " 2-Jul-2024 00:00:00 +1245")
S1: a OK ...
C1: b SEARCH ON 2-jan-2024
S1: * SEARCH 2
S1: b OK ...
C1: c SEARCH BEFORE 2-JAN-2024
S1: * SEARCH 1
S1: c OK ...
C1: d SEARCH SINCE 2-Jul-2024
S1: * SEARCH 3
S1: d OK ...
C1: e APPEND INBOX "29-Feb-2024 12:00:00 +1345" {3+}
C1: A:B
S1: * 4 EXISTS
S1: * 1 RECENT
S1: e OK ...
C1: f FETCH 4 INTERNALDATE
S1: * 4 FETCH (INTERNALDATE "29-Feb-2024 12:00:00 +1345")
S1: f OK ...
"""


def test_without_a_setting_the_zone_is_the_systems(tmp_path: Path) -> None:
    """RFC 9051 2.3.3, 6.4.4: days begin when they do here, summer and winter."""
    (tmp_path / "chatham.txt").write_text(CHATHAM)
    program = (
        "import sys, pathlib; from harness.engine import memory_backend; from harness.peers import MemoryPeers\n"
        "from harness.transcript import Run\n"
        "Run(pathlib.Path(sys.argv[1]).read_text(), MemoryPeers(memory_backend)).run()"
    )
    run("-c", program, str(tmp_path / "chatham.txt"))
