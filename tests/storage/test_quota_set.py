"""SETQUOTA, mailboxes and annotations in a quota: `quota_set`, `quota_counts`; and what stays of it on disk."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import QuotaLimits
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota_rules import Limits, OtherLimits, QuotaRules, from_user
from greenmail.storage.quota_set import parse, render

ROOT = "User quota"
LIMITS = st.builds(QuotaLimits, *[st.none() | st.integers(1, (1 << 63) - 1)] * 4)


@given(LIMITS)
def test_what_was_written_is_read(limits: QuotaLimits) -> None:
    assert parse(render(limits)) == limits


@given(st.binary() | st.text(alphabet="1\n storagemessages0987", max_size=60).map(str.encode))
def test_any_octets_are_limits_or_none(octets: bytes) -> None:
    assert isinstance(parse(octets), QuotaLimits | None)


@pytest.mark.parametrize(
    "octets, limits",
    [
        (b"1\n", QuotaLimits()),
        (b"1\nstorage 524288\nmessages 1000\n", QuotaLimits(524288, 1000)),
        (b"1\nannotations 7\nmailboxes 5\n", QuotaLimits(None, None, 5, 7)),
        (b"", None), (b"1", None), (b"2\n", None), (b"1\nstorage 5", None), (b"1\nstorage -5\n", None),
        (b"1\nstorage\n", None), (b"1\nstorage 5\nstorage 6\n", None), (b"1\nhouses 5\n", None),
        (b"1\nstorage \xb2\n", None), (b"1\nstorage " + b"9" * 20 + b"\n", None), (b"1\n\n", None),
    ],
)  # fmt: skip
def test_files(octets: bytes, limits: QuotaLimits | None) -> None:
    assert parse(octets) == limits


@pytest.mark.parametrize(
    "extra, others, problems",
    [
        ({}, OtherLimits(9, 99), 0),
        ({"quota_mailboxes": "5"}, OtherLimits(5, 99), 0),
        ({"quota_mailboxes": "0", "quota_annotations": "2k"}, OtherLimits(0, 2048), 0),
        ({"quota_annotations": "2M", "quota_rule": "*:messages=5"}, OtherLimits(9, 2 << 20), 0),
        ({"quota_mailboxes": "5k"}, OtherLimits(9, 99), 1),
        ({"quota_mailboxes": "-5", "quota_annotations": "5%"}, OtherLimits(9, 99), 2),
        ({"quota_mailboxes": ""}, OtherLimits(9, 99), 1),
    ],
)
def test_fields_of_the_passwd_file(extra: dict[str, str], others: OtherLimits, problems: int) -> None:
    found, wrong = from_user(extra, QuotaRules(others=OtherLimits(9, 99)))
    assert (found.others, len(wrong)) == (others, problems)


class Site:
    """One Maildir; each `open` is another worker, with rules of its own."""

    def __init__(self, where: Path) -> None:
        self.maildir = where / "Maildir"
        self.workers = 0

    def open(self, rules: QuotaRules = QuotaRules(), **settings: Any) -> MaildirAccount:
        self.workers += 1  # names of files hold host, pid and a counter
        found = MaildirSettings(str(self.maildir), quota=rules, lock_host=f"host{self.workers}", **settings)
        return MaildirStore(replace(direct(), now=lambda: 1_800_000_000.0)).open_account("alice", found)

    def head(self) -> str:
        return (self.maildir / "maildirsize").read_text().splitlines()[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def save(account: MaildirAccount, number: int = 1) -> None:
    mailbox = account.open("INBOX")
    for _ in range(number):
        upload = mailbox.upload()
        upload.write(b"Subject: x\r\n\r\n" + b"0123456\r\n" * 8)
        mailbox.save([upload])
    mailbox.close()


def reason(what: Any, *args: Any) -> Reason | None:
    try:
        what(*args)
    except StorageError as error:
        return error.reason
    return None


def test_what_was_set_comes_before_what_is_configured_and_before_the_file(site: Site) -> None:
    rules = QuotaRules(Limits(messages=1))
    account = site.open(rules)
    save(account)
    assert reason(save, account) is Reason.OVER_QUOTA
    account.set_quota(ROOT, QuotaLimits(storage=1 << 20, messages=3))
    assert site.head() == "1048576S,3C", "other programs hear of it at once"
    save(account)
    other = site.open(rules)
    save(other)
    assert reason(save, other) is Reason.OVER_QUOTA
    assert (other.quota(ROOT).messages_used, other.quota(ROOT).messages_limit) == (3, 3)
    nobody = site.open()
    assert nobody.quota(ROOT).messages_limit == 3
    assert nobody.quota_roots("INBOX") == [ROOT]


def test_of_several_workers_each_hears_of_it(site: Site) -> None:
    one, other = site.open(QuotaRules(Limits(messages=1))), site.open(QuotaRules(Limits(messages=1)))
    save(one)
    assert reason(save, other) is Reason.OVER_QUOTA
    one.set_quota(ROOT, QuotaLimits(messages=2))
    save(other)
    assert reason(save, other) is Reason.OVER_QUOTA
    other.set_quota(ROOT, QuotaLimits())
    save(one, 3)
    assert (one.quota(ROOT).messages_used, one.quota(ROOT).messages_limit) == (5, None)
    assert site.head() == "0S"


def test_a_limit_below_what_is_used_refuses_more_and_removes_nothing(site: Site) -> None:
    account = site.open()
    save(account, 3)
    account.set_quota(ROOT, QuotaLimits(messages=1))
    assert (account.quota(ROOT).messages_used, account.quota(ROOT).messages_limit) == (3, 1)
    assert reason(save, account) is Reason.OVER_QUOTA


def test_who_removes_the_file_is_back_at_what_is_configured(site: Site) -> None:
    rules = QuotaRules(Limits(messages=7), others=OtherLimits(mailboxes=2))
    account = site.open(rules)
    account.set_quota(ROOT, QuotaLimits(messages=3))
    assert account.quota(ROOT).mailboxes_limit is None
    (site.maildir / "greenmail-data" / "quota").unlink()
    found = site.open(rules).quota(ROOT)
    assert (found.messages_limit, found.mailboxes_limit, found.mailboxes_used) == (7, 2, 1)
    assert site.head() == "7C"


def test_a_file_that_cannot_be_understood_counts_as_missing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    account = site.open(QuotaRules(Limits(messages=7)))
    account.set_quota(ROOT, QuotaLimits(messages=3))
    path = site.maildir / "greenmail-data" / "quota"
    path.write_bytes(b"rubbish")
    assert account.quota(ROOT).messages_limit == 7
    assert account.quota(ROOT).messages_limit == 7
    assert [record.message for record in caplog.records if "cannot be understood" in record.message] == [
        f"quota path={os.fsencode(path)!r} cannot be understood: what is configured counts"
    ]
    assert path.read_bytes() == b"rubbish"


def test_a_file_that_cannot_be_read_is_told_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    account = site.open(QuotaRules(Limits(messages=7)))
    account.set_quota(ROOT, QuotaLimits(messages=3))
    path = site.maildir / "greenmail-data" / "quota"
    path.unlink()
    path.symlink_to(path)  # ELOOP
    assert [account.quota(ROOT).messages_limit for _ in range(3)] == [3, 3, 3], "what was read last counts"
    assert (
        len([record for record in caplog.records if record.levelname == "WARNING" and "quota path" in record.message])
        == 1
    )


def test_the_limits_of_nobody_are_not_made(site: Site) -> None:
    account = site.open()
    assert reason(account.set_quota, "another", QuotaLimits(messages=3)) is Reason.NOT_FOUND
    assert account.quota_roots("INBOX") == []
    assert not (site.maildir / "maildirsize").exists()


def test_limits_that_cannot_be_written_are_not_set(site: Site) -> None:
    account = site.open(QuotaRules(Limits(messages=7)))
    (site.maildir / "greenmail-data").mkdir(exist_ok=True)
    (site.maildir / "greenmail-data" / "quota").mkdir()
    assert reason(account.set_quota, ROOT, QuotaLimits(messages=3)) is not None
    assert account.quota(ROOT).messages_limit == 7


def test_mailboxes_are_limited_without_a_maildirsize(site: Site) -> None:
    account = site.open(QuotaRules(others=OtherLimits(mailboxes=2)))
    account.create("one")
    assert reason(account.create, "two") is Reason.OVER_QUOTA
    assert reason(account.create, "one") is Reason.EXISTS
    assert not (site.maildir / ".two").exists()
    found = account.quota(ROOT)
    assert (found.mailboxes_used, found.mailboxes_limit, found.messages_limit) == (2, 2, None)
    assert not (site.maildir / "maildirsize").exists(), "it is not for us to begin one"


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
def test_annotations_of_all_mailboxes_count(site: Site, layout: str) -> None:
    account = site.open(QuotaRules(others=OtherLimits(annotations=100), ignored=("free",)), layout=layout)
    for name in ("one", "free"):
        account.create(name)
    account.set_metadata("one", {"/private/a": b"x" * 30}, 9)  # 40 octets
    account.set_metadata("", {"/private/b": b"x" * 30}, 9)
    account.set_metadata("free", {"/private/a": b"x" * 300}, 9)
    assert account.quota(ROOT).annotations_used == 80
    assert reason(account.set_metadata, "INBOX", {"/private/a": b"x" * 11}, 9) is Reason.OVER_QUOTA
    assert account.metadata("INBOX") == {}
    account.set_metadata("INBOX", {"/private/a": b"x" * 10}, 9)
    assert reason(account.set_metadata, "", {"/private/b": b"x" * 31}, 9) is Reason.OVER_QUOTA
    account.set_metadata("", {"/private/b": b"x" * 29}, 9)
    account.delete("one")
    assert account.quota(ROOT).annotations_used == 59


def test_annotations_that_go_along_with_inbox_are_not_refused(site: Site) -> None:
    """RENAME of INBOX has moved the messages by then."""
    account = site.open(QuotaRules(others=OtherLimits(annotations=50)))
    account.set_metadata("INBOX", {"/private/a": b"x" * 30}, 9)
    account.rename("INBOX", "old")
    assert account.metadata("old") == account.metadata("INBOX") != {}
