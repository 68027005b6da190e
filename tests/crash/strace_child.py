"""For the comparison with strace: carries out every operation, and says what the layer saw of each.

    python strace_child.py DIRECTORY OUTPUT

DIRECTORY has an account for each operation. Between the two marks of an operation (stats of a path that does not
exist) every call below its account is one that went through `Files`. OUTPUT is a JSON object: the names of the calls by
operation.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash.points import start
from crash.scene import OPERATIONS, Operation

MARK = "/greenmail-crash-mark"


def carry_out(operation: Operation, root: Path) -> list[str]:
    """Between marks; the names of the calls."""
    seen: list[str] = []

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        seen.append(name if name != "open" or not args[1] & os.O_CREAT else "create")
        try:
            return function(*args)
        except OSError:
            seen[-1] += " failed"
            raise

    world = start(operation, root, call)
    seen.clear()
    os.path.exists(f"{MARK}/{operation.name}")
    operation.run(world)
    os.path.exists(f"{MARK}/{operation.name}")
    return seen


def main(directory: str, output: str) -> None:
    """All of them."""
    calls = {one.name: carry_out(one, Path(directory) / one.name) for one in OPERATIONS}
    Path(output).write_text(json.dumps(calls), encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
