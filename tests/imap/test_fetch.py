"""FETCH as a whole: large mailboxes and messages, and everything that can go wrong on the way. RFC 9051 6.4.5."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from harness.engine import Engine, change_flags, deliver, memory_backend, remove
from harness.green import Scheduler
from harness.wire import MemoryWire
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.imap.octets import SLICE
from greenmail.message.content import BytesContent
from greenmail.storage.api import CacheKind
from greenmail.storage.memory_mailbox import MemoryMailbox

BIG = b"Subject: big\r\n\r\n" + b"".join(b"line %09d\r\n" % n for n in range(60_000))
DATE = 1_704_110_400


def engine(*messages: bytes) -> Engine:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    deliver(made.backend.outside, "INBOX", [(message, DATE) for message in messages])
    made.backend.outside.open("INBOX").claim_recent()
    return made


def ask(made: Engine, command: bytes, wire: MemoryWire | None = None) -> bytes:
    return made.talk(wire or made.select(), b"a " + command + b"\r\n")


def literals(answer: bytes) -> list[bytes]:
    """Every literal of an answer, in order."""
    found = []
    place = 0
    while match := re.compile(rb"\{(\d+)\}\r\n").search(answer, place):
        place = match.end() + int(match[1])
        found.append(answer[match.end() : place])
    return found


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each write of the engine is."""
    sizes: list[int] = []
    write: Callable[[MemoryWire, bytes], None] = MemoryWire.write

    def noting(wire: MemoryWire, data: bytes) -> None:
        sizes.append(len(data))
        write(wire, data)

    monkeypatch.setattr(MemoryWire, "write", noting)
    return sizes


def test_flags_of_a_hundred_thousand_messages_come_in_chunks(writes: list[int]) -> None:
    made = engine(*[b"\r\n"] * 100_000)
    answer = ask(made, b"FETCH 1:* (UID FLAGS RFC822.SIZE)")
    lines = answer.split(b"\r\n")
    assert lines[0] == b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 2)"
    assert lines[-3:] == [b"* 100000 FETCH (UID 100000 FLAGS () RFC822.SIZE 2)", b"a OK FETCH completed", b""]
    assert len(lines) == 100_002
    assert max(writes) <= 256 * 1024


@pytest.mark.parametrize("gone", [0, 1, 1500])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"FETCH 1:* (UID FLAGS)", b"* %(n)d FETCH (UID %(uid)d FLAGS (%(flags)b))"),
        (b"FETCH 700:* FLAGS", b"* %(n)d FETCH (FLAGS (%(flags)b))"),
        (b"UID FETCH 1:* (FLAGS RFC822.SIZE)", b"* %(n)d FETCH (UID %(uid)d FLAGS (%(flags)b) RFC822.SIZE 2)"),
        (b"UID FETCH 1:* (FLAGS) (PARTIAL -1:-9000)", b"* %(n)d FETCH (UID %(uid)d FLAGS (%(flags)b))"),
        (b"UID FETCH 1:* (FLAGS)", b"* %(uid)d UIDFETCH (FLAGS (%(flags)b))"),
    ],
)
def test_each_of_many_messages_has_its_own_number_uid_and_flags(command: bytes, expected: bytes, gone: int) -> None:
    """Numbers of a chunk are kept as text for all mailboxes: here are some with other UIDs and flags, one by one."""
    made = engine(*[b"\r\n"] * 20_000)
    inbox = made.backend.outside.open("INBOX")
    change_flags(made.backend.outside, "INBOX", [*range(gone + 2, 20_001, 3)], "+flags", frozenset({"\\Seen"}))
    remove(made.backend.outside, "INBOX", [*range(1, gone + 1), 9_000])
    uids = [uid for uid in range(gone + 1, 20_001) if uid != 9_000]
    wire = made.select()
    if b"UIDFETCH" in expected:
        made.talk(wire, b"e ENABLE UIDONLY\r\n")
    lines = ask(made, command, wire).split(b"\r\n")[:-2]
    flags = {uid: b"\\Seen" if (uid - gone - 2) % 3 == 0 else b"" for uid in uids}
    wanted = [expected % {b"n": n, b"uid": uid, b"flags": flags[uid]} for n, uid in enumerate(uids, 1)]
    first = 699 if b"700" in command else len(uids) - 9_000 if b"PARTIAL" in command else 0
    assert sorted(lines) == sorted(wanted[first:])
    inbox.close()


