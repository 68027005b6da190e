"""A message file: plain, compressed, damaged, with right claims about its size and wrong ones: read as it is written.

The first octet says how the file is written, the second what is claimed and how it is read; the rest is the message.
"""

import bz2
import contextlib
import gzip
import logging
import lzma
import os
from collections.abc import Iterator

from greenmail.errors import StorageError
from greenmail.message import lz4
from greenmail.message.compressed import zstd
from greenmail.message.content import BytesContent, FileContent, header_end, to_crlf
from greenmail.message.measured import measured, sizes
from greenmail.message.to_disk import ToDisk
from greenmail.message.unpacked import Kept, Unpacking
from greenmail.storage.maildir_octets import header_of_file

logging.disable(logging.CRITICAL)

LARGE = 300_000  # octets; beyond what is read at once
BOMB = 1 << 20  # octets that a message may unpack to


def _lz4(data: bytes) -> bytes:
    """As Dovecot writes it, without matches."""
    pieces = [lz4.MAGIC, (1 << 16).to_bytes(4, "big")]
    for at in range(0, len(data), 1 << 15):
        literals = data[at : at + (1 << 15)]
        more, last = divmod(len(literals) - 15, 255)
        head = bytes([len(literals) << 4]) if len(literals) < 15 else b"\xf0" + b"\xff" * more + bytes([last])
        pieces += [len(head + literals).to_bytes(4, "big"), head, literals]
    return b"".join(pieces)


WRITERS = (
    lambda data: data,
    lambda data: gzip.compress(data, 1, mtime=0),
    lambda data: bz2.compress(data, 1),
    lambda data: zstd.compress(data),
    lambda data: lzma.compress(data, preset=0),
    _lz4,
)
HEADS = (b"\x1f\x8b\x08", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", lz4.MAGIC + b"\0\1\0\0", b"")


@contextlib.contextmanager
def opened(octets: bytes, keep: bool = False) -> Iterator[int]:
    """The descriptor of a file with these octets, closed here if nobody has taken it."""
    fd = os.memfd_create("message")
    os.write(fd, octets)
    try:
        yield fd
    finally:
        if keep:
            os.close(fd)


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    how, reading, body = data[0], data[1], data[2:]
    if how & 64:
        body = (body * (LARGE // len(body) + 1))[:LARGE]
    _to_disk(body, reading)
    if how & 128:
        _anything(HEADS[how % len(HEADS)] + body, reading)
        return
    octets = WRITERS[how % len(WRITERS)](body)
    if how & 32 and WRITERS[how % len(WRITERS)] is not _lz4:  # which has none
        octets += WRITERS[how % len(WRITERS)](body)  # a second member
        body += body
    if how & 8:
        _anything(octets[: 1 + len(octets) * reading // 255], reading)
        return
    if how & 16:
        place = len(octets) * reading // 256
        _anything(octets[:place] + bytes([octets[place] ^ 1 << reading % 8]) + octets[place + 1 :], reading)
        return
    if not body.startswith((*HEADS[:5], b"Z*M\x18")) and not (body[1:4] == b"*M\x18" and body[:1] > b"O"):
        _right(octets, body, reading)


def _claims(octets: bytes, body: bytes, reading: int) -> tuple[int, int]:
    whole = len(to_crlf(body))
    disk = len(body)
    return [
        (-1, -1),
        (whole, disk),
        (whole, -1),
        (-1, disk),
        (disk, disk),
        (whole + 1, disk),
        (whole, disk + 1),
        (5, 5),
    ][reading & 7]


def _slices(size: int, reading: int) -> Iterator[tuple[int, int | None]]:
    places = [0, size // 3, size * reading // 256, max(size - 5, 0), size, size + 3, 65536, 131072]
    ends = [0, 1, reading, size // 2, size - 1, size, size + 10, None]
    if size > 10_000:
        places, ends = places[1::2], [reading, None]
    for start in places:
        for end in ends:
            yield start, None if end is None else end + (start if end < size // 2 else 0)


def _right(octets: bytes, body: bytes, reading: int) -> None:
    """Whatever is claimed, and in whatever order it is read."""
    wanted = BytesContent(body)
    whole = wanted.read()
    kept = Kept(lambda: 0.0) if reading & 8 else None
    points = None
    is_true = reading & 7 < 4 or len(body) == len(whole)
    for _ in range(2):
        with opened(octets) as fd:
            crlf, disk = _claims(octets, body, reading)
            content = FileContent(fd, crlf, disk, points, Unpacking(kept=kept))
            slices = list(_slices(len(whole), reading))
            if reading & 16:
                slices.reverse()
            if reading & 32:
                assert content.header() == wanted.header()
            for start, end in slices:
                if is_true:
                    assert content.read(start, end) == wanted.read(start, end), (start, end)
                else:
                    content.read(start, end)  # a false claim is found out by reading to the end
            assert content.read() == whole
            assert content.size == len(whole)
            assert content.header() == wanted.header()
            for start, end in slices:
                assert content.read(start, end) == wanted.read(start, end), (start, end)
            content.check()
            if not content.is_compressed and reading & 64:
                points = content.checkpoints
            content.close()
    if kept is not None:
        kept.close()
    for length in (7, 64, 4096, len(octets)):
        header = header_of_file(octets[:length])
        assert header is None or to_crlf(header) == wanted.header(), "the quick way and the other one"
    with opened(octets, keep=True) as fd:
        found = measured(fd)
        assert found.crlf == len(whole), (found, len(whole))
        assert sizes(fd)[1] == len(whole)


def _anything(octets: bytes, reading: int) -> None:
    """Damaged: octets, or StorageError, the same each time; and never more than is allowed."""
    found: list[object] = []
    for _ in range(2):
        with opened(octets) as fd:
            content = None
            said: list[object] = []
            try:
                content = FileContent(fd, *_claims(octets, octets, reading), None, Unpacking(largest=BOMB))
                for start, end in ((0, 10), (0, None), (5, 100)):
                    try:
                        said.append(content.read(start, end))
                    except StorageError as error:
                        said.append(error.reason)
                assert all(len(one) <= 2 * BOMB for one in said if isinstance(one, bytes))
                said.append(content.header())
                content.check()
            except StorageError as error:
                said.append(error.reason)
            finally:
                if content is not None:
                    content.close()
        found.append(said)
    assert found[0] == found[1]
    with opened(octets, keep=True) as fd, contextlib.suppress(StorageError):
        measured(fd, largest=BOMB)


def _to_disk(body: bytes, reading: int) -> None:
    """What APPEND writes comes back as it was given, in whatever pieces."""
    message = to_crlf(body)
    at_once = ToDisk()
    disk = at_once.feed(message) + at_once.end()
    assert to_crlf(disk) == message
    assert (at_once.disk_size, at_once.crlf_size) == (len(disk), len(message))
    piecewise = ToDisk()
    size = reading % 7 + 1 if len(message) < 10_000 else 4096 + reading
    pieces = b"".join(piecewise.feed(message[at : at + size]) for at in range(0, len(message), size)) + piecewise.end()
    assert pieces == disk and piecewise.disk_size == at_once.disk_size and piecewise.crlf_size == at_once.crlf_size
    end = header_end(message)
    assert end == -1 or message[:end].endswith(b"\r\n")
