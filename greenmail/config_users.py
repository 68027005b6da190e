"""The settings of who may log in, and how: a part of `config.Config`."""

from typing import Annotated

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.auth.sasl import MECHANISMS, OFF
from greenmail.config_auth import AuthTables
from greenmail.config_tables import Table, setting


class UserSettings(Table):
    """The section Users."""

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
    app_passwords_file: kind.Path = setting(
        "",
        "Further passwords of users, each for one program or device; `greenmail user app-password` edits it.",
        "/etc/greenmail/app-passwords",
    )
    app_password_use_path: kind.Path = setting(
        "",
        "Directory of the workers' user for when each of them was used last; nothing is app-passwords in `run-path`.",
        "/var/lib/greenmail/app-passwords",
    )
    auth: AuthTables = setting(
        [],
        "User databases, asked in this order: tables with a `type`, one of passwd-file, sql, ldap, http, pam, system,"
        " static, and with `deny: true` or `master: true`, if they are lists of such users. See docs/user-databases.md."
        " The passwd-file above is the first of them.",
        "[{type: pam}, {type: system}]",
    )
    auth_cache_size: Annotated[int, BeforeValidator(kind.number(0, 10_000_000))] = setting(
        20000, "Users of databases on other machines, and passwords of all, that a worker remembers; 0: none."
    )
    auth_cache_ttl: Annotated[float, BeforeValidator(kind.seconds_or_zero)] = setting(
        300, "Seconds for which it remembers that a password was right."
    )
    auth_cache_negative_ttl: Annotated[float, BeforeValidator(kind.seconds_or_zero)] = setting(
        30, "Seconds for which it remembers that one was wrong, or a user not there, by a database on another machine."
    )
    auth_threads: Annotated[int, BeforeValidator(kind.number(1, 1000))] = setting(
        8, "Questions to databases on other machines that a worker asks at the same time."
    )
    master_separator: kind.MasterSeparator = setting(
        "*", "Between a user and a master user in the name that a client gives: bob*admin. Nothing: SASL alone."
    )
    sasl_mechanisms: Annotated[tuple[str, ...], BeforeValidator(kind.some_of(*MECHANISMS))] = setting(
        tuple(name for name in MECHANISMS if name not in OFF),
        "Ways to log in that clients are told of; SCRAM, and CRAM-MD5 if it is named here, only while every user has a"
        " password that it can use.",
    )
    anonymous_user: kind.Text = setting(
        "",
        "Let anybody in by the mechanism ANONYMOUS, without a password, to read the mail of this user and to change"
        " nothing (docs/users.md); nothing: nobody.",
        "public",
    )
    username_format: kind.UsernameFormat = setting(
        "%Lu", "What becomes of the name that a client gives: %Lu in lower case, %u as it is, %Ln without the domain."
    )
    default_domain: kind.Text = setting("", "Appended with @ to names which have no domain.", "example.org")
    allow_plain_text: kind.Switch = setting(False, "Take passwords over connections without TLS, too.")
    allow_weak_schemes: kind.Switch = setting(
        False,
        "Accept the password schemes that are easily broken: DES-CRYPT, MD5, LDAP-MD5, PLAIN-MD5, SMD5, CRAM-MD5.",
    )
    secure_networks: kind.Networks = setting(
        (), "Clients in these networks may send passwords without TLS.", '["127.0.0.0/8", "::1"]'
    )
    max_auth_failures: Annotated[int, BeforeValidator(kind.number(1, 1000))] = setting(
        3, "Failed logins after which a connection is closed."
    )
    auth_failure_delay: kind.Seconds = setting(2, "Seconds until a client is told that its login failed.")
    auth_penalty: kind.Switch = setting(
        True, "Let an address that guesses passwords wait before each further try: 2, 4, 8, then 15 seconds."
    )
    auth_penalty_exempt: kind.Networks = setting(
        ("127.0.0.0/8", "::1"),
        "Networks that never wait and are never banned: webmail, load balancers without the PROXY protocol.",
    )
    auth_ban_failures: Annotated[int, BeforeValidator(kind.number(0, 1_000_000))] = setting(
        100, "Different wrong passwords of an address after which it is banned for a while; 0: never."
    )
    auth_ban_window: kind.Seconds = setting(86400, "Seconds in which these are counted.")
    auth_ban_time: kind.Seconds = setting(3600, "Seconds that a ban lasts.")
    owner_processes: Annotated[int, BeforeValidator(kind.number(0, 400))] = setting(
        0,
        "Processes for mail of other uids than `user`, one for each uid, at the same time (docs/system-users.md); 0:"
        " such users cannot log in.",
    )
    owner_lowest_uid: Annotated[int, BeforeValidator(kind.number(1, 0xFFFFFFFE))] = setting(
        1000, "The lowest uid that may have mail there."
    )
    owner_idle: kind.Seconds = setting(60, "Seconds without a session after which such a process ends.")
    auth_socket: kind.Path = setting(
        "",
        "Unix socket at which Postfix and Exim ask about SMTP AUTH, by Dovecot's protocol (docs/postfix.md).",
        "/var/spool/postfix/private/auth",
    )
    auth_socket_user: kind.Account = setting("", "Its owner; nothing is who starts the server.", "postfix")
    auth_socket_group: kind.Group = setting("", "Its group, likewise.", "postfix")
    auth_socket_mode: kind.FileMode = setting("0660", "Its permissions: who may connect is believed.")
    max_auth_socket_connections: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        1000, "Connections of a worker there: each smtpd of Postfix has one."
    )
    max_waiting_logins: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        128, "Logins of a worker whose passwords wait to be compared; more are told to come back later."
    )
    max_waiting_logins_per_address: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        32, "Likewise, of one client's address; and those of it that wait for their turn to be tried."
    )
    max_logins_at_once_per_address: Annotated[int, BeforeValidator(kind.number(1, 100_000))] = setting(
        4, "Logins of one address that a worker tries at the same time, until a password is wrong; then it is one."
    )
    timeout_waiting_login: kind.Seconds = setting(
        60, "Seconds that a login waits for its turn; then it is told to come back later."
    )
