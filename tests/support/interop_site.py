"""A server with one account, for the tests that let unmodified clients work with it."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import server as greenmail
from support.wire_client import Imap

MAIL = """\
From: Ann Example <ann@example.org>
To: alice@example.com
Subject: message %d
Date: Mon, 01 Jan 2024 10:%02d:00 +0000
Message-ID: <interop-%d@example.org>

Body of message %d.
.
..dots
"""


@dataclass
class Site:
    """A running server and the Maildir of its user `alice` (password `secret`)."""

    server: greenmail.Server
    maildir: Path
    home: Path  # for the client's own files

    def imap(self) -> Imap:
        return Imap(self.server.imaps, tls=True).login()

    def deliver(self, number: int, folder: str = "", flags: str | None = None) -> str:
        """Deliver as an MDA does: write to tmp/, rename to new/ (or to cur/ with `flags`); the file's name."""
        data = (MAIL % (number, number % 60, number, number)).encode()
        name = f"{1704103200 + number}.M{number}P{time.monotonic_ns()}.mx"
        box = self.maildir / folder
        (box / "tmp" / name).write_bytes(data)
        target = box / "new" / name if flags is None else box / "cur" / f"{name}:2,{flags}"
        (box / "tmp" / name).rename(target)
        return name


def need(program: str, package: str) -> str:
    """The path of `program`, or skip."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return found


def make_box(maildir: Path, name: str = "") -> None:
    box = maildir / name
    for part in ("cur", "new", "tmp"):
        (box / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    if name:
        (box / "maildirfolder").touch()
