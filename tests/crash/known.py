"""Faults of the store that the crash tests found and that are not mended yet; `docs/reliability.md` describes each.

A line goes when its fault does. Neither loses mail.
"""

import re

_KNOWN = [
    # 1: CREATE was refused after its directory was made.
    r"^create(-control)? .*something is left of what was refused",
    # 2: CONTROL= and a death between the two renames of RENAME.
    r"^rename-control ",
]
_PATTERN = re.compile("|".join(_KNOWN))


def is_known(failure: str) -> bool:
    """Whether a line of `Totals.failed` is one of these."""
    return _PATTERN.search(failure) is not None
