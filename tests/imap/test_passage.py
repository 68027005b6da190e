"""A session that goes on in another process, `auth.passage`: what was said before the login holds there."""

import json

import pytest
from harness.engine import PASSWORD, USER, Engine, memory_backend, serving
from harness.green import Scheduler
from harness.wire import MemoryWire

from greenmail.auth.api import User
from greenmail.auth.passage import HandOver, Passage
from greenmail.imap.session import Session
from greenmail.runtime import Wire


class Carrying:
    """Carries every session on; where to, the test says."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []

    def must_carry(self, user: User) -> bool:
        return True

    def carry(self, wire: Wire, passage: Passage) -> HandOver:
        self.passages.append(Passage.decode(json.loads(json.dumps(passage.encode()))))
        return HandOver(lambda rest: None)


@pytest.mark.parametrize("asked, no", [("de", "Dieses Postfach gibt es nicht"), ("en", "There is no such mailbox.")])
def test_the_language_goes_along(asked: str, no: str) -> None:
    """RFC 5255 3.2: it holds until the client asks for another one."""
    carrier, scheduler = Carrying(), Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler), carrier=carrier)
    engine.talk(engine.connect(), f"a LANGUAGE {asked}\r\nb LOGIN {USER} {PASSWORD}\r\n".encode())
    wire = MemoryWire(scheduler, secure=True)
    session = Session(wire, engine.services, "s1")
    scheduler.spawn(serving(session, wire, carrier.passages[0]))
    scheduler.run()
    assert wire.take().startswith(b"b OK [CAPABILITY ")
    assert engine.talk(wire, b"c STATUS Nowhere (MESSAGES)\r\n") == f"c NO [NONEXISTENT] {no}\r\n".encode()
