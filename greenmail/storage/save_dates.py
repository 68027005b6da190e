"""When a message came into its mailbox: SAVEDATE, RFC 8514 3. Decision 0020.

    field D of its line in dovecot-uidlist: seconds since 1970, for a message whose name tells another time
    else the seconds that its base name begins with: `1795343252.M949156P6339.mx.example.org`
    else INTERNALDATE: the name begins otherwise, and the line is another server's

Whoever brings a message under a new name begins that with the time, so most messages need no D. One that comes under an
old name needs it: what COPY and MOVE link, as they keep base names, and what another program moves here. Nothing of
this is in our own files, and nothing of it changes while the message is here.
"""

import re
from collections.abc import Mapping, Sequence

from greenmail.storage.maildir_box import Box

KEY = b"D"
UNKNOWN = -1
_FIRST, _LAST = 788_918_400, 1 << 32  # seconds: 1995, when there was no Maildir yet, to the end of 32 bits
_LATE = 600  # seconds between the time in a name and its coming here that nobody has to be told of
_TIME = re.compile(rb"(\d{9,10})[._]")
_VALUE = re.compile(rb"\d{1,10}")


def named(base: bytes) -> int:
    """The seconds that a base name begins with; UNKNOWN if it begins otherwise, or with what can be no time."""
    match = _TIME.match(base)
    seconds = int(match[1]) if match is not None else UNKNOWN
    return seconds if _FIRST <= seconds < _LAST else UNKNOWN


def field(base: bytes, moment: int) -> bytes:
    """The raw field for a message that comes at `moment` under this name; empty if the name says so itself."""
    return b"" if named(base) == moment else b"%b%d" % (KEY, moment)


def known(box: Box, uids: Sequence[int]) -> list[int]:
    """The save date of each of `uids` (ascending) by line or name; UNKNOWN of others, and of those that are gone."""
    index = box.index
    told = box.uidlist.fields(uids, KEY)
    found: list[int] = []
    for uid in uids:
        value = told.get(uid, b"")
        row = index.table.row(uid)
        if row < 0:
            found.append(UNKNOWN)
        elif _VALUE.fullmatch(value):
            found.append(int(value))
        else:
            found.append(named(index.names[row]))
    return found


def first_seen(box: Box, files: Mapping[bytes, tuple[bytes, bool]]) -> dict[bytes, bytes]:
    """Fields for messages that nobody has numbered yet, by base name; `files` are their names and whether in `new/`.

    A name that is old, or tells no time, came by a rename or a link: then its change time says when, if anything does.
    Of what is found at the first look into a mailbox nobody knows: it may have been restored with all its names.
    """
    if not box.index.times:
        return {}
    now = box.context.runtime.now()
    found: dict[bytes, bytes] = {}
    for base, (name, is_new) in files.items():
        told = named(base)
        if abs(now - told) <= _LATE:
            continue
        try:
            came = int(box.files.lstat(box.path(name, is_new)).st_ctime)
        except OSError:  # renamed by now: its name has to do
            continue
        if abs(came - told) > _LATE:
            found[base] = b"%b%d" % (KEY, came)
    return found
