"""Messages into another mailbox, for COPY and MOVE: hard links where that is possible. `formats.md` 2.9.

The straight way: what can keep its base name is linked under its final name, with the target's lock held. A link never
replaces anything, so nothing has to be looked for first; what is in `cur/` or `new/` without a line in the uidlist is a
message without a UID, as after a rename (`formats.md` 1.6), and is removed again if the rest fails.

The other way, where there can be no link or a message needs another name: into `tmp/`, before the target is locked.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from greenmail.message.compressed import MAGIC, kind_of
from greenmail.message.content import BLOCK
from greenmail.message.measured import measured
from greenmail.message.unpacked import LARGEST
from greenmail.storage.api import Flags
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.lost_answers import Identity
from greenmail.storage.maildir_find import Finder, Item, find_file
from greenmail.storage.maildir_flags import BATCH
from greenmail.storage.maildir_name import Sizes, base_name, sizes_of

_RETRIES = 10
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES, errno.ENOSYS}


class Original(NamedTuple):
    """A message that is to be copied."""

    item: Item
    flags: Flags
    guid: bytes
    size: int = -1  # with CRLF line ends; -1: not known
    temporary: bytes = b""  # in the target's tmp/, if it goes that way
    largest: int = LARGEST  # see `measured`


class Linked(NamedTuple):
    """What `link_all` made of an original: None as `sizes` if it is gone."""

    original: Original
    sizes: Sizes | None
    date: int
    name_is_right: bool  # the sizes in the name are those of the file
    stored: int = 0  # octets of the file itself
    source: Identity = (0, 0)  # the file that was copied
    made: Identity = (0, 0)  # the copy; the same file if it is a link


class OtherWay(OSError):
    """Not to be linked under the name that was chosen: it has to be copied, or to have another name."""


Wanted = tuple[Item, bytes, int]  # a message; its path in the target; octets as its name tells them, or -1
Made = os.stat_result | None  # of a link; None: the message is gone


def link_straight(files: Files, directory: bytes, wanted: Sequence[Wanted]) -> list[Made] | OSError:
    """Link messages of the mailbox in `directory`; all that are there, or none and why. In the pool."""
    finder = Finder(files, directory)
    made: list[Made] = []
    try:
        for item, target, octets in wanted:
            made.append(_straight(files, directory, item, target, octets, finder))
    except OSError as error:
        unlink_made(files, wanted, made)
        return error
    return made


def unlink_made(files: Files, wanted: Sequence[Wanted], made: Sequence[Made]) -> None:
    """Take back links that are not numbered."""
    for (_, target, _), found in zip(wanted, made, strict=False):
        if found is not None:
            files.unlink_quietly(target)


def _straight(files: Files, directory: bytes, item: Item, target: bytes, octets: int, finder: Finder) -> Made:
    name, is_new = item.name, item.is_new
    for _ in range(_RETRIES):
        try:
            files.link(directory + (b"/new/" if is_new else b"/cur/") + name, target)
        except FileNotFoundError:
            place = finder.find(base_name(name), (name, is_new))
            if place is None:
                return None
            name, is_new = place
        except OSError as error:
            if error.errno in _NO_LINK or error.errno == errno.EEXIST:
                raise OtherWay(error.errno, "no link") from error
            raise
        else:
            return _proved(files, target, octets)
    raise OSError(errno.EBUSY, "renamed again and again by another program")


def _proved(files: Files, target: bytes, octets: int) -> Made:
    """What was linked, if it is a file of as many octets as its name tells: what its name led to may be anything."""
    try:
        found = files.lstat(target)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ELOOP, "not a file")
        if octets not in (-1, found.st_size):
            raise OtherWay(errno.EINVAL, "the name does not tell the size")
    except FileNotFoundError:
        return _taken_up(files, target)
    except OSError:
        files.unlink_quietly(target)
        raise
    return found


def _taken_up(files: Files, target: bytes) -> Made:
    """Another program gave the new message another name at once; the next look takes that up. None: it removed it."""
    directory = os.path.dirname(os.path.dirname(target))
    place = find_file(files, directory, base_name(os.path.basename(target)))
    if place is None:
        return None
    name, is_new = place
    return files.lstat(directory + (b"/new/" if is_new else b"/cur/") + name)


def link_all(files: Files, directory: bytes, originals: Sequence[Original], owner: Ownership) -> list[Linked] | OSError:
    """Link messages into the target's `tmp/`; all, or none and what went wrong. In the pool."""
    made: list[Linked] = []
    try:
        for original in originals:
            made.append(_link_one(files, directory, original, owner))
    except OSError as error:
        for linked in made:
            if linked.sizes is not None:
                files.unlink_quietly(linked.original.temporary)
        return error
    return made


