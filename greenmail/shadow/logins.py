"""Whose mail is compared, and how both servers are logged in to. Passwords come from files, the environment or a
prompt: what stands on a command line is seen by everybody on the machine.
"""

import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from greenmail.auth.people import People
from greenmail.errors import Refused

USER_VARIABLE = "GREENMAIL_PASSWORD"
MASTER_VARIABLE = "GREENMAIL_MASTER_PASSWORD"
OURS_MASTER_VARIABLE = "GREENMAIL_OURS_MASTER_PASSWORD"
VARIABLES = frozenset({USER_VARIABLE, MASTER_VARIABLE, OURS_MASTER_VARIABLE})


@dataclass(frozen=True, slots=True)
class Login:
    """What is said to a server."""

    name: str  # user, user*master, or with authzid the master
    password: str = field(repr=False)
    authzid: str = ""  # whose mail the master wants, RFC 4616 2

    def plain(self) -> bytes:
        """The message of SASL PLAIN."""
        return f"{self.authzid}\0{self.name}\0{self.password}".encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Master:
    """One who may log in as everybody."""

    name: str
    password: str = field(repr=False)
    separator: str = "*"
    by_authzid: bool = False

    def login(self, user: str, may_authzid: bool = True) -> Login:
        """As `user`. POP3 knows the form with the separator alone here."""
        if self.by_authzid and may_authzid:
            return Login(self.name, self.password, user)
        return Login(f"{user}{self.separator}{self.name}", self.password)


@dataclass(slots=True)
class Passwords:
    """Users' own passwords; asked for when first needed."""

    known: dict[str, str] = field(default_factory=dict, repr=False)

    def login(self, user: str) -> Login:
        """Raises Refused if there is no password and nobody to ask."""
        if user not in self.known:
            self.known[user] = asked(f"Password of {user}: ", USER_VARIABLE)
        return Login(user, self.known[user])


def asked(prompt: str, variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """A password from the environment, or from whoever sits at the terminal. Raises Refused."""
    if environment.get(variable):
        return _fit(environment[variable], variable)
    if not sys.stdin.isatty():
        raise Refused(
            f"no password: set {variable}, name a file (--passwords, --master-password-file), or use a terminal"
        )
    return _fit(getpass.getpass(prompt), "the password")


def _fit(password: str, where: str) -> str:
    if not password or any(char in password for char in "\0\r\n"):
        raise Refused(f"{where} is empty, or has a NUL or the end of a line in it")
    return password


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8") from None


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def passwords_of(path: str) -> dict[str, str]:
    """From a file with lines `user:password`. Raises Refused."""
    found = {}
    for number, line in enumerate(_lines(path), start=1):
        if _is_entry(line):
            user, colon, password = line.partition(":")
            if not colon or not user:
                raise Refused(f"{path}:{number} is not user:password")
            found[user] = _fit(password, f"{path}:{number}")
    return found


def password_in(path: str) -> str:
    """The first line of a file. Raises Refused."""
    return _fit(next(iter(_lines(path)), ""), path)


def users(named: Sequence[str], file: str, everybody: Sequence[str], known: Sequence[str]) -> list[str]:
    """Whose mail is compared, each once, in the order given; `known`: those of a file of passwords. Raises Refused."""
    found = list(named)
    if file:
        found += [line.strip() for line in _lines(file) if _is_entry(line)]
    found += everybody
    found = found or list(known)
    if not found:
        raise Refused("nobody to compare: name users by --user, --users FILE, --all-users or --passwords FILE")
    return list(dict.fromkeys(found))


def everybody(people: People) -> list[str]:
    """All users who may log in. Raises Refused."""
    return [name for name in people.everybody() if not people.find(name).no_login]
