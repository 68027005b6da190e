"""GreenMail beside a live Dovecot 2.3 on one Maildir: `formats.md` 7.1, checks 43 and 44.

In the soak clients of both servers change the same mailboxes at the same time. What is known of each message is its
text: a *marker* in its Subject, which names it for ever. Messages whose marker's number divides by three may be
deleted by anybody; all others have to be there at the end, under every UID that a server acknowledged.
"""

import contextlib
import json
import os
import pwd
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import dovecot, trees
from support import server as greenmail
from support.interop_site import make_box
from support.wire_client import Imap, flat, parse

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("dovecot")]

COMPLAINTS = re.compile(r"reappeared|Duplicate file entry|next_uid was lowered|Broken|Panic|Fatal|Error")
BOXES = ("INBOX", "Shared", "Shared/Deep")
MESSAGE = "From: a@example.org\r\nSubject: %s\r\n\r\nbody of %s\r\n"
_SUBJECT = re.compile(r"Subject: (\S+)")
SECONDS = float(os.environ.get("GREENMAIL_SOAK", "60"))

Place = tuple[str, int]  # mailbox and UID
Contents = tuple[int, dict[int, set[str]], dict[int, str]]  # UIDVALIDITY, flags and octets by UID


@dataclass
class Pair:
    """Both servers on one Maildir."""

    maildir: Path
    greenmail: greenmail.Server
    dovecot: dovecot.Dovecot
    by_dovecot: set[Place] = field(default_factory=set)  # UIDs that Dovecot itself gave

    def ours(self) -> Imap:
        return Imap(self.greenmail.imaps, tls=True).login()

    def theirs(self) -> Imap:
        return Imap(self.dovecot.imap).login()


_TWICE = re.compile(r"/Maildir(\S*)/dovecot-uidlist: Duplicate file entry at line \d+: (\S+) \(uid (\d+) -> (\d+)\)")
_AGAIN = re.compile(r"/Maildir(\S*): Expunged message reappeared, .* \(old uid=(\d+), file=([^:)]+)")


def _box(directory: str) -> str:
    return directory.removeprefix("/").removeprefix(".").replace(".", "/") or "INBOX"


def not_its_own(complaints: list[str], by_dovecot: set[Place]) -> list[str]:
    """Without those about names that Dovecot itself moved back to where its own old line still stood.

    It finds such a name twice. If its index had forgotten the old UID already it may take the old line for right, say
    that the message reappeared, and give it a third UID: then it breaks its own promise.
    """
    mine = [line for line in complaints if _is_moved_back(line, by_dovecot) or broken(line, complaints, by_dovecot)]
    return [line for line in complaints if line not in mine]


def _is_moved_back(line: str, by_dovecot: set[Place]) -> bool:
    found = _TWICE.search(line)
    return found is not None and (_box(found[1]), int(found[4])) in by_dovecot


def broken(line: str, complaints: list[str], by_dovecot: set[Place]) -> set[Place]:
    """The promises that Dovecot says it has broken: UIDs of a name that it moved back, and that reappeared."""
    again = _AGAIN.search(line)
    if again is None:
        return set()
    twice = [found for found in map(_TWICE.search, complaints) if found is not None]
    same = [found for found in twice if (found[1], found[2], found[3]) == (again[1], again[3], again[2])]
    return {(_box(found[1]), int(found[4])) for found in same} & by_dovecot


@contextlib.contextmanager
def both(place: Path, maildir: Path, layout: str = "maildir++") -> Iterator[Pair]:
    dovecot.give(maildir)
    with (
        greenmail.start(
            place / "green", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER, separator="/",
            run_path=str(place / "sockets"), coexistence="dovecot", idle_keepalive=60, layout=layout,
        ) as ours,
        dovecot.start(place / "dovecot", maildir, location=":LAYOUT=fs" if layout == "fs" else "") as theirs,
    ):  # fmt: skip
        pair = Pair(maildir, ours, theirs)
        yield pair
        complaints = [line for line in theirs.logged().splitlines() if COMPLAINTS.search(line)]
        warnings = [line for line in ours.logged().splitlines() if " warning[" in line or " error[" in line]
        # All of them are told: what Dovecot says of one name in several places belongs together.
        assert not not_its_own(complaints, pair.by_dovecot), "\n".join([*complaints, *warnings])


