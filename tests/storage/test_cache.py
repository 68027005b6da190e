"""`greenmail.cache`: what anyone kept is found by all, damage costs only the damaged, old files are left."""

import itertools
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from greenmail.storage.api import CacheKind
from greenmail.storage.cache import HEADER, Cache, _whole_records, nothing, owner_of
from greenmail.storage.filesystem import Files, Ownership

ENVELOPE, PREVIEW = CacheKind.ENVELOPE, CacheKind.PREVIEW
OWNER = Ownership(0o600, 0o700, None)
MINE = owner_of("ab" * 16, 1)


def open_cache(tmp_path: Path, owner: bytes = MINE, breathe: Callable[[], None] = nothing) -> Cache:
    return Cache(Files(), os.fsencode(tmp_path / "greenmail.cache"), owner, OWNER, breathe=breathe)


def test_values_are_seen_by_all_that_have_the_file_open(tmp_path: Path) -> None:
    one, other = open_cache(tmp_path), open_cache(tmp_path)
    assert one.get(1, ENVELOPE) is None
    one.put(1, ENVELOPE, b"first")
    assert other.get(1, ENVELOPE) == one.get(1, ENVELOPE) == b"first"
    other.put(2, PREVIEW, b"")
    other.put(1, ENVELOPE, b"second")
    assert one.get(2, PREVIEW) == b"" and one.get(2, ENVELOPE) is None
    assert open_cache(tmp_path).get(1, ENVELOPE) == b"second"


def test_a_cache_of_another_mailbox_is_not_used(tmp_path: Path) -> None:
    open_cache(tmp_path).put(1, ENVELOPE, b"mine")
    other = open_cache(tmp_path, owner_of("ab" * 16, 2))
    assert other.get(1, ENVELOPE) is None
    other.put(1, ENVELOPE, b"other")
    assert open_cache(tmp_path).get(1, ENVELOPE) is None


def test_many_values_over_several_reads(tmp_path: Path) -> None:
    writer = open_cache(tmp_path)
    for uid in range(1, 300):
        writer.put(uid, ENVELOPE, b"%d" % uid * (uid * 10))
    found = open_cache(tmp_path)
    assert all(found.get(uid, ENVELOPE) == b"%d" % uid * (uid * 10) for uid in range(1, 300))


@pytest.mark.parametrize("more", [0, 1, 15, 16, 20])
def test_a_file_that_is_cut_off_while_it_is_scanned_ends_there(tmp_path: Path, more: int) -> None:
    """Who owns a mailbox may do that to its cache."""
    writer = open_cache(tmp_path)
    for uid in range(1, 300):
        writer.put(uid, ENVELOPE, b"x" * 1000)
    path = tmp_path / "greenmail.cache"
    fd = os.open(path, os.O_RDONLY)
    records = _whole_records(fd, HEADER, nothing)
    found = [next(records)]
    length = found[0][3]
    os.truncate(path, HEADER + 100 * length + more)
    found += records
    os.close(fd)
    assert [uid for uid, *_ in found] == list(range(1, 101))


def test_what_the_snapshot_saved_is_taken_over(tmp_path: Path) -> None:
    one = open_cache(tmp_path)
    for uid in (5, 3, 9):
        one.put(uid, ENVELOPE, b"%d" % uid)
        assert one.get(uid, ENVELOPE)
    generation, keys, places, scanned = one.saved()
    assert list(keys) == sorted(keys) and len(keys) == 3
    one.put(4, PREVIEW, b"later")
    other = open_cache(tmp_path)
    other.restore(generation, keys, places, scanned)
    assert other.get(3, ENVELOPE) == b"3" and other.get(4, PREVIEW) == b"later"
    foreign = open_cache(tmp_path)
    foreign.restore(b"\0" * 16, array("Q", [1]), array("Q", [40]), 40)
    assert foreign.get(9, ENVELOPE) == b"9"


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_record_cut_short_ends_what_can_be_found(tmp_path: Path, cut: int) -> None:
    writer = open_cache(tmp_path)
    writer.put(1, ENVELOPE, b"whole")
    writer.put(2, ENVELOPE, b"cut short")
    path = tmp_path / "greenmail.cache"
    path.write_bytes(path.read_bytes()[:-cut])
    found = open_cache(tmp_path)
    assert found.get(1, ENVELOPE) == b"whole" and found.get(2, ENVELOPE) is None


