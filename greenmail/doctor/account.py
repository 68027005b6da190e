"""One account as it lies on disk: its mailboxes, and what is added up over all of them."""

import os
from dataclasses import dataclass, field

from greenmail.doctor.survey import Circumstances, Mailbox, Place
from greenmail.errors import Reason, StorageError
from greenmail.storage import layouts
from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import INBOX, Encoding, Layout
from greenmail.storage.maildir_name import letters_of, sizes_of
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.places import Places

_DELETED = ord("T")


@dataclass(slots=True)
class Sums:
    """Octets and messages of the mailboxes that the quota counts."""

    messages: int = 0
    octets: int = 0
    kept_messages: int = 0  # without the Trash and without what is marked as deleted: Courier's way of counting
    kept_octets: int = 0

    def add(self, mailbox: Mailbox) -> None:
        """Count a mailbox."""
        is_trash = os.path.basename(mailbox.place.directory) == b".Trash"
        for entry in mailbox.entries:
            told = sizes_of(entry.base).on_disk
            size = told if told is not None else entry.found.st_size if entry.is_file else 0
            self.messages += 1
            self.octets += size
            if not is_trash and _DELETED not in letters_of(entry.name):
                self.kept_messages += 1
                self.kept_octets += size


@dataclass(frozen=True, slots=True)
class Account:
    """What account checks are handed."""

    name: str
    around: Circumstances
    sums: Sums = field(default_factory=Sums)

    def counts(self, mailbox: str) -> bool:
        """Whether the quota counts it."""
        settings = self.around.settings
        short = mailbox.removeprefix(settings.prefix)
        return not any(settings.quota.ignores(one, settings.separator) for one in {mailbox, short})

    def add(self, mailbox: Mailbox) -> None:
        """Count a mailbox, if it counts."""
        if self.counts(mailbox.place.name):
            self.sums.add(mailbox)


def root_of(settings: MaildirSettings) -> bytes:
    """The root directory."""
    return os.fsencode(settings.mail_path.rstrip("/") or "/")


def layout_of(files: Files, settings: MaildirSettings) -> tuple[Layout, bool]:
    """How mailboxes are called, and whether that had to be guessed because names are in two encodings."""
    where = Places(files, settings)
    try:
        return layouts.layout_of(files, settings, where), False
    except StorageError as error:
        if error.reason is not Reason.CANNOT:
            raise
    return layouts.with_encoding(settings, where, Encoding.MUTF7), True


def places(files: Files, layout: Layout, settings: MaildirSettings) -> list[Place]:
    """Every mailbox, INBOX first. Raises StorageError."""
    where = Places(files, settings)
    folders = layouts.folders_of(files, layout, where)
    found = []
    for folder in folders.listing():
        if folder.selectable:
            is_inbox = folder.name == INBOX
            place = where.of(where.inbox if is_inbox else folders.find(folder.name), is_inbox)
            found.append(Place(folder.name, place.directory, place.control, is_inbox, place.data))
    return found
