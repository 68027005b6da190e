"""What all tests of the storage share. The rules about locks are asserted in each of them."""

from pathlib import Path

import pytest
from support.locks import Clock
from support.maildir_site import Site
from support.namespaces import Spool, furnished
from support.quota_place import Place

from greenmail.storage.namespaces import NamespacesAccount


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


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """For an account with a quota."""
    return Place(tmp_path / "Maildir")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The mail of several users, who share some of it."""
    return furnished(tmp_path)


@pytest.fixture
def account(spool: Spool) -> NamespacesAccount:
    """What alice has of it."""
    return spool.worker().account()
