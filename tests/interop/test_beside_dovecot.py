"""GreenMail beside a live Dovecot 2.3 on one Maildir: `formats.md` 7.1, checks 43 and 44.

In the soak (`support.soak`) clients of both servers change the same mailboxes at the same time.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import dovecot, trees
from support.beside import (
    BOXES,
    COMPLAINTS,
    MESSAGE,
    Deliverer,
    Pair,
    both,
    broken,
    directory_of,
    fetch,
    markers,
    not_its_own,
)
from support.interop_site import make_box
from support.soak import Known, Worker, at_work, deliver_all_the_time, deliver_by_dovecot, fill
from support.wire_client import Imap, flat

pytestmark = pytest.mark.interop

SECONDS = float(os.environ.get("GREENMAIL_SOAK", "60"))


@pytest.fixture
def pair(place: Path) -> Iterator[Pair]:
    with both(place, trees.unpack("dovecot", place)) as made:
        yield made


def test_what_dovecot_did_to_itself_is_told_from_what_was_done_to_it() -> None:
    """Lines as a Dovecot wrote them that had the Maildir for itself."""
    twice = (
        "Nov 23 00:20:03 imap(alice)<2713><x>: Warning: /tmp/x/Maildir/.Shared.Deep/dovecot-uidlist: "
        "Duplicate file entry at line 4121: 1795393119.M000464P2619.mx (uid 1588 -> 5277)"
    )
    again = (
        "Nov 23 00:20:03 imap(alice)<2713><x>: Warning: Maildir /tmp/x/Maildir/.Shared.Deep: Expunged message "
        "reappeared, giving a new UID (old uid=1588, file=1795393119.M000464P2619.mx:2,e)"
    )
    own = {("Shared/Deep", 5277)}
    reading = f"{twice} - retrying by re-reading from beginning"
    assert not_its_own([twice, again], own) == []
    assert broken(twice, [twice], own) == set()
    assert broken(reading, [reading], own) == own
    assert broken(reading, [reading], {("Shared", 5277)}) == set()
    assert broken(again, [twice, again], own) == own
    assert not_its_own([twice, again], {("Shared", 5277)}) == [twice, again]
    assert not_its_own([again], own) == [again]
    assert not_its_own([twice, again.replace("P2619", "P1")], own) == [again.replace("P2619", "P1")]


# One change, seen by who idles at the other


class Idler:
    """A client that idles on INBOX; `saw` waits for an untagged response that fits."""

    def __init__(self, client: Imap, select: str = "SELECT INBOX") -> None:
        self.client = client
        client.ok(select)
        client.send(b"idle IDLE\r\n")
        while not client.line().startswith(b"+"):
            pass  # what came before

    def saw(self, pattern: bytes, since: float) -> float:
        """Seconds from `since` until it came."""
        self.client.socket.settimeout(30)
        while not re.search(pattern, flat(self.client.response())):
            pass
        return time.monotonic() - since

    def close(self) -> None:
        self.client.send(b"DONE\r\n")
        while not self.client.line().startswith(b"idle OK"):
            pass
        self.client.close()


CHANGES = {
    "flag": ("UID STORE 6 +FLAGS (\\Flagged)", rb"FETCH .*\\Flagged"),
    "keyword": ("UID STORE 6 +FLAGS (a-new-one)", rb"FETCH .*a-new-one"),
    "append": ("APPEND INBOX", rb"EXISTS"),
    "expunge": ("UID EXPUNGE 7", rb"EXPUNGE"),
}


@pytest.mark.parametrize("idles", ["greenmail", "dovecot"])
def test_a_change_made_by_one_is_seen_within_a_second_by_who_idles_at_the_other(pair: Pair, idles: str) -> None:
    watcher, actor = (pair.ours, pair.theirs) if idles == "greenmail" else (pair.theirs, pair.ours)
    seconds = {}
    with actor() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 7 +FLAGS (\\Deleted)")
        for name, (command, pattern) in CHANGES.items():
            idler = Idler(watcher())
            client.ok(command, (MESSAGE % ("new", "new")).encode() if name == "append" else None)
            seconds[name] = idler.saw(pattern, time.monotonic())
            idler.close()
    print(json.dumps({idles: {name: round(value, 3) for name, value in seconds.items()}}))
    assert max(seconds.values()) < 1.0, seconds


@pytest.mark.parametrize("link", [False, True])
def test_check_44_new_mail_shows_up_in_idle_and_has_one_uid_in_both_servers(pair: Pair, link: bool) -> None:
    idler = Idler(pair.ours())
    since = time.monotonic()
    Deliverer(pair.maildir).deliver("delivered", link=link)
    assert idler.saw(rb"EXISTS", since) < 1.0
    idler.close()
    with pair.ours() as ours, pair.theirs() as theirs:
        ours.ok("SELECT INBOX")
        theirs.ok("SELECT INBOX")
        assert markers(ours) == markers(theirs)
        assert "delivered" in markers(ours).values()


def test_a_thousand_deliveries_among_own_stores_are_noticed_within_three_seconds(pair: Pair) -> None:
    """Nobody idles, so nothing watches the directory: only looks find them."""
    deliverer = Deliverer(pair.maildir)
    with pair.ours() as client:
        client.ok("SELECT INBOX")
        before = len(fetch(client, "1:* (UID)"))
        for number in range(1000):
            deliverer.deliver(f"among-{number}", link=number % 2 == 0)
            if number % 4 == 0:
                client.ok(f"UID STORE 6 {'-+'[number % 8 == 0]}FLAGS (\\Flagged)")
        since = time.monotonic()
        while len(found := fetch(client, "1:* (UID)")) < before + 1000:
            assert time.monotonic() - since < 3, len(found)
        assert len(set(markers(client).values()) & {f"among-{number}" for number in range(1000)}) == 1000


def test_a_file_restored_after_its_expunge_has_one_new_uid_in_both_servers(pair: Pair) -> None:
    with pair.ours() as ours, pair.theirs() as theirs:
        for client in (ours, theirs):
            client.ok("SELECT INBOX")
        before = markers(ours)
        (path,) = [path for path in (pair.maildir / "cur").iterdir() if path.name.startswith(_base(pair.maildir, 6))]
        octets = path.read_bytes()
        ours.ok("UID STORE 6 +FLAGS (\\Deleted)")
        ours.ok("UID EXPUNGE 6")
        theirs.ok("NOOP")
        assert 6 not in markers(theirs)
        path.write_bytes(octets)
        dovecot.give(pair.maildir)
        for client in (ours, theirs):
            client.ok("NOOP")
        assert markers(ours) == markers(theirs)
        assert markers(ours) == {uid: text for uid, text in before.items() if uid != 6} | {max(before) + 1: before[6]}


def _base(maildir: Path, uid: int) -> str:
    lines = (maildir / "dovecot-uidlist").read_text().splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(f"{uid} "))


# The soak


@pytest.mark.timeout(int(SECONDS) + 240)
@pytest.mark.parametrize(
    "seconds, layout",
    [
        pytest.param(SECONDS, "maildir++", marks=pytest.mark.slow),
        pytest.param(SECONDS, "fs", marks=pytest.mark.long),
    ],
)
def test_check_43_soak(place: Path, seconds: float, layout: str) -> None:
    maildir = place / "Maildir"
    for box in BOXES:
        make_box(maildir, directory_of(box, layout))
    known = Known()
    fill(maildir, known, 2000)
    with both(place, maildir, layout) as pair:
        until = time.monotonic() + seconds
        delivering = [
            threading.Thread(target=deliver_all_the_time, args=(Deliverer(maildir, layout), known, until)),
            threading.Thread(target=deliver_by_dovecot, args=(pair.dovecot, known, until)),
        ]
        figures = at_work(pair, known, until, delivering, ["greenmail", "dovecot"])
    print(
        json.dumps(
            {"seconds": seconds, "layout": layout, "operations": sum(known.counts.values()), **figures, "losses": 0}
        )
    )
    print(json.dumps({"counts": known.counts, "refused": known.refused}, indent=1, sort_keys=True))
    refused = {text: count for text, count in known.refused.items() if text.startswith("greenmail")}
    assert sum(refused.values()) <= sum(known.counts.values()) / 100, refused


@pytest.mark.long
def test_dovecot_alone_finds_names_twice_that_it_moved_back_itself(place: Path) -> None:
    """Why `not_its_own` lets such complaints pass: without GreenMail there are more of them, and no other ones."""
    maildir = place / "Maildir"
    for name in ("", ".Shared", ".Shared.Deep"):
        make_box(maildir, name)
    known = Known()
    with dovecot.start(place / "dovecot", maildir) as server:
        until = time.monotonic() + 30
        workers = [Worker(f"dovecot-{number}", lambda: Imap(server.imap).login(), known, until) for number in range(6)]
        for worker in workers:
            worker.thread.join()
        complaints = [line for line in server.logged().splitlines() if COMPLAINTS.search(line)]
    assert [worker.failure for worker in workers] == [None] * 6
    assert complaints
    assert not_its_own(complaints, known.by_dovecot) == []


def test_dovecot_alone_forgets_the_new_line_of_a_name_that_it_reads_twice(place: Path) -> None:
    """Why `broken` takes its warning for a broken promise: UID 7, which another process gave, is not in its next list.

    The other process is played here by its own steps: the message is moved out and comes back under its name while the
    first one looks at neither, and a line is appended under the lock.
    """
    maildir, name = place / "Maildir", "1700000001.M1P1.old:2,"
    make_box(maildir)
    for number in range(5):
        (maildir / "cur" / f"170000000{number}.M1P1.old:2,").write_text("Subject: hi\n\nhi\n")
    with dovecot.start(place / "dovecot", maildir) as server, Imap(server.imap).login() as client:
        dovecot.give(maildir)
        client.ok("SELECT INBOX")
        client.command("APPEND INBOX", b"Subject: 6\r\n\r\n")  # it knows its list, as far as it goes
        client.ok("NOOP")
        os.close(os.open(maildir / "dovecot-uidlist.lock", os.O_CREAT | os.O_EXCL))
        os.rename(maildir / "cur" / name, maildir / "tmp" / name)
        os.rename(maildir / "tmp" / name, maildir / "cur" / name)
        with (maildir / "dovecot-uidlist").open("a") as uidlist:
            uidlist.write("7 :1700000001.M1P1.old\n")
        (maildir / "dovecot-uidlist.lock").unlink()
        client.ok("NOOP")
        client.command("APPEND INBOX", b"Subject: 8\r\n\r\n")
        complaints = [line for line in server.logged().splitlines() if COMPLAINTS.search(line)]
        uids = [line.split()[0] for line in (maildir / "dovecot-uidlist").read_text().splitlines()[1:]]
    assert [broken(line, complaints, {("INBOX", 7)}) for line in complaints] == [{("INBOX", 7)}]
    assert "8" in uids and "7" not in uids
