"""APPEND of a literal8, RFC 3516, where there is no room to keep it aside."""

import tempfile
from pathlib import Path

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler

MESSAGE = b"Content-Transfer-Encoding: binary\r\n\r\n" + b"\0" * 600_000


@pytest.mark.parametrize("size", [len(MESSAGE), 100_000])
def test_no_place_for_what_is_kept_aside_is_no(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fits into memory needs no place; of the other nothing stays, and the connection goes on."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    wire = engine.login()
    answer = engine.talk(wire, b"a APPEND INBOX ~{%d+}\r\n%b\r\nb NOOP\r\n" % (size, MESSAGE[:size]))
    expected = b"a OK [APPENDUID " if size < 200_000 else b"a NO [UNAVAILABLE] "
    assert answer.startswith(expected) and b"\r\nb OK " in answer
    assert not [record for record in caplog.records if "bug" in record.message]
