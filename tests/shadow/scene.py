"""Two trees of users' mail, theirs and ours: the same for user `same`, and for each other user with one difference.

Dovecot serves the first to a master user, too; GreenMail serves the second.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import dovecot
from support import server as greenmail

MESSAGES = 6
FOLDERS = ("", ".Archive", ".Archive.2024", ".Sent")
START = 1_700_000_000
SPECIAL_USES = """
namespace inbox {
  mailbox Sent {
    special_use = \\Sent
  }
  mailbox Spam {
    special_use = \\Junk
  }
}
"""
MASTER = """
auth_failure_delay = 0
auth_master_user_separator = *
passdb {
  driver = static
  args = password=master
  master = yes
}
"""


def mail(number: int) -> bytes:
    return (
        f"From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: message {number}\n"
        f"Message-ID: <{number}@example.org>\n\nBody of message {number}.\n"
    ).encode()


def file_name(uid: int) -> str:
    return f"{START + uid}.M{uid}P1.mx"


def path_of(box: Path, uid: int) -> Path:
    """The file of a message, whatever its flags are."""
    (found,) = (box / "cur").glob(f"{file_name(uid)}*")
    return found


def build(maildir: Path) -> None:
    """A Maildir with UIDs 1 to MESSAGES in every folder."""
    for number, folder in enumerate(FOLDERS):
        box = maildir / folder
        for part in ("cur", "new", "tmp"):
            (box / part).mkdir(parents=True)
        if folder:
            (box / "maildirfolder").touch()
        lines = [f"3 V{START + number} N{MESSAGES + 1} G{number + 1:032x}\n"]
        for uid in range(1, MESSAGES + 1):
            path = box / "cur" / f"{file_name(uid)}:2,{'S' if uid % 2 else ''}"
            path.write_bytes(mail(uid))
            os.utime(path, (START + uid, START + uid))
            lines.append(f"{uid} :{file_name(uid)}\n")
        (box / "dovecot-uidlist").write_text("".join(lines))
    (maildir / "subscriptions").write_text("V\t2\n\nArchive\nSent\n")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def flag(box: Path, uid: int, letters: str) -> None:
    path = path_of(box, uid)
    path.rename(path.with_name(f"{file_name(uid)}:2,{letters}"))


def change_text(box: Path, uid: int) -> None:
    """Another body of the same size at the same time."""
    path = path_of(box, uid)
    path.write_bytes(path.read_bytes().replace(b"Body", b"Bode"))
    os.utime(path, (START + uid, START + uid))


def remove(box: Path, uid: int) -> None:
    path_of(box, uid).unlink()
    edit(box / "dovecot-uidlist", f"{uid} :{file_name(uid)}\n", "")


def wire_size(uid: int) -> int:
    """With the line ends of the wire."""
    return len(mail(uid)) + mail(uid).count(b"\n")


def longer(box: Path, uid: int) -> None:
    """The name of the file tells an octet more than there is."""
    path = path_of(box, uid)
    name = f"{file_name(uid)},S={len(mail(uid))},W={wire_size(uid) + 1}"
    path.rename(path.with_name(f"{name}:2,"))
    edit(box / "dovecot-uidlist", f":{file_name(uid)}\n", f":{name}\n")


def keyword(box: Path, uid: int) -> None:
    (box / "dovecot-keywords").write_text("0 $Forwarded\n")
    flag(box, uid, "Sa")


Plant = Callable[[Path, Path], object]  # is handed both Maildirs
Line = tuple[str, str | None, int | None, str, str]  # kind, mailbox, UID or number, theirs, ours

# How each kind comes about, and all that is to be reported.
PLANTED: dict[str, tuple[Plant, list[Line]]] = {
    "flags": (
        lambda theirs, ours: flag(ours / ".Archive", 3, "FS"),
        [("flags", "Archive", 3, "\\Seen", "\\Flagged \\Seen")],
    ),
    "keyword": (lambda theirs, ours: keyword(theirs, 5), [("flags", "INBOX", 5, "$Forwarded \\Seen", "\\Seen")]),
    "missing": (
        lambda theirs, ours: remove(ours, 4),
        [("uid-missing", "INBOX", 4, "there", ""), ("pop3-missing", None, 4, f"00000004{START:08x}", "")],
    ),
    "extra": (
        lambda theirs, ours: remove(theirs / ".Archive", MESSAGES),
        [("uid-extra", "Archive", MESSAGES, "", "there")],
    ),
    "more": (
        lambda theirs, ours: remove(theirs, 1),
        [("uid-extra", "INBOX", 1, "", "there"), ("pop3-extra", None, 1, "", f"00000001{START:08x}")],
    ),
    "validity": (
        lambda theirs, ours: edit(ours / ".Sent/dovecot-uidlist", f"V{START + 3}", "V1600000000"),
        [("uidvalidity", "Sent", None, str(START + 3), "1600000000")],
    ),
    "next": (
        lambda theirs, ours: edit(theirs / ".Archive/dovecot-uidlist", f"N{MESSAGES + 1}", f"N{MESSAGES + 4}"),
        [("uidnext", "Archive", None, str(MESSAGES + 4), str(MESSAGES + 1))],
    ),
    "date": (
        lambda theirs, ours: os.utime(path_of(ours, 2), (START + 99, START + 99)),
        [("internaldate", "INBOX", 2, "14-Nov-2023 22:13:22 +0000", "14-Nov-2023 22:14:59 +0000")],
    ),
    "size": (
        lambda theirs, ours: longer(ours / ".Sent", 2),
        [("size", "Sent", 2, str(wire_size(2)), str(wire_size(2) + 1))],
    ),
    "body": (
        lambda theirs, ours: change_text(ours / ".Archive.2024", 1),
        [
            (
                "body",
                "Archive/2024",
                1,
                "121 octets, from 104: b'y of message 1.\\r\\n'",
                "121 octets, from 104: b'e of message 1.\\r\\n'",
            )
        ],
    ),
    "folder": (lambda theirs, ours: shutil.rmtree(ours / ".Sent"), [("mailbox-missing", "Sent", None, "there", "")]),
    "newfolder": (
        lambda theirs, ours: shutil.copytree(ours / ".Sent", ours / ".Archive.Entw&APw-rfe"),
        [("mailbox-extra", "Archive/Entwürfe", None, "", "there")],
    ),
    "unsubscribed": (
        lambda theirs, ours: edit(ours / "subscriptions", "Archive\n", ""),
        [("subscription-missing", "Archive", None, "there", "")],
    ),
    "subscribed": (
        lambda theirs, ours: edit(theirs / "subscriptions", "Sent\n", ""),
        [("subscription-extra", "Sent", None, "", "there")],
    ),
    "hollow": (
        lambda theirs, ours: shutil.rmtree(ours / ".Archive"),
        [("attributes", "Archive", None, "\\HasChildren", "\\HasChildren \\NonExistent")],
    ),
    "use": (
        lambda theirs, ours: [shutil.copytree(tree / ".Sent", tree / ".Spam") for tree in (theirs, ours)],
        [("special-use", "Spam", None, "\\Junk", "")],
    ),
    "locked": (
        lambda theirs, ours: (ours / ".Sent").chmod(0),
        [("refused", "Sent", None, "opened", "The mailbox cannot be opened: permission denied")],
    ),
    "uidl": (
        lambda theirs, ours: edit(ours / "dovecot-uidlist", "\n2 :", "\n2 Pold-id :"),
        [("pop3-uidl", None, 2, f"00000002{START:08x}", "old-id")],
    ),
}


@dataclass
class Scene:
    """Both servers, and the trees that they serve."""

    theirs: Path
    ours: Path
    dovecot: dovecot.Dovecot
    greenmail: greenmail.Server

    @property
    def against(self) -> list[str]:
        return ["--against", f"imap://127.0.0.1:{self.dovecot.imap}"]

    @property
    def against_pop3(self) -> list[str]:
        return ["--against-pop3", f"pop3://127.0.0.1:{self.dovecot.pop3}"]


@contextlib.contextmanager
def serving(place: Path, users: list[str], **settings: Any) -> Iterator[Scene]:
    """Both servers for `theirs/USER` and `ours/USER` below `place`; everybody's password is `secret`."""
    theirs, ours = place / "theirs", place / "ours"
    dovecot.give(ours)
    extra = f"mail_location = maildir:{theirs}/%u\n{SPECIAL_USES}{MASTER}"
    passwd = "".join(f"{user}:{{PLAIN}}secret\n" for user in users)
    with (
        dovecot.start(place / "dovecot", theirs, extra=extra) as old,
        greenmail.start(
            place / "run", str(ours / "%u"), passwd, user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(place / "sockets"), time_zone="UTC", **settings,
        ) as new,
    ):  # fmt: skip
        yield Scene(theirs, ours, old, new)
