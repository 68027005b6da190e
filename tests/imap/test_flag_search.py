"""SEARCH for flags alone: the same as looking at each message, however many sets of flags there are."""

import pytest
from harness.engine import Engine, change_flags, deliver, memory_backend
from harness.green import Scheduler

from greenmail.imap import flag_search
from greenmail.imap.flag_search import flags_alone, holds
from greenmail.imap.search_key import AllKey, AndKey, FlagKey, Key, NotKey, OrKey, TextKey

SEEN, DRAFT = FlagKey("\\Seen"), FlagKey("\\Draft")


@pytest.mark.parametrize(
    "key, flags, expected",
    [
        (AllKey(), set(), True),
        (SEEN, {"\\Seen"}, True),
        (FlagKey("$forwarded"), {"$Forwarded"}, True),  # RFC 9051 2.3.2: flags are compared without case
        (SEEN, {"\\Draft"}, False),
        (NotKey(SEEN), {"\\Draft"}, True),
        (AndKey((SEEN, DRAFT)), {"\\Seen"}, False),
        (AndKey((SEEN, NotKey(DRAFT))), {"\\Seen"}, True),
        (OrKey((SEEN, DRAFT)), {"\\Draft"}, True),
        (OrKey((SEEN, DRAFT)), set(), False),
    ],
)
def test_holds(key: Key, flags: set[str], expected: bool) -> None:
    assert flags_alone(key)
    assert holds(key, frozenset(flag.casefold() for flag in flags)) is expected


def test_what_else_is_asked_is_not_about_flags() -> None:
    assert not flags_alone(AndKey((SEEN, NotKey(TextKey(b"word", False)))))


@pytest.mark.parametrize("count", [40, 600])  # sets of flags: of more than 256 an octet cannot tell
def test_found_as_flags_are(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_search, "BLOCK", 64)
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    outside = made.backend.outside
    deliver(outside, "INBOX", [(b"\r\n", 0)] * count)
    for uid in range(1, count + 1):
        change_flags(outside, "INBOX", [uid], "+flags", frozenset({f"k{uid}", "\\Seen" if uid % 3 else "\\Draft"}))
    wire = made.select()
    unseen = b" ".join(b"%d" % uid for uid in range(3, count + 1, 3))
    assert made.talk(wire, b"a SEARCH UNSEEN\r\n") == b"* SEARCH %b\r\na OK SEARCH completed\r\n" % unseen
    assert made.talk(wire, b"a SEARCH KEYWORD k33 DRAFT\r\n").startswith(b"* SEARCH 33\r\n")
    # One is expunged, and only another session has been told.
    change_flags(outside, "INBOX", [6], "+flags", frozenset({"\\Deleted"}))
    outside.open("INBOX").expunge([6])
    assert made.talk(wire, b"a SEARCH UNSEEN\r\n").startswith(b"* SEARCH 3 9 12 ")  # EXPUNGE has to wait
    assert made.talk(wire, b"a UID SEARCH UNSEEN\r\n").startswith(b"* SEARCH 3 9 12 ")
    assert made.talk(wire, b"a SEARCH UNSEEN\r\n").startswith(b"* SEARCH 3 8 11 ")
    assert made.talk(wire, b"a SEARCH RETURN (SAVE COUNT) UNSEEN\r\n").startswith(b"* ESEARCH ")
    assert made.talk(wire, b"a UID FETCH $ (UID)\r\n").count(b"FETCH (") == count // 3 - 1


@pytest.mark.interpreted
def test_what_was_found_before_is_answered_in_the_same_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is the same; and numbers are not UIDs."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    outside = made.backend.outside
    deliver(outside, "INBOX", [(b"\r\n", 0)] * 6)
    change_flags(outside, "INBOX", [1, 3, 4], "+flags", frozenset({"\\Seen"}))
    outside.open("INBOX").expunge([1], flagged=False)
    wire, other = made.select(), made.select()
    made_anew: list[int] = []
    response = flag_search.search_response
    monkeypatch.setattr(flag_search, "search_response", lambda found: made_anew.append(1) or response(found))
    for asked in (wire, other, wire):
        assert made.talk(asked, b"a SEARCH UNSEEN\r\n").startswith(b"* SEARCH 1 4 5\r\n")
        assert made.talk(asked, b"a UID SEARCH UNSEEN\r\n").startswith(b"* SEARCH 2 5 6\r\n")
        assert made.talk(asked, b"a SEARCH SEEN\r\n").startswith(b"* SEARCH 2 3\r\n")
    assert len(made_anew) == 3
    change_flags(outside, "INBOX", [5], "+flags", frozenset({"\\Seen"}))
    assert made.talk(wire, b"a SEARCH UNSEEN\r\n").startswith(b"* SEARCH 1 5\r\n")
    change_flags(outside, "INBOX", [5], "-flags", frozenset({"\\Seen"}))
    outside.open("INBOX").expunge([2], flagged=False)
    assert made.talk(wire, b"a NOOP\r\n").startswith(b"* 1 EXPUNGE\r\n")
    assert made.talk(wire, b"a SEARCH UNSEEN\r\n").startswith(b"* SEARCH 3 4\r\n")
    assert made.talk(wire, b"a UID SEARCH UNSEEN\r\n").startswith(b"* SEARCH 5 6\r\n")
