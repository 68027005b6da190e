"""Generated Maildirs: the same for every run, and every server gets its own copy."""

import os
import random
import shutil
from pathlib import Path

WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
]
NAMES = [
    "Ada",
    "Berta",
    "Carl",
    "Dora",
    "Emil",
    "Frida",
    "Gustav",
    "Hanna",
    "Ivan",
    "Judith",
    "Karl",
    "Lena",
    "Mia",
    "Nora",
    "Otto",
    "Paula",
    "Quentin",
    "Rosa",
]


def message(number: int, dice: random.Random, mixed: bool) -> bytes:
    """One message with LF line ends: small text; mixed ones have parts and attachments too."""
    sender = dice.choice(NAMES)
    head = (
        f"From: {sender} Example <{sender.lower()}@example.org>\nTo: bench@example.com\n"
        f"Subject: {' '.join(dice.sample(WORDS, 4))} {number}\n"
        f"Date: {1 + number % 28:02} Jan 2024 {number % 24:02}:{number % 60:02}:00 +0000\n"
        f"Message-ID: <{number}.{dice.getrandbits(48):x}@example.org>\nMIME-Version: 1.0\n"
    )
    text = "\n".join(" ".join(dice.choices(WORDS, k=10)) for _ in range(12)) + "\n"
    if not mixed or number % 4 == 0:
        return (head + "Content-Type: text/plain; charset=utf-8\n\n" + text).encode()
    parts = [f"Content-Type: text/plain; charset=utf-8\n\n{text}", f"Content-Type: text/html\n\n<p>{text * 3}</p>\n"]
    if number % 4 == 3:
        block = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3\n" * dice.randrange(
            50, 1200
        )
        parts.append(f"Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n{block}")
    body = "".join(f"--=_{number}\n{part}" for part in parts)
    return (head + f'Content-Type: multipart/mixed; boundary="=_{number}"\n\n{body}--=_{number}--\n').encode()


def fill(box: Path, count: int, mixed: bool, seed: int = 1) -> None:
    """Make the Maildir `box` with `count` messages in cur/; names carry no sizes, as Postfix writes them."""
    dice = random.Random(seed)
    for part in ("cur", "new", "tmp"):
        (box / part).mkdir(parents=True, mode=0o700)
    for number in range(count):
        name = f"{1704067200 + number}.V801I{number:x}M{number % 1000000:06}.mx1"
        path = box / "cur" / f"{name}:2,{'S' if number % 3 else ''}"
        path.write_bytes(message(number, dice, mixed))
        os.utime(path, (1704067200 + number, 1704067200 + number))


def account(where: Path, sizes: dict[str, tuple[int, bool]]) -> Path:
    """A Maildir++ with 200 messages in INBOX and one folder for each entry of `sizes`: (messages, mixed)."""
    root = where / "Maildir"
    fill(root, 200, mixed=True)  # what POP3 reads
    for name, (count, mixed) in sizes.items():
        fill(root / f".{name}", count, mixed)
        (root / f".{name}" / "maildirfolder").touch()
    return root


def copy(root: Path, where: Path) -> Path:
    """A copy with times."""
    return Path(shutil.copytree(root, where / "Maildir", symlinks=True))
