"""Accounts that nobody uses are kept for a while: only as long as making them anew would find the same."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from greenmail.errors import StorageError
from greenmail.runtime import direct
from greenmail.storage import maildir_store
from greenmail.storage.account import MaildirAccount
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota_rules import Limits, QuotaRules

LATER = replace(direct(), now=lambda: time.time() + 10)  # when times of directories prove something


@pytest.fixture
def settings(tmp_path: Path) -> MaildirSettings:
    found = MaildirSettings(mail_path=str(tmp_path / "mail"))
    MaildirStore(direct()).open_account("alice", found).close()
    return found


def test_who_logs_in_again_gets_the_account_of_before(settings: MaildirSettings) -> None:
    store = MaildirStore(LATER)
    first = store.open_account("alice", settings)
    first.close()
    assert store.open_account("alice", replace(settings)) is first
    assert store.open_account("alice", settings) is first and first.references == 2
    assert store.open_account("bob", settings) is not first


def test_what_was_made_or_removed_in_its_directories_is_looked_at(settings: MaildirSettings) -> None:
    store, root = MaildirStore(LATER), Path(settings.mail_path)
    kept = store.open_account("alice", settings)
    kept.close()
    (root / ".By another").mkdir()
    made = store.open_account("alice", settings)
    assert made is not kept
    made.close()
    os.rename(root, root.with_name("away"))
    with pytest.raises(StorageError):
        store.open_account("alice", replace(settings, create_mail_path=False))


def test_what_changed_a_moment_ago_may_change_again_unseen(settings: MaildirSettings) -> None:
    store = MaildirStore(direct())
    first = store.open_account("alice", settings)
    first.close()
    assert store.open_account("alice", settings) is not first


def test_other_settings_are_another_account(settings: MaildirSettings) -> None:
    store = MaildirStore(LATER)
    first = store.open_account("alice", settings)
    first.close()
    assert store.open_account("alice", replace(settings, max_keywords=7)) is not first


def test_the_quota_of_mail_that_two_share_is_that_of_who_logged_in_last(settings: MaildirSettings) -> None:
    store = MaildirStore(LATER)

    def opened(user: str, messages: int) -> MaildirAccount:
        return store.open_account(user, replace(settings, quota=QuotaRules(Limits(messages=messages))))

    first = opened("alice", 7)
    first.close()
    opened("bob", 8).close()
    assert opened("alice", 7) is first, "else this shows nothing"
    assert first.quota(first.quota_roots("INBOX")[0]).messages_limit == 7


def test_nested_layouts_are_looked_at_anew(tmp_path: Path) -> None:
    store, settings = MaildirStore(LATER), MaildirSettings(mail_path=str(tmp_path / "mail"), layout="fs")
    MaildirStore(direct()).open_account("alice", settings).close()
    first = store.open_account("alice", settings)
    first.close()
    assert store.open_account("alice", settings) is not first


@pytest.mark.interpreted
def test_none_is_kept_for_long(settings: MaildirSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    store = MaildirStore(LATER)
    first = store.open_account("alice", settings)
    first.close()
    clock[0] += maildir_store._KEPT
    assert store.open_account("alice", settings) is not first


@pytest.mark.interpreted
def test_so_many_are_kept_and_no_more(settings: MaildirSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir_store, "_MOST_RESTING", 2)
    store = MaildirStore(LATER)
    made = {user: store.open_account(user, settings) for user in ("a", "b", "c")}
    for account in made.values():
        account.close()
    assert [store.open_account(user, settings) is made[user] for user in "abc"] == [False, True, True]
