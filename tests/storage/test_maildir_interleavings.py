"""Sessions of one worker that switch at every place where they may: the shared mailbox stays whole."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.green import Scheduler

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import DELETED, FlagAction, FlagChange, Mailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

ADD, REMOVE = FlagAction.ADD, FlagAction.REMOVE


class World:
    """Two workers on one Maildir, and a scheduler that switches wherever it can."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.scheduler = Scheduler(lambda number: self.random.randrange(number), eager=True)
        self.scheduler.clock.time = time.time()
        self.workers = [self.account(f"worker{number}") for number in range(2)]
        self.errors: list[BaseException] = []

    def account(self, host: str) -> MaildirAccount:
        """As another process would have it; the host stands for the pid in the names it makes."""
        settings = MaildirSettings(mail_path=str(self.path), lock_timeout=600.0, lock_host=host)
        return MaildirStore(self.scheduler.runtime()).open_account("alice", settings)

    def run(self, *sessions: Callable[[], None]) -> None:
        for session in sessions:
            self.scheduler.spawn(lambda session=session: self._guard(session))
        self.scheduler.run()
        if self.errors:
            raise self.errors[0]

    def _guard(self, session: Callable[[], None]) -> None:
        try:
            session()
        except BaseException as error:
            self.errors.append(error)


def put(mailbox: Mailbox, text: str, *flags: str) -> int:
    upload = mailbox.upload()
    upload.write(b"Subject: %b\r\n\r\nx\r\n" % text.encode())
    upload.flags = frozenset(flags)
    return mailbox.save([upload])[0]


def subjects(path: Path, name: str) -> Counter[str]:
    account = MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(path)))
    mailbox = account.open(name)
    found: Counter[str] = Counter()
    for uid in mailbox.table.uids:
        content = mailbox.content(uid)
        found[content.header().split(b"\r\n")[0][9:].decode()] += 1
        content.close()
    return found


@pytest.mark.parametrize("seed", range(12))
def test_sessions_of_two_workers_append_flag_and_expunge(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "Maildir", seed)
    kept: set[str] = set()

    def session(number: int) -> Callable[[], None]:
        def work() -> None:
            account = world.workers[number % 2]
            for step in range(4):
                inbox = account.open("INBOX")
                text = f"{number}-{step}"
                uid = put(inbox, text, "\\Seen")
                kept.add(text)
                inbox.store(list(inbox.table.uids)[-3:], FlagChange(ADD, frozenset({f"kw{number}"})))
                if step == 2:
                    inbox.store([uid], FlagChange(ADD, frozenset({DELETED})))
                    assert inbox.expunge([uid]) == [uid]
                    kept.discard(text)
                inbox.look()
                inbox.claim_recent()
                content = inbox.content(inbox.table.uids[0])
                content.read()
                content.close()
                inbox.close()

        return work

    world.run(*(session(number) for number in range(5)))
    assert subjects(world.path, "INBOX") == Counter(kept)
    tables = []
    for account in world.workers:
        inbox = account.open("INBOX")
        assert len(inbox.table.uids) == len(set(inbox.table.uids)) == len(kept)
        counters = inbox.counters()
        assert counters.unseen == 0 and counters.deleted == 0 and counters.messages == len(kept)
        tables.append((list(inbox.table.uids), list(inbox.table.modseqs)))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("seed", range(8))
def test_opposite_moves_in_many_sessions(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "Maildir", seed)
    world.workers[0].create("Other")
    texts = {f"mail-{number}" for number in range(6)}
    for text in texts:
        put(world.workers[0].open("INBOX"), text)

    def session(number: int) -> Callable[[], None]:
        def work() -> None:
            account = world.workers[number % 2]
            names = ("INBOX", "Other") if number % 4 < 2 else ("Other", "INBOX")
            for _ in range(3):
                source, target = (account.open(name) for name in names)
                source.move(list(source.table.uids)[:2], target)

        return work

    world.run(*(session(number) for number in range(6)))
    assert set(subjects(world.path, "INBOX") + subjects(world.path, "Other")) == texts


@pytest.mark.parametrize("seed", range(8))
def test_one_mail_moved_by_two_stays_one(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "Maildir", seed)
    world.workers[0].create("Other")
    for number in range(3):
        put(world.workers[0].open("INBOX"), f"mail-{number}")
    moved: list[tuple[int, int]] = []

    def session(number: int) -> Callable[[], None]:
        def work() -> None:
            account = world.workers[number % 2]
            source, target = account.open("INBOX"), account.open("Other")
            moved.extend(source.move(list(source.table.uids), target))

        return work

    world.run(*(session(number) for number in range(4)))
    assert sorted(source for source, _ in moved) == [1, 2, 3]
    assert subjects(world.path, "Other") == Counter(f"mail-{number}" for number in range(3))
    assert not subjects(world.path, "INBOX")


@pytest.mark.parametrize("seed", range(8))
def test_renames_and_deletes_under_sessions(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "Maildir", seed)

    def replace() -> None:
        for number in range(4):
            world.workers[0].create("Box")
            for _ in range(10):
                world.scheduler.pause()
            if number % 2:
                world.workers[0].delete("Box")
            else:
                world.workers[0].rename("Box", f"Old{number}")

    def use(number: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(12):
                try:
                    box = world.workers[number % 2].open("Box")
                    text = str(box.uidvalidity)
                    put(box, text)
                    box.store(list(box.table.uids), FlagChange(ADD, frozenset({"\\Seen"})))
                    box.close()
                except StorageError as error:
                    if error.reason not in (Reason.GONE, Reason.NOT_FOUND):
                        raise
                    world.scheduler.pause()

        return work

    world.run(replace, use(0), use(1), use(2))
    account = world.account("last")
    for folder in account.folders():
        if folder.name.startswith("Old"):
            assert set(subjects(world.path, folder.name)) <= {str(account.open(folder.name).uidvalidity)}