def test_a_large_message_goes_out_in_slices(writes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = BytesContent.read

    def noting(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        data = read(content, start, end)
        reads.append(len(data))
        return data

    made = engine(BIG)
    wire = made.select()
    ask(made, b"FETCH 1 BODYSTRUCTURE", wire)  # has the offsets cached, as in life
    monkeypatch.setattr(BytesContent, "read", noting)
    assert literals(ask(made, b"FETCH 1 BODY.PEEK[]", wire)) == [BIG]
    assert max(writes) <= SLICE + 100
    assert max(reads) <= SLICE


def test_a_slice_of_a_part_costs_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """clients.md: iOS Mail reads a part in slices."""
    made = engine(BIG)
    wire = made.select()
    ask(made, b"FETCH 1 BODY.PEEK[1]<0.1>", wire)
    read: list[int] = []
    original = BytesContent.read

    def counting(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        data = original(content, start, end)
        read.append(len(data))
        return data

    monkeypatch.setattr(BytesContent, "read", counting)
    body = BIG.partition(b"\r\n\r\n")[2]
    assert literals(ask(made, b"FETCH 1 BODY.PEEK[1]<500000.393216>", wire)) == [body[500000 : 500000 + 393216]]
    assert sum(read) == min(393216, len(body) - 500000)


def test_a_header_is_read_without_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(BIG)
    wire = made.select()

    def refusing(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        assert end is not None, "the whole message was read"
        assert end <= 8192, "the body was read"
        return BIG[start:end]

    monkeypatch.setattr(BytesContent, "read", refusing)
    answer = ask(made, b"FETCH 1 (ENVELOPE BODY.PEEK[HEADER] BODY.PEEK[HEADER.FIELDS (X-A)])", wire)
    assert b"a OK" in answer


def test_nul_is_no_octet_of_a_literal() -> None:
    """RFC 9051 9, CHAR8: NUL becomes 0x80 in BODY and RFC822; BINARY has the true octets in a literal8."""
    made = engine(b"Subject: n\0ul\r\n\r\na\0b\r\n", BIG + b"\0")
    answer = ask(
        made, b"FETCH 1 (BODY.PEEK[TEXT] RFC822.HEADER ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)] RFC822.SIZE)"
    )
    assert b"\0" not in answer
    assert literals(answer)[0] == b"a\x80b\r\n"
    assert b"RFC822.SIZE 22" in answer
    assert b"BINARY[1] ~{5}\r\na\0b\r\n)" in ask(made, b"FETCH 1 BINARY.PEEK[1]")
    assert literals(ask(made, b"FETCH 2 BODY.PEEK[]")) == [BIG + b"\x80"]
    assert b"BINARY[] ~{%d}\r\n%b\0)" % (len(BIG) + 1, BIG) in ask(made, b"FETCH 2 BINARY.PEEK[]")


def attachment(octets: bytes, encoding: bytes = b"base64", kind: bytes = b"application/octet-stream") -> bytes:
    body = base64.encodebytes(octets).replace(b"\n", b"\r\n") if encoding == b"base64" else octets
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, encoding, body)


@pytest.mark.parametrize("size", [0, 1, 3, 65536, 300_000])
@pytest.mark.parametrize("octet", [b"\0", b"x"])
def test_binary_undoes_base64(size: int, octet: bytes, writes: list[int]) -> None:
    octets = (octet * size)[:size]
    made = engine(attachment(octets))
    wire = made.select()
    answer = ask(made, b"FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])", wire)
    assert b"BINARY.SIZE[1] %d " % size in answer
    mark = b"~" if octet == b"\0" else b""
    expected = b'BINARY[1] "")' if not size else b"BINARY[1] %b{%d}\r\n%b)" % (mark, size, octets)
    assert expected in answer
    piece = octets[70_000 : 70_000 + 150_000]
    answer = ask(made, b"FETCH 1 BINARY.PEEK[1]<70000.150000>", wire)
    expected = b"<70000> " + (b'"")' if not piece else b"%b{%d}\r\n%b)" % (mark, len(piece), piece))
    assert expected in answer
    assert max(writes) <= 5 * SLICE


def test_binary_text_has_crlf_also_between_blocks() -> None:
    lines = b"0123456789\n" * 60_000
    made = engine(attachment(lines, kind=b"text/plain"))
    expected = lines.replace(b"\n", b"\r\n")
    answer = ask(made, b"FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")
    assert literals(answer) == [expected]
    assert b"BINARY.SIZE[1] %d " % len(expected) in answer


def failing(after: int, reason: Reason = Reason.UNAVAILABLE) -> Callable[..., bytes]:
    """`BytesContent.read` that works `after` times."""
    left = [after]

    def read(content: BytesContent, start: int = 0, end: int | None = None) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise StorageError(reason, "disk on fire")
        return BIG[start:end]

    return read


def test_an_unreadable_message_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(BIG, b"Subject: x\r\n\r\n")
    wire = made.select()
    monkeypatch.setattr(BytesContent, "read", failing(0))
    answer = ask(made, b"FETCH 1 (UID BODY.PEEK[])", wire)
    assert answer == b"* 1 FETCH (UID 1)\r\na NO [UNAVAILABLE] Disk on fire\r\n"
    answer = ask(made, b"FETCH 1 BODYSTRUCTURE", wire)
    assert answer == b"a NO [UNAVAILABLE] Disk on fire\r\n"


@pytest.mark.parametrize(
    "read", [failing(3), lambda content, start=0, end=None: BIG[start:end] if start < 200_000 else b""]
)
def test_a_literal_that_cannot_be_completed_ends_the_connection(monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    made = engine(BIG)
    wire = made.select()
    ask(made, b"FETCH 1 BODYSTRUCTURE", wire)
    monkeypatch.setattr(BytesContent, "read", read)
    answer = ask(made, b"FETCH 1 BODY.PEEK[]", wire)
    assert wire.closed
    assert b"a OK" not in answer
    assert b"a NO" not in answer


def test_half_a_response_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailbox is deleted between two messages, or a bug shows: what was begun cannot be finished."""
    made = engine(BIG)
    wire = made.select()
    ask(made, b"FETCH 1 BODYSTRUCTURE", wire)

    def gone(*arguments: object) -> None:
        raise StorageError(Reason.GONE, "deleted")

    monkeypatch.setattr("greenmail.imap.commands.fetch.add_binary", gone)
    answer = ask(made, b"FETCH 1 (BODY.PEEK[] BINARY.PEEK[1])", wire)
    assert literals(answer) == [BIG]
    assert wire.closed


@pytest.mark.parametrize("reason", [Reason.NO_SPACE, Reason.READ_ONLY, Reason.IN_USE, Reason.OVER_QUOTA])
def test_mail_can_be_read_where_it_cannot_be_marked_as_read(monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    def refuse(*arguments: object) -> None:
        raise StorageError(reason, "no")

    made = engine(b"Subject: x\r\n\r\ntext")
    wire = made.select()
    monkeypatch.setattr(MemoryMailbox, "store", refuse)
    answer = ask(made, b"FETCH 1 BODY[TEXT]", wire)
    assert answer == b"* 1 FETCH (BODY[TEXT] {4}\r\ntext)\r\na OK FETCH completed\r\n"


def test_what_the_cache_forgets_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Mailbox.cache` may lose everything."""
    monkeypatch.setattr(MemoryMailbox, "cache", lambda *arguments: None)
    made = engine(BIG, b"Subject: x\r\n\r\n")
    answer = ask(made, b"FETCH 1:2 (ENVELOPE BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert answer.count(b"ENVELOPE (") == 2
    assert literals(answer)[0] == BIG.partition(b"\r\n\r\n")[2]
    assert b"a OK" in answer


def test_header_fields_too_long_for_the_cache_are_read() -> None:
    message = b"Subject: " + b"x" * 70_000 + b"\r\nTo: a@b\r\n\r\n"
    made = engine(message)
    wire = made.select()
    for _ in range(2):
        answer = ask(made, b"FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]", wire)
        assert literals(answer) == [message.replace(b"To: a@b\r\n", b"")]
    assert b"* SEARCH 1" in ask(made, b'SEARCH SUBJECT "xxxx"', wire)
    mailbox = made.backend.outside.open("INBOX")
    assert mailbox.cached(1, CacheKind.HEADERS) == b"-"


def test_seen_is_set_in_chunks_that_do_not_run_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that goes away in the middle has not all its mail marked as read."""
    stored: list[int] = []
    store = MemoryMailbox.store

    def noting(mailbox: MemoryMailbox, uids: list[int], *rest: Any) -> Any:
        stored.append(len(uids))
        return store(mailbox, uids, *rest)

    made = engine(*[BIG] * 4, *[b"\r\n"] * 600)
    wire = made.select()
    monkeypatch.setattr(MemoryMailbox, "store", noting)
    answer = ask(made, b"UID FETCH 1:* BODY[]<0.1>", wire)
    assert answer.count(b"FLAGS (\\Seen))") == 604
    assert stored == [2, 2, *[64] * 9, 24]


_SECTIONS = ["", "HEADER", "TEXT", "1", "1.MIME", "2", "2.HEADER", "2.TEXT", "2.1", "2.1.MIME", "9", "1.1"]
_PIECES = [
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Subject: x\r\n",
    b"\r\n",
    b"--a\r\n",
    b"--a--\r\n",
    b"text \xff",
    b"\n",
]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join),
    st.sampled_from(_SECTIONS),
    st.one_of(st.none(), st.tuples(st.integers(0, 60), st.integers(1, 60))),
)
def test_a_partial_is_a_slice_of_the_whole(message: bytes, section: str, part: tuple[int, int] | None) -> None:
    made = engine(message)
    wire = made.select()
    whole = ask(made, f"FETCH 1 BODY.PEEK[{section}]".encode(), wire)
    assert whole.endswith(b"a OK FETCH completed\r\n")
    if b"NIL" in whole[: whole.index(b"\r\n")]:
        assert section not in ("", "HEADER", "TEXT", "1", "1.MIME")
        return
    octets = (literals(whole) or [b""])[0]
    first, length = part or (0, 10_000)
    answer = ask(made, f"FETCH 1 BODY.PEEK[{section}]<{first}.{length}>".encode(), wire)
    assert f"BODY[{section}]<{first}> ".encode() in answer
    assert (literals(answer) or [b""])[0] == octets[first : first + length]


def test_no_modseq_mailboxes_refuse_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7162 3.1.2.2: BAD for CHANGEDSINCE, MODSEQ and UNCHANGEDSINCE; and no FETCH has a MODSEQ."""
    monkeypatch.setattr(MemoryMailbox, "tracks_modseq", False, raising=False)
    made = engine(b"\r\n")
    made.backend.outside.open("INBOX").tracks_modseq = False
    wire = made.connect()
    made.talk(wire, b"l LOGIN alice secret\r\n")
    assert b"[NOMODSEQ]" in ask(made, b"SELECT INBOX (CONDSTORE)", wire)
    for command in (
        b"FETCH 1 MODSEQ",
        b"FETCH 1 UID (CHANGEDSINCE 1)",
        b"SEARCH MODSEQ 1",
        b"STORE 1 (UNCHANGEDSINCE 1) FLAGS (\\Seen)",
    ):
        assert ask(made, command, wire).startswith(b"a BAD"), command
    answer = ask(made, b"FETCH 1 BODY[TEXT]<0.1>", wire)
    assert b"MODSEQ" not in answer
    assert b"HIGHESTMODSEQ 0)" in ask(made, b"STATUS INBOX (HIGHESTMODSEQ)", wire)


@pytest.mark.parametrize("offered", [True, False])
def test_condstore_is_advertised_unless_another_server_shares_the_mailboxes(offered: bool) -> None:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler), condstore=offered)
    answer = ask(made, b"CAPABILITY", made.login())
    assert (b" CONDSTORE" in answer) == offered
    assert {b"ESEARCH", b"SEARCHRES"} <= set(answer.split())
