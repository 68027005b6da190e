"""A server that is to be hurt, and what it took to bear that."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from support import server as greenmail
from support.interop_site import Site, make_box

MIB = 1 << 20


RIGHT, WRONG = "c0rrect-h0rse-battery", "Xyzzy-wr0ng-passw0rd"


HANDSHAKE, ANONYMOUS = 3, 6  # seconds


@contextlib.contextmanager
def hostile_site(here: Path) -> Iterator[Site]:
    """One server for all tests of a module: what one of them leaves behind, the next ones notice."""
    maildir = here / "mail" / "alice" / "Maildir"
    make_box(maildir)
    with greenmail.start(
        here / "run",
        str(here / "mail" / "%u" / "Maildir"),
        f"alice:{{PLAIN}}secret\nbob:{{PLAIN}}{RIGHT}\ncarol:{{PLAIN}}secret\n",
        workers=1,
        fresh=True,
        timeout_handshake=HANDSHAKE,
        timeout_anonymous=ANONYMOUS,
        auth_failure_delay=0.01,
        log_level="trace",
    ) as server:
        yield Site(server, maildir, here)


def processes(site: Site) -> list[str]:
    pid = site.server.process.pid
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(site: Site) -> int:
    """Octets of private memory of the whole server."""
    lines = [line for one in processes(site) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def worked(site: Site) -> float:
    """Seconds of processor that the server has used."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes(site)]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def bounded(site: Site, seconds: float, octets: int) -> Iterator[None]:
    """What happens inside takes at most so much processor and memory, and the server is there afterwards."""
    before = worked(site), resident(site)
    yield
    assert worked(site) - before[0] < seconds, f"{worked(site) - before[0]:.1f} s of processor"
    assert resident(site) - before[1] < octets, f"{(resident(site) - before[1]) / MIB:.0f} MiB"
    with site.imap() as client:
        client.ok("NOOP")
