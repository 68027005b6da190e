"""Memory under an hour of mixed work: it has to end where it began. Usage: python -m bench.soak [--minutes 60]

One cycle after another: the mixed load of W16; an account that opens another of twenty large mailboxes, searches and
sorts it; sessions over TLS with COMPRESS; POP3; deliveries; what was appended is expunged, so that the mail stays what
it is. Then nobody is there for some seconds. PSS of the whole process tree is sampled all the time, and in each quiet
moment. `cache-memory` is small, but each worker fills it when it happens to meet enough of the large mailboxes: so the
base is the largest quiet moment of the first half, and the end is the least of the last three. Goes to
bench/results/soak.json, and as a plot to soak.svg and soak.png.
"""

import argparse
import contextlib
import json
import poplib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import corpus, mixed, plots, report
from bench.client import session
from bench.held import Deflated
from bench.meter import pss
from bench.servers import Site, running

LARGE = 20
MESSAGES = 20000
CYCLE = 40  # seconds of the mixed load in each
QUIET = 8
CACHE = 32 << 20  # `cache-memory` of each of the workers: three of the large mailboxes
GROWTH = 1.05  # what the end may be over the base

Sample = tuple[float, float]  # seconds since the start, MiB


class Watch(threading.Thread):
    """Samples PSS every two seconds."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.began = time.monotonic()
        self.samples: list[Sample] = []
        self.quiet: list[Sample] = []
        self.done = threading.Event()

    def now(self) -> Sample:
        """A sample of this moment."""
        size = pss(self.site.meter.processes()) / 2**20
        return (round(time.monotonic() - self.began, 1), round(size, 2))

    def run(self) -> None:
        while not self.done.wait(2):
            self.samples.append(self.now())


def prepare(site: Site) -> None:
    """The users' mail, and the large mailboxes of user bench."""
    mixed.prepare(site)
    for number in range(LARGE):
        corpus.link(corpus.cached(False, 10000), site.mail / "bench" / f".large{number}", MESSAGES)


def cycle(site: Site, number: int) -> int:
    """One round of everything; the operations of its mixed load."""
    done = mixed.run(site, CYCLE).operations
    tidy(site)
    large(site, number)
    compressed(site)
    pop3(site)
    return done


def tidy(site: Site) -> None:
    """Expunge what the load appended, and deliver a message that the next cycle expunges."""
    for number in range(mixed.ACCOUNTS):
        client = session(site.imap, b"SELECT INBOX", user=f"u{number}")
        with contextlib.suppress(AssertionError):  # nothing was appended there
            client.run(b"STORE %d:* +FLAGS.SILENT (\\Deleted)" % (mixed.MESSAGES + 1))
        client.run(b"EXPUNGE")
        client.close()
        deliver(site.mail / f"u{number}", f"{time.time_ns()}.soak")


def deliver(box: Path, name: str) -> None:
    """As an MTA does it."""
    path = box / "tmp" / name
    path.write_bytes(mixed.TEXT)
    shutil.chown(path, corpus.OWNER, corpus.OWNER)
    path.rename(box / "new" / name)


def large(site: Site, number: int) -> None:
    """All that costs memory, in a mailbox that was not looked at for long."""
    client = session(site.imap, b"SELECT large%d" % (number % LARGE))
    client.run(b"FETCH 1:* (UID FLAGS ENVELOPE)")
    client.run(b"SORT (REVERSE DATE) UTF-8 ALL")
    client.run(b"THREAD REFERENCES UTF-8 ALL")
    client.run(b"SEARCH BODY nothing%d" % number)
    client.run(b"STORE 1:1000 %bFLAGS (soak%d)" % (b"-" if number // LARGE % 2 else b"+", number % 20))
    client.close()


def compressed(site: Site) -> None:
    """Thirty sessions over TLS with COMPRESS=DEFLATE that idle for a moment; half of them go without a word."""
    clients = []
    for number in range(30):
        client = session(site.imaps, b"COMPRESS DEFLATE", user=f"u{number % mixed.ACCOUNTS}", tls=True)
        client.socket = Deflated(client.socket)
        client.run(b"SELECT INBOX")
        client.run(b"FETCH 1:50 BODY.PEEK[]")
        client.idle()
        clients.append(client)
    for number, client in enumerate(clients):
        if number % 2:
            client.socket.sendall(b"DONE\r\n")
            client.until(b"OK")
            client.close()
        else:
            client.drop()


def pop3(site: Site) -> None:
    """Ten POP3 sessions that fetch fifty messages each."""
    for number in range(mixed.ACCOUNTS):
        client = poplib.POP3("127.0.0.1", site.pop3, timeout=300)
        client.user(f"u{number}")
        client.pass_("secret")
        for place in range(1, 51):
            client.retr(place)
        client.quit()


@contextlib.contextmanager
def watched(site: Site) -> Iterator[Watch]:
    """A thread that samples while the block runs."""
    watch = Watch(site)
    watch.start()
    try:
        yield watch
    finally:
        watch.done.set()
        watch.join()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="greenmail-soak-"))
    where.chmod(0o755)  # the server runs as another user
    operations = cycles = 0
    try:
        with running(["greenmail-all"], where, settings={"cache_memory": CACHE}) as sites:
            site = sites["greenmail-all"]
            prepare(site)
            facts = report.circumstances()
            with watched(site) as watch:
                until = time.monotonic() + options.minutes * 60
                while time.monotonic() < until:
                    operations += cycle(site, cycles)
                    cycles += 1
                    time.sleep(QUIET)
                    watch.quiet.append(watch.now())
                    print(f"cycle {cycles}: {operations} operations, quiet {watch.quiet[-1][1]:.1f} MiB", flush=True)
            descriptors = [sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in site.meter.processes()]
    finally:
        shutil.rmtree(where, ignore_errors=True)
    result = judge(watch, {"circumstances": facts, "minutes": options.minutes, "operations": operations})
    result |= {"cycles": cycles, "descriptors": sum(descriptors)}
    report.RESULTS.mkdir(parents=True, exist_ok=True)
    (report.RESULTS / "soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plots.draw_all()
    print(json.dumps({name: value for name, value in result.items() if name not in ("samples", "quiet")}))
    sys.exit(not result["met"])


def judge(watch: Watch, facts: dict[str, Any]) -> dict[str, Any]:
    """Whether memory ended where it began."""
    sizes = [size for _, size in watch.quiet]
    base = max(sizes[: max(1, len(sizes) // 2)])
    end = min(sizes[-3:])
    most = max(size for _, size in watch.samples)
    found = {"base": base, "end": end, "most": most, "met": end <= base * GROWTH}
    return {**facts, **found, "samples": watch.samples, "quiet": watch.quiet}


if __name__ == "__main__":
    main()
