"""QRESYNC, RFC 7162 3.2, beyond the transcripts: restarts, long answers, NOMODSEQ, sets against their definition."""

import re
from pathlib import Path
from typing import Any

import pytest
from harness.engine import Engine, change_flags, remove
from harness.green import Scheduler
from harness.stores import STORES, maildir_maker
from harness.wire import MemoryWire
from hypothesis import example, given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.commands import fetch
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.qresync import _absent, _last_match, parse_known
from greenmail.imap.sequence_set import compact, ranges_of
from greenmail.imap.view import View

BOTH = pytest.mark.parametrize("store", STORES)


def made(store: str, tmp_path: Path, messages: int) -> Engine:
    engine = Engine(scheduler := Scheduler(), STORES[store](tmp_path)(scheduler))
    engine.fill("INBOX", messages)
    return engine


def enabled(engine: Engine, words: bytes = b"QRESYNC") -> MemoryWire:
    wire = engine.login()
    assert b"* ENABLED " + words in engine.talk(wire, b"e ENABLE " + words + b"\r\n")
    return wire


def state(answer: bytes) -> tuple[int, int]:
    """UIDVALIDITY and HIGHESTMODSEQ of an answer to SELECT."""
    found = [re.search(rb"\[%b (\d+)\]" % name, answer) for name in (b"UIDVALIDITY", b"HIGHESTMODSEQ")]
    assert all(found), answer
    return int(found[0][1]), int(found[1][1])


def resynchronized(engine: Engine, wire: MemoryWire, known: tuple[int, int], rest: bytes = b"") -> list[bytes]:
    """What SELECT (QRESYNC ...) tells beyond the mailbox itself."""
    answer = engine.talk(wire, b"q SELECT INBOX (QRESYNC (%d %d%b))\r\n" % (*known, rest))
    assert b"q OK" in answer, answer
    return [line for line in answer.split(b"\r\n") if b"VANISHED" in line or b"FETCH" in line]


def test_expunges_are_remembered_by_the_next_server(tmp_path: Path) -> None:
    """The history is in the index of the mailbox: a restart does not make it over-report."""
    engine = Engine(scheduler := Scheduler(), maildir_maker(tmp_path)(scheduler))
    engine.fill("INBOX", 6)
    wire = enabled(engine)
    known = state(engine.talk(wire, b"s SELECT INBOX\r\n"))
    engine.talk(wire, b"a UID STORE 1 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\n")
    later = state(engine.talk(wire, b"s SELECT INBOX\r\n"))
    engine.talk(wire, b"a UID STORE 3,5 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\nc LOGOUT\r\n")
    again = Engine(scheduler := Scheduler(), maildir_maker(tmp_path)(scheduler))
    assert resynchronized(again, enabled(again), known) == [b"* VANISHED (EARLIER) 1,3,5"]
    assert resynchronized(again, enabled(again), later) == [b"* VANISHED (EARLIER) 3,5"]


def test_without_the_index_everything_that_is_not_there_is_told(tmp_path: Path) -> None:
    engine = Engine(scheduler := Scheduler(), maildir_maker(tmp_path)(scheduler))
    engine.fill("INBOX", 6)
    wire = enabled(engine)
    engine.talk(wire, b"s SELECT INBOX\r\na UID STORE 1,2 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\n")
    known = state(engine.talk(wire, b"s SELECT INBOX\r\n"))
    engine.talk(wire, b"a UID STORE 5 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\nc LOGOUT\r\n")
    ours = [path for path in (tmp_path / "Maildir").iterdir() if path.is_file() and path.name.startswith("greenmail")]
    assert ours, "where is the index?"
    for path in ours:
        path.unlink()
    again = Engine(scheduler := Scheduler(), maildir_maker(tmp_path)(scheduler))
    lines = resynchronized(again, enabled(again), known)
    assert lines[0] == b"* VANISHED (EARLIER) 1:2,5"
    assert [line.split(b" MODSEQ")[0] for line in lines[1:]] == [
        b"* %d FETCH (UID %d FLAGS ()" % pair for pair in ((1, 3), (2, 4), (3, 6))
    ]
    assert resynchronized(again, enabled(again), known, b" 2:4")[0] == b"* VANISHED (EARLIER) 2"


@BOTH
def test_many_ranges_are_told_in_several_lines(store: str, tmp_path: Path) -> None:
    """2,600 messages, every other one goes: 1,300 ranges."""
    engine = made(store, tmp_path, 2600 if store == "memory" else 30)
    outside = engine.backend.outside
    wire = enabled(engine)
    known = state(engine.talk(wire, b"s SELECT INBOX\r\n"))
    mailbox = outside.open("INBOX")
    gone = list(mailbox.table.uids)[::2]
    remove(outside, "INBOX", gone)
    told = [line for line in engine.talk(wire, b"a NOOP\r\n").split(b"\r\n") if line.startswith(b"* VANISHED")]
    assert b",".join(line.split()[2] for line in told) == compact(gone)
    assert max(map(len, told)) < 20_000 and len(told) == (2 if store == "memory" else 1)
    lines = resynchronized(engine, enabled(engine), known)
    earlier = [line for line in lines if line.startswith(b"* VANISHED (EARLIER)")]
    assert b",".join(line.split()[3] for line in earlier) == compact(gone) and len(earlier) == len(told)


