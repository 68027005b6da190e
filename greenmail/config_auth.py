"""`auth`: a table for each user database, asked in this order, and what can be wrong with them.

`docs/user-databases.md` has an example of each.
"""

import re
import urllib.parse
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from greenmail import config_types as kind
from greenmail.auth.schemes import SCHEMES
from greenmail.config_file import Problem, Tree
from greenmail.config_tables import Table, setting

if TYPE_CHECKING:
    from greenmail.config import Config

_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy finds them
PARAMETERS = ("user", "name", "domain")
_LDAP_VARIABLE = re.compile(r"%(.?)", re.DOTALL)


def _url(*schemes: str) -> Any:
    allowed = f"an address that begins with {' or '.join(scheme + '://' for scheme in schemes)}"

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(allowed)
        try:
            parts = urllib.parse.urlsplit(value)
            is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:  # a port that is no number, a bracket that is not closed
            is_whole = False
        if not is_whole or not value.isascii() or " " in value:
            raise ValueError(f"{allowed}, with a host and perhaps a port behind it")
        return value

    return check


def _urls(*schemes: str) -> Any:
    check = _url(*schemes)
    return lambda value: tuple(check(one) for one in (value if isinstance(value, list | tuple) and value else [value]))


def _sql_url(value: Any) -> str:
    if not isinstance(value, str) or not re.match(r"(sqlite|postgresql|mysql|mariadb)(\+\w+)?://", value):
        raise ValueError(
            "an address such as sqlite:////var/lib/mail/users.db, postgresql://mail@db.example.org/mail or"
            " mysql://mail@db.example.org/mail"
        )
    return value


def _query(value: Any) -> str:
    found = value if isinstance(value, str) else ""
    asked = set(_PARAMETER.findall(found))
    if not asked & {"user", "name"} or asked - set(PARAMETERS) or re.search(r"%(\{|[unduLU])", found):
        raise ValueError(
            "a SELECT with the name as a bound parameter, :user (whole), :name (before @) and :domain, without quotes"
            " around it, and with \\: for every other colon, such as SELECT password, home FROM users WHERE name ="
            " :user"
        )
    return found


def _iterate_query(value: Any) -> str:
    found = value if isinstance(value, str) else ""
    if value not in (None, "") and (
        not re.match(r"\s*(SELECT|WITH)\b", found, re.IGNORECASE) or _PARAMETER.search(found)
    ):
        raise ValueError("a SELECT without parameters, whose first column is the name of a user")
    return found


def _filter(value: Any) -> str:
    found = value if isinstance(value, str) else ""
    variables = {match[1] for match in _LDAP_VARIABLE.finditer(found)}
    if not (found.startswith("(") and found.endswith(")")) or not variables & set("un") or variables - set("und%"):
        raise ValueError("a filter with %u (whole name) or %n (part before @), such as (&(objectClass=person)(uid=%n))")
    return found


