"""GreenMail and a live Dovecot on one Maildir, a program that delivers, and what Dovecot's log may complain of."""

import contextlib
import os
import pwd
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import dovecot
from support import server as greenmail
from support.wire_client import Imap, parse

COMPLAINTS = re.compile(r"reappeared|Duplicate file entry|next_uid was lowered|Broken|Panic|Fatal|Error")
BOXES = ("INBOX", "Shared", "Shared/Deep")
MESSAGE = "From: a@example.org\r\nSubject: %s\r\n\r\nbody of %s\r\n"
SUBJECT = re.compile(r"Subject: (\S+)")

Place = tuple[str, int]  # mailbox and UID
Contents = tuple[int, dict[int, set[str]], dict[int, str]]  # UIDVALIDITY, flags and octets by UID


@dataclass
class Pair:
    """Both servers on one Maildir."""

    maildir: Path
    greenmail: greenmail.Server
    dovecot: dovecot.Dovecot
    by_dovecot: set[Place] = field(default_factory=set)  # UIDs that Dovecot itself gave

    def ours(self) -> Imap:
        return Imap(self.greenmail.imaps, tls=True).login()

    def theirs(self) -> Imap:
        return Imap(self.dovecot.imap).login()


_TWICE = re.compile(r"/Maildir(\S*)/dovecot-uidlist: Duplicate file entry at line \d+: (\S+) \(uid (\d+) -> (\d+)\)")
_FORGOTTEN = " - retrying by re-reading from beginning"
_AGAIN = re.compile(r"/Maildir(\S*): Expunged message reappeared, .* \(old uid=(\d+), file=([^:)]+)")


def _box(directory: str) -> str:
    return directory.removeprefix("/").removeprefix(".").replace(".", "/") or "INBOX"


def not_its_own(complaints: list[str], by_dovecot: set[Place]) -> list[str]:
    """Without those about names that Dovecot itself moved back to where its own old line still stood.

    It finds such a name twice. If its index had forgotten the old UID already it may take the old line for right, say
    that the message reappeared, and give it a third UID: then it breaks its own promise. So it does where it reads the
    list again from the beginning: the new line counts as read by then, and is missing where it writes the list anew.
    """
    mine = [line for line in complaints if _is_moved_back(line, by_dovecot) or broken(line, complaints, by_dovecot)]
    return [line for line in complaints if line not in mine]


def _is_moved_back(line: str, by_dovecot: set[Place]) -> bool:
    found = _TWICE.search(line)
    return found is not None and (_box(found[1]), int(found[4])) in by_dovecot


def broken(line: str, complaints: list[str], by_dovecot: set[Place]) -> set[Place]:
    """The promises that Dovecot may have broken: UIDs of a name that it moved back, and that reappeared or was lost."""
    found = _TWICE.search(line)
    if found is not None and line.endswith(_FORGOTTEN):
        return {(_box(found[1]), int(found[4]))} & by_dovecot
    again = _AGAIN.search(line)
    if again is None:
        return set()
    twice = [found for found in map(_TWICE.search, complaints) if found is not None]
    same = [found for found in twice if (found[1], found[2], found[3]) == (again[1], again[3], again[2])]
    return {(_box(found[1]), int(found[4])) for found in same} & by_dovecot


@contextlib.contextmanager
def both(
    place: Path, maildir: Path, layout: str = "maildir++", ours: Path | None = None, **settings: object
) -> Iterator[Pair]:
    """Both servers on `maildir`, which GreenMail may know as `ours`."""
    dovecot.give(maildir)
    more = {"coexistence": "dovecot", "idle_keepalive": 60, "layout": layout, **settings}
    with (
        greenmail.start(
            place / "green", str(ours or maildir), user=dovecot.OWNER, group=dovecot.OWNER, separator="/",
            run_path=str(place / "sockets"), **more,
        ) as green,
        dovecot.start(place / "dovecot", maildir, location=":LAYOUT=fs" if layout == "fs" else "") as theirs,
    ):  # fmt: skip
        pair = Pair(maildir, green, theirs)
        yield pair
        complaints = [line for line in theirs.logged().splitlines() if COMPLAINTS.search(line)]
        warnings = [line for line in green.logged().splitlines() if " warning[" in line or " error[" in line]
        # All of them are told: what Dovecot says of one name in several places belongs together.
        assert not not_its_own(complaints, pair.by_dovecot), "\n".join([*complaints, *warnings])


def uid_set(text: bytes) -> list[int]:
    ranges = [part.split(b":") for part in text.split(b",")]
    return [uid for part in ranges for uid in range(int(part[0]), int(part[-1]) + 1)]


def directory_of(box: str, layout: str) -> str:
    """The directory of a mailbox below the Maildir."""
    if box == "INBOX":
        return ""
    return box if layout == "fs" else "." + box.replace("/", ".")


class Deliverer:
    """A delivery program: no lock, no UID; by rename, or by link."""

    def __init__(self, maildir: Path, layout: str = "maildir++") -> None:
        self.maildir = maildir
        self.layout = layout
        self.owner = pwd.getpwnam(dovecot.OWNER)
        self.count = 0

    def deliver(self, marker: str, box: str = "INBOX", link: bool = False) -> None:
        self.count += 1
        where = self.maildir / directory_of(box, self.layout)
        name = f"{int(time.time())}.M{self.count:06}P{os.getpid()}.mx"
        path = where / "tmp" / name
        path.write_bytes((MESSAGE % (marker, marker)).replace("\r\n", "\n").encode())
        os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        if link:
            os.link(path, where / "new" / name)
            path.unlink()
        else:
            path.rename(where / "new" / name)


def fetch(client: Imap, what: str) -> dict[int, dict[str, Any]]:
    """UID FETCH; news of other clients' changes, which Dovecot sends without a UID, are left out."""
    found: dict[int, dict[str, Any]] = {}
    for parts in client.ok(f"UID FETCH {what}"):
        tree = parse(parts)
        if len(tree) == 4 and tree[2] == "FETCH" and "UID" in tree[3][::2]:
            items = dict(zip(tree[3][::2], tree[3][1::2], strict=True))
            found.setdefault(items["UID"], {}).update(items)
    return found


def markers(client: Imap, uids: str = "1:*") -> dict[int, str]:
    found = {}
    for uid, items in fetch(client, f"{uids} (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").items():
        text = [value for key, value in items.items() if key.startswith("BODY[")]
        match = SUBJECT.search(text[0] or "") if text else None
        if match:
            found[uid] = match.group(1)
    return found
