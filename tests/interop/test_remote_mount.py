"""Mail on a real mount without events of others: GreenMail reads it through FUSE, a Dovecot 2.3 has the disk below it.

What is done below the mount makes no event above it, and the kernel remembers names and attributes for a second, as it
does with NFS: issues of `formats.md` 7.4 with a real kernel between the two servers. `bindfs` makes the mount.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.beside import BOXES, MESSAGE, Deliverer, Pair, both, directory_of, markers
from support.interop_site import make_box
from support.soak import Known, at_work, deliver_all_the_time, deliver_by_dovecot, fill
from support.wire_client import flat

pytestmark = pytest.mark.interop

POLL = 2
SECONDS = float(os.environ.get("GREENMAIL_SOAK", "30"))


@contextlib.contextmanager
def mounted(below: Path, above: Path, *options: str) -> Iterator[Path]:
    """`below` once more at `above`, through a file system of a process."""
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed")
    above.mkdir()
    made = subprocess.run(["bindfs", *options, str(below), str(above)], capture_output=True, timeout=30)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield above
    finally:
        subprocess.run(["umount", "-l", str(above)], check=True, timeout=30)


@pytest.fixture
def pair(place: Path) -> Iterator[Pair]:
    """Both servers; `maildir` of the pair is the disk."""
    maildir = place / "disk" / "Maildir"
    for name in ("", ".Archive"):
        make_box(maildir, name)
    for number in range(5):
        (maildir / "new" / f"{number}.M1P1.mx").write_bytes((MESSAGE % (f"old-{number}", "old")).encode())
    with (
        mounted(place / "disk", place / "mount") as above,
        both(place, maildir, ours=above / "Maildir", poll_interval=POLL) as made,
    ):
        yield made


def test_what_is_done_below_the_mount_is_told_to_who_idles(pair: Pair) -> None:
    """And nobody is left to wonder why it takes longer: one line in the log, and a metric."""
    told: dict[str, float] = {}
    with pair.theirs() as theirs, pair.ours() as ours:
        theirs.ok("SELECT INBOX")
        ours.ok("SELECT INBOX")
        ours.ok("NOOP")
        ours.send(b"idle IDLE\r\n")
        while not ours.line().startswith(b"+"):
            pass  # what came before
        for name, pattern in (("delivered", rb"6 EXISTS"), ("flag", rb"FETCH .*\\Flagged"), ("expunge", rb"EXPUNGE")):
            since = time.monotonic()
            if name == "delivered":
                Deliverer(pair.maildir).deliver("new-1")
            elif name == "flag":
                theirs.ok("UID STORE 2 +FLAGS (\\Flagged)")
            else:
                theirs.ok("UID STORE 3 +FLAGS (\\Deleted)")
                theirs.ok("UID EXPUNGE 3")
            ours.socket.settimeout(30)
            while not re.search(pattern, flat(ours.response())):
                pass
            told[name] = round(time.monotonic() - since, 2)
        ours.send(b"DONE\r\n")
        while not ours.line().startswith(b"idle OK"):
            pass
        theirs.ok("NOOP")
        assert markers(ours) == markers(theirs)
    print(json.dumps(told))
    assert max(told.values()) < POLL + 3, told  # the kernel's second, and ours for flags
    lines = [line for line in pair.greenmail.logged().splitlines() if "degraded" in line]
    assert len(lines) == 1
    assert "fuse" in lines[0] and str(pair.maildir.parent.parent / "mount") in lines[0]
    assert re.search(r"greenmail_degraded_file_systems\{.*\} 1(\.0)?\n", pair.greenmail.scrape())


def test_what_was_written_through_the_mount_is_read_through_it(pair: Pair) -> None:
    """At once, although such a file system knows files by their names, and has no second name for one."""
    with pair.ours() as ours:
        ours.ok("SELECT INBOX")
        for number in range(5):
            ours.ok(f"CREATE made-{number}")
            ours.ok(f"SUBSCRIBE made-{number}")
            ours.ok(f"COPY 1:2 made-{number}")
        _, lines = ours.command('LIST (SUBSCRIBED) "" "*" RETURN (STATUS (MESSAGES))')
        said = b"\n".join(flat(line) for line in lines)
        for number in range(5):
            assert b"made-%d (MESSAGES 2)" % number in said
    assert (pair.maildir / "subscriptions").read_text() == "V\t2\n\n" + "".join(f"made-{n}\n" for n in range(5))


@pytest.mark.long
@pytest.mark.timeout(int(SECONDS) + 240)
@pytest.mark.parametrize("remembers", [False, True])
def test_soak_through_the_mount(place: Path, remembers: bool) -> None:
    """What `test_beside_dovecot` has both servers do, with a kernel between them.

    Where that kernel remembers names and attributes for a second, as with NFS, only deliveries come from below: two
    servers that change one mailbox through such caches are two hosts, which neither is made for (`formats.md` 7.4).
    """
    maildir = place / "disk" / "Maildir"
    for box in BOXES:
        make_box(maildir, directory_of(box, "maildir++"))
    known = Known()
    fill(maildir, known, 500)
    fresh = () if remembers else ("-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0")
    with (
        mounted(place / "disk", place / "mount", *fresh) as above,
        both(place, maildir, ours=above / "Maildir") as pair,
    ):
        until = time.monotonic() + SECONDS
        delivering = [threading.Thread(target=deliver_all_the_time, args=(Deliverer(maildir), known, until))]
        if not remembers:
            delivering.append(threading.Thread(target=deliver_by_dovecot, args=(pair.dovecot, known, until)))
        figures = at_work(pair, known, until, delivering, ["greenmail"] if remembers else ["greenmail", "dovecot"])
    print(json.dumps({"seconds": SECONDS, "operations": sum(known.counts.values()), **figures, "losses": 0}))
