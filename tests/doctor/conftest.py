"""A sound Maildir to plant faults in, a clock that nobody waits for, and what a tree looked like."""

import os
import time
from pathlib import Path

import pytest
from doctor.spool import Clock, build

from greenmail.doctor.audit import Run
from greenmail.doctor.target import Target
from greenmail.pop3.uidl import Format
from greenmail.storage.maildir_settings import MaildirSettings


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def run(clock: Clock) -> Run:
    return Run(clock.now, clock.sleep, Format())


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """See `spool.build`."""
    return build(tmp_path / "Maildir")


@pytest.fixture
def target(maildir: Path) -> Target:
    settings = MaildirSettings(str(maildir), create_mail_path=False, lock_timeout=30.0, lock_host="here")
    return Target("alice", settings, os.getuid(), os.getgid())
