"""Faults of the store that the crash tests found and that are not mended yet; `docs/reliability.md` describes each.

A line goes when its fault does. Only number 7 can lose mail.
"""

import re

_KNOWN = [
    # 1: temporary files with random names are removed by nobody.
    r"left for ever: .*(uidnext|greenmail\.(index|log|cache)|dovecot-uidvalidity\.tmp|\.\.greenmail)\b",
    # 2: the flock's close fails.
    r" (ENOSPC|EDQUOT|EIO|EACCES|EMFILE|ENOENT) at \d+ close: (OSError|FileNotFoundError|PermissionError)",
    # 3: a file is there, and one call says that it is not: taken for a file that was removed.
    r" ENOENT at \d+ (stat|open|pread|listdir|close): AssertionError",
    # 4: CREATE was refused after its directory was made.
    r"^create(-control)? .*something is left of what was refused",
    # 5: CONTROL= and a death between the two renames of RENAME.
    r"^rename-control ",
    # 6: keywords without a letter, and a journal that could not be written.
    r"^store-overflow ",
    # 9: a file in tmp/ that cannot be looked at.
    r"^new-mail (ENOSPC|EDQUOT|EIO|EACCES|EMFILE) at \d+ lstat: \w*Error",
    # 7: the directories of a new account are not synced.
    r"^first-\w+ (after|before) the answer",
    # 8: lstat says once that our own dotlock is not there: it stays, and is broken after two seconds.
    r" ENOENT at \d+ lstat: .*the next commands waited",
]
_PATTERN = re.compile("|".join(_KNOWN))


def is_known(failure: str) -> bool:
    """Whether a line of `Totals.failed` is one of these."""
    return _PATTERN.search(failure) is not None
