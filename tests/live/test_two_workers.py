"""Two workers and many sessions on the same mailboxes: nothing lost, nothing doubled, nobody stuck."""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import Site, make_box
from support.wire_client import parse

MAIL = b"From: a@example.org\r\nSubject: number %d\r\nMessage-ID: <n%d@example.org>\r\n\r\nbody %d\r\n"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Site]:
    maildir = tmp_path / "alice" / "Maildir"
    for name in ("", ".A", ".B"):
        make_box(maildir, name)
    with greenmail.start(tmp_path / "run", str(tmp_path / "%u" / "Maildir"), max_connections_per_user=200) as server:
        yield Site(server, maildir, tmp_path)


def subjects(site: Site, *names: str) -> Counter[str]:
    """How often each subject is there, over several mailboxes."""
    found: Counter[str] = Counter()
    with site.imap() as client:
        for name in names:
            client.ok(f"SELECT {name}")
            for message in client.fetch("1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").values():
                found[message["BODY[HEADER.FIELDS (SUBJECT)]"].strip()] += 1
    return found


def in_threads(seconds: float, workers: list[threading.Thread], stop: threading.Event) -> None:
    for worker in workers:
        worker.start()
    time.sleep(seconds)  # the length of the test itself
    stop.set()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive(), "a session is stuck"


def soak(site: Site, seconds: float, sessions: int) -> None:
    """Opposite MOVEs and COPYs between A and B."""
    with site.imap() as client:
        for number in range(60):
            client.ok(f"APPEND {'AB'[number % 2]}", MAIL % (number, number, number))
    before = subjects(site, "A", "B")
    assert len(before) == 60
    stop, failures = threading.Event(), []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        source, target = ("A", "B") if seed % 2 else ("B", "A")
        try:
            with site.imap() as client:
                client.ok(f"SELECT {source}")
                while not stop.is_set():
                    uids = sorted(client.fetch("1:* (UID)"))
                    if uids and dice.random() < 0.7:
                        first = dice.choice(uids)
                        client.ok(f"UID MOVE {first}:{first + dice.randrange(5)} {target}")
                    elif uids:
                        client.ok(f"UID COPY {dice.choice(uids)} Copies")
                    client.ok("NOOP")
        except BaseException as error:
            failures.append(f"session {seed}: {error!r}")

    with site.imap() as client:
        client.ok("CREATE Copies")
    in_threads(seconds, [threading.Thread(target=work, args=(seed,)) for seed in range(sessions)], stop)
    assert not failures, failures[:5]
    after = subjects(site, "A", "B")
    assert after == before, {
        name: (before[name], after[name]) for name in before | after if before[name] != after[name]
    }


def test_opposite_moves_between_two_mailboxes_lose_and_double_nothing(pair: Site) -> None:
    soak(pair, 12, 12)


@pytest.mark.long
def test_twenty_sessions_move_and_copy_for_a_minute(pair: Site) -> None:
    soak(pair, 60, 20)


