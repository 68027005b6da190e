"""Maildir++: mailbox names and their directories. `formats.md` 4.1 to 4.4.

    directory = root                           ; INBOX
              / root "/." level *("." level)   ; every other mailbox, all in one flat directory

A level is a level of the IMAP name in the root's encoding: modified UTF-7 or UTF-8. With `name_escape`, octets that a
level cannot hold are written as the escape character and two hex digits: with separator "/" and escape "\\" the name
`with.dot/sub` is the directory `.with\\2edot.sub`.

Names are mapped by their text alone, and a level is never empty and never contains "/" or ".": so no name leads out of
the root. A symbolic link that leads out of it is not a mailbox unless `follow_symlinks` is set.

DELETE is one rename to `..DOVECOT-TRASHED` (or into it), a name that is no mailbox for anybody: afterwards the mailbox
is gone, whatever becomes of the removal. RENAME renames the children one by one; when one of these fails the earlier
ones are taken back. Each ends with an fsync of the root.
"""

import errno
import logging
import os
import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import Folder, is_inbox
from greenmail.storage.filesystem import Files, Ownership, ownership, refusing
from greenmail.storage.folder_names import INBOX, Layout, directory, join, levels_of, name_of
from greenmail.storage.presence import found_at, is_directory, is_there
from greenmail.storage.trash import TRASH, purge, set_aside_name, to_trash

log = logging.getLogger(__name__)

Prepare = Callable[[list[tuple[bytes, bytes]]], None]

_COPIED = (b"dovecot-shared",)  # what a new mailbox has from its parent, or from the root

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})


def not_found() -> StorageError:
    """The refusal for a name that leads to nothing, or cannot be."""
    return StorageError(Reason.NOT_FOUND, "There is no such mailbox.")


def exists() -> StorageError:
    """The refusal for a name that is taken."""
    return StorageError(Reason.EXISTS, "there is a mailbox of this name already")


def with_parents(names: Mapping[str, bool], separator: str) -> list[Folder]:
    """Names, each with whether it is a mailbox, and the parents that are missing among them; sorted, INBOX first."""
    parents = set()
    for name in names:
        above = name.rpartition(separator)[0]
        while above and above not in parents:
            parents.add(above)
            above = above.rpartition(separator)[0]
    return [
        Folder(name, names.get(name, False), name in parents)
        for name in sorted(names.keys() | parents, key=lambda name: (name != INBOX, name))
    ]


def drop_empty(files: Files, aside: bytes, path: bytes) -> None:
    """Remove what was a new mailbox in `path` for a moment; back with it if it has got mail. Raises OSError."""
    if any(files.listdir(aside + part) for part in (b"/new", b"/cur")):
        files.rename(aside, path)
        log.warning("mailbox-kept path=%r: there is mail in it", path)
    else:
        files.remove_tree(aside)


def inherit(files: Files, path: bytes, template: bytes, owner: Ownership, given: Mapping[bytes, bytes]) -> None:
    """Copy into a new mailbox what it has from its parent; `given`: names and contents of more. Raises OSError."""
    for name, data in given.items():
        files.replace_file(path + b"/" + name, data, owner)
    for name in _COPIED:
        try:
            data = files.read_file(template + b"/" + name)
        except FileNotFoundError:
            continue
        files.replace_file(path + b"/" + name, data, owner)


