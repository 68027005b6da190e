"""`subscriptions`, both versions, and Courier's list in its place. `formats.md` 3.2, 6.1.

    version 2 = "V" HTAB "2" LF LF *(level *(HTAB level) LF)
                ; in a level 0x01 escapes: "0" is NUL, "1" 0x01, "t" HTAB, "n" LF, "r" CR
    version 1 = *(level *("." level) LF)          ; nested mailboxes have "/" between levels

    V	2

    INBOX
    Archive	2024	M&AOQ-rz

Names have no prefix, and their levels are in the root's encoding. Of a namespace that keeps no subscriptions, those
stand here with their prefix before the storage name; a separator in the prefix stays as it is (`shared/bob/Work HTAB
Deep`), unless it is the storage's own. A file keeps its version, its order and the bytes of
all lines but the one that comes or goes, also of lines that name nothing we know. It is replaced by its own lock file
(`file_lock`). While there is none, `courierimapsubscribed` is read (one full IMAP name a line, UTF-8 or modified
UTF-7), and taken over with the first change.
"""

import logging

from greenmail.errors import Reason, StorageError
from greenmail.storage import courier, mutf7
from greenmail.storage.api import is_inbox
from greenmail.storage.file_lock import SUBSCRIPTIONS_STALE, FileLock
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.folder_names import INBOX, Encoding, Layout, decode_level, encode_level, join, levels_of
from greenmail.storage.locks import Waiting
from greenmail.storage.presence import found_at

log = logging.getLogger(__name__)

_HEADER = b"V\t2\n\n"
_ESCAPES = {0x00: b"\x010", 0x01: b"\x011", 0x09: b"\x01t", 0x0A: b"\x01n", 0x0D: b"\x01r"}
_UNESCAPES = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"n": b"\n", b"r": b"\r"}

_Levels = tuple[bytes, ...]


def _escape(level: bytes) -> bytes:
    return b"".join(_ESCAPES.get(octet, bytes((octet,))) for octet in level)


def _unescape(level: bytes) -> bytes:
    first, *rest = level.split(b"\x01")
    return first + b"".join(_UNESCAPES.get(piece[:1], piece[:1]) + piece[1:] for piece in rest)


def _with_line(data: bytes, line: bytes) -> bytes:
    return data + (b"\n" if data and not data.endswith(b"\n") else b"") + line + b"\n"


