"""The access control lists of one Maildir account: `dovecot-acl` in each mailbox directory. `formats.md` 3.5.

A list is looked at whenever somebody asks: one stat says whether what was read before still holds (`_Stamp`), and no
time has to go by. It is replaced by its own lock file (`file_lock`), as Dovecot does it. Where there is none Courier's
`courierimapacl` counts, until the first change is written as `dovecot-acl`.

`dovecot-acl-list` in the root is Dovecot's memory of what is shared with whom. It is removed with each change: Dovecot
makes it anew.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from greenmail.errors import Reason, StorageError
from greenmail.storage.acl import Acl, parse
from greenmail.storage.courier_acl import parse_courier
from greenmail.storage.file_lock import FileLock
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.places import Places

log = logging.getLogger(__name__)

FILE = b"dovecot-acl"
COURIER_FILE = b"courierimapacl"
_LIST = b"dovecot-acl-list"

_STALE = 120.0  # seconds, as Dovecot has it
_COOLED = 2_000_000_000  # ns: what changed less than this ago may change again without its time showing it
_MOST = 1 << 20  # octets: a list is short, and a client's SETACL makes it longer
_KEPT = 10_000  # mailboxes of which it is remembered that they have no list
_KEPT_OCTETS = 4 << 20  # of lists that are remembered; as objects they take some ten times as much

_NONE = Acl()
_Stamp = tuple[int, int, int, int, int]


def _stamp_of(found: os.stat_result) -> _Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: _Stamp
    acl: Acl


class AclFiles:
    """`access.Lists` on disk: a place is the directory of a mailbox. Methods raise StorageError."""

    __slots__ = (
        "_default",
        "_files",
        "_is_nested",
        "_known",
        "_lists",
        "_none",
        "_now",
        "_octets",
        "_waiting",
        "_without",
    )

    def __init__(
        self, files: Files, waiting: Waiting, now: Callable[[], float], places: Places, settings: MaildirSettings
    ) -> None:
        given = settings.default_rights
        self._none = parse(b"anyone %b\n" % given.encode()) if given else _NONE
        self._files, self._waiting, self._now = files, waiting, now
        self._is_nested = settings.layout != "maildir++"
        self._lists = tuple(root + b"/" + _LIST for root in dict.fromkeys((places.root, places.common)))
        # Where the root is INBOX its list is INBOX's alone; what is nobody's has no INBOX.
        self._default = places.root if places.root != places.inbox or settings.owner == "" else b""
        self._known: dict[bytes, _Known] = {}
        self._octets = 0  # in those files, and a few for each
        # Directories in which there was no list; -1: a time that proves nothing.
        self._without: dict[bytes, _Stamp] = {}

    def read(self, directory: bytes) -> Acl:
        """The list of one mailbox as it is now; if there is none, what counts then."""
        return self._list_of(directory) or self._none

    def _list_of(self, directory: bytes) -> Acl | None:
        before = self._stamp(directory)
        self._without.pop(directory, None)
        for path, understand in ((directory + b"/" + FILE, parse), (directory + b"/" + COURIER_FILE, parse_courier)):
            try:
                return self._read(path, understand)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                break
            except OSError as error:
                return self._wrong(path, str(error))
        if before is not None:
            self._remember(directory, before)
        return None

    def _remember(self, directory: bytes, stamp: _Stamp) -> None:
        """There was no list in this directory after it had this stamp."""
        if len(self._without) >= _KEPT:
            self._without.clear()
        self._without[directory] = stamp if self._is_cool(stamp) else (*stamp[:2], -1, -1, -1)

    def unchanged(self, directory: bytes, seen: os.stat_result | None) -> Acl | None:
        """What `read` would find, if one stat can tell: whoever puts a list into a directory changes its time.

        `seen` is that stat, where the mailbox was looked at just now; of another directory it differs from all that is
        remembered of this one.

        So does whoever puts anything else there, as our own locks. Then, if it still is the same directory, it is
        asked for both lists again. (Not where a directory may stay when its mailbox goes.)
        """
        before = self._without.get(directory)
        if before is not None:
            stamp = self._stamp(directory) if seen is None else _stamp_of(seen)
            if stamp == before:
                return self._none
            if stamp is None or stamp[:2] != before[:2] or self._is_nested or not self._has_none(directory):
                return None
            self._remember(directory, stamp)
            return self._none
        path = directory + b"/" + FILE
        known = self._known.get(path)
        return known.acl if known is not None and self._stamp(path) == known.stamp else None

    def _has_none(self, directory: bytes) -> bool:
        """Surely there is no list."""
        for name in (FILE, COURIER_FILE):
            try:
                self._files.stat(directory + b"/" + name)
            except FileNotFoundError:
                continue
            except OSError:
                pass
            return False
        return True

    def _stamp(self, path: bytes) -> _Stamp | None:
        try:
            found = self._files.stat(path)
        except OSError:
            return None
        return _stamp_of(found)

    def _is_cool(self, stamp: _Stamp) -> bool:
        """Its time would show the next change."""
        return max(stamp[3:]) + _COOLED <= self._now() * 1e9

    def _read(self, path: bytes, understand: Callable[[bytes], Acl]) -> Acl:
        found = self._files.stat(path)
        stamp = _stamp_of(found)
        known = self._known.get(path)
        if known is not None and known.stamp == stamp:
            return known.acl
        if found.st_size > _MOST:
            return self._wrong(path, "it is too large")
        acl = understand(self._files.read_file(path))
        if acl.wrong:
            log.warning("acl-ignored path=%r reason=%r", path, acl.wrong)
        if self._is_cool(stamp):
            self._octets += found.st_size + len(path) + 64
            if self._octets > _KEPT_OCTETS:
                self._known.clear()
                self._octets = found.st_size + len(path) + 64
            self._known[path] = _Known(stamp, acl)
        return acl

    def _wrong(self, path: bytes, reason: str) -> Acl:
        log.warning("acl-ignored path=%r reason=%r", path, reason)
        return Acl(wrong=reason)

    def default(self) -> Acl:
        """The list of the root, where that is not a mailbox: it counts for those whom no other says anything of."""
        # Not `default_rights`: a list replaces these for its mailbox.
        return (self._list_of(self._default) if self._default else None) or _NONE

    def files_of(self, directory: bytes) -> dict[bytes, bytes]:
        """The file with the list of a mailbox: a new one below it has the same."""
        with refusing("The access control list cannot be read"):
            for name in (FILE, COURIER_FILE):
                with contextlib.suppress(FileNotFoundError):
                    return {name: self._files.read_file(directory + b"/" + name)}
        return {}

    def change(self, directory: bytes, how: Callable[[Acl], Acl]) -> None:
        """Write what `how` makes of the list; on disk when it returns."""
        path = directory + b"/" + FILE
        with FileLock(self._files, path, self._waiting, _STALE) as lock:
            old = self.read(directory)
            new = how(old)
            if new.data == old.data:
                return
            if len(new.data) > _MOST:
                raise StorageError(Reason.LIMIT, "The access control list is too long.")
            lock.commit(new.data)
            self._known.pop(path, None)
        for shared in self._lists:
            self._files.unlink_quietly(shared)
