"""Several workers on one Maildir, as processes: nothing is lost, nothing is numbered twice, nobody waits for ever.

Each test runs for a second or two; with `-m slow` the same for as long as the work order asks.
"""

import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange, Mailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

ADD, REMOVE = FlagAction.ADD, FlagAction.REMOVE
fork = multiprocessing.get_context("fork")


def open_account(path: Path) -> MaildirAccount:
    return MaildirStore(direct()).open_account("alice", MaildirSettings(mail_path=str(path), lock_timeout=20.0))


def put(mailbox: Mailbox, text: str, *flags: str) -> int:
    upload = mailbox.upload()
    upload.write(b"Subject: %b\r\n\r\nbody\r\n" % text.encode())
    upload.flags = frozenset(flags)
    return mailbox.save([upload])[0]


def subject(mailbox: Mailbox, uid: int) -> str:
    content = mailbox.content(uid)
    try:
        return content.header().split(b"\r\n")[0][9:].decode()
    finally:
        content.close()


def _child(work: Callable[..., Any], pipe: Connection, arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send((work(*arguments), ""))
    except BaseException:
        pipe.send((None, traceback.format_exc()))


def in_processes(jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]], limit: float) -> list[Any]:
    """Run each job in a process of its own; their results. Fails if one raises, or is not done in time."""
    running = []
    for work, arguments in jobs:
        mine, theirs = fork.Pipe()
        process = fork.Process(target=_child, args=(work, theirs, arguments))
        process.start()
        theirs.close()
        running.append((process, mine))
    results = []
    try:
        for _, pipe in running:
            assert pipe.poll(limit), "a worker does not come to an end"
            result, error = pipe.recv()
            assert not error, error
            results.append(result)
    finally:
        for process, _ in running:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
    return results


def append_and_flag(path: Path, name: str, seconds: float, seed: int) -> dict[int, str]:
    """What this worker was told about its own messages: UID -> subject."""
    chance = random.Random(seed)
    inbox = open_account(path).open("INBOX")
    told: dict[int, str] = {}
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        text = f"{name}-{number}"
        told[put(inbox, text, "\\Seen" if number % 2 else "kw")] = text
        inbox.look()
        uid = chance.choice(inbox.table.uids)
        inbox.store([uid], FlagChange(chance.choice((ADD, REMOVE)), frozenset({chance.choice(("\\Flagged", name))})))
        if number % 10 == 0:
            doomed = chance.choice(sorted(told))
            inbox.store([doomed], FlagChange(ADD, frozenset({"\\Deleted"})))
            for uid in inbox.expunge([doomed]):
                told.pop(uid)
        assert inbox.table.uids == type(inbox.table.uids)("I", sorted(set(inbox.table.uids)))
    return told


