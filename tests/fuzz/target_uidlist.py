"""A `dovecot-uidlist`: any octets give records in order, and what is written from them reads as the same, undamaged.

A file of many lines is read another way than one of few, and its records are kept otherwise: here few are many, too.
"""

import contextlib
import itertools
from collections.abc import Iterator

from greenmail.storage import uidlist_format, uidlist_records
from greenmail.storage.uidlist_format import (
    LARGEST_UID,
    VERSION,
    Parsed,
    check_base,
    find,
    format_fields,
    parse,
    parse_fields,
    parse_header,
)
from greenmail.storage.uidlist_records import Record, Records, line_of


@contextlib.contextmanager
def few_are_many(young: int, block: int, piece: int) -> Iterator[None]:
    """As if a file were long."""
    records, lists = uidlist_records, uidlist_format
    before = records.YOUNG, lists.YOUNG, records.BLOCK, lists._SLICE, records._PARTS, records._SLICE
    records.YOUNG = lists.YOUNG = young
    records.BLOCK, lists._SLICE, records._PARTS, records._SLICE = block, piece, 4, 5
    try:
        yield
    finally:
        records.YOUNG, lists.YOUNG, records.BLOCK, lists._SLICE, records._PARTS, records._SLICE = before


def check(data: bytes) -> None:
    for octets in (data, b"3 V1 N9 G%b\n" % (b"0" * 32) + data):
        parsed = parse(octets)
        records = _in_order(parsed)
        _written(records)
        if not parsed.damage and parsed.header.version == VERSION:
            _searched(octets, parsed)
        # Reading on is as reading at once: a line that was cut is one line and no other.
        cut = parse(octets[: len(octets) // 2])
        assert cut.lines <= parsed.lines + 1
        for young, block, piece in ((0, 1, 1), (1, 3, 40)):
            with few_are_many(young, block, piece):
                long = parse(octets)
                assert list(long.uids.records()) == records
                assert (long.header, long.highest, long.lines) == (parsed.header, parsed.highest, parsed.lines)
                assert long.damage == parsed.damage
                _as_dict(records, long.uids, data)
                _as_dict(records, Records.of(records), data[::-1])
    parse_header(data)
    with contextlib.suppress(ValueError):
        assert parse_fields(format_fields({data[:1]: data[1:20]})) == {data[:1]: data[1:20]}


def _searched(octets: bytes, parsed: Parsed) -> None:
    """Of a file that nobody has in memory: a name is found there as it is when all are read."""
    for name in [*itertools.islice(parsed.uids, 8), b"2,S", b"x", b"a", b"V1", *octets.split(b":")[:8]]:
        if name and not set(name) & set(b":/\r\n"):
            assert find(octets, name) == parsed.uids.get(name), name


def _in_order(parsed: Parsed) -> list[Record]:
    records = list(parsed.uids.records())
    uids = [uid for uid, _, _ in records]
    assert all(first < second for first, second in itertools.pairwise(uids))
    assert all(0 < uid <= LARGEST_UID for uid in uids)
    assert not uids or uids[-1] <= parsed.highest
    names = [name for _, _, name in records]
    assert len(set(names)) == len(names)
    for uid, raw, name in records:
        check_base(name)
        assert parsed.uids[name] == uid
        if raw:
            kept = parse_fields(raw)
            if len(kept) == len(raw.split(b" ")):
                assert format_fields(kept) == raw
    return records


def _written(records: list[Record]) -> None:
    head = b"3 V1 N%d G%b\n" % (LARGEST_UID, b"0" * 32)
    again = parse(head + b"".join(line_of(uid, raw, name) for uid, raw, name in records))
    assert not again.damage, again.damage
    assert list(again.uids.records()) == records


def _as_dict(records: list[Record], given: Records, ops: bytes) -> None:
    """Records are what a dict is, whatever is done to them."""
    uids: dict[bytes, int] = {name: uid for uid, _, name in records}
    fields = {uid: raw for uid, raw, _ in records}
    found = given.copy()
    for octet in ops[:12]:
        _change(found, uids, fields, octet)
        if octet % 5 == 0:
            _same(found, uids, fields)
    _same(found, uids, fields)
    assert list(given.records()) == records, "a copy is a copy"
    half = {name for name, uid in uids.items() if uid % 2}
    _same(found.only(half), {name: uid for name, uid in uids.items() if name in half}, fields)
    rest = [(uid, fields.get(uid, b""), name) for name, uid in uids.items() if name not in half]
    _same(found.only(half).with_others(rest[::-1]), uids, fields)
    assert found.memory() >= 0


def _change(found: Records, uids: dict[bytes, int], fields: dict[int, bytes], octet: int) -> None:
    names = list(uids)
    if octet % 3 == 0 and names:
        name = names[octet % len(names)]
        found.remove(name)
        found.remove(name)
        fields.pop(uids.pop(name), None)
    elif octet % 3 == 1 and names:
        uid = uids[names[octet % len(names)]]
        raw = b"W%d" % octet if octet & 8 else b""
        found.set_raw(uid, raw)
        fields[uid] = raw
    else:
        uid = max([found.highest, *uids.values()]) + 1
        if uid < LARGEST_UID:
            name = b"%d.new" % uid
            raw = b"S%d W%d" % (octet, octet) if octet & 16 else b""
            found.extend([name, name + b"x"], [uid, uid + 1], {name: raw} if raw else {})
            uids |= {name: uid, name + b"x": uid + 1}
            fields |= {uid: raw, uid + 1: b""}


def _same(found: Records, uids: dict[bytes, int], fields: dict[int, bytes]) -> None:
    assert len(found) == len(uids) and found == uids
    assert list(found) == list(uids) and list(found.values()) == list(uids.values())
    for name, uid in itertools.islice(uids.items(), 8):
        assert found[name] == uid and name in found and found.get(name) == uid
        assert found.raw(uid) == fields.get(uid, b"")
    assert found.get(b"not there") is None and b"not there" not in found and found.raw(LARGEST_UID + 1) == b""
    numbers = list(uids.values())
    may = dict(found.raw_with(numbers, b"W"))
    for uid in numbers:
        if (b" " + fields.get(uid, b"")).find(b" W") >= 0:
            assert may[uid] == fields[uid]
    rows = [(uid, name) for name, uid in uids.items()]
    assert list(found.missing(rows)) == []
    assert list(found.missing([*rows, (LARGEST_UID, b"more")])) == [(LARGEST_UID, b"more")]
    written = b"".join(found.lines())
    assert written == b"".join(line_of(uid, fields.get(uid, b""), name) for name, uid in uids.items())
    assert not found.has_twins()
