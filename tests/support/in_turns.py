"""One Maildir, served by GreenMail and by Dovecot 2.3 in turn: what a client finds and what lies on the disk."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import dovecot
from support import server as greenmail
from support.wire_client import Imap

MAIL = b"From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\nbody of %s\r\n"


def mail(name: str) -> bytes:
    return MAIL.replace(b"%s", name.encode())


@dataclass
class Site:
    """One Maildir, served by GreenMail and by Dovecot in turn."""

    where: Path
    maildir: Path
    count: int = 0

    @contextlib.contextmanager
    def greenmail(self) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.maildir)
        with greenmail.start(
            self.where / f"run{self.count}", str(self.maildir), user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(self.where / f"sockets{self.count}"),
        ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
            yield client

    @contextlib.contextmanager
    def dovecot(self, may_complain: bool = False) -> Iterator[Imap]:
        self.count += 1
        with dovecot.start(self.where / f"dovecot{self.count}", self.maildir) as server:
            with Imap(server.imap).login() as client:
                yield client
            if may_complain:
                return
            complaints = [line for line in server.logged().splitlines() if re.search("Warning|Error|Panic|Fatal", line)]
            assert not complaints, complaints


def state(client: Imap, name: str) -> tuple[int, dict[int, set[str]]]:
    """UIDVALIDITY, and the flags by UID without \\Recent."""
    lines = b"\n".join(client.lines(f'SELECT "{name}"'))
    validity = int(re.search(rb"UIDVALIDITY (\d+)", lines).group(1))  # type: ignore[union-attr]  # SELECT has it
    return validity, {uid: set(m["FLAGS"]) - {"\\Recent"} for uid, m in client.fetch("1:* (FLAGS)").items()}


def body(client: Imap, uid: int) -> bytes:
    return str(client.fetch(f"{uid} (BODY.PEEK[])")[uid]["BODY[]"]).encode("latin-1")


def uids_of(code: str, answer: bytes) -> list[int]:
    """The target UIDs of an APPENDUID or COPYUID code; sets written out."""
    found = re.search(code.encode() + rb" \d+ (?:[\d:,]+ )?([\d:,]+)\]", answer)
    assert found, answer
    ranges = [part.split(b":") for part in found.group(1).split(b",")]
    return [uid for part in ranges for uid in range(int(part[0]), int(part[-1]) + 1)]


def files(maildir: Path) -> list[str]:
    return sorted(path.name for directory in ("cur", "new") for path in (maildir / directory).iterdir())


def record(maildir: Path, uid: int) -> str:
    """The line of `uid` in dovecot-uidlist."""
    lines = (maildir / "dovecot-uidlist").read_text(encoding="latin-1").splitlines()
    (line,) = [line for line in lines[1:] if line.startswith(f"{uid} ")]
    return line


def file_of(maildir: Path, uid: int) -> Path:
    base = record(maildir, uid).partition(":")[2]
    (path,) = [maildir / d / n for d in ("cur", "new") for n in names(maildir / d) if n.split(":")[0] == base]
    return path


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
