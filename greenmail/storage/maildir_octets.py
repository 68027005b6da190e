"""What is made of many messages, or of their headers, by one hop to the pool and without an object for each; sizes and
dates as well.

What is not usual (a file that was renamed, a compressed one, one whose name tells wrong sizes, a header that does not
end soon, a large message) is left to who opens the message in full.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from greenmail.message.compressed import kind_of
from greenmail.message.content import BLOCK, SMALL, bare_line_feeds, to_crlf
from greenmail.storage.api import Facts
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_measure import Fact
from greenmail.storage.maildir_name import base_name, disk_size_of

LARGEST = 1 << 22  # octets of a file that is read at one go: to give them line ends is a step of two milliseconds
FIRST = 4096  # octets in which most headers end ...
MORE = 28672  # ... and of those behind them, in which nearly all others do
_FEW = 4  # headers that are read here: a hop to the pool costs more
_READ = os.O_RDONLY | os.O_NOFOLLOW

Make = Callable[[int, bytes], Any]  # of the place among those that were asked for, and the octets
# A message's file: its path; its size with CRLF line ends, -1 if it is not known; its size on disk if the name tells
# that; whether its size is wanted, and its date.
_Wanted = tuple[bytes, int, int | None, bool, bool]


def make_many(box: Box, uids: Sequence[int], whole: bool, facts: Facts, make: Make) -> tuple[list[Any], list[Fact]]:
    """What `make` gives for each of `uids`, None where it is not that easy, and what came to be known of them.

    Each message is given back before the next one is read: it is still in the processor's cache when it is looked at,
    and there is never more than one of them in memory.
    """
    wanted = _wanted(box, uids, facts)
    work = _of_whole if whole else _of_headers
    made, known = box.offload(whole or facts[0] or len(uids) > _FEW, work, box.files, wanted, make)
    return made, [(uids[place], size, date) for place, size, date in known]


def octets_of(box: Box, uid: int) -> tuple[bytes, Sequence[Fact]] | None:
    """All octets of one small message, read here, and what came to be known of it; None where it is not that easy."""
    one = _of_row(box, uid, box.index.table.row(uid), (True, True))
    found = _whole(box.files, one, SMALL) if one is not None else None
    if found is None:
        return None
    octets, size, date = found
    return octets, () if size < 0 and date < 0 else ((uid, size, date),)


def _wanted(box: Box, uids: Sequence[int], facts: Facts) -> list[_Wanted | None]:
    return [_of_row(box, uid, row, facts) for uid, row in zip(uids, box.index.table.rows(uids), strict=True)]


def _of_row(box: Box, uid: int, row: int, facts: Facts) -> _Wanted | None:
    if row < 0:
        return None
    index, (sizes, dates) = box.index, facts
    name, size = index.names[row], index.table.sizes[row]
    claimed = disk_size_of(base_name(name)) if b",S=" in name else None
    path = (box.new_path if uid in index.in_new else box.cur_path) + name
    return path, size, claimed, sizes and size < 0, dates and index.table.dates[row] < 0


def _is_as_told(known: int, claimed: int | None, disk: int) -> bool:
    """Whether what is known of its size can be that of a plain file with so many octets: as `FileContent`."""
    return known < 0 or (claimed in (None, disk) and disk <= known <= 2 * disk)


def _of_whole(files: Files, wanted: Sequence[_Wanted | None], make: Make) -> tuple[list[Any], list[Fact]]:
    """In the pool: what `make` gives for each message, and place, size and date of each where they are wanted."""
    made: list[Any] = [None] * len(wanted)
    facts: list[Fact] = []
    for place, one in enumerate(wanted):
        found = _whole(files, one) if one is not None else None
        if found is None:
            continue
        octets, size, date = found
        if date >= 0 or size >= 0:
            facts.append((place, size, date))
        made[place] = make(place, octets)
    return made, facts


def _whole(files: Files, one: _Wanted, largest: int = LARGEST) -> tuple[bytes, int, int] | None:
    """The octets of a message with CRLF line ends; size and date, -1 where they are not wanted."""
    path, known, claimed, wants_size, wants_date = one
    if known >= largest:
        return None
    try:
        descriptor = files.open(path, _READ)
        try:
            found = files.fstat(descriptor) if known < 0 or wants_date else None
            # Without it: as many octets as there can be, and one with which there would be more.
            disk = known + 1 if found is None else found.st_size
            octets = files.pread(descriptor, disk, 0) if disk <= largest else b""
        finally:
            files.close(descriptor)
    except OSError:
        return None  # who opens it in full says why
    is_whole = len(octets) < disk if found is None else len(octets) == disk
    # If it is not as told the size is counted anew, which is more than is done here.
    if not is_whole or not _is_as_told(known, claimed, len(octets)) or kind_of(octets) is not None:
        return None
    octets = to_crlf(octets)
    if found is None and len(octets) != known:
        return None
    return octets, len(octets) if wants_size else -1, int(found.st_mtime) if found is not None and wants_date else -1


def _of_headers(files: Files, wanted: Sequence[_Wanted | None], make: Make) -> tuple[list[Any], list[Fact]]:
    """In the pool, but for a few: the same with headers."""
    made: list[Any] = [None] * len(wanted)
    facts: list[Fact] = []
    for place, one in enumerate(wanted):
        found = _header(files, one) if one is not None else None
        if found is None:
            continue
        header, size, date = found
        if date >= 0 or size >= 0:
            facts.append((place, size, date))
        made[place] = make(place, header)
    return made, facts


def _header(files: Files, one: _Wanted) -> tuple[bytes, int, int] | None:
    """The header of a message as `header_of_file` has it; size and date, -1 where they are not wanted."""
    path, known, claimed, wants_size, wants_date = one
    size = date = -1
    try:
        descriptor = files.open(path, _READ)
        try:
            length, disk = FIRST, -1
            if wants_date or wants_size or known >= 0:
                found = files.fstat(descriptor)
                disk = found.st_size
                date = int(found.st_mtime) if wants_date else -1
                length = min(BLOCK, disk) if wants_size else FIRST
            header: bytes | None = None
            if disk < 0 or _is_as_told(known, claimed, disk):
                block = files.pread(descriptor, length, 0)
                header = header_of_file(block)
                if header is None and len(block) == FIRST:
                    block += files.pread(descriptor, MORE, FIRST)
                    header = header_of_file(block)
                if header is not None and wants_size:
                    size = _size_from(files, descriptor, block, disk)
        finally:
            files.close(descriptor)
    except OSError:
        return None  # who opens it in full says why
    return None if header is None else (header, size, date)


def _size_from(files: Files, descriptor: int, block: bytes, whole: int) -> int:
    """The octets with CRLF line ends, of which `block` are the first; of `whole` on disk."""
    disk = crlf = 0
    after_cr = False
    while block:
        crlf += len(block) + bare_line_feeds(block, after_cr)
        disk += len(block)
        if disk >= whole:
            break
        after_cr = block.endswith(b"\r")
        block = files.pread(descriptor, BLOCK, disk)
    return crlf


def header_of_file(beginning: bytes) -> bytes | None:
    """`FileContent.header` of a plain file that begins so; None if it is compressed, or the header ends further on.

    One without a CR, as nearly all are, is given as it stands.
    """
    if kind_of(beginning) is not None:
        return None
    if beginning.startswith((b"\n", b"\r\n")):
        return b"\r\n"
    end = beginning.find(b"\n\n") + 2
    if end > 1 and beginning.find(b"\r", 0, end) < 0:
        return beginning[:end]
    other = beginning.find(b"\n\r\n", 0, end if end > 1 else len(beginning)) + 3
    if other > 2:
        end = other
    return to_crlf(beginning[:end]) if end > 1 else None
