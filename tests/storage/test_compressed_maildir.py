"""Compressed files in a Maildir, without any server: sizes, copies, what is opened, and what a name may keep."""

import bz2
import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.message import content
from greenmail.runtime import direct
from greenmail.storage.api import Account
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

MAIL = b"Subject: packed\n\n" + b"a line of the body\n" * 400
SENT = MAIL.replace(b"\n", b"\r\n")
RIGHT = f",S={len(MAIL)},W={len(SENT)}"


def account(tmp_path: Path, call: Callable[..., Any] | None = None, **settings: Any) -> Account:
    for name in ("", ".Copies"):
        for part in ("cur", "new", "tmp"):
            (tmp_path / "Maildir" / name / part).mkdir(parents=True, exist_ok=True)
    files = Files() if call is None else Files(call)
    made = MaildirSettings(str(tmp_path / "Maildir"), **settings)
    return MaildirStore(direct(), files=files).open_account("alice", made)


def put(tmp_path: Path, name: str, data: bytes = MAIL, pack: Callable[[bytes], bytes] = gzip.compress) -> Path:
    account(tmp_path)
    path = tmp_path / "Maildir" / "cur" / name
    path.write_bytes(pack(data))
    return path


def inbox(owner: Account) -> MaildirMailbox:
    mailbox = owner.open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    return mailbox


def text(mailbox: MaildirMailbox, uid: int) -> bytes:
    message = mailbox.content(uid)
    try:
        return message.read()
    finally:
        message.close()


