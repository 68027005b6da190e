"""Mailboxes in directories one below the other: Dovecot's LAYOUT=fs. `formats.md` 4.5.

    mailbox  = root 1*("/" level)              ; a mailbox if it has `cur`, otherwise only a parent
             / root 1*("/" level) "/" inner    ; with DIRNAME=inner, which then has cur, new, tmp and the control files

A level is a level of the IMAP name in the root's encoding; it is never ".", "..", nor what a mailbox directory has in
it anyway (`Layout.is_reserved`): so no name leads out of the root, or into a mailbox's files. A symbolic link is a
mailbox if it leads to a directory inside of the root that does not contain the link; a path leads through one link at
the most, so that there is an end to them.

What is being made, and what is no more, lies in `root/tmp` (with DIRNAME in `root/inner`), which no server takes for a
mailbox. CREATE builds there and renames. DELETE of a mailbox that has no mailboxes below it is one rename to there;
should somebody have made one below it meanwhile, it is put back. Of a mailbox that has some, `cur` is renamed first:
from then on it is a parent only. With DIRNAME the whole of `inner` is renamed in both cases. RENAME is one rename.
"""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import Folder, is_inbox
from greenmail.storage.filesystem import Entry, Files, ownership, refusing
from greenmail.storage.folder_names import INBOX, Layout, entry_of, join, levels_of, name_of
from greenmail.storage.folders import NOTHING, Prepare, drop_empty, exists, inherit, not_found, with_parents
from greenmail.storage.presence import found_at, is_directory, is_link, is_there
from greenmail.storage.trash import is_set_aside, remove, set_aside_name

log = logging.getLogger(__name__)