def _fields(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise ValueError('a table of names and texts, such as {quota_rule: "*:storage=1G"}')
    return dict(value)


def _scheme(value: Any) -> str:
    if not isinstance(value, str) or value.upper() not in SCHEMES:
        raise ValueError(f"one of {', '.join(SCHEMES)}")
    return value.upper()


def _known(value: Any) -> tuple[str, ...]:
    return () if value == [] or value == () else kind.some_of(*_SCRAM)(value)


def _uid(value: Any) -> int | None:
    name = kind.account("" if value is None else value)
    return kind.account_ids(name)[0] if name else None


def _gid(value: Any) -> int | None:
    name = kind.group("" if value is None else value)
    return kind.group_id(name) if name else None


_Url = Annotated[str, BeforeValidator(_url("https", "http"))]
_SCRAM = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1")
_Rounds = Annotated[int, BeforeValidator(kind.number(4096, 10_000_000))]
_Threads = Annotated[int, BeforeValidator(kind.number(1, 100))]
_Id = Annotated[int, BeforeValidator(kind.number(0, 0xFFFFFFFE))]


class AuthTable(Table):
    """What every one of `auth` has."""

    deny: kind.Switch = setting(False, "Who is in it may not log in, whatever else is true.")
    master: kind.Switch = setting(False, "Who is in it may log in as any user, and is none himself.")

    @property
    def has_users(self) -> bool:
        """Whether it has passwords of users, who are not masters and not denied."""
        return not (self.deny or self.master)


class PasswdFileTable(AuthTable):
    """A passwd-file; with `deny: true` a list of names will do."""

    type: Literal["passwd-file"]
    path: kind.TablePath = Field(description="the path of a file as Dovecot's passwd-file")


class StaticTable(AuthTable):
    """The same for everybody, for users whose password another database has."""

    type: Literal["static"]
    home: kind.UserPath = setting("", "Home: %u, %n and %d are the name, the part before @, and the domain.")
    mail: kind.Text = setting("", "Where the mail is, if not at mail-path.")
    uid: Annotated[int | None, BeforeValidator(_uid)] = setting(None, "Owner of the mail.")
    gid: Annotated[int | None, BeforeValidator(_gid)] = setting(None, "Group of the mail.")
    extra_fields: Annotated[dict[str, str], BeforeValidator(_fields)] = setting(
        {}, "More, as the extra fields of a passwd-file."
    )
    allow_all_users: kind.Switch = setting(
        False, "Every name is a user's, also where nobody shows a password: for master users, certificates and tokens."
    )

    @property
    def has_users(self) -> bool:
        """It has no passwords."""
        return False


class StoredTable(AuthTable):
    """What those have that tell a stored password."""

    every_user_has: Annotated[tuple[str, ...], BeforeValidator(_known)] = setting(
        (), "Schemes that all passwords there have (PLAIN, SCRAM-SHA-256, SCRAM-SHA-1), so that SCRAM can be offered."
    )
    scram_rounds: _Rounds = setting(20000, "Iterations that their SCRAM fields have, for users who are not there.")
    default_scheme: Annotated[str, BeforeValidator(_scheme)] = setting(
        "CRYPT", "Scheme of a stored password without {SCHEME}."
    )
    timeout: kind.Seconds = setting(5, "Seconds until it counts as not available.")


class HttpTable(StoredTable):
    """A service that is asked by POST with JSON, and answers with JSON."""

    type: Literal["http"]
    url: _Url = Field(description="an address that begins with https:// or http://")
    token_file: kind.Path = setting("", "A file with what is sent as bearer token.", "/etc/greenmail/http-token")
    ca_path: kind.Path = setting("", "Certificates that its own must come from; nothing is those of this machine.")
    send_password: kind.Switch = setting(
        True, "The service compares the password; false: it tells what is stored, and never sees one."
    )


class SqlTable(StoredTable):
    """SQLite, PostgreSQL, MySQL or MariaDB."""

    type: Literal["sql"]
    url: Annotated[str, BeforeValidator(_sql_url)] = Field(
        description="an address such as postgresql://mail@db.example.org/mail"
    )
    password_file: kind.Path = setting("", "A file with the password for it.", "/etc/greenmail/sql-password")
    query: Annotated[str, BeforeValidator(_query)] = Field(
        description="a SELECT with :user in it, such as SELECT password, home FROM users WHERE name = :user"
    )
    iterate_query: Annotated[str, BeforeValidator(_iterate_query)] = setting(
        "",
        "A SELECT of all names, for doctor, resync, index and shadow --all-users.",
        "SELECT name FROM users",
    )
    connections: _Threads = setting(4, "Connections of a worker at the same time.")


class LdapTable(StoredTable):
    """A directory."""

    type: Literal["ldap"]
    urls: Annotated[tuple[str, ...], BeforeValidator(_urls("ldap", "ldaps", "ldapi"))] = Field(
        description="a list of servers, such as [ldaps://ldap1.example.org, ldaps://ldap2.example.org]"
    )
    start_tls: kind.Switch = setting(False, "StartTLS before anything else; ldaps:// has TLS from the first octet.")
    ca_path: kind.Path = setting("", "Certificates that its own must come from; nothing is those of this machine.")
    bind_dn: kind.Text = setting("", "As whom users are looked for; nothing is nobody.")
    bind_password_file: kind.Path = setting("", "A file with the password of bind-dn.", "/etc/greenmail/ldap-password")
    base: kind.Text = Field(description="where users are, such as ou=people,dc=example,dc=org")
    scope: Annotated[str, BeforeValidator(kind.one_of("sub", "one", "base"))] = setting("sub", "sub, one or base.")
    filter: Annotated[str, BeforeValidator(_filter)] = setting("(uid=%n)", "Which entry is the user's: %u, %n, %d.")
    bind: kind.Switch = setting(True, "The server compares the password, by a bind as the user; false: it is fetched.")
    attributes: Annotated[dict[str, str], BeforeValidator(_fields)] = setting(
        {"userPassword": "password", "homeDirectory": "home", "uidNumber": "uid", "gidNumber": "gid"},
        "Attributes of the entry, and the fields that they are.",
    )


class PamTable(AuthTable):
    """Linux-PAM."""

    type: Literal["pam"]
    service: Annotated[str, BeforeValidator(kind.directory_name)] = setting(
        "", "File in /etc/pam.d; nothing is imap or pop3, by the protocol."
    )
    directory: kind.Path = setting("", "Where the service's file is; nothing is /etc/pam.d.", "/etc/greenmail/pam.d")
    timeout: kind.Seconds = setting(10, "Seconds until it counts as not available.")


class SystemTable(AuthTable):
    """Users of this machine, by getpwnam(3)."""

    type: Literal["system"]
    min_uid: _Id = setting(1000, "Lowest uid of a user.")
    max_uid: _Id = setting(59999, "Highest uid of a user.")
    password: Annotated[str, BeforeValidator(kind.one_of("none", "shadow"))] = setting(
        "none", "none: another database has it (pam); shadow: that of /etc/shadow, which workers must be able to read."
    )


TYPES: dict[str, type[AuthTable]] = {
    "passwd-file": PasswdFileTable,
    "static": StaticTable,
    "http": HttpTable,
    "sql": SqlTable,
    "ldap": LdapTable,
    "pam": PamTable,
    "system": SystemTable,
}


def _type(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return found if found in TYPES else None


def _tables(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("a list of tables, such as [{type: passwd-file, path: /etc/greenmail/users}]")
    for item in value:
        if isinstance(item, dict) and _type(item) is None:
            raise ValueError(f"tables that have a `type`, one of {', '.join(TYPES)}")
    return value


_OneTable = Annotated[
    Annotated[PasswdFileTable, Tag("passwd-file")]
    | Annotated[StaticTable, Tag("static")]
    | Annotated[HttpTable, Tag("http")]
    | Annotated[SqlTable, Tag("sql")]
    | Annotated[LdapTable, Tag("ldap")]
    | Annotated[PamTable, Tag("pam")]
    | Annotated[SystemTable, Tag("system")],
    Discriminator(_type),
]
AuthTables = Annotated[list[_OneTable], BeforeValidator(_tables)]


def problems(tree: Tree, config: "Config") -> list[Problem]:
    """What is wrong with the databases beside each field's own."""
    found: list[Problem] = []
    for number, table in enumerate(config.auth):
        for field, text in _of_one(table):
            key = ("auth", str(number), field)
            found.append(Problem(tree.line(key), ".".join(key), text))
    return found


def _of_one(table: Any) -> list[tuple[str, str]]:
    """Field and text of everything that is wrong with one table."""
    found: list[tuple[str, str]] = []
    if table.deny and table.master:
        found.append(("deny", "is true, and so is master: a list can be only one of them"))
    if table.deny and table.type not in ("passwd-file", "sql", "ldap", "http"):
        found.append(("deny", f"is true, but {table.type} is no list of users"))
    if table.master and table.type in ("static", "system"):
        found.append(("master", f"is true, but {table.type} has no passwords of its own"))
    if table.type == "http" and not re.match(r"https://|http://(127\.|localhost[:/]|\[::1\])", table.url):
        found.append(("url", "would show passwords to the network: https://, or http:// of this machine (127.0.0.1)"))
    if table.type == "system" and table.min_uid > table.max_uid:
        found.append(("min-uid", f"is {table.min_uid}, which is above max-uid, {table.max_uid}"))
    if table.type == "ldap" and table.start_tls and not all(url.startswith("ldap://") for url in table.urls):
        found.append(("start-tls", "is true, but not all of urls begin with ldap://"))
    if table.type == "ldap" and not table.bind and "password" not in table.attributes.values():
        found.append(("attributes", "has no field `password`, which is needed where bind is false"))
    compares = (table.type == "ldap" and table.bind) or (table.type == "http" and table.send_password)
    if compares and table.every_user_has:
        found.append(
            ("every-user-has", "is for databases that tell what is stored: set bind or send-password to false")
        )
    return found


def joined(config: "Config") -> "Config":
    """`config` with one list of databases: `passwd-file` and its like become tables of it.

    And the first passwd-file of the list is `passwd-file`, for who edits users or looks at their mail.
    """
    flat = [
        PasswdFileTable(type="passwd-file", path=path, deny=use == "deny", master=use == "master")
        for path, use in ((config.passwd_file, ""), (config.deny_file, "deny"), (config.master_passwd_file, "master"))
        if path
    ]
    tables = [*flat, *(table for table in config.auth if table not in flat)]
    files = [table.path for table in tables if isinstance(table, PasswdFileTable) and table.has_users]
    given = set(config.model_fields_set)
    copy = config.model_copy(update={"auth": tables, "passwd_file": files[0] if files else ""})
    copy.model_fields_set.clear()
    copy.model_fields_set.update(given)
    return copy
