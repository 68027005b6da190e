"""Questions of the parent to its workers: who does not answer is waited for no longer than said."""

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenmail.net import asking
from greenmail.net.asking import Answers, Asking
from greenmail.net.requests import trace_file
from greenmail.transcript import MOST, Tap, Trace, Traces, Transcript


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Two workers' ends, and ours."""
    made = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    for ours, _ in made:
        ours.setblocking(False)
    yield made
    for pair in made:
        for end in pair:
            end.close()


def test_answers_in_parts_come_together(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    done: list[Answers] = []
    questions = Asking()
    questions.ask([(pid, ours) for pid, (ours, _) in enumerate(pairs, 1)], "who", {"words": ["a"]}, done.append)
    for _, theirs in pairs:
        assert json.loads(theirs.recv(1000)) == {"op": "ask", "n": 1, "what": "who", "with": {"words": ["a"]}}
    questions.told(1, {"n": 1, "items": ["x"]})
    questions.told(2, {"n": 1, "items": ["y"], "end": True})
    questions.told(2, {"n": 1, "items": ["late"], "end": True})
    questions.told(3, {"n": 1, "items": ["stranger"], "end": True})
    assert done == []
    questions.told(1, {"n": 1, "items": ["z"], "end": True})
    assert done == [Answers(["x", "y", "z"], [])]
    assert questions.due() == []
    questions.told(1, {"n": 1, "items": ["much later"], "end": True})


def test_who_is_silent_is_told_and_who_ended_is_not(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    done: list[Answers] = []
    questions = Asking()
    workers = [(pid, ours) for pid, (ours, _) in enumerate(pairs, 1)]
    questions.ask(workers, "who", {}, done.append)
    questions.gone(2)
    questions.tend(time.monotonic())
    assert done == []
    questions.tend(time.monotonic() + asking.SECONDS + 1)
    assert done == [Answers([], [1])]
    pairs[0][1].close()  # the worker ended, and was not reaped yet
    questions.ask(workers[:1], "who", {}, done.append)
    assert done[1] == Answers([], [1])
    questions.ask([], "who", {}, done.append)
    assert done[2] == Answers()


def test_a_hung_worker_whose_queue_is_full_holds_nobody_up(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    done: list[Answers] = []
    questions = Asking()
    began = time.monotonic()
    for _ in range(5000):
        questions.ask([(1, pairs[0][0])], "who", {"words": ["x" * 900]}, done.append)
        if done:
            break
    assert done == [Answers([], [1])]
    assert time.monotonic() - began < 2


# --- what a session keeps ---


def test_a_transcript_keeps_the_last_and_counts_all() -> None:
    kept = Transcript()
    for number in range(MOST + 5):
        kept.begin("NOOP")
        kept.end(0.5, 0.25, (10, 1 << 40), b"NOOP %d\0OK done" % number)
    steps = kept.steps()
    assert [step.text for step in steps] == [f"NOOP {number}" for number in range(5, MOST + 5)]
    assert (steps[0].seconds, steps[0].computed, steps[0].received, steps[0].sent) == (0.5, 0.25, 10, 0xFFFFFFFF)
    assert steps[0].answer == "OK done"
    assert kept.news() == (MOST + 5, 0.5 * (MOST + 5), 0.25 * (MOST + 5), 0.5)
    assert kept.news() == (0, 0, 0, 0)
    kept.begin("IDLE")
    assert kept.idle(time.time() + 5) >= 5
    kept.end(1000, 0.1, (1, 1), b"IDLE\0OK")
    assert kept.news()[1] == 0, "waiting for news is not slow"


LINES: list[tuple[bytes, list[str]]] = [
    (b"* OK hello\r\n", ["* OK hello"]),
    (b"* 1 FETCH (BODY[] {6}\r\nsecret)\r\na OK\r\n", ["* 1 FETCH (BODY[] <6 octets>)", "a OK"]),
    (b"* 1 FETCH (BINARY[1] ~{6}\r\nsec\r\n\r)\r\n", ["* 1 FETCH (BINARY[1] <6 octets>)"]),
    (
        b'* 1 FETCH (ENVELOPE ("secret" NIL "a \\"secret\\" b"))\r\n',
        ["* 1 FETCH (ENVELOPE (<6 octets> NIL <14 octets>))"],
    ),
    (b'* 7 UIDFETCH (ENVELOPE ("secret"))\r\n', ["* 7 UIDFETCH (ENVELOPE (<6 octets>))"]),
    (b'* 1 FETCH (X {2}\r\n"" Y "secret" Z "secret', []),
    (b'* LIST () "/" "Sent"\r\n', ['* LIST () "/" "Sent"']),
    (b'* GENURLAUTH "imap://secret"\r\n', ["* GENURLAUTH ..."]),
    (b"* OK \x1b[2J\r\n", ["* OK ?[2J"]),
    (b"* X {0}\r\n\r\n", ["* X <0 octets>"]),
]


@pytest.mark.parametrize(("sent", "lines"), LINES)
@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_tap_leaves_out_what_messages_hold(tmp_path: Path, sent: bytes, lines: list[str], size: int) -> None:
    path = tmp_path / "trace"
    trace = Trace("anna", os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), time.time() + 60, 1 << 20)
    tap = Tap(trace, "5a")
    for start in range(0, len(sent), size):
        tap.server(sent[start : start + size])
    trace.close()
    assert [line.split(" S: ", 1)[1] for line in path.read_text().splitlines()] == lines
    assert "secret" not in path.read_text()


def test_a_tap_of_endless_lines_keeps_no_memory_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    trace = Trace("anna", os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), time.time() + 60, 1 << 20)
    tap = Tap(trace, "5a")
    tap.server(b'* 1 FETCH (ENVELOPE ("' + b"x" * 3000)
    for _ in range(200):
        tap.server(b"secret" * 1000)
    tap.server(b'" "secret"))\r\n* 2 EXISTS\r\n')
    text = path.read_text()
    trace.close()
    assert "secret" not in text and " S: * 2 EXISTS\n" in text
    assert len(text) < 3000


def test_each_trace_has_a_file_of_its_own_however_soon_after_another(tmp_path: Path) -> None:
    now = time.struct_time((2026, 11, 24, 11, 15, 43, 1, 328, 0))
    made = [trace_file(tmp_path, user, now) for user in ("anna", "anna", "../a%Ynna", "anna")]
    for _, descriptor in made:
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.close(descriptor)
    assert [path.name for path, _ in made] == [
        "trace-anna-20261124-111543-001.log",
        "trace-anna-20261124-111543-002.log",
        "trace-.._a_Ynna-20261124-111543-001.log",
        "trace-anna-20261124-111543-003.log",
    ]


def test_traces_are_of_one_user_and_end(tmp_path: Path) -> None:
    traces = Traces()
    made: Any = Tap
    assert traces.tap(None, "anna", "1", made) is None
    trace = Trace("anna", os.open(tmp_path / "t", os.O_WRONLY | os.O_CREAT), time.time() + 60, 1 << 20)
    traces.users["anna"] = trace
    tap = traces.tap(None, "anna", "1", made)
    assert tap is not None and traces.tap(tap, "anna", "1", made) is tap
    assert traces.tap(None, "bob", "2", made) is None
    trace.until = 0.0
    assert traces.tap(tap, "anna", "1", made) is None
    assert traces.users == {} and trace.descriptor == -1
    tap.client(b"nothing happens")
