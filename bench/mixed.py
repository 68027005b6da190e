"""W16: fifty clients of ten users in a closed loop, on one epoll; CPU per operation and latencies."""

import random
import re
import select
import statistics
import time
from collections.abc import Generator
from dataclasses import dataclass, field

from bench import corpus
from bench.client import Client, session
from bench.servers import Site

CLIENTS = 50
ACCOUNTS = 10
MESSAGES = 1000
HEADERS = b"FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID References)])"
TEXT = b"Subject: bench\r\nFrom: a@example.org\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789\r\n" * 92
Step = tuple[str, bytes]  # kind of the operation, and the command


@dataclass
class Load:
    """What came of it."""

    operations: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=dict)

    def quantile(self, part: int, kind: str = "") -> float:
        """The `part`th of a hundred latencies, of one kind or of all, in milliseconds."""
        values = self.latencies.get(kind, []) if kind else [v for found in self.latencies.values() for v in found]
        return statistics.quantiles(values, n=100)[part - 1] * 1e3 if len(values) > 1 else 0.0


def script(number: int) -> Generator[Step, bytes, None]:
    """What one client does, for ever; it is sent the answer to each step."""
    dice = random.Random(number)
    while True:
        answer = yield "select", b"SELECT INBOX"
        found = re.search(rb"\* (\d+) EXISTS", answer)
        count = int(found[1]) if found else MESSAGES
        yield "headers", HEADERS % (max(1, count - 29), count)
        for _ in range(3):
            place = max(1, count - dice.randrange(200))
            yield "noop", b"NOOP"
            yield "body", b"FETCH %d BODY.PEEK[]" % place
            yield "store", b"STORE %d %bFLAGS (\\Flagged)" % (place, dice.choice((b"+", b"-")))
        if dice.randrange(10) == 0:
            yield "append", b"APPEND INBOX {%d+}\r\n%b" % (len(TEXT), TEXT)


def prepare(site: Site) -> None:
    """The users' mail."""
    for number in range(ACCOUNTS):
        corpus.link(corpus.cached(True, MESSAGES), site.mail / f"u{number}", MESSAGES)


def run(site: Site, seconds: float) -> Load:
    """The load for so long, after everybody has logged in."""
    load = Load()
    poll = select.epoll()
    clients: dict[int, tuple[Client, Generator[Step, bytes, None]]] = {}
    waiting: dict[int, tuple[str, bytes, float, bytes]] = {}  # kind, tag, when, what has come
    for number in range(CLIENTS):
        client = session(site.imap, user=f"u{number % ACCOUNTS}")
        clients[client.socket.fileno()] = (client, script(number))
        poll.register(client.socket.fileno(), select.EPOLLIN)
    before, began = site.meter.seconds(), time.monotonic()
    for descriptor, (client, steps) in clients.items():
        kind, text = next(steps)
        waiting[descriptor] = (kind, client.send(text), time.monotonic(), b"")
    while time.monotonic() < began + seconds:
        for descriptor, _ in poll.poll(0.5):
            client, steps = clients[descriptor]
            kind, tag, asked, rest = waiting[descriptor]
            rest = (rest + client.socket.recv(1 << 18))[-4000:]
            if not (rest.endswith(b"\r\n") and (b"\n" + tag in rest or rest.startswith(tag))):
                waiting[descriptor] = (kind, tag, asked, rest)
                continue
            now = time.monotonic()
            load.operations += 1
            load.latencies.setdefault(kind, []).append(now - asked)
            kind, text = steps.send(rest)
            waiting[descriptor] = (kind, client.send(text), now, b"")
    load.wall = time.monotonic() - began
    load.cpu = site.meter.seconds() - before
    for client, _ in clients.values():
        client.drop()
    return load
