"""The settings that bound what clients may ask for, and what is offered to them: a part of `config.Config`."""

from typing import Annotated

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.config_tables import Table, setting
from greenmail.language import choice


class LimitSettings(Table):
    """The section Limits."""

    max_request_size: kind.Size = setting(52428800, "Octets of the largest message that APPEND takes.")
    max_command_size: kind.Size = setting(1 << 20, "Octets of a command without the messages in it.")
    max_line: kind.Size = setting(65536, "Octets of a line; before login at most 8192.")
    max_append_messages: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        1000, "Messages in one APPEND, RFC 3502; each is a file until the last of them has come."
    )
    message_limit: Annotated[int, BeforeValidator(kind.number(0, 0xFFFFFFFF))] = setting(
        1_000_000, "Messages that one command processes (MESSAGELIMIT, RFC 9738), not below 1000 in earnest; 0: all."
    )
    save_limit: Annotated[int, BeforeValidator(kind.number(0, 0xFFFFFFFF))] = setting(
        1_000_000, "Messages in one COPY or APPEND (SAVELIMIT, RFC 9738), not below 1000 in earnest; 0: any number."
    )
    max_metadata_size: Annotated[int, BeforeValidator(kind.number(1024, 1 << 20))] = setting(
        16384, "Octets of one annotation of a mailbox (METADATA), 1024 at least."
    )
    max_metadata_entries: Annotated[int, BeforeValidator(kind.number(10, 10_000))] = setting(
        100, "Annotations of one mailbox, 10 at least."
    )
    max_keywords: Annotated[int, BeforeValidator(kind.number(0, 100_000))] = setting(
        1000, "Keywords of one mailbox beyond the 26 that have letters in file names."
    )
    max_unpacked_size: kind.Size = setting(
        256 << 20, "Octets that a compressed message on disk may unpack to, unless its name tells that it has more."
    )
    max_search_contexts: Annotated[int, BeforeValidator(kind.number(1, 1000))] = setting(
        10, "Searches of the selected mailbox whose results are kept up to date for one connection (UPDATE)."
    )
    max_notify_mailboxes: Annotated[int, BeforeValidator(kind.number(10, 100_000))] = setting(
        2000, "Mailboxes that one connection can have watched by NOTIFY, 10 at least; what is watched is shared."
    )
    max_depth: Annotated[int, BeforeValidator(kind.number(10, 200))] = setting(
        50, "Parentheses within each other in a command."
    )
    max_bad_commands: Annotated[int, BeforeValidator(kind.number(1, 1_000_000))] = setting(
        20, "Commands in a row that were no commands, after which a connection is closed."
    )
    max_commands_per_minute: Annotated[int, BeforeValidator(kind.number(0, 1_000_000))] = setting(
        0, "Commands of a connection in a minute, beyond which each waits for its turn; 0: any number."
    )
    max_compressed: Annotated[int, BeforeValidator(kind.number(0, 1_000_000))] = setting(
        1000,
        "Connections of a worker that may be compressed (COMPRESS=DEFLATE), each of which takes 72 KiB; 0 is none.",
    )
    min_uid_batch_size: Annotated[int, BeforeValidator(kind.number(1, 500))] = setting(
        500, "Messages that a batch of UIDBATCHES must have, RFC 10022."
    )
    max_uid_batches: Annotated[int, BeforeValidator(kind.number(200, 1_000_000))] = setting(
        10_000, "Batches in one answer of UIDBATCHES."
    )
    max_drain: kind.SizeOrZero = setting(
        0, "Octets of refused literals that are read and thrown away; 0 is max-request-size and 1 MiB more."
    )
    timeout_anonymous: kind.Seconds = setting(60, "Seconds without a command before login.")
    timeout_authenticated: kind.Seconds = setting(1800, "Seconds without a command after login.")
    timeout_idle: kind.Seconds = setting(1800, "Seconds that a client may stay in IDLE.")
    timeout_pop3: kind.Seconds = setting(600, "Seconds without a command in POP3, RFC 1939 3.")
    timeout_write: kind.Seconds = setting(
        120, "Seconds without progress after which a client that does not read is dropped."
    )
    idle_keepalive: kind.Seconds = setting(120, "Seconds between signs of life in IDLE.")
    progress_interval: Annotated[int, BeforeValidator(kind.number(0, 3600))] = setting(
        10, "Seconds between signs of life of a long search or change (INPROGRESS, RFC 9585); 0: none."
    )
    preferred_language: Annotated[str, BeforeValidator(kind.one_of(*choice.TAGS))] = setting(
        choice.DEFAULT,
        "What clients get that ask for the preferred language (LANGUAGE DEFAULT, RFC 5255; LANG *, RFC 6856): en, de,"
        " or i-default, which is English.",
    )
    server_comment: kind.Text = setting(
        "", "What clients can show of this server (METADATA /shared/comment).", "Mail of Example Inc."
    )
    server_admin: kind.Uri = setting(
        "", "How to reach the administrator, a URI (METADATA /shared/admin).", "mailto:postmaster@example.org"
    )
    shared_filters: kind.Filters = setting(
        {},
        "Searches with a name that all users can use (SEARCH FILTER, RFC 5466; METADATA /shared/filters/values).",
        '{on-the-road: "OR SMALLER 5000 FROM boss@example.com"}',
    )
    jmap_url: kind.Uri = setting(
        "",
        "The session resource of a JMAP server with the same mail and object IDs (JMAPACCESS), RFC 9698.",
        "https://jmap.example.org/.well-known/jmap",
    )
    url_hosts: kind.Hosts = setting(
        (),
        "Names of this server in IMAP URLs. With them URLs can be authorized for others (URLAUTH, RFC 4467), and"
        " CATENATE takes whole URLs.",
        '["mail.example.org", "imap.example.org"]',
    )
    submit_users: kind.Names = setting(
        (), "Users who fetch what is submitted by its URL (BURL, RFC 4468): the submission server's.", '["submit"]'
    )
    literal_minus: kind.Switch = setting(False, "Offer LITERAL- in the place of LITERAL+, RFC 7888.")
    utf8_accept: kind.Switch = setting(
        False,
        "Offer UTF8=ACCEPT (IMAP, RFC 9755) and UTF8 (POP3, RFC 6856). Messages with 8-bit headers are then refused to"
        " clients that do not use them: APPEND in IMAP, RETR and TOP in POP3.",
    )
    pop3_uidl_format: Annotated[str, BeforeValidator(kind.uidl_format)] = setting(
        "%08Xu%08Xv",
        "Message ids in POP3, as in Dovecot's pop3_uidl_format: copy it, or clients download everything again.",
    )
    pop3_apop: kind.Switch = setting(
        False, "Offer APOP in POP3, over TLS, while every user's password is stored as it is ({PLAIN})."
    )
    pop3_login_delay: Annotated[int, BeforeValidator(kind.number(0, 86400))] = setting(
        0, "Seconds between two POP3 logins of a user (LOGIN-DELAY, RFC 2449); 0 is none."
    )
    pop3_delete: Annotated[str, BeforeValidator(kind.one_of("expunge", "flag"))] = setting(
        "expunge", "What DELE and QUIT of POP3 do: expunge the message, or flag it and hide it from POP3 alone."
    )
    pop3_deleted_flag: kind.Keyword = setting(
        "$POP3Deleted", "The flag of `pop3-delete: flag`, as Dovecot's pop3_deleted_flag: a keyword or a system flag."
    )
    pop3_no_flag_updates: kind.Switch = setting(
        False, "RETR does not mark a message as seen, as Dovecot's pop3_no_flag_updates."
    )
