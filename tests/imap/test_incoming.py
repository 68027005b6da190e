"""`imap.incoming`: messages made of literals and URLs are what the parts are, one after the other; or nothing stays."""

import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.engine import Engine, deliver, memory_backend
from harness.green import Scheduler
from harness.stores import maildir_maker
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.imap import incoming
from greenmail.imap.ext import catenate
from greenmail.storage.api import Account

SOURCES = [b"Subject: %d\r\n\r\nbody of %d\r\n" % (number, number) for number in range(1, 4)]
BAD = b"/INBOX/;UID=9"


@dataclass(frozen=True)
class Part:
    """A cat-part: what is sent, and what it stands for."""

    sent: bytes
    octets: bytes
    is_bad: bool = False


def literal(octets: bytes, synchronizing: bool) -> bytes:
    return b"{%d%b}\r\n%b" % (len(octets), b"" if synchronizing else b"+", octets)


def text_part(octets: bytes, synchronizing: bool) -> Part:
    return Part(b"TEXT " + literal(octets, synchronizing), octets)


def url_part(uid: int, how: int) -> Part:
    url = b"/INBOX/;UID=%d" % uid
    sent = [url, b'"%b"' % url, literal(url, True), literal(url, False)][how]
    return Part(b"URL " + sent, SOURCES[uid - 1] if uid <= len(SOURCES) else b"", uid > len(SOURCES))


TEXTS = st.builds(text_part, st.sampled_from([b"", b"x", b"line\r\n", b"\r\n--bound\r\n", b"y" * 3000]), st.booleans())
URLS = st.builds(url_part, st.sampled_from([1, 2, 3, 1, 2, 3, 1, 2, 3, 4]), st.integers(0, 3))
CATENATED = st.lists(TEXTS | URLS, min_size=1, max_size=6).map(
    lambda parts: Part(
        b"CATENATE (" + b" ".join(part.sent for part in parts) + b")",
        b"".join(part.octets for part in parts),
        any(part.is_bad for part in parts) or not any(part.octets for part in parts),
    )
)
PLAIN = st.builds(
    lambda octets, synchronizing: Part(literal(octets, synchronizing), octets, not octets),
    st.sampled_from([b"", b"Subject: plain\r\n\r\n", b"Subject: p\r\n\r\nq\r\n"]),
    st.booleans(),
)
MESSAGES = st.lists(CATENATED | PLAIN, min_size=1, max_size=4)


def contents(account: Account, name: str) -> list[bytes]:
    mailbox = account.open(name)
    found = []
    for uid in mailbox.table.uids:
        content = mailbox.content(uid)
        found.append(content.read())
        content.close()
    mailbox.close()
    return found