@pytest.fixture
def pair(place: Path) -> Iterator[Pair]:
    with both(place, trees.unpack("dovecot", place)) as made:
        yield made


def uid_set(text: bytes) -> list[int]:
    ranges = [part.split(b":") for part in text.split(b",")]
    return [uid for part in ranges for uid in range(int(part[0]), int(part[-1]) + 1)]


def directory_of(box: str, layout: str) -> str:
    """The directory of a mailbox below the Maildir."""
    if box == "INBOX":
        return ""
    return box if layout == "fs" else "." + box.replace("/", ".")


class Deliverer:
    """A delivery program: no lock, no UID; by rename, or by link."""

    def __init__(self, maildir: Path, layout: str = "maildir++") -> None:
        self.maildir = maildir
        self.layout = layout
        self.owner = pwd.getpwnam(dovecot.OWNER)
        self.count = 0

    def deliver(self, marker: str, box: str = "INBOX", link: bool = False) -> None:
        self.count += 1
        where = self.maildir / directory_of(box, self.layout)
        name = f"{int(time.time())}.M{self.count:06}P{os.getpid()}.mx"
        path = where / "tmp" / name
        path.write_bytes((MESSAGE % (marker, marker)).replace("\r\n", "\n").encode())
        os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        if link:
            os.link(path, where / "new" / name)
            path.unlink()
        else:
            path.rename(where / "new" / name)


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
    assert not_its_own([twice, again], own) == []
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


@dataclass
class Known:
    """What the clients were told, and what they asked for. Everything under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    texts: dict[Place, str] = field(default_factory=dict)  # every UID that anyone saw, and its marker
    promised: dict[Place, str] = field(default_factory=dict)  # from APPENDUID and COPYUID
    moved: set[Place] = field(default_factory=set)  # sources of MOVE
    by_dovecot: set[Place] = field(default_factory=set)  # those promises that Dovecot made
    sent: set[str] = field(default_factory=set)  # markers that were acknowledged, or delivered
    created: set[str] = field(default_factory=set)
    subscribed: set[str] = field(default_factory=set)
    reused: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def saw(self, place: Place, marker: str, promised: bool = False) -> None:
        with self.lock:
            if self.texts.setdefault(place, marker) != marker:
                self.reused.append(f"{place}: {self.texts[place]} and {marker}")
            if promised:
                self.promised[place] = marker
                if threading.current_thread().name.startswith("dovecot"):
                    self.by_dovecot.add(place)


def may_die(marker: str) -> bool:
    return int(marker.rpartition("-")[2]) % 3 == 0


def fetch(client: Imap, what: str) -> dict[int, dict[str, Any]]:
    """UID FETCH; news of other clients' changes, which Dovecot sends without a UID, are left out."""
    found: dict[int, dict[str, Any]] = {}
    for parts in client.ok(f"UID FETCH {what}"):
        tree = parse(parts)
        if len(tree) == 4 and tree[2] == "FETCH" and "UID" in tree[3][::2]:
            items = dict(zip(tree[3][::2], tree[3][1::2], strict=True))
            found.setdefault(items["UID"], {}).update(items)
    return found


def markers(client: Imap, uids: str = "1:*") -> dict[int, str]:
    found = {}
    for uid, items in fetch(client, f"{uids} (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").items():
        text = [value for key, value in items.items() if key.startswith("BODY[")]
        match = _SUBJECT.search(text[0] or "") if text else None
        if match:
            found[uid] = match.group(1)
    return found


