"""Thousands of idling clients over TLS. Usage: python -m bench.idle --connections 10000 --users 10000

Starts a private GreenMail with two workers, connects the clients (LOGIN, SELECT INBOX, IDLE; spread evenly over the
users), and prints as JSON: octets of memory and descriptors a connection, CPU while nothing happens, and how long it
took from the rename of a new message to its `* n EXISTS`, at all connections of the delivery's user. Who has not been
told two seconds after the last delivery counts as late, who is not told within `--patience` as never told.

Messages of all users are hard links to the same files, so that ten million of them take no room; names, uidlists and
index files are each mailbox's own. Wants root only for the control group that counts CPU.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import server

from bench import corpus
from bench.meter import Meter, prefer, pss
from greenmail.runtime import direct
from greenmail.storage import journal, snapshot
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

WINDOW = 40  # connections of one client process that are being set up at the same time
SOURCES = 40  # addresses from which clients connect: each has some 28,000 ports
TEXT = b"From: a@example.org\r\nSubject: news\r\n\r\nHello\r\n"
ANSWERS = (b"* OK", b"a OK", b"b OK", b"+ ")  # what each step of the setup waits for
IDLE = len(ANSWERS)
REFUSALS = tuple(tag + word for tag in (b"a ", b"b ", b"c ") for word in (b"NO", b"BAD"))
LATE = 2.0  # seconds
Arrival = tuple[int, int, float]  # number of the connection, messages it was told of, when


def user(number: int) -> str:
    """The name of a user."""
    return f"user{number}"


def make_users(where: Path, users: int, messages: int) -> None:
    """A Maildir for each user below `where`, with index files as if it had been in use."""
    template = where / "template"
    corpus.fill(template, messages, mixed=False)
    store = MaildirStore(direct())
    mailbox = store.open_account("template", MaildirSettings(str(template)))._open("INBOX")
    mailbox.claim_recent()
    assert mailbox.box.index_files is not None, "the template has no index"
    mailbox.box.index_files.fold(mailbox.box.index)
    mailbox.close()
    store.mailboxes.close()
    saved = snapshot.read(Files(), os.fsencode(template / "greenmail.index"))
    assert saved is not None, "the template has no index"
    uidlist = (template / "dovecot-uidlist").read_bytes()
    names = os.listdir(template / "cur")
    source = os.open(template / "cur", os.O_RDONLY)
    for number in range(users):
        box = where / user(number)
        for part in ("cur", "new", "tmp"):
            (box / part).mkdir(parents=True, mode=0o700)
        target = os.open(box / "cur", os.O_RDONLY)
        for name in names:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target)
        os.close(target)
        _index(box, saved, uidlist)
    os.close(source)


def _index(box: Path, saved: snapshot.Snapshot, uidlist: bytes) -> None:
    """Index files with a GUID of this mailbox's own, that remember the directories as they are."""
    guid = os.urandom(16).hex()
    (box / "dovecot-uidlist").write_bytes(uidlist.replace(saved.meta["mailbox_id"].encode(), guid.encode(), 1))
    times = (int(time.time()) - 3600,) * 2
    for part in ("cur", "new"):
        os.utime(box / part, times)
    listed = os.stat(box / "dovecot-uidlist")
    ident = journal.new_ident()
    meta = saved.meta | {
        "mailbox_id": guid,
        "journal": ident,
        "previous": ["", 0],
        "times": [times[0] * 10**9, 0, times[0] * 10**9, 0, listed.st_ino, listed.st_size, listed.st_mtime_ns, 0, 0, 0],
    }
    owner = Ownership(0o600, 0o700, None)
    fresh = snapshot.Snapshot(meta, saved.columns, saved.files)
    snapshot.write(Files(), os.fsencode(box / "greenmail.index"), fresh, owner)
    journal.create(Files(), os.fsencode(box / "greenmail.log"), ident, "", owner)


