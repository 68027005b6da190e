"""What all tests of the storage share. The rules about locks are asserted in each of them."""

from pathlib import Path

import pytest
from support.locks import Clock
from support.maildir_site import Site


@pytest.fixture(autouse=True)
def _lock_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMAIL_DEBUG", "1")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "Maildir")
    made.worker()
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()
