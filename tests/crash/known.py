"""Faults of the store that the crash tests found and that are not mended yet; `docs/reliability.md` describes each.

A line goes when its fault does. Only number 7 can lose mail.
"""

import re

_KNOWN = [
    # 4: CREATE was refused after its directory was made.
    r"^create(-control)? .*something is left of what was refused",
    # 5: CONTROL= and a death between the two renames of RENAME.
    r"^rename-control ",
]
_PATTERN = re.compile("|".join(_KNOWN))


def is_known(failure: str) -> bool:
    """Whether a line of `Totals.failed` is one of these."""
    return _PATTERN.search(failure) is not None
