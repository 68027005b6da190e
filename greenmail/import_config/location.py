"""Paths of Dovecot's, and mail_location: `maildir:PATH[:NAME[=VALUE]]*`."""

import re
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"%(%|\{[^}]*\}|[-0-9.]*[A-Z]*[a-z])")
_NAMES = {"{user}": "u", "{username}": "n", "{domain}": "d", "{home}": "h"}


class CannotCarry(Exception):
    """A value that has no counterpart; the text says why."""


@dataclass(frozen=True, slots=True)
class Location:
    """A mail_location taken apart."""

    driver: str  # "maildir"; empty: Dovecot looks what is there
    path: str
    options: dict[str, str] = field(default_factory=dict)  # names in upper case


def location(text: str) -> Location:
    """A colon in a path is doubled in Dovecot."""
    driver, colon, after = text.partition(":")
    if not colon:
        return Location("", text)
    parts = [part.replace("\0", ":") for part in after.replace("::", "\0").split(":")]
    options = {}
    for part in parts[1:]:
        key, _, value = part.partition("=")
        options[key.upper()] = value
    return Location(driver.lower(), parts[0], options)


def path(text: str, home: str, lower_cased: bool) -> str:
    """The path with our variables. `home`: what stands for ~, or "" if that differs from user to user.

    `lower_cased`: user names are in lower case anyway, so %Lu is %u.
    """

    def variable(match: re.Match[str]) -> str:
        found = match[1]
        letter = _NAMES.get(found, found)
        if len(letter) == 2 and letter[0] == "L" and lower_cased:
            letter = letter[1]
        if letter == "h" and home:
            return home
        if letter not in ("u", "n", "d", "h", "%"):
            raise CannotCarry(f"{match[0]} has no counterpart")
        return "%" + letter

    own, tail = home or "~", text
    if text == "~" or text.startswith("~/"):
        tail = text[1:]
    elif text.startswith(("/", "%h", "%{home}")):
        own = ""
    else:
        own += "/"  # Dovecot begins relative paths at the home
    return re.sub(r"(?<=.)/+\Z", "", own + _VARIABLE.sub(variable, tail))
