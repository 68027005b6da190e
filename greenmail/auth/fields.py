"""What a row of SQL, an entry of LDAP or the answer of a service says of a user: fields, named as in a passwd-file.

    user   password   home   uid   gid   nologin   allow_nets   proxy   proxy_maybe

and all others for later, such as `mail` and `quota_rule`. `userdb_` before a name is left out. NULL and an empty list
are no field. `user` is the name from here on, where the database finds one by several: by an address, or in another
case.
"""

import grp
import pwd
from collections.abc import Callable, Mapping
from decimal import Decimal

from greenmail.auth import names
from greenmail.auth.database import Entry, Unavailable

_NO = frozenset({"", "0", "n", "no", "false", "off"})
_OWN = frozenset({"user", "password", "home", "uid", "gid", "nologin", "allow_nets", "proxy", "proxy_maybe"})
_ELSEWHERE = "proxy is set: this user's mail is on another server"


def number(text: str, look_up: Callable[[str], int]) -> int | None:
    """A uid or gid, by number or by name; None: none is said. Raises KeyError or ValueError."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        return look_up(text)
    if int(text) >= 0xFFFFFFFF:  # (uid_t) -1 is "none" to chown(2)
        raise ValueError
    return int(text)


def uid(text: str) -> int | None:
    """As `number`, of a user."""
    return number(text, lambda name: pwd.getpwnam(name).pw_uid)


def gid(text: str) -> int | None:
    """As `number`, of a group."""
    return number(text, lambda name: grp.getgrnam(name).gr_gid)


def text_of(value: object) -> str | None:
    """A value as text; None: there is none, or it is none that a field can have."""
    if isinstance(value, list | tuple | set):
        value = next(iter(value), None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value) if isinstance(value, str | int | float | Decimal) else None


def entry(name: str, values: Mapping[str, object], default_scheme: str = "") -> Entry | Unavailable:
    """The user with these fields; `default_scheme` is that of a password without {SCHEME}."""
    fields = {}
    for key, value in values.items():
        text = text_of(value)
        if text is not None:
            fields[key.lower().removeprefix("userdb_")] = text
    name = fields.get("user") or name
    reason = names.refusal(name)
    if reason:
        return Unavailable(f"user {name!r} is a name that {reason}", True)
    try:
        numbers = uid(fields.get("uid", "")), gid(fields.get("gid", ""))
    except (KeyError, ValueError):
        return Unavailable(f"user {name} has a uid or gid that is neither a number nor known here", True)
    is_elsewhere = any(fields.get(key, "").lower() not in _NO for key in ("proxy", "proxy_maybe"))
    no_login = "nologin is set" if fields.get("nologin", "").lower() not in _NO else ""
    nets = fields.get("allow_nets", "")
    stored = fields.get("password", "")
    if stored and default_scheme and not stored.startswith("{"):
        stored = f"{{{default_scheme}}}{stored}"
    return Entry(
        name,
        stored,
        *numbers,
        home=fields.get("home", ""),
        no_login=no_login or (_ELSEWHERE if is_elsewhere else ""),
        is_elsewhere=is_elsewhere,
        allow_nets=tuple(net.strip() for net in nets.split(",") if net.strip()) if nets else None,
        extra={key: value for key, value in fields.items() if key not in _OWN},
    )
