"""The control directories of an account whose `control-path` is set: they go where their mailboxes go.

RENAME has two things to rename, in two directories, and a crash may come between them. A mailbox without its control
directory has new UIDs, so there is one at both names when the mailbox is renamed:

1. a record of the renames is written to the control root, and synced;
2. of each control directory a copy is made, of hard links, synced, and renamed to the new name; that name is synced;
3. the mailboxes are renamed: now it is done;
4. the old directories get names that are none, so that nobody writes there; what Dovecot replaced in them meanwhile is
   taken over; they are removed, then the record.

    record = *(entry HTAB entry LF)        ; old and new name, as paths below the roots

After a crash the record tells which copy is too much: the one whose mailbox is not there, if the other's is, and if
their uidlists name the same mailbox. `purge` removes it after an hour. Nothing else is ever taken for garbage: that a
mailbox is missing may also mean that its disk is not mounted.

While a copy is there and its mailbox is not (steps 2 and 3) a CREATE of the new name would take the copy for its own:
so CREATE and RENAME are done one at a time, by a flock on the control root, which is taken after every other lock.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Entry, Files, ownership, refusing
from greenmail.storage.locks import Waiting
from greenmail.storage.places import Places
from greenmail.storage.presence import found_at, is_directory, is_there
from greenmail.storage.trash import is_set_aside, remove, set_aside_name

log = logging.getLogger(__name__)

_DATA = b"greenmail-data"
_PASSING = re.compile(rb".*\.(lock|tmp)(\..*)?", re.DOTALL)  # what nobody needs who comes later
_GUID = re.compile(rb"3 [^\n]*\bG([0-9a-f]{32})\b")
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)

Move = tuple[bytes, bytes]


class Controls:
    """Does nothing where there is no control root. Methods raise StorageError."""

    __slots__ = ("_files", "_places", "_root", "_waiting")

    def __init__(self, files: Files, places: Places, waiting: Waiting) -> None:
        self._files, self._places, self._waiting = files, places, waiting
        self._root = places.control

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else of ours makes or renames a mailbox of this account."""
        if not self._root:
            yield
            return
        descriptor = -1
        try:
            with refusing("The control directories cannot be locked"), contextlib.suppress(FileNotFoundError):
                descriptor = self._files.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            steps = self._waiting.steps()
            while descriptor >= 0 and not self._claimed(descriptor):
                self._waiting.pause(steps)
            yield
        finally:
            if descriptor >= 0:
                self._files.close_quietly(descriptor)

    def _claimed(self, descriptor: int) -> bool:
        try:
            self._files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # NFS cannot lock directories
            log.debug("control-claim path=%r error=%s", self._root, error)
        return True

    # A mailbox that is no more, or is not yet

    def set_aside(self, directory: bytes) -> bytes:
        """There is no mailbox in `directory`: what its control directory has gets a name that is no mailbox's.

        The new path, which is to be removed; empty if there is nothing to remove. Those of mailboxes below it stay:
        then there are but a few files, which are removed at once.
        """
        if not self._root:
            return b""
        control = self._places.of(directory).control
        with refusing("The control directory cannot be removed"):
            below = self._below(control)
            if not below:
                return self._away(control)
            for entry in sorted(self._files.scan(control), key=lambda entry: entry.name != b"dovecot-uidlist"):
                if entry.name not in below:
                    self._files.remove_tree(control + b"/" + entry.name)
            return b""

    def put_back(self, directory: bytes, aside: bytes) -> None:
        """There is a mailbox all the same, made by somebody just now: undo `set_aside` if he has not made another."""
        control = self._places.of(directory).control
        if aside:
            with contextlib.suppress(OSError):  # then it is removed with the next purge
                if not is_there(self._files, control):
                    self._files.rename(aside, control)

    def _below(self, control: bytes) -> set[bytes]:
        """Directories of other mailboxes in a control directory."""
        if not self._places.is_nested:
            return set()
        try:
            found = self._files.surely(self._files.scan, control)
            return {entry.name for entry in found if entry.is_directory and entry.name != _DATA}
        except FileNotFoundError:
            return set()

    def _aside(self) -> bytes:
        return self._root + b"/" + set_aside_name()

    def _away(self, control: bytes) -> bytes:
        """The new path, or empty if there was none. Raises OSError."""
        aside = self._aside()
        try:
            self._files.rename(control, aside)
        except FileNotFoundError:
            return b""
        return aside

    # RENAME

    def begin(self, moves: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Steps 1 and 2, for mailboxes that are about to be renamed, by path; the record, for `settle`."""
        if not self._root:
            return b""
        moves = list(moves)
        pairs = [(self._entry(old), self._entry(new)) for old, new in moves]
        with refusing("The control directory cannot be looked at"):
            # Made since RENAME looked: its control directory stays.
            if any(is_there(self._files, new) for _, new in moves):
                raise StorageError(Reason.EXISTS, "There is a mailbox of that name.")
            pairs = [(old, new) for old, new in pairs if is_directory(self._files, self._root + b"/" + old)]
        if not pairs:
            return b""
        record = self._aside()
        try:
            with refusing("The control directory cannot be renamed"):
                self._write(record, pairs)
                for old, new in pairs:
                    self._copy_to(self._root + b"/" + old, self._root + b"/" + new)
        except StorageError:
            self.settle(record)
            raise
        return record

    def _entry(self, container: bytes) -> bytes:
        return container[len(self._places.root) + 1 :]

    def _write(self, record: bytes, pairs: Sequence[Move]) -> None:
        descriptor = self._files.create_exclusive(record, ownership(self._files.stat(self._root)))
        try:
            self._files.write_all(descriptor, b"".join(b"%b\t%b\n" % pair for pair in pairs))
            self._files.fsync(descriptor)
        finally:
            self._files.close(descriptor)
        self._files.fsync_directory(self._root)

    def _copy_to(self, source: bytes, target: bytes) -> None:
        copy = self._aside()
        try:
            self._copy(source, copy)
            old = self._away(target)
            self._places.make(os.path.dirname(target))
            self._files.rename(copy, target)
        except OSError:
            remove(self._files, copy)
            raise
        self._files.fsync_directory(os.path.dirname(target))
        if old:
            remove(self._files, old)

    def _copy(self, source: bytes, target: bytes) -> None:
        """A tree of hard links; where there are none, of copies."""
        self._files.make_directory(target, ownership(self._files.stat(source)))
        for entry in self._files.scan(source):
            path = source + b"/" + entry.name
            if entry.is_directory:
                self._copy(path, target + b"/" + entry.name)
            elif not entry.is_symlink and not _PASSING.fullmatch(entry.name):
                copy = target + b"/" + entry.name
                try:
                    # Without dovecot-keywords the copy would have lost the names of keywords.
                    self._files.surely(partial(self._link_as, copy), path)
                except FileNotFoundError:
                    continue  # it was there for a moment
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    owner = ownership(self._files.stat(source))
                    self._files.replace_file(copy, self._files.surely(self._files.read_file, path), owner)
        self._files.fsync_directory(target)

    def _link_as(self, target: bytes, source: bytes) -> None:
        self._files.link(source, target)

    def settle(self, record: bytes, is_fresh: bool = True) -> None:
        """Step 4, or the taking back of step 2, as the mailboxes are now; never raises: `purge` does it again.

        `is_fresh`: by whoever has just renamed, and still holds the mailboxes' locks.
        """
        if not record:
            return
        try:
            for old, new in self._read(record):
                self._settle_one(old, new, is_fresh)
            self._files.unlink(record)
        except OSError as error:
            log.warning("rename-unsettled record=%r error=%s", record, error)

    def _read(self, record: bytes) -> list[Move]:
        pairs = []
        for line in self._files.read_file(record).split(b"\n")[:-1]:
            old, _, new = line.partition(b"\t")
            if all(path and not {b"", b".", b".."} & set(path.split(b"/")) for path in (old, new)):
                pairs.append((old, new))
        return pairs

    def _settle_one(self, old: bytes, new: bytes, is_fresh: bool) -> None:
        root = self._places.root + b"/"
        source, target = self._root + b"/" + old, self._root + b"/" + new
        is_old, is_new = is_there(self._files, root + old), is_there(self._files, root + new)
        if is_new and not is_old:
            self._drop(source, target, root + old, is_fresh)
        elif is_old and not is_new:
            self._drop(target, source, root + new, False)

    def _take_over(self, source: bytes, target: bytes) -> None:
        """What another program replaced in `source` since it was copied."""
        for entry in self._scan(source):
            path, copy = source + b"/" + entry.name, target + b"/" + entry.name
            if entry.is_directory:
                self._take_over(path, copy)
            elif not _PASSING.fullmatch(entry.name) and self._is_newer(path, copy):
                self._files.rename(path, copy)
                self._files.fsync_directory(target)

    def _is_newer(self, path: bytes, copy: bytes) -> bool:
        try:
            mine, theirs = self._files.lstat(path), self._files.lstat(copy)
        except FileNotFoundError:
            return False
        is_same = (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)
        return stat.S_ISREG(mine.st_mode) and not is_same and mine.st_mtime_ns > theirs.st_mtime_ns

    def _drop(self, garbage: bytes, kept: bytes, mailbox: bytes, is_fresh: bool) -> None:
        """Remove a control directory whose mailbox is not there and whose copy is in use. Raises OSError."""
        if not is_directory(self._files, kept):
            return
        aside = self._away(garbage)
        if not aside:
            return
        try:
            is_garbage = not is_there(self._files, mailbox) and self._is_copy(aside, kept)
        except OSError:
            self._files.rename(aside, garbage)
            raise
        if not is_garbage:
            self._files.rename(aside, garbage)
            log.error("control-kept path=%r: it is not the copy of %r", garbage, kept)
            return
        if is_fresh:
            self._take_over(aside, kept)
        self._files.fsync_directory(os.path.dirname(garbage))
        self._files.remove_tree(aside)

    def _is_copy(self, path: bytes, other: bytes) -> bool:
        """Whether every uidlist below `path` is that of the same mailbox as the one below `other`."""
        for entry in self._scan(path):
            below = b"/" + entry.name
            if entry.is_directory:
                if not self._is_copy(path + below, other + below):
                    return False
            elif entry.name == b"dovecot-uidlist":
                mine = self._guid(path + below)
                if mine and mine != self._guid(other + below):
                    return False
        return True

    def _guid(self, path: bytes) -> bytes:
        try:
            found = _GUID.match(self._files.surely(self._files.read_file, path))
        except FileNotFoundError:
            return b""
        return found[1] if found else b""

    def _scan(self, path: bytes) -> list[Entry]:
        try:
            found: list[Entry] = self._files.surely(self._files.scan, path)
        except FileNotFoundError:
            return []
        return found

    def purge(self, now: float) -> None:
        """Settle and remove what was left behind more than an hour ago."""
        if not self._root:
            return
        with refusing("cannot remove old control directories"):
            for name in self._files.listdir(self._root):
                path = self._root + b"/" + name
                if not is_set_aside(self._files, path, now):
                    continue
                found = found_at(self._files, path)
                if found is not None and stat.S_ISREG(found.st_mode):
                    self.settle(path, is_fresh=False)
                else:
                    self._files.remove_tree(path)
