"""A mailbox that changes without any of its messages: RFC 7162 3.2, of SETMETADATA."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenmail.runtime import direct
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore


def test_setting_an_annotation_raises_the_mod_sequence_for_good_and_for_everybody(tmp_path: Path) -> None:
    settings = MaildirSettings(mail_path=str(tmp_path / "Maildir"))
    first = MaildirStore(direct()).open_account("alice", settings)
    second = MaildirStore(direct()).open_account("alice", settings)  # as another worker
    here, there = first.open("INBOX"), second.open("INBOX")
    before = here.modseq
    first.set_metadata("INBOX", {"/private/comment": b"x"}, 10)
    here.look()
    there.look()
    assert before < here.modseq == there.modseq
    assert here.changes(before).changed == []
    assert here.changes(before).expunged == []
    again = MaildirStore(direct()).open_account("alice", settings).open("INBOX")
    assert again.modseq == here.modseq


def test_a_mod_sequence_that_cannot_be_journalled_is_told_to_nobody(tmp_path: Path) -> None:
    """The Maildir does not show it to a server that starts afterwards: there it would be lower."""
    is_full = False

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        if is_full and name in ("write", "pwrite"):
            raise OSError(errno.ENOSPC, "full")
        return function(*args)

    settings = MaildirSettings(mail_path=str(tmp_path / "Maildir"))
    here = MaildirStore(direct(), files=Files(call)).open_account("alice", settings).open("INBOX")
    before, is_full = here.modseq, True
    here.touch()
    again = MaildirStore(direct()).open_account("alice", settings).open("INBOX")
    assert here.modseq == before == again.modseq
