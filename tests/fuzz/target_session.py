"""Whole sessions over a store in memory: whatever a client says is answered by the grammar, and nothing is a bug.

The first octet says what comes before, the second how the octets arrive; those behind are the client's. A 0x02 passes
the word on to a second client in the same mailbox, and 0x03 lets a minute go by.
"""

import logging
import re
from dataclasses import replace

from harness.engine import PASSWORD, USER, Engine, memory_backend, serving
from harness.green import Scheduler
from harness.response_grammar import responses
from harness.wire import MemoryWire

from greenmail.auth.api import Attempt, User
from greenmail.auth.passage import HandOver, Passage
from greenmail.errors import Refused
from greenmail.imap.session import Session
from greenmail.runtime import Wire

logging.disable(logging.CRITICAL)

CLIENT = 192  # octets of one piece, when they come in pieces
FLOWS = (b"COMPRESS", b"IDLE", b"NOTIFY", b"STARTTLS", b"LOGIN", b"AUTHENTICATE")  # where the cuts may matter
# Names of mailboxes and tokens; and what is told when somebody has looked, which depends on the clock.
RANDOM = re.compile(rb"[0-9a-f]{24,}|\* OK \[PERMANENTFLAGS [^\r]*\r\n")
SAYS_UTF8 = (b"ENABLE", b"LANGUAGE", b"UTF8")


class Broken(Exception):
    """A bug, put there on purpose."""


def _breaking(engine: Engine) -> None:
    """The user `bug` meets one at the login, `sick` later."""
    check = engine.users.check

    def wrong(attempt: Attempt) -> object:
        if attempt.login == "bug":
            raise Broken
        return check(attempt)

    engine.users.check = wrong  # type: ignore[method-assign,assignment]  # what is tried is that this goes wrong
    engine.users.passwords["full"] = PASSWORD


class Carrying:
    """Takes some sessions on to another process, which is another session here."""

    def __init__(self) -> None:
        self.rest = b""
        self.passages: list[Passage] = []

    def must_carry(self, user: User) -> bool:
        return True

    def carry(self, wire: Wire, passage: Passage) -> HandOver:
        if passage.tag.startswith("full"):
            raise Refused("no process can take it now", "UNAVAILABLE")
        self.passages.append(Passage.decode(passage.encode()))
        return HandOver(self._go)

    def _go(self, rest: bytes) -> None:
        self.rest = rest


def _settings(mode: int) -> dict[str, object]:
    if mode & 64:
        return {"max_bad_commands": 3, "literal_minus": True, "max_commands_per_minute": 2, "condstore": False}
    return {"max_bad_commands": 100, "utf8_accept": bool(mode & 32), "url_hosts": ("localhost",)}


def run(mode: int, data: bytes, piece: int) -> tuple[bytes, Engine]:
    """What a client, or two, is told."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler), max_request_size=10_000, **_settings(mode))
    _breaking(engine)
    engine.fill("INBOX", 2)
    kind = mode & 7
    carrier = Carrying()
    if kind in (0, 2):
        first = engine.connect(secure=kind == 0)
    elif kind == 1:
        engine.services = replace(engine.services, carrier=carrier)
        first = engine.connect()
    elif kind == 3:
        first = _arrived(engine, scheduler, data[:1] == b"?")
    else:
        first = engine.select()
    second = engine.select() if kind == 5 else first
    said = {first: bytearray(), second: bytearray()}
    wires = [first, second]
    for turn in data.split(b"\2"):
        for number, words in enumerate(turn.split(b"\3")):
            if number:
                scheduler.clock.advance(60.0 if kind != 6 else 1801.0)
            for at in range(0, len(words), piece):
                said[wires[0]] += engine.talk(wires[0], words[at : at + piece])
            said[wires[0]] += engine.talk(wires[0], b"")
        wires.reverse()
    if kind == 7:
        first.refuses_writes = True
        engine.talk(first, b"z NOOP\r\n")
    for wire in (first, second):
        wire.hang_up()
        said[wire] += engine.talk(wire, b"")
    if carrier.passages:
        said[first] += _carried_on(engine, scheduler, carrier, first)
    assert all(session.account is None for session in engine.sessions), "an account was not given back"
    assert not engine.seats.entries, "a seat was not given back"
    for text in (bytes(said[first]), bytes(said[second])):
        _grammar(mode, data, text)
    return bytes(said[first]) + bytes(said[second] if second is not first else b""), engine


def _arrived(engine: Engine, scheduler: Scheduler, nobody: bool) -> MemoryWire:
    """A session that has logged in elsewhere."""
    wire = MemoryWire(scheduler)
    passage = Passage("imap", "s9", User("nobody" if nobody else USER), "PLAIN", "in", "", "de" if nobody else "en")
    if nobody:
        engine.seats.most = 0
    session = Session(wire, engine.services, "s9")
    engine.sessions.append(session)
    scheduler.spawn(serving(session, wire, passage))
    return wire


def _carried_on(engine: Engine, scheduler: Scheduler, carrier: Carrying, old: MemoryWire) -> bytes:
    """What the other process answers."""
    wire = MemoryWire(scheduler)
    session = Session(wire, engine.services, "s8")
    engine.sessions.append(session)
    scheduler.spawn(serving(session, wire, carrier.passages[0]))
    wire.feed(carrier.rest)
    wire.hang_up()
    scheduler.run()
    return wire.take()


def _grammar(mode: int, data: bytes, said: bytes) -> None:
    upper = data.upper()
    assert b"SERVERBUG" not in said or b"bug" in data or b"AUTHENTICATE" in upper, said[-2000:]
    if b"COMPRESS" in upper:
        return
    assert not said or said.endswith(b"\r\n"), said
    responses(said, utf8=mode & 7 == 3 or any(word in upper for word in SAYS_UTF8))


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    mode, pieces, words = data[0], data[1], data[2:]
    said, _ = run(mode, words, len(words))
    upper = words.upper()
    if pieces & 1 and mode & 7 != 7 and b"\3" not in words and not any(word in upper for word in FLOWS):
        again, _ = run(mode, words, pieces % CLIENT + 1)
        assert RANDOM.sub(b"", again) == RANDOM.sub(b"", said), "the cuts make a difference"
