"""Generated Maildirs: the same for every run, and every server gets its own directories of them.

Two kinds, each from one seed. *mixed*: 60 % text of 1-4 KB, 36 % multipart/alternative, 3.5 % with an attachment of
50 KB to 2 MB, the rest a forwarded message; 55 % are replies with References, one in eight has encoded words, 80 %
are seen. *small*: text of 0.3-0.9 KB below full headers. Names carry no sizes, lines end in LF, as Postfix writes them.

A corpus is made once and kept below `build/`. What a server gets is a directory of its own with hard links into it:
names, flags and index files are apart, and the kernel caches each body once. What is to be deleted is copied.
"""

import base64
import contextlib
import itertools
import math
import os
import pwd
import random
import shutil
from pathlib import Path

CACHE = Path(__file__).parent.parent / "build" / "bench-corpora"
VERSION = 1  # of what is generated here; another one is made anew
OWNER = "mail"  # Dovecot does not serve root's mail
LINKS = 60000  # a file of ext4 has at most 65,000 names
PAST = 1700000000
_TEXT = """time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house service
friend father power hour game line end member law car city community name president team minute idea"""
_WORDS = _TEXT.split()
_PEOPLE = "Ada Berta Carl Dora Emil Frida Gustav Hanna Ivan Judith Karl Lena Mia Nora Otto Paula Quentin Rosa"
_NAMES = _PEOPLE.split()
_ALTERNATIVE = 0.60
_ATTACHMENT = 0.96
_FORWARDED = 0.995


def message(number: int, dice: random.Random, mixed: bool) -> bytes:
    """Message `number` with LF line ends."""
    head = _head(number, dice)
    if not mixed:
        return f"{head}Content-Type: text/plain; charset=utf-8\n\n{_text(dice, dice.randrange(300, 900))}".encode()
    kind = dice.random()
    text = _text(dice, dice.randrange(1000, 4000))
    if kind < _ALTERNATIVE:
        return f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}".encode()
    mark = f"=_{number}_{dice.getrandbits(32):x}"
    soft = text.replace(" ", "=20", 3)
    html = text.replace("\n", "<br>\n")
    quoted = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + soft
    parts = [quoted, f"Content-Type: text/html; charset=utf-8\n\n<html><body><p>{html}</p></body></html>\n"]
    subtype = "alternative"
    if kind >= _FORWARDED:
        subtype, inner = "mixed", _head(number + 1, dice)
        parts[1] = f"Content-Type: message/rfc822\n\n{inner}Content-Type: text/plain\n\n{text}"
    elif kind >= _ATTACHMENT:
        subtype = "mixed"
        size = int(math.exp(dice.uniform(math.log(50e3), math.log(2e6))) * 3 / 4)
        data = base64.encodebytes(dice.randbytes(size)).decode()
        parts[1] = f'Content-Type: application/pdf; name="a.pdf"\nContent-Transfer-Encoding: base64\n\n{data}'
    body = "".join(f"--{mark}\n{part}\n" for part in parts)
    return f'{head}Content-Type: multipart/{subtype}; boundary="{mark}"\n\n{body}--{mark}--\n'.encode()


def _head(number: int, dice: random.Random) -> str:
    sender, reader = dice.choice(_NAMES), dice.choice(_NAMES)
    subject = f"{' '.join(dice.sample(_WORDS, 4))} {number}"
    if number % 8 == 5:
        subject = f"=?utf-8?q?Gr=C3=BC=C3=9Fe?= {subject}"
    lines = [
        "Return-Path: <bounces@lists.example.org>",
        f"Received: from mx{number % 5}.example.org (mx{number % 5}.example.org [192.0.2.{number % 250}])",
        f"\tby mail.example.com (Postfix) with ESMTPS id {dice.getrandbits(40):X}",
        f"\tfor <bench@example.com>; {_date(number)}",
        f"From: {sender} Example <{sender.lower()}@example.org>",
        f"To: bench@example.com, {reader} <{reader.lower()}@example.net>",
    ]
    if number % 20 < 11 and number > 10:
        parents = [number - step for step in (9, 5, 2)[: 1 + number % 3]]
        ids = " ".join(f"<{parent}@example.org>" for parent in parents)
        subject = f"Re: {subject}"
        lines += [f"References: {ids}", f"In-Reply-To: <{parents[-1]}@example.org>"]
    lines += [f"Subject: {subject}", f"Date: {_date(number)}", f"Message-ID: <{number}@example.org>"]
    lines += ["MIME-Version: 1.0", f"X-Mailer: Example {number % 7}.0", "List-Id: <bench.lists.example.org>"]
    return "\n".join(lines) + "\n"


