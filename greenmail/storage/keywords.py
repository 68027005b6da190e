"""Keywords of a mailbox: `dovecot-keywords` for the 26 letters, a file of ours for the rest. `formats.md` 3.1.

`dovecot-keywords`:

    file = *(index SP name LF)          ; index 0-25 is the letter a-z, in any order, with holes

    0 $Forwarded
    25 unknown-25

A name is given a letter before the first file name uses it, and an index is never given to another name. The file is
replaced under the mailbox's lock through `dovecot-keywords.lock`, and its mtime must be larger in whole seconds than
before: Dovecot looks at nothing finer, and would write its own older names over ours.

`greenmail-data/keywords`, keywords that found no letter:

    file    = "greenmail-keywords 1" LF *line
    line    = "k" SP number SP name LF                        ; one keyword, numbers as given below
            / "m" SP number *("," number) SP base-name LF     ; one message that has them
            / OTHER *OCTET LF                                 ; begins with another letter: kept as it is

    greenmail-keywords 1
    k 0 kw26
    k 1 kw27
    m 0,1 1704103200.V801I2f00M100001.mx1

Messages are known by their base names, which stay when everything else about a message changes. The file is replaced
by `Files.replace_file`, so it is whole at any time; a line that cannot be read is dropped and logged.
"""

import logging
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, ownership, refusing
from greenmail.storage.maildir_name import FIRST_KEYWORD, KEYWORD_LETTERS

log = logging.getLogger(__name__)

OVERFLOW_LIMIT = 1000  # keywords of one mailbox without a letter: a default
_LENGTH_LIMIT = 255  # octets of a new keyword
_HEADER = b"greenmail-keywords 1"
_LINE = re.compile(rb"(\d{1,4}) ([^\r\n]+)")
# RFC 9051 9, atom: what else stands in the file is not shown, or it would break the responses it is put into.
_ATOM = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")

_State = tuple[int, int, int, int]
_UNREAD = (0, 0, 0, 0)  # a file that nobody has looked for


def _state(found: os.stat_result) -> _State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _news(files: Files, path: bytes, known: _State | None) -> tuple[_State | None, bytes] | None:
    """What the file is now, and says, if it is not as it was `known`; None if it is. A state of None: it is not there.

    That is asked twice (`Files.surely`) only if it was there before.
    """
    with refusing("cannot read the keywords"):
        try:
            state = _state(files.stat(path) if known is None else files.surely(files.stat, path))
        except (FileNotFoundError, NotADirectoryError):
            state = None
        if state == known:
            return None
        try:
            return state, files.surely(files.read_file, path) if state is not None else b""
        except FileNotFoundError:
            return None, b""


def is_keyword(name: str) -> bool:
    """Whether `name` may become a keyword: an atom of reasonable length, RFC 9051 2.3.2."""
    return len(name) <= _LENGTH_LIMIT and _ATOM.fullmatch(name) is not None


