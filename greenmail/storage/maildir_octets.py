"""Many messages, or their headers, by one hop to the pool and without an object for each; sizes and dates as well.

What is not usual (a file that was renamed, a compressed one, one whose name tells wrong sizes, a header that does not
end soon, a large message) is left to who opens the message in full.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from greenmail.message.compressed import kind_of
from greenmail.message.content import BLOCK, FIRST, bare_line_feeds, to_crlf
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_measure import Fact
from greenmail.storage.maildir_name import base_name, disk_size_of

LARGEST = 1 << 20  # octets of a file that is read at one go
TOGETHER = 1 << 22  # ... and of all of them
_FEW = 4  # headers that are read here: a hop to the pool costs more


@dataclass(slots=True)
class _Wanted:
    """A message's file: what is wanted of it, and what was found."""

    uid: int
    path: bytes
    whole: bool
    wants_size: bool
    wants_date: bool
    known: int  # its size with CRLF line ends; -1: not known
    claimed: int | None  # its size on disk, if the name tells that
    octets: bytes | None = None
    size: int = -1
    date: int = -1

    def is_as_told(self, disk: int) -> bool:
        """Whether what is known of its size can be that of a plain file with so many octets: as `FileContent`."""
        return self.known < 0 or (self.claimed in (None, disk) and disk <= self.known <= 2 * disk)


def read_many(box: Box, uids: Sequence[int], whole: bool, sizes: bool) -> tuple[list[bytes | None], list[Fact]]:
    """What there is of `uids`, None where it is not that easy, and what came to be known of these messages."""
    index, table = box.index, box.index.table
    wanted = []
    for uid in uids:
        row = table.row(uid)
        if row >= 0:
            name, size = index.names[row], table.sizes[row]
            claimed = disk_size_of(base_name(name)) if b",S=" in name else None
            path = box.path(name, uid in index.in_new)
            wanted.append(_Wanted(uid, path, whole, sizes and size < 0, table.dates[row] < 0, size, claimed))
    box.offload(whole or sizes or len(wanted) > _FEW, _read_all, box.files, wanted)
    found = {one.uid: one.octets for one in wanted}
    facts = [(one.uid, one.size, one.date) for one in wanted if one.size >= 0 or one.date >= 0]
    return list(map(found.get, uids)), facts


def _read_all(files: Files, wanted: Sequence[_Wanted]) -> None:
    """What can be found at the first go; in the pool, but for a few headers."""
    left = TOGETHER
    for one in wanted:
        try:
            descriptor = files.open(one.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            found = files.fstat(descriptor)
            if not one.is_as_told(found.st_size):
                continue  # then the size is counted anew, which is more than is done here
            if one.whole:
                _read_whole(files, descriptor, one, found, min(left, LARGEST))
            else:
                _read_header(files, descriptor, one, found)
                one.octets = one.octets if len(one.octets or b"") <= left else None
            left -= len(one.octets or b"")
        except OSError:
            one.octets = None  # who opens it in full says why
        finally:
            files.close(descriptor)


def _read_whole(files: Files, descriptor: int, one: _Wanted, found: os.stat_result, largest: int) -> None:
    if found.st_size > largest:
        return
    octets = files.pread(descriptor, found.st_size, 0)
    if len(octets) == found.st_size and kind_of(octets) is None:
        one.octets = to_crlf(octets)
        one.size = len(one.octets) if one.wants_size else -1
        one.date = int(found.st_mtime) if one.wants_date else -1


def _read_header(files: Files, descriptor: int, one: _Wanted, found: os.stat_result) -> None:
    block = files.pread(descriptor, BLOCK if one.wants_size else FIRST, 0)
    one.octets = header_of_file(block)
    if one.octets is None:
        return
    if one.wants_date:
        one.date = int(found.st_mtime)
    if one.wants_size:
        one.size = _size_from(files, descriptor, block)


def _size_from(files: Files, descriptor: int, block: bytes) -> int:
    """The octets with CRLF line ends, of which `block` are the first."""
    disk = crlf = 0
    after_cr = False
    while block:
        crlf += len(block) + bare_line_feeds(block, after_cr)
        disk += len(block)
        after_cr = block.endswith(b"\r")
        block = files.pread(descriptor, BLOCK, disk)
    return crlf


def header_of_file(beginning: bytes) -> bytes | None:
    """`FileContent.header` of a plain file that begins so; None if it is compressed, or the header ends further on."""
    if kind_of(beginning) is not None:
        return None
    if beginning.startswith((b"\n", b"\r\n")):
        return b"\r\n"
    end = beginning.find(b"\n\n") + 2
    other = beginning.find(b"\n\r\n", 0, end if end > 1 else len(beginning)) + 3
    if other > 2:
        end = other
    return to_crlf(beginning[:end]) if end > 1 else None
