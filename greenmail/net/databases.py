"""The user databases that the settings name: their secrets, what is not installed for them, and how they are opened.

Secrets are read by the parent, whose privileges the files may need; a worker has them from its birth on.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from greenmail.auth import directory, http_service, pam, remembered, sql, system
from greenmail.auth.admission import Databases
from greenmail.auth.api import Secret
from greenmail.auth.database import Database
from greenmail.auth.passwd_file import PasswdFile, deny_file
from greenmail.auth.remembered import Backend, Remembered
from greenmail.auth.static import Static
from greenmail.config import Config
from greenmail.net.tls import EX_CONFIG, CannotStart
from greenmail.net.web import WebClient

_SECRETS = ("token_file", "password_file", "bind_password_file")
_LONGEST_SECRET = 65536
_SHADOW = "/etc/shadow"
_SYSTEM_TIMEOUT = 5.0  # seconds for getpwnam(3), which may ask others


def at_once(seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    """As `Pool.run_within`, where there is no pool: on the command line."""
    return function(*args)


@dataclass(frozen=True, slots=True)
class Means:
    """What databases need of the process that they are opened in."""

    run_within: Callable[..., Any] = at_once  # a pool for questions to others, with a limit of time: `Pool.run_within`
    ask_pam: pam.Ask = pam.answer
    secrets: Mapping[str, Secret] = field(default_factory=dict)  # by the paths of their files


def secrets(config: Config) -> dict[str, Secret]:
    """What is in the files of passwords and tokens that `auth` names. Raises CannotStart."""
    found = {}
    for number, table in enumerate(config.auth):
        for name in _SECRETS:
            path = getattr(table, name, "")
            if path:
                found[path] = secret(f"auth.{number}.{name.replace('_', '-')}", path)
    return found


def secret(key: str, path: str) -> Secret:
    """The one line of a file with a password or a token. Raises CannotStart, which names the setting `key`."""
    try:
        with open(path, "rb") as file:
            octets = file.read(_LONGEST_SECRET).strip(b"\r\n")
    except OSError as error:
        raise CannotStart(f"{key}: {path} cannot be read: {error.strerror}", EX_CONFIG) from None
    if not octets or not octets.isascii() or b"\n" in octets:
        raise CannotStart(f"{key}: {path} must have one line of ASCII in it", EX_CONFIG)
    return Secret(octets)


def check(config: Config) -> None:
    """Raises CannotStart if something is missing here that `auth` needs."""
    for number, table in enumerate(config.auth):
        look = _MISSING.get(table.type)
        problem = look(table) if look is not None else ""
        if table.type == "http":
            WebClient(table.timeout, table.ca_path, f"auth.{number}.ca-path")
        if problem:
            raise CannotStart(f"auth.{number}: type {table.type} {problem}", EX_CONFIG)


_MISSING: dict[str, Callable[[Any], str]] = {
    "sql": lambda table: sql.missing(table.url),
    "ldap": lambda table: directory.missing(),
    "pam": lambda table: pam.missing(table.directory, (table.service,) if table.service else ("imap", "pop3")),
}


def open_all(config: Config, means: Means) -> Databases:
    """Every one of `auth`, in order, by what it is for."""
    users: list[Database] = []
    masters: list[Database] = []
    denied: list[Database] = []
    places: list[Database] = []
    for table in config.auth:
        if table.deny and table.type == "passwd-file":
            denied.append(deny_file(table.path))
            continue
        database = _open(table, config, means)
        if table.type == "static" or (table.type == "system" and table.password == "none"):
            places.append(database)
        elif table.deny or table.master:
            (denied if table.deny else masters).append(database)
        else:
            users.append(database)
    return Databases(users, masters, denied, places)


def _open(table: Any, config: Config, means: Means) -> Database:
    if table.type == "passwd-file":
        return PasswdFile(table.path)
    if table.type == "static":
        return Static(table.home, table.mail, table.uid, table.gid, table.extra_fields, table.allow_all_users)
    backend: Backend = _BACKENDS[table.type](table, means)
    # Connecting, asking, and both once more where a kept connection was closed; and the last word if a server freezes.
    limit = 4 * getattr(table, "timeout", _SYSTEM_TIMEOUT)
    run = functools.partial(means.run_within, limit)
    return Remembered(backend, run, config.auth_cache_ttl, config.auth_cache_size, config.auth_cache_negative_ttl)


def _stored(table: Any) -> dict[str, Any]:
    return {"summary": remembered.summary(table.every_user_has, table.scram_rounds)}


def _secret_of(path: str, means: Means) -> Secret:
    return means.secrets.get(path, Secret(b""))


def _http(table: Any, means: Means) -> Backend:
    token = _secret_of(table.token_file, means)
    settings = http_service.Settings(table.url, token, table.send_password, table.default_scheme)
    return http_service.HttpService(settings, web=WebClient(table.timeout, table.ca_path), **_stored(table))


def _sql(table: Any, means: Means) -> Backend:
    settings = sql.Settings(
        table.url, table.query, table.timeout, _secret_of(table.password_file, means), table.connections,
        table.default_scheme, table.iterate_query,
    )  # fmt: skip
    return sql.SqlDatabase(settings, **_stored(table))


def _ldap(table: Any, means: Means) -> Backend:
    settings = directory.Settings(
        table.urls, table.base, table.timeout, table.filter, table.scope, table.bind_dn,
        _secret_of(table.bind_password_file, means), table.start_tls, table.ca_path, table.bind, table.attributes,
        table.default_scheme,
    )  # fmt: skip
    return directory.Directory(settings, **_stored(table))


def _pam(table: Any, means: Means) -> Backend:
    return pam.Pam(table.service, table.directory, table.timeout, means.ask_pam)


def _system(table: Any, means: Means) -> Backend:
    return system.SystemUsers(table.min_uid, table.max_uid, _SHADOW if table.password == "shadow" else "")


_BACKENDS: dict[str, Callable[[Any, Means], Backend]] = {
    "http": _http,
    "sql": _sql,
    "ldap": _ldap,
    "pam": _pam,
    "system": _system,
}


def unreadable(config: Config) -> list[str]:
    """Files of users that this process cannot read: then nobody can log in."""
    return [
        table.path
        for table in config.auth
        if table.type == "passwd-file" and "%" not in table.path and not os.access(table.path, os.R_OK)
    ]
