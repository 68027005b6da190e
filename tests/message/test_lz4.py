"""LZ4 blocks by the letter of their format, and files as Dovecot 2.3 wrote them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message.test_compressed import file_of, unpack

from greenmail.message import lz4
from greenmail.message.lz4 import unpack_block
from greenmail.message.measured import measured

# Written by Dovecot 2.3.19: "Subject: a", an empty line, "x".
SHORT = b"Dovecot-LZ4\r*\x9b\xc5\x00\x01\x00\x00\x00\x00\x00\x0f\xe0Subject: a\n\nx\n"


@pytest.mark.parametrize(
    "block, text",
    [
        (b"", b""),
        (b"\x00", b""),
        (b"\x30abc", b"abc"),
        (b"\xf0\x00" + b"x" * 15, b"x" * 15),
        (b"\xf0\xff\x01" + b"y" * 271, b"y" * 271),
        (b"\x40abcd\x04\x00\x10e", b"abcdabcde"),
        (b"\x10a\x01\x00\x10b", b"aaaaab"),  # the match overlaps what it makes
        (b"\x26ab\x02\x00\x10c", b"ab" * 6 + b"c"),
        (b"\x1fa\x01\x00\xff\x02\x10b", b"a" * (1 + 4 + 15 + 255 + 2) + b"b"),
    ],
)
def test_blocks(block: bytes, text: bytes) -> None:
    assert unpack_block(block, 1 << 16) == text


@pytest.mark.parametrize("block", [b"\x30ab", b"\x10a\x00\x00\x10b", b"\x10a\x02\x00\x10b", b"\x10a\x01", b"\xf0\xff"])
def test_damaged_blocks(block: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        unpack_block(block, 1 << 16)


def test_a_block_is_bounded() -> None:
    with pytest.raises(ValueError):
        unpack_block(b"\x1fa\x01\x00" + b"\xff" * 1000 + b"\x00\x10b", 1 << 16)
    with pytest.raises(ValueError):
        unpack_block(b"\xf0\xff\x00" + b"x" * 270, 100)


def pack(data: bytes, chunk: int = 1 << 16) -> bytes:
    """Literals only, and a run of one octet as a match where a chunk is one."""
    out = lz4.MAGIC + chunk.to_bytes(4)
    for start in range(0, len(data), chunk):
        part = data[start : start + chunk]
        block = _sequence(part)
        out += len(block).to_bytes(4) + block
    return out


def _sequence(part: bytes) -> bytes:
    if len(part) < 15:
        return bytes([len(part) << 4]) + part
    more, rest = divmod(len(part) - 15, 255)
    return b"\xf0" + b"\xff" * more + bytes([rest]) + part


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_files_of_many_chunks(data: bytes, chunk: int) -> None:
    assert unpack(pack(data, chunk)) == data


def test_what_dovecot_wrote() -> None:
    assert unpack(SHORT) == b"Subject: a\n\nx\n"
    large = b"".join(b"%x\n" % random.Random(n).getrandbits(200) for n in range(9000))
    assert unpack(pack(large)) == large


@pytest.mark.parametrize("cut", range(1, 19))
def test_a_cut_is_damage(cut: int) -> None:
    with file_of(SHORT[:-cut]) as fd:
        assert measured(fd).damage


def test_bombs_are_bounded() -> None:
    for head in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        with file_of(lz4.MAGIC + head + SHORT[19:]) as fd:
            assert measured(fd).damage
    with file_of(SHORT[:19] + b"\x7f\xff\xff\xff" + b"\xf0" + b"\xff" * 100_000) as fd:
        assert measured(fd).damage


@given(st.data())
def test_any_damage_is_a_refusal_or_octets(data: st.DataObject) -> None:
    octets = bytearray(pack(b"a line of text\n" * 30, 100))
    for _ in range(3):
        octets[data.draw(st.integers(15, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with file_of(bytes(octets)) as fd:
        assert measured(fd).disk <= 1 << 20