@dataclass(slots=True)
class Client:
    """One connection; `step` is the number of answers that it has had."""

    number: int
    socket: Any
    step: int = -1
    rest: bytes = b""
    selected: int = 0  # messages that SELECT told of
    arrivals: list[tuple[int, float]] = field(default_factory=list)


class Crowd:
    """All connections of one client process, on one epoll."""

    def __init__(self, numbers: Sequence[int], users: int, port: int) -> None:
        self._todo = list(reversed(numbers))
        self._users = users
        self._port = port
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._starting = 0
        self.idle = 0
        self.failures: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def turn(self, seconds: float) -> None:
        """Begin connections if there is room, and handle what arrives in the next `seconds`."""
        while self._todo and self._starting < WINDOW:
            self._begin(self._todo.pop())
        for descriptor, _ in self._epoll.poll(seconds, 1000):
            client = self._clients[descriptor]
            try:
                self._ready(client)
            except (OSError, ValueError) as error:
                self.failures.append(f"{client.number}: {error}")
                self._epoll.unregister(descriptor)
                del self._clients[descriptor]
                self._starting -= client.step < IDLE
                self.idle -= client.step == IDLE
                client.socket.close()

    def arrivals(self) -> list[Arrival]:
        """What has arrived since the last call."""
        found = [(client.number, *arrival) for client in self._clients.values() for arrival in client.arrivals]
        for client in self._clients.values():
            client.arrivals.clear()
        return found

    def selected(self) -> dict[int, int]:
        """How many messages each user had."""
        return {client.number % self._users: client.selected for client in self._clients.values()}

    def is_ready(self) -> bool:
        """Nothing is left to be set up."""
        return not self._todo and not self._starting

    def _begin(self, number: int) -> None:
        raw = socket.socket()
        raw.bind((f"127.0.1.{1 + number % SOURCES}", 0))
        raw.connect(("127.0.0.1", self._port))
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(number, self._context.wrap_socket(raw, do_handshake_on_connect=False))
        self._clients[client.socket.fileno()] = client
        self._epoll.register(client.socket.fileno(), select.EPOLLIN)
        self._starting += 1
        self._ready(client)

    def _ready(self, client: Client) -> None:
        try:
            if client.step < 0:
                client.socket.do_handshake()
                client.step = 0
            while True:
                data = client.socket.recv(16384)
                if not data:
                    raise ValueError(f"closed after {client.step} answers: {client.rest!r}")
                self._take(client, data)
        except ssl.SSLWantReadError:
            return

    def _take(self, client: Client, data: bytes) -> None:
        *lines, client.rest = (client.rest + data).split(b"\r\n")
        for line in lines:
            if line.startswith((b"* BYE", *REFUSALS)):
                raise ValueError(repr(line))
            if client.step == IDLE:
                if line.endswith(b" EXISTS"):
                    client.arrivals.append((int(line.split()[1]), time.monotonic()))
            elif line.startswith(ANSWERS[client.step]):
                self._next(client)
            elif line.endswith(b" EXISTS"):
                client.selected = int(line.split()[1])

    def _next(self, client: Client) -> None:
        client.step += 1
        if client.step == IDLE:
            self._starting -= 1
            self.idle += 1
            return
        name = user(client.number % self._users).encode()
        commands = (b"a LOGIN %b secret\r\n" % name, b"b SELECT INBOX\r\n", b"c IDLE\r\n")
        client.socket.sendall(commands[client.step - 1])


def crowd(numbers: Sequence[int], users: int, port: int, pipe: Pipe) -> None:
    """A client process: sets up its connections, says so, and then tells what arrived whenever it is asked."""
    soft_limit()
    here = Crowd(numbers, users, port)
    while not here.is_ready():
        here.turn(0.5)
    pipe.send((here.idle, here.failures[:5], here.selected()))
    while True:
        here.turn(0.05)
        if pipe.poll():
            if pipe.recv() is None:
                return
            pipe.send((here.idle, here.failures[:5], here.arrivals()))


