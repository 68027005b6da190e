"""The settings of where mail is and how it is kept: a part of `config.Config`, which says how they are read."""

from typing import Annotated

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.config_namespaces import Namespaces
from greenmail.config_tables import Table, setting

SPECIAL_USE = {
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Sent": "\\Sent",
    "Sent Messages": "\\Sent",
    "Archive": "\\Archive",
}


class MailSettings(Table):
    """The section Mail."""

    mail_path: kind.UserPath = setting(
        "~/Maildir", "A user's Maildir: %u is the name, %n the part before @, %d the part behind it, %h or ~ the home."
    )
    inbox_path: kind.UserPath = setting("", "INBOX, if it is not the Maildir itself.", "/var/spool/mail/%n")
    control_path: kind.UserPath = setting(
        "",
        "Where dovecot-uidlist and dovecot-keywords are, if not in the Maildir (Dovecot's CONTROL=).",
        "/var/control/%u",
    )
    index_path: kind.UserPath = setting(
        "", "Where GreenMail's own cache files go, if not into the Maildir.", "/var/cache/greenmail/%u"
    )
    full_text_search: kind.Switch = setting(
        False,
        "Keep an index of all text for SEARCH BODY and TEXT (docs/full-text-search.md); a user's full_text_search in"
        " the passwd-file comes first.",
    )
    create_mail_path: kind.Switch = setting(True, "Make the Maildir at a user's first login.")
    mailbox_names: Annotated[str, BeforeValidator(kind.one_of("auto", "mutf7", "utf8"))] = setting(
        "auto", "How names of folders are spelled on disk: auto (as found), mutf7 (Dovecot, Courier) or utf8."
    )
    layout: Annotated[str, BeforeValidator(kind.one_of("maildir++", "fs"))] = setting(
        "maildir++",
        "How mailboxes lie on disk: maildir++ (.A.B, all in one directory) or fs (A/B, one below the other;"
        " Dovecot's LAYOUT=fs).",
    )
    mailbox_directory: kind.DirectoryName = setting(
        "", "With layout fs: the directory in a mailbox's directory that has its mail (Dovecot's DIRNAME=).", "mBx"
    )
    name_escape: kind.NameEscape = setting(
        "", "Character before two hex digits, for names that have a dot in them (Dovecot's listescape).", '"\\\\"'
    )
    prefix: kind.Text = setting("", "Before every mailbox name but INBOX: set it to what the old server had.", "INBOX.")
    separator: kind.Separator = setting("/", "Between the levels of a mailbox name as clients see it.")
    namespaces: Namespaces = setting(
        [],
        "More namespaces, a table for each: others' mail (type: shared), nobody's (public), old names (alias-for). See"
        " docs/namespaces.md.",
        '[{type: shared, prefix: "shared/%u/", list: children},'
        " {type: public, prefix: Public/, mail-path: /var/mail/public, default-rights: lr}]",
    )
    special_use: kind.SpecialUse = setting(
        SPECIAL_USE,
        "Mailbox names and what they are for. Of two with the same use, clients are told of the first that exists.",
    )
    auto_create: kind.Names = setting(
        (), "Mailboxes that are made and subscribed at a user's first login.", "[Drafts, Sent]"
    )
    quota_storage: kind.SizeOrZero = setting(
        0, "Octets that a user's mail may take up; 0 is what maildirsize says. A user's own quota_rule comes first."
    )
    quota_messages: Annotated[int, BeforeValidator(kind.number(0, 1_000_000_000))] = setting(
        0, "Messages that a user may have, likewise."
    )
    quota_mailboxes: Annotated[int, BeforeValidator(kind.number(0, 1_000_000))] = setting(
        0, "Mailboxes that a user may have, INBOX included; 0 is any number. A user's own quota_mailboxes comes first."
    )
    quota_annotations: kind.SizeOrZero = setting(
        0, "Octets of all annotations of a user (docs/metadata.md); 0 is no limit. quota_annotations comes first."
    )
    quota_set_by: Annotated[str, BeforeValidator(kind.one_of("nobody", "masters", "owners"))] = setting(
        "masters",
        "Who may change limits by IMAP (SETQUOTA, docs/quota.md): nobody, masters (master users, as whom they come in),"
        " owners (every user his own).",
    )
    quota_ignore: kind.Names = setting(
        (), "Mailboxes that are not counted, as in the other programs here; Courier leaves out Trash.", "[Trash]"
    )
    coexistence: Annotated[str, BeforeValidator(kind.one_of("none", "dovecot"))] = setting(
        "none", "Another server on the same Maildirs at the same time: none or dovecot."
    )
    lock_host: kind.Text = setting(
        "", "Name of this machine in lock files; nothing is its host name.", "mail1.example.org"
    )
    lock_timeout: kind.Seconds = setting(30, "Seconds to wait for a lock that another program holds.")
    poll_interval: kind.Seconds = setting(15, "Seconds between looks at a mailbox which cannot be watched.")
    cache_memory: kind.Size = setting(256 << 20, "Octets that a worker uses to remember mailboxes.")
    park_after: Annotated[int, BeforeValidator(kind.number(0, 86_400))] = setting(
        5,
        "Seconds after which a mailbox whose clients all wait for news (IDLE) is not kept in memory; 0: it always is.",
    )
    time_zone: kind.TimeZone = setting("", "Zone for the dates of messages; nothing is the system's.", "Europe/Berlin")