class Worker:
    """One client of one server, doing things at random until `until`."""

    def __init__(self, name: str, connect: Callable[[], Imap], known: Known, until: float) -> None:
        self.name = name
        self.connect = connect
        self.known = known
        self.until = until
        self.chance = random.Random(name)
        self.number = 0
        self.box = ""
        self.keyword: dict[Place, bool] = {}  # our own keyword, as the server last told us
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run, name=name)
        self.thread.start()

    def run(self) -> None:
        steps = {self.append: 4, self.store: 8, self.copy: 2, self.move: 2, self.expunge: 2, self.select: 2}
        steps |= {self.create: 0.2, self.subscribe: 0.2, self.read: 1}
        try:
            with self.connect() as self.client:
                self.select()
                while time.monotonic() < self.until:
                    (step,) = self.chance.choices(list(steps), list(steps.values()))
                    step()
        except BaseException as error:
            self.failure = error

    def do(self, command: str, literal: bytes | None = None) -> list[bytes] | None:
        """The responses, the tagged answer last; None if it was refused."""
        answer, untagged = self.client.command(command, literal)
        word = command.removeprefix("UID ").split()[0]
        with self.known.lock:
            self.known.counts[f"{self.name.split('-')[0]} {word}"] += 1
            if not answer.startswith(b"OK"):
                self.known.refused[f"{self.name.split('-')[0]} {word}: {answer[:90]!r}"] += 1
        return [*(flat(parts) for parts in untagged), answer] if answer.startswith(b"OK") else None

    def some(self, most: int) -> dict[int, str]:
        """Messages of the selected mailbox, with what they are."""
        answer = self.do("UID SEARCH ALL")
        found = [int(uid) for line in answer or [] for uid in re.findall(rb" (\d+)", line) if b"SEARCH" in line]
        if answer and (all_of := re.search(rb"ALL ([\d:,]+)", b" ".join(answer))):
            found = uid_set(all_of.group(1))
        chosen = self.chance.sample(found, min(most, len(found)))
        texts = markers(self.client, ",".join(map(str, sorted(chosen)))) if chosen else {}
        texts = {uid: text for uid, text in texts.items() if re.search(r"-\d+$", text)}
        for uid, text in texts.items():
            self.known.saw((self.box, uid), text)
        return texts

    # What it does

    def select(self) -> None:
        self.box = self.chance.choice(BOXES)
        assert self.do(f'SELECT "{self.box}"') is not None

    def append(self, box: str = "") -> None:
        self.number += 1
        box = box or self.chance.choice(BOXES)
        marker = f"{self.name}-{self.number}"
        flags = self.chance.choice(["", "(\\Seen) ", "(\\Flagged common) "])
        answer = self.do(f'APPEND "{box}" {flags}'.rstrip(), (MESSAGE % (marker, marker)).encode())
        if answer is not None:
            found = re.search(rb"APPENDUID \d+ (\d+)", answer[-1])
            assert found, answer
            self.known.saw((box, int(found.group(1))), marker, promised=True)
            with self.known.lock:
                self.known.sent.add(marker)

    def store(self) -> None:
        texts = self.some(3)
        for uid, text in texts.items():
            own = f"own-{self.name}"
            what = self.chance.choice([own, own, own, "\\Seen", "\\Flagged common", "\\Answered", "\\Deleted"])
            if what == "\\Deleted" and not may_die(text):
                continue
            sign = "+" if what == "\\Deleted" else self.chance.choice("+-")
            self.keyword.pop((self.box, uid), None)
            for line in self.do(f"UID STORE {uid} {sign}FLAGS ({what})") or []:
                if re.search(rb"FETCH \(.*UID %d[ )]" % uid, line) and b"FLAGS" in line and what == own:
                    self.keyword[self.box, uid] = own.encode() in line

    def copy(self, word: str = "COPY") -> None:
        texts = self.some(3)
        target = self.chance.choice([box for box in BOXES if box != self.box])
        if not texts:
            return
        if word == "MOVE":
            with self.known.lock:
                self.known.moved.update((self.box, uid) for uid in texts)
        answer = self.do(f'UID {word} {",".join(map(str, sorted(texts)))} "{target}"')
        found = re.search(rb"COPYUID \d+ ([\d:,]+) ([\d:,]+)", b" ".join(answer or []))
        if found:
            for source, made in zip(uid_set(found.group(1)), uid_set(found.group(2)), strict=True):
                self.known.saw((target, made), texts[source], promised=True)

    def move(self) -> None:
        self.copy("MOVE")

    def expunge(self) -> None:
        self.do("EXPUNGE")

    def read(self) -> None:
        self.some(20)

    def create(self) -> None:
        self.number += 1
        name = f"Made/{self.name}-{self.number}"
        if self.do(f'CREATE "{name}"') is not None:
            with self.known.lock:
                self.known.created.add(name)
            self.append(name)

    def subscribe(self) -> None:
        with self.known.lock:
            name = self.chance.choice(sorted(self.known.created | set(BOXES)))
        if self.do(f'SUBSCRIBE "{name}"') is not None:
            with self.known.lock:
                self.known.subscribed.add(name)


