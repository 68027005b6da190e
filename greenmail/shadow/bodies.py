"""The octets of messages, at both servers."""

from collections.abc import Iterable, Iterator
from typing import Any

from greenmail.errors import Disconnected
from greenmail.shadow.client import Client
from greenmail.shadow.kinds import Difference
from greenmail.shadow.records import text_of

_MOST_MESSAGES = 50  # of one FETCH
_MOST_OCTETS = 8 << 20  # likewise, unless a single message is larger
_ITEMS = "BODY.PEEK[] BODYSTRUCTURE"


def batches(chosen: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """UIDs whose messages fit into memory together; `chosen` has UIDs and sizes."""
    batch: list[int] = []
    octets = 0
    for uid, size in chosen:
        if batch and (len(batch) == _MOST_MESSAGES or octets + size > _MOST_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(uid)
        octets += size
    if batch:
        yield batch


def compare(name: str, theirs: Client, ours: Client, uids: list[int]) -> Iterator[Difference]:
    """What differs in the messages of the open mailbox. Raises Refused, Disconnected."""
    try:
        his, mine = theirs.bodies(uids, _ITEMS), ours.bodies(uids, _ITEMS)
    except Disconnected as gone:
        raise Disconnected(f"{gone.text}, while UIDs {uids[0]} to {uids[-1]} were fetched") from None
    for uid in uids:
        if uid in his and uid in mine:  # or it was expunged a moment ago
            yield from _one(name, uid, his[uid], mine[uid])


def _one(name: str, uid: int, his: dict[bytes, Any], mine: dict[bytes, Any]) -> Iterator[Difference]:
    theirs, ours = his.get(b"BODY[]") or b"", mine.get(b"BODY[]") or b""
    if theirs != ours:
        at = _common(theirs, ours)
        yield Difference("body", _from(theirs, at), _from(ours, at), name, uid)
        return
    before, now = text_of(his.get(b"BODYSTRUCTURE")), text_of(mine.get(b"BODYSTRUCTURE"))
    if before.lower() != now.lower():
        yield Difference("structure", before, now, name, uid)


def _common(first: bytes, second: bytes) -> int:
    """Octets that are the same, by halving: comparing slices is quick."""
    known, most = 0, min(len(first), len(second))
    while known < most:
        middle = (known + most + 1) // 2
        if first[known:middle] == second[known:middle]:
            known = middle
        else:
            most = middle - 1
    return known


def _from(octets: bytes, place: int) -> str:
    """Where the octets begin to differ, and a few of them."""
    return f"{len(octets):,} octets, from {place:,}: {octets[place : place + 24]!r}"
