"""The rules about locks are asserted in every test of the storage."""

import pytest


@pytest.fixture(autouse=True)
def _lock_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENMAIL_DEBUG", "1")
