"""A whole session over a store in memory: whatever a client says is answered, and nothing is a bug."""

from harness.engine import Engine, memory_backend
from harness.green import Scheduler


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler), max_bad_commands=100, max_request_size=10_000)
    engine.fill("INBOX", 2)
    wire = engine.connect() if data[0] & 1 else engine.select()
    said = engine.talk(wire, data[1:])
    assert b"SERVERBUG" not in said, said
    assert not said or b"COMPRESS" in data.upper() or said.endswith(b"\r\n"), said
