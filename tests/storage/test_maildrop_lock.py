"""`greenmail.pop3`: what one POP3 session notes, the next one recalls, also after a restart; it may be lost."""

import os

from greenmail.storage.filesystem import Files
from greenmail.storage.maildrop_lock import NAME, MaildropLock


class Lock:
    released = 0

    def release(self) -> None:
        self.released += 1


def made(directory) -> MaildropLock:
    return MaildropLock(Files(), Lock(), os.fsencode(directory) if directory else b"")


def test_a_note_is_kept(tmp_path):
    assert made(tmp_path).recall() == b""
    made(tmp_path).note(b"one")
    made(tmp_path).note(b"another")
    assert made(tmp_path).recall() == b"another"
    assert [path.name for path in tmp_path.iterdir()] == ["greenmail.pop3"]


def test_what_stands_in_the_way_keeps_nobody_from_the_mail(tmp_path, caplog):
    path = tmp_path / os.fsdecode(NAME[1:])
    path.mkdir()
    made(tmp_path).note(b"one")
    assert made(tmp_path).recall() == b""
    path.rmdir()
    path.symlink_to("/etc/passwd")
    assert made(tmp_path).recall() == b""
    made(tmp_path).note(b"one")
    assert not path.is_symlink() and made(tmp_path).recall() == b"one"
    made(tmp_path / "missing").note(b"one")
    assert [line.split(" ")[0] for line in caplog.messages] == ["note"] * 4


def test_without_a_directory_nothing_is_kept():
    lock = made(None)
    lock.note(b"one")
    assert lock.recall() == b""
    lock.release()
    assert lock._lock.released == 1
