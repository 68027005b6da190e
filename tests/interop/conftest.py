"""A server with one account, for the tests that let unmodified clients work with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import Site, make_box


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user of the machine can reach, with a short name. pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory(prefix="greenmail-test-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    maildir = tmp_path / "alice" / "Maildir"
    for name in ("", ".Sent", ".Archive", ".Archive.2024", ".Entw&APw-rfe"):
        make_box(maildir, name)
    home = tmp_path / "home"
    home.mkdir()
    with greenmail.start(tmp_path / "run", str(tmp_path / "%u" / "Maildir"), idle_keepalive=60) as server:
        made = Site(server, maildir, home)
        for number in range(1, 11):
            made.deliver(number)
        yield made
