"""A directory that the servers' users can reach, and the scene with every difference planted."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shadow.scene import PLANTED, Scene, build, serving


@pytest.fixture(scope="session")
def spot() -> Iterator[Path]:
    """Short, and open to every user of the machine; pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="greenmail-shadow-test-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def scene(spot: Path) -> Iterator[Scene]:
    """User `same`, one for each entry of PLANTED, and `empty`, who has no Maildir."""
    users = ["same", *PLANTED]
    for user in users:
        for side in ("theirs", "ours"):
            build(spot / side / user)
    for user, (plant, _) in PLANTED.items():
        plant(spot / "theirs" / user, spot / "ours" / user)
    with serving(spot, [*users, "empty"]) as made:
        yield made


@pytest.fixture(autouse=True)
def no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment of the tests has."""
    for name in ("GREENMAIL_PASSWORD", "GREENMAIL_MASTER_PASSWORD", "GREENMAIL_OURS_MASTER_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
