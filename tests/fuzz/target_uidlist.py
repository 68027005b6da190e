"""A `dovecot-uidlist`: any octets give records in order, and what is written from them reads as the same, undamaged."""

import itertools

from greenmail.storage import uidlist_format
from greenmail.storage.uidlist_format import LARGEST_UID, check_base, format_fields, parse, parse_fields
from greenmail.storage.uidlist_records import line_of


def check(data: bytes) -> None:
    parsed = parse(data)
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
    head = b"3 V%d N%d G%b\n" % (parsed.header.uidvalidity or 1, LARGEST_UID, b"0" * 32)
    again = parse(head + b"".join(line_of(uid, raw, name) for uid, raw, name in records))
    assert not again.damage, again.damage
    assert list(again.uids.records()) == records
    # Reading on is as reading at once: a line that was cut is one line and no other.
    cut = parse(data[: len(data) // 2])
    assert cut.lines <= parsed.lines + 1
    uidlist_format.parse_header(data)
