"""Removing the files of messages: EXPUNGE, and the source of a MOVE. `formats.md` 1.9.

An unlink names the exact file that it decided about; ENOENT means that somebody was faster, and then the decision is
made again on the name that is found. What goes as it should is handled as columns, the rest has an `Outcome` each.
These functions may run in another thread: they get and give plain values.
"""

import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from greenmail.storage.api import DELETED
from greenmail.storage.filesystem import Files, is_there
from greenmail.storage.lost_answers import Identity
from greenmail.storage.maildir_find import Finder, Item, Outcome
from greenmail.storage.maildir_name import LETTER_OF_FLAG, base_name, disk_size_of, letters_of
from greenmail.storage.quota import disk_size

_RETRIES = 10
_T = LETTER_OF_FLAG[DELETED]
_ANY: Identity = (-1, -1)  # in the place of an identity: whatever file it is


@dataclass(slots=True)
class Unlinked:
    """What became of a batch."""

    uids: list[int] = field(default_factory=list)  # of the files that went as they should
    octets: int = 0  # of these, if they were asked for
    others: list[Outcome] = field(default_factory=list)

    def gone(self) -> list[int]:
        """All that went, ascending."""
        return sorted([*self.uids, *(outcome.uid for outcome in self.others if outcome.done)])


def unlink_all(
    files: Files,
    directory: bytes,
    uids: Sequence[int],
    names: Sequence[bytes],
    in_new: Container[int],
    flagged: bool,
    weighs: bool,
) -> Unlinked:
    """Unlink each file, by the name that it has now; `flagged`: only if that has the letter T, the others stay.

    `weighs`: sizes are asked for.
    """
    identity = None if flagged else _ANY
    finder = Finder(files, directory)
    done = Unlinked()
    parts = directory + b"/cur/", directory + b"/new/"
    kinds: dict[bytes, bool] = {}  # what follows a base name -> whether the file goes
    unlink = files.unlink
    for uid, name in zip(uids, names, strict=True):
        is_new = uid in in_new
        end = name.find(b":")
        info = b"" if end < 0 else name[end:]
        goes = kinds.get(info)
        if goes is None:
            goes = kinds[info] = not flagged or _T in letters_of(info)
        octets = disk_size_of(base_name(name)) if weighs else 0
        is_done = False
        if not goes:
            done.others.append(Outcome(uid, name, is_new, False))
            continue
        if octets is not None:
            try:
                # If the server's answer got lost it may have another name, and be there still.
                is_done = unlink(parts[is_new] + name) or finder.find(base_name(name), (name, is_new)) is None
            except OSError:
                is_done = False
        if is_done and octets is not None:
            done.uids.append(uid)
            done.octets += octets
        else:
            done.others.append(_unlink_one(files, directory, Item(uid, name, is_new), identity, finder, weighs))
    return done


def unlink_same(
    files: Files, directory: bytes, items: Sequence[tuple[Item, Identity]], weighs: bool, is_remote: bool = False
) -> Unlinked:
    """Unlink each file, by the name that it has now, if it still is the file of this device and inode.

    `is_remote`: the kernel itself may ask the file server again, and be told that there is no such file any more.
    """
    finder = Finder(files, directory)
    return Unlinked(
        others=[_unlink_one(files, directory, item, identity, finder, weighs, is_remote) for item, identity in items]
    )


def _doomed(files: Files, path: bytes, name: bytes, identity: Identity | None, weighs: bool) -> int:
    """Octets of the file at `path` if it is to go, else -1: it has the letter T, or is the one of this `identity`.

    0 if its size is not asked for (`weighs`).
    """
    if identity is None or identity == _ANY:
        goes = identity == _ANY or _T in letters_of(name)
        return -1 if not goes else disk_size(files, path) if weighs else 0
    found = files.lstat(path)
    if (found.st_dev, found.st_ino) != identity:
        return -1
    named = disk_size_of(base_name(name)) if weighs else 0
    if named is not None:
        return named
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _unlink_one(
    files: Files,
    directory: bytes,
    item: Item,
    identity: Identity | None,
    finder: Finder,
    weighs: bool,
    is_remote: bool = False,
) -> Outcome:
    """`identity`: of the file that is to go; None: the letter T in its name decides; _ANY: it goes."""
    name, is_new = item.name, item.is_new
    was_there = False
    for _ in range(_RETRIES):
        path = directory + (b"/new/" if is_new else b"/cur/") + name
        try:
            size = _doomed(files, path, name, identity, weighs)
            if size < 0:
                return Outcome(item.uid, name, is_new, False)
            was_there = True
            # If the server's answer got lost it may have another name, and be there still.
            if files.unlink(path) or finder.find(base_name(name), (name, is_new)) is None:
                return Outcome(item.uid, name, is_new, True, size=size)
            raise FileNotFoundError
        except FileNotFoundError:
            try:
                found = finder.find(base_name(name), (name, is_new))
            except OSError as error:
                return Outcome(item.uid, name, is_new, False, error, is_unsure=True)
            if found is None:
                return Outcome(item.uid, None, is_new, False, is_unsure=was_there and is_remote)
            name, is_new = found
        except OSError as error:
            return Outcome(item.uid, name, is_new, False, error, is_unsure=not is_there(path))
    return Outcome(item.uid, name, is_new, False)