def remove_index_files(path: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for file in path.glob("greenmail.*"):
            if file.is_file():
                file.unlink(missing_ok=True)
        time.sleep(0.05)  # the pace of the test, not a wait for something


def check_union(path: Path, told: list[dict[int, str]]) -> None:
    """Every message that somebody was told of is there under its UID, once, and nothing else is."""
    inbox = open_account(path).open("INBOX")
    union: dict[int, str] = {}
    for mine in told:
        assert not union.keys() & mine.keys()
        union.update(mine)
    assert {uid: subject(inbox, uid) for uid in inbox.table.uids} == union
    flags = [inbox.table.flags_of(row) for row in range(len(inbox.table))]
    for file in path.glob("greenmail.*"):
        if file.is_file():
            file.unlink()
    again = open_account(path).open("INBOX")
    assert list(again.table.uids) == sorted(union)
    assert [again.table.flags_of(row) for row in range(len(again.table))] == flags


@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(15.0, marks=pytest.mark.slow), pytest.param(60.0, marks=pytest.mark.long)]
)
def test_two_workers_on_one_mailbox_while_index_files_are_removed(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "Maildir"
    open_account(path).open("INBOX")
    *told, _ = in_processes(
        [
            (append_and_flag, (path, "one", seconds, 1)),
            (append_and_flag, (path, "two", seconds, 2)),
            (remove_index_files, (path, seconds)),
        ],
        seconds + 30,
    )
    assert all(len(mine) > 5 for mine in told)
    check_union(path, told)


def compare_modseqs(path: Path, seconds: float, seed: int) -> list[tuple[int, int]]:
    append_and_flag(path, f"w{seed}", seconds, seed)
    return []


def test_workers_agree_on_modseqs_and_expunges(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    watcher = open_account(path).open("INBOX")
    start = watcher.modseq
    in_processes([(compare_modseqs, (path, 1.0, seed)) for seed in (1, 2)], 30)
    watcher.look()
    fresh = open_account(path).open("INBOX")
    assert list(watcher.table.uids) == list(fresh.table.uids)
    assert list(watcher.table.modseqs) == list(fresh.table.modseqs)
    assert watcher.changes(start) == fresh.changes(start)
    assert watcher.modseq == fresh.modseq


def shuffle(path: Path, seconds: float, seed: int, move: bool) -> int:
    """Copy or move at random between two mailboxes."""
    chance = random.Random(seed)
    account = open_account(path)
    boxes = [account.open("INBOX"), account.open("Other")]
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        source, target = chance.sample(boxes, 2)
        source.look()
        if not len(source.table):
            continue
        uids = chance.sample(list(source.table.uids), min(3, len(source.table)))
        done += len(source.move(uids, target) if move else source.copy(uids[:1], target))
    return done


@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(15.0, marks=pytest.mark.slow), pytest.param(60.0, marks=pytest.mark.long)]
)
def test_opposite_moves_lose_nothing_and_come_to_an_end(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "Maildir"
    account = open_account(path)
    account.create("Other")
    texts = {f"mail-{number}" for number in range(30)}
    for text in texts:
        put(account.open("INBOX"), text, "kw")
    done = in_processes([(shuffle, (path, seconds, seed, True)) for seed in (1, 2)], seconds + 30)
    assert all(done)
    account = open_account(path)
    found: Counter[str] = Counter()
    for name in ("INBOX", "Other"):
        mailbox = account.open(name)
        found.update(subject(mailbox, uid) for uid in mailbox.table.uids)
        assert all("kw" in mailbox.table.flags_of(row) for row in range(len(mailbox.table)))
    assert set(found) == texts


def test_opposite_copies_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    account = open_account(path)
    account.create("Other")
    put(account.open("INBOX"), "mail")
    put(account.open("Other"), "other")
    done = in_processes([(shuffle, (path, 1.0, seed, False)) for seed in (1, 2)], 30)
    total = sum(len(open_account(path).open(name).table) for name in ("INBOX", "Other"))
    assert total == 2 + sum(done)


def claim(path: Path, delivered: Path) -> list[int]:
    """The UIDs that were recent here, until all that is delivered was claimed by somebody."""
    inbox = open_account(path).open("INBOX")
    mine: list[int] = []
    last = False
    while not last:
        last = delivered.exists()  # before the claim: what came later is none
        first = inbox.claim_recent()
        mine += [uid for uid in inbox.table.uids if uid >= first]
    return mine


def deliver(path: Path, seconds: float, delivered: Path) -> int:
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        temporary = path / "tmp" / f"x{number}"
        temporary.write_bytes(b"Subject: x\n\n")
        temporary.rename(path / "new" / f"{int(time.time())}.M{number}P{os.getpid()}.mx")
        time.sleep(0.001)  # the pace of the test
    delivered.touch()
    return number


def test_every_recent_message_is_claimed_by_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    open_account(path).open("INBOX")
    delivered = tmp_path / "delivered"
    claims = [(claim, (path, delivered))] * 2
    one, two, count = in_processes([*claims, (deliver, (path, 0.9, delivered))], 30)
    assert sorted(one + two) == list(range(1, count + 1))


def rename_fast(path: Path, seconds: float) -> int:
    """Another program that flips a flag without any lock."""
    until, number = time.monotonic() + seconds, 0
    names = [path / "cur" / f"1700000000.M{n}P1.mx:2," for n in range(3)]
    while time.monotonic() < until:
        for name in names:
            flagged = name.with_name(name.name + "F")
            name.rename(flagged)
            flagged.rename(name)
            number += 2
    return number


def fetch_all(path: Path, seconds: float) -> int:
    inbox = open_account(path).open("INBOX")
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        inbox.look()
        assert list(inbox.table.uids) == list(range(1, 401))
        for uid in (*range(1, 6), 200):
            assert subject(inbox, uid) == "x"
        number += 1
    return number


@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(15.0, marks=pytest.mark.slow), pytest.param(60.0, marks=pytest.mark.long)]
)
def test_renames_without_a_lock_are_never_taken_for_expunges(tmp_path: Path, seconds: float) -> None:
    """Check 38."""
    path = tmp_path / "Maildir"
    open_account(path).open("INBOX").close()
    for number in range(400):
        (path / "cur" / f"1700000000.M{number}P1.mx:2,").write_bytes(b"Subject: x\n\nbody\n")
    open_account(path).open("INBOX").close()
    fetched, renamed = in_processes([(fetch_all, (path, seconds)), (rename_fast, (path, seconds))], seconds + 30)
    assert fetched > 2 and renamed > 100


