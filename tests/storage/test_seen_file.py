"""What a reader has seen of others' mailboxes, as it stands on disk."""

import errno
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import StorageError
from greenmail.runtime import direct
from greenmail.storage.filesystem import Files
from greenmail.storage.history import Range, ranges
from greenmail.storage.locks import Waiting
from greenmail.storage.seen_file import SeenFile, bridge, contains, difference, parse, render, union, without

UIDS = st.sets(st.integers(1, 60))
WAITING = Waiting(direct().sleep, direct().now, 5.0)


def expanded(some: list[Range]) -> set[int]:
    return {uid for first, last in some for uid in range(first, last + 1)}


@given(UIDS, UIDS)
def test_ranges_are_sets(a: set[int], b: set[int]) -> None:
    one, other = ranges(sorted(a)), ranges(sorted(b))
    assert expanded(union(one, other)) == a | b
    assert expanded(difference(one, other)) == a ^ b
    assert expanded(without(one, other)) == a - b
    assert {uid for uid in range(70) if contains(one, uid)} == a
    assert union(one, []) == one == difference(one, [])


@given(UIDS, UIDS)
def test_bridging_changes_nothing_about_messages(seen: set[int], live: set[int]) -> None:
    known = sorted(seen & live)
    found = bridge(ranges(known), sorted(live))
    assert expanded(found) & live == set(known)
    after = set(range(max(live, default=0) + 1, 70))
    assert not expanded(found) & after, "nobody knows what comes there"


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"1 1700000000\n1:412,415,420:500\n", (1700000000, [(1, 412), (415, 415), (420, 500)])),
        (b"1 7\n\n", (7, [])),
        (b"1 7\n1:3,4:9\n", (7, [(1, 9)])),  # neighbours are one
        (b"", None),
        (b"1 7\n", None),
        (b"2 7\n1\n", None),
        (b"1 7\n3,1\n", None),
        (b"1 7\n5:3\n", None),
        (b"1 7\n0:3\n", None),
        (b"1 7\n1:4294967296\n", None),
        (b"1 7\n1:\n", None),
        (b"1 7\n1\nmore", None),
        (b"1 0\n1\n", None),
    ],
)
def test_parse(data: bytes, expected: tuple[int, list[Range]] | None) -> None:
    assert parse(data) == expected


@given(st.integers(1, 0xFFFFFFFF), UIDS)
def test_what_is_written_is_read(uidvalidity: int, uids: set[int]) -> None:
    assert parse(render(uidvalidity, ranges(sorted(uids)))) == (uidvalidity, ranges(sorted(uids)))


@given(st.binary(max_size=40))
def test_any_octets_are_a_file_or_none(data: bytes) -> None:
    parse(b"1 7\n" + data)
    parse(data)


@pytest.fixture
def file(tmp_path: Path) -> SeenFile:
    return SeenFile(Files(), bytes(tmp_path / "greenmail-data"), "a" * 32, WAITING)


def test_changes_are_relative_to_the_disk(file: SeenFile) -> None:
    """Two workers: neither knows what the other wrote."""
    live = list(range(1, 10))
    file.change(7, [1, 2], [], live)
    file.change(7, [5], [], live)
    file.change(7, [], [1], live)
    assert file.read(7) == [(2, 2), (5, 5)]


def test_another_uidvalidity_is_another_mailbox(file: SeenFile) -> None:
    file.change(7, [1, 2], [], [1, 2])
    assert file.read(8) == []
    file.change(8, [2], [], [1, 2])
    assert file.read(8) == [(2, 2)]
    assert file.read(7) == []


def test_a_damaged_file_is_an_empty_one(file: SeenFile, tmp_path: Path) -> None:
    file.change(7, [1], [], [1])
    (tmp_path / "greenmail-data" / "seen" / ("a" * 32)).write_bytes(b"1 7\n1:")
    assert file.read(7) == []
    file.change(7, [3], [], [1, 3])
    assert file.read(7) == [(3, 3)]


def test_nothing_is_written_when_nothing_changes(file: SeenFile) -> None:
    file.change(7, [1], [], [1])
    before = file.stamp()
    file.change(7, [1], [2], [1])
    assert file.stamp() == before


def test_many_at_once_lose_nothing(file: SeenFile) -> None:
    live = list(range(1, 41))

    def mark(start: int) -> None:
        for uid in range(start, 41, 4):
            file.change(7, [uid], [], live)

    threads = [threading.Thread(target=mark, args=(start,)) for start in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read(7) == [(1, 40)]


def test_whatever_fails_the_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """Each system call of a change fails once: what was answered is there, and nobody is locked out afterwards."""
    tried = 0
    for last in range(200):
        home = tmp_path / str(last)
        home.mkdir()
        place = bytes(home / "greenmail-data"), "a" * 32
        if last % 2:
            SeenFile(Files(), *place, WAITING).change(7, [1], [], [1, 2])
        calls = itertools.count()

        def call(name: str, function: Callable[..., Any], *args: Any, last: int = last) -> Any:
            if next(calls) == last // 2:  # noqa: B023  # the counter of this round
                raise OSError(errno.EIO, "input/output error")
            return function(*args)

        old = [(1, 1)] if last % 2 else []
        new = [(1, 2)] if last % 2 else [(2, 2)]
        try:
            SeenFile(Files(call), *place, WAITING).change(7, [2], [], [1, 2])
            allowed = [new]
        except StorageError:
            tried += 1
            allowed = [old, new]
        assert SeenFile(Files(), *place, WAITING).read(7) in allowed
        SeenFile(Files(), *place, WAITING).change(7, [1, 2], [], [1, 2])
        assert SeenFile(Files(), *place, WAITING).read(7) == [(1, 2)]
        if next(calls) < last // 2:
            break
    assert tried > 20
