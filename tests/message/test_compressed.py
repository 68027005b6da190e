"""Compressed files: which they are, what is in them, and that nothing they hold can hurt."""

import bz2
import gzip
import lzma
import os
import random
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.message import compressed, content, unpacked
from greenmail.message.compressed import Damaged, Stream, kind_of
from greenmail.message.content import FileContent, to_crlf
from greenmail.message.measured import Measured, measured
from greenmail.message.unpacked import Kept, Unpacked, Unpacking

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda data: bz2.compress(data, 1),  # blocks of 100 KB
    "zstd": zstd.compress,
    "xz": lzma.compress,
}
every_kind = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)

SMALL_MAIL = b"From: a@example.org\nSubject: one\n\nbody\n" * 3
TEXT = b"".join(b"line %d of a long message, %d\n" % (n, n * n) for n in range(20_000))
LARGE_MAIL = b"Subject: large\nX: y\n\n" + TEXT  # some 700 KB


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    """An open descriptor of a file with these octets; whoever takes it closes it."""
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.write(fd, data)
    yield fd


def unpack(data: bytes) -> bytes:
    kind = kind_of(data)
    assert kind is not None
    with file_of(data) as fd:
        stream = Stream(fd, kind)
        pieces = []
        while piece := stream.next():
            assert len(piece) <= compressed.PIECE
            pieces.append(piece)
        assert stream.is_complete and not stream.next()
        os.close(fd)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "head, name",
    [
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip"),
        (b"BZh91AY&SY\x12", "bzip2"),
        (b"BZh9\x17rE8P\x90\0\0\0\0", "bzip2"),  # nothing is in it
        (b"\x28\xb5\x2f\xfd\x24\x05\x29\x00\x00\x61", "zstd"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0....", "zstd"),  # RFC 8878 3.1.2: a frame to be skipped
        (b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4", "xz"),
        (b"Subject: a\n\n", None),
        (b"BZh9 is how some files begin", None),
        (b"BZh: a header field\n\n", None),
        (b"\x1f\x8b\x09 another method", None),
        (b"", None),
        (b"B", None),
        (b"\nno header", None),
    ],
)
def test_kinds_are_known_by_their_first_octets(head: bytes, name: str | None) -> None:
    kind = kind_of(head)
    assert (kind.name if kind else None) == name


@every_kind
@pytest.mark.parametrize("mail", [b"", b"x", SMALL_MAIL, LARGE_MAIL], ids=["empty", "one", "small", "large"])
def test_what_is_in_a_file_comes_out(pack: Callable[[bytes], bytes], mail: bytes) -> None:
    data = pack(mail)
    assert unpack(data) == mail
    with file_of(data) as fd:
        assert measured(fd) == Measured(len(mail), len(to_crlf(mail)), True)
        served = FileContent(fd)
        assert (served.size, served.read()) == (len(to_crlf(mail)), to_crlf(mail))
        assert served.is_compressed
        served.close()
        served.close()


@every_kind
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_slice_is_that_of_the_message(pack: Callable[[bytes], bytes], data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from([b"a\n", b"\r\n", b"\r", b"x" * 70 + b"\n", b"\n"]), max_size=60))
    mail = b"".join(lines) * data.draw(st.sampled_from([1, 300]))
    sent = to_crlf(mail)
    cuts = st.integers(0, len(sent) + 3)
    spans = [(data.draw(cuts), data.draw(cuts)) for _ in range(4)]
    has_claim = data.draw(st.booleans())
    with file_of(pack(mail)) as fd:
        served = FileContent(fd, len(sent), len(mail)) if has_claim else FileContent(fd)
        assert served.size == len(sent)
        for start, end in spans:
            assert served.read(start, end) == sent[start:end]
        assert served.header() == content.BytesContent(mail).header()
        served.close()


@every_kind
def test_members_follow_one_another_and_garbage_behind_them_does_not_count(pack: Callable[[bytes], bytes]) -> None:
    both = pack(b"one\n") + pack(b"two\n")
    for tail in (b"", b"\0" * 8, b"\0" * 100_000, b"garbage", b"\0\0garbage\n", b"BZh"):
        assert unpack(both + tail) == b"one\ntwo\n"
    assert unpack(pack(LARGE_MAIL) + pack(LARGE_MAIL)) == LARGE_MAIL * 2


