"""The sizes that a message file has: `,S=` and `,W=` of its name, by counting. `formats.md` 1.4."""

import os
from dataclasses import dataclass

from greenmail.message.compressed import Damaged, Stream, kind_of, reads_like_text
from greenmail.message.content import BLOCK, bare_line_feeds
from greenmail.message.unpacked import LARGEST


@dataclass(frozen=True, slots=True)
class Measured:
    """The octets of a file, or of what is in a compressed one (`S=`), and their number with CRLF line ends (`W=`)."""

    disk: int
    crlf: int
    is_compressed: bool = False
    damage: str = ""  # why there are no more in it, although there should be


def measured(fd: int, claimed: int = -1, largest: int = LARGEST) -> Measured:
    """Read an open file to count. `claimed`: the `S=` of its name, if that is to be believed. Raises OSError.

    `largest`: octets up to which a compressed one is unpacked if it claims no more.
    """
    disk = crlf = 0
    after_cr = False
    while block := os.pread(fd, BLOCK, disk):
        if disk == 0 and (kind := kind_of(block)) is not None:
            inside = _measured_inside(Stream(fd, kind), max(claimed, largest))
            if inside.disk or not inside.damage or not reads_like_text(block):
                return inside
        crlf += len(block) + bare_line_feeds(block, after_cr)
        disk += len(block)
        after_cr = block.endswith(b"\r")
    return Measured(disk, crlf)


def _measured_inside(stream: Stream, limit: int) -> Measured:
    disk = crlf = 0
    after_cr = False
    try:
        while piece := stream.next():
            if disk + len(piece) > limit:
                return Measured(disk, crlf, True, f"it unpacks to more than {limit} octets")
            crlf += len(piece) + bare_line_feeds(piece, after_cr)
            disk += len(piece)
            after_cr = piece.endswith(b"\r")
    except Damaged as error:
        return Measured(disk, crlf, True, str(error))
    return Measured(disk, crlf, True)


def sizes(fd: int) -> tuple[int, int]:
    """What `S=` and `W=` are for an open file, by counting. Raises OSError."""
    found = measured(fd)
    return found.disk, found.crlf


def crlf_size(fd: int) -> int:
    """RFC822.SIZE of an open file, by counting. Raises OSError."""
    return measured(fd).crlf
