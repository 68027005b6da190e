"""Full-text search as the layers above see it, and where the index of an account belongs: `greenmail.fulltext`.

The index is a help, never a source: it says in which messages a text may be, and whoever asks looks there.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Account, Content, Mailbox
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.namespaces import NamespacesAccount
from greenmail.storage.text_place import TextPlace


@dataclass(frozen=True, slots=True)
class Indexed:
    """One mailbox in it: plain values, fit for the pool."""

    place: TextPlace
    guid: str
    inode: int  # of its directory: who copies a mailbox on disk has two of that GUID
    uidvalidity: int
    path: bytes


@dataclass(frozen=True, slots=True)
class TextNeedle:
    """A text to be found, as it was asked for: the index is the same for every comparator."""

    text: str
    header: bool  # also in the message's own header: TEXT, not BODY


class TextIndex(Protocol):
    """What is known of the texts of one mailbox. Its methods run in the pool and never raise."""

    is_incomplete: bool  # the last question showed messages that are not indexed

    def sift(self, needles: Sequence[TextNeedle], uids: Sequence[int]) -> list[Collection[int] | None]:
        """For each needle the messages out of `uids` (ascending) that may have it; None: any of them may.

        A message that is left out does not have it, for certain.
        """

    def fuzzy(self, needle: TextNeedle, uids: Sequence[int]) -> tuple[dict[int, float], Sequence[int]]:
        """Out of `uids` those that fit, each with how well (above 0, to 1); and those of which that is not known."""


class FullText(Protocol):
    """The full-text search of one worker."""

    def of(self, mailbox: Mailbox) -> TextIndex | None:
        """The index of that mailbox; None if there is to be none. At once."""

    def serves(self, account: Account) -> bool:
        """Whether there is an index of the mail in that account."""

    def fuzzy(self, contents: Sequence[Content], needle: TextNeedle) -> list[float | None]:
        """How well each of these messages fits, from 0 to 1; None if it cannot be read. Runs in the pool."""

    def fill(self, mailbox: Mailbox, is_incomplete: bool = False) -> None:
        """Have what the index lacks filled in, later, if the mailbox is another than when that was done last.

        `is_incomplete`: also if it seems to be the same. At once; the caller keeps its reference.
        """


def indexed(mailbox: Mailbox) -> Indexed | None:
    """Where that mailbox is in the index of its owner; None if he has none."""
    inner = _inner(mailbox)
    if inner is None:
        return None
    box = inner.box
    place = box.context.text
    if place is None:
        return None
    return Indexed(place, inner.mailbox_id, box.identity[1], inner.uidvalidity, box.place.directory)


def again(mailbox: Mailbox) -> Mailbox | None:
    """Another reference to the shared object of a mailbox that has an index, to be closed like the first."""
    inner = _inner(mailbox)
    if inner is None or inner.references == 0:
        return None
    inner.references += 1
    return inner


def _inner(mailbox: Mailbox) -> MaildirMailbox | None:
    inner = mailbox.inner if isinstance(mailbox, MountedMailbox) else mailbox
    return inner if isinstance(inner, MaildirMailbox) else None


def has_index(account: Account) -> bool:
    """Whether there is an index of the user's own mail."""
    inner = account.inbox_account if isinstance(account, NamespacesAccount) else account
    return isinstance(inner, MaildirAccount) and inner.settings.full_text_search