def soft_limit() -> None:
    """As many descriptors as are allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def deliver(box: Path, number: int) -> float:
    """A new message in `new/`; when it was renamed there."""
    name = f"{int(time.time())}.M{number}P{os.getpid()}.delivery"
    (box / "tmp" / name).write_bytes(TEXT)
    began = time.monotonic()
    os.rename(box / "tmp" / name, box / "new" / name)
    return began


def descriptors(pids: Sequence[int]) -> int:
    """Open descriptors of these processes together."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


@dataclass(slots=True)
class Run:
    """A server with its clients, idling."""

    options: argparse.Namespace
    mail: Path
    meter: Meter
    pipes: list[Pipe]
    delivered: list[tuple[int, int, float]] = field(default_factory=list)  # user, messages then, when
    counts: dict[int, int] = field(default_factory=dict)  # messages of a user
    before: tuple[int, int, float] = (0, 0, 0.0)  # `measure`, without any client

    def ask(self) -> tuple[int, list[str], list[Arrival]]:
        """Of all client processes: how many idle, failures, arrivals."""
        for pipe in self.pipes:
            pipe.send(True)
        answers = [pipe.recv() for pipe in self.pipes]
        idle = sum(answer[0] for answer in answers)
        failures = [failure for answer in answers for failure in answer[1]]
        return idle, failures, [arrival for answer in answers for arrival in answer[2]]

    def deliver(self, number: int) -> None:
        """A new message for this user."""
        count = self.counts[number] = self.counts[number] + 1
        self.delivered.append((number, count, deliver(self.mail / user(number), count)))

    def rounds(self) -> None:
        """`rate` deliveries a second, to users drawn by lot."""
        dice = random.Random(1)
        began = time.monotonic()
        for number in range(self.options.rate * self.options.seconds):
            time.sleep(max(0.0, began + number / self.options.rate - time.monotonic()))
            self.deliver(dice.randrange(self.options.users))

    def delays(self) -> tuple[list[float], int, int]:
        """How long each connection waited for each delivery to its user; how many heard late of one, and never."""
        users, ended = self.options.users, time.monotonic()
        told: dict[int, list[tuple[int, float]]] = {number: [] for number in range(self.options.connections)}
        newest = {owner: count for owner, count, _ in self.delivered}
        while True:
            time.sleep(0.5)
            for number, count, when in self.ask()[2]:
                told[number].append((count, when))
            is_over = time.monotonic() > ended + self.options.patience
            if is_over or all(heard and heard[-1][0] >= newest[number % users]
                              for number, heard in told.items() if number % users in newest):  # fmt: skip
                break
        found, late, never = [], 0, 0
        for owner, count, began in self.delivered:
            for number in range(owner, self.options.connections, users):
                moment = next((when for total, when in told[number] if total >= count), None)
                if moment is None:
                    never += 1
                    continue
                found.append(moment - began)
                late += moment > ended + LATE
        self.delivered.clear()
        return found, late, never


@contextmanager
def running(options: argparse.Namespace, where: Path) -> Iterator[Run]:
    """The server, and client processes that begin to connect."""
    meter = Meter("idle", options.niceness)
    prefer(options.niceness)
    mail = where / "mail"
    passwd = "".join(f"{user(number)}:{{PLAIN}}secret\n" for number in range(options.users))
    with server.start(
        where / "server", f"{mail}/%u", passwd, workers=2, enter=meter.enter,
        max_connections=2 * options.connections, max_connections_per_user=options.connections,
        timeout_idle="12h", log_level="warn", **json.loads(options.settings),
    ) as ours:  # fmt: skip
        meter.pid = ours.process.pid
        pipes, processes = [], []
        for share in range(options.processes):
            mine, theirs = multiprocessing.Pipe()
            numbers = range(share, options.connections, options.processes)
            process = multiprocessing.Process(target=crowd, args=(numbers, options.users, ours.imaps, theirs))
            pipes.append(mine)
            processes.append(process)
        run = Run(options, mail, meter, pipes)
        run.before = measure(meter)
        for process in processes:
            process.start()
        yield run
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join()
    meter.close()