@pytest.mark.parametrize("order", ["ascending", "descending", "mixed"])
def test_many_values_are_read_at_once_wherever_they_are(tmp_path: Path, order: str) -> None:
    uids = sorted(
        range(1, 3000), key=lambda uid: {"ascending": uid, "descending": -uid, "mixed": uid * 7919 % 2999}[order]
    )
    writer = open_cache(tmp_path)
    for start in range(0, len(uids), 250):
        part = uids[start : start + 250]
        writer.put_many([(uid, kind, b"%d" % uid * 100) for uid in part for kind in (ENVELOPE, PREVIEW)])
    reader = open_cache(tmp_path)
    saved = open_cache(tmp_path)
    saved.restore(*writer.saved())
    wanted = [b"%d" % uid * 100 for uid in range(1, 3000)]
    for cache in (writer, reader, saved, saved):
        assert cache.get_many(range(1, 3000), ENVELOPE) == wanted
        assert cache.get_many((3, 500, 2999, 3000), PREVIEW) == [b"3" * 100, b"500" * 100, b"2999" * 100, None]
        assert cache.get_many((1, 2), CacheKind.BODY) == [None, None] and cache.get_many((), ENVELOPE) == []


def test_places_of_a_snapshot_are_not_believed(tmp_path: Path) -> None:
    """A power cut may leave the snapshot and take what it points at."""
    writer = open_cache(tmp_path)
    writer.put_many([(uid, ENVELOPE, b"value %d" % uid) for uid in range(1, 9)])
    path = tmp_path / "greenmail.cache"
    octets = bytearray(path.read_bytes())
    octets[-20:] = bytes(20)
    path.write_bytes(octets)
    found = open_cache(tmp_path)
    found.restore(*writer.saved())
    for _ in range(2):
        assert found.get_many(range(1, 9), ENVELOPE) == [b"value %d" % uid for uid in range(1, 8)] + [None]
    assert found.wants_rewrite(lambda uid: True)


