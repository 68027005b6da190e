"""`make crash`: everything, with as many deaths of the running server as the first argument says (500)."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    rounds = sys.argv[1] if len(sys.argv) > 1 else "500"
    here = str(Path(__file__).parent)
    sys.exit(pytest.main([here, f"--crash-rounds={rounds}", "-rs", "--durations=10", *sys.argv[2:]]))
