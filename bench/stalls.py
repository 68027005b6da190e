"""How long NOOP takes on ten other connections of the same worker while one client gives the server heavy work.

The probes run in a process of their own, each on a connection of its own, with a small mailbox of another user
selected. Server and probes go before other processes (nice -15) where that is allowed, so that other work on the
machine is not taken for the server's. What held the event loop for 100 ms is taken from its log (`hub-held`).
"""

import math
import multiprocessing
import os
import re
import select
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from bench import corpus, report, servers
from bench.client import Client, session
from bench.meter import prefer
from bench.servers import Site
from greenmail.auth import schemes

PROBES = 10
GAP = 0.005  # seconds between an answer and the next NOOP of a connection
GOAL_MS = 10.0
GOAL_SILENT_MS = 100.0
NICENESS = -15
STEM = "stalls"
_HELD = re.compile(r"hub-held .*")
_SALTS = {
    "bcrypt 12": "$2b$12$" + "abcdefghijklmnopqrstuu",
    "SHA512-CRYPT rounds=656000": "$6$rounds=656000$saltsaltsaltsalt",
}


@dataclass
class Stall:
    """What the probes saw during one piece of work."""

    name: str
    seconds: float
    delays: list[float] = field(default_factory=list)  # seconds
    held: list[str] = field(default_factory=list)
    goal_ms: float = GOAL_MS
    problem: str = ""

    def quantile(self, part: float) -> float:
        """Milliseconds."""
        values = sorted(self.delays)
        return values[min(len(values) - 1, math.ceil(len(values) * part) - 1)] * 1e3 if values else math.nan

    @property
    def judged(self) -> float:
        """What the goal is about: p99, or the worst where nobody may wait long."""
        return self.quantile(1.0 if self.goal_ms == GOAL_SILENT_MS else 0.99)


def probe(ports: list[tuple[int, str, bytes]], gap: float, pipe: Pipe) -> None:
    """A process: NOOP on every connection again and again; at each message of the pipe, the times since the last."""
    prefer(NICENESS)
    poll = select.epoll()
    clients: dict[int, Client] = {}
    due: dict[int, float] = {}
    asked: dict[int, float] = {}
    for port, user, box in ports:
        client = session(port, b"SELECT " + box, user=user)
        clients[client.socket.fileno()] = client
        due[client.socket.fileno()] = time.monotonic() + gap * len(clients) / len(ports)
        poll.register(client.socket.fileno(), select.EPOLLIN)
    pipe.send(True)
    found: list[tuple[float, float]] = []
    rests = dict.fromkeys(clients, b"")
    while True:
        now = time.monotonic()
        for descriptor in [each for each, when in due.items() if when <= now]:
            del due[descriptor]
            asked[descriptor] = time.monotonic()
            clients[descriptor].send(b"NOOP")
        wait = max(0.0, min(due.values(), default=now + 0.02) - time.monotonic())
        for descriptor, _ in poll.poll(min(wait, 0.02)):
            client = clients[descriptor]
            rests[descriptor] = (rests[descriptor] + client.socket.recv(1 << 18))[-200:]
            if b"z%d OK" % client.count in rests[descriptor] and rests[descriptor].endswith(b"\r\n"):
                now = time.monotonic()
                found.append((asked[descriptor], now - asked.pop(descriptor)))
                rests[descriptor] = b""
                due[descriptor] = now + gap
        if pipe.poll():
            if pipe.recv() is None:
                return
            now = time.monotonic()
            pipe.send(found + [(begun, now - begun) for begun in asked.values()])  # what still waits counts as well
            found = []


