"""What one new message costs in a large mailbox, against a small one. Usage: python -m bench.growth [--large 100000]

Each time a message is delivered first, and then the command sees it: NOOP, IDLE (until `* n EXISTS`), STATUS,
LIST-STATUS; STORE changes a flag of it, APPEND brings it itself. Printed is the server's CPU for each, delivery and
command together, in turns of the two mailboxes and of both servers; the least of the rounds. The goal is that the
large mailbox costs at most three times what the small one does. Goes to bench/results/growth.md and .json.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import corpus, delivery, report, servers
from bench.client import Client, session
from bench.servers import Site

GOAL = 3.0
TIMES = 20
TEXT = delivery.TEXT.replace(b"\n", b"\r\n")
Step = Callable[[Site, Client, bytes, int], None]


def arrive(site: Site, box: bytes, number: int) -> None:
    """A delivery, some time after the last one: a mailbox that changed a moment ago is looked at twice."""
    delivery.deliver(site.mail / "bench" / f".{box.decode()}", number)


def noop(site: Site, client: Client, box: bytes, number: int) -> None:
    arrive(site, box, number)
    assert b"EXISTS" in client.run(b"NOOP")


def idle(site: Site, client: Client, box: bytes, number: int) -> None:
    client.idle()
    arrive(site, box, number)
    while b" EXISTS\r\n" not in client.socket.recv(1 << 16):
        pass
    client.socket.sendall(b"DONE\r\n")
    client.until(b"OK")


def status(site: Site, client: Client, box: bytes, number: int) -> None:
    arrive(site, box, number)
    client.run(b"STATUS %b (MESSAGES UNSEEN UIDNEXT)" % box)


def list_status(site: Site, client: Client, box: bytes, number: int) -> None:
    arrive(site, box, number)
    client.run(b'LIST "" %b RETURN (STATUS (MESSAGES UNSEEN))' % box)


def store(site: Site, client: Client, box: bytes, number: int) -> None:
    arrive(site, box, number)
    client.run(b"NOOP")
    client.run(b"STORE * +FLAGS (\\Flagged)")


def append(site: Site, client: Client, box: bytes, number: int) -> None:
    client.run(b"APPEND %b {%d+}\r\n%b" % (box, len(TEXT), TEXT))


# Name, the commands before, and the step. STATUS and LIST are asked where another mailbox is selected.
STEPS: list[tuple[str, bool, Step]] = [
    ("NOOP", True, noop),
    ("IDLE", True, idle),
    ("STATUS", False, status),
    ("LIST-STATUS", False, list_status),
    ("NOOP and STORE", True, store),
    ("APPEND", False, append),
]


def measure(site: Site, box: bytes, is_selected: bool, step: Step, times: int) -> float:
    """CPU seconds of one step."""
    client = session(site.imap, b"SELECT %b" % box if is_selected else b"SELECT INBOX")
    if not is_selected:
        client.run(b"STATUS %b (MESSAGES)" % box)
    client.socket.settimeout(60)
    step(site, client, box, 0)
    time.sleep(1.2)
    before = site.meter.seconds()
    for number in range(1, times + 1):
        step(site, client, box, number)
        time.sleep(0.05)
    time.sleep(1.2)  # what it left for later counts, too
    cpu = (site.meter.seconds() - before) / times
    client.close()
    return cpu


def main() -> None:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="greenmail-bench-"))
    where.chmod(0o755)  # the servers run as other users
    head = report.circumstances(small=options.small, large=options.large, rounds=options.rounds)
    found: dict[str, dict[str, list[float]]] = {}
    try:
        with servers.running(("dovecot", "greenmail"), where) as sites:
            for site in sites.values():
                for count in (options.small, options.large):
                    corpus.link(corpus.cached(False, count), site.mail / "bench" / f".G{count}", count)
                    session(site.imap, b"SELECT G%d" % count).close()
            for name, is_selected, step in STEPS:
                values: dict[str, list[float]] = {}
                for _ in range(options.rounds):
                    for who, site in sites.items():
                        for place, count in enumerate((options.small, options.large)):
                            cpu = measure(site, b"G%d" % count, is_selected, step, TIMES)
                            least = values.setdefault(who, [1e9, 1e9])
                            least[place] = min(least[place], cpu)
                found[name] = values
                print(name, {who: [f"{cpu * 1e3:.3f} ms" for cpu in pair] for who, pair in values.items()}, flush=True)
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print(report.write("growth", head, table(found, options.small, options.large), {"growth": found}))
    print(f"load {os.getloadavg()[0]:.1f}")


def table(found: dict[str, dict[str, list[float]]], small: int, large: int) -> str:
    """Markdown: a line a command."""
    lines = [
        f"| one new message and | server | {small:,} messages | {large:,} messages | times | at most {GOAL:g} |",
        "|---|---|--:|--:|--:|---|",
    ]
    for name, values in found.items():
        for who, (one, other) in values.items():
            met = ("yes" if other <= GOAL * one else "no") if who == "greenmail" else ""
            lines.append(f"| {name} | {who} | {one * 1e3:.3f} ms | {other * 1e3:.3f} ms | {other / one:.2f} | {met} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
