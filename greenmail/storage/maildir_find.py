"""Finding and opening a message's file, which anybody may rename at any time. `formats.md` 1.9."""

import os
from typing import NamedTuple

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, refusal
from greenmail.storage.maildir_box import LARGE, Box
from greenmail.storage.maildir_name import base_name
from greenmail.storage.maildir_scan import list_names, sync

_RETRIES = 10


class Item(NamedTuple):
    """A message's file as it was last known. (A tuple is made in half the time of a frozen dataclass.)"""

    uid: int
    name: bytes
    is_new: bool


class Outcome(NamedTuple):
    """What a piece of work in the pool did to one file."""

    uid: int
    name: bytes | None  # None: there is no such file any more
    is_new: bool
    done: bool
    error: OSError | None = None
    size: int = 0  # octets on disk of a file that was unlinked
    is_unsure: bool = False  # nobody can say whether it was done: the file server does not answer


class Finder:
    """Where files are that were renamed. One listing serves all files of a batch that somebody else renamed."""

    def __init__(self, files: Files, directory: bytes) -> None:
        self._files = files
        self._directory = directory
        self._places: dict[bytes, tuple[bytes, bool]] = {}

    def find(self, base: bytes, stale: tuple[bytes, bool]) -> tuple[bytes, bool] | None:
        """Where this base name is, as `stale` is not there. Not listed twice is not there (but formats.md 7.3)."""
        found = self._places.get(base)
        if found is not None and found != stale:
            return found
        for _ in range(2):
            self._list()
            found = self._places.get(base)
            if found is not None:
                return found
        return None

    def _list(self) -> None:
        self._places.clear()
        for part, is_new in ((b"/new/", True), (b"/cur/", False)):
            self._places.update(
                (base_name(name), (name, is_new)) for name in list_names(self._files, self._directory + part)
            )


def find_file(files: Files, directory: bytes, base: bytes) -> tuple[bytes, bool] | None:
    """Where the file with this base name is now."""
    return Finder(files, directory).find(base, (b"", False))


def item_of(box: Box, uid: int) -> Item | None:
    """The name that the index has for `uid`."""
    index = box.index
    row = index.table.row(uid)
    return Item(uid, index.names[row], uid in index.in_new) if row >= 0 else None


def open_where_it_was(box: Box, uid: int) -> int:
    """A descriptor of the message's file under the name that is known of it; -1 if it needs `open_file`."""
    index = box.index
    row = index.table.row(uid)
    if row < 0:
        return -1
    path = (box.new_path if uid in index.in_new else box.cur_path) + index.names[row]
    try:
        return box.files.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return -1


def open_file(box: Box, uid: int) -> int:
    """A descriptor of the message's file. Raises EXPUNGED only when listings under the lock are sure of it."""
    for _ in range(_RETRIES):
        item = item_of(box, uid)
        if item is None:
            break
        path = box.path(item.name, item.is_new)
        try:
            return box.files.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            found = box.offload(len(box.index.names) > LARGE, open_wherever, box.files, box.place.directory, item)
        except OSError as error:
            raise refusal(error, "The message cannot be read") from error
        if isinstance(found, int):
            return found
        if isinstance(found, OSError):
            raise refusal(found, "The message cannot be read") from found
        _rescan(box)
    raise StorageError(Reason.EXPUNGED, "The message is gone.")


def _rescan(box: Box) -> None:
    if box.read_only:
        with box.reading():
            sync(box, full=True)
        return
    with box.locked():
        sync(box, full=True)


def open_wherever(files: Files, directory: bytes, item: Item) -> int | OSError | None:
    """Open a message by whatever name its base has now; None if there is none."""
    for _ in range(_RETRIES * 10):
        found = find_file(files, directory, base_name(item.name))
        if found is None:
            return None
        name, is_new = found
        try:
            return files.open(directory + (b"/new/" if is_new else b"/cur/") + name, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # renamed again
        except OSError as error:
            return error
    return None
