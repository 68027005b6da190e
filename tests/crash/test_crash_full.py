"""A full disk, and one without free inodes: a client can read, and remove its way out."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.scene import body
from support.server import Server, start
from support.wire_client import Imap

pytestmark = pytest.mark.slow

_LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 * 512 + b"\r\n"


@contextlib.contextmanager
def small_disk(path: Path, kind: str) -> Iterator[Path]:
    """A file system that is soon full; skips the test where none may be mounted."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(path)]
    if kind == "ext4":  # tmpfs counts links as inodes, which no disk does
        image = path.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(8 << 20)
        _run(["mkfs.ext4", "-q", "-N", "128", str(image)])
        command = ["mount", "-o", "loop", str(image), str(path)]
    _run(command)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _run(command: list[str]) -> None:
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        pytest.skip(f"only root can mount a small file system, with {command[0]}")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")


def _fill_with_octets(disk: Path) -> None:
    """Until not one more octet fits."""
    with open(disk / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def _fill_with_inodes(disk: Path) -> None:
    """Until not one more file can be made."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            number += 1
            (disk / f"filler{number}").touch()


def _client(server: Server) -> Imap:
    return Imap(server.imaps, tls=True).login()


def _uids(imap: Imap) -> set[int]:
    return set(imap.fetch("1:* (UID FLAGS RFC822.SIZE)"))


@pytest.mark.parametrize(
    ("kind", "fill"), [("tmpfs", _fill_with_octets), ("ext4", _fill_with_inodes)], ids=["no space", "no inodes"]
)
def test_a_full_disk(tmp_path: Path, kind: str, fill: Callable[[Path], None]) -> None:
    with (
        small_disk(tmp_path / "disk", kind) as disk,
        start(tmp_path / "server", str(disk / "%u" / "Maildir"), workers=1) as server,
    ):
        with _client(server) as imap:
            for number in range(6):
                imap.ok("APPEND INBOX", body(f"small {number}"))
                imap.ok("APPEND INBOX", _LARGE)
            imap.ok("SELECT INBOX")
            fill(disk)
            _play(imap)
        with _client(server) as imap:  # a new session on the full disk
            _play_out(imap, disk)


def _play(imap: Imap) -> None:
    """What works, and what is refused in the right way."""
    for octets in (_LARGE, body("refused")):
        answer, _ = imap.command("APPEND INBOX (\\Seen)", octets)
        assert answer.startswith((b"NO [OVERQUOTA]", b"NO [UNAVAILABLE]")), answer
    assert _uids(imap) == set(range(1, 13))
    assert imap.fetch("1:* BODY.PEEK[]")[1]["BODY[]"] == body("small 0").decode()
    imap.ok("UID STORE 2,4 +FLAGS (\\Deleted)")
    imap.ok("UID STORE 1 +FLAGS (\\Flagged)")


def _play_out(imap: Imap, disk: Path) -> None:
    """Log in, read, remove; then there is room, and everything is as always."""
    imap.ok("SELECT INBOX")
    assert imap.fetch("1:* (FLAGS BODY.PEEK[])")[1]["BODY[]"] == body("small 0").decode()
    imap.ok("UID STORE 6 +FLAGS (\\Deleted)")
    imap.ok("EXPUNGE")
    assert _uids(imap) == {1, 3, 5, *range(7, 13)}
    for path in disk.glob("filler*"):
        path.unlink()
    answer, _ = imap.command("APPEND INBOX (\\Seen again)", body("there is room"))
    assert answer.startswith(b"OK [APPENDUID "), answer
    imap.ok("NOOP")
    uid = int(answer.split(b"]")[0].split()[-1])
    assert uid >= 13
    found = imap.fetch("1:* (FLAGS BODY.PEEK[])")
    assert set(found) == {1, 3, 5, *range(7, 13), uid}
    assert found[uid]["BODY[]"] == body("there is room").decode()
    imap.ok("CREATE Made")
    imap.ok(f"UID MOVE {uid} Made")