def test_a_mailbox_without_mod_sequences(tmp_path: Path) -> None:
    """RFC 7162 3.2.5.1, 3.2.10: the parameter is ignored, and EXPUNGE stays; UIDONLY has VANISHED there too."""
    engine = made("memory", tmp_path, 5)
    engine.backend.outside.open("INBOX").tracks_modseq = False
    wire = enabled(engine)
    answer = engine.talk(wire, b"q SELECT INBOX (QRESYNC (1704110400 1 1:9))\r\n")
    assert b"[NOMODSEQ]" in answer and b"VANISHED" not in answer and b"FETCH" not in answer and b"q OK" in answer
    remove(engine.backend.outside, "INBOX", [2])
    assert engine.talk(wire, b"a NOOP\r\n") == b"* 2 EXPUNGE\r\na OK NOOP completed\r\n"
    answer = engine.talk(wire, b"a STORE 1 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\n")
    assert answer.endswith(b"* 1 EXPUNGE\r\nb OK EXPUNGE completed\r\n")
    assert b"BAD" in engine.talk(wire, b"c UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\n")
    engine.talk(wire, b"d ENABLE UIDONLY\r\n")
    remove(engine.backend.outside, "INBOX", [3])
    assert engine.talk(wire, b"e NOOP\r\n").startswith(b"* VANISHED 3\r\n")


@pytest.mark.interpreted  # in the place of `View.__init__`
def test_what_comes_while_select_answers_is_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HIGHESTMODSEQ is of the moment at which the view was made: who loses the connection then has missed nothing."""
    engine = made("memory", tmp_path, 3)
    begin = View.__init__

    def disturbed(view: View, *args: Any, **options: Any) -> None:
        begin(view, *args, **options)
        change_flags(engine.backend.outside, "INBOX", [2], "+FLAGS", frozenset({"\\Seen"}))

    with monkeypatch.context() as patch:
        patch.setattr(View, "__init__", disturbed)
        known = state(engine.talk(enabled(engine), b"s EXAMINE INBOX\r\n"))
    lines = resynchronized(engine, enabled(engine), known)
    assert len(lines) == 1 and lines[0].startswith(b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent)")


@pytest.mark.parametrize("few", [0, 4096])
def test_changedsince_is_the_same_for_few_and_for_many(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By numbers, by UIDs, and by "$"; numbers that are not there are BAD."""
    monkeypatch.setattr(fetch, "FEW", few)
    engine = made("memory", tmp_path, 9)
    wire = enabled(engine)
    _, modseq = state(engine.talk(wire, b"s SELECT INBOX\r\n"))
    remove(engine.backend.outside, "INBOX", [1, 2])
    engine.talk(wire, b"n NOOP\r\nc UID SEARCH RETURN (SAVE) UID 4:6\r\n")
    change_flags(engine.backend.outside, "INBOX", [3, 5, 8], "+FLAGS", frozenset({"\\Seen"}))
    engine.talk(wire, b"n NOOP\r\n")
    for command, uids in (("FETCH 2:7", "5 8"), ("UID FETCH 1:5,9", "3 5"), ("FETCH $", "5"), ("UID FETCH 8:*", "8")):
        answer = engine.talk(wire, b"f %b UID (CHANGEDSINCE %d)\r\n" % (command.encode(), modseq))
        assert re.findall(rb"FETCH \(UID (\d+)", answer) == uids.encode().split() and b"f OK" in answer, answer
    assert engine.talk(wire, b"f FETCH 2:8 UID (CHANGEDSINCE %d)\r\n" % modseq).startswith(b"f BAD")


class FakeView:
    """What `_last_match` looks at."""

    def __init__(self, uids: list[int]) -> None:
        self.uids = uids


@pytest.mark.interpreted  # a view that is no `View`
@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 40), min_size=1, max_size=20), st.data())
@example({3, 6, 9, 12}, {1, 2, 4}, None)
def test_match_data_is_what_its_definition_says(uids: set[int], numbers: set[int], data: st.DataObject | None) -> None:
    """RFC 7162 3.2.5.2: the last pair whose UID has that number; ranges of the two sets may be cut anywhere."""
    known = (
        sorted(data.draw(st.sets(st.integers(1, 60), min_size=len(numbers), max_size=len(numbers))))
        if data is not None
        else [3, 6, 11]
    )
    there = sorted(uids)
    text = b" (7 8 1:9 (%b %b))" % (compact(sorted(numbers)), compact(known))
    cur = Cursor(text)
    value = parse_known(cur)
    cur.end()
    wanted = 0
    for number, uid in zip(sorted(numbers), known, strict=True):
        if number <= len(there) and there[number - 1] == uid:
            wanted = uid
    assert _last_match(FakeView(there), value.matches) == wanted
    assert value.uidvalidity == 7 and value.modseq == 8 and value.uids == [(1, 9)] and cur.numbers


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_what_is_absent(asked: set[int], there: set[int]) -> None:
    """RFC 7162 3.2.6: all of the set that are not in the mailbox."""
    found = list(_absent(ranges_of(sorted(asked)), sorted(there)))
    assert found == ranges_of(sorted(asked - there))


def test_sets_of_different_length_are_bad_whatever_their_size() -> None:
    """4,294,967,295 numbers cost nothing."""
    whole = b"1:4294967295"
    assert parse_known(Cursor(b" (1 1 (%b %b))" % (whole, whole))).matches == ((1, 4294967295, 1),)
    with pytest.raises(BadSyntax, match="as many"):
        parse_known(Cursor(b" (1 1 (%b 1:4294967294))" % whole))