_PARTS = (b"tmp", b"new", b"cur")
_LOOK = "The mailbox cannot be looked at"
_PATH_LIMIT = 4096  # octets of a path, the kernel's
_FILE_LIMIT = 300  # of them for what is in the mailbox
_THERE = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class NestedFolders:
    """The mailboxes of one account on disk. Holds no state but the settings. Methods raise StorageError."""

    __slots__ = ("_files", "_hidden", "_inner", "_layout", "_root")

    def __init__(self, files: Files, layout: Layout, hidden: bytes) -> None:
        """`hidden`: the directory for what is no mailbox; made when needed."""
        self._files, self._layout, self._hidden = files, layout, hidden
        self._root = layout.root
        self._inner = b"/" + layout.inner if layout.inner else b""

    # Looking

    def walk(self) -> Iterator[tuple[bytes, bool]]:
        """Every directory that may be named, as a path below the root, and whether it is a mailbox. Not the root."""
        waiting = [(b"", False)]
        while waiting:
            below, is_linked = waiting.pop()
            path = self._root + b"/" + below if below else self._root
            try:
                entries = self._files.scan(path)
            except OSError as error:
                if not below:
                    with refusing("cannot list the mailboxes"):
                        raise
                if isinstance(error, FileNotFoundError | NotADirectoryError):
                    continue  # it went meanwhile
                log.warning("not-listed path=%r error=%s", path, error)
                entries = []
            if below:
                yield below, self._is_listed(path)
            for entry in self._children(entries, not below):
                if not entry.is_symlink or (not is_linked and self._is_good_link(path + b"/" + entry.name)):
                    waiting.append((below + b"/" + entry.name if below else entry.name, is_linked or entry.is_symlink))

    def _is_listed(self, container: bytes) -> bool:
        """Whether it is a mailbox, for a list, which one disk that does not answer must not spoil."""
        try:
            return self._is_mailbox(container)
        except OSError as error:
            log.warning("not-listed path=%r error=%s", container, error)
            return False

    def _is_mailbox(self, container: bytes) -> bool:
        """Raises OSError."""
        return self._is_directory(container + self._inner + b"/cur")

    def _is_directory(self, path: bytes) -> bool:
        """Raises OSError."""
        return is_directory(self._files, path)

    def _children(self, entries: list[Entry], at_root: bool) -> list[Entry]:
        """Those that may be mailboxes below."""
        return [
            entry
            for entry in entries
            if (entry.is_directory or entry.is_symlink) and not self._layout.is_reserved(entry.name, at_root)
        ]

    def _is_good_link(self, path: bytes) -> bool:
        """The same for a list."""
        try:
            return self._leads_inside(path)
        except OSError as error:
            log.warning("not-listed path=%r error=%s", path, error)
            return False

    def _leads_inside(self, path: bytes) -> bool:
        """Whether a symbolic link is a directory that may be a mailbox. Raises OSError."""
        if not self._is_directory(path):
            return False
        target, above = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
        if (above + b"/").startswith(target + b"/"):
            return False  # around in a circle
        return self._layout.follow_symlinks or target.startswith(os.path.realpath(self._root) + b"/")

    def _is_passable(self, path: bytes) -> bool:
        """Whether what is there of a path below the root are directories, and at the most one good link.

        Raises OSError.
        """
        links, found = 0, self._root
        for level in path[len(self._root) + 1 :].split(b"/"):
            found += b"/" + level
            there = found_at(self._files, found, is_followed=False)
            if there is None:
                return True
            if stat.S_ISLNK(there.st_mode):
                links += 1
                if links > 1 or not self._leads_inside(found):
                    return False
            elif not stat.S_ISDIR(there.st_mode):
                return False
        return True

    def _names(self) -> dict[str, bool]:
        """Everything that is there but INBOX; whether it is a mailbox."""
        names = {}
        for below, is_mailbox in self.walk():
            name = name_of(self._layout, below)
            if name is None:
                log.debug("not-a-mailbox root=%r entry=%r", self._root, below)
            else:
                names[name] = is_mailbox
        return names

    def listing(self) -> list[Folder]:
        """All mailboxes, and directories that are none, sorted, INBOX first; `special_use` is empty."""
        return with_parents(self._names() | {INBOX: True}, self._layout.separator)

    def directories(self) -> list[bytes]:
        """The root, and every directory in which a mailbox may appear."""
        return [self._root, *(self._root + b"/" + below for below, _ in self.walk())]

    def _container(self, name: str) -> bytes:
        """The directory of a name without `inner`; the root for INBOX. Raises CANNOT."""
        levels = levels_of(self._layout, name)
        return self._root + b"/" + entry_of(self._layout, levels) if levels else self._root

    def _existing(self, name: str) -> bytes:
        """The container of what is there, be it a mailbox or a parent. Raises NOT_FOUND."""
        try:
            container = self._container(name)
        except StorageError:
            raise not_found() from None
        with refusing(_LOOK):
            if container != self._root and not (self._is_directory(container) and self._is_passable(container)):
                raise not_found()
        return container

    def find(self, name: str) -> bytes:
        """The directory of an existing mailbox; the root for INBOX. Raises NOT_FOUND."""
        container = self._existing(name)
        if container == self._root:
            return container
        with refusing(_LOOK):
            if not self._is_mailbox(container):
                raise not_found()
        return container + self._inner

    # Changing

    def free(self, name: str) -> bytes:
        """The directory that a new mailbox would have. Raises EXISTS, CANNOT."""
        container = self._container(name.removesuffix(self._layout.separator))
        with refusing(_LOOK):
            if container == self._root or self._is_mailbox(container):
                raise exists()
            self._must_be_passable(container)
        self._must_fit([container])
        return container + self._inner

    def _must_be_passable(self, container: bytes) -> None:
        if not self._is_passable(container):
            raise StorageError(Reason.CANNOT, "there is something of this name that is no mailbox")

    def _must_fit(self, containers: Iterable[bytes]) -> None:
        """Refuses what could be made, but its messages could not be opened. Raises CANNOT."""
        if any(len(container) + len(self._inner) + _FILE_LIMIT > _PATH_LIMIT for container in containers):
            raise StorageError(Reason.CANNOT, "this mailbox name is not possible here: it is too long")

    def create(self, name: str, given: Mapping[bytes, bytes] = NOTHING) -> bytes:
        """Make the directories, with those of parents; the new directory. The uidlist is the caller's.

        Raises EXISTS, CANNOT. Durable when it returns.
        """
        path = self.free(name)
        container = path.removesuffix(self._inner)
        with refusing("cannot create the mailbox"):
            made = self._make_above(path)
            built = self._aside()
            try:
                self._furnish(built, self._template(container), given)
                self._put(built, path)
            except (OSError, StorageError):
                self._drop(built, made)
                raise
            try:
                self._sync(path, made)
            except OSError:
                # Who is told that it failed must not find it.
                drop_empty(self._files, self.delete(name), path)
                self._drop(b"", made)
                raise
        return path

    def _template(self, container: bytes) -> bytes:
        """Whose mode, group and rights a new mailbox has: those of the mailbox above, or of the root."""
        above = os.path.dirname(container)
        is_mailbox = above != self._root and self._is_mailbox(above)
        return above + self._inner if is_mailbox else self._root

    def _furnish(self, path: bytes, template: bytes, given: Mapping[bytes, bytes]) -> None:
        owner = ownership(self._files.stat(template))
        self._files.make_directory(path, owner)
        for part in _PARTS:
            self._files.make_directory(path + b"/" + part, owner)
        inherit(self._files, path, template, owner, given)
        self._files.fsync_directory(path)

    def _put(self, built: bytes, path: bytes) -> None:
        """Give the directory that was built its place, or what is in it if there is a parent of that name already."""
        try:
            self._files.rename(built, path)
            return
        except OSError as error:
            if error.errno not in _THERE:
                raise
        if not self._is_directory(path):
            raise exists()
        # `cur` last: it makes the mailbox. What lies there besides stays, as mail that was delivered beforehand.
        for entry in sorted(self._files.scan(built), key=lambda entry: (entry.name == b"cur", entry.name)):
            target = path + b"/" + entry.name
            is_taken = is_there(self._files, target)
            if entry.name == b"cur" and is_taken:
                raise exists()
            if not is_taken:
                self._files.rename(built + b"/" + entry.name, target)
        self._files.remove_tree(built)

    def _make_above(self, path: bytes) -> list[bytes]:
        """Make the directories above a path that are missing; those that were made, outermost first.

        Raises OSError, and has made none then.
        """
        made: list[bytes] = []
        above = os.path.dirname(path)
        missing = []
        while not self._is_directory(above):
            missing.append(above)
            above = os.path.dirname(above)
        for directory in reversed(missing):
            try:
                self._files.make_directory(directory, ownership(self._files.stat(os.path.dirname(directory))))
                made.append(directory)
            except FileExistsError:
                log.debug("made-by-another path=%r", directory)
            except OSError:
                self._drop(b"", made)
                raise
        return made

    def _drop(self, built: bytes, made: list[bytes]) -> None:
        """Something failed: take away what was made for it."""
        error = remove(self._files, built) if built else None
        if error is not None:
            log.warning("remove path=%r error=%s", built, error)
        for directory in reversed(made):
            with contextlib.suppress(OSError):  # somebody uses it already
                self._files.rmdir(directory)

    def _sync(self, path: bytes, made: list[bytes]) -> None:
        """Make durable that a path is there, or is there no more, and the directories that were made above it."""
        for directory in made:
            self._files.fsync_directory(os.path.dirname(directory))
        self._files.fsync_directory(os.path.dirname(path))
        if self._is_directory(path):
            self._files.fsync_directory(path)

    def _aside(self) -> bytes:
        """A path for what is no mailbox. Raises OSError."""
        if not self._is_directory(self._hidden):
            with contextlib.suppress(FileExistsError):
                self._files.make_directory(self._hidden, ownership(self._files.stat(self._root)))
        return self._hidden + b"/" + set_aside_name()

    def delete(self, name: str) -> bytes:
        """Make the mailbox vanish; the directory to be given to `Files.remove_tree` (it may take long).

        Children stay. An empty result means that nothing is left to be removed. A parent that has no children any more
        goes, too. Raises NOT_FOUND, CANNOT (INBOX), HAS_CHILDREN (a parent that has some).
        """
        if is_inbox(name):
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted")
        container = self._existing(name)
        with refusing("cannot delete the mailbox"):
            is_mailbox = self._is_mailbox(container)
            if is_link(self._files, container):
                # Only the link goes: what it leads to is another mailbox.
                self._files.unlink(container)
                self._files.fsync_directory(os.path.dirname(container))
                return b""
            has_children = bool(self._children(self._files.scan(container), at_root=False))
            if has_children and not is_mailbox:
                raise StorageError(Reason.HAS_CHILDREN, "this is no mailbox, there are only mailboxes below it")
            if not is_mailbox and not all(
                self._layout.is_reserved(entry.name, at_root=False) for entry in self._files.scan(container)
            ):
                raise StorageError(Reason.CANNOT, "this is no mailbox, and there are files in it")
            aside = self._aside()
            try:
                if is_mailbox and self._inner:
                    self._files.rename(container + self._inner, aside)
                    self._files.fsync_directory(container)
                    self._drop(b"", [] if has_children else [container])
                elif has_children:
                    self._take_out(container, aside)
                else:
                    self._files.rename(container, aside)
                    self._put_back(aside, container)
            except FileNotFoundError:
                raise not_found() from None
            self._files.fsync_directory(os.path.dirname(container))
        return aside

    def _take_out(self, container: bytes, aside: bytes) -> None:
        """Move everything but the mailboxes below out of a mailbox's directory."""
        self._files.make_directory(aside, ownership(self._files.stat(container)))
        entries = self._files.scan(container)
        children = {entry.name for entry in self._children(entries, at_root=False)}
        for entry in sorted(entries, key=lambda entry: (entry.name != b"cur", entry.name)):
            path = container + b"/" + entry.name
            if entry.is_directory and entry.name not in children:
                self._files.rename(path, aside + b"/" + entry.name)
            elif entry.name not in children:
                self._files.unlink(path)
        self._files.fsync_directory(container)

    def _put_back(self, aside: bytes, container: bytes) -> None:
        """Somebody may have made a mailbox below this one since we looked: that one stays."""
        for entry in self._children(self._files.scan(aside), at_root=False):
            log.warning("made-while-deleted path=%r name=%r", container, entry.name)
            if not self._is_directory(container):
                self._files.make_directory(container, ownership(self._files.stat(aside)))
            self._files.rename(aside + b"/" + entry.name, container + b"/" + entry.name)
            self._files.fsync_directory(container)

    def rename(self, old: str, new: str, prepare: Prepare = lambda moves: None) -> list[tuple[str, str]]:
        """Rename with all below it; the pairs of old and new names. Not for INBOX. Raises NOT_FOUND, EXISTS, CANNOT.

        `prepare` is told what is about to be renamed, by path.
        """
        separator = self._layout.separator
        if is_inbox(old):
            raise StorageError(Reason.CANNOT, "INBOX cannot be renamed")
        source = self._existing(old)
        old = join(self._layout, levels_of(self._layout, old))
        new = join(self._layout, levels_of(self._layout, new.removesuffix(separator)))
        if new.startswith(old + separator):
            raise StorageError(Reason.CANNOT, "a mailbox cannot be put below itself")
        target = self._container(new)
        with refusing(_LOOK):
            if target == self._root or is_there(self._files, target):
                raise exists()
            self._must_be_passable(target)
        names = self._names()
        moving = sorted(name for name in names if name == old or name.startswith(old + separator))
        self._must_fit(self._container(new + name[len(old) :]) for name in moving)
        prepare([(source, target)])
        with refusing("cannot rename the mailbox"):
            made = self._make_above(target)
            try:
                self._files.rename(source, target)
            except OSError as error:
                self._drop(b"", made)
                if error.errno in _THERE:
                    raise exists() from None
                raise
            # The new name first: a rename that only took the old one away would be a loss.
            self._sync(target, made)
            self._files.fsync_directory(os.path.dirname(source))
        return [(name, new + name[len(old) :]) for name in moving if names[name]]

    def purge_trash(self, now: float) -> None:
        """Remove what deletions, and makings that were cut short, left behind more than an hour ago."""
        with refusing("cannot remove deleted mailboxes"):
            if not self._is_directory(self._hidden):
                return
            for name in self._files.listdir(self._hidden):
                path = self._hidden + b"/" + name
                if is_set_aside(self._files, path, now):
                    if self._children(self._files.scan(path), at_root=False):
                        # A crash in the moment between a deletion and `_put_back`. It is not ours to throw away.
                        log.error("mailbox-in-trash path=%r: move the directories in it to where they belong", path)
                    else:
                        self._files.remove_tree(path)
