"""UNAUTHENTICATE, RFC 8437: what becomes of it when something of the user's cannot be given back."""

import logging

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler


@pytest.fixture
def engine() -> Engine:
    scheduler = Scheduler()
    return Engine(scheduler, memory_backend(scheduler))


def test_it_is_never_no(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 8437 3: NO is not permitted; the server may say BYE and close."""
    wire = engine.login()
    engine.seats.entries.clear()  # so the seat cannot be given back
    answer = engine.talk(wire, b"u UNAUTHENTICATE\r\nl LOGIN alice secret\r\n")
    assert answer.startswith(b"* BYE ")
    assert b"u NO" not in answer and b"\r\nl " not in answer
    assert wire.closed
    assert [record.levelno for record in caplog.records if "bug" in record.message] == [logging.ERROR]


def test_it_is_bad_for_nobody(engine: Engine) -> None:
    assert b"\r\nu BAD " in engine.talk(engine.connect(), b"u UNAUTHENTICATE\r\n")
