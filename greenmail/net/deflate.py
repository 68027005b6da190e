"""The two streams of COMPRESS=DEFLATE, RFC 4978: raw deflate, in little memory.

What comes is unpacked a piece at a time, 64 KiB at most, however much a few octets may stand for: so a client that
sends a bomb fills no memory here, and meets the same limits with what comes out as it would without compression.

A client may stop compressing (RFC 8437 4.1), and nothing in the stream says so but where its last flush ends. So
nothing behind a flush is unpacked before somebody asks for it.
"""

import zlib
from collections.abc import Callable

from greenmail.errors import Disconnected

MOST = 1 << 16  # octets that are unpacked at once
_BITS = -12  # 4 KiB of memory of what was sent: the dictionary of a chatty protocol
_MEMORY = 5  # with _BITS 32 KiB a connection; the other direction has 40, because clients may use all of 32 KiB
_LEVEL = 3
_FLUSHED = b"\x00\x00\xff\xff"  # how every flush ends, RFC 1951 3.2.4
_ENDS = 100  # streams of one client; whoever ends them again and again makes work of two octets each


class Deflate:
    """Both directions of one connection."""

    __slots__ = ("_ends", "_from_client", "_place", "_to_client", "_waiting")

    def __init__(self) -> None:
        self._to_client = zlib.compressobj(_LEVEL, zlib.DEFLATED, _BITS, _MEMORY)
        self._from_client = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ends = 0  # of streams from the client
        self._waiting = b""  # octets that were received,
        self._place = 0  # and how many of them are unpacked

    def pack(self, data: memoryview) -> bytes:
        """`data` as it is to be sent; some of it may be held back until `flush`."""
        return self._to_client.compress(data)

    def flush(self) -> bytes:
        """What was held back: the client can read everything then."""
        return self._to_client.flush(zlib.Z_SYNC_FLUSH)

    def whole(self, data: bytes, breathe: Callable[[], None]) -> bytes:
        """`data` as it is to be sent, all of it, and flushed."""
        pieces = []
        for start in range(0, len(data), MOST):
            pieces.append(self.pack(memoryview(data)[start : start + MOST]))
            breathe()
        return b"".join((*pieces, self.flush()))

    def feed(self, data: bytes) -> None:
        """Octets from the client."""
        self._waiting = self._waiting[self._place :] + data
        self._place = 0

    def unpack(self) -> bytes:
        """What the client sent next, MOST octets at most; nothing if more must come first. Raises Disconnected."""
        found = b""
        while not found and self._place < len(self._waiting):
            end = self._waiting.find(_FLUSHED, self._place)
            stop = len(self._waiting) if end < 0 else end + len(_FLUSHED)
            try:
                found = self._from_client.decompress(self._waiting[self._place : stop], MOST)
            except zlib.error:
                raise Disconnected("what came is not compressed as it should be") from None
            self._place = stop - len(self._from_client.unconsumed_tail or self._from_client.unused_data)
            if self._from_client.eof:
                self._begin_another()
        return found

    def _begin_another(self) -> None:
        """Clients flush and do not end the stream; if one does, the next octets begin another."""
        self._ends += 1
        if self._ends > _ENDS:
            raise Disconnected("compression was ended too often")
        self._from_client = zlib.decompressobj(-zlib.MAX_WBITS)

    def rest(self) -> bytes:
        """Compression is over: octets that came and were not unpacked, which are plain."""
        waiting = self._waiting[self._place :]
        self._waiting, self._place = b"", 0
        return waiting
