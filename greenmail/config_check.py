"""What is wrong with a configuration as a whole, and the words for what pydantic finds wrong with one setting of it."""

import difflib
import os
import re
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from greenmail import config_auth
from greenmail.config_file import Problem, Tree
from greenmail.config_types import Endpoint

if TYPE_CHECKING:
    from greenmail.config import Config

_PASSWORD = re.compile(r"(://[^/@\s]*:)[^@\s]*@")  # in an address


def explained(root: type[BaseModel], tree: Tree, error: Any) -> Problem:
    """One of pydantic's errors about `root`, the table of all settings, in our words: key, found, allowed."""
    key = tuple(str(part) for part in error["loc"])
    shown = (*key[:2], *key[3:]) if key[0] == "auth" else key  # the third says which kind of table it is
    name, line = ".".join(shown), tree.line(shown)
    if error["type"] == "extra_forbidden":
        return Problem(line, name, _unknown(_table_at(root, key[:-1]), key[-1]))
    if error["type"] == "missing":
        fields = _table_at(root, key[:-1]).model_fields.values()
        field = next(field for field in fields if field.alias == key[-1])
        return Problem(line, name, f"is not set; give {field.description}")
    allowed = "a table of settings"
    if error["type"] == "value_error":
        allowed = str(error["ctx"]["error"])
    found = "nothing" if error["input"] is None else _PASSWORD.sub(r"\1***@", repr(error["input"]))
    return Problem(line, name, f"found {found}; allowed: {allowed}")


def _table_at(root: type[BaseModel], key: tuple[str, ...]) -> type[BaseModel]:
    """The table that `key` leads to, through tables, tables by name and lists of tables."""
    found: Any = root
    for part in key:
        if isinstance(found, type) and issubclass(found, BaseModel):
            fields = {field.alias: field.annotation for field in found.model_fields.values()}
            found = fields[part]
        elif get_origin(found) is Annotated:  # one of several kinds of table
            found = config_auth.TYPES[part]
        else:  # dict[str, a table], or a list of tables
            found = get_args(found)[-1]
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise TypeError(f"{'.'.join(key)} is no table of settings")
    return found


def _unknown(table: type[BaseModel], key: str) -> str:
    known = [field.alias or name for name, field in table.model_fields.items()]
    close = difflib.get_close_matches(key.lower().replace("_", "-"), known, n=1)
    return f"unknown key; did you mean {close[0]}?" if close else "unknown key"


def missing(tree: Tree) -> list[Problem]:
    """What one setting asks of another. Looks at what was given, so that it can be told beside every other error."""
    values = tree.values
    found: list[Problem] = []
    certificate = _pair(tree, (), found)
    if "bind-port-tls" in values and not certificate:
        text = "is set, but there is no certificate: set cert-path and key-path, or remove it"
        found.append(Problem(tree.line(("bind-port-tls",)), "bind-port-tls", text))
    if values.get("owner-processes") and not values.get("user"):
        text = "is set, but user is not: passwords must be checked by an account that has no mail, such as nobody"
        found.append(Problem(tree.line(("owner-processes",)), "owner-processes", text))
    server = values.get("server")
    listeners = server.get("listener") if isinstance(server, dict) else None
    has_any = certificate
    for name, table in listeners.items() if isinstance(listeners, dict) else ():
        if isinstance(table, dict) and table.get("proxy-protocol") is True and not values.get("proxy-networks"):
            where = ("server", "listener", name, "proxy-protocol")
            text = "is true, but nobody may use it: set proxy-networks to the addresses of the load balancers"
            found.append(Problem(tree.line(where), ".".join(where), text))
        tls = table.get("tls") if isinstance(table, dict) else None
        if not isinstance(tls, dict):
            continue
        key = ("server", "listener", name, "tls")
        own = _pair(tree, key, found)
        has_any = has_any or own
        if tls.get("implicit") is True and not (own or certificate):
            text = "is true, but there is no certificate: set cert-path and key-path, here or at the top"
            found.append(Problem(tree.line((*key, "implicit")), ".".join((*key, "implicit")), text))
    if values.get("certificates") and not has_any:
        text = "is set, but cert-path and key-path are not: set those that a client is shown who names no other server"
        found.append(Problem(tree.line(("certificates",)), "certificates", text))
    return found


def _pair(tree: Tree, table: tuple[str, ...], found: list[Problem]) -> bool:
    """Whether `table` names a certificate; one path without the other goes to `found`."""
    values = tree.values
    for part in table:
        values = values[part]
    cert, key = (bool(values.get(name)) for name in ("cert-path", "key-path"))
    if cert != key:
        there, absent = ("cert-path", "key-path") if cert else ("key-path", "cert-path")
        where = (*table, there)
        found.append(Problem(tree.line(where), ".".join(where), f"is set, but {absent} is not: set both"))
    return cert or key


def bound_twice(tree: Tree, config: "Config") -> list[Problem]:
    """Addresses with ports that two listeners want."""
    listeners = config.listeners()
    flat = len(listeners) - sum(len(table.bind) for table in config.server.listener.values())
    seen: dict[tuple[str, int], str] = {}
    problems = []
    for number, listener in enumerate(listeners):
        place = (listener.address, listener.port)
        if listener.port and place in seen:
            key: tuple[str, ...] = ("server", "listener", listener.name, "bind")
            if number < flat:
                key = ("bind-port-tls" if listener.implicit_tls else "bind-port",)
            text = f"{Endpoint(*place)} is bound twice, first by {seen[place]}"
            problems.append(Problem(tree.line(key), ".".join(key), text))
        seen.setdefault(place, listener.name)
    return problems


_FILES = (
    "cert_path", "key_path", "passwd_file", "master_passwd_file", "deny_file", "run_path", "log_path", "auth_socket",
    "client_ca_path", "client_crl_path", "client_keys_file",
    "app_passwords_file", "app_password_use_path", "oauth_jwks_file", "oauth_client_secret_file", "oauth_ca_path",
)  # fmt: skip
_FILES_OF_TABLES = ("path", "token_file", "password_file", "bind_password_file", "ca_path")


def rooted(config: "Config", base: str) -> "Config":
    """`config` with relative paths of files made absolute."""

    def absolute(name: str, path: str) -> str:
        keep = not path or not base or (name == "log_path" and path in ("-", "syslog"))
        return path if keep else os.path.join(base, path)

    listeners = {
        name: table.model_copy(
            update={
                "tls": table.tls.model_copy(
                    update={part: absolute(part, getattr(table.tls, part)) for part in ("cert_path", "key_path")}
                )
            }
        )
        for name, table in config.server.listener.items()
    }
    given = config.model_fields_set
    update: dict[str, Any] = {name: absolute(name, getattr(config, name)) for name in _FILES}
    update["auth"] = [
        table.model_copy(update={
            name: absolute(name, getattr(table, name)) for name in _FILES_OF_TABLES if hasattr(table, name)
        })
        for table in config.auth
    ]  # fmt: skip
    update["certificates"] = [
        one.model_copy(update={part: absolute(part, getattr(one, part)) for part in ("cert_path", "key_path")})
        for one in config.certificates
    ]
    update["server"] = config.server.model_copy(update={"listener": listeners})
    copy = config.model_copy(update=update)
    copy.model_fields_set.clear()
    copy.model_fields_set.update(given)
    return copy
