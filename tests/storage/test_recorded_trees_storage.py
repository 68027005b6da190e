"""Maildirs that Dovecot and Courier wrote: what the store says of them equals what those servers answered.

Numbers in the names of tests are those of the conformance checklist in the description of the format.
"""

import calendar
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.trees import drop_index, expected, unpack

from greenmail.runtime import direct
from greenmail.storage import mutf7
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Account, FlagAction, FlagChange, Mailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

_NAME = re.compile(r'^\* (?:LIST|LSUB) \([^)]*\) "." (?:"(.*)"|(.*))$')


def mailboxes(server: str, which: str) -> dict[str, Any]:
    """The answers for mailboxes that can be selected."""
    return {name: answer for name, answer in expected(server, which)["mailboxes"].items() if answer.get("uidvalidity")}


DOVECOT = mailboxes("dovecot", "expected-noindex.json")
COURIER = mailboxes("courier", "expected.json")


def open_dovecot(maildir: Path) -> MaildirAccount:
    return MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(maildir)))


def open_courier(maildir: Path) -> MaildirAccount:
    settings = MaildirSettings(mail_path=str(maildir), prefix="INBOX.", separator=".")
    return MaildirStore(direct()).open_account("carol", settings)


@pytest.fixture(scope="module")
def alice_maildir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maildir = unpack("dovecot", tmp_path_factory.mktemp("alice"))
    drop_index(maildir)
    return maildir


@pytest.fixture(scope="module")
def alice(alice_maildir: Path) -> MaildirAccount:
    return open_dovecot(alice_maildir)


@pytest.fixture(scope="module")
def carol(tmp_path_factory: pytest.TempPathFactory) -> MaildirAccount:
    return open_courier(unpack("courier", tmp_path_factory.mktemp("carol")))


def seconds(internal_date: str) -> int:
    """ "20-Nov-2026 12:00:01 +0000" as seconds since 1970."""
    return calendar.timegm(time.strptime(internal_date, "%d-%b-%Y %H:%M:%S +0000"))


def read(mailbox: Mailbox, uid: int) -> bytes:
    content = mailbox.content(uid)
    try:
        return content.read()
    finally:
        content.close()


def compare(account: Account, name: str, answer: dict[str, Any]) -> None:
    """One mailbox: UIDVALIDITY, UIDNEXT, UIDs, flags, sizes, dates, bodies."""
    mailbox = account.open(mutf7.decode(name.encode("ascii")))
    assert (mailbox.uidvalidity, mailbox.uidnext) == (answer["uidvalidity"], answer["status"]["UIDNEXT"]), name
    messages = answer["messages"]
    uids = [message["UID"] for message in messages]
    assert list(mailbox.table.uids) == uids, name
    mailbox.fill(uids, sizes=True, dates=True)
    for message in messages:
        row = mailbox.last_row(message["UID"])
        assert row is not None
        where = f"{name} {row.uid}"
        assert sorted(row.flags) == sorted(set(message["FLAGS"]) - {"\\Recent"}), where
        assert row.size == message["RFC822.SIZE"], where
        assert row.date == seconds(message["INTERNALDATE"]), where
        body = read(mailbox, row.uid)
        assert len(body) == message["BODY_len"] and hashlib.sha256(body).hexdigest() == message["BODY_sha256"], where
    counters = mailbox.counters()
    assert counters.size == sum(message["RFC822.SIZE"] for message in messages)
    assert counters.unseen == sum("\\Seen" not in message["FLAGS"] for message in messages)
    mailbox.close()


def listed(answer: dict[str, Any]) -> dict[str, set[str]]:
    """Attributes of LIST by name, those that a store knows."""
    found = {}
    for line in answer["list_raw"]:
        (name,) = list_names([line])
        found[name] = set(re.findall(r"\\(?:Noselect|HasChildren|HasNoChildren)", line))
    return found


def list_names(lines: list[str]) -> list[str]:
    """The names in LIST or LSUB responses."""
    matches = [_NAME.match(line) for line in lines]
    return [mutf7.decode((match[1] or match[2]).encode("ascii")) for match in matches if match]


def attributes(account: Account) -> dict[str, set[str]]:
    return {
        folder.name: {"\\HasChildren" if folder.has_children else "\\HasNoChildren"}
        | (set() if folder.selectable else {"\\Noselect"})
        for folder in account.folders()
    }


def names_of_files(maildir: Path) -> set[str]:
    return {
        str(path.relative_to(maildir))
        for path in maildir.rglob("*")
        if path.is_file() and path.parent.name in ("new", "cur")
    }


def test_1_names_of_dovecot(alice: MaildirAccount) -> None:
    assert attributes(alice) == listed(expected("dovecot", "expected-noindex.json"))


def test_2_subscriptions_of_dovecot(alice: MaildirAccount) -> None:
    assert sorted(alice.subscriptions()) == sorted(list_names(expected("dovecot")["list_subscribed_raw"]))


@pytest.mark.parametrize("name", sorted(DOVECOT))
def test_3_to_7_mailboxes_of_dovecot(alice: MaildirAccount, name: str) -> None:
    compare(alice, name, DOVECOT[name])


