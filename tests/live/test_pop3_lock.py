"""The exclusive POP3 session dies with its worker."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import Site, make_box
from support.wire_client import Pop3


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    maildir = tmp_path / "alice" / "Maildir"
    make_box(maildir)
    with greenmail.start(tmp_path / "run", str(tmp_path / "%u" / "Maildir")) as server:
        yield Site(server, maildir, tmp_path)


def test_a_second_login_works_within_a_second_after_a_kill(site: Site) -> None:
    site.deliver(1)
    first = Pop3(site.server.pop3s, tls=True).login()
    second = Pop3(site.server.pop3s, tls=True)
    second.command("USER alice")
    assert second.command("PASS secret").startswith(b"-ERR [IN-USE]")
    second.close()
    name = int((site.maildir / "dovecot-pop3-session.lock").read_text().split(":")[0])
    os.kill(name, signal.SIGKILL)
    began = time.monotonic()
    while True:
        try:
            with Pop3(site.server.pop3s, tls=True) as again:
                again.command("USER alice")
                if again.command("PASS secret").startswith(b"+OK"):
                    break
        except (EOFError, OSError):  # the listener's backlog of the worker that died
            pass
        assert time.monotonic() - began < 1, "the lock of the dead session still holds"
    first.socket.close()