@every_kind
def test_members_of_nothing_are_nothing(pack: Callable[[bytes], bytes]) -> None:
    assert unpack(pack(b"") * 1000 + pack(b"x")) == b"x"


@every_kind
def test_a_file_that_is_cut_short_gives_what_is_left_and_says_so(pack: Callable[[bytes], bytes]) -> None:
    noise = b"Subject: a\n\n" + b"".join(b"%x\n" % random.Random(n).getrandbits(250) for n in range(6_000))
    data = pack(noise)
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(Damaged):
        unpack(cut)
    with file_of(cut) as fd:
        found = measured(fd)
        assert found.is_compressed and found.damage and 0 < found.disk < len(noise)
        assert found.crlf == len(to_crlf(noise[: found.disk]))
        for claims in ((), (len(to_crlf(noise)), len(noise))):
            served = FileContent(os.dup(fd), *claims)
            assert served.header() == b"Subject: a\r\n\r\n"
            assert served.read(0, 1000) == to_crlf(noise)[:1000]
            assert served.size == (claims[0] if claims else found.crlf)
            for reading in (served.read, served.check, lambda served=served: served.read(served.size - 5)):
                with pytest.raises(StorageError) as raised:
                    reading()
                assert raised.value.reason is Reason.CORRUPT
            served.close()
        os.close(fd)


def test_a_small_damaged_message_still_has_its_header() -> None:
    data = gzip.compress(SMALL_MAIL + os.urandom(200))
    with file_of(data[:-9]) as fd:
        served = FileContent(fd)
        assert served.header() == b"From: a@example.org\r\nSubject: one\r\n\r\n"
        assert [served.read(*span) for span in ((0, 4), (2, 4), (7, 3), (7, -1))] == [b"From", b"om", b"", b""]
        with pytest.raises(StorageError, match="damaged"):
            served.read()
        served.close()


def test_a_wrong_checksum_is_damage(caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(gzip.compress(SMALL_MAIL))
    data[-8] ^= 1
    with file_of(bytes(data)) as fd:
        found = measured(fd)
        assert found.disk >= len(SMALL_MAIL) - 1  # the last octet comes out together with the error
        assert found.damage == "gzip: Error -3 while decompressing data: incorrect data check"
        served = FileContent(fd, -1, -1, None, Unpacking(label=b"1.M2.host"))
        assert served.header() == b"From: a@example.org\r\nSubject: one\r\n\r\n"
        with pytest.raises(StorageError, match="check"):
            served.check()
        assert caplog.text.count("1.M2.host") == 1
        served.close()


@every_kind
def test_octets_without_sense_are_damage_and_no_mail(pack: Callable[[bytes], bytes]) -> None:
    rest = random.Random(1).randbytes(3000)
    with file_of(pack(SMALL_MAIL)[: 10 if pack is not zstd.compress else 6] + rest) as fd:
        assert measured(fd).is_compressed and measured(fd).damage
        served = FileContent(fd)
        for reading in (served.read, served.header, served.check):
            with pytest.raises(StorageError) as raised:
                reading()
            assert raised.value.reason is Reason.CORRUPT
        served.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x08Subject: odd\n\nbut plain\n",
        b"BZh91AY&SY is what this text begins with\n",
        b"\x28\xb5\x2f\xfdfour strange octets\n",
        b"P*M\x18\xff\xff\xff\xff skip more than there is\n",
        b"\xfd7zXZ\0\n\nnothing of that kind\n",
        b"\x28\xb5\x2f\xfd" + b"a line\n" * 40_000,
        b"\x28\xb5\x2f\xfdGr\xc3\xbc\xc3\x9fe aus M\xc3\xbcnchen, mit Text genug dahinter\n",
    ],
)
def test_a_file_that_only_begins_like_one_is_served_as_it_is(data: bytes) -> None:
    with file_of(data) as fd:
        assert measured(fd) == Measured(len(data), len(to_crlf(data)))
        for claims in ((), (len(to_crlf(data)), len(data))):
            served = FileContent(os.dup(fd), *claims)
            served.check()
            assert not served.is_compressed
            assert (served.size, served.read()) == (len(to_crlf(data)), to_crlf(data))
            served.close()
        os.close(fd)


