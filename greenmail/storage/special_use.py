"""Which mailbox is for what: RFC 6154. Names of the configuration, and `greenmail-data/special-use` of the account.

file = *(["-"] attribute SP mailbox-name LF)
        ; UTF-8: what users said, by CREATE with USE or as an annotation; "-": not, although the configuration says so

How it is replaced: `data_file`.
"""

from collections.abc import Callable, Iterable, Mapping

from greenmail.storage.data_file import DataFile
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting

_Lines = list[tuple[str, str]]  # attribute, perhaps with "-" before it, and mailbox name


class SpecialUse:
    """The attributes of one account's mailboxes."""

    def __init__(self, files: Files, directory: bytes, configured: Mapping[str, str], waiting: Waiting) -> None:
        """`directory`: the account's `greenmail-data`, made when needed."""
        self._file = DataFile(files, directory, b"special-use", waiting, "The special uses of mailboxes")
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

    def _own(self) -> _Lines:
        data = self._file.read() or b""
        lines = [line.partition(" ") for line in data.decode("utf-8", "replace").split("\n")]
        return [(attribute, name) for attribute, _, name in lines if attribute.startswith(("\\", "-\\")) and name]

    def add(self, name: str, attributes: Iterable[str]) -> None:
        """CREATE with USE."""
        more = [(attribute, name) for attribute in attributes]
        self._change(lambda lines: lines + more)

    def set(self, name: str, attributes: Iterable[str]) -> None:
        """A mailbox is for just this, and no other mailbox for any of it; empty name: none is. RFC 6154 5.4."""
        wanted = tuple(attributes)
        more = [(attribute, name) for attribute in wanted if name]
        for other, attribute in self._configured.items():
            if attribute not in wanted if other == name else attribute in wanted:
                more.append(("-" + attribute, other))

        def changed(lines: _Lines) -> _Lines:
            kept = [line for line in lines if line[1] != name and line[0].removeprefix("-") not in wanted]
            return kept + more

        self._change(changed)

    def rename(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Uses go with their mailboxes; an empty new name: the mailbox was deleted."""
        new = dict(pairs)

        def renamed(lines: _Lines) -> _Lines:
            moved = [(attribute, new.get(name, name)) for attribute, name in lines]
            return [(attribute, name) for attribute, name in moved if name]

        own = self._own()
        if renamed(own) != own:
            self._change(renamed)

    def _change(self, how: Callable[[_Lines], _Lines]) -> None:
        with self._file.locked() as lock:
            old = self._own()
            new = how(old)
            if new != old:
                lock.commit("".join(f"{attribute} {name}\n" for attribute, name in new).encode())