def write_until_killed(path: Path, pipe: Connection) -> None:
    inbox = open_account(path).open("INBOX")
    number = 0
    while True:
        number += 1
        uid = put(inbox, f"mail-{os.getpid()}-{number}", "kw")
        pipe.send((uid, f"mail-{os.getpid()}-{number}"))
        inbox.store([uid], FlagChange(ADD, frozenset({"\\Flagged"})))


@pytest.mark.parametrize("trials", [8, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, trials: int) -> None:
    """Checks 32 and 33."""
    path = tmp_path / "Maildir"
    open_account(path).open("INBOX").close()
    chance = random.Random(5)
    known: dict[int, str] = {}
    for _ in range(trials):
        mine, theirs = fork.Pipe()
        process = fork.Process(target=write_until_killed, args=(path, theirs))
        process.start()
        theirs.close()
        stop = time.monotonic() + chance.uniform(0.02, 0.2)
        assert mine.poll(20)
        while time.monotonic() < stop:
            if mine.poll(0.01):
                uid, text = mine.recv()
                known[uid] = text
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        try:
            while mine.poll(0):
                uid, text = mine.recv()
                known[uid] = text
        except EOFError:
            pass  # the pipe is read to its end
        inbox = open_account(path).open("INBOX")
        found = {uid: subject(inbox, uid) for uid in inbox.table.uids}
        assert known.items() <= found.items()
        assert len(set(found.values())) == len(found)
        assert (path / "dovecot-uidlist").read_bytes().endswith(b"\n")


def select_and_store(path: Path, seconds: float) -> int:
    """A session on a mailbox that others rename, delete and make again under it."""
    account = open_account(path)
    until, gone = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        try:
            box = account.open("Box")
        except StorageError as error:
            assert error.reason in (Reason.NOT_FOUND, Reason.GONE), error
            continue
        try:
            uidvalidity = box.uidvalidity
            while time.monotonic() < until:
                uid = put(box, str(uidvalidity), "\\Deleted")
                box.store([uid], FlagChange(ADD, frozenset({"\\Seen"})))
                box.expunge([uid])
                put(box, str(uidvalidity))
        except StorageError as error:
            assert error.reason is Reason.GONE, error
            gone += 1
        finally:
            box.close()
    return gone


def replace(path: Path, seconds: float) -> int:
    account = open_account(path)
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        account.create("Box")
        time.sleep(0.02)  # lets the others in
        if number % 2:
            account.rename("Box", f"Old{number}")
        else:
            account.delete("Box")
    return number


def test_a_mailbox_that_is_replaced_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    account = open_account(path)
    gone, _, replaced = in_processes(
        [(select_and_store, (path, 2.0)), (select_and_store, (path, 2.0)), (replace, (path, 2.0))], 40
    )
    assert gone and replaced > 1  # on a busy machine each may take a second
    for folder in account.folders():
        if folder.name.startswith("Old"):
            box = account.open(folder.name)
            assert {subject(box, uid) for uid in box.table.uids} <= {str(box.uidvalidity)}
            box.close()