@pytest.mark.parametrize("name", [f"1.M1P1.h{RIGHT}:2,SZ", f"1.M1P1.h,S={len(MAIL)}:2,S", "1.M1P1.h:2,", "1.M1P1.h"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_sizes_and_octets_are_those_of_what_is_in_the_file(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, name, pack=pack)
    mailbox = inbox(account(tmp_path))
    assert mailbox.counters().measure() == len(SENT)
    assert text(mailbox, 1) == SENT
    assert mailbox.table.sizes[0] == len(SENT)
    assert "wrong-size" not in caplog.text
    mailbox.close()
    (tmp_path / "Maildir" / "greenmail.index").unlink()
    assert text(inbox(account(tmp_path)), 1) == SENT  # before its size is known


@pytest.mark.parametrize("name", ["1.M1P1.h:2,", f"1.M1P1.h{RIGHT}:2,"])
def test_how_much_a_message_may_unpack_to_is_a_setting(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    owner = account(tmp_path, max_unpacked_size=len(MAIL) - 1)
    mailbox = inbox(owner)
    mailbox.counters().measure()
    mailbox.copy([1], owner.open("Copies"))
    if RIGHT in name:  # what the name tells is believed
        assert text(mailbox, 1) == SENT
        return
    with pytest.raises(StorageError) as raised:
        text(mailbox, 1)
    assert raised.value.reason is Reason.LIMIT


def test_with_sizes_in_the_name_no_message_is_opened(tmp_path: Path) -> None:
    path = put(tmp_path, f"1.M1P1.h{RIGHT}:2,S")
    opened: list[bytes] = []

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == "open":
            opened.append(args[0])
        return function(*args)

    mailbox = inbox(account(tmp_path, call))
    mailbox.fill([1], sizes=True)
    assert mailbox.counters().measure() == len(SENT)
    assert os.fsencode(path) not in opened
    text(mailbox, 1)
    assert os.fsencode(path) in opened


def test_wrong_sizes_in_a_name_are_put_right_when_it_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path, "1.M1P1.h,S=9000,W=9001:2,S")
    mailbox = inbox(account(tmp_path))
    assert mailbox.table.sizes[0] == 9001
    assert text(mailbox, 1) == SENT
    assert "wrong-size" in caplog.text and path.exists()
    assert mailbox.fill([1], sizes=True) is None


NAMES = [
    (f"1.M1P1.h{RIGHT}:2,S", f"1.M1P1.h{RIGHT}"),
    (f"1.M1P1.h,S={len(MAIL)}:2,S", f"1.M1P1.h,S={len(MAIL)}"),
    ("1.M1P1.h:2,S", "1.M1P1.h"),
    ("1.M1P1.h,S=1:2,S", None),  # wrong: the copy gets a name that is right
]


@pytest.mark.parametrize("name, kept", NAMES)
@pytest.mark.parametrize("moves", [False, True])
def test_copies_are_the_file_as_it_lies(tmp_path: Path, name: str, kept: str | None, moves: bool) -> None:
    data = put(tmp_path, name).read_bytes()
    owner = account(tmp_path)
    mailbox, target = inbox(owner), owner.open("Copies")
    assert isinstance(target, MaildirMailbox)
    (mailbox.move if moves else mailbox.copy)([1], target)
    (copy,) = (tmp_path / "Maildir" / ".Copies" / "cur").iterdir()
    assert copy.read_bytes() == data
    base = copy.name.partition(":")[0]
    assert base == kept if kept is not None else base.endswith(RIGHT)
    target.fill([1], sizes=True)
    assert (target.table.sizes[0], text(target, 1)) == (len(SENT), SENT)
    target.close()
    mailbox.close()
    (tmp_path / "Maildir" / ".Copies" / "greenmail.index").unlink()
    again = account(tmp_path).open("Copies")
    assert again.table.sizes[0] in (len(SENT), -1)
    again.fill([1], sizes=True)
    assert again.table.sizes[0] == len(SENT)


@pytest.mark.parametrize("name, _", NAMES)
def test_the_quota_is_what_it_was_after_a_copy_and_a_removal(tmp_path: Path, name: str, _: object) -> None:
    put(tmp_path, name)
    owner = account(tmp_path)
    (tmp_path / "Maildir" / "maildirsize").write_bytes(b"1000000S\n")
    mailbox, target = inbox(owner), owner.open("Copies")
    mailbox.copy([1], target)
    mailbox.move([1], target)
    lines = (tmp_path / "Maildir" / "maildirsize").read_bytes().split(b"\n")[1:-1]
    sums = [sum(int(line.split()[column]) for line in lines) for column in (0, 1)]
    sizes = [path.name.partition(",S=")[2].split(",")[0].split(":")[0] or path.stat().st_size
             for path in (tmp_path / "Maildir" / ".Copies" / "cur").iterdir()]  # fmt: skip
    original = name.partition(",S=")[2].split(",")[0].split(":")[0] or len(gzip.compress(MAIL))
    assert sums == [sum(map(int, sizes)) - int(original), 1]


def test_a_damaged_message_is_copied_as_it_lies_and_refused_when_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"1.M1P1.h{RIGHT}:2,S"
    put(tmp_path, name, pack=lambda data: gzip.compress(data)[:-6])
    owner = account(tmp_path)
    mailbox, target = inbox(owner), owner.open("Copies")
    with pytest.raises(StorageError) as raised, caplog.at_level(logging.ERROR):
        text(mailbox, 1)
    assert raised.value.reason is Reason.CORRUPT
    assert name in caplog.text
    mailbox.copy([1], target)
    (copy,) = (tmp_path / "Maildir" / ".Copies" / "cur").iterdir()
    assert copy.name == name


def test_slices_of_a_large_message_cost_it_once_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = MAIL * 60
    put(tmp_path, "1.M1P1.h:2,S", large)
    owner = account(tmp_path)
    mailbox = inbox(owner)
    mailbox.fill([1], sizes=True)
    made: list[int] = []
    unpacked = content.Unpacked

    def noting(*args: Any) -> Any:
        made.append(1)
        return unpacked(*args)

    monkeypatch.setattr(content, "Unpacked", noting)
    sent = large.replace(b"\n", b"\r\n")
    found = b""
    for start in range(0, len(sent), 65536):
        message = mailbox.content(1)
        found += message.read(start, start + 65536)
        message.close()
    assert found == sent
    assert len(made) == 1


def test_what_begins_like_a_compressed_file_cannot_be_appended(tmp_path: Path) -> None:
    owner = account(tmp_path)
    mailbox = inbox(owner)
    for head, is_refused in ((b"\x1f\x8b\x08", True), (b"BZh91AY&SY", True), (b"BZh: no\r\n\r\n", False)):
        upload = mailbox.upload()
        for octet in head + b"rest of it":  # however it arrives
            upload.write(bytes([octet]))
        if is_refused:
            with pytest.raises(StorageError) as raised:
                mailbox.save([upload])
            assert raised.value.reason is Reason.CANNOT
            upload.abort()
        else:
            assert mailbox.save([upload]) == [1]
