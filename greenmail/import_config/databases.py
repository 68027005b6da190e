"""SQL and LDAP databases of Dovecot's: the file that `args` names, as a table of `auth`.

    file    = *(setting / comment / empty)
    setting = name *WSP "=" *WSP value LF           ; a value ends before LF; a "\\" there goes on in the next line

A password is never carried over: it goes into a file of its own, which the administrator writes. What has no
counterpart in the table is named.
"""

import re
from typing import Any

from greenmail.import_config.draft import Draft, Weight

_LARGEST = 1 << 20
_SQL = {"mysql": "mysql", "pgsql": "postgresql", "sqlite": "sqlite"}
_USER = re.compile(r"'%L?u'|'%\{L?user\}'")
_VARIABLE = re.compile(r"%(\{[^}]*\}|[A-Za-z])")
_NO_TABLE = "this cannot be carried over: write the table by hand (docs/user-databases.md)"
_ONE_QUERY = "one query gives password, home, uid and gid: write these columns into `query` (docs/user-databases.md)"
_ONE_FILTER = "one filter finds the user, for password and home"
_PASSWORD = "write this password into a file of mode 0600 that the workers' user can read, and set {} to its path"
_NAMED = "this has no counterpart in the table of auth: see docs/user-databases.md"


def read(path: str) -> dict[str, str] | None:
    """The settings of a file; None if it cannot be read here."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_LARGEST)
    except (OSError, ValueError):
        return None
    found: dict[str, str] = {}
    for line in re.sub(r"[ \t]*\\\n[ \t]*", " ", text).split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found[name.strip()] = value.strip()
    return found


def table(draft: Draft, driver: str, where: str, path: str) -> dict[str, Any] | None:
    """Of `auth`, or None: then the caller says what is to be done."""
    values = read(path)
    if values is None:
        return None
    return _sql(draft, where, values) if driver == "sql" else _ldap(draft, where, values)


def _name(draft: Draft, where: str, values: dict[str, str]) -> None:
    """What is left of a file; secrets among it are not shown."""
    for key in sorted(values):
        draft.leave(f"{where}/{key}", values[key], _NAMED)


def _sql(draft: Draft, where: str, values: dict[str, str]) -> dict[str, Any] | None:
    kind, connect = values.pop("driver", ""), values.pop("connect", "")
    query, scheme = values.pop("password_query", ""), values.pop("default_pass_scheme", "CRYPT")
    url, has_password = _url(kind, connect)
    query = _USER.sub(":user", query)
    if not url or not query or _VARIABLE.search(query):
        return None
    if has_password:
        draft.leave(f"{where}/connect", "", _PASSWORD.format("password-file"), Weight.FIRST)
    made: dict[str, Any] = {"type": "sql", "url": url, "query": query}
    _scheme(draft, where, scheme)
    iterate = values.pop("iterate_query", "")
    if iterate:
        made["iterate-query"] = iterate
    if "user_query" in values:
        draft.leave(f"{where}/user_query", values.pop("user_query"), _ONE_QUERY, Weight.FIRST)
    _name(draft, where, values)
    return made


def _scheme(draft: Draft, where: str, scheme: str) -> None:
    if scheme.upper() != "CRYPT":
        text = "a password without {SCHEME} is taken for CRYPT: have the database give this scheme before each"
        draft.leave(f"{where}/default_pass_scheme", scheme, text, Weight.FIRST)


def _url(kind: str, connect: str) -> tuple[str, bool]:
    """The address without its password, and whether there was one; nothing if it cannot be an address."""
    if kind == "sqlite":
        return (f"sqlite:///{connect}" if connect.startswith("/") else ""), False
    parts = dict(word.partition("=")[::2] for word in connect.split())
    known = {"host", "hostaddr", "port", "dbname", "user", "password"}
    host = parts.get("host", parts.get("hostaddr", "localhost"))
    # A path is that of a Unix socket; of several hosts only one can be asked.
    if kind not in _SQL or parts.keys() - known or host.startswith("/") or connect.count("host=") > 1:
        return "", False
    if any(not re.fullmatch(r"[\w.-]+", parts.get(part, "x")) for part in ("user", "dbname", "port")) or "@" in host:
        return "", False
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    return f"{_SQL[kind]}://{user}{host}{port}/{parts.get('dbname', '')}", "password" in parts


def _ldap(draft: Draft, where: str, values: dict[str, str]) -> dict[str, Any] | None:
    urls = values.pop("uris", "").split() or [f"ldap://{host}" for host in values.pop("hosts", "").split()]
    base = values.pop("base", "")
    if not urls or not base or "%" in base:
        return None
    made: dict[str, Any] = {"type": "ldap", "urls": urls, "base": base}
    made["bind"] = _is_on(values.pop("auth_bind", "no"))
    for theirs, ours in (("dn", "bind-dn"), ("tls_ca_cert_file", "ca-path")):
        if values.get(theirs):
            made[ours] = values.pop(theirs)
    if _is_on(values.pop("tls", "no")):
        made["start-tls"] = True
    scope = {"subtree": "sub", "onelevel": "one", "base": "base"}.get(values.pop("scope", "subtree"))
    if scope is None:
        return None
    made["scope"] = scope
    if values.pop("dnpass", ""):
        draft.leave(f"{where}/dnpass", "", _PASSWORD.format("bind-password-file"), Weight.FIRST)
    user_filter = values.pop("user_filter", "")
    filter_ = values.pop("pass_filter", "") or user_filter
    if filter_:
        made["filter"] = filter_.replace("%{user}", "%u").replace("%{username}", "%n").replace("%{domain}", "%d")
    if user_filter and user_filter != filter_:
        draft.leave(f"{where}/user_filter", user_filter, _ONE_FILTER)
    attributes = _attributes(draft, where, values)
    if attributes:
        made["attributes"] = attributes
    if not made["bind"]:
        _scheme(draft, where, values.pop("default_pass_scheme", "CRYPT"))
    values.pop("default_pass_scheme", "")
    version = values.pop("ldap_version", "3")
    if version != "3":
        values["ldap_version"] = version
    _name(draft, where, values)
    return made


def _attributes(draft: Draft, where: str, values: dict[str, str]) -> dict[str, str]:
    """`pass_attrs` and `user_attrs`: attribute=field; a field that is only for the userdb has that before its name."""
    found: dict[str, str] = {}
    for key in ("pass_attrs", "user_attrs"):
        for word in filter(None, (part.strip() for part in values.pop(key, "").split(","))):
            attribute, _, field_ = word.partition("=")
            field_ = field_.removeprefix("userdb_")
            if field_ == "user" and attribute:
                continue  # the name is that which the client gave
            if not attribute or not field_ or not re.fullmatch(r"\w+", field_):
                draft.leave(f"{where}/{key}", word, _NAMED)
            else:
                found[attribute] = field_
    return found


def _is_on(text: str) -> bool:
    return text[:1].lower() in ("y", "t", "1")