class Scene:
    """A server with its probes; only works with `part` in their names are done."""

    def __init__(self, site: Site, part: str) -> None:
        self.site = site
        self.part = part
        self.stalls: list[Stall] = []
        self._read = 0

    def probed(self, ports: list[tuple[int, str, bytes]], name: str, work: Callable[[], None], goal: float) -> None:
        """Do `work` beside the probes."""
        if self.part not in name:
            return
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=probe, args=(ports, GAP, theirs), daemon=True)
        process.start()
        mine.recv()
        time.sleep(0.3)
        mine.send(True)
        mine.recv()
        began = time.monotonic()
        problem = ""
        try:
            work()
        except (AssertionError, OSError, EOFError) as error:
            problem = repr(error)[:200]
        seconds = time.monotonic() - began
        mine.send(True)
        delays = [delay for _, delay in mine.recv()]
        mine.send(None)
        process.join(5)
        time.sleep(0.2)
        log = self.site.log.read_text(encoding="utf-8", errors="replace")
        held = _HELD.findall(log[self._read :])
        self._read = len(log)
        stall = Stall(name, seconds, delays, held, goal, problem)
        self.stalls.append(stall)
        print(line(stall), flush=True)
        for text in held:
            print(f"    {text}", flush=True)

    def beside(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` beside ten probes of other users."""
        self.probed([(self.site.imap, f"u{n}", b"INBOX") for n in range(PROBES)], name, work, GOAL_MS)


def line(stall: Stall) -> str:
    """One row of the table."""
    met = "yes" if stall.judged <= stall.goal_ms else "no"
    cells = " | ".join(f"{stall.quantile(part):.1f}" for part in (0.5, 0.99, 1.0))
    what = "worst" if stall.goal_ms == GOAL_SILENT_MS else "p99"
    problem = f" ({stall.problem})" if stall.problem else ""
    return (
        f"| {stall.name}{problem} | {stall.seconds:.2f} | {len(stall.delays)} | {cells} "
        f"| {what} ≤ {stall.goal_ms:g} | {met} | {len(stall.held)} |"
    )


def table(stalls: list[Stall]) -> str:
    """Markdown."""
    head = "| beside | s | NOOPs | p50 ms | p99 ms | worst ms | goal | met | held ≥ 100 ms |\n"
    lines = [head + "|---|--:|--:|--:|--:|--:|---|---|--:|", *map(line, stalls)]
    held = [f"* {stall.name}: `{text}`" for stall in stalls for text in stall.held]
    return "\n".join([*lines, "", *held])


def hashes() -> dict[str, str]:
    """Passwords hashed as they are in passwd-files, by name."""
    found = {"argon2id": schemes.make("ARGON2ID", b"secret")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import crypt  # to make hashes only; Python 3.13 does not have it
    except ImportError:
        return found
    for name, salt in _SALTS.items():
        made = crypt.crypt("secret", salt)
        if made:
            found[name] = "{CRYPT}" + made
    return found


def log_in(port: int, users: list[str]) -> None:
    """All at once, and out again."""
    failures: list[str] = []

    def one(user: str) -> None:
        try:
            session(port, user=user).close()
        except (AssertionError, OSError, EOFError) as error:
            failures.append(f"{user}: {error}")

    threads = [threading.Thread(target=one, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        print(f"    {len(failures)} logins failed, first {failures[0][:200]}", flush=True)


def main(quick: bool, part: str, where: Path) -> None:
    """Run everything, print it and write it to the results."""
    size = 1 if quick else 10
    logins = 10 if quick else 50
    with_hashes = hashes()
    kinds = {name: [f"h{place}x{n}" for n in range(logins)] for place, name in enumerate(with_hashes)}
    passwd = servers.PASSWD + "".join(
        f"{user}:{with_hashes[name]}\n" for name, users in kinds.items() for user in users
    )
    head = report.circumstances(quick=quick)
    settings: dict[str, Any] = {"max_waiting_logins": 1000, "max_waiting_logins_per_address": 1000}
    with servers.running(("greenmail",), where / "stalls", passwd, settings, NICENESS) as running:
        site = running["greenmail"]
        scene = Scene(site, part)
        small, mixed = corpus.cached(False, 10000 * size), corpus.cached(True, 1000 * size)
        for number in range(PROBES):
            corpus.link(small, site.mail / f"u{number}", 100)
        scene.beside("nothing", lambda: time.sleep(3))
        _mailboxes(scene, size, small, mixed)
        for name, users in kinds.items():
            scene.beside(f"{logins} logins, {name}", lambda users=users: log_in(site.imap, users))
        _silent(scene, small, 10000)
    head["load at the end"] = round(os.getloadavg()[0], 1)
    report.write("part" if part else STEM, head, table(scene.stalls), {"stalls": [
        {"name": stall.name, "seconds": stall.seconds, "noops": len(stall.delays), "held": stall.held,
         "p50": stall.quantile(0.5), "p99": stall.quantile(0.99), "worst": stall.quantile(1.0)}
        for stall in scene.stalls]})  # fmt: skip


def _mailboxes(scene: Scene, size: int, small: Path, mixed: Path) -> None:
    """Heavy commands, each in a folder that nobody has seen before."""
    site = scene.site

    def client_of(source: Path, count: int) -> Client:
        return session(site.imap, b"SELECT " + site.folder(source, count))

    client = client_of(small, 10000)
    scene.beside("STORE of 10,000 flags", lambda: _run(client, b"STORE 1:* +FLAGS (\\Flagged)"))
    scene.beside("STORE of 10,000 flags, silent", lambda: _run(client, b"STORE 1:* -FLAGS.SILENT (\\Flagged)"))
    searcher = client_of(mixed, 4000 * size)
    scene.beside(f"SEARCH BODY in {4000 * size} messages, {94 * size} MB", lambda: _run(searcher, b"SEARCH BODY xyzzy"))
    fetcher = client_of(small, 10000 * size)
    for time_of in ("first", "second"):
        scene.beside(f"FETCH of {10000 * size} ENVELOPEs, {time_of}", lambda: _run(fetcher, b"FETCH 1:* (ENVELOPE)"))
    scene.beside(f"FETCH of {10000 * size} UID FLAGS", lambda: _run(fetcher, b"FETCH 1:* (UID FLAGS)"))
    scene.beside(f"SORT of {10000 * size}, first", lambda: _run(fetcher, b"SORT (SUBJECT) UTF-8 ALL"))
    scene.beside(f"THREAD of {10000 * size}, first", lambda: _run(fetcher, b"THREAD REFERENCES UTF-8 ALL"))
    text = b"Subject: large\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * 757576
    appender = session(site.imap)
    scene.beside("APPEND of 50 MB", lambda: _append(appender, text))
    scene.beside("FETCH of a body of 50 MB", lambda: _run(session(site.imap, b"SELECT INBOX"), b"FETCH * BODY.PEEK[]"))
    opener, box = session(site.imap), site.folder(small, 100000 * size)
    scene.beside(f"first SELECT of {100000 * size:,} messages", lambda: _run(opener, b"SELECT " + box))
    scene.beside(f"second SELECT of {100000 * size:,} messages", lambda: _run(session(site.imap), b"SELECT " + box))
    scene.beside("COPY of 10,000", lambda: _run(client, b"COPY 1:* " + site.folder(small, 0)))
    scene.beside("EXPUNGE of 10,000", lambda: _expunge(client))


def _expunge(client: Client) -> None:
    _run(client, b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    _run(client, b"EXPUNGE")


def _run(client: Client, text: bytes) -> None:
    client.run(text)


def _append(client: Client, text: bytes) -> None:
    tag = client.send(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
    assert tag + b"OK" in client.until(tag)


def _silent(scene: Scene, small: Path, count: int) -> None:
    """A client that asks for much and reads nothing, beside NOOPs in the same mailbox."""
    site = scene.site
    box = site.folder(small, count)
    silent = session(site.imap, b"SELECT " + box)

    def ask() -> None:
        for sign in (b"+", b"-", b"+"):
            silent.send(b"STORE 1:* %bFLAGS (x)" % sign)
        time.sleep(3)

    name = f"STORE 1:* +FLAGS x in {count:,}, never read; NOOP in the same mailbox"
    scene.probed([(site.imap, "bench", box)] * 2, name, ask, GOAL_SILENT_MS)
    silent.drop()
