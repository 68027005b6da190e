"""The kinds of values that settings have, each with the sentence that says what is allowed.

A check takes what the file held (text, number, list ...) and gives the value, or raises `ValueError(ALLOWED)` where
`ALLOWED` completes "allowed: ". The reader of an error message learns from it what to write instead.
"""

import grp
import ipaddress
import math
import os
import pwd
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FILTER_NAME = re.compile(r"[!#$&\'+,\-.0-9:;<=>?@A-Z\[^_`a-z|}~]+")  # ATOM-CHAR, RFC 9051 9, without "/"
_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]{0,3})\Z")
_SIZE_UNITS = {
    "": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
}  # fmt: skip
_TIME = re.compile(r"([0-9]{1,9}) ?([a-z]{0,7})\Z")
_TIME_UNITS = {
    "": 1, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "mins": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_VARIABLE = re.compile(r"%(.?)", re.DOTALL)
_USER_VARIABLE = re.compile(r"%([LU]?[und%]|.?)", re.DOTALL)
_UIDL_PIECE = re.compile(
    r"%0?(?:[1-9][0-9]{0,2})?[XLU]?[uvfgm]|%%|[!-$&-~]|"
    r"%\{ ?(?:uid|uidvalidity|filename|guid|md5)(?: ?\| ?(?:hex|lower|upper)(?: ?\( ?[0-9]{1,3} ?\))?){0,8} ?\}"
)
_UIDL_UNIQUE = re.compile(r"%[0-9]*[XLU]?[ufgm]\Z|%\{ ?(?:uid|filename|guid|md5)\b")  # tells messages apart
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_FLAG = re.compile(r"\\(?:(?i:answered|flagged|deleted|seen|draft))|[^\x00-\x20(){%*\"\\\]\x7f-\U0010ffff]{1,100}")
_LONGEST_TIME = 366 * 86400
_LARGEST_SIZE = 1 << 50

SPECIAL_USES = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a listener binds: an IP address without brackets, and a port (0: any free one)."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(low: int, high: int) -> Callable[[Any], int]:
    """A check for whole numbers from `low` to `high`."""

    def check(value: Any) -> int:
        found = _integer(value)
        if found is None or not low <= found <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return found

    return check


def size(value: Any) -> int:
    """Octets: 52428800, "50 MiB", "64k"."""
    allowed = 'a number of octets such as 65536, or with a unit such as "64 KiB" or "50 MiB"'
    match = _SIZE.match(str(value)) if isinstance(value, str) or _integer(value) is not None else None
    factor = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None or not 0 < int(match[1]) * factor <= _LARGEST_SIZE:
        raise ValueError(allowed)
    return int(match[1]) * factor


def size_or_zero(value: Any) -> int:
    """As `size`; 0 stands for something that the setting's doc names."""
    return 0 if _integer(value) == 0 else size(value)


def seconds(value: Any) -> float:
    """Seconds: 60, 0.5, "30 min", "1h"."""
    allowed = 'a number of seconds such as 60, or with a unit such as "90 s", "30 min" or "1 h"'
    found: float | None = None
    if isinstance(value, str):
        match = _TIME.match(value)
        if match is not None and match[2] in _TIME_UNITS:
            found = float(int(match[1]) * _TIME_UNITS[match[2]])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value) if math.isfinite(value) else None
    if found is None or not 0 < found <= _LONGEST_TIME:
        raise ValueError(allowed)
    return found


def seconds_or_zero(value: Any) -> float:
    """As `seconds`; 0 is never."""
    return 0.0 if _integer(value) == 0 else seconds(value)


