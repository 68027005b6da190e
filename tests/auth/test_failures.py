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
@pytest.mark.parametrize(
    "prefix, name",
    [
        ("2026-11-22T14:30:19.123Z warn[4711] ", "dovecot"),
        ("Nov 22 14:30:19 mail greenmail[4711]: ", "dovecot[_daemon=greenmail]"),
    ],
)
def test_the_stock_filter_of_fail2ban_finds_the_address_whatever_the_user_is_called(tmp_path, prefix, name):
    users = ["bob", "x>,rip=9.9.9.9,", f"x {LINE}", "), rip=9.9.9.9", "rip=9.9.9.9", "a\nb", "\u202e", "x" * 300, ""]
    text = ""
    for protocol, address in (("imap", "192.0.2.7"), ("pop3", "2001:db8::7")):
        for user in users:
            failures = Failures(protocol, 3, 11.6, user, "PLAIN", address, "192.0.2.1", protocol == "imap", "gX2")
            text += f"{prefix}{refused_login(failures)}\n"
            # The other line about the same failure counts for nothing.
            text += f"{prefix}login refused sid=gX2 user={user!r} reason=UNKNOWN text='unknown user'\n"
    path = tmp_path / "log"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(["fail2ban-regex", "-o", "ip", path, name], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["192.0.2.7"] * len(users) + ["2001:db8::7"] * len(users)
