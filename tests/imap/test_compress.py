"""COMPRESS=DEFLATE, RFC 4978, and how it ends, RFC 8437 4.1."""

import tracemalloc
import zlib

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.wire import MemoryWire


class Client:
    """The other end of a compressed connection."""

    def __init__(self, engine: Engine, wire: MemoryWire) -> None:
        self.engine, self.wire = engine, wire
        self.packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.unpacker = zlib.decompressobj(-15)

    def packed(self, data: bytes, how: int = zlib.Z_SYNC_FLUSH) -> bytes:
        return self.packer.compress(data) + self.packer.flush(how)

    def talk(self, data: bytes) -> bytes:
        return self.unpacker.decompress(self.engine.talk(self.wire, self.packed(data)))


@pytest.fixture
def engine() -> Engine:
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    engine.fill("INBOX", 3)
    return engine


def compressed(engine: Engine) -> Client:
    wire = engine.login()
    assert engine.talk(wire, b"c COMPRESS deflate\r\n") == b"c OK DEFLATE active\r\n"
    return Client(engine, wire)


def test_everything_behind_the_tagged_ok_is_compressed(engine: Engine) -> None:
    client = compressed(engine)
    assert client.talk(b"a NOOP\r\n") == b"a OK NOOP completed\r\n"
    assert b"* 3 EXISTS\r\n" in client.talk(b"b SELECT INBOX\r\n")
    assert client.talk(b"c FETCH 1 BODY[]\r\n").endswith(b"c OK FETCH completed\r\n")


def test_octets_may_come_one_by_one(engine: Engine) -> None:
    client = compressed(engine)
    answer = b""
    for octet in client.packed(b"a NOOP\r\nb NOOP\r\n"):
        answer += client.unpacker.decompress(engine.talk(client.wire, bytes((octet,))))
    assert answer == b"a OK NOOP completed\r\nb OK NOOP completed\r\n"


def test_once_is_enough(engine: Engine) -> None:
    """RFC 4978 3: BAD if COMPRESS is active already."""
    client = compressed(engine)
    assert client.talk(b"d COMPRESS DEFLATE\r\n").startswith(b"d BAD [COMPRESSIONACTIVE] ")
    assert b"COMPRESS" not in client.talk(b"e CAPABILITY\r\n")


def test_what_is_refused(engine: Engine) -> None:
    wire = engine.login()
    assert engine.talk(wire, b"a COMPRESS LZW\r\n").startswith(b"a BAD ")
    assert engine.talk(wire, b"b COMPRESS\r\n").startswith(b"b BAD ")
    assert b" COMPRESS=DEFLATE" in engine.talk(wire, b"c CAPABILITY\r\n")
    wire.can_compress = False
    assert b"COMPRESS" not in engine.talk(wire, b"d CAPABILITY\r\n")
    assert engine.talk(wire, b"e COMPRESS DEFLATE\r\n").startswith(b"e NO [LIMIT] ")
    assert engine.talk(engine.connect(), b"f COMPRESS DEFLATE\r\n").endswith(b"log in first\r\n")


@pytest.mark.parametrize("how", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH])
def test_unauthenticate_ends_it(engine: Engine, how: int) -> None:
    """What follows in clear may be there at once: RFC 8437 3 lets clients pipeline."""
    client = compressed(engine)
    answer = engine.talk(client.wire, client.packed(b"u UNAUTHENTICATE\r\n", how) + b"l LOGIN alice secret\r\n")
    packed, flushed, plain = answer.partition(b"\x00\x00\xff\xff")
    first = client.unpacker.decompress(packed + flushed)
    assert first.startswith(b"u OK [CAPABILITY ") and first.endswith(b"\r\n")
    assert plain.startswith(b"l OK [CAPABILITY ")
    assert b" COMPRESS=DEFLATE" in answer


def test_what_is_not_compressed_ends_the_connection(engine: Engine) -> None:
    client = compressed(engine)
    engine.talk(client.wire, b"\xff\xff\xff\xff\xff\xff")
    assert client.wire.closed


def test_a_bomb_meets_the_limits(engine: Engine) -> None:
    """A line of 32 MiB in 32 KiB is thrown away as it is unpacked."""
    client = compressed(engine)
    bomb = client.packed(b"a NOOP " + b"x" * (32 << 20) + b"\r\nb NOOP\r\n")
    assert len(bomb) < 1 << 16
    tracemalloc.start()
    answer = client.unpacker.decompress(engine.talk(client.wire, bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.startswith(b"a BAD [TOOBIG] ") and answer.endswith(b"b OK NOOP completed\r\n")
    assert peak < 4 << 20
