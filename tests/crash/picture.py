"""What a server finds in an account that is started after a crash: everything that a client can know of it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.scene import Clock, annotation_file, body, open_account, seen_file, unsynced

from greenmail.storage.api import Flags
from greenmail.storage.filesystem import Files


@dataclass(frozen=True)
class Message:
    text: str
    flags: Flags
    date: int


@dataclass
class Contents:
    """One mailbox."""

    uidvalidity: int
    uidnext: int
    modseq: int
    messages: dict[int, Message]


@dataclass
class Picture:
    """Everything that a client can know of an account."""

    mailboxes: dict[str, Contents] = field(default_factory=dict)
    subscriptions: list[str] = field(default_factory=list)
    special_use: list[tuple[str, ...]] = field(default_factory=list)
    seen: list[tuple[int, int]] = field(default_factory=list)  # by another user, of INBOX
    metadata: dict[str, dict[str, bytes]] = field(default_factory=dict)
    waited: float = 0.0

    def texts(self) -> Counter[str]:
        return Counter(message.text for mine in self.mailboxes.values() for message in mine.messages.values())

    def same(self) -> dict[str, dict[int, Message]]:
        return {name: mine.messages for name, mine in self.mailboxes.items()}


def contents(mailbox: Any) -> Contents:
    """Read all of an open mailbox; every message must be whole."""
    table = mailbox.table
    mailbox.fill(list(table.uids), sizes=True, dates=True)
    messages = {}
    for row, uid in enumerate(list(table.uids)):
        content = mailbox.content(uid)
        octets = content.read()
        content.close()
        text = octets[9 : octets.index(b"\r\n")].decode()
        assert octets == body(text), f"uid {uid} is not whole: {octets!r}"
        assert table.sizes[row] == len(octets), f"uid {uid} has a wrong size"
        messages[uid] = Message(text, table.flags_of(row), table.dates[row])
    return Contents(mailbox.uidvalidity, mailbox.uidnext, mailbox.modseq, messages)


def look_at(root: Path, clock: Clock | None = None, variant: str = "") -> Picture:
    """What a server that is started now finds."""
    clock = clock or Clock()
    slept = clock.slept
    store, account = open_account(root, unsynced, clock, variant)
    picture = Picture(subscriptions=account.subscriptions(), metadata={"the server": account.metadata("")})
    picture.metadata["keys for URLs"] = dict(account.url_keys.all())
    for folder in account.folders():
        if folder.selectable:
            if folder.special_use:
                picture.special_use.append((folder.name, *folder.special_use))
            mailbox = account.open(folder.name)
            picture.mailboxes[folder.name] = contents(mailbox)
            picture.metadata[folder.name] = account.metadata(folder.name)
            if folder.name == "INBOX":
                picture.metadata["INBOX, a reader's"] = annotation_file(root, mailbox, Files(unsynced), clock).read()
                picture.seen = seen_file(root, mailbox, Files(unsynced), clock).read(mailbox.uidvalidity)
            mailbox.close()
    store.mailboxes.close()
    picture.waited = clock.slept - slept
    return picture