class Keywords:
    """The 26 letters of one mailbox and their names. "Locked": the caller holds the mailbox's lock."""

    __slots__ = ("_files", "_indexes", "_path", "_raw", "_state", "names")

    def __init__(self, files: Files, path: bytes) -> None:
        """`path` of `dovecot-keywords`; nothing is read."""
        self._files = files
        self._path = path
        self._state: _State | None = _UNREAD
        self._raw: dict[int, bytes] = {}  # index -> name as in the file
        self._indexes: dict[str, int] = {}  # casefolded name -> index
        self.names: dict[int, str] = {}  # letter (an octet, ord("a")..ord("z")) -> keyword, as shown to clients

    def refresh(self) -> bool:
        """Read the file if it changed; whether it did."""
        found = _news(self._files, self._path, self._state)
        if found is not None:
            self._state = found[0]
            self._take(_parse_indexes(found[1]))
        return found is not None

    def _take(self, raw: dict[int, bytes]) -> None:
        names: dict[int, str] = {}
        indexes: dict[str, int] = {}
        for index in sorted(raw):
            name = raw[index].decode("utf-8", "replace")
            if _ATOM.fullmatch(name) is None:
                name = _unknown(index, indexes)
            indexes[name.casefold()] = index
            names[FIRST_KEYWORD + index] = name
        # As wholes: this may run in the pool while others read.
        self._raw, self._indexes, self.names = raw, indexes, names

    def letter(self, name: str) -> int | None:
        """The letter of a keyword, compared without case."""
        index = self._indexes.get(name.casefold())
        return None if index is None else FIRST_KEYWORD + index

    @property
    def free(self) -> int:
        """How many letters have no name."""
        return KEYWORD_LETTERS - len(self._raw)

    def add(self, names: Iterable[str]) -> list[str]:
        """Locked: refresh, give a letter (the lowest free) to each name without one, and write; those that got none.

        Raises CANNOT for a name that is no keyword. On disk and durable when it returns: only then rename files.
        """
        self.refresh()
        raw = dict(self._raw)
        left = []
        free = [index for index in range(KEYWORD_LETTERS) if index not in raw]
        known = set(self._indexes)
        for name in names:
            if name.casefold() in known:
                continue
            if not is_keyword(name):
                raise StorageError(Reason.CANNOT, "this keyword cannot be stored")
            known.add(name.casefold())
            if free:
                raw[free.pop(0)] = name.encode("ascii")
            else:
                left.append(name)
        if raw != self._raw:
            self._write(raw)
        return left

    def name_letters(self, letters: Iterable[int], write: bool) -> bool:
        """Give `unknown-<index>` to every letter (system letters are ignored) without a name; whether there was any.

        Locked if `write`; otherwise the names are known in memory only, until the next change of the file.
        """
        missing = sorted({letter - FIRST_KEYWORD for letter in letters}.difference(self._raw))
        missing = [index for index in missing if 0 <= index < KEYWORD_LETTERS]
        if not missing:
            return False
        if write:
            self.refresh()
        raw = dict(self._raw)
        known = dict(self._indexes)
        for index in missing:
            if index not in raw:
                name = _unknown(index, known)
                known[name.casefold()] = index
                raw[index] = name.encode("ascii")
        if write and raw != self._raw:
            self._write(raw)
        else:
            self._take(raw)
        return True

    def _write(self, raw: dict[int, bytes]) -> None:
        data = b"".join(b"%d %b\n" % (index, raw[index]) for index in sorted(raw))
        with refusing("cannot write the keywords"):
            try:
                before = int(self._files.surely(self._files.stat, self._path).st_mtime)
            except FileNotFoundError:
                before = 0
            mtime = max(int(time.time()), before + 1)
            owner = ownership(self._files.stat(os.path.dirname(self._path)))
            made = self._files.replace_file(self._path, data, owner, self._path + b".lock", mtime)
        self._state = _state(made)
        self._take(raw)


def _unknown(index: int, known: Mapping[str, int]) -> str:
    name = f"unknown-{index}"
    while name in known:
        name += "?"
    return name


def _parse_indexes(data: bytes) -> dict[int, bytes]:
    """Index -> name; lines that Dovecot does not take either are left out."""
    raw: dict[int, bytes] = {}
    known: set[bytes] = set()
    for line in data.split(b"\n"):
        match = _LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None or int(match[1]) >= KEYWORD_LETTERS or match[2].lower() in known:
            if line:
                log.warning("keywords-damaged line=%r", line[:200])
            continue
        known.add(match[2].lower())
        raw[int(match[1])] = match[2]
    return raw


