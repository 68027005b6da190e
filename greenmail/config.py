"""Every setting: one field with its type, its default and its documentation.

`load` reads a YAML or TOML file and gives a `Config`, or raises `ConfigError` with everything that is wrong with it.
`conf/imap.yaml` is made from the fields below by `python -m greenmail.config_doc`; a test compares the two.
A setting is named in kebab-case in the file (`bind-addr`) and with underscores here (`config.bind_addr`).
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from greenmail import config_check, config_file, config_namespaces
from greenmail import config_types as kind
from greenmail.auth.sasl import MECHANISMS, OFF
from greenmail.config_file import Problem, Tree
from greenmail.config_namespaces import Namespaces
from greenmail.config_tables import ConfigError, Listener, ServerTable, Table, setting
from greenmail.config_types import Endpoint

LogLevel = Annotated[str, BeforeValidator(kind.one_of("error", "warn", "info", "debug", "trace"))]

# Mozilla's "intermediate" recommendation for TLS 1.2; TLS 1.3 has its own suites, which are all good.
INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"
    "DHE-RSA-CHACHA20-POLY1305"
)
SPECIAL_USE = {
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Sent": "\\Sent",
    "Sent Messages": "\\Sent",
    "Archive": "\\Archive",
}


def _metrics_bind(value: Any) -> Endpoint | None:
    return None if value in ("", None, False) else kind.endpoint(value)


class Config(Table):
    """All settings, in the order of `conf/imap.yaml`. Made by `load` or `from_mapping`."""

    # Listening
    bind_addr: kind.Address = setting(
        "0.0.0.0", "IP address to listen at; 0.0.0.0 is every IPv4 address of this machine."
    )
    bind_port: kind.Port = setting(143, "Port for clear-text IMAP, which clients upgrade by STARTTLS.")
    bind_port_tls: kind.Port = setting(
        993,
        "Port for IMAP with TLS from the first octet. Without a certificate it is not opened unless it is set here.",
    )
    server: ServerTable = Field(
        default_factory=ServerTable,
        description=(
            "Listeners by name, each with `bind` (a list), `protocol` (imap, pop3) and `tls.implicit`, and with "
            "`tls.cert-path` and `tls.key-path` for a certificate of its own. If there are any, the ports above are "
            "opened only if they are set, too. POP3 is served by listeners alone."
        ),
        examples=[
            '{listener: {pop3: {bind: ["[::]:110"], protocol: pop3},'
            ' pop3s: {bind: ["[::]:995"], protocol: pop3, tls.implicit: true}}}'
        ],
    )
    max_connections: Annotated[int, BeforeValidator(kind.number(1, 1_000_000))] = setting(
        20000, "Connections at the same time, over all workers."
    )
    max_connections_per_user: Annotated[int, BeforeValidator(kind.number(1, 1_000_000))] = setting(
        50, "Connections of one user at the same time, IMAP and POP3 together; phones open one for each folder."
    )

    # TLS
    cert_path: kind.Path = setting(
        "",
        "Certificate in PEM with the chain below it. Without one there is no TLS, so no passwords are taken.",
        "/etc/letsencrypt/live/mail.example.org/fullchain.pem",
    )
    key_path: kind.Path = setting(
        "", "Private key of that certificate, in PEM.", "/etc/letsencrypt/live/mail.example.org/privkey.pem"
    )
    tls_min_version: kind.TlsVersion = setting("1.2", "Oldest version of TLS to speak: 1.2 or 1.3.")
    tls_ciphers: kind.Text = setting(INTERMEDIATE, "Cipher list for TLS 1.2, as OpenSSL writes it.")
    timeout_handshake: kind.Seconds = setting(10, "Seconds for a TLS handshake.")

    # Mail
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

    # Users
    passwd_file: kind.TablePath = setting(
        "", "Users and passwords, as Dovecot's passwd-file; %d in it is the domain. Without it nobody can log in.",
        "/etc/greenmail/users",
    )  # fmt: skip
    deny_file: kind.TablePath = setting(
        "", "Users who may not log in, whatever their password: names, one a line. If it cannot be read, nobody can.",
        "/etc/greenmail/denied",
    )  # fmt: skip
    master_passwd_file: kind.Path = setting(
        "",
        "Master users and their passwords: each may log in as any user, and is none himself (docs/users.md).",
        "/etc/greenmail/masters",
    )
    master_separator: kind.MasterSeparator = setting(
        "*", "Between a user and a master user in the name that a client gives: bob*admin. Nothing: SASL alone."
    )
    sasl_mechanisms: Annotated[tuple[str, ...], BeforeValidator(kind.some_of(*MECHANISMS))] = setting(
        tuple(name for name in MECHANISMS if name not in OFF),
        "Ways to log in that clients are told of; SCRAM, and CRAM-MD5 if it is named here, only while every user has a"
        " password that it can use.",
    )
    username_format: kind.UsernameFormat = setting(
        "%Lu", "What becomes of the name that a client gives: %Lu in lower case, %u as it is, %Ln without the domain."
    )
    default_domain: kind.Text = setting("", "Appended with @ to names which have no domain.", "example.org")
    allow_plain_text: kind.Switch = setting(False, "Take passwords over connections without TLS, too.")
    allow_weak_schemes: kind.Switch = setting(
        False, "Accept the password schemes that are easily broken: DES-CRYPT, MD5, LDAP-MD5, PLAIN-MD5, SMD5."
    )
    secure_networks: kind.Networks = setting(
        (), "Clients in these networks may send passwords without TLS.", '["127.0.0.0/8", "::1"]'
    )
    max_auth_failures: Annotated[int, BeforeValidator(kind.number(1, 1000))] = setting(
        3, "Failed logins after which a connection is closed."
    )
    auth_failure_delay: kind.Seconds = setting(2, "Seconds until a client is told that its login failed.")
    max_waiting_logins: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        128, "Logins of a worker whose passwords wait to be compared; more are told to come back later."
    )
    max_waiting_logins_per_address: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        32, "Likewise, of one client's address."
    )

    # Processes
    processes: kind.Processors = setting(0, "Worker processes; 0 is one for each CPU.")
    worker_pool_size: kind.Processors = setting(0, "Threads of a worker for blocking tasks; 0 is one for each CPU.")
    user: kind.Account = setting(
        "", "User that the workers run as: the owner of all mail. Nothing: who started it.", "vmail"
    )
    group: kind.Group = setting("", "Group that the workers run as; nothing is that user's own.", "vmail")
    run_path: kind.Path = setting(
        "", "Directory for sockets and figures; nothing is /run/greenmail, or a private one if not started by root.",
        "/run/greenmail",
    )  # fmt: skip
    stop_grace: kind.Seconds = setting(15, "Seconds that sessions have to end when the server stops or reloads.")

    # Limits
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
        10, "Seconds between signs of life of a long search (INPROGRESS, RFC 9585); 0: none."
    )
    server_comment: kind.Text = setting(
        "", "What clients can show of this server (METADATA /shared/comment).", "Mail of Example Inc."
    )
    server_admin: kind.Uri = setting(
        "", "How to reach the administrator, a URI (METADATA /shared/admin).", "mailto:postmaster@example.org"
    )
    jmap_url: kind.Uri = setting(
        "",
        "The session resource of a JMAP server with the same mail and object IDs (JMAPACCESS), RFC 9698.",
        "https://jmap.example.org/.well-known/jmap",
    )
    literal_minus: kind.Switch = setting(False, "Offer LITERAL- in the place of LITERAL+, RFC 7888.")
    utf8_accept: kind.Switch = setting(
        False, "Offer UTF8=ACCEPT, RFC 9755, which refuses messages with 8-bit headers from clients that do not use it."
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

    # To be seen
    log_level: LogLevel = setting("info", "What to log: error, warn, info, debug or trace.")
    log_format: Annotated[str, BeforeValidator(kind.one_of("text", "json"))] = setting(
        "text", "Lines of log: text or json."
    )
    log_path: kind.Path = setting("-", "Where to log: - is standard error, syslog the system's log, else a file.")
    metrics_bind: Annotated[Endpoint | None, BeforeValidator(_metrics_bind)] = setting(
        None, "Address and port for Prometheus (/metrics) and /healthz.", "127.0.0.1:9143"
    )

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The file it came from, to be loaded again at a reload; empty if it came from no file."""
        return self._source

    def owner(self) -> tuple[int, int]:
        """uid and gid that workers run as, from `user` and `group`."""
        if not self.user:
            return os.geteuid(), kind.group_id(self.group) if self.group else os.getegid()
        uid, own_group = kind.account_ids(self.user)
        return uid, kind.group_id(self.group) if self.group else own_group

    def given(self, field: str) -> bool:
        """Whether `field` (as an attribute: "bind_port_tls") stands in the file."""
        return field in self.model_fields_set

    def listeners(self) -> tuple[Listener, ...]:
        """Every address and port to bind: the flat ports first, then the tables in the order of the file."""
        tables = self.server.listener
        found = []
        if not tables or self.given("bind_port"):
            found.append(self._flat("imap", self.bind_port, implicit_tls=False))
        if self.cert_path and (not tables or self.given("bind_port_tls")):
            found.append(self._flat("imaps", self.bind_port_tls, implicit_tls=True))
        for name, table in tables.items():
            cert, key = table.tls.cert_path or self.cert_path, table.tls.key_path or self.key_path
            found += [
                Listener(name, bind.address, bind.port, table.protocol, table.tls.implicit, cert, key)
                for bind in table.bind
            ]
        return tuple(found)

    def _flat(self, name: str, port: int, *, implicit_tls: bool) -> Listener:
        return Listener(name, self.bind_addr, port, "imap", implicit_tls, self.cert_path, self.key_path)

    def notices(self) -> tuple[str, ...]:
        """What an administrator may wonder about, for INFO: ports that are not opened, logins that cannot work."""
        found = []
        if not self.server.listener and not self.cert_path:
            found.append(f"port {self.bind_port_tls} is not opened, because cert-path and key-path are not set")
        unsafe = self.allow_plain_text or self.secure_networks
        if not unsafe and not any(listener.cert_path for listener in self.listeners()):
            found.append("no client can log in: there is no certificate (cert-path), and allow-plain-text is false")
        if self.allow_plain_text:
            found.append("passwords are taken from everywhere without TLS, because allow-plain-text is true")
        if not self.passwd_file:
            found.append("no client can log in: passwd-file is not set")
        found += [
            f"of {table.prefix} only mailboxes with an access control list are shown, because default-rights is not set"
            for table in self.namespaces
            if table.type == "public" and not table.default_rights
        ]
        return tuple(found)

    def counts_as_secure(self, address: str) -> bool:
        """Whether a connection from `address` may carry passwords without TLS."""
        if self.allow_plain_text:
            return True
        client = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(client, "ipv4_mapped", None)  # a client of [::] that speaks IPv4
        return any((mapped or client) in network for network in self.secure_networks)

    @property
    def max_line_anonymous(self) -> int:
        """Octets of a line before login."""
        return min(self.max_line, 8192)

    @property
    def drain(self) -> int:
        """`max-drain`, with its default worked out."""
        return self.max_drain or self.max_request_size + (1 << 20)

    @property
    def run_directory(self) -> str:
        """`run-path`, with its default worked out; it may not exist yet, and belongs in mode 0700 to who makes it."""
        if self.run_path:
            return self.run_path
        if os.geteuid() == 0:
            return "/run/greenmail"
        base = os.environ.get("XDG_RUNTIME_DIR")
        return f"{base}/greenmail" if base else f"/tmp/greenmail-{os.geteuid()}"  # net checks the owner


