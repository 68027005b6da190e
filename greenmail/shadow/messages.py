"""What two servers say of the messages of one mailbox: UIDs, flags, dates, sizes.

Both answers are read side by side, some hundreds of messages at a time: a mailbox may be larger than memory.
"""

import heapq
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from greenmail.errors import Refused
from greenmail.shadow.client import Box, Client, Message
from greenmail.shadow.kinds import THERE, Difference, Tally
from greenmail.shadow.names import Pair

AT_ONCE = 1000  # messages of one FETCH
_DATE = "%d-%b-%Y %H:%M:%S %z"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is to be compared."""

    bodies: str = "sample"  # none, sample, all
    sample: int = 20  # messages of a mailbox whose octets are compared
    is_copy: bool = False  # ours is an older copy of theirs
    settle: Callable[[], None] = lambda: None  # waits a moment before a second look


@dataclass(slots=True)
class Looked:
    """One look at a mailbox, and the messages in it that both have.

    A sample of them is the same at every run: the UIDs with the smallest CRC, which lie all over the mailbox.
    """

    tally: Tally = field(default_factory=Tally)  # to be looked at again
    lasting: Tally = field(default_factory=Tally)  # what cannot change: octets
    messages: int = 0  # at the old server
    bodies: int = 0  # messages whose octets were compared
    _uids: "array[int]" = field(default_factory=lambda: array("Q"))
    _sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    _smallest: list[tuple[int, int, int]] = field(default_factory=list)  # heap of -CRC, UID, size

    def forget(self) -> None:
        """The octets are compared: give back the memory."""
        self._smallest, self._uids, self._sizes = [], array("Q"), array("Q")

    def in_both(self, message: Message, rules: Rules) -> None:
        """One more, with the size that the old server tells."""
        if rules.bodies == "all":
            self._uids.append(message.uid)
            self._sizes.append(message.size)
        elif rules.bodies == "sample" and rules.sample:
            entry = -zlib.crc32(b"%d" % message.uid), message.uid, message.size
            if len(self._smallest) < rules.sample:
                heapq.heappush(self._smallest, entry)
            else:
                heapq.heappushpop(self._smallest, entry)

    def chosen(self, rules: Rules) -> Iterator[tuple[int, int]]:
        """UIDs and sizes of those whose octets are to be compared, ascending."""
        if rules.bodies == "all":
            yield from zip(self._uids, self._sizes, strict=True)
        else:
            yield from sorted((uid, size) for _, uid, size in self._smallest)


def look(pair: Pair, theirs: Client, ours: Client, rules: Rules, progress: Callable[[int], None]) -> Looked:
    """Open the mailbox at both and compare all that is not octets of messages. Raises Refused, Disconnected."""
    their = theirs.examine(pair.theirs)
    looked = Looked(messages=their.exists)
    try:
        our = ours.examine(pair.ours)
    except Refused as refused:
        looked.tally.add(Difference("refused", "opened", refused.text.removeprefix(f"{ours.where}: "), pair.name))
        return looked
    looked.tally.add_all(_boxes(pair.name, their, our, rules))
    if their.uidvalidity != our.uidvalidity:
        progress(their.exists)
        return looked  # the UIDs mean nothing any more
    told = 0
    both = _side_by_side(theirs.messages(their.exists, AT_ONCE), ours.messages(our.exists, AT_ONCE))
    for number, (his, mine) in enumerate(both, start=1):
        if his is not None and mine is not None:
            looked.in_both(his, rules)
            if his != mine:
                looked.tally.add_all(_messages(pair.name, his, mine))
        elif his is not None:
            is_news = rules.is_copy and his.uid >= our.uidnext > 0
            looked.tally.add(Difference("copy-older" if is_news else "uid-missing", THERE, "", pair.name, his.uid))
        elif mine is not None:
            looked.tally.add(Difference("uid-extra", "", THERE, pair.name, mine.uid))
        if number - told >= AT_ONCE:
            progress(number - told)
            told = number
    progress(max(0, their.exists - told))
    return looked


def _boxes(name: str, their: Box, our: Box, rules: Rules) -> Iterator[Difference]:
    if their.uidvalidity != our.uidvalidity:
        yield Difference("uidvalidity", str(their.uidvalidity), str(our.uidvalidity), name)
        return
    if their.uidnext and their.uidnext != our.uidnext:
        kind = "uidnext-higher" if our.uidnext > their.uidnext else "copy-older" if rules.is_copy else "uidnext"
        yield Difference(kind, str(their.uidnext), str(our.uidnext), name)
    if their.modseq > our.modseq > 0:
        yield Difference("modseq", str(their.modseq), str(our.modseq), name)


def _side_by_side(
    theirs: Iterator[Message], ours: Iterator[Message]
) -> Iterator[tuple[Message | None, Message | None]]:
    """By ascending UID, those of both together."""
    his, mine = next(theirs, None), next(ours, None)
    while his is not None or mine is not None:
        if mine is None or (his is not None and his.uid < mine.uid):
            yield his, None
            his = next(theirs, None)
        elif his is None or mine.uid < his.uid:
            yield None, mine
            mine = next(ours, None)
        else:
            yield his, mine
            his, mine = next(theirs, None), next(ours, None)


def _messages(name: str, his: Message, mine: Message) -> Iterator[Difference]:
    theirs, ours = _flags(his), _flags(mine)
    if theirs.keys() != ours.keys():
        yield Difference("flags", " ".join(sorted(theirs.values())), " ".join(sorted(ours.values())), name, his.uid)
    if his.date != mine.date and _moment(his.date) != _moment(mine.date):
        yield Difference("internaldate", _text(his.date), _text(mine.date), name, his.uid)
    if his.size != mine.size:
        yield Difference("size", str(his.size), str(mine.size), name, his.uid)


def _flags(message: Message) -> dict[str, str]:
    """Compared caselessly, and \\Recent not at all: who sees it first has it."""
    return {_text(flag).lower(): _text(flag) for flag in message.flags if flag.lower() != b"\\recent"}


def _moment(date: bytes) -> datetime | bytes:
    """A moment may be told in any zone."""
    try:
        return datetime.strptime(_text(date).strip(), _DATE)
    except ValueError:
        return date


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