def test_our_files_can_be_deleted_under_running_workers(pair: Site) -> None:
    with pair.imap() as client:
        for number in range(30):
            client.ok("APPEND A (kw)", MAIL % (number, number, number))
        client.ok("SELECT A")
        before = {uid: set(m["FLAGS"]) - {"\\Recent"} for uid, m in client.fetch("1:* (FLAGS)").items()}
    stop, failures = threading.Event(), []

    def remove() -> None:
        while not stop.wait(0.05):
            for path in pair.maildir.rglob("greenmail.*"):
                path.unlink(missing_ok=True)

    def work(seed: int) -> None:
        try:
            with pair.imap() as client:
                client.ok("SELECT A")
                while not stop.is_set():
                    client.ok(f"UID STORE {seed + 1} +FLAGS (\\Flagged)")
                    client.ok(f"UID STORE {seed + 1} -FLAGS (\\Flagged)")
                    assert len(client.fetch("1:* (FLAGS)")) == 30
                    client.ok("NOOP")
        except BaseException as error:
            failures.append(f"session {seed}: {error!r}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    in_threads(8, [threading.Thread(target=remove), *threads], stop)
    assert not failures, failures[:5]
    with pair.imap() as client:
        client.ok("SELECT A")
        after = {uid: set(m["FLAGS"]) - {"\\Recent"} for uid, m in client.fetch("1:* (FLAGS)").items()}
    assert after == before


def test_expunge_spares_a_message_whose_flag_was_taken_away(pair: Site) -> None:
    """A saw \\Deleted; B removes it; A expunges without having heard: the message is there."""
    with pair.imap() as a, pair.imap() as b:
        a.ok("APPEND A (\\Deleted)", MAIL % (1, 1, 1))
        a.ok("SELECT A")
        b.ok("SELECT A")
        assert "\\Deleted" in a.fetch("1:* (FLAGS)")[1]["FLAGS"]
        b.ok("UID STORE 1 -FLAGS (\\Deleted)")
        a.ok("EXPUNGE")
        assert set(a.fetch("1:* (FLAGS)")) == {1}


def test_expunge_spares_a_message_that_another_program_renamed(pair: Site) -> None:
    with pair.imap() as client:
        client.ok("APPEND A (\\Deleted)", MAIL % (1, 1, 1))
        client.ok("SELECT A")
        (path,) = (pair.maildir / ".A" / "cur").iterdir()
        path.rename(path.with_name(path.name.split(":")[0] + ":2,S"))
        client.ok("EXPUNGE")
        assert set(client.fetch("1:* (FLAGS)")[1]["FLAGS"]) - {"\\Recent"} == {"\\Seen"}


def test_recent_goes_to_exactly_one_session(pair: Site) -> None:
    for number in range(5):
        pair.deliver(number, ".A")
    with pair.imap() as one, pair.imap() as two, pair.imap() as three:
        (answer,) = one.ok("STATUS A (RECENT)")
        assert parse(answer)[-1] == ["RECENT", 5]
        told = []
        for client in (one, two, three):
            lines = client.lines("SELECT A")
            told += [int(m.group(1)) for line in lines if (m := re.match(rb"\* (\d+) RECENT", line))]
        assert sorted(told) == [0, 0, 5]


def test_a_selected_mailbox_that_is_replaced_is_never_touched(pair: Site) -> None:
    """RENAME, then CREATE of the old name by another session: the first one's commands stay off the new mailbox."""
    with pair.imap() as a, pair.imap() as b:
        a.ok("APPEND A (\\Deleted)", MAIL % (1, 1, 1))
        a.ok("SELECT A")
        (answer,) = b.ok("STATUS A (UIDVALIDITY)")
        old = parse(answer)[-1][1]
        b.ok("RENAME A Elsewhere")
        b.ok("CREATE A")
        b.ok("APPEND A (\\Deleted)", MAIL % (2, 2, 2))
        for command in ("UID STORE 1 +FLAGS (\\Flagged)", "EXPUNGE", "NOOP", "CLOSE"):
            try:
                a.command(command)
            except EOFError:
                break
        (answer,) = b.ok("STATUS A (MESSAGES UIDVALIDITY)")
        counts = dict(zip(parse(answer)[-1][::2], parse(answer)[-1][1::2], strict=True))
        assert counts["MESSAGES"] == 1 and counts["UIDVALIDITY"] > old
        b.ok("SELECT A")
        assert "\\Flagged" not in b.fetch("1 (FLAGS)")[1]["FLAGS"]


def test_idle_hears_of_another_workers_changes(pair: Site) -> None:
    with pair.imap() as client:
        client.ok("APPEND A", MAIL % (1, 1, 1))
    idlers = [pair.imap() for _ in range(6)]
    for idler in idlers:
        idler.ok("SELECT A")
        idler.send(b"i IDLE\r\n")
        while not idler.line().startswith(b"+"):
            pass
    with pair.imap() as client:
        client.ok("SELECT A")
        began = time.monotonic()
        client.ok("UID STORE 1 +FLAGS (\\Answered)")
        for idler in idlers:
            while b"\\Answered" not in idler.line():
                pass
        pair.deliver(7, ".A")
        for idler in idlers:
            while not idler.line().endswith(b"EXISTS"):
                pass
        assert time.monotonic() - began < 5
    for idler in idlers:
        idler.send(b"DONE\r\n")
        while not idler.line().startswith(b"i OK"):
            pass
        idler.close()


def test_kill_of_a_worker_loses_nothing_that_was_answered(pair: Site) -> None:
    with pair.imap() as client:
        for number in range(5):
            client.ok("APPEND A", MAIL % (number, number, number))
    children = Path(f"/proc/{pair.server.process.pid}/task/{pair.server.process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert len(subjects(pair, "A")) == 5
            break
        except (EOFError, OSError):
            assert time.monotonic() < deadline, "no worker came back"
            time.sleep(0.1)