def address(value: Any) -> str:
    """An IP literal, as the `ipaddress` module spells it."""
    try:
        return str(ipaddress.ip_address(value.strip("[]") if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("an IP address such as 0.0.0.0, 127.0.0.1 or ::") from None


def endpoint(value: Any) -> Endpoint:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    allowed = 'an IP address and a port, such as "127.0.0.1:143" or "[::]:143"'
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or (":" in host) != bracketed:
        raise ValueError(allowed)
    try:
        return Endpoint(address(host), int(port))
    except ValueError:
        raise ValueError(allowed) from None


def endpoints(value: Any) -> tuple[Endpoint, ...]:
    """A list of addresses with ports, or a single one."""
    found = tuple(endpoint(item) for item in (value if isinstance(value, list | tuple) else [value]))
    if not found:
        raise ValueError('a list of addresses with ports, such as ["[::]:143"]')
    return found


def networks(value: Any) -> tuple[Network, ...]:
    """A list of networks, or a single one."""
    try:
        return tuple(ipaddress.ip_network(item) for item in ([value] if isinstance(value, str) else _items(value)))
    except (ValueError, TypeError):
        raise ValueError('a list of networks such as ["127.0.0.0/8", "10.1.0.0/16", "::1"]') from None


def _items(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("a list of names, such as [Drafts, Sent]")
    return list(value)


def names(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(_items(value))


def hosts(value: Any) -> tuple[str, ...]:
    """A list of host names, or of addresses as they stand in URLs; in lower case."""
    try:
        found = tuple(item.lower() for item in _items(value))
    except ValueError:
        found = ("",)
    if not all(map(_HOST.fullmatch, found)):
        raise ValueError(
            'a list of host names such as [mail.example.org]; an IPv6 address in brackets, "[2001:db8::1]"'
        )
    return found


def keyword(value: Any) -> str:
    """A flag that a message can keep: a keyword, or a system flag. RFC 9051 2.3.2, 9 flag."""
    if not isinstance(value, str) or not _FLAG.fullmatch(value):
        raise ValueError("a keyword such as $POP3Deleted, or a system flag such as \\Deleted")
    return value.title() if value.startswith("\\") else value


def one_of(*words: str) -> Callable[[Any], str]:
    """A check for a word out of a few."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return check


def some_of(*words: str) -> Callable[[Any], tuple[str, ...]]:
    """A check for a list of words out of a few, in the order of these."""

    def check(value: Any) -> tuple[str, ...]:
        found = [str(item).upper() for item in value] if isinstance(value, list | tuple) else []
        if not found or not set(found) <= set(words):
            raise ValueError(f"a list of some of {', '.join(words)}")
        return tuple(word for word in words if word in found)

    return check


def master_separator(value: Any) -> str:
    """One character that names of users do not have, or nothing."""
    if not isinstance(value, str) or len(value) > 1 or value.isalnum() or value in ("@", ".", "-", "_", " ", "/"):
        raise ValueError("nothing, or one character such as * or % that is in no user's name")
    return value


def switch(value: Any) -> bool:
    """true or false; YAML's on, off, yes and no arrive here as such."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: Any) -> str:
    """Any text without control characters, perhaps empty."""
    if not isinstance(value, str) or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("a text without control characters (put it between quotes if it looks like a number)")
    return value


def path(value: Any) -> str:
    """A file's path, or nothing."""
    allowed = "a path"
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(allowed)
    return value


def path_given(value: Any) -> str:
    """A path that has to be there."""
    found = path(value)
    if not found:
        raise ValueError("a path")
    return found


def user_path(value: Any) -> str:
    """A path which has the user's name or home in it; nothing is allowed too."""
    found = path(value)
    if found.startswith(("maildir:", "mbox:", "mdbox:", "sdbox:")):
        raise ValueError("a path alone: leave out Dovecot's format and options, as in ~/Maildir")
    if found and not (found.startswith(("/", "~/", "%h/")) or found in ("~", "%h")):
        raise ValueError("an absolute path, or one that begins with ~/ or %h/ (the user's home)")
    return _only_variables(found, "unhd%")


def table_path(value: Any) -> str:
    """The path of a user database, which may have %u, %n and %d in it."""
    return _only_variables(path(value), "und%")


def _only_variables(found: str, variables: str) -> str:
    for match in _VARIABLE.finditer(found):
        if match[1] not in variables or not match[1]:
            listed = ", ".join("%" + letter for letter in variables)
            raise ValueError(f"a path with no other variables than {listed}")
    return found


def username_format(value: Any) -> str:
    """%u, %n or %d with L (lower case) or U (upper case) before the letter, and any text."""
    found = text(value)
    wrong = [m[0] for m in _USER_VARIABLE.finditer(found) if not re.fullmatch(r"[LU]?[und]|%", m[1])]
    if wrong or not re.search(r"%[LU]?[un]", found):
        raise ValueError("a text with %u (whole name) or %n (part before @), such as %Lu, %u or %Ln@%Ld")
    return found


def separator(value: Any) -> str:
    """One character between the levels of a mailbox name."""
    if (
        not isinstance(value, str)
        or len(value) != 1
        or not 33 <= ord(value) <= 126
        or value in '"\\*%&'
        or value.isalnum()
    ):
        raise ValueError('one character such as / or . (not a letter or digit, and none of " \\ * % &)')
    return value


def name_escape(value: Any) -> str:
    """The character before two hex digits in directory names, or nothing."""
    if not isinstance(value, str) or len(value) > 1 or (value and (not 33 <= ord(value) <= 126 or value in "/.~*&")):
        raise ValueError("nothing, or one character such as \\ or ^ (none of / . ~ * &)")
    if value.isalnum():
        raise ValueError("nothing, or one character that is neither a letter nor a digit")
    return value


def directory_name(value: Any) -> str:
    """The name of one directory, or nothing."""
    found = text(value)
    if "/" in found or found in (".", "..") or not found.isprintable():
        raise ValueError("nothing, or the name of one directory such as mBx, without /")
    return found


def uri(value: Any) -> str:
    """A URI, RFC 3986 3, or nothing."""
    found = text(value)
    if found and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", found):
        raise ValueError("a URI such as mailto:postmaster@example.org, or nothing")
    return found


def special_use(value: Any) -> dict[str, str]:
    """Mailbox name to attribute, RFC 6154 2."""
    allowed = f"mailbox names with one attribute each, such as Sent: \\Sent; attributes are {' '.join(SPECIAL_USES)}"
    if not isinstance(value, dict):
        raise ValueError(allowed)
    canonical = {use.casefold(): use for use in SPECIAL_USES}
    found = {}
    for name, use in value.items():
        if not isinstance(name, str) or not name or not isinstance(use, str) or use.casefold() not in canonical:
            raise ValueError(allowed)
        found[name] = canonical[use.casefold()]
    return found


def filters(value: Any) -> dict[str, str]:
    """Names of searches, which have no case, to their criteria: RFC 5466 4. `imap.ext.filters` understands those."""
    allowed = 'names of ASCII without spaces or any of / ( ) { % * " \\ ], each with search criteria such as "UNSEEN"'
    if not isinstance(value, dict):
        raise ValueError(allowed)
    for name, text in value.items():
        if not isinstance(name, str) or _FILTER_NAME.fullmatch(name) is None:
            raise ValueError(allowed)
        if not isinstance(text, str) or not text or not text.isprintable():
            raise ValueError(allowed)
    return {name.lower(): text for name, text in value.items()}


def time_zone(value: Any) -> str:
    """A name of the time zone database, or nothing for the system's."""
    try:
        if value != "":
            zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        raise ValueError('nothing (the system\'s), or a name such as "Europe/Berlin" or "UTC"') from None
    return str(value)


def uidl_format(value: Any) -> str:
    """Dovecot's pop3_uidl_format, as 2.3 writes it (%08Xu%08Xv) or as 2.4 does (%{uid | hex(8)}...)."""
    found = text(value)
    pieces = [match[0] for match in _UIDL_PIECE.finditer(found)]
    unique = any(_UIDL_UNIQUE.search(piece) for piece in pieces)
    if "".join(pieces) != found or not unique:
        raise ValueError(
            "a text with %u (UID), %f (file), %g (GUID) or %m (MD5), and perhaps %v (UIDVALIDITY), such as %08Xu%08Xv"
        )
    return found


def tls_version(value: Any) -> str:
    """1.2 or 1.3, which YAML takes for a number."""
    found = str(value) if isinstance(value, str | float) else ""
    return one_of("1.2", "1.3")(found)


def account(value: Any) -> str:
    """A user of this machine by name or number, or nothing."""
    found = str(value) if isinstance(value, str) or _integer(value) is not None else None
    if found is None or (found and not _is_id(found) and not _known(pwd.getpwnam, found)):
        raise ValueError("a user of this machine, by name or number")
    return found


def group(value: Any) -> str:
    """A group of this machine by name or number, or nothing."""
    found = str(value) if isinstance(value, str) or _integer(value) is not None else None
    if found is None or (found and not _is_id(found) and not _known(grp.getgrnam, found)):
        raise ValueError("a group of this machine, by name or number")
    return found


def _is_id(text: str) -> bool:
    """Whether this is a uid or gid by number; the highest one is "none" to the kernel."""
    return text.isascii() and text.isdecimal() and int(text) < 0xFFFFFFFF


def _known(look_up: Callable[[str], Any], name: str) -> bool:
    try:
        look_up(name)
    except (KeyError, ValueError):
        return False
    return True


def account_ids(name: str) -> tuple[int, int]:
    """uid and primary gid of a user by name or number; a number that has no account is its own group."""
    if not _is_id(name):
        found = pwd.getpwnam(name)
        return found.pw_uid, found.pw_gid
    try:
        return int(name), pwd.getpwuid(int(name)).pw_gid
    except KeyError:
        return int(name), int(name)


def file_mode(value: Any) -> str:
    """Permissions of a file, as chmod has them."""
    number = _integer(value)
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
        number = int(value, 8)
    if number is None or not 0 <= number <= 0o777:
        raise ValueError('permissions in octal digits, such as "0660"')
    return f"{number:04o}"


def group_id(name: str) -> int:
    """gid of a group by name or number."""
    return int(name) if _is_id(name) else grp.getgrnam(name).gr_gid


def processors(value: int) -> int:
    """The number of CPUs in the place of 0 and negative numbers."""
    return value if value > 0 else os.cpu_count() or 1


Size = Annotated[int, BeforeValidator(size)]
SizeOrZero = Annotated[int, BeforeValidator(size_or_zero)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Address = Annotated[str, BeforeValidator(address)]
Port = Annotated[int, BeforeValidator(number(0, 65535))]
Endpoints = Annotated[tuple[Endpoint, ...], BeforeValidator(endpoints)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(networks)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(hosts)]
Names = Annotated[tuple[str, ...], BeforeValidator(names)]
Keyword = Annotated[str, BeforeValidator(keyword)]
Switch = Annotated[bool, BeforeValidator(switch)]
Text = Annotated[str, BeforeValidator(text)]
Path = Annotated[str, BeforeValidator(path)]
PathGiven = Annotated[str, BeforeValidator(path_given)]
UserPath = Annotated[str, BeforeValidator(user_path)]
TablePath = Annotated[str, BeforeValidator(table_path)]
UsernameFormat = Annotated[str, BeforeValidator(username_format)]
Separator = Annotated[str, BeforeValidator(separator)]
MasterSeparator = Annotated[str, BeforeValidator(master_separator)]
DirectoryName = Annotated[str, BeforeValidator(directory_name)]
Uri = Annotated[str, BeforeValidator(uri)]
NameEscape = Annotated[str, BeforeValidator(name_escape)]
Filters = Annotated[dict[str, str], BeforeValidator(filters)]
SpecialUse = Annotated[dict[str, str], BeforeValidator(special_use)]
TimeZone = Annotated[str, BeforeValidator(time_zone)]
TlsVersion = Annotated[str, BeforeValidator(tls_version)]
Account = Annotated[str, BeforeValidator(account)]
FileMode = Annotated[str, BeforeValidator(file_mode)]
Group = Annotated[str, BeforeValidator(group)]
Processors = Annotated[int, BeforeValidator(number(-1 << 31, 4096)), AfterValidator(processors)]
