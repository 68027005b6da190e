"""Full-text search measured. Usage: python -m bench.fulltext [MESSAGES]

Dovecot (without a full-text index) and GreenMail get the same mailbox. Printed are what it costs GreenMail to fill the
index, CPU a message and octets on disk, how long others wait for NOOP meanwhile; and for some searches the CPU of both,
least of several, with the messages that GreenMail opened.
"""

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import dovecot, server

from bench import corpus
from bench.client import Client, session
from bench.meter import Meter

SEARCHES = (b"BODY xyzzy", b"TEXT xyzzy", b"BODY judith", b"TEXT judith", b'BODY "idea time"')
ROUNDS = 5


@contextlib.contextmanager
def serving(name: str, where: Path, root: Path, **settings: object) -> Iterator[tuple[int, Meter, Callable[[], str]]]:
    """The IMAP port, the meter, and what gives the page of /metrics."""
    meter = Meter(name)
    try:
        if name == "dovecot":
            with dovecot.start(where / name, root, enter=meter.enter) as theirs:
                yield theirs.imap, meter, str
        else:
            passwd = "bench:{PLAIN}secret\n"
            common = {"secure_networks": ["127.0.0.0/8"], "workers": 1, "enter": meter.enter}
            with server.start(where / name, str(root), passwd, **common, **settings) as ours:  # type: ignore[arg-type] # as they are
                yield ours.imap, meter, ours.scrape
    finally:
        meter.close()


def figure(page: str, name: str) -> float:
    """One figure of /metrics."""
    return sum(float(value) for value in re.findall(rf"(?m)^{name}(?:_total)?(?:{{.*}})? (\S+)$", page))


def filled(port: int, meter: Meter, scrape: Callable[[], str], count: int) -> None:
    """Wait until the index is complete, asking NOOP meanwhile."""
    other = session(port)
    before, began = meter.seconds(), time.monotonic()
    selected = session(port, b"SELECT Bench")
    waits: list[float] = []
    looked = noops = 0.0
    while True:
        for _ in range(100):
            asked = time.monotonic()
            other.run(b"NOOP")
            waits.append(time.monotonic() - asked)
            time.sleep(0.01)
        begun = meter.seconds()
        page = scrape()
        looked += meter.seconds() - begun
        if figure(page, "greenmail_full_text_queue") == 0:
            break
    wall = time.monotonic() - began
    spent = meter.seconds() - before - looked
    begun = meter.seconds()
    for _ in range(200):
        other.run(b"NOOP")
    noops = (meter.seconds() - begun) / 200 * len(waits)
    waits.sort()
    octets = figure(page, "greenmail_full_text_octets")
    print(f"filled {count} messages in {wall:.1f} s, {(spent - noops) / count * 1e3:.2f} ms CPU a message")
    print(f"{octets / count:.0f} octets on disk a message")
    middle, last = waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3
    print(f"NOOP of others meanwhile: p50 {middle:.1f} ms, p99 {last:.1f} ms")
    selected.close()
    other.close()


def searched(client: Client, meter: Meter, keys: bytes) -> tuple[float, int]:
    """CPU seconds of a SEARCH, least of several, and how many messages it found."""
    least, found = 1e9, 0
    for _ in range(ROUNDS):
        begun = meter.seconds()
        answer = client.run(b"SEARCH RETURN (COUNT) " + keys)
        least = min(least, meter.seconds() - begun)
        counted = re.search(rb"COUNT (\d+)", answer)
        found = int(counted[1]) if counted else -1
    return least, found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="greenmail-bench-") as name:
        where = Path(name)
        where.chmod(0o755)
        results: dict[bytes, list[str]] = {keys: [] for keys in SEARCHES}
        cost: dict[bytes, float] = {}
        for who in ("dovecot", "greenmail"):
            root = where / f"mail-{who}" / "Maildir"
            corpus.fill(root, 20, mixed=True)
            corpus.fill(root / ".Bench", count, mixed=True)
            (root / ".Bench" / "maildirfolder").touch()
            settings = {"full_text_search": True} if who == "greenmail" else {}
            with serving(who, where, root, **settings) as (port, meter, scrape):
                if who == "greenmail":
                    octets = sum(path.stat().st_size for path in (root / ".Bench" / "cur").iterdir())
                    filled(port, meter, scrape, count)
                    print(f"{octets / count:.0f} octets of mail a message")
                client = session(port, b"SELECT Bench")
                for keys in SEARCHES:
                    before = figure(scrape(), "greenmail_search_opened_messages")
                    seconds, found = searched(client, meter, keys)
                    opened = (figure(scrape(), "greenmail_search_opened_messages") - before) / ROUNDS
                    if who == "dovecot":
                        cost[keys] = seconds
                        results[keys] += [keys.decode(), f"{seconds * 1e3:.1f} ms"]
                    else:
                        results[keys] += [
                            f"{seconds * 1e3:.1f} ms",
                            f"{seconds / cost[keys]:.3f}",
                            f"{found}",
                            f"{opened:.0f}",
                        ]
        print("| SEARCH | Dovecot | GreenMail | ratio | found | opened |\n|---|---|---|---|---|---|")
        for cells in results.values():
            print("| " + " | ".join(cells) + " |")
        print(f"load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
