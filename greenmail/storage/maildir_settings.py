"""What the Maildir store is told of one user's mail."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenmail.message.unpacked import LARGEST
from greenmail.storage.keywords import OVERFLOW_LIMIT
from greenmail.storage.quota_rules import QuotaRules


@dataclass(frozen=True, slots=True)
class MaildirSettings:
    """How one user's mail lies on disk; named as the settings are, with every path expanded."""

    mail_path: str
    control_path: str = ""  # where dovecot-uidlist and its kind are; empty: in the mailbox directories
    inbox_path: str = ""  # empty: the root itself
    layout: str = "maildir++"  # maildir++, fs
    mailbox_directory: str = ""  # fs: the directory in a mailbox's directory that has cur, new and tmp
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
    full_text_search: bool = False
    max_keywords: int = OVERFLOW_LIMIT  # without a letter, of a mailbox
    max_unpacked_size: int = LARGEST  # octets in a compressed message whose name does not tell them
    quota: QuotaRules = field(default_factory=QuotaRules)
    owner: str | None = None  # whose mail it is; None: of the user who looks; empty: nobody's, as in a public namespace
    groups: tuple[str, ...] = ()  # of the user who looks: access control lists may name them
    default_rights: str = ""  # letters: what everybody may do in a mailbox without an access control list
