"""Every limit of a session is a setting: none keeps its default when the file says otherwise."""

import time
from dataclasses import astuple, fields
from pathlib import Path

from support.server import start
from support.wire_client import Imap

from greenmail.auth.logins import Patience
from greenmail.auth.penalties import Turns
from greenmail.config import Config, from_mapping
from greenmail.imap.session import Limits as ImapLimits
from greenmail.net import imap_conn, pop3_conn
from greenmail.pop3.session import Limits as Pop3Limits


def _all_changed() -> Config:
    """Each setting that is named as a limit, one above its default; one below where the default is the most."""
    names = {item.name for table in (ImapLimits, Pop3Limits, Patience) for item in fields(table)} - {"patience"}
    default = from_mapping({})
    changed = {
        name.replace("_", "-"): getattr(default, name) + (-1 if name == "min_uid_batch_size" else 1)
        for name in names
        if not name.endswith("_anonymous") or name.startswith("timeout")
    }
    return from_mapping({**changed, "max-drain": default.drain + 1})


def test_imap_limits() -> None:
    before, after = imap_conn.limits(from_mapping({})), imap_conn.limits(_all_changed())
    same = {item.name for item in fields(ImapLimits) if getattr(before, item.name) == getattr(after, item.name)}
    assert same == {"max_line_anonymous"}  # the smaller of max-line and 8192
    assert after.patience == Patience(4, 3)


def test_pop3_limits() -> None:
    before, after = pop3_conn.limits(from_mapping({})), pop3_conn.limits(_all_changed())
    same = {item.name for item in fields(Pop3Limits) if getattr(before, item.name) == getattr(after, item.name)}
    assert same == {"max_line_anonymous"}
    assert after.patience == Patience(4, 3)


def test_turns_of_logins() -> None:
    assert from_mapping({}).turns() == Turns()
    changed = {item.name.replace("_", "-"): number for number, item in enumerate(fields(Turns), 7)}
    assert astuple(from_mapping(changed).turns()) == (7, 8, 9)


def test_a_client_that_hurries_waits(tmp_path: Path) -> None:
    """120 a minute: half a second for each command beyond the first 120."""
    with (
        start(tmp_path, str(tmp_path / "Maildir"), workers=1, max_commands_per_minute=120) as server,
        Imap(server.imaps, tls=True, timeout=30) as imap,
    ):
        began = time.monotonic()  # from here on commands are counted, and what the machine takes is not waited again
        imap.login()
        for _ in range(115):
            imap.ok("NOOP")
        imap.send(b"".join(b"n%d NOOP\r\n" % number for number in range(8)))
        while not imap.line().startswith(b"n7 OK"):
            pass
        assert 1.9 < time.monotonic() - began < 10  # 124 commands
