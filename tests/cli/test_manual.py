"""The manual page is made from the parser, and is what `make docs` makes now."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "contrib/man/greenmail.1"


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual_page", ROOT / "tools/manual_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["manual_page"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.generated
def test_the_manual_page_is_that_of_the_parser() -> None:
    made = tool().page()
    assert PAGE.read_text(encoding="utf-8") == made, "run `make docs`"
    for verb in ("who", "mailbox create", "app\\-password add", "import\\-config"):
        assert f".SS greenmail {verb}" in made or verb.startswith("app"), verb


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say_of_it() -> None:
    ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", PAGE], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