def _date(number: int) -> str:
    return f"{1 + number % 28:02} Jan 2024 {number % 24:02}:{number % 60:02}:00 +0000"


def _text(dice: random.Random, size: int) -> str:
    words = dice.choices(_WORDS, k=size // 5)
    return "\n".join(" ".join(words[place : place + 11]) for place in range(0, len(words), 11)) + "\n"


def fill(box: Path, count: int, mixed: bool, seed: int = 1) -> None:
    """Make the Maildir `box` with `count` messages in cur/."""
    dice = random.Random(seed)
    make(box)
    owner = _owner()
    for number in range(count):
        path = box / "cur" / f"{1704067200 + number}.M{number % 1000000:06}P{number}.mx1:2,{'S' if number % 5 else ''}"
        path.write_bytes(message(number, dice, mixed))
        os.utime(path, (1704067200 + 60 * number,) * 2)
        _give(path, owner)


def make(box: Path) -> Path:
    """An empty Maildir, or folder of one, that belongs to OWNER."""
    owner = _owner()
    box.mkdir(parents=True, mode=0o700)
    for path in (box, box / "cur", box / "new", box / "tmp"):
        if path != box:
            path.mkdir(mode=0o700)
        _give(path, owner)
    if box.name.startswith("."):
        (box / "maildirfolder").touch()
        _give(box / "maildirfolder", owner)
    return box


def cached(mixed: bool, count: int) -> Path:
    """The corpus of that kind with at least `count` messages; made if it is not there."""
    kind = "mixed" if mixed else "small"
    where = CACHE / f"{kind}-{count}-v{VERSION}"
    if not where.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = CACHE / f"making-{os.getpid()}"
        print(f"making {count} {kind} messages, once", flush=True)
        fill(making, count, mixed)
        making.rename(where)
    return where


def link(source: Path, box: Path, count: int) -> Path:
    """Put `count` messages of the corpus `source` into the Maildir `box`, over and over if it has fewer.

    The directories look as if nothing had happened in them for long.
    """
    if not box.exists():
        make(box)
    names = sorted(os.listdir(source / "cur"))
    assert count <= len(names) * LINKS
    _spread(source, box, itertools.islice(itertools.cycle(names), count), len(names), copy=False)
    return box


def duplicate(source: Path, box: Path, count: int) -> Path:
    """The same with files of its own."""
    make(box)
    _spread(source, box, sorted(os.listdir(source / "cur"))[:count], count, copy=True)
    return box


def _spread(source: Path, box: Path, names: "itertools.islice[str] | list[str]", size: int, copy: bool) -> None:
    owner = _owner()
    for number, name in enumerate(names):
        own = name if number < size else f"{int(name.partition('.')[0]) + number // size}.R{number // size}{name[10:]}"
        target = box / "cur" / own
        try:
            if copy:
                raise OSError
            os.link(source / "cur" / name, target)
        except OSError:  # another file system, or a copy is wanted
            shutil.copy2(source / "cur" / name, target)
            _give(target, owner)
    for path in (box / "cur", box / "new", box):
        os.utime(path, (PAST, PAST))


def _owner() -> tuple[int, int] | None:
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(OWNER)
        return (found.pw_uid, found.pw_gid) if os.geteuid() == 0 else None
    return None


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner)
