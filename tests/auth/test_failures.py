"""The line about failed logins."""

import shutil
import subprocess

import pytest

from greenmail.auth.failures import Failures, refused_login

FAILURES = Failures("imap", 3, 11.6, "bob", "PLAIN", "192.0.2.7", "192.0.2.1", True, "gX2")
LINE = (
    "imap-login: Disconnected (auth failed, 3 attempts in 12 secs): "
    "user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, TLS, session=<gX2>"
)


def test_line():
    assert refused_login(FAILURES) == LINE


def test_what_a_client_sends_cannot_forge_a_line():
    login = "x>, rip=203.0.113.9, session=<y>\r\n2026-11-22 imap-login: \u202e\0"
    evil = Failures("pop3", 1, -1, login, "PL AIN>", "2001:db8::1", "::1", False, "s")
    assert refused_login(evil) == (
        "pop3-login: Disconnected (auth failed, 1 attempts in 0 secs): "
        "user=<x?,?rip=203.0.113.9,?session=?y???2026-11-22?imap-login:???>, method=PL?AIN?, rip=2001:db8::1, lip=::1, "
        "session=<s>"
    )


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_the_stock_filter_of_fail2ban_matches():
    line = f"2026-11-22T14:30:19.123Z warn[4711] {LINE}"
    done = subprocess.run(["fail2ban-regex", line, "dovecot"], capture_output=True, text=True, check=False)
    assert "1 matched" in done.stdout
