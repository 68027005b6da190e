"""A directory for one input, in memory where there is such a place; empty each time."""

import os
import shutil
import tempfile
from pathlib import Path

_ROOT = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
_HERE = _ROOT / f"greenmail-fuzz-{os.getpid()}"


def fresh() -> bytes:
    """An empty directory."""
    shutil.rmtree(_HERE, ignore_errors=True)
    _HERE.mkdir(parents=True)
    return os.fsencode(_HERE)
