"""The assertions about locks see what they are there for."""

import os
from pathlib import Path

import pytest

from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore


@pytest.fixture
def account(tmp_path: Path) -> MaildirAccount:
    return MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(tmp_path / "Maildir")))


def box(account: MaildirAccount, name: str) -> MaildirMailbox:
    mailbox = account.open(name)
    assert isinstance(mailbox, MaildirMailbox)
    return mailbox


def test_nobody_locks_two_mailboxes(account: MaildirAccount) -> None:
    account.create("Other")
    with box(account, "INBOX").box.locked(), pytest.raises(AssertionError), box(account, "Other").box.locked():
        pass


def test_nobody_breathes_with_a_lock(account: MaildirAccount) -> None:
    inbox = box(account, "INBOX")
    with inbox.box.locked(), pytest.raises(AssertionError):
        inbox.box.context.runtime.breathe()
    inbox.box.context.runtime.breathe()


@pytest.mark.parametrize("name", ["cur/x", "new/x", "dovecot-uidlist", "dovecot-keywords"])
def test_nobody_changes_what_is_not_locked(account: MaildirAccount, tmp_path: Path, name: str) -> None:
    inbox = box(account, "INBOX")
    path = os.fsencode(tmp_path / "Maildir" / name)
    (tmp_path / "Maildir" / "tmp" / "y").touch()
    source = os.fsencode(tmp_path / "Maildir" / "tmp" / "y")
    with pytest.raises(AssertionError):
        inbox.box.files.rename(source, path)
    with inbox.box.locked():
        inbox.box.files.rename(source, path)


def test_the_rules_are_off_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENMAIL_DEBUG")
    assert MaildirStore(direct()).rules is None
