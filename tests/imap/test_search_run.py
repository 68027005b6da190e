"""SEARCH against a model: every key, alone and combined, gives what a plain reading of RFC 9051 6.4.4 gives."""

import logging
import random
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from harness.engine import Engine, change_flags, deliver, memory_backend, remove
from harness.green import Scheduler
from harness.stores import STORES
from harness.wire import MemoryWire
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.imap.header_record import header_of, headers_record
from greenmail.imap.parts import format_parts
from greenmail.imap.search_key import HeaderKey, TextKey
from greenmail.imap.search_run import match_header, match_record, match_records
from greenmail.imap.text_probe import Needle, TextProbe, probe_texts, text_hits
from greenmail.message.collation import INSTALLED, Comparator
from greenmail.message.content import BytesContent
from greenmail.message.decode import decode_words
from greenmail.message.headers import Header
from greenmail.message.structure import scan

DAY = 86_400
START = 1_704_110_400  # 1 January 2024 12:00 UTC


@dataclass(frozen=True)
class Mail:
    """A message, and what the model knows of it."""

    subject: str
    sender: str
    text: str
    flags: frozenset[str]
    day: int  # of January 2024, INTERNALDATE
    sent: int  # of January 2024, Date field

    @property
    def octets(self) -> bytes:
        lines = [
            f"Date: {self.sent} Jan 2024 23:59:59 -1000",
            f"From: {self.sender}@example.org",
            f"Subject: {self.subject}",
            "Content-Type: text/plain; charset=utf-8",
            "",
            self.text,
            "",
        ]
        return "\r\n".join(lines).encode()


def mailbox(mails: list[Mail]) -> tuple[Engine, MemoryWire]:
    engine = Engine(scheduler := Scheduler(), memory_backend(scheduler), time_zone="UTC")
    for mail in mails:
        deliver(engine.backend.outside, "INBOX", [(mail.octets, START + (mail.day - 1) * DAY)], mail.flags)
    engine.backend.outside.open("INBOX").claim_recent()
    return engine, engine.select()


def search(engine: Engine, wire: MemoryWire, keys: str) -> list[int]:
    answer = engine.talk(wire, f"a SEARCH {keys}\r\n".encode())
    found = re.fullmatch(rb"\* SEARCH((?: \d+)*)\r\na OK [^\r]*\r\n", answer)
    assert found, answer
    return [int(word) for word in found[1].split()]


@dataclass(frozen=True)
class Key:
    """A search-key, and the numbers of the messages that match it by the model."""

    text: str
    numbers: frozenset[int]


def january(day: int) -> date:
    return date(2024, 1, day)


def leaves(mails: list[Mail]) -> list[Key]:
    """Every kind of key with arguments that tell the mails apart."""

    def key(text: str, matching: list[bool]) -> Key:
        return Key(text, frozenset(place + 1 for place, yes in enumerate(matching) if yes))

    numbers = range(1, len(mails) + 1)
    found = [key("ALL", [True] * len(mails)), key("2:3,9", [2 <= n <= 3 for n in numbers])]
    found.append(key("UID 3:*", [n >= 3 or n == len(mails) for n in numbers]))
    for name in ("Seen", "Flagged", "Deleted", "Answered", "Draft"):
        found.append(key(name.upper(), ["\\" + name in mail.flags for mail in mails]))
        found.append(key("UN" + name.upper(), ["\\" + name not in mail.flags for mail in mails]))
    found.append(key("KEYWORD WORK", ["Work" in mail.flags for mail in mails]))
    found.append(key("UNKEYWORD work", ["Work" not in mail.flags for mail in mails]))
    for day in (2, 4):
        found.append(key(f"ON {day}-Jan-2024", [mail.day == day for mail in mails]))
        found.append(key(f"BEFORE {day}-Jan-2024", [mail.day < day for mail in mails]))
        found.append(key(f"SINCE {day}-Jan-2024", [mail.day >= day for mail in mails]))
        found.append(key(f"SENTON {day}-Jan-2024", [mail.sent == day for mail in mails]))
        found.append(key(f"SENTBEFORE {day}-Jan-2024", [mail.sent < day for mail in mails]))
        found.append(key(f"SENTSINCE {day}-Jan-2024", [mail.sent >= day for mail in mails]))
    for size in sorted({len(mail.octets) for mail in mails})[:2]:
        found.append(key(f"LARGER {size}", [len(mail.octets) > size for mail in mails]))
        found.append(key(f"SMALLER {size}", [len(mail.octets) < size for mail in mails]))
    for word in ("red", "green"):
        found.append(key(f"SUBJECT {word.upper()}", [word in mail.subject for mail in mails]))
        found.append(key(f"FROM {word}", [word in mail.sender for mail in mails]))
        found.append(key(f"HEADER Subject {word}", [word in mail.subject for mail in mails]))
        found.append(key(f"BODY {word}", [word in mail.text for mail in mails]))
        found.append(key(f"TEXT {word}", [word in mail.text + mail.sender + mail.subject for mail in mails]))
    found.append(key('HEADER X-None ""', [False] * len(mails)))
    found.append(key('HEADER Subject ""', [True] * len(mails)))
    return found


