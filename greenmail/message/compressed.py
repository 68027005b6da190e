"""Compressed message files: known by their first octets, never by their names, and unpacked in blocks.

    gzip    1F 8B 08                        RFC 1952
    bzip2   "BZh" level, then "1AY&SY"      or the mark of an end, if nothing is in it
    zstd    28 B5 2F FD                     RFC 8878; or a frame to be skipped, 5x 2A 4D 18
    xz      FD "7zXZ" 00
    lz4     "Dovecot-LZ4" 0D 2A 9B C5       see `message.lz4`

Such files are written by Dovecot's plugin zlib, or by an administrator who compresses old mail. A file may be made of
several members, one behind the other; zeros and whatever else stands behind the last one do not count, as with gzip(1).
A file that begins so, does not give a single octet, and reads like text from there on is no compressed one.
"""

import bz2
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greenmail.message import lz4

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = len(lz4.MAGIC)  # octets that are looked at
PIECE = 65536  # octets that are read, and given, at once
_XZ_MEMORY = 1 << 27  # octets of dictionary; `xz -9` needs the half of it
_TEXT = bytes([9, 10, 13, *range(32, 127)])
_ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError, IndexError, MemoryError)


class Damaged(Exception):
    """The file cannot be unpacked to its end. Never leaves `message`."""


class _Decoder(Protocol):
    """What `bz2`, `lzma` and `zstd` have in common: one member."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """zlib's in the manner of the others."""

    __slots__ = ("_inner", "needs_input")

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """Give at most `max_length` octets; what was not used of `data` is kept."""
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = len(out) < max_length and not self._inner.unconsumed_tail
        return out


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to compress. `is_slow`: a block takes milliseconds to unpack, and not some tenths of one.

    `ends_with_file`: there is no mark of the end, and the decoder is told of it.
    """

    name: str
    begin: Callable[[], _Decoder]
    is_slow: bool = False
    ends_with_file: bool = False


_KINDS: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), Kind("gzip", _Gzip)),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), Kind("bzip2", bz2.BZ2Decompressor, is_slow=True)),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), Kind("zstd", zstd.ZstdDecompressor)),
    (re.compile(rb"\xfd7zXZ\0"), Kind("xz", _xz, is_slow=True)),
    (re.compile(re.escape(lz4.MAGIC)), Kind("lz4", lz4.Lz4, is_slow=True, ends_with_file=True)),
)
_STARTS = (b"\x1f\x8b\x08", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", lz4.MAGIC)  # at least so
_SKIPPED = b"\x2a\x4d\x18"


def kind_of(head: bytes) -> Kind | None:
    """How a file that begins with `head` is compressed; None: it is not, or MAGIC octets are not there."""
    if not head.startswith(_STARTS) and head[1:4] != _SKIPPED:  # nearly always
        return None
    return next((kind for pattern, kind in _KINDS if pattern.match(head)), None)


def reads_like_text(octets: bytes) -> bool:
    """Whether three of four of these octets, from the file's beginning, are such as stand in mail."""
    rest = octets[MAGIC : MAGIC + 256]
    return 4 * len(rest.translate(None, _TEXT)) <= len(rest)


class Stream:
    """The octets in a compressed file, forward."""

    __slots__ = ("_damage", "_decoder", "_fd", "_has_given", "_kind", "_place", "_rest", "is_complete")

    def __init__(self, fd: int, kind: Kind) -> None:
        self._fd = fd
        self._damage: Damaged | None = None
        self._has_given = False
        self._kind = kind
        self._decoder: _Decoder | None = kind.begin()
        self._place = 0
        self._rest = b""  # read and not used yet
        self.is_complete = False

    def next(self) -> bytes:
        """The next octets, at most PIECE; none at the end. Raises Damaged, and OSError if the file cannot be read."""
        while self._decoder is not None:
            if self._decoder.eof:
                self._next_member(self._decoder.unused_data)
                continue
            data = b""
            if self._decoder.needs_input:
                data, self._rest = self._rest or self._read(), b""
            piece = self._step(self._decoder, data)
            if piece:
                self._has_given = True
                return piece
        if self._damage is not None:
            raise self._damage
        return b""

    def _step(self, decoder: _Decoder, data: bytes) -> bytes:
        """What comes out of `data`. With damage there is no decoder any more."""
        if not data and decoder.needs_input and not self._kind.ends_with_file:
            return self._end("the file is cut short", b"")
        try:
            piece = decoder.decompress(data, PIECE)
        except _ERRORS as error:
            # What came out of this step before the damage is lost with the exception: for small mail that is all of it.
            return self._end(str(error), b"" if self._has_given else self._octet_by_octet())
        if not piece and not data and not decoder.needs_input and not decoder.eof:
            return self._end("nothing comes out", b"")
        return piece

    def _end(self, why: str, left: bytes) -> bytes:
        self._damage = Damaged(f"{self._kind.name}: {why}")
        self._decoder = None
        return left

    def _octet_by_octet(self) -> bytes:
        """The first octets, up to where they are damaged."""
        decoder, data = self._kind.begin(), os.pread(self._fd, PIECE, 0)
        found = bytearray()
        try:
            while not decoder.eof and len(found) < PIECE:
                octet = decoder.decompress(data, 1)
                if not octet and not data:
                    break
                found += octet
                data = b""
        except _ERRORS:
            return bytes(found)
        return bytes(found)

    def _next_member(self, rest: bytes) -> None:
        while True:
            rest = rest.lstrip(b"\0")
            if len(rest) >= MAGIC:
                break
            more = self._read()
            if not more:
                break
            rest += more
        self._rest = rest
        self._decoder = self._kind.begin() if kind_of(rest) is self._kind else None
        self.is_complete = self._decoder is None

    def _read(self) -> bytes:
        data = os.pread(self._fd, PIECE, self._place)
        self._place += len(data)
        return data
