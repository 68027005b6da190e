"""What a check says, and the titles of all that can be said."""

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad it is; the order is that of urgency."""

    NOTE = "note"  # nothing is wrong; an administrator may like to know
    WARNING = "warning"  # something is not as it should be, no mail is lost or hidden
    ERROR = "error"  # mail is not shown, would be downloaded again, or a server closes connections over it


TITLES = {
    "unreadable": "Accounts and mailboxes that cannot be read",
    "owner": "Files of another owner",
    "mode": "Files that their owner may not use",
    "open-to-all": "Mail that every local user may read",
    "encoding": "Mailbox names in two encodings",
    "mailbox-name": "Mailbox names that cannot be shown",
    "not-a-mailbox": "Directories shown as mailboxes",
    "uidlist-missing": "UID lists that are lost",
    "uidlist-damaged": "Damaged UID lists",
    "uidlist-restored": "UID lists that went back in time",
    "uidlist-old": "UID lists of an older format",
    "courier": "Mailboxes that Courier has in charge",
    "no-uid": "Files without a UID",
    "twins": "Files with the same base name",
    "file-name": "File names that no server shows",
    "not-a-file": "Entries that are no files",
    "sync-name": "File names changed by a sync program",
    "empty": "Empty messages",
    "wrong-size": "Wrong S= or W= in file names",
    "damaged-message": "Damaged compressed messages",
    "letters": "Letters without a keyword",
    "keyword-lines": "Keyword lists with lines that do not count",
    "lock": "Stale locks",
    "leftover": "Leftovers of interrupted deliveries",
    "trash-left": "Leftovers of deleted mailboxes",
    "maildirsize": "Quota sums that drifted",
    "pop3-renumbered": "POP3: mail to be downloaded again",
    "pop3-format": "POP3: unique ids in two formats",
    "pop3-twice": "POP3: the same unique id twice",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, or several of one kind in one mailbox."""

    kind: str  # key of TITLES
    severity: Severity
    mailbox: str  # as clients see it; empty: the account itself
    path: bytes  # the file or directory to look at
    text: str  # what is wrong
    remedy: str = ""  # what --fix does about it; empty: nothing
    advice: str = ""  # what people can do about it
    items: tuple[bytes, ...] = ()  # each single thing concerned, such as file names below `path`
    count: int = 1

    @property
    def key(self) -> tuple[str, str, bytes]:
        """The same before and after a repair that did not help."""
        return self.kind, self.mailbox, self.path
