"""What a listing showed, and what makes trouble there: two files of one base name, one without any, what is no file.

`formats.md` 1.1.
"""

import contextlib
import logging
import stat
from dataclasses import dataclass, field

from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_first import First
from greenmail.storage.maildir_name import base_name, sizes_of

log = logging.getLogger(__name__)

_TWIN_AGE = 30.0
_MANY = 16  # files of which the kinds are asked for by listing them


@dataclass(slots=True)
class Scan:
    """One pass over the directories."""

    missing: dict[int, tuple[bytes, bool]] = field(default_factory=dict)  # rows whose file was not listed
    extra: list[tuple[bytes, bool]] = field(default_factory=list)  # files that no row has, `new/` first
    strays: dict[int, tuple[bytes, bool]] = field(default_factory=dict)  # rows that the uidlist gave another UID
    lost: dict[bytes, int] = field(default_factory=dict)  # strays that the uidlist does not know: base name -> UID
    came: dict[bytes, tuple[bytes, bool]] = field(default_factory=dict)  # numbered before, without a row
    unknown: dict[bytes, tuple[bytes, bool]] = field(default_factory=dict)  # base name -> file to be numbered
    first: First | None = None  # all there is, to be numbered, where nothing was known
    renamed: dict[int, tuple[bytes, bool]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    others: frozenset[bytes] | None = None  # listed names of what may be no file; None: nobody knows of any
    has_cur: bool = False  # `cur/` was listed
    is_whole: bool = True  # everything that was listed is taken up

    @property
    def has_unknown(self) -> bool:
        """Whether something is to be numbered."""
        return bool(self.unknown) or (self.first is not None and bool(self.first.names))


def give_base(box: Box, scan: Scan, name: bytes, is_new: bool) -> None:
    """A name that begins with a colon has no identity: it gets a name in `new/`."""
    if box.read_only:
        return
    base = box.context.unique.next()
    try:
        box.files.rename(box.path(name, is_new), box.new_path + base)
    except FileNotFoundError:
        return
    scan.unknown[base] = (base, True)


def part_twins(box: Box, scan: Scan, file: tuple[bytes, bool], twin: tuple[bytes, bool]) -> None:
    """Two files with one base name: formats.md 1.1."""
    if box.read_only:
        return
    path = box.path(*file)
    try:
        mine, other = box.files.lstat(path), box.files.lstat(box.path(*twin))
    except FileNotFoundError:
        scan.is_whole = False  # one of them is just being renamed: list again at the next look
        return
    if (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino):
        if mine.st_nlink > 1 and box.context.runtime.now() - mine.st_ctime > _TWIN_AGE and _are_two(box, file, twin):
            log.warning("twin-removed mailbox=%r name=%r", box.name, file[0])
            box.files.unlink_quietly(path)
        return
    base = box.context.unique.next()
    if sizes_of(base_name(file[0])).on_disk == mine.st_size:  # else it tells the sizes of its twin
        base += base_name(file[0])[len(base_name(file[0]).split(b",", 1)[0]) :]
    log.warning("twin-renamed mailbox=%r name=%r to=%r", box.name, file[0], base)
    try:
        box.files.rename(path, box.new_path + base)
    except FileNotFoundError:
        scan.is_whole = False
        return
    scan.unknown[base] = (base, True)


def _are_two(box: Box, file: tuple[bytes, bool], twin: tuple[bytes, bool]) -> bool:
    """Whether the directories list both: where case does not count, two names can be one entry, and the only one."""
    return all(name in box.files.listdir(box.new_path if is_new else box.cur_path) for name, is_new in (file, twin))


def only_files(box: Box, scan: Scan) -> list[bytes]:
    """The base names in `unknown` that are files: directories and links are no messages, nor is what has gone.

    A directory's entries tell the kinds of all its files for what asking for a few of them costs.
    """
    found, others = scan.unknown, scan.others
    if others is not None:
        return [base for base, (name, is_new) in found.items() if name not in others or _is_file(box, name, is_new)]
    plain: list[frozenset[bytes]] = [frozenset(), frozenset()]
    if len(found) >= _MANY:
        for is_new in {is_new for _, is_new in found.values()}:
            with contextlib.suppress(FileNotFoundError):
                plain[is_new] = frozenset(box.files.kinds(box.new_path if is_new else box.cur_path)[0])
    return [base for base, (name, is_new) in found.items() if name in plain[is_new] or _is_file(box, name, is_new)]


def _is_file(box: Box, name: bytes, is_new: bool) -> bool:
    """Directories and links are no messages; neither is what has gone meanwhile."""
    try:
        found = box.files.surely(box.files.lstat, box.path(name, is_new))
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        log.warning("not-a-file mailbox=%r name=%r", box.name, name)
        return False
    return True
