"""Which modules run: those of `make check-compiled` are compiled, all others are the ones that are edited."""

import importlib
import os
from pathlib import Path

import pytest

from greenmail import built

ROOT = Path(__file__).parent.parent
HOT = (
    "message.headers",
    "message.structure",
    "imap.execute",
    "imap.framing",
    "imap.commands.fetch",
    "storage.maildir_box",
    "storage.cache",
    "pop3.session",
)


@pytest.mark.parametrize("name", HOT)
def test_modules_run_as_they_were_asked_for(name: str) -> None:
    module = importlib.import_module(f"greenmail.{name}")
    wanted = os.environ.get("GREENMAIL_EXPECT", "")
    assert str(module.__file__).endswith(".py") == (wanted != "compiled"), module.__file__
    assert built.is_compiled() == (wanted == "compiled")


def test_no_compiled_file_lies_beside_a_source() -> None:
    """It would be taken in its place, and an edit would have no effect."""
    assert not list((ROOT / "greenmail").rglob("*.so"))
