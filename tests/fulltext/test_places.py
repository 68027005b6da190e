"""Mail of every kind has its index where it belongs: compressed, read-only, others'."""

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.namespaces import Spool

from greenmail.fulltext.service import FullTextService, Means
from greenmail.preload import preload
from greenmail.runtime import direct
from greenmail.storage.api import Account
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.text_index import TextNeedle, has_index

NOBODY = 65534


def run(function: Callable[..., object], *args: object) -> object:
    return function(*args)


def found(account: Account, name: str, text: str, fills: bool = True) -> set[int] | None:
    """What is left to be opened, after the index was filled."""
    waiting: list[Callable[[], None]] = []
    runtime = direct()
    service = FullTextService(Means(runtime, run, waiting.append))
    mailbox = account.open(name)
    try:
        if fills:
            service.fill(mailbox)
            for work in waiting:
                work()
        index = service.of(mailbox)
        if index is None:
            return None
        answer = index.sift([TextNeedle(text, True)], mailbox.table.uids)[0]
        return None if answer is None else set(answer)
    finally:
        mailbox.close()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user of the machine can reach."""
    with tempfile.TemporaryDirectory(prefix="greenmail-test-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def maildir(root: Path) -> Path:
    for part in ("cur", "new", "tmp"):
        (root / part).mkdir(parents=True)
    (root / "cur" / "1700000001.M1P1.mx:2,S").write_bytes(b"Subject: plain\n\nvoice\n")
    (root / "cur" / "1700000002.M2P1.mx:2,S").write_bytes(gzip.compress(b"Subject: packed\n\nan invoice\n"))
    return root


def test_compressed_messages_are_indexed(tmp_path: Path) -> None:
    settings = MaildirSettings(mail_path=str(maildir(tmp_path / "Maildir")), full_text_search=True)
    account = MaildirStore(direct()).open_account("alice", settings)
    assert found(account, "INBOX", "invoice") == {2}
    assert found(account, "INBOX", "voice") == {1, 2}


@pytest.mark.skipif(os.getuid() != 0, reason="ids can be changed by root alone")
@pytest.mark.parametrize("has_index_path", [True, False])
def test_a_read_only_maildir_has_its_index_below_index_path_or_none(reachable: Path, has_index_path: bool) -> None:
    root = maildir(reachable / "Maildir")
    index = reachable / "index"
    index.mkdir()
    os.chown(index, NOBODY, NOBODY)
    preload("")
    os.seteuid(NOBODY)
    try:
        settings = MaildirSettings(
            mail_path=str(root), index_path=str(index / "alice") if has_index_path else "", full_text_search=True
        )
        account = MaildirStore(direct()).open_account("alice", settings)
        assert found(account, "INBOX", "invoice") == ({2} if has_index_path else None)
    finally:
        os.seteuid(0)
    assert not list(root.rglob("*.sqlite"))


def test_a_shared_mailbox_is_in_its_owners_index(tmp_path: Path) -> None:
    spool = Spool(tmp_path, settings={"full_text_search": True})
    box = spool.box(spool.home("bob") / ".Work", acl="user=alice lr\nowner lrwstipekxa\n")
    spool.deliver(box, 1)
    alice = spool.worker().account("alice")
    assert has_index(alice)
    assert found(alice, "shared/bob/Work", "Hello".lower()) == {1}
    assert list(spool.home("bob").glob("greenmail-fulltext/*.sqlite"))
    assert not list(spool.home("alice").glob("greenmail-fulltext"))
    assert found(spool.worker().account("bob"), "Work", "hello", fills=False) == {1}


def test_an_account_without_the_setting_has_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert not has_index(spool.worker().account("alice"))
    assert found(spool.worker().account("alice"), "INBOX", "hello") is None