class Subscriptions:
    """The subscribed names of one account, as IMAP names (Unicode, with prefix and separator).

    Methods raise StorageError. Changes are durable when they return.
    """

    __slots__ = ("_courier", "_files", "_layout", "_path", "_waiting", "disk_separator")

    def __init__(self, files: Files, layout: Layout, waiting: Waiting, control: bytes = b"") -> None:
        """The file is in the root of `layout`, or in `control`."""
        self._files, self._layout, self._waiting = files, layout, waiting
        self.disk_separator = layout.disk_separator.decode("ascii")
        self._path = (control or layout.root) + b"/subscriptions"
        self._courier = layout.root + b"/courierimapsubscribed"

    def names(self) -> list[str]:
        """In the order of the file, each once; lines that are no name in this layout are left out."""
        found: dict[str, None] = {}
        data = self._read()
        if len(data) > len(_HEADER) and not self._is_ours():
            self._take_over()
        for line, levels in self._lines(data):
            name = self._name(levels)
            if name is None:
                log.debug("subscription-ignored path=%r line=%r", self._path, line)
            else:
                found[name] = None
        return list(found)

    def _read(self) -> bytes:
        with refusing("cannot read the subscriptions"):
            try:
                return bytes(self._files.surely(self._files.read_file, self._path))
            except FileNotFoundError:
                pass  # then there may be Courier's
            try:
                data = self._files.surely(self._files.read_file, self._courier)
            except FileNotFoundError:
                return _HEADER
        lines = []
        for name in courier.parse_subscriptions(data):
            try:
                lines.append(b"\t".join(map(_escape, self._levels(join(self._layout, name)))) + b"\n")
            except StorageError:
                log.warning("subscription-ignored path=%r name=%r", self._courier, name)
        return _HEADER + b"".join(lines)

    def _is_ours(self) -> bool:
        """Whether there is a list of our own."""
        with refusing("cannot read the subscriptions"):
            return found_at(self._files, self._path) is not None

    def _take_over(self) -> None:
        """Courier's list becomes ours at first sight, so that it is there for Dovecot too; formats.md 6.4."""
        try:
            with FileLock(self._files, self._path, self._waiting, SUBSCRIPTIONS_STALE) as lock:
                if not self._is_ours():
                    lock.commit(self._read())
        except StorageError as error:  # read-only or full: Courier's list is read, now and next time
            log.info("subscriptions-import path=%r not written error=%r", self._path, error.text)

    def _lines(self, data: bytes) -> list[tuple[bytes, _Levels]]:
        """Every line without LF, with the levels that it names; no levels: none."""
        is_new = data.startswith(_HEADER)
        lines = data[len(_HEADER) :].split(b"\n") if is_new else data.split(b"\n")
        result = []
        for line in lines:
            if is_new:
                levels = tuple(_unescape(level) for level in line.split(b"\t"))
            else:
                levels = tuple(line.removesuffix(b"\r").split(self._layout.disk_separator))
            if levels and not levels[-1]:
                levels = levels[:-1]  # a trailing separator is ignored
            result.append((line, levels))
        return result

    def _name(self, levels: _Levels) -> str | None:
        texts = [decode_level(self._layout, level) for level in levels]
        known = [text for text in texts if text]
        if not known or len(known) != len(texts):
            return None
        if len(known) == 1 and is_inbox(known[0]):
            return INBOX
        name = join(self._layout, known)
        try:
            return name if join(self._layout, levels_of(self._layout, name)) == name else None
        except StorageError:
            return None

    def others(self) -> list[str]:
        """Every line as a text, with `disk_separator` between its levels; also what is about other namespaces."""
        found: dict[str, None] = {}
        for _, levels in self._lines(self._read()):
            texts = [decode_level(self._layout, level) for level in levels]
            known = [text for text in texts if text is not None]
            if known and len(known) == len(texts):
                found[self.disk_separator.join(known)] = None
        return list(found)

    def add_other(self, text: str) -> bool:
        """Subscribe to a mailbox of another namespace, by its prefix and storage name; whether it was not before."""
        levels = self._other(text)
        with FileLock(self._files, self._path, self._waiting, SUBSCRIPTIONS_STALE) as lock:
            data = self._read()
            if any(found == levels for _, found in self._lines(data)):
                return False
            lock.commit(_with_line(data, self._line(data, levels)))
        return True

    def remove_other(self, text: str) -> bool:
        """Take it away again; whether it was there."""
        levels = self._other(text)
        with FileLock(self._files, self._path, self._waiting, SUBSCRIPTIONS_STALE) as lock:
            data = self._read()
            kept = [line for line, found in self._lines(data) if found != levels]
            return self._keep(lock, data, kept)

    def _other(self, text: str) -> _Levels:
        levels = text.split(self.disk_separator)
        if not all(levels):
            raise StorageError(Reason.CANNOT, "no mailbox can have this name")
        return tuple(mutf7.encode(one) if self._layout.encoding is Encoding.MUTF7 else one.encode() for one in levels)

    def _line(self, data: bytes, levels: _Levels) -> bytes:
        """The line for `levels` in a file that begins as `data`."""
        return (
            b"\t".join(map(_escape, levels)) if data.startswith(_HEADER) else self._layout.disk_separator.join(levels)
        )

    def _keep(self, lock: FileLock, data: bytes, kept: list[bytes]) -> bool:
        """Write those lines of `data` that are `kept`; whether there are others."""
        if len(kept) == len(self._lines(data)):
            return False
        head = _HEADER if data.startswith(_HEADER) else b""
        lock.commit(head + b"".join(line + b"\n" for line in (kept if kept[-1:] != [b""] else kept[:-1])))
        return True

    def _levels(self, name: str) -> _Levels:
        levels = levels_of(self._layout, name) or [INBOX]
        return tuple(encode_level(self._layout, level, number == 0) for number, level in enumerate(levels))

    def add(self, name: str) -> bool:
        """Subscribe; whether it was not subscribed before. Raises CANNOT for a name that can be no mailbox."""
        levels = self._levels(name)
        with FileLock(self._files, self._path, self._waiting, SUBSCRIPTIONS_STALE) as lock:
            data = self._read()
            wanted = self._name(levels)
            if any(self._name(found) == wanted for _, found in self._lines(data)):
                return False
            lock.commit(_with_line(data, self._line(data, levels)))
        return True

    def remove(self, name: str) -> bool:
        """Unsubscribe; whether it was subscribed. A name that can be no mailbox is not subscribed."""
        try:
            wanted = join(self._layout, levels_of(self._layout, name))
        except StorageError:
            return False
        with FileLock(self._files, self._path, self._waiting, SUBSCRIPTIONS_STALE) as lock:
            data = self._read()
            return self._keep(lock, data, [line for line, levels in self._lines(data) if self._name(levels) != wanted])
