"""`make crash`: everything, with as many deaths of the running server as the first argument says (500)."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    rounds = sys.argv[1] if len(sys.argv) > 1 else "500"
    here = Path(__file__).parent
    kills = [here.parent / "storage" / f"test_{name}.py" for name in ("uidlist_crash", "maildir_processes")]
    sys.exit(
        pytest.main([*map(str, [here, *kills]), f"--crash-rounds={rounds}", "-rs", "--durations=10", *sys.argv[2:]])
    )