@every_kind
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_damage_gives_octets_or_a_refusal(pack: Callable[[bytes], bytes], data: st.DataObject) -> None:
    octets = bytearray(pack(SMALL_MAIL * 20))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with file_of(bytes(octets[: data.draw(st.integers(0, len(octets)))])) as fd:
        found = measured(fd)
        served = FileContent(fd)
        assert served.size == found.crlf
        try:
            assert len(served.read()) == found.crlf
            served.check()
        except StorageError as error:
            assert error.reason is Reason.CORRUPT and found.damage
        served.close()


def test_wrong_claims_are_put_right(caplog: pytest.LogCaptureFixture) -> None:
    sent = to_crlf(LARGE_MAIL)
    for crlf, disk in ((1200, 1000), (len(sent) + 9, len(LARGE_MAIL) + 5), (len(sent), 3), (5, len(LARGE_MAIL))):
        with file_of(gzip.compress(LARGE_MAIL)) as fd:
            served = FileContent(fd, crlf, disk)
            assert served.read() == sent
            assert served.size == len(sent)
            assert served.read(600_000, 600_010) == sent[600_000:600_010]
            served.close()


def test_a_slice_in_which_claims_turn_out_to_be_wrong_is_whole() -> None:
    """There are more octets than the name tells, and fewer line ends."""
    data = b"Subject: x\n\n" + (b"y" * 999 + b"\n") * 1000
    with file_of(gzip.compress(data)) as fd:
        served = FileContent(fd, 400_000, 200_000)
        assert served.read(0, 390_000) == to_crlf(data)[:390_000]
        served.close()


def test_with_claims_the_header_costs_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[int] = []
    grow = Unpacked.grow

    def noting(self: Unpacked, until: int) -> None:
        grow(self, until)
        grown.append(self.octets)

    monkeypatch.setattr(Unpacked, "grow", noting)
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        served = FileContent(fd, len(to_crlf(LARGE_MAIL)), len(LARGE_MAIL))
        assert served.header() == b"Subject: large\r\nX: y\r\n\r\n"
        assert 0 < max(grown) <= compressed.PIECE
        served.close()