@settings(deadline=None)
@given(MESSAGES, st.booleans())
def test_parts_come_in_their_order_or_nothing_does(messages: list[Part], is_replace: bool) -> None:
    """Whatever is a literal, and however it is announced."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    outside = engine.backend.outside
    deliver(outside, "INBOX", [(source, 0) for source in SOURCES])
    outside.create("Sent")
    wire = engine.select()
    if is_replace:
        messages = messages[:1]
    head = b"a UID REPLACE 3 Sent " if is_replace else b"a APPEND Sent "
    answer = engine.talk(wire, head + b" ".join(message.sent for message in messages) + b"\r\n")
    expected = [message.octets for message in messages]
    if any(message.is_bad for message in messages):
        # What a client sends behind a synchronizing literal that was refused is commands to a server.
        assert b"a NO " in answer
        expected = []
    else:
        assert b"a OK " in answer
    assert contents(outside, "Sent") == expected


CUTS = [
    b'a APPEND Sent CATENATE (URL "/INBOX/;UID=1" URL ',
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1 TEXT {10+}\r\n12345",
    b"a APPEND Sent CATENATE (TEXT {3+}\r\n123 URL /INBOX/;UID=1 TEXT ~{3+}\r\n\0",
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1) CATENATE (TEXT {3}\r\n",
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1) {3+}\r\n",
    b"a APPEND Sent CATENATE (TEXT {1+}\r\na URL {13+}\r\n/INBOX",
]
REFUSED = [
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1 URL %b)\r\n" % BAD,
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1) CATENATE (URL %b)\r\n" % BAD,
    b"a APPEND Sent CATENATE (TEXT {1+}\r\na URL %b TEXT {1+}\r\nb)\r\n" % BAD,
    b"a APPEND Sent CATENATE (TEXT {1+}\r\na) CATENATE (URL /INBOX/;UID=1 URL %b TEXT {1+}\r\nb)\r\n" % BAD,
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1) CATENATE (URL %b) {1+}\r\nb\r\n" % BAD,
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1 TEXT {1+}\r\na junk\r\n",
    b"a APPEND Sent CATENATE (URL /INBOX/;UID=1 TEXT ~{1+}\r\n\0)\r\n",
    b"a UID REPLACE 1 Sent CATENATE (URL /INBOX/;UID=1 URL %b)\r\n" % BAD,
    b"a UID REPLACE 1 Sent CATENATE (URL /INBOX/;UID=1) CATENATE (TEXT {1+}\r\nb)\r\n",
]


@pytest.mark.parametrize("hangs_up", [True, False])
def test_nothing_is_left_in_tmp(hangs_up: bool, tmp_path: Path) -> None:
    """Neither of a client that is gone in the midst of it, nor of a command that was refused."""
    scheduler = Scheduler()
    engine = Engine(scheduler, maildir_maker(tmp_path)(scheduler))
    outside = engine.backend.outside
    deliver(outside, "INBOX", [(source, 0) for source in SOURCES])
    outside.create("Sent")
    for sent in CUTS if hangs_up else REFUSED:
        wire = engine.select()
        answer = engine.talk(wire, sent)
        if hangs_up:
            assert b"a " not in answer
            wire.hang_up()
            scheduler.run()
        else:
            assert b"a NO " in answer or b"a BAD " in answer, sent
        assert [*(tmp_path / "Maildir/.Sent").rglob("*.M*P*")] == [], sent
    assert contents(outside, "Sent") == []


def test_a_large_part_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Once it is known where the parts are, which any client asks for, they are copied piece by piece."""
    scheduler = Scheduler()
    engine = Engine(scheduler, maildir_maker(tmp_path)(scheduler))
    body = b"0123456789abcde\r\n" * 500_000
    mailbox = engine.backend.outside.open("INBOX")
    upload = mailbox.upload()
    for piece in (b"Subject: large\r\n\r\n", *(body[start : start + 65536] for start in range(0, len(body), 65536))):
        upload.write(piece)
    mailbox.save([upload])
    mailbox.close()
    wire = engine.select()
    engine.talk(wire, b"a FETCH 1 BODYSTRUCTURE\r\n")
    tracemalloc.start()
    try:
        answer = engine.talk(wire, b"b APPEND INBOX CATENATE (URL ;UID=1/;SECTION=HEADER URL ;UID=1/;SECTION=1)\r\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert b"b OK " in answer
    assert peak < len(body) / 4
    assert contents(engine.backend.outside, "INBOX")[1] == b"Subject: large\r\n\r\n" + body


def test_the_parts_of_a_command_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    deliver(engine.backend.outside, "INBOX", [(SOURCES[0], 0)])
    monkeypatch.setattr(incoming, "MAX_TOKENS", 10)
    wire = engine.login()
    for many, expected in ((8, b"a OK "), (9, b"a NO [LIMIT] ")):
        urls = b" ".join([b"URL /INBOX/;UID=1"] * many)
        assert engine.talk(wire, b"a APPEND INBOX CATENATE (%b)\r\n" % urls).startswith(expected)
        texts = b" ".join([b"TEXT {1+}\r\nx"] * many)
        assert engine.talk(wire, b"a APPEND INBOX CATENATE (%b)\r\n" % texts).startswith(expected)


def test_only_some_mailboxes_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of them a command names."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    monkeypatch.setattr(catenate, "KEPT_OPEN", 2)
    for number in range(7):
        engine.backend.outside.create(f"box{number}")
        deliver(engine.backend.outside, f"box{number}", [(b"%d\r\n" % number, 0)])
    wire = engine.login()
    order = [0, 1, 2, 0, 3, 3, 4, 5, 6, 5, 0]
    urls = b" ".join(b"URL /box%d/;UID=1" % number for number in order)
    assert b"a OK " in engine.talk(wire, b"a APPEND INBOX CATENATE (%b)\r\n" % urls)
    assert contents(engine.backend.outside, "INBOX") == [b"".join(b"%d\r\n" % number for number in order)]
