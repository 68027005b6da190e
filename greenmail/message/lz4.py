"""LZ4 as Dovecot's plugin zlib writes it: blocks behind one another, in a frame of its own.

    file  = "Dovecot-LZ4" 0D 2A 9B C5 most *chunk    ; no mark of the end
    chunk = length block                             ; of the block; both numbers have 4 octets, the highest first
    most  : octets that a block unpacks to at most
    block = *(token literals offset [lengths])       ; the format of LZ4 blocks, each on its own

In a token the high half is the number of literals, the low half the length of the match behind them less 4; 15 is
continued in octets up to one that is not 255. The last sequence has no match.
"""

MAGIC: bytes = b"Dovecot-LZ4\x0d\x2a\x9b\xc5"
_HEAD = len(MAGIC) + 4
_LARGEST = 1 << 24  # octets of a block; Dovecot's have 64 KiB


def unpack_block(data: bytes, most: int) -> bytes:
    """What is in one block. Raises ValueError or IndexError if it is damaged, or has more than `most` octets."""
    out = bytearray()
    place = 0
    while place < len(data):
        token = data[place]
        length, place = _length(data, place + 1, token >> 4)
        if place + length > len(data):
            raise ValueError("literals are cut short")
        out += data[place : place + length]
        place += length
        if place == len(data):
            break
        offset = data[place] | data[place + 1] << 8
        length, place = _length(data, place + 2, token & 15)
        length += 4
        start = len(out) - offset
        if not offset or start < 0 or len(out) + length > most:
            raise ValueError("a match leads nowhere")
        # A match may overlap what it makes: then what is there is repeated.
        out += (
            out[start : start + length] if offset >= length else (bytes(out[start:]) * (length // offset + 1))[:length]
        )
    if len(out) > most:
        raise ValueError("a block is too long")
    return bytes(out)


def _length(data: bytes, place: int, length: int) -> tuple[int, int]:
    if length == 15:
        while True:
            more = data[place]
            place += 1
            length += more
            if more != 255:
                break
    return length, place


class Lz4:
    """A decoder in the manner of `bz2.BZ2Decompressor`. No octets as input mean the end of the file."""

    __slots__ = ("_buffer", "_most", "_out", "_place", "eof", "unused_data")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._most = 0
        self._out = b""  # unpacked, given from `_place` on
        self._place = 0
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        """Nothing more can be given without more octets."""
        return self._place == len(self._out) and not self._has_chunk()

    def _has_chunk(self) -> bool:
        if not self._most:
            return len(self._buffer) >= _HEAD
        return len(self._buffer) >= 4 and len(self._buffer) >= 4 + int.from_bytes(self._buffer[:4])

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """At most `max_length` octets. Raises ValueError or IndexError."""
        if not data and self.needs_input:
            if self._buffer or not self._most:
                raise ValueError("the file is cut short")
            self.eof = True
        self._buffer += data
        if not self._most and len(self._buffer) >= _HEAD:
            self._most = int.from_bytes(self._buffer[len(MAGIC) : _HEAD])
            del self._buffer[:_HEAD]
            if not 0 < self._most <= _LARGEST:
                raise ValueError("blocks are too large")
        while self._place == len(self._out) and self._most and self._has_chunk():
            length = int.from_bytes(self._buffer[:4])
            self._out, self._place = unpack_block(bytes(self._buffer[4 : 4 + length]), self._most), 0
            del self._buffer[: 4 + length]
        if self._most and len(self._buffer) >= 4 and int.from_bytes(self._buffer[:4]) > 2 * _LARGEST:
            raise ValueError("a chunk is too long")
        piece = self._out[self._place : self._place + max_length]
        self._place += len(piece)
        return piece
