"""Faults of the store that the crash tests found and that are not mended yet; `docs/reliability.md` describes each.

A line goes when its fault does. There is none at the moment.
"""

import re

_KNOWN: tuple[str, ...] = ()  # patterns


def is_known(failure: str) -> bool:
    """Whether a line of `Totals.failed` is one of these."""
    return any(re.search(pattern, failure) for pattern in _KNOWN)