def test_a_plain_mail_is_not_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at is in the octets that are read anyway; with both claims nothing is read at first."""
    reads: list[tuple[int, int]] = []
    pread = os.pread

    def noting(fd: int, length: int, offset: int) -> bytes:
        reads.append((offset, length))
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", noting)
    with file_of(SMALL_MAIL) as fd:
        served = FileContent(fd, len(to_crlf(SMALL_MAIL)), len(SMALL_MAIL))
        assert reads == []
        served.read()
        served.read(3, 9)
        assert reads == [(0, len(SMALL_MAIL))]
        served.close()
    reads.clear()
    with file_of(SMALL_MAIL) as fd:
        served = FileContent(fd, len(to_crlf(SMALL_MAIL)), len(SMALL_MAIL))
        served.header()
        assert reads[0] == (0, content.FIRST)
        assert len(reads) == 2 and reads[1][0] == len(SMALL_MAIL)  # where the end of the file is seen
        served.close()


# Bombs


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "zstd"])
def test_a_bomb_costs_bounded_memory_and_time(kind: str) -> None:
    data = PACKERS[kind](bytes(100_000_000))
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with file_of(data) as fd:
            assert measured(fd, largest=40_000_000).disk <= 40_000_000
            served = FileContent(fd, -1, -1, None, Unpacking(largest=40_000_000))
            assert served.read(0, 100) == bytes(100)
            for reading in (served.read, served.check):
                with pytest.raises(StorageError) as raised:
                    reading()
                assert raised.value.reason is Reason.LIMIT
            served.close()
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 20


def test_what_the_name_claims_raises_the_limit() -> None:
    sent = to_crlf(LARGE_MAIL)
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        assert measured(fd, -1, 100_000).damage and not measured(fd, len(LARGE_MAIL), 100_000).damage
        served = FileContent(fd, len(sent), len(LARGE_MAIL), None, Unpacking(largest=100_000))
        assert served.read() == sent
        served.close()


# The pool, and what is kept


def test_long_work_goes_to_the_pool_and_short_work_does_not() -> None:
    handed: list[int] = []

    def offload(function: Callable[..., object], *args: int) -> object:
        handed.append(args[0])
        return function(*args)

    for pack, mail, expected in (
        (gzip.compress, SMALL_MAIL, False),
        (zstd.compress, SMALL_MAIL, False),
        (bz2.compress, SMALL_MAIL, True),  # a block of it takes milliseconds
        (gzip.compress, LARGE_MAIL, True),
    ):
        handed.clear()
        with file_of(pack(mail)) as fd:
            served = FileContent(fd, -1, -1, None, Unpacking(offload))
            served.read()
            served.close()
        assert bool(handed) is expected


def test_slices_in_a_row_cost_the_whole_once() -> None:
    kept, works = Kept(), []

    def offload(function: Callable[..., object], *args: int) -> object:
        works.append(args)
        return function(*args)

    sent = to_crlf(LARGE_MAIL)
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        found = b""
        for start in range(0, len(sent), 50_000):
            served = FileContent(os.dup(fd), len(sent), len(LARGE_MAIL), None, Unpacking(offload, kept))
            found += served.read(start, start + 50_000)
            served.close()
        os.close(fd)
    assert found == sent
    assert len(works) <= 2
    kept.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_kept_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    now = [0.0]
    kept = Kept(lambda: now[0])
    sent = to_crlf(LARGE_MAIL)

    def visit() -> None:
        with file_of(gzip.compress(LARGE_MAIL)) as fd:
            served = FileContent(fd, -1, -1, None, Unpacking(kept=kept))
            assert served.read(5, 70_000) == sent[5:70_000]
            served.close()

    for _ in range(12):
        visit()
    assert 0 < descriptors() - before <= unpacked._MOST
    now[0] = 1000.0
    visit()
    assert descriptors() - before == 1
    monkeypatch.setattr(unpacked, "_MOST_OCTETS", 1000)
    visit()
    assert descriptors() - before == 1
    kept.close()
    assert descriptors() == before


def test_small_and_damaged_ones_are_not_kept() -> None:
    before = descriptors()
    kept = Kept()
    noise = os.urandom(300_000)
    for data in (gzip.compress(SMALL_MAIL), gzip.compress(noise)[:-20], gzip.compress(LARGE_MAIL)[:9], SMALL_MAIL):
        with file_of(data) as fd:
            served = FileContent(fd, -1, -1, None, Unpacking(kept=kept))
            served.header()
            served.close()
    assert descriptors() == before


def test_two_who_read_one_message_do_not_share_what_is_unpacked() -> None:
    kept = Kept()
    sent = to_crlf(LARGE_MAIL)
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        pair = [FileContent(os.dup(fd), -1, -1, None, Unpacking(kept=kept)) for _ in range(2)]
        for start in range(0, len(sent), 100_000):
            for served in pair:
                assert served.read(start, start + 100_000) == sent[start : start + 100_000]
        for served in pair:
            served.close()
        again = FileContent(fd, -1, -1, None, Unpacking(kept=kept))
        assert again.read() == sent
        again.close()
    kept.close()


def test_no_room_to_unpack_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        served = FileContent(fd, len(to_crlf(LARGE_MAIL)), len(LARGE_MAIL))
        assert served.header() == b"Subject: large\r\nX: y\r\n\r\n"
        with pytest.raises(StorageError, match="No space") as raised:
            served.read()
        assert raised.value.reason is Reason.NO_SPACE
        served.close()


def test_closing_while_a_thread_unpacks_waits_for_it_with_the_file() -> None:
    kind = kind_of(gzip.compress(LARGE_MAIL))
    assert kind is not None
    before = descriptors()
    with file_of(gzip.compress(LARGE_MAIL)) as fd:
        busy = Unpacked(fd, kind, 1 << 28)
        busy.grow(70_000)
        with busy._busy:
            busy.close()
            os.fstat(fd)  # still open
        busy.grow(80_000)  # the thread's work ends
    assert descriptors() == before


def test_zlib_keeps_what_it_was_given_too_much() -> None:
    """Many octets out of few: nothing is lost between two pieces."""
    mail = bytes(1_000_000)
    assert unpack(gzip.compress(mail)) == mail
    assert unpack(gzip.compress(mail, 1) + gzip.compress(b"end")) == mail + b"end"
    raw = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(raw.compress(b"ab" * 50_000) + raw.flush(zlib.Z_SYNC_FLUSH) for _ in range(20)) + raw.flush()
    assert unpack(data) == b"ab" * 1_000_000
