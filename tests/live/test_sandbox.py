"""What the systemd unit forbids is not needed, as memory that is executable; and how little the unit leaves open."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.server import start
from support.wire_client import Imap

UNITS = Path(__file__).parent.parent.parent / "contrib/systemd"
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1  # linux/prctl.h, 6.3


def deny() -> None:
    """In the new process, for all that it becomes and forks. Does nothing with an older kernel."""
    ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)


def test_memory_deny_write_execute(tmp_path: Path) -> None:
    with start(tmp_path, str(tmp_path / "Maildir"), workers=1, enter=deny) as server:
        with Imap(server.imaps, tls=True, timeout=30).login() as imap:
            imap.ok("APPEND INBOX", b"Subject: hi\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n")
            imap.ok("SELECT INBOX")
            assert "PREVIEW" in imap.fetch("1 (PREVIEW ENVELOPE BODYSTRUCTURE)")[1]
        assert "greenmail_logins_total" in server.scrape()


@pytest.mark.interop
def test_the_unit_is_hardly_exposed() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    command = [program, "security", "--offline=yes", str(UNITS / "greenmail.service")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    found = re.search(r"Overall exposure level for greenmail\.service: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) < 2.0, said
