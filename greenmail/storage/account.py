"""The Maildir store: one `MaildirStore` a worker, one shared `MaildirAccount` a user."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from greenmail.runtime import Runtime
from greenmail.storage.api import Folder, Mailbox


@dataclass(frozen=True, slots=True)
class MaildirSettings:
    """How one user's mail lies on disk; named as the settings are, with every path expanded."""

    mail_path: str
    control_path: str = ""  # where dovecot-uidlist and its kind are; empty: in the mailbox directories
    inbox_path: str = ""  # empty: the root itself
    index_path: str = ""  # where greenmail.index, .log and .cache are; empty: in the mailbox directories
    mailbox_names: str = "auto"  # auto, mutf7, utf8
    name_escape: str = ""
    prefix: str = ""
    separator: str = "/"
    special_use: Mapping[str, str] = field(default_factory=dict)  # mailbox name -> attribute
    auto_create: tuple[str, ...] = ()
    create_mail_path: bool = True
    lock_timeout: float = 30.0
    lock_host: str = ""
    coexistence: str = "none"  # none, dovecot


class MaildirStore:
    """Every account and mailbox object of one worker."""

    def __init__(self, runtime: Runtime, cache_memory: int = 256 << 20) -> None:
        """`cache_memory`: octets of mailboxes that are kept although nobody has them open."""

    def open_account(self, user: str, settings: MaildirSettings) -> "MaildirAccount":
        """A reference to the account of `user`. Raises StorageError if there is no mail and none may be made."""
        raise NotImplementedError


class MaildirAccount:
    """`api.Account` over a Maildir++ root."""

    def folders(self) -> list[Folder]:
        raise NotImplementedError

    def open(self, name: str) -> Mailbox:
        raise NotImplementedError

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        raise NotImplementedError
