"""W14: how long it takes from the rename of a new message into `new/` to `* n EXISTS` at a client in IDLE."""

import os
import time
from pathlib import Path

from bench.client import session
from bench.servers import Site

TEXT = b"From: a@example.org\nSubject: news\n\nHello\n"


def deliver(box: Path, number: int) -> float:
    """A new message in the Maildir `box`, as a delivery agent makes it; when it was renamed there."""
    name = f"{int(time.time())}.M{number}P{os.getpid()}R{time.monotonic_ns()}.delivery"
    owner = box.stat()
    (box / "tmp" / name).write_bytes(TEXT)
    os.chown(box / "tmp" / name, owner.st_uid, owner.st_gid)
    began = time.monotonic()
    os.rename(box / "tmp" / name, box / "new" / name)
    return began


def delays(site: Site, folder: bytes, times: int) -> tuple[list[float], float]:
    """Seconds that each of `times` deliveries to a folder of user bench took, and CPU seconds for each."""
    box = site.mail / "bench" / f".{folder.decode()}"
    client = session(site.imap, b"SELECT " + folder)
    client.idle()
    client.socket.settimeout(40)
    time.sleep(0.3)
    found = []
    before = site.meter.seconds()
    for number in range(times):
        began = deliver(box, number)
        while b" EXISTS\r\n" not in client.socket.recv(1 << 16):
            pass
        found.append(time.monotonic() - began)
        time.sleep(0.05)
    cpu = (site.meter.seconds() - before) / times
    client.drop()
    return found, cpu
