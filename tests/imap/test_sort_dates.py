"""SORT by date alone, and THREAD: wherever the date comes from, the order is the same."""

from pathlib import Path

import pytest
from harness.engine import Engine, deliver
from harness.green import Scheduler
from harness.stores import STORES

DATES = (
    b"Date: Fri, 5 Jan 2024 10:00:00 +0100",
    b"date : 2 Jan 2024 10:00 EST",
    b"Subject: without a date",
    b"Date: 3 Jan 2024\r\n\t10:00:00 +0000",
    b"Date: nonsense\r\nDate: 1 Jan 2024 10:00:00 +0000",
    b"X-Filler: %b\r\nDate: 4 Jan 2024 10:00:00 +0000" % (b"x" * 20_000),
    b"Date: Fri, 5 Jan 2024 10:00:00 +0200",
)
ARRIVED = 1_704_500_000  # behind all of them
ORDER = [2, 4, 6, 7, 1, 3, 5]
BEFORE = {
    "nothing": b"NOOP",
    "all keys": b"SORT (SUBJECT) UTF-8 ALL",
    "all keys of some": b"SORT (SUBJECT) UTF-8 2:4",
    "keys of another comparator": b"COMPARATOR i;octet\r\nb SORT (SUBJECT) UTF-8 ALL",
    "header fields": b"SEARCH FROM x",
    "header fields of some": b"FETCH 1,3,5 BODY.PEEK[HEADER.FIELDS (Date)]",
    "dates of some": b"SORT (DATE) UTF-8 2:3,7",
    "threads of some": b"THREAD REFS UTF-8 1:3",
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("store", STORES)
def test_the_order_does_not_depend_on_what_was_kept(tmp_path: Path, store: str, before: str) -> None:
    engine = Engine(scheduler := Scheduler(), STORES[store](tmp_path)(scheduler))
    mails = [(b"%b\r\n\r\nbody\r\n" % header, ARRIVED + place) for place, header in enumerate(DATES)]
    deliver(engine.backend.outside, "INBOX", mails)
    wire = engine.select()
    assert b" OK " in engine.talk(wire, b"a %b\r\n" % BEFORE[before])
    for criteria, order in ((b"DATE", ORDER), (b"REVERSE DATE", ORDER[::-1])):
        answer = engine.talk(wire, b"c SORT (%b) UTF-8 ALL\r\n" % criteria)
        assert b"* SORT %b\r\n" % b" ".join(b"%d" % number for number in order) in answer, answer
    # Nothing refers to anything: threads are sorted by date, which is that of arrival where there is none.
    answer = engine.talk(wire, b"d THREAD REFERENCES UTF-8 ALL\r\n")
    assert b"* THREAD %b\r\n" % b"".join(b"(%d)" % number for number in ORDER) in answer, answer
