"""W13: memory of connections that idle: PSS of the whole process tree, over that of the server before.

Each client has selected a mailbox of a thousand messages, ten users share the connections. For ten thousand over TLS
with a user for each see `python -m bench.idle`.
"""

import resource
import time

from bench import corpus
from bench.client import Client, session
from bench.meter import pss
from bench.servers import Site

MESSAGES = 1000
ACCOUNTS = 10


def soft_limit() -> int:
    """Take as many descriptors as are allowed; how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def prepare(site: Site) -> None:
    """The users' mail, and what a server keeps of it on disk."""
    for number in range(ACCOUNTS):
        corpus.link(corpus.cached(False, MESSAGES), site.mail / f"u{number}", MESSAGES)
        session(site.imap, b"SELECT INBOX", user=f"u{number}").close()


def each(site: Site, counts: list[int], tls: bool) -> dict[int, tuple[float, float, float]]:
    """For each number of connections: KiB of PSS each, CPU seconds of the set-up each, CPU % of a core while idle."""
    found = {}
    clients: list[Client] = []
    time.sleep(1)
    base = pss(site.meter.processes())
    prepare(site)  # what it leaves in memory counts as the connections', which share these mailboxes
    before = site.meter.seconds()
    try:
        for count in counts:
            while len(clients) < count:
                user = f"u{len(clients) % ACCOUNTS}"
                client = session(site.imaps if tls else site.imap, b"SELECT INBOX", user=user, tls=tls)
                client.idle()
                clients.append(client)
            time.sleep(2)
            cpu = (site.meter.seconds() - before) / count
            began, then = time.monotonic(), site.meter.seconds()
            time.sleep(3)
            idle = (site.meter.seconds() - then) / (time.monotonic() - began)
            found[count] = ((pss(site.meter.processes()) - base) / count / 1024, cpu, idle * 100)
    except (OSError, EOFError, AssertionError) as error:
        print(f"W13: {site.name} stopped at {len(clients)} connections: {error}", flush=True)
    for client in clients:
        client.drop()
    return found
