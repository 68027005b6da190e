"""`make_many` gives what each message gives when it is opened, or leaves it to that."""

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import StorageError
from greenmail.message.content import BytesContent, FileContent, to_crlf
from greenmail.runtime import direct
from greenmail.storage import maildir_octets
from greenmail.storage.api import Facts
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

FILES = [
    b"Subject: a\n\nbody\n",
    b"Subject: a\r\nTo: b\r\n\r\nbody\r\nand\nmore",
    b"\nno header\n",
    b"",
    b"Subject: no end\n",
    b"X: " + b"y" * 10_000 + b"\n\nbehind the first octets\n",
    b"X: " + b"y" * (maildir_octets.FIRST - 4) + b"\n\nwith its end in both reads\n",
    b"Subject: large\n\n" + b"line\n" * 30_000,
    b"Subject: very large\n\n" + b"line\n" * (maildir_octets.LARGEST // 5),
    b"Subject: CR at the end of a block\n\n" + b"x" * (65536 - 36) + b"\r\nmore\n",
    gzip.compress(b"Subject: packed\n\nbody\n"),
]


def mailbox_of(path: Path) -> MaildirMailbox:
    found = MaildirStore(direct()).open_account("u", MaildirSettings(str(path)))._open("INBOX")
    assert isinstance(found, MaildirMailbox)
    return found


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for part in ("cur", "new", "tmp"):
        (tmp_path / "m" / part).mkdir(parents=True)
    for number, data in enumerate(FILES):
        place = tmp_path / "m" / ("new" if number % 3 == 0 else "cur")
        (place / f"{1700000000 + number}.M1P1.host{'' if number % 3 == 0 else ':2,S'}").write_bytes(data)
    return tmp_path / "m"


def opened(mailbox: MaildirMailbox, uid: int, whole: bool) -> bytes:
    content = mailbox.content(uid)
    try:
        return content.read() if whole else content.header()
    finally:
        content.close()


def read_many(mailbox: MaildirMailbox, uids: list[int], whole: bool, facts: Facts) -> list[bytes | None]:
    places: list[int] = []

    def make(place: int, octets: bytes) -> bytes:
        places.append(place)
        assert b"\r" not in octets or to_crlf(octets) == octets
        return octets if whole else to_crlf(octets)

    found = mailbox.make_many(uids, whole, facts, make)
    assert places == [place for place, octets in enumerate(found) if octets is not None]
    return found


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("sizes", [True, False])
@pytest.mark.parametrize("dates", [True, False])
def test_it_is_what_each_message_gives(maildir: Path, whole: bool, sizes: bool, dates: bool) -> None:
    mailbox, other = mailbox_of(maildir), mailbox_of(maildir)
    uids = list(mailbox.table.uids)
    found = read_many(mailbox, uids, whole, (sizes, dates))
    for uid, data, known in zip(uids, FILES, found, strict=True):
        assert known in (None, opened(other, uid, whole)), data[:30]
    is_left = [data[:14] for data, known in zip(FILES, found, strict=True) if known is None]
    # Compressed; very large. Compressed; without an end.
    assert len(is_left) == (2 if whole else 3), is_left
    for row, known in enumerate(found):
        assert mailbox.table.sizes[row] in ({other.table.sizes[row]} if sizes and known is not None else {-1})
        assert mailbox.table.dates[row] in ({other.table.dates[row]} if dates and known is not None else {-1})


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("claimed", ["S=5,W=6", "S=100,W=100", "S=17,W=1", "S=17,W=35", "W=1", "S=5,W=20", "S=17,W=20"])
def test_a_name_that_tells_wrong_sizes_is_not_believed(tmp_path: Path, whole: bool, claimed: str) -> None:
    """RFC822.SIZE is right before a client sees it: formats.md 4, check 39."""
    for part in ("cur", "new", "tmp"):
        (tmp_path / "m" / part).mkdir(parents=True)
    (tmp_path / "m" / "cur" / f"1700000000.M1P1.host,{claimed}:2,S").write_bytes(b"Subject: a\n\nbody\n")
    mailbox = mailbox_of(tmp_path / "m")
    if read_many(mailbox, [1], whole, (True, True)) == [None]:
        mailbox.content(1).close()
    assert list(mailbox.table.sizes) == [20]


def test_what_is_not_there_any_more_is_left(maildir: Path) -> None:
    mailbox = mailbox_of(maildir)
    uids = list(mailbox.table.uids)
    renamed, gone = (os.fsdecode(mailbox.box.index.names[row]) for row in (1, 2))
    os.rename(maildir / "cur" / renamed, maildir / "cur" / f"{renamed}T")
    os.unlink(maildir / "cur" / gone)
    os.rename(maildir / "new" / os.fsdecode(mailbox.box.index.names[3]), maildir / "kept")
    os.mkfifo(maildir / "new" / os.fsdecode(mailbox.box.index.names[3]))
    found = read_many(mailbox, [*uids, 99], True, (True, True))
    assert [number for number, one in enumerate(found) if one is None] == [1, 2, 3, 8, 10, 11]
    assert opened(mailbox, uids[1], True) == b"Subject: a\r\nTo: b\r\n\r\nbody\r\nand\r\nmore"
    with pytest.raises(StorageError, match="gone"):
        mailbox.content(uids[2])


def test_a_message_of_a_known_size_is_read_without_a_look_at_its_file(maildir: Path) -> None:
    mailbox = mailbox_of(maildir)
    uids = list(mailbox.table.uids)
    mailbox.fill(uids, sizes=True, dates=True)
    before = read_many(mailbox, uids, True, (True, False))
    events: list[str] = []

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        events.append(name)
        return function(*args)

    mailbox.box.files = Files(call)
    assert read_many(mailbox, uids, True, (True, True)) == before
    assert before == [None if number in (8, 10) else to_crlf(data) for number, data in enumerate(FILES)]
    assert events == ["open", "pread", "close"] * (len(FILES) - 1)  # the very large one is left as it is
    assert mailbox.octets(uids[0]) == before[0]


KNOWN = b"Subject: a\n\nbody\n"


@pytest.mark.parametrize("data", [b"", KNOWN[:-1], KNOWN + b"\n", b"x" * 17, b"x" * 19, b"x" * 21, b"x" * 1000])
def test_a_file_of_another_size_than_is_known_is_left(tmp_path: Path, data: bytes) -> None:
    for part in ("cur", "new", "tmp"):
        (tmp_path / "m" / part).mkdir(parents=True)
    path = tmp_path / "m" / "cur" / "1700000000.M1P1.host:2,S"
    path.write_bytes(KNOWN)
    mailbox = mailbox_of(tmp_path / "m")
    mailbox.fill([1], sizes=True, dates=True)
    assert mailbox.octets(1) == to_crlf(KNOWN)
    path.write_bytes(data)
    assert mailbox.octets(1) is None
    assert opened(mailbox, 1, True) == to_crlf(data)


def test_a_file_that_is_read_in_part_is_left(maildir: Path) -> None:
    """A network file system that gives less than was asked for."""
    mailbox = mailbox_of(maildir)
    uids = list(mailbox.table.uids)
    mailbox.fill(uids, sizes=True, dates=True)
    mailbox.box.files = Files(
        lambda name, function, *args: function(*args)[:-1] if name == "pread" else function(*args)
    )
    assert [mailbox.octets(uid) for uid in uids if uid != 4] == [None] * (len(uids) - 1)


@pytest.mark.parametrize("whole", [True, False])
def test_each_of_them_is_looked_at_before_the_next_is_read(maildir: Path, whole: bool) -> None:
    """So there is never more than one of them in memory."""
    mailbox = mailbox_of(maildir)
    events: list[str] = []

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        events.append(name)
        return function(*args)

    mailbox.box.files = Files(call)
    mailbox.make_many(list(mailbox.table.uids), whole, (False, False), lambda place, octets: events.append("made"))
    assert events.count("made") > 5
    for place, event in enumerate(events):
        assert event != "made" or (events[place - 1] == "close" and events[place + 1 : place + 2] in ([], ["open"]))


@given(
    st.lists(st.sampled_from([b"A: b", b"\n", b"\r\n", b"\r", b"\n\n", b"\x1f\x8b\x08", b" "]), max_size=8).map(
        b"".join
    )
)
def test_a_header_is_seen_in_the_beginning_of_its_file(data: bytes) -> None:
    """Or else it is not; then the file has no empty line, or may be compressed."""
    found = maildir_octets.header_of_file(data)
    if found is None:
        assert data.startswith(b"\x1f\x8b\x08") or b"\r\n\r\n" not in b"\r\n" + BytesContent(data).read()
        return
    with tempfile.TemporaryFile() as file:
        file.write(data + b"body")
        file.flush()
        served = FileContent(os.dup(file.fileno()))
        assert served.header() == to_crlf(found)
        served.close()
