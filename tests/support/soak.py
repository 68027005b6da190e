"""Clients of both servers that change the same mailboxes at random, remember what they were told, and the judge.

What is known of each message is its text: a *marker* in its Subject, which names it for ever. Messages whose marker's
number divides by three may be deleted by anybody; all others have to be there at the end, under every UID that a server
acknowledged.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.beside import (
    BOXES,
    COMPLAINTS,
    MESSAGE,
    SUBJECT,
    Contents,
    Deliverer,
    Pair,
    Place,
    broken,
    fetch,
    markers,
    uid_set,
)
from support.dovecot import Dovecot
from support.wire_client import Imap, flat, parse


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


def fill(maildir: Path, known: Known, count: int) -> None:
    """Old mail in INBOX, which no server has seen yet."""
    for number in range(count):
        marker = f"old-{number}"
        path = maildir / "cur" / f"{1_700_000_000 + number}.M1P1.old:2,"
        path.write_bytes((MESSAGE % (marker, marker)).replace("\r\n", "\n").encode())
        known.sent.add(marker)


def deliver_by_dovecot(server: Dovecot, known: Known, until: float) -> None:
    """By dovecot-lda: a process for each message, with the whole of Dovecot's protocol."""
    number = 0
    while time.monotonic() < until:
        number += 1
        marker = f"lda-{number}"
        server.lda(BOXES[number % len(BOXES)], (MESSAGE % (marker, marker)).replace("\r\n", "\n").encode())
        with known.lock:
            known.sent.add(marker)
            known.counts["deliveries by Dovecot"] += 1
        time.sleep(0.3)  # a steady stream


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


def at_work(
    pair: Pair, known: Known, until: float, delivering: list[threading.Thread], changing: list[str]
) -> dict[str, int]:
    """Three clients of each server in `changing`, and these threads, until then; the figures of `verify`."""
    connect = {"greenmail": pair.ours, "dovecot": pair.theirs}
    for thread in delivering:
        thread.start()
    workers = [Worker(f"{name}-{number}", connect[name], known, until) for number in range(3) for name in changing]
    for thread in (*delivering, *(worker.thread for worker in workers)):
        thread.join()
    failures = [(worker.name, worker.failure) for worker in workers if worker.failure is not None]
    assert not failures, (failures, pair.dovecot.logged()[-3000:], pair.greenmail.logged()[-3000:])
    figures = verify(pair, known, workers)
    pair.by_dovecot |= known.by_dovecot
    return figures


def _whereabouts(place: Place, text: str, known: Known, live: dict[Place, str], complaints: list[str]) -> str:
    """All that is known of a message that is not where it was promised."""
    server = "Dovecot" if place in known.by_dovecot else "GreenMail"
    seen = sorted(one for one, other in known.texts.items() if other == text)
    promised = sorted(one for one, other in known.promised.items() if other == text)
    there, moved = [one for one, other in live.items() if other == text], sorted(known.moved.intersection(seen))
    return f"{text} at {place} by {server}: {seen=} {promised=} {moved=} {there=} complaints={complaints[:20]}"


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
        subscribed = listed(ours, 'LSUB "" "*"')
        assert subscribed >= known.subscribed, known.subscribed - subscribed
        for box in boxes:
            mine, other = contents(ours, box), contents(theirs, box)
            assert mine == other, (box, differences(mine, other))
            validities[box] = mine[0]
            for uid, text in mine[2].items():
                marker = SUBJECT.search(text)
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
    assert not lost, [_whereabouts(place, text, known, live, complaints) for place, text in lost.items()]
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
