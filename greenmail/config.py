"""Every setting: one field with its type, its default and its documentation.

`load` reads a YAML or TOML file and gives a `Config`, or raises `ConfigError` with everything that is wrong with it.
`conf/imap.yaml` is made from the fields below by `python -m greenmail.config_doc`; a test compares the two.
A setting is named in kebab-case in the file (`bind-addr`) and with underscores here (`config.bind_addr`).
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from greenmail import config_auth, config_check, config_file, config_namespaces, config_vouched
from greenmail import config_types as kind
from greenmail.auth.penalties import BanRule, Turns
from greenmail.config_file import Problem, Tree
from greenmail.config_limits import LimitSettings
from greenmail.config_mail import MailSettings
from greenmail.config_tables import CertificateTable, ConfigError, Listener, ServerTable, Table, setting
from greenmail.config_types import Endpoint
from greenmail.config_users import UserSettings
from greenmail.config_vouched import VouchedSettings

LogLevel = Annotated[str, BeforeValidator(kind.one_of("error", "warn", "info", "debug", "trace"))]

# Mozilla's "intermediate" recommendation for TLS 1.2; TLS 1.3 has its own suites, which are all good.
INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"
    "DHE-RSA-CHACHA20-POLY1305"
)


def _metrics_bind(value: Any) -> Endpoint | None:
    return None if value in ("", None, False) else kind.endpoint(value)


class ListeningSettings(Table):
    """The section Listening."""

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
    proxy_networks: kind.Networks = setting(
        (),
        "Load balancers that may speak to listeners with `proxy-protocol`; what they say of a client is believed.",
        '["10.0.0.5/32"]',
    )
    max_connections: Annotated[int, BeforeValidator(kind.number(1, 1_000_000))] = setting(
        20000, "Connections at the same time, over all workers."
    )
    max_connections_per_user: Annotated[int, BeforeValidator(kind.number(1, 1_000_000))] = setting(
        50, "Connections of one user at the same time, IMAP and POP3 together; phones open one for each folder."
    )
    max_connections_per_address: Annotated[int, BeforeValidator(kind.number(0, 1_000_000))] = setting(
        1000,
        "Connections of one address (of IPv6: of a /48) to one worker at the same time; 0: any number. Not of"
        " auth-penalty-exempt.",
    )


class TlsSettings(Table):
    """The section TLS."""

    cert_path: kind.Path = setting(
        "",
        "Certificate in PEM with the chain below it. Without one there is no TLS, so no passwords are taken.",
        "/etc/letsencrypt/live/mail.example.org/fullchain.pem",
    )
    key_path: kind.Path = setting(
        "", "Private key of that certificate, in PEM.", "/etc/letsencrypt/live/mail.example.org/privkey.pem"
    )
    certificates: list[CertificateTable] = setting(
        [],
        "Further certificates, for all listeners: tables of `cert-path` and `key-path`. A client that says by SNI which"
        " server it wants is shown the one that has the name in it; any other that of cert-path.",
        "[{cert-path: /etc/letsencrypt/live/example.com/fullchain.pem,"
        " key-path: /etc/letsencrypt/live/example.com/privkey.pem}]",
    )
    tls_min_version: kind.TlsVersion = setting("1.2", "Oldest version of TLS to speak: 1.2 or 1.3.")
    tls_ciphers: kind.Text = setting(INTERMEDIATE, "Cipher list for TLS 1.2, as OpenSSL writes it.")
    tls_exporter: kind.Switch = setting(
        False,
        "Let clients bind SCRAM to the connection by tls-exporter (RFC 9266, TLS 1.3) beside tls-server-end-point, if a"
        " test at the start succeeds; TLS is then pyOpenSSL's, which takes more time (docs/users.md).",
    )
    timeout_handshake: kind.Seconds = setting(10, "Seconds for a TLS handshake.")


class ProcessSettings(Table):
    """The section Processes."""

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


class SeenSettings(Table):
    """The section To be seen."""

    log_level: LogLevel = setting("info", "What to log: error, warn, info, debug or trace.")
    log_format: Annotated[str, BeforeValidator(kind.one_of("text", "json"))] = setting(
        "text", "Lines of log: text or json."
    )
    log_path: kind.Path = setting("-", "Where to log: - is standard error, syslog the system's log, else a file.")
    metrics_bind: Annotated[Endpoint | None, BeforeValidator(_metrics_bind)] = setting(
        None, "Address and port for Prometheus (/metrics), /healthz and the status page (/).", "127.0.0.1:9143"
    )
    status_token_path: kind.Path = setting(
        "",
        "File with the password of the status page (any user name will do); without it only the loopback may see it.",
        "/etc/greenmail/status-token",
    )


class Config(
    SeenSettings,
    LimitSettings,
    ProcessSettings,
    VouchedSettings,
    UserSettings,
    MailSettings,
    TlsSettings,
    ListeningSettings,
):
    """All settings. Made by `load` or `from_mapping`.

    Their order in `conf/imap.yaml` is that of the bases, read from the last to the first.
    """

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
                Listener(
                    name, bind.address, bind.port, table.protocol, table.tls.implicit, cert, key, table.proxy_protocol
                )
                for bind in table.bind
            ]
        return tuple(found)

    def _flat(self, name: str, port: int, *, implicit_tls: bool) -> Listener:
        return Listener(name, self.bind_addr, port, "imap", implicit_tls, self.cert_path, self.key_path)

    def certificate_paths(self) -> list[tuple[str, str]]:
        """Certificate and key of each that is used, once."""
        found = [(one.cert_path, one.key_path) for one in self.listeners() if one.cert_path]
        found += [(one.cert_path, one.key_path) for one in self.certificates]
        return list(dict.fromkeys(found))

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
        if not any(table.has_users for table in self.auth):
            found.append("no client can log in: neither passwd-file nor auth is set")
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
        return _is_within(address, self.secure_networks)

    def pays_no_penalty(self, address: str) -> bool:
        """Whether wrong passwords from `address` have no consequences beyond their own connection."""
        return not self.auth_penalty or self.is_exempt(address)

    def is_exempt(self, address: str) -> bool:
        """Whether `address` stands for many clients, or is trusted for another reason."""
        return _is_within(address, self.auth_penalty_exempt)

    def ban_rule(self) -> BanRule:
        """When an address is banned, and for how long."""
        return BanRule(self.auth_ban_failures, self.auth_ban_window, self.auth_ban_time)

    def turns(self) -> Turns:
        """How many from one address try to log in at the same time."""
        return Turns(
            self.max_logins_at_once_per_address, self.max_waiting_logins_per_address, self.timeout_waiting_login
        )

    def is_proxy(self, address: str) -> bool:
        """Whether `address` may say by the PROXY protocol whose a connection is."""
        return _is_within(address, self.proxy_networks)

    @property
    def max_line_anonymous(self) -> int:
        """Octets of a line before login."""
        most = 16384 if self.takes_tokens else 8192  # those of some issuers list all groups of a user
        return min(self.max_line, most)

    @property
    def takes_tokens(self) -> bool:
        """Whether there are OAUTHBEARER and XOAUTH2."""
        keys = self.oauth_jwks_file or self.oauth_jwks_url or self.oauth_openid_configuration
        return bool(keys or self.oauth_introspection_url)

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

    @property
    def app_password_uses(self) -> str:
        """`app-password-use-path`, with its default worked out."""
        return self.app_password_use_path or f"{self.run_directory}/app-passwords"


def _is_within(address: str, networks: Iterable[kind.Network]) -> bool:
    client = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(client, "ipv4_mapped", None)  # a client of [::] that speaks IPv4
    return any((mapped or client) in network for network in networks)


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
    problems += config_vouched.problems(tree, config)
    problems += config_auth.problems(tree, config)
    if problems:
        raise ConfigError(source, problems)
    whole = config_auth.joined(config_check.rooted(config, base))
    whole._source = os.path.abspath(source) if base else ""
    return whole