def _link_one(files: Files, directory: bytes, original: Original, owner: Ownership) -> Linked:
    name, is_new = original.item.name, original.item.is_new
    base = base_name(name)
    for _ in range(BATCH):
        path = directory + (b"/new/" if is_new else b"/cur/") + name
        try:
            return _link_or_copy(files, path, original, owner)
        except FileNotFoundError:
            found = find_file(files, directory, base)
            if found is None:
                break
            name, is_new = found
    return Linked(original, None, -1, False)


def _link_or_copy(files: Files, path: bytes, original: Original, owner: Ownership) -> Linked:
    try:
        return _linked(files, path, original)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    return _copied(files, path, original, owner)


def _linked(files: Files, path: bytes, original: Original) -> Linked:
    """What the name leads to at this moment is the message: so the link is looked at, not what it was made of."""
    files.link(path, original.temporary)
    try:
        found = files.lstat(original.temporary)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ELOOP, "not a file")
        claimed = sizes_of(base_name(original.item.name))
        if claimed.on_disk == found.st_size and is_possible(claimed):
            real, name_is_right = claimed, True
        else:
            descriptor = files.open(original.temporary, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                real, name_is_right = _sizes(files, descriptor, original, found.st_size)
            finally:
                files.close(descriptor)
    except OSError:
        files.unlink_quietly(original.temporary)
        raise
    identity = found.st_dev, found.st_ino
    return Linked(original, real, int(found.st_mtime), name_is_right, found.st_size, identity, identity)


def _copied(files: Files, path: bytes, original: Original, owner: Ownership) -> Linked:
    """Where there can be no link."""
    descriptor = files.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        found = files.fstat(descriptor)
        made = _copy_octets(files, descriptor, original.temporary, found, owner)
        real, name_is_right = _sizes(files, descriptor, original, found.st_size)
    finally:
        files.close(descriptor)
    source = found.st_dev, found.st_ino
    return Linked(original, real, int(found.st_mtime), name_is_right, found.st_size, source, made)


def is_possible(claimed: Sizes) -> bool:
    disk, crlf = claimed.on_disk, claimed.with_crlf
    return disk is not None and crlf is not None and disk <= crlf <= 2 * disk


def _sizes(files: Files, descriptor: int, original: Original, size: int) -> tuple[Sizes, bool]:
    """The sizes of a file, and whether its name can keep what it says. A compressed one is unpacked only without W."""
    claimed = sizes_of(base_name(original.item.name))
    disk, crlf = claimed.on_disk, claimed.with_crlf
    if is_possible(claimed) and (disk == size or kind_of(files.pread(descriptor, MAGIC, 0)) is not None):
        return claimed, True
    # Counted before, of this very file: files do not change.
    counted = Sizes(size, original.size)
    if claimed == Sizes(None, None) and is_possible(counted) and kind_of(files.pread(descriptor, MAGIC, 0)) is None:
        return counted, True
    found = measured(descriptor, -1 if disk is None else disk, original.largest)
    if found.damage:  # nobody can say
        return Sizes(found.disk if disk is None else disk, found.crlf if crlf is None else crlf), True
    return Sizes(found.disk, found.crlf), disk in (None, found.disk) and crlf in (None, found.crlf)


def _copy_octets(files: Files, descriptor: int, path: bytes, found: os.stat_result, owner: Ownership) -> Identity:
    """A new file at `path` with everything that can be read from `descriptor`, durable."""
    target = files.create_exclusive(path, owner)
    try:
        place = 0
        while data := files.pread(descriptor, BLOCK, place):
            files.write_all(target, data)
            place += len(data)
        files.set_mtime(target, found.st_mtime_ns)
        files.fsync(target)
        made = files.fstat(target)
    except OSError:
        files.unlink_quietly(path)
        raise
    finally:
        files.close(target)
    return made.st_dev, made.st_ino
