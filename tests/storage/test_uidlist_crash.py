"""Writers of the control files are stopped between any two system calls, and killed for real: checks 16, 17, 32, 33.

What must hold afterwards: the file can be read, every message that was in it has the UID it had, every UID that was
given out is there, no UID comes twice, and the next writer gets on without help.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

from greenmail.storage.filesystem import Files
from greenmail.storage.keywords import Keywords, OverflowKeywords
from greenmail.storage.locks import MailboxLock, Owner, Waiting
from greenmail.storage.uidlist import Uidlist
from greenmail.storage.uidlist_format import parse

GUID = b"513ef33294c3026bc318000074170df8"
START = b"3 V7 N21 G" + GUID + b"\n1 W5 :a\n3 :b\n"


class Stopped(BaseException):
    """The process ended here."""


class StopAt:
    """Ends the process before system call number `number`; `half` of a write is carried out first."""

    def __init__(self, number, half):
        self.left, self.half = number, half

    def __call__(self, name, function, *args):
        if self.left < 0:
            raise Stopped  # nothing runs any more: not even the clean-up on the way out
        self.left -= 1
        if self.left < 0:
            if name == "write" and self.half:
                function(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise Stopped
        return function(*args)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "dovecot-uidlist").write_bytes(START)
    return os.fsencode(tmp_path)


def reset(folder):
    with open(folder + b"/dovecot-uidlist", "wb") as file:
        file.write(START)
    for name in os.listdir(folder):
        if name not in (b"dovecot-uidlist", b"tmp"):
            os.unlink(folder + b"/" + name)


def append(uidlist):
    return {b"new1": 21, b"new2": 22} if uidlist.assign([b"new1", b"new2"]) == [21, 22] else {}


def rewrite(uidlist):
    uidlist.set_field(1, b"P", b"x")
    uidlist.rewrite()
    return {}


def reassign(uidlist):
    return {b"b": 21} if uidlist.assign([b"b"]) == [21] else {}


@pytest.mark.parametrize("change", [append, rewrite, reassign])
@pytest.mark.parametrize("half", [False, True])
def test_a_writer_that_stops_between_any_two_calls(folder, change, half):
    number = 0
    finished = False
    while not finished:
        reset(folder)
        promised = {}
        try:
            writer = Uidlist(Files(StopAt(number, half)), folder + b"/dovecot-uidlist")
            writer.refresh(locked=True)
            promised = change(writer)
            finished = True
        except Stopped:
            number += 1
        after = Uidlist(Files(), folder + b"/dovecot-uidlist")
        after.refresh(locked=True)
        assert after.uidvalidity == 7 and after.guid == GUID
        assert after.uids[b"a"] == 1 and after.uids[b"b"] in ((3, 21) if change is reassign else (3,))
        assert promised.items() <= dict(after.uids.items()).items()
        given = after.assign([b"later"])
        assert given[0] > max(uid for base, uid in after.uids.items() if base != b"later")
        parsed = parse(Files().read_file(folder + b"/dovecot-uidlist"))
        assert not parsed.damage and parsed.uids == after.uids and parsed.uids.raw(1).startswith(b"W5")
    assert number > 5


@pytest.mark.parametrize("half", [False, True])
def test_a_writer_of_keywords_that_stops(folder, half):
    number = 0
    finished = False
    while not finished:
        reset(folder)
        with open(folder + b"/dovecot-keywords", "wb") as file:
            file.write(b"0 old\n")
        try:
            Keywords(Files(StopAt(number, half)), folder + b"/dovecot-keywords").add(["new"])
            finished = True
        except Stopped:
            number += 1
        after = Keywords(Files(), folder + b"/dovecot-keywords")
        after.add(["later"])
        names = [after.names[letter] for letter in sorted(after.names)]
        assert names in (["old", "later"], ["old", "new", "later"])
        assert not finished or "new" in names
    assert number > 5


def test_a_writer_of_overflow_keywords_that_stops(tmp_path):
    number = 0
    finished = False
    while not finished:
        data = os.fsencode(tmp_path / f"greenmail-data-{number}")
        OverflowKeywords(Files(), data).change({b"a": ["x"]})
        try:
            OverflowKeywords(Files(StopAt(number, True)), data).change({b"a": ["y"], b"b": ["x"]})
            finished = True
        except Stopped:
            number += 1
        after = OverflowKeywords(Files(), data)
        after.refresh()
        both = after.of(b"a"), after.of(b"b")
        assert both in (({"x"}, frozenset()), ({"y"}, {"x"}))
        assert not finished or both[0] == {"y"}
        after.change({b"c": ["z"]})
        assert after.of(b"c") == {"z"}
    assert number > 5


WRITER = """
    import os, sys, time
    from greenmail.storage.filesystem import Files
    from greenmail.storage.locks import MailboxLock, Owner, Waiting
    from greenmail.storage.uidlist import Uidlist
    folder, first = os.fsencode(sys.argv[1]), int(sys.argv[2])
    lock = MailboxLock(Files(), folder, Owner.this_process("here"), Waiting(time.sleep, time.time, 5.0))
    uidlist = Uidlist(Files(), folder + b"/dovecot-uidlist")
    number = first
    while True:
        with lock:
            uidlist.refresh(locked=True)
            bases = [b"%d.x" % number, b"%d.y" % number]
            uids = uidlist.assign(bases)
            if number % 7 == 0:
                uidlist.rewrite()
        print(number, *uids, flush=True)
        number += 1
"""


@pytest.mark.parametrize("trials", [8, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_killed_at_any_moment_nothing_acknowledged_is_lost(folder, trials):
    """Check 32."""
    promised = {b"a": 1, b"b": 3}
    chance = random.Random(9)
    for trial in range(trials):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), os.fsdecode(folder), str(trial * 1_000_000)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout  # what is still in the pipe was acknowledged, too
        process.wait()
        process.stdout.close()
        for line in filter(lambda line: line.endswith(b"\n"), lines):
            number, x, y = line.split()
            promised |= {b"%b.x" % number: int(x), b"%b.y" % number: int(y)}
        with MailboxLock(Files(), folder, Owner.this_process("here"), Waiting(sleepless, lambda: 0.0, 0.0)):
            uidlist = Uidlist(Files(), folder + b"/dovecot-uidlist")
            uidlist.refresh(locked=True)
            assert promised.items() <= dict(uidlist.uids.items()).items()
            assert len(set(uidlist.uids.values())) == len(uidlist.uids)
            assert uidlist.next_uid > max(uidlist.uids.values())


def sleepless(seconds):
    raise AssertionError("the lock of a dead process is free at once")