def deliver_all_the_time(deliverer: Deliverer, known: Known, until: float) -> None:
    number = 0
    while time.monotonic() < until:
        number += 1
        deliverer.deliver(f"mx-{number}", BOXES[number % len(BOXES)], link=number % 2 == 0)
        with known.lock:
            known.sent.add(f"mx-{number}")
            known.counts["deliveries"] += 1
        time.sleep(0.05)  # a steady stream, not a flood


def listed(client: Imap, command: str) -> set[str]:
    return {parse(parts)[-1] for parts in client.ok(command) if parse(parts)[1] in ("LIST", "LSUB")}


def contents(client: Imap, box: str) -> Contents:
    """UIDVALIDITY, flags by UID, and octets of each message by UID."""
    lines = b"\n".join(client.lines(f'SELECT "{box}"'))
    validity = int(re.search(rb"UIDVALIDITY (\d+)", lines).group(1))  # type: ignore[union-attr]  # SELECT has it
    found = fetch(client, "1:* (FLAGS BODY.PEEK[])")
    flags = {uid: set(items["FLAGS"]) - {"\\Recent"} for uid, items in found.items()}
    return validity, flags, {uid: items["BODY[]"] for uid, items in found.items()}


def verify(pair: Pair, known: Known, workers: list[Worker]) -> dict[str, int]:
    """Everything of check 43; the figures."""
    assert not known.reused, known.reused[:10]
    live: dict[Place, str] = {}
    validities: dict[str, int] = {}
    flags: dict[Place, set[str]] = {}
    with pair.ours() as ours, pair.theirs() as theirs:
        boxes = sorted({*BOXES, *known.created})
        for command in ('LIST "" "*"', 'LSUB "" "*"'):
            assert listed(ours, command) == listed(theirs, command)
        assert listed(ours, 'LIST "" "*"') >= set(boxes)
        assert listed(ours, 'LSUB "" "*"') >= known.subscribed
        for box in boxes:
            mine, other = contents(ours, box), contents(theirs, box)
            assert mine == other, (box, differences(mine, other))
            validities[box] = mine[0]
            for uid, text in mine[2].items():
                marker = _SUBJECT.search(text)
                assert marker and text == MESSAGE % (marker.group(1), marker.group(1)), (box, uid, text)
                live[box, uid] = marker.group(1)
                flags[box, uid] = mine[1][uid]
    assert len(set(validities.values())) == len(validities), validities
    wrong = {place: (text, live[place]) for place, text in known.texts.items() if live.get(place, text) != text}
    assert not wrong, wrong
    complaints = [line for line in pair.dovecot.logged().splitlines() if COMPLAINTS.search(line)]
    gone = known.moved.union(*(broken(line, complaints, known.by_dovecot) for line in complaints))
    kept = {place: text for place, text in known.promised.items() if not may_die(text) and place not in gone}
    lost = {place: text for place, text in kept.items() if place not in live}
    assert not lost, lost
    there = set(live.values())
    missing = {marker for marker in known.sent if not may_die(marker) and marker not in there}
    assert not missing, missing
    forgotten = [
        (place, worker.name, has)
        for worker in workers
        for place, has in worker.keyword.items()
        if place in live and (f"own-{worker.name}" in flags[place]) != has
    ]
    assert not forgotten, forgotten
    keywords = sum(place in live for worker in workers for place in worker.keyword)
    return {"messages": len(live), "promised": len(known.promised), "kept": len(kept), "keywords": keywords}


def differences(one: Contents, two: Contents) -> object:
    uids = sorted(set(one[1]) | set(two[1]))
    return [one[0], two[0], [(u, one[1].get(u), two[1].get(u)) for u in uids if one[1].get(u) != two[1].get(u)][:20]]


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
    with both(place, maildir, layout) as pair:
        until = time.monotonic() + seconds
        delivering = threading.Thread(target=deliver_all_the_time, args=(Deliverer(maildir, layout), known, until))
        delivering.start()
        workers = [
            Worker(f"{name}-{number}", connect, known, until)
            for number in range(3)
            for name, connect in (("greenmail", pair.ours), ("dovecot", pair.theirs))
        ]
        for thread in (delivering, *(worker.thread for worker in workers)):
            thread.join()
        failures = [(worker.name, worker.failure) for worker in workers if worker.failure is not None]
        assert not failures, (failures, pair.dovecot.logged()[-3000:], pair.greenmail.logged()[-3000:])
        figures = verify(pair, known, workers)
        pair.by_dovecot |= known.by_dovecot
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
