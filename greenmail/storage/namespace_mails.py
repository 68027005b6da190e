"""What `namespaces` asks of whoever knows where mail is: `maildir_namespaces` does for Maildirs."""

from typing import Protocol

from greenmail.runtime import Runtime
from greenmail.storage.api import Account, Mailbox
from greenmail.storage.metadata import MetadataFile
from greenmail.storage.namespace_names import Space
from greenmail.storage.seen_file import SeenFile
from greenmail.storage.url_keys import UrlKeys


class OtherSubscriptions(Protocol):
    """The user's file of subscriptions, for namespaces that have none: prefix and storage name. `formats.md` 3.2."""

    def others(self) -> list[str]: ...

    def add_other(self, text: str) -> bool: ...

    def remove_other(self, text: str) -> bool: ...


class Mails(Protocol):
    """Where the mail of each namespace is. What is about others' mail may raise NOT_FOUND."""

    runtime: Runtime

    @property
    def subscriptions(self) -> OtherSubscriptions:
        """The user's own file."""

    def open(self, space: Space, owner: str) -> Account:
        """A reference to the account; `owner` for shared namespaces. Raises NOT_FOUND."""

    def owners(self, space: Space) -> list[str]:
        """Users who may have something to show in a shared namespace, sorted."""

    def has_root(self, account: Account) -> bool:
        """Whether the root of the account is a mailbox, where it is not anybody's INBOX."""

    def is_shared(self, mailbox: Mailbox) -> bool:
        """Whether the mailbox is marked as one in which \\Seen is each reader's own: by a `dovecot-shared` file."""

    def seen_file(self, mailbox_id: str) -> SeenFile:
        """The reader's file for this mailbox."""

    @property
    def url_keys(self) -> UrlKeys:
        """The user's own."""

    def metadata_file(self, mailbox_id: str) -> MetadataFile:
        """The reader's own annotations on this mailbox."""
