"""Are the unique ids still those that clients know? RFC 1939 7: they persist across sessions.

If they are others than at the last UIDL, every client that leaves mail on the server downloads all of it again. It
happens when `pop3-uidl-format` is changed, or the UIDVALIDITY. So a few messages are remembered with their ids; which
message is which is told by its GUID.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

SAMPLES = 16  # messages that are remembered


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the messages that were remembered."""

    known: int  # so many of them are still there
    changed: int  # and so many of these have another id now
    note: bytes  # for the next time

    def __str__(self) -> str:
        """For the log: what Dovecot calls uidl_change."""
        if not self.known:
            return "new"
        return "changed" if self.changed else "same"


def compare(noted: bytes, now: Iterable[tuple[str, str]]) -> Verdict:
    """`noted`: the `note` of last time, or anything else. `now`: GUID and unique id of each message, oldest first.

    No more of `now` is taken than it needs.
    """
    before = _read(noted)
    known: dict[str, str] = {}
    others: dict[str, str] = {}  # to fill up with: where mail is left on the server the oldest stay
    for guid, unique_id in now:
        if guid in before:
            known[guid] = unique_id
        elif len(others) < SAMPLES:
            others[guid] = unique_id
        if len(known) == len(before) and len(known) + len(others) >= SAMPLES:
            break  # what follows would change nothing
    changed = sum(1 for guid, unique_id in known.items() if before[guid] != unique_id)
    kept = dict([*known.items(), *others.items()][:SAMPLES])
    return Verdict(len(known), changed, json.dumps(kept, ensure_ascii=True).encode("ascii"))


def _read(noted: bytes) -> dict[str, str]:
    try:
        found = json.loads(noted)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {guid: unique_id for guid, unique_id in found.items() if isinstance(unique_id, str)}
