"""Numbering what a listing showed for the first time, and saying what it found. `formats.md` 1.10.

Part of `maildir_scan`, under the same locks; where there is much of it, in the pool.
"""

import logging
from array import array
from bisect import bisect_left
from collections.abc import Sequence

from greenmail.errors import Reason, StorageError
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_change import Arrived, Change
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_first import First, by_uid
from greenmail.storage.maildir_name import base_name, letters_of, sizes_of
from greenmail.storage.maildir_slices import SLICE, in_uid_order, let_go
from greenmail.storage.maildir_twins import Scan, only_files
from greenmail.storage.save_dates import first_seen

log = logging.getLogger(__name__)


def describe(box: Box, scan: Scan, change: Change) -> None:
    """Number what is new, and say in `change` what happened."""
    if scan.first is not None:
        _describe_first(box, scan.first, scan, change)
        return
    infos: set[bytes] = set()  # there are few kinds of them
    for files in (scan.came.values(), scan.unknown.values(), scan.renamed.values()):
        infos.update([name.partition(b":")[2] for name, is_new in files if not is_new])
    letters = {letter for info in infos for letter in letters_of(b":" + info)}
    if box.keywords.name_letters(letters, write=not box.read_only):
        box.forget_meanings()
    change.went(sorted(scan.gone))
    for uid, (name, is_new) in scan.renamed.items():
        flags = box.flags_of(name, is_new)
        row = box.index.table.row(uid)
        change.became(uid, name, is_new, flags if flags != box.index.table.flags_of(row) else None)
    numbered = {number: scan.came[base] for base in scan.came if (number := box.uid_of(base)) is not None}
    fresh = _number(box, scan)
    numbered.update(fresh)
    _tell(box, numbered, fresh, change)
    if box.uidlist.next_uid > box.index.uidnext:
        change.value("next", box.uidlist.next_uid)
    if not box.index.times and box.index.first_recent == 1 and not len(box.index.table):
        change.value("recent", _first_recent(numbered, fresh, box))


def _describe_first(box: Box, first: First, scan: Scan, change: Change) -> None:
    """The same where nothing was known of any message."""
    letters = {letter for kind in first.kinds for letter in letters_of(b":" + kind[:-1])}
    if box.keywords.name_letters(letters, write=True):
        box.forget_meanings()
    next_uid = box.uidlist.next_uid  # of those that are numbered now, and come behind all others
    uids = _number_first(box, first, scan)
    let_go(first.bases)
    uids = by_uid(first, uids)
    if uids:
        if uids[0] < next_uid:
            _know_sizes(box, uids, first)
        flags = [box.flags_of(b":" + kind[:-1], False) for kind in first.kinds]
        change.began(Arrived(uids, first.names, flags, first.infos, first.sizes, first.new))
    change.value("next", box.uidlist.next_uid)
    if box.index.first_recent == 1:
        new = set(first.new)
        row = bisect_left(uids, next_uid)
        while row and row - 1 in new:
            row -= 1
        change.value("recent", uids[row] if row < len(uids) else box.uidlist.next_uid)


def _number_first(box: Box, first: First, scan: Scan) -> Sequence[int]:
    """The UID of each message, 0 if there was no room to give it one."""
    count = len(first.bases)
    uids = array("I", [0]) * count
    unknown: Sequence[int] = range(count)
    if box.uidlist.has_records:
        uids = box.uidlist.uids.uids_of(first.bases)
        unknown = [row for row, uid in enumerate(uids) if not uid]
    if not unknown:
        return uids
    try:
        if box.uidlist.has_records:
            for row, uid in zip(unknown, box.uidlist.assign([first.bases[row] for row in unknown]), strict=True):
                uids[row] = uid
        else:
            one = box.uidlist.found(first.bases)
            write_uidnext(box.files, box.data_path, box.uidlist.uidvalidity, box.uidlist.next_uid)
            return range(one, one + count)
        write_uidnext(box.files, box.data_path, box.uidlist.uidvalidity, box.uidlist.next_uid)
    except StorageError as error:
        _without_room(box, len(unknown), error, scan)
    return uids


def _know_sizes(box: Box, uids: Sequence[int], first: First) -> None:
    """What names do not tell the uidlist may."""
    if not box.uidlist.may_have(b"W"):
        return
    rows = {uid: row for row, (uid, size) in enumerate(zip(uids, first.sizes, strict=True)) if size < 0}
    for uid, value in box.uidlist.fields(rows, b"W").items():
        if value.isdigit() and len(value) < 19:
            first.sizes[rows[uid]] = int(value)


def _without_room(box: Box, messages: int, error: StorageError, scan: Scan) -> None:
    """Raises the error, if it is another."""
    if error.reason not in (Reason.NO_SPACE, Reason.OVER_QUOTA):
        raise error
    # What is known can still be read, flagged and expunged; that makes room.
    log.warning("number mailbox=%r messages=%d error=%r", box.name, messages, error.text)
    scan.is_whole = False


def _tell(
    box: Box, numbered: dict[int, tuple[bytes, bool]], fresh: dict[int, tuple[bytes, bool]], change: Change
) -> None:
    """That these came: column by column, as there may be a million."""
    uids = sorted(numbered) if len(fresh) < len(numbered) else list(numbered)
    for start in range(0, len(uids), SLICE):
        some = uids[start : start + SLICE]
        files = [numbered[uid] for uid in some]
        # The line of a message that is numbered just now tells no size.
        sizes = [
            -1 if b",W=" not in name and uid in fresh else known_size(box, uid, name)
            for uid, (name, _) in zip(some, files, strict=True)
        ]
        change.came_all(some, files, box.flags_of_all(files), sizes)


def _first_recent(numbered: dict[int, tuple[bytes, bool]], fresh: dict[int, tuple[bytes, bool]], box: Box) -> int:
    """Without an index: what no server has seen, and what lies in `new/`, as far as nothing else is behind it."""
    if numbered and len(fresh) == len(numbered):
        return min(numbered)
    first = max(box.uidlist.next_uid, max(numbered, default=0) + 1)
    for uid in sorted(numbered, reverse=True):
        if uid not in fresh and not numbered[uid][1]:
            break
        first = uid
    return first


def _number(box: Box, scan: Scan) -> dict[int, tuple[bytes, bool]]:
    """Give UIDs to what is unknown, in the order of formats.md 1.10."""
    bases = in_uid_order(only_files(box, scan))
    if not bases:
        return {}
    if box.read_only:
        first = max(box.uidlist.next_uid, box.index.uidnext, max(box.unwritten.values(), default=0) + 1)
        box.unwritten.update(zip(bases, range(first, first + len(bases)), strict=True))
        return {box.unwritten[base]: scan.unknown[base] for base in bases}
    try:
        uids = box.uidlist.assign(bases, first_seen(box, scan.unknown))
        write_uidnext(box.files, box.data_path, box.uidlist.uidvalidity, box.uidlist.next_uid)
    except StorageError as error:
        _without_room(box, len(bases), error, scan)
        return {}
    return dict(zip(uids, map(scan.unknown.__getitem__, bases), strict=True))


def known_size(box: Box, uid: int, name: bytes) -> int:
    """RFC822.SIZE as the name or the uidlist has it, or -1."""
    size = sizes_of(base_name(name)).with_crlf if b",W=" in name else None
    if size is not None:
        return size
    value = box.uidlist.field(uid, b"W")
    return int(value) if value is not None and value.isdigit() and len(value) < 19 else -1