def load(path: str) -> Config:
    """The configuration in the file `path`: TOML if its name ends in .toml, else YAML. Raises ConfigError.

    Relative paths in it begin at its own directory.
    """
    try:
        octets = FilePath(path).read_bytes()
    except OSError as error:
        raise ConfigError(path, [Problem(0, "", f"cannot be read: {error.strerror}")]) from None
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, [Problem(line, "", f"not UTF-8: found octet 0x{octets[error.start]:02x}")]) from None
    return _checked(config_file.read(text, toml=path.endswith(".toml")), path, os.path.dirname(os.path.abspath(path)))


def from_mapping(settings: Mapping[str, Any], source: str = "settings") -> Config:
    """As `load`, from nested dicts with the file's keys; relative paths stay as they are."""
    return _checked(config_file.from_mapping(settings), source, "")


def _checked(tree: Tree, source: str, base: str) -> Config:
    problems = [*tree.problems, *config_check.missing(tree)]
    try:
        config = Config.model_validate(tree.values)
    except ValidationError as error:
        raise ConfigError(
            source, [*problems, *(config_check.explained(Config, tree, found) for found in error.errors())]
        ) from None
    problems += config_check.bound_twice(tree, config)
    problems += config_namespaces.problems(tree, config)
    if problems:
        raise ConfigError(source, problems)
    whole = config_check.rooted(config, base)
    whole._source = os.path.abspath(source) if base else ""
    return whole
