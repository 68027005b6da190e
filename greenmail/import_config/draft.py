"""What a conversion gathers: settings of ours, and what there is to be said of settings of Dovecot's."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

STAYS = "stays with Dovecot: let it run on for LMTP, SMTP AUTH and Sieve (docs/migrating-from-dovecot.md, switch A)"

_LONGEST = 160
_SECRET = re.compile(r"password|passwd|secret|_key\Z|api_key|nonce|/key\Z")


class Weight(IntEnum):
    """What a setting that was not carried over asks of the administrator."""

    FIRST = 0  # to be solved before anybody is served: UIDs or folders would be others
    TO_DO = 1
    NOTHING = 2


@dataclass(frozen=True, slots=True)
class Left:
    """A setting that was not carried over, or not wholly."""

    setting: str  # "plugin/sieve"
    value: str
    advice: str
    weight: Weight = Weight.TO_DO

    def head(self) -> str:
        """Setting and value in one line, secrets and control characters not shown."""
        if not self.value:
            return printable(self.setting)
        value = "(not shown)" if _SECRET.search(self.setting) and not self.value.startswith("<") else self.value
        value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]} ..."
        return printable(f"{self.setting} = {value}")


def printable(text: str) -> str:
    """`text` in one line that a YAML file may hold and a terminal may show."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


@dataclass(slots=True)
class Draft:
    """Settings by their names in the file, in any order."""

    settings: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    def leave(self, setting: str, value: str, advice: str, weight: Weight = Weight.TO_DO) -> None:
        """Name a setting that is not carried over."""
        self.left.append(Left(setting, value, advice, weight))

    def sorted(self) -> tuple[Left, ...]:
        """What was left, the weighty first, each thing once."""
        return tuple(sorted(dict.fromkeys(self.left), key=lambda left: left.weight))


def grouped(left: Iterable[Left], weight: Weight) -> list[tuple[str, list[str]]]:
    """Advice with the heads of all settings that it is for, in the order of the first of each."""
    found: dict[str, list[str]] = {}
    for one in left:
        if one.weight is weight:
            found.setdefault(one.advice, []).append(one.head())
    return list(found.items())
