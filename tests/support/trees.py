"""The recorded mail trees of tests/data/maildirs, unpacked with their times."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data" / "maildirs"


def unpack(server: str, where: Path) -> Path:
    """Unpack `dovecot` or `courier` below `where`; the Maildir. It belongs to whoever runs the test."""
    (archive,) = (DATA / server).glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        for member in tar:
            member.uid, member.gid = os.getuid(), os.getgid()
            member.uname = member.gname = ""
            tar.extract(member, where)
        for member in tar.getmembers():  # a directory's time changed when its files were made
            if not member.issym():
                os.utime(where / member.name, (member.mtime, member.mtime))
    return where / "Maildir"


def expected(server: str, which: str = "expected.json") -> Any:
    """What `server` answered: `expected.json`, or for dovecot `expected-noindex.json`."""
    return json.loads((DATA / server / which).read_text(encoding="utf-8"))


def drop_index(maildir: Path) -> None:
    """Remove what only Dovecot itself reads, as before `expected-noindex.json` was recorded."""
    for pattern in ("dovecot.index*", "dovecot.list.index*", "dovecot.mailbox.log*"):
        for path in maildir.rglob(pattern):
            path.unlink()