def test_a_file_that_was_cut_off_gives_nothing_wrong(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.put_many([(uid, ENVELOPE, b"value %d" % uid) for uid in range(1, 9)])
    os.truncate(tmp_path / "greenmail.cache", 200)
    assert cache.get_many(range(1, 9), ENVELOPE) == [None] * 8


def test_damage_is_noticed_and_a_rewrite_keeps_the_rest(tmp_path: Path) -> None:
    writer = open_cache(tmp_path)
    for uid in range(1, 4):
        writer.put(uid, ENVELOPE, b"value %d" % uid)
    path = tmp_path / "greenmail.cache"
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    found = open_cache(tmp_path)
    assert [found.get(uid, ENVELOPE) for uid in (1, 2, 3)] == [b"value 1", b"value 2", None]
    assert found.wants_rewrite(lambda uid: True)
    found.rewrite(lambda uid: uid != 1)
    assert not found.wants_rewrite(lambda uid: True)
    assert [open_cache(tmp_path).get(uid, ENVELOPE) for uid in (1, 2, 3)] == [None, b"value 2", None]


def test_a_file_of_which_half_is_garbage_is_rewritten_and_others_follow(tmp_path: Path) -> None:
    writer, other = open_cache(tmp_path), open_cache(tmp_path)
    for uid in range(1, 101):
        writer.put(uid, ENVELOPE, b"x" * 1000)
    assert other.get(100, ENVELOPE)
    before = other.generation
    assert not writer.wants_rewrite(lambda uid: uid > 10)
    assert writer.wants_rewrite(lambda uid: uid > 60)
    writer.rewrite(lambda uid: uid > 60)
    assert (tmp_path / "greenmail.cache").stat().st_size < 50_000 and writer.get(61, ENVELOPE) == b"x" * 1000
    assert other.get(100, ENVELOPE) == b"x" * 1000  # from the old file, which is there as long as it is open
    writer.put(200, ENVELOPE, b"new")
    assert other.get(200, ENVELOPE) == b"new"
    assert other.generation != before


def test_removal_is_harmless(tmp_path: Path) -> None:
    one = open_cache(tmp_path)
    one.put(1, ENVELOPE, b"gone")
    os.unlink(tmp_path / "greenmail.cache")
    assert one.get(1, ENVELOPE) == b"gone"
    assert one.get(2, ENVELOPE) is None
    one.put(3, ENVELOPE, b"kept")
    assert open_cache(tmp_path).get(3, ENVELOPE) == b"kept"


def test_a_scan_lets_others_run_after_a_few_records_each(tmp_path: Path) -> None:
    """The steps are counted: who asks while many others wait holds them up for one step at most."""
    writer = open_cache(tmp_path)
    for start in range(1, 5001, 500):
        writer.put_many([(uid, ENVELOPE, b"%d" % uid) for uid in range(start, start + 500)])
    known: list[int] = [0]
    reader = open_cache(tmp_path, breathe=lambda: known.append(reader.memory() // 17))
    assert reader.get(5000, ENVELOPE) == b"5000"
    assert known[-1] == 5000 and len(known) > 10
    assert max(after - before for before, after in itertools.pairwise(known)) <= 256


def test_large_records_are_scanned_in_shorter_steps(tmp_path: Path) -> None:
    open_cache(tmp_path).put_many([(uid, ENVELOPE, b"x" * 400_000) for uid in range(1, 11)])
    steps: list[int] = []
    reader = open_cache(tmp_path, breathe=lambda: steps.append(1))
    assert reader.get(11, ENVELOPE) is None and reader.get(10, ENVELOPE) == b"x" * 400_000
    assert len(steps) == 4  # three in each, one in the last


@pytest.mark.parametrize("event", ["asked", "written", "rewritten", "closed", "removed"])
def test_what_happens_between_two_steps_of_a_scan(tmp_path: Path, event: str) -> None:
    writer = open_cache(tmp_path)
    writer.put_many([(uid, ENVELOPE, b"%d" % uid) for uid in range(1, 1001)])
    happened: list[object] = []

    def breathe() -> None:
        if happened:
            return
        happened.append(event)
        match event:
            case "asked":
                happened.append(reader.get_many((1, 700, 1001), ENVELOPE))
            case "written":
                reader.put(1001, ENVELOPE, b"1001")
            case "rewritten":
                reader.rewrite(lambda uid: uid > 500)
            case "closed":
                reader.close()
            case _:
                os.unlink(tmp_path / "greenmail.cache")

    reader = open_cache(tmp_path, breathe=breathe)
    found = reader.get_many((1, 1000, 1001), ENVELOPE)
    wanted = {"written": [b"1", b"1000", b"1001"], "rewritten": [None, b"1000", None], "closed": [None] * 3}
    assert found == wanted.get(event, [b"1", b"1000", None])
    assert happened[1:] in ([], [[b"1", b"700", None]])
    if event == "closed":
        assert reader.get_many((1, 1000, 1001), ENVELOPE) == [b"1", b"1000", None]


@pytest.mark.parametrize("event", ["asked", "written", "closed", "rewritten", "removed"])
@pytest.mark.parametrize("before", [True, False])
def test_others_may_do_anything_while_it_is_rewritten(tmp_path: Path, event: str, before: bool) -> None:
    """The file is replaced in the pool."""
    cache = open_cache(tmp_path)
    cache.put_many([(uid, ENVELOPE, b"%d" % uid) for uid in range(1, 9)])

    def happen() -> None:
        match event:
            case "asked":
                assert cache.get_many((3, 8), ENVELOPE) in ([b"3", b"8"], [None, b"8"])
            case "written":
                cache.put(9, ENVELOPE, b"9")
            case "closed":
                cache.close()
                assert cache.get(8, ENVELOPE) == b"8"
            case "rewritten":
                cache.rewrite(lambda uid: uid > 6)
            case _:
                os.unlink(tmp_path / "greenmail.cache")

    def pool(function: Callable[..., object], *args: object) -> object:
        if before:
            happen()
        done = function(*args)
        if not before:
            happen()
        return done

    descriptors = len(os.listdir("/proc/self/fd"))
    cache.rewrite(lambda uid: uid > 4, pool)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    known = cache.get_many((4, 5, 8, 9), ENVELOPE)
    if event == "removed" and not before:
        assert known == [None] * 4
    else:
        five = None if event == "rewritten" and not before else b"5"
        assert known[:3] == [None, five, b"8"]
        assert known[3] in (None, b"9")
    cache.put(10, ENVELOPE, b"10")
    assert open_cache(tmp_path).get(10, ENVELOPE) == b"10"


def test_keys_in_any_order_are_merged_with_the_last_value(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    expected: dict[int, bytes] = {}
    for turn in range(3):
        for uid in (number * 7919 % 2999 for number in range(1, 2999, 1 + turn)):
            expected[uid] = b"%d of %d" % (uid, turn)
            cache.put(uid, ENVELOPE, expected[uid])
    uids = sorted(expected)
    reader, saved = open_cache(tmp_path), open_cache(tmp_path)
    saved.restore(*cache.saved())
    for one in (cache, reader, saved):
        assert one.get_many(uids, ENVELOPE) == [expected[uid] for uid in uids]
        assert one.get_many(uids[100:200], ENVELOPE) == [expected[uid] for uid in uids[100:200]]


def test_how_much_is_of_no_use_is_known_without_reading(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    for _ in range(3):
        cache.put_many([(uid, ENVELOPE, b"x" * 1000) for uid in range(1, 101)])
    os.truncate(tmp_path / "greenmail.cache", 100)
    assert cache.wants_rewrite(lambda uid: True)  # two of three are replaced
    assert cache.get(5, ENVELOPE) is None


@pytest.mark.parametrize("replaced", [True, False])
def test_what_is_known_of_a_file_is_forgotten_with_it(tmp_path: Path, replaced: bool) -> None:
    """Another process has removed the file, or put an empty one in its place: nothing is read where something was."""
    reader = open_cache(tmp_path)
    reader.put_many([(uid, ENVELOPE, b"%d" % uid) for uid in (1, 3)])
    if replaced:
        open_cache(tmp_path).rewrite(lambda uid: False)
    else:
        os.unlink(tmp_path / "greenmail.cache")
    assert reader.get_many((1, 2, 3), ENVELOPE) == [None, None, None]
    assert not reader.wants_rewrite(lambda uid: True)  # it does not pass for a damaged one