class OverflowKeywords:
    """`greenmail-data/keywords`: keywords that have no letter, per base name. Changed under the mailbox's lock only."""

    __slots__ = ("_directory", "_files", "_limit", "_messages", "_others", "_path", "_state", "names")

    def __init__(self, files: Files, directory: bytes, limit: int = OVERFLOW_LIMIT) -> None:
        """`directory`: the mailbox's `greenmail-data`, made when first needed; nothing is read."""
        self._files = files
        self._limit = limit
        self._directory = directory
        self._path = directory + b"/keywords"
        self._state: _State | None = _UNREAD
        self._messages: dict[bytes, frozenset[str]] = {}
        self._others: list[bytes] = []
        self.names: list[str] = []  # every overflow keyword of the mailbox, in the order of first use

    def refresh(self) -> bool:
        """Read the file if it changed; whether it did."""
        found = _news(self._files, self._path, self._state)
        if found is not None:
            self._state = found[0]
            self.names, self._messages, self._others = _parse_overflow(found[1])
        return found is not None

    def print(self) -> list[int]:
        """Inode, size and mtime of the file as it was read or written last; zeros if there was none."""
        return list(self._state[1:]) if self._state is not None else [0, 0, 0]

    @property
    def is_full(self) -> bool:
        """No name can be added any more."""
        return len(self.names) >= self._limit

    def of(self, base: bytes) -> frozenset[str]:
        """The overflow keywords of a message."""
        return self._messages.get(base, frozenset())

    def change(
        self, messages: Mapping[bytes, Collection[str]], live: Collection[bytes] | None = None, is_import: bool = False
    ) -> None:
        """Locked: refresh, set the keywords of these base names, forget those not in `live` if given, and write.

        Raises LIMIT if there were too many keywords (not where another server's are taken over, `is_import`), CANNOT
        for a name that is none. Durable when it returns.
        """
        self.refresh()
        names = list(self.names)
        spelling = {name.casefold(): name for name in names}
        changed = dict(self._messages)
        if live is not None:
            changed = {base: found for base, found in changed.items() if base in live}
        for base, keywords in messages.items():
            for name in keywords:
                if name.casefold() not in spelling:
                    if not is_keyword(name):
                        raise StorageError(Reason.CANNOT, "this keyword cannot be stored")
                    spelling[name.casefold()] = name
                    names.append(name)
            changed[base] = frozenset(spelling[name.casefold()] for name in keywords)
        if len(names) > max(self._limit, len(self.names)) and not is_import:
            raise StorageError(Reason.LIMIT, "this mailbox has too many keywords")
        changed = {base: found for base, found in changed.items() if found}
        if changed != self._messages or names != self.names:
            self._write(names, changed)

    def _write(self, names: list[str], messages: dict[bytes, frozenset[str]]) -> None:
        number = {name: index for index, name in enumerate(names)}
        lines = [_HEADER]
        lines += [b"k %d %b" % (index, name.encode("ascii")) for index, name in enumerate(names)]
        for base, keywords in messages.items():
            numbers = sorted(number[name] for name in keywords)
            lines.append(b"m %b %b" % (b",".join(b"%d" % index for index in numbers), base))
        lines += self._others
        with refusing("cannot write the keywords"):
            self._make_directory()
            owner = ownership(self._files.stat(self._directory))
            made = self._files.replace_file(self._path, b"\n".join(lines) + b"\n", owner)
        self._state = _state(made)
        self.names, self._messages = names, messages

    def _make_directory(self) -> None:
        above = os.path.dirname(self._directory)
        try:
            self._files.make_directory(self._directory, ownership(self._files.stat(above)))
        except FileExistsError:
            if self._state is not None:
                return
            # Whoever made it for what may be lost did not sync it.
        self._files.fsync_directory(above)


def _parse_overflow(data: bytes) -> tuple[list[str], dict[bytes, frozenset[str]], list[bytes]]:
    """Names in order, keywords per base name, and lines of kinds that we do not know."""
    lines = data.split(b"\n")
    by_number: dict[int, str] = {}
    messages: dict[bytes, frozenset[str]] = {}
    others = []
    for line in lines[1:] if lines[0] == _HEADER else lines:
        kind, _, rest = line.partition(b" ")
        numbers, _, value = rest.partition(b" ")
        split = numbers.split(b",")
        good = bool(value) and all(number.isdigit() and len(number) < 10 for number in split)
        if kind == b"k" and good and len(split) == 1 and is_keyword(value.decode("utf-8", "replace")):
            by_number[int(numbers)] = value.decode("ascii")
        elif kind == b"m" and good:
            found = frozenset(by_number[int(number)] for number in split if int(number) in by_number)
            if found:
                messages[value] = found
        elif line and kind not in (b"k", b"m"):
            others.append(line)
        elif line:
            log.warning("overflow-keywords-damaged line=%r", line[:200])
    return list(by_number.values()), messages, others