def measure(meter: Meter) -> tuple[int, int, float]:
    """Octets and descriptors of the server's processes, and its CPU so far."""
    pids = meter.processes()
    return pss(pids), descriptors(pids), meter.seconds()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--users", type=int, default=0, help="0: one for each connection")
    parser.add_argument("--messages", type=int, default=1000, help="in each INBOX")
    parser.add_argument("--rate", type=int, default=100, help="deliveries a second")
    parser.add_argument("--seconds", type=int, default=10, help="of deliveries")
    parser.add_argument("--patience", type=int, default=60, help="seconds to wait for those who were not told yet")
    parser.add_argument("--settle", type=int, default=10, help="seconds before memory is measured")
    parser.add_argument("--quiet", type=int, default=30, help="seconds over which idle CPU is measured")
    parser.add_argument("--processes", type=int, default=2, help="client processes")
    parser.add_argument("--directory", default="", help="where the mail is made; it is removed afterwards")
    parser.add_argument(
        "--keep", default="", help="use the mail of an earlier run in this directory, or make it to stay"
    )
    parser.add_argument("--niceness", type=int, default=0, help="of server and clients; below 0 they go before others")
    parser.add_argument("--settings", default="{}", help="settings of the server, as JSON")
    options = parser.parse_args()
    options.users = options.users or options.connections
    soft_limit()
    where = Path(tempfile.mkdtemp(prefix="greenmail-idle-", dir=options.directory or None))
    try:
        began = time.monotonic()
        if options.keep:
            (where / "mail").symlink_to(Path(options.keep).absolute())
        if not options.keep or not Path(options.keep).exists():
            make_users((where / "mail").resolve(), options.users, options.messages)
        print(f"made {options.users} users in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        with running(options, where) as run:
            print(json.dumps(report(options, run), indent=1))
    finally:
        shutil.rmtree(where)
    return 0


def report(options: argparse.Namespace, run: Run) -> dict[str, Any]:
    """All the figures."""
    count = options.connections
    began = time.monotonic()
    answers = [pipe.recv() for pipe in run.pipes]
    failures = [failure for answer in answers for failure in answer[1]]
    for answer in answers:
        run.counts.update(answer[2])
    found: dict[str, Any] = {"connections": sum(answer[0] for answer in answers), "failures": failures}
    found["setup_seconds"] = round(time.monotonic() - began, 1)
    found["setup_cpu_ms_each"] = round((measure(run.meter)[2] - run.before[2]) / count * 1e3, 2)
    time.sleep(options.settle)
    after = measure(run.meter)
    found["pss_kib_each"] = round((after[0] - run.before[0]) / count / 1024, 2)
    found["descriptors_each"] = round((after[1] - run.before[1]) / count, 3)
    print(json.dumps(found), file=sys.stderr, flush=True)
    time.sleep(options.quiet)
    found["idle_cpu_percent"] = round((measure(run.meter)[2] - after[2]) / max(1, options.quiet) * 100, 2)
    for name, work in (("one_each", lambda: [run.deliver(number) for number in range(min(10, options.users))]),
                       ("rate", run.rounds)):  # fmt: skip
        cpu = measure(run.meter)[2]
        work()
        found[name] = _delays(*run.delays()) | {"cpu_seconds": round(measure(run.meter)[2] - cpu, 2)}
    time.sleep(options.settle)
    found["pss_kib_each_afterwards"] = round((measure(run.meter)[0] - run.before[0]) / count / 1024, 2)
    found["idle_at_the_end"], found["failures_at_the_end"], _ = run.ask()
    found["load"] = os.getloadavg()[0]
    return found


def _delays(delays: list[float], late: int, never: int) -> dict[str, Any]:
    found: dict[str, Any] = {"notices": len(delays), "late": late, "never": never}
    if len(delays) < 2:
        return found
    parts = statistics.quantiles(delays, n=100)
    figures = {"p50_ms": parts[49], "p99_ms": parts[98], "worst_ms": max(delays)}
    return found | {key: round(value * 1e3, 1) for key, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
