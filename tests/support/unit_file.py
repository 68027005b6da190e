"""Unit files of systemd: systemd.syntax(7), as much of it as ours have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """One assignment."""

    section: str
    name: str
    value: str

    @property
    def is_on(self) -> bool:
        """A boolean; what is none of the words for one is an error."""
        words = {
            "yes": True,
            "true": True,
            "on": True,
            "1": True,
            "no": False,
            "false": False,
            "off": False,
            "0": False,
        }
        return words[self.value]


def parse(text: str) -> Iterator[Line]:
    section, continued = "", ""
    for raw in text.splitlines():
        line = continued + raw.strip()
        continued = ""
        if not line or line[0] in "#;":
            continue
        if line.endswith("\\"):
            continued = line[:-1] + " "
        elif line.startswith("["):
            section = line.strip("[]")
        else:
            name, equals, value = line.partition("=")
            assert equals, f"no assignment: {line!r}"
            yield Line(section, name.strip(), value.strip())


def read(*paths: Path) -> list[Line]:
    """A unit with its drop-ins, in the order in which systemd reads them."""
    return [line for path in paths for line in parse(path.read_text(encoding="utf-8"))]


def values(lines: Iterable[Line], section: str, name: str) -> list[str]:
    """All values of one name; an empty one makes those before it void."""
    found: list[str] = []
    for line in lines:
        if (line.section, line.name) == (section, name):
            found = [*found, line.value] if line.value else []
    return found


def value(lines: Iterable[Line], section: str, name: str, default: str = "") -> str:
    """The last one: of names that are no lists."""
    return ([default, *values(lines, section, name)])[-1]
