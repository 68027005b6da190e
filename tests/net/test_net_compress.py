"""A compressed connection, RFC 4978: over a real socket, plain and TLS."""

import contextlib
import os
import zlib

import gevent
import pytest
from support.cost import least

from greenmail.errors import Disconnected
from greenmail.net.deflate import Deflate
from greenmail.net.stream import Stream
from greenmail.runtime import Wake


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def read_unpacked(client, octets: int) -> bytes:
    unpacker = zlib.decompressobj(-15)
    data = b""
    while len(data) < octets:
        data += unpacker.decompress(client.recv(1 << 16))
    return data


def receive_all(stream: Stream, octets: int) -> bytes:
    data = b""
    while len(data) < octets:
        data += stream.receive()
    return data


@pytest.mark.parametrize("secure", [False, True])
def test_both_directions(loop, secure):
    client, stream = loop.pair()
    if secure:
        client = loop.secure(client, stream)
    stream.write(b"c OK in clear\r\n")
    stream.start_compression()
    assert stream.compressed and not stream.can_compress
    assert client.recv(100) == b"c OK in clear\r\n"
    data = os.urandom(300_000) + b"x" * 2_000_000
    reader = gevent.spawn(receive_all, stream, len(data))
    client.sendall(packed(data))
    assert reader.get(timeout=20) == data
    writer = gevent.spawn(lambda: (stream.write(data), stream.flush()))
    assert read_unpacked(client, len(data)) == data
    writer.get(timeout=20)
    assert stream.sent < len(data) / 4 and stream.received < len(data) / 4


def test_half_a_block_is_no_input(loop):
    client, stream = loop.pair()
    stream.start_compression()
    octets = packed(b"DONE\r\n")
    client.sendall(octets[:1])
    assert stream.rest(0.05) is Wake.TIMEOUT
    client.sendall(octets[1:])
    assert stream.rest(20) is Wake.INPUT
    assert stream.receive() == b"DONE\r\n"


def test_what_is_unpacked_and_not_read_is_input(loop):
    """One packet may hold more than is unpacked at once."""
    client, stream = loop.pair()
    stream.start_compression()
    client.sendall(packed(b"x" * 100_000))
    assert len(stream.receive()) == 65536
    assert stream.rest(20) is Wake.INPUT
    assert len(stream.receive()) == 100_000 - 65536


def test_the_farewell_is_compressed_too(loop):
    client, stream = loop.pair()
    stream.start_compression()
    stream.flush()
    stream.drain()
    with pytest.raises(Disconnected):
        stream.receive()
    assert read_unpacked(client, 15) == b"* BYE the end\r\n"


def test_damaged_octets_end_the_connection(loop):
    client, stream = loop.pair()
    stream.start_compression()
    client.sendall(b"\xff" * 20)
    with pytest.raises(Disconnected):
        stream.receive()


@pytest.mark.parametrize(
    "octets", [b"\x03\x00", b"\x00\x00\x00\xff\xff", b"\x02\x00\x00\x00\xff\xff"], ids=["ends", "flushes", "both"]
)
def test_octets_that_stand_for_nothing_hold_nobody_up(octets):
    """A stream may end, and a flush may have nothing before it: a packet full of them is soon done with."""

    def unpack() -> None:
        deflate = Deflate()
        deflate.feed(octets * (65536 // len(octets)))
        with contextlib.suppress(Disconnected):
            assert deflate.unpack() == b""

    assert least(unpack, 0.1) < 0.1


def test_a_client_may_end_its_stream(loop):
    client, stream = loop.pair()
    stream.start_compression()
    for _ in range(20):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        client.sendall(packer.compress(b"a NOOP\r\n") + packer.flush(zlib.Z_FINISH))
        assert receive_all(stream, 8) == b"a NOOP\r\n"


def test_only_so_many_are_compressed_at_once(loop):
    compressed: set[Stream] = set()
    _, first = loop.pair(compressed=compressed, max_compressed=1)
    _, second = loop.pair(compressed=compressed, max_compressed=1)
    first.start_compression()
    assert not second.can_compress
    first.stop_compression()
    assert second.can_compress
    second.start_compression()
    second.close()
    assert first.can_compress and not compressed