def test_6_a_letter_without_a_name_is_named_in_the_file(alice: MaildirAccount, alice_maildir: Path) -> None:
    mailbox = alice.open("Archive")
    row = mailbox.last_row(4)
    assert row is not None and "unknown-25" in row.flags
    mailbox.store([4], FlagChange(FlagAction.ADD, frozenset({"\\Answered"})))
    lines = (alice_maildir / ".Archive" / "dovecot-keywords").read_text().splitlines()
    assert "25 unknown-25" in lines and len(lines) == 5


def test_9_and_13_pop3_of_dovecot(alice: MaildirAccount) -> None:
    items = alice.open("INBOX").maildrop()
    assert [item.uid for item in items] == [
        message["UID"] for message in expected("dovecot")["mailboxes"]["INBOX"]["messages"]
    ]


def test_12_opening_changes_no_file_name_and_claiming_moves(tmp_path: Path) -> None:
    maildir = unpack("dovecot", tmp_path)
    before = names_of_files(maildir)
    account = open_dovecot(maildir)
    for folder in account.folders():
        if folder.selectable:
            account.open(folder.name).counters()
    assert names_of_files(maildir) == before
    inbox = account.open("INBOX")
    waiting = sorted(name for name in before if name.startswith("new/"))
    assert len(waiting) == 2
    inbox.claim_recent()
    after = names_of_files(maildir)
    assert before - after == set(waiting)
    assert after - before == {"cur" + name[3:] + ":2," for name in waiting}


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may write everywhere: become somebody else, as far as the file system is concerned."""
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
        yield
        os.seteuid(0)
        os.setegid(0)
    else:
        yield


def seal(maildir: Path) -> None:
    for path in [maildir, *maildir.rglob("*"), *maildir.parents]:
        mode = path.stat().st_mode
        if path in maildir.parents:
            if os.access(path, os.W_OK) and not mode & stat.S_ISVTX and path.stat().st_uid == os.getuid():
                path.chmod(mode | 0o055)
        else:
            path.chmod(0o555 if path.is_dir() else 0o444)


def test_13_a_read_only_copy_can_be_read(tmp_path: Path, unprivileged_maildir: Path) -> None:
    account = open_dovecot(unprivileged_maildir)
    answer = expected("dovecot", "expected-noindex.json")
    assert attributes(account) == listed(answer)
    for name in DOVECOT:
        compare(account, name, DOVECOT[name])
    inbox = account.open("INBOX")
    assert inbox.read_only and not inbox.can_add_keywords
    assert inbox.table.uids[-1] == 22
    inbox.claim_recent()
    inbox.look()
    again = account.open("INBOX")
    again.look()
    assert again.table.uids[-1] == 22 and again.uidnext == 23
    assert read(again, 22) == read(inbox, 22)


@pytest.fixture
def unprivileged_maildir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    maildir = unpack("dovecot", tmp_path)
    drop_index(maildir)
    seal(maildir)
    request.getfixturevalue("unprivileged")
    return maildir


def test_46_names_and_mailboxes_of_courier(carol: MaildirAccount) -> None:
    answer = expected("courier")
    assert set(attributes(carol)) == set(listed(answer))
    for name in COURIER:
        compare(carol, name, COURIER[name])
    assert carol.open("INBOX").table.uids[-1] == 14


def test_47_pop3_of_courier(carol: MaildirAccount) -> None:
    items = carol.open("INBOX").maildrop()
    answer = [line.split()[1] for line in expected("courier")["pop3_uidl"]]
    assert [item.uidl for item in items] == answer
    assert answer[2].startswith("UID13-")
    assert [item.order for item in items] == list(range(1, 14))


def test_48_utf8_directories_and_subscriptions_of_courier(carol: MaildirAccount) -> None:
    names = {folder.name for folder in carol.folders()}
    assert {"INBOX.Archive.2024.März", "INBOX.A&B"} <= names
    assert set(carol.subscriptions()) == set(
        list_names([line for line in expected("courier")["lsub_raw"] if "\\Noselect" not in line])
    )


def test_49_keywords_of_update_files(carol: MaildirAccount) -> None:
    mailbox = carol.open("INBOX.ManyKeywords")
    assert [len(mailbox.table.flags_of(row)) for row in range(2)] == [20, 20]
    assert len(mailbox.keywords) == 30


def test_a_second_opening_reads_the_index(alice: MaildirAccount, alice_maildir: Path) -> None:
    again = open_dovecot(alice_maildir)
    for name in DOVECOT:
        if name != "Archive":  # changed above
            compare(again, name, DOVECOT[name])


def test_nothing_is_lost_with_the_index_files(tmp_path: Path) -> None:
    maildir = unpack("dovecot", tmp_path)
    drop_index(maildir)
    for _ in range(3):
        account = open_dovecot(maildir)
        for name in DOVECOT:
            compare(account, name, DOVECOT[name])
        for path in maildir.rglob("greenmail.*"):
            path.unlink()
