"""Which mailbox is for what: RFC 6154. Names of the configuration, and `greenmail-data/special-use` of the account.

file = *(["-"] attribute SP mailbox-name LF)
        ; UTF-8: what users said, by CREATE with USE or as an annotation; "-": not, although the configuration says so
"""

import contextlib
import os
from collections.abc import Iterable, Mapping

from greenmail.storage.filesystem import Files, ownership, refusing


class SpecialUse:
    """The attributes of one account's mailboxes."""

    def __init__(self, files: Files, directory: bytes, configured: Mapping[str, str]) -> None:
        """`directory`: the account's `greenmail-data`, made when needed."""
        self._files = files
        self._directory = directory
        self._path = directory + b"/special-use"
        self._configured = dict(configured)

    def read(self) -> dict[str, tuple[str, ...]]:
        """Attributes by mailbox name. What users chose stands before the configuration."""
        found: dict[str, tuple[str, ...]] = {}
        lines = self._own()
        configured = [(use, name) for name, use in self._configured.items() if ("-" + use, name) not in lines]
        for attribute, name in [line for line in lines if line[0][0] != "-"] + configured:
            if attribute not in found.get(name, ()):
                found[name] = (*found.get(name, ()), attribute)
        return found

    def _own(self) -> list[tuple[str, str]]:
        with refusing("The special uses of mailboxes cannot be read"):
            try:
                data = self._files.surely(self._files.read_file, self._path).decode("utf-8", "replace")
            except FileNotFoundError:
                return []
        lines = (line.partition(" ") for line in data.split("\n"))
        return [(attribute, name) for attribute, _, name in lines if attribute.startswith(("\\", "-\\")) and name]

    def add(self, name: str, attributes: Iterable[str]) -> None:
        """CREATE with USE."""
        self._write([*self._own(), *((attribute, name) for attribute in attributes)])

    def set(self, name: str, attributes: Iterable[str]) -> None:
        """A mailbox is for just this, and no other mailbox for any of it. RFC 6154 5.4."""
        wanted = tuple(attributes)
        lines = [
            (attribute, other)
            for attribute, other in self._own()
            if other != name and attribute.removeprefix("-") not in wanted
        ]
        lines += [(attribute, name) for attribute in wanted]
        for other, attribute in self._configured.items():
            if attribute not in wanted if other == name else attribute in wanted:
                lines.append(("-" + attribute, other))
        self._write(lines)

    def rename(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Uses go with their mailboxes; an empty new name: the mailbox was deleted."""
        new = dict(pairs)
        own = self._own()
        changed = [(attribute, new.get(name, name)) for attribute, name in own]
        changed = [(attribute, name) for attribute, name in changed if name]
        if changed != own:
            self._write(changed)

    def _write(self, entries: list[tuple[str, str]]) -> None:
        data = "".join(f"{attribute} {name}\n" for attribute, name in entries).encode()
        with refusing("The special uses of mailboxes cannot be written"):
            above = os.path.dirname(self._directory)
            owner = ownership(self._files.stat(above))
            with contextlib.suppress(FileExistsError):  # as nearly always
                self._files.make_directory(self._directory, owner)
            self._files.replace_file(self._path, data, owner)
            self._files.fsync_directory(above)  # whoever made it may not have done so