_words = st.sampled_from(["red", "green", "blue"])
_mails = st.lists(
    st.builds(
        Mail,
        _words,
        _words,
        _words,
        st.frozensets(st.sampled_from(["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "\\Draft", "Work"])),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
    min_size=3,
    max_size=6,
)


@settings(max_examples=40)
@given(_mails)
def test_every_key_alone(mails: list[Mail]) -> None:
    engine, wire = mailbox(mails)
    for key in leaves(mails):
        assert search(engine, wire, key.text) == sorted(key.numbers), key.text


@settings(max_examples=60)
@given(_mails, st.data())
def test_keys_together(mails: list[Mail], data: st.DataObject) -> None:
    engine, wire = mailbox(mails)
    every = frozenset(range(1, len(mails) + 1))
    keys = st.recursive(
        st.sampled_from(leaves(mails)),
        lambda inner: st.one_of(
            inner.map(lambda one: Key(f"NOT {one.text}", every - one.numbers)),
            st.tuples(inner, inner).map(
                lambda two: Key(f"OR {two[0].text} {two[1].text}", two[0].numbers | two[1].numbers)
            ),
            st.tuples(inner, inner).map(
                lambda two: Key(f"({two[0].text} {two[1].text})", two[0].numbers & two[1].numbers)
            ),
        ),
        max_leaves=10,
    )
    for key in data.draw(st.lists(keys, min_size=1, max_size=5)):
        assert search(engine, wire, key.text) == sorted(key.numbers), key.text


MAILS = [Mail("red", "green", "blue", frozenset(), day, day) for day in range(1, 6)]


def test_cheap_keys_spare_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """architecture.md: columns first, then the cache, and files only for what is left."""
    engine, wire = mailbox(MAILS)
    assert search(engine, wire, "FROM green SENTON 3-Jan-2024") == [3]  # fills the cache
    opened: list[int] = []
    read = BytesContent.read

    def noting(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        opened.append(id(content))
        return read(content, start, end)

    monkeypatch.setattr(BytesContent, "read", noting)
    assert search(engine, wire, "SUBJECT red FROM green OR SENTON 1-Jan-2024 TO x") == [1]
    assert not opened
    assert search(engine, wire, "BODY blue TEXT green ON 4-Jan-2024 SUBJECT red") == [4]
    assert len(opened) == 1


def test_a_key_with_many_text_keys_reads_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, wire = mailbox(MAILS)
    opened: list[int] = []
    read = BytesContent.read

    def noting(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        opened.append(start)
        return read(content, start, end)

    monkeypatch.setattr(BytesContent, "read", noting)
    assert search(engine, wire, "OR BODY x OR TEXT y BODY blue") == [1, 2, 3, 4, 5]
    assert len(opened) == 5


@pytest.mark.parametrize("zone, day", [("Pacific/Kiritimati", 2), ("Pacific/Pago_Pago", 1), ("UTC", 1)])
def test_days_are_those_of_the_time_zone(zone: str, day: int) -> None:
    engine = Engine(scheduler := Scheduler(), memory_backend(scheduler), time_zone=zone)
    when = int(datetime(2024, 1, 1, 11, 30, tzinfo=UTC).timestamp())
    deliver(engine.backend.outside, "INBOX", [(b"\r\n", when)])
    wire = engine.select()
    assert search(engine, wire, f"ON {day}-Jan-2024") == [1]
    assert search(engine, wire, f"SINCE {day}-Jan-2024 NOT BEFORE {day}-Jan-2024") == [1]


def test_a_hundred_thousand_numbers_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    deliver(engine.backend.outside, "INBOX", [(b"\r\n", START)] * 100_000)
    wire = engine.select()
    sizes: list[int] = []
    write = MemoryWire.write
    monkeypatch.setattr(MemoryWire, "write", lambda self, data: (sizes.append(len(data)), write(self, data))[1])
    assert len(search(engine, wire, "NOT SEEN LARGER 1")) == 100_000
    change_flags(engine.backend.outside, "INBOX", list(range(2, 100_001, 2)), "+FLAGS", frozenset({"\\Seen"}))
    engine.talk(wire, b"b NOOP\r\n")
    sizes.clear()
    answer = engine.talk(wire, b"a SEARCH RETURN (ALL) SEEN\r\n")
    assert answer.startswith(b'* ESEARCH (TAG "a") ALL 2,4,6,')
    assert answer.count(b",") == 49_999
    assert max(sizes) <= 65_536
    assert engine.talk(wire, b"a SEARCH RETURN (ALL) ALL\r\n").startswith(b'* ESEARCH (TAG "a") ALL 1:100000\r\n')


COMMANDS = [
    b"FETCH 1:* (UID FLAGS RFC822.SIZE)",
    b"FETCH 1:* (UID BODY[TEXT])",
    b"FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[1])",
    b"UID FETCH 1:* (BODY[HEADER.FIELDS (SUBJECT)] BINARY.PEEK[1] INTERNALDATE)",
    b"FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
    b"SEARCH OR TEXT red SUBJECT blue",
    b"UID SEARCH RETURN (SAVE ALL) NOT BODY zzz LARGER 1",
    b"SEARCH $ UNSEEN",
]
_OK = re.compile(rb"a\d+ (OK|NO \[EXPUNGEISSUED\]) ")


@pytest.mark.parametrize(
    "store, seed", [*(("memory", seed) for seed in range(60)), *(("maildir", seed) for seed in range(20))]
)
def test_others_may_do_anything_while_it_runs(
    store: str, seed: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """RFC 2180: wherever the engine may wait, messages come and go. No bug, no NIL for lost mail."""
    choose = random.Random(seed).randrange
    scheduler = Scheduler(choose, eager=True)
    engine = Engine(scheduler, STORES[store](tmp_path)(scheduler))
    account = engine.backend.outside
    uids = deliver(account, "INBOX", [(mail.octets, START) for mail in MAILS * 4])
    wire = engine.select()
    caplog.set_level(logging.ERROR)

    def others() -> None:
        for _ in range(12):
            for _ in range(choose(6)):
                scheduler.pause()
            if choose(3) == 0:
                deliver(account, "INBOX", [(MAILS[0].octets, START)])
            elif uids:
                remove(account, "INBOX", [uids.pop(choose(len(uids)))])

    scheduler.spawn(others)
    for number in range(6):
        tag = b"a%d" % number
        answer = engine.talk(wire, tag + b" " + COMMANDS[choose(len(COMMANDS))] + b"\r\n")
        assert _OK.match(answer.splitlines()[-1]), answer
        assert b'BODY[TEXT] ""' not in answer
        assert b"BODY[TEXT] NIL" not in answer
        assert b"BODY[1] NIL" not in answer
    assert not caplog.records


_PIECES = [
    b"Subject: ann lee\r\n",
    b"Subject: ann\r\n lee\r\n",
    b"Subject: =?utf-8?q?ann_lee?=\r\n",
    b"Subject: =?utf-8?q?x?=\r\n",
    b"Content-Type: text/plain; charset=utf-7; name==?utf-8?q?x?=\r\n",
    b"\r\n",
    b"ann",
    b" lee",
    b"\r\n lee",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"Content-Type: text/html\r\n",
    b"Content-Type: image/png\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: message/x\r\n",
    b"Content-Type: text/plain; charset=utf-7\r\n",
    b"Content-Type: text/plain; charset=iso-8859-1\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Type: text/plain; charset=utf-7\r\n\r\n+AGEAbgBu-",
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=6En =\r\nlee",
    b"--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nan=\r\n--b\r\n\r\nn lee=",
    b"Content-Transfer-Encoding: 7bit\r\n",
    b"YW5u\r\n",
    b"=61nn",
    b"=\r\n",
    b"an= \t\r\nn",
    b"=6",
    b" \r\n",
    b"+AGEAbgBu-",
    b"\xef\xbd\x81nn",
    b"\xff",
    b"x\r\n",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join),
    st.sampled_from(["ann", "ann lee", "annlee", "a", "lee", "Ann", "Lee"]),
)
def test_what_is_said_without_reading_a_message_as_text_is_right(mail: bytes, text: str) -> None:
    content = BytesContent(mail)
    for header in (False, True):
        needles = [Needle(TextKey(text.encode(), header), text), Needle(TextKey(b"ee", False), "ee")]
        for by in map(Comparator, INSTALLED):
            expected = text_hits(content.read(), scan(content.read()), needles, by)
            probe = TextProbe(needles, by)
            (made,) = probe_texts([content], [None], probe)
            assert made is not None and made[0] == expected
            assert made[1] in (None, format_parts(scan(content.read())))
            parts = made[1] or format_parts(scan(content.read()))
            assert probe_texts([content], [parts], probe) == [(expected, None)]


@pytest.mark.parametrize(
    "charset, text",
    [(b"utf-7", b"+AGEAbgBu-"), (b"hz", b"~{0!~}ann"), (b"x-unknown", b"ann"), (b"cp037", "ann".encode("cp037"))],
)
def test_a_charset_in_the_header_of_the_message_counts_for_its_body(charset: bytes, text: bytes) -> None:
    """Also where octets of US-ASCII are not what they look like, and the header is not searched."""
    mail = b"Content-Type: text/plain; charset=%b\r\n\r\n%b\r\n" % (charset, text)
    key = TextKey(b"ann", header=False)
    probe = TextProbe([Needle(key, "ann")], Comparator(INSTALLED[0]))
    assert probe.of(mail, None)[0] == probe.of(mail, format_parts(scan(mail)))[0] == {key}


def test_a_message_is_searched_though_its_header_became_longer_since_its_parts_were_found() -> None:
    before = b"Content-Type: image/gif\r\n\r\nlee"
    label, body = TextKey(b"ann", header=True), TextKey(b"lee", header=False)
    probe = TextProbe([Needle(label, "ann"), Needle(body, "lee")], Comparator(INSTALLED[0]))
    assert probe.of(b"X-Label: of ann, who wrote it\r\n" + before, format_parts(scan(before)))[0] == {label}


@given(
    st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join),
    st.sampled_from(["ann", "ann lee", "", "x", "a:", "Ann"]),
)
def test_records_of_headers_are_looked_at_as_headers_are(header: bytes, text: str) -> None:
    record = headers_record(BytesContent(header).header())
    needles = [Needle(HeaderKey(b"subject", text.encode()), text), Needle(HeaderKey(b"from", b"lee"), "lee")]
    fields = Header(header_of(record))
    for by in map(Comparator, INSTALLED):
        found = match_header(header_of(record), needles, by)
        assert match_record(record, needles, by) == found
        assert list(match_records([record], needles, by)) == [found]
        for needle in needles:
            expected = any(needle.text in by.fold(decode_words(value)) for value in fields.all(needle.key.field))
            assert (needle.key in found) == expected
