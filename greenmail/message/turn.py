"""Giving way in the midst of long work that is compiled: docs/decisions/0016-compiled-modules.md.

A thread of the pool hands the interpreter over between two instructions of Python, and compiled code has none. This
module is never compiled: to enter its function is such an instruction.
"""


def turn() -> None:
    """Let other threads run, if they wait. Costs some 50 ns."""
