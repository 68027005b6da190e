"""A small Maildir without any fault, and the faults to plant in it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

GUID = "0123456789abcdef0123456789abcdef"
BODY = b"From: a@example.org\nSubject: %d\n\nBody of %d.\n"
FOLDERS = {"": 5, ".Archive": 3, ".M&AOQ-rz": 1}
OURS = {
    "greenmail.lock",
    "greenmail.index",
    "greenmail.log",
    "greenmail.cache",
    "greenmail-data",
    "greenmail-quota.lock",
}


@dataclass(slots=True)
class Clock:
    """Time that passes only while somebody sleeps."""

    time: float

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def base(folder: str, number: int) -> str:
    """The base name of a message."""
    data = body(folder, number)
    return f"{1_700_000_000 + number}.M{number}P7.mx{len(folder)},S={len(data)},W={len(data) + data.count(10)}"


def body(folder: str, number: int) -> bytes:
    return BODY % (number, len(folder) * 100 + number)


def build(root: Path) -> Path:
    """INBOX, Archive and Maerz: messages in `cur/`, UID lists, keywords, a quota file."""
    sizes = []
    root.mkdir(mode=0o700)
    for folder, count in FOLDERS.items():
        directory = root / folder
        for part in ("cur", "new", "tmp"):
            (directory / part).mkdir(mode=0o700, parents=True)
        lines = [f"3 V{1_700_000_000 + len(folder)} N{count + 1} G{GUID}"]
        for number in range(1, count + 1):
            path = directory / "cur" / f"{base(folder, number)}:2,S{'a' if number == 1 else ''}"
            path.write_bytes(body(folder, number))
            path.chmod(0o600)
            os.utime(path, (1_700_000_000 + number,) * 2)
            sizes.append(path.stat().st_size)
            lines.append(f"{number} :{base(folder, number)}")
        write(directory / "dovecot-uidlist", "\n".join(lines) + "\n")
        write(directory / "dovecot-keywords", "0 $Forwarded\n")
        directory.chmod(0o700)
    write(root / "maildirsize", f"0S\n{sum(sizes)} {len(sizes)}\n")
    write(root / "subscriptions", "V\t2\n\nArchive\n")
    return root


def write(path: Path, data: str | bytes) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(0o600)


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything in a tree but our own cache files: kind, mode, content; of messages also the time."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = os.fsencode(path.relative_to(root)).decode("utf-8", "surrogateescape")
        if OURS.intersection(Path(name).parts):
            continue
        state = path.lstat()
        entry: tuple[object, ...] = (stat.S_IFMT(state.st_mode), stat.S_IMODE(state.st_mode), state.st_uid)
        if stat.S_ISREG(state.st_mode):
            entry += (path.read_bytes(), state.st_mtime_ns if path.parent.name in ("cur", "new", "tmp") else 0)
        found[name] = entry
    return found
