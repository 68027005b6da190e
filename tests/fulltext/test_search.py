"""SEARCH with an index: the same answers, and no message is opened that does not have the text."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.engine import USER, Backend, Engine, deliver, remove
from harness.green import Scheduler
from harness.text_mails import mails, needles
from harness.wire import MemoryWire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenmail.fulltext.service import FullTextService, Means
from greenmail.imap import text_probe
from greenmail.message.collation import INSTALLED
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore


def run(function: Callable[..., object], *args: object) -> object:
    return function(*args)


def engine_at(directory: Path, has_index: bool = True) -> Engine:
    scheduler = Scheduler()
    store = MaildirStore(scheduler.runtime())
    given = MaildirSettings(mail_path=str(directory / "Maildir"), full_text_search=has_index)
    backend = Backend(lambda: store.open_account(USER, given), store.open_account(USER, given))
    service = FullTextService(Means(scheduler.runtime(), run, lambda work: scheduler.spawn(work)))
    return Engine(scheduler, backend, full_text=service)


def search(engine: Engine, wire: MemoryWire, keys: bytes) -> list[int]:
    answer = engine.talk(wire, b"a UID SEARCH CHARSET UTF-8 " + keys + b"\r\n")
    found = re.fullmatch(rb"\* SEARCH((?: \d+)*)\r\na OK [^\r]*\r\n", answer)
    assert found, answer
    return [int(word) for word in found[1].split()]


class Opened:
    """Counts the messages that are opened for their text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        of = text_probe.TextProbe.of

        def counting(probe: text_probe.TextProbe, data: bytes, parts: bytes | None) -> object:
            self.number += 1
            return of(probe, data, parts)

        monkeypatch.setattr(text_probe.TextProbe, "of", counting)


def mail(text: str) -> tuple[bytes, int]:
    return b"From: judith@example.org\r\nSubject: mail\r\n\r\n" + text.encode(), 1_700_000_000


def test_only_what_is_found_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch)
    engine = engine_at(tmp_path)
    deliver(engine.backend.outside, "INBOX", [mail(f"number {number} of many") for number in range(30)])
    wire = engine.select()  # which fills the index
    assert search(engine, wire, b'BODY "number 7"') == [8]
    assert opened.number == 1
    assert search(engine, wire, b"BODY judith") == []
    assert opened.number == 1
    assert len(search(engine, wire, b'NOT TEXT "number 2"')) == 19
    assert opened.number == 12
    assert search(engine, wire, b'OR BODY "number 3 " BODY nothing SUBJECT mail') == [4]
    assert opened.number == 13


def test_messages_that_came_since_are_found(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    deliver(engine.backend.outside, "INBOX", [mail(f"number {number}") for number in range(20)])
    wire = engine.select()
    deliver(engine.backend.outside, "INBOX", [mail("number 7")])
    engine.talk(wire, b"b NOOP\r\n")
    assert search(engine, wire, b'BODY "number 7"') == [8, 21]


def test_what_is_appended_is_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch)
    engine = engine_at(tmp_path)
    deliver(engine.backend.outside, "INBOX", [mail(f"number {number}") for number in range(20)])
    wire = engine.select()
    engine.talk(wire, b"b APPEND INBOX {17+}\r\nSubject: a\r\n\r\nnew\r\n")
    assert search(engine, wire, b"BODY nothing") == []
    assert opened.number == 0


def test_an_expunged_message_is_not_found(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    deliver(engine.backend.outside, "INBOX", [mail(f"number {number}") for number in range(20)])
    wire = engine.select()
    remove(engine.backend.outside, "INBOX", [3, 4])
    engine.talk(wire, b"b NOOP\r\n")
    assert search(engine, wire, b"BODY number") == [1, 2, *range(5, 21)]


def test_an_account_without_an_index_has_none(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, has_index=False)
    deliver(engine.backend.outside, "INBOX", [mail(f"number {number}") for number in range(20)])
    wire = engine.select()
    assert search(engine, wire, b'BODY "number 7"') == [8]
    assert not list(tmp_path.rglob("*.sqlite"))


def test_fuzzy_search_asks_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_at(tmp_path)
    texts = [f"filler {number}" for number in range(20)]
    deliver(engine.backend.outside, "INBOX", [mail(text) for text in [*texts, "an invoice", "in voices"]])
    wire = engine.select()
    asked = []
    monkeypatch.setattr(FullTextService, "fuzzy", lambda self, contents, needle: asked.append(contents))
    assert b"SEARCH=FUZZY" in engine.talk(wire, b"c CAPABILITY\r\n")
    assert search(engine, wire, b"FUZZY BODY invocie") == [21]
    assert search(engine, wire, b"FUZZY BODY voice") == [21, 22]
    assert search(engine, wire, b"FUZZY BODY judith") == []
    assert len(search(engine, wire, b"FUZZY TEXT judith")) == 22
    assert search(engine, wire, b"FUZZY BODY fller BODY 13") == [14]
    assert asked == []


def test_fuzzy_search_reads_what_is_not_indexed_yet(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    wire = engine.select()
    deliver(engine.backend.outside, "INBOX", [mail("an invoice"), mail("else")])
    engine.talk(wire, b"b NOOP\r\n")
    assert search(engine, wire, b"FUZZY BODY invocie") == [1]


@given(st.lists(mails(), min_size=9, max_size=12), st.lists(needles(), min_size=1, max_size=5), st.integers(0, 12))
@settings(
    max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_the_answer_is_that_of_the_slow_way(
    tmp_path_factory: pytest.TempPathFactory, octets: list[bytes], texts: list[str], later: int
) -> None:
    directory = tmp_path_factory.mktemp("mail")
    engine, slow = engine_at(directory), engine_at(directory, has_index=False)
    messages = [(one, 1_700_000_000) for one in octets]
    deliver(engine.backend.outside, "INBOX", messages[later:])
    wire = engine.select()
    deliver(engine.backend.outside, "INBOX", messages[:later])
    engine.talk(wire, b"b NOOP\r\n")
    plain = slow.select()
    for comparator, text in zip(itertools.cycle(INSTALLED), texts, strict=False):
        assert b" OK" in engine.talk(wire, f"c COMPARATOR {comparator}\r\n".encode())
        assert b" OK" in slow.talk(plain, f"c COMPARATOR {comparator}\r\n".encode())
        needle = text.replace("\0", "").encode()
        for key in (b"BODY", b"TEXT", b"NOT BODY"):
            keys = b"%b {%d+}\r\n%b" % (key, len(needle), needle)
            assert search(engine, wire, keys) == search(slow, plain, keys)
