"""A mailbox in which somebody idles, so that it can be parked."""

import os
from collections.abc import Iterator
from pathlib import Path

from support.maildir_site import Site

from greenmail.imap.view import View
from greenmail.storage.maildir import MaildirMailbox


class Idler:
    """A session that idles, and its client: the UIDs in order, with their flags."""

    def __init__(self, mailbox: MaildirMailbox) -> None:
        self.mailbox = mailbox
        self.view = View(mailbox, read_only=True, first_recent=mailbox.first_recent)
        self.client = {uid: self.view.flags(uid) - {"\\Recent"} for uid in self.view.uids}
        self.told = 0
        self.cancel = mailbox.subscribe(self._hear)
        mailbox.resting(True)

    def _hear(self) -> None:
        self.told += 1

    def wake_up(self) -> None:
        """As IDLE does it: look, tell the client, rest again."""
        self.mailbox.resting(False)
        try:
            self.mailbox.look()
            news = self.view.news(may_expunge=True)
            uids = list(self.client)
            for seq, uid in news.expunged:
                assert uids.pop(seq - 1) == uid
            self.client = {uid: self.client[uid] for uid in uids}
            for uid in self.view.uids[len(uids) :]:
                self.client[uid] = self.view.flags(uid) - {"\\Recent"}  # as it would ask for them
            assert news.exists is None or news.exists == len(self.client)
            for item in news.changed:
                assert list(self.client)[item.seq - 1] == item.uid
                self.client[item.uid] = item.flags - {"\\Recent"}
        finally:
            self.mailbox.resting(True)


def truth(site: Site) -> dict[int, frozenset[str]]:
    """UIDs and flags as somebody finds them who has just come."""
    mailbox = site.inbox()
    found = {uid: mailbox.table.flags_of(row) for row, uid in enumerate(mailbox.table.uids)}
    mailbox.close()
    return found


def made(directory: Path) -> Iterator[Site]:
    site = Site(directory / "Maildir")
    site.worker()
    for _ in range(5):
        site.deliver()
    mailbox = site.inbox()
    mailbox.claim_recent()
    mailbox.close()
    yield site


def idler(site: Site) -> Idler:
    """One whose mailbox can be parked at once."""
    site.age()
    mailbox = site.inbox()
    mailbox.look()
    return Idler(mailbox)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