class Folders:
    """The mailboxes of one account on disk. Holds no state but the settings. Methods raise StorageError."""

    __slots__ = ("_files", "_layout")

    def __init__(self, files: Files, layout: Layout) -> None:
        self._files = files
        self._layout = layout

    def _names(self) -> dict[str, bytes]:
        """Existing mailboxes except INBOX, with their directory entries."""
        root = self._layout.root
        with refusing("cannot list the mailboxes"):
            entries = self._files.scan(root)
            names = {}
            for entry in entries:
                if not entry.name.startswith(b".") or entry.name == TRASH:
                    continue
                if not entry.is_directory and not (entry.is_symlink and self._is_good_link(entry.name)):
                    continue
                name = name_of(self._layout, entry.name)
                if name is None:
                    log.debug("not-a-mailbox root=%r entry=%r", root, entry.name)
                    continue
                names[name] = entry.name
        return names

    def _is_good_link(self, entry: bytes) -> bool:
        """The same for a list, which one link to a disk that does not answer must not spoil."""
        try:
            return self._leads_inside(entry)
        except OSError as error:
            log.warning("not-listed path=%r error=%s", self._layout.root + b"/" + entry, error)
            return False

    def _leads_inside(self, entry: bytes) -> bool:
        """Whether a symbolic link in the root is a directory that may be a mailbox. Raises OSError."""
        path = self._layout.root + b"/" + entry
        if not is_directory(self._files, path):
            return False
        root = os.path.realpath(self._layout.root)
        return self._layout.follow_symlinks or os.path.realpath(path).startswith(root + b"/")

    def listing(self) -> list[Folder]:
        """All mailboxes and missing parents, sorted, INBOX first; `special_use` is empty."""
        return with_parents(dict.fromkeys(self._names().keys() | {INBOX}, True), self._layout.separator)

    def directories(self) -> list[bytes]:
        """The root: every mailbox is an entry of it."""
        return [self._layout.root]

    def find(self, name: str) -> bytes:
        """The directory of an existing mailbox. Raises NOT_FOUND (also for a name that cannot be)."""
        try:
            path = directory(self._layout, name)
        except StorageError:
            raise not_found() from None
        if not self._is_there(path):
            raise not_found()
        return path

    def _is_there(self, path: bytes) -> bool:
        if path == self._layout.root:
            return True
        with refusing("The mailbox cannot be looked at"):
            found = found_at(self._files, path, is_followed=False)
            if found is not None and stat.S_ISLNK(found.st_mode):
                return self._leads_inside(os.path.basename(path))
            return found is not None and stat.S_ISDIR(found.st_mode)

    def free(self, name: str) -> bytes:
        """The directory that a new mailbox would have. Raises EXISTS, CANNOT."""
        path = directory(self._layout, name.removesuffix(self._layout.separator))
        if path == self._layout.root or self._is_taken(path):
            raise exists()
        return path

    def _is_taken(self, path: bytes) -> bool:
        with refusing("The mailbox cannot be looked at"):
            return is_there(self._files, path)

    def create(self, name: str, given: Mapping[bytes, bytes] = NOTHING) -> bytes:
        """Make the directories; the new directory. The uidlist is the caller's. Raises EXISTS, CANNOT.

        `given`: files that it has from the beginning, its access control list.

        Parents are not made. Durable when it returns. The mailbox is built under a name that is none and appears whole:
        nobody can deliver into half of it, and what is removed when something fails was never a mailbox.
        """
        path = self.free(name)
        parent = path.rpartition(b".")[0]
        template = parent if parent != self._layout.root + b"/" and self._is_there(parent) else self._layout.root
        with refusing("cannot create the mailbox"):
            built = self._layout.root + b"/" + set_aside_name()
            try:
                self._furnish(built, template, given)
                self._files.rename(built, path)
            except OSError as error:
                self._files.remove_tree(built)
                # Somebody was faster: what he made has something in it, or is no directory.
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise exists() from None
                raise
            try:
                self._files.fsync_directory(self._layout.root)
            except OSError:
                # Who is told that it failed must not find it: back, and away.
                self._files.rename(path, built)
                drop_empty(self._files, built, path)
                raise
        return path

    def _furnish(self, path: bytes, template: bytes, given: Mapping[bytes, bytes]) -> None:
        owner = ownership(self._files.stat(template))
        self._files.make_directory(path, owner)
        for part in (b"/tmp", b"/new", b"/cur"):
            self._files.make_directory(path + part, owner)
        self._files.close(self._files.create_exclusive(path + b"/maildirfolder", owner))
        inherit(self._files, path, template, owner, given)
        self._files.fsync_directory(path)

    def delete(self, name: str) -> bytes:
        """Make the mailbox vanish with one rename; the directory to be given to `Files.remove_tree` (it may take long).

        Children stay. An empty result means that nothing is left to be removed. Raises NOT_FOUND, CANNOT (INBOX),
        HAS_CHILDREN (a name that is only a parent).
        """
        if is_inbox(name):
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted")
        try:
            path = self.find(name)
        except StorageError:
            if any(folder.name == name for folder in self.listing()):
                raise StorageError(
                    Reason.HAS_CHILDREN, "this is no mailbox, there are only mailboxes below it"
                ) from None
            raise
        with refusing("cannot delete the mailbox"):
            try:
                trash = to_trash(self._files, self._layout.root, path)
            except FileNotFoundError:
                raise not_found() from None
            self._files.fsync_directory(self._layout.root)
        return trash

    def _canonical(self, name: str) -> str:
        """The one spelling of a name; NOT_FOUND for a name that cannot be."""
        try:
            return join(self._layout, levels_of(self._layout, name))
        except StorageError:
            raise not_found() from None

    def rename(self, old: str, new: str, prepare: Prepare = lambda moves: None) -> list[tuple[str, str]]:
        """Rename with all children; the pairs of old and new names. Not for INBOX. Raises NOT_FOUND, EXISTS, CANNOT.

        `prepare` is told what is about to be renamed, by path.
        """
        separator = self._layout.separator
        if is_inbox(old):
            raise StorageError(Reason.CANNOT, "INBOX cannot be renamed")
        old = self._canonical(old)
        new = join(self._layout, levels_of(self._layout, new.removesuffix(separator)))
        if new.startswith(old + separator):
            raise StorageError(Reason.CANNOT, "a mailbox cannot be put below itself")
        names = self._names()
        moving = sorted(name for name in names if name == old or name.startswith(old + separator))
        if not moving:
            raise not_found()
        pairs = [(name, new + name[len(old) :]) for name in moving]
        if new == INBOX or new in names or any(target in names for _, target in pairs):
            raise exists()
        targets = [directory(self._layout, target) for _, target in pairs]
        if any(map(self._is_taken, targets)):
            raise exists()
        moves = [(directory(self._layout, name), target) for name, target in zip(moving, targets, strict=True)]
        prepare(moves)
        with refusing("cannot rename the mailbox"):
            self._rename_all(moves)
            self._files.fsync_directory(self._layout.root)
        return pairs

    def _rename_all(self, paths: list[tuple[bytes, bytes]]) -> None:
        done: list[tuple[bytes, bytes]] = []
        try:
            for source, target in paths:
                self._files.rename(source, target)
                done.append((source, target))
        except OSError:
            for source, target in reversed(done):
                try:
                    self._files.rename(target, source)
                except OSError as error:
                    log.error("rename-back source=%r target=%r error=%s", target, source, error)
            raise

    def purge_trash(self, now: float) -> None:
        """Remove what deletions, and makings that were cut short, left behind more than an hour ago."""
        with refusing("cannot remove deleted mailboxes"):
            purge(self._files, self._layout.root, now)
