"""Bringing what is known of a Maildir into line with the disk: `formats.md` 1.1, 1.7 to 1.10, 7.3.

The remembered state of the directories, `Index.times`, is a list of nanoseconds:

    mtime of new/, due of new/, mtime of cur/, due of cur/; of the uidlist and of `OverflowKeywords`: inode, size, mtime

mtime: before the directory was last listed. due: 0 if that was at least 2 s later, so that an equal mtime proves that
nothing changed; else the moment from which one more listing gives that certainty.
`look` takes no lock while nothing changed. What is "new" or "gone" is concluded only from listings under the lock.
"""

import logging
import os
from array import array

from greenmail.errors import Reason, StorageError
from greenmail.runtime import sparing_collections
from greenmail.storage.api import Flags
from greenmail.storage.filesystem import Files, is_stale, refusing, sync_names
from greenmail.storage.maildir_box import HOT_NS, LARGE, Box
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_meet import meet
from greenmail.storage.maildir_name import base_name, is_message
from greenmail.storage.maildir_number import describe
from greenmail.storage.maildir_slices import SLICE, messages_of, set_of
from greenmail.storage.maildir_twins import Scan, give_base, part_twins
from greenmail.storage.mounts import TICK_NS
from greenmail.storage.presence import found_at, is_directory
from greenmail.storage.uidlist_file import Refreshed

log = logging.getLogger(__name__)

_STALE_LOOKS = 3
_CONFIRMATIONS = 5
_SUSPECT_SECONDS = 1.0
_SUSPECT_TIMES = 3

Names = list[bytes]


def list_names(files: Files, path: bytes) -> Names:
    """The entries that can be messages, or names that have to be repaired; none if there is no directory."""
    try:
        return messages_of(files.surely(files.listdir, path))
    except FileNotFoundError:
        return []


def _list(box: Box, path: bytes) -> Names:
    names: Names = box.offload(len(box.index.names) > LARGE, list_names, box.files, path)
    return names


def look(box: Box) -> os.stat_result | None:
    """Take up what anyone changed; as `api.Mailbox.look`. Raises GONE."""
    found = box.as_seen()
    if found is not None:
        return found
    for _ in range(_STALE_LOOKS):
        try:
            _look(box)
            return None
        except StorageError as error:
            if error.reason is Reason.NOT_FOUND:
                box.check()  # GONE, if the mailbox went in the midst of the look
            # Who takes no lock may find the uidlist replaced between two looks at it.
            if not is_stale(error) and not (box.read_only and error.reason is Reason.IN_USE):
                raise
            log.info("stale mailbox=%r error=%r", box.name, error.text)
    _look(box)
    return None


def _look(box: Box) -> None:
    box.check()
    with refusing("The mailbox cannot be read"):
        box.follow()
        if not _needs_sync(box):
            return
    if box.read_only:
        with box.reading():
            sync(box)
        return
    try:
        with box.locked():
            sync(box)
    except StorageError as error:
        if error.reason is Reason.READ_ONLY or error.reason is Reason.NO_PERMISSION:
            _look_read_only(box)
        elif error.reason is Reason.IN_USE and box.index.times:
            log.warning("look mailbox=%r %s", box.name, "is locked by another program; goes on with what is known")
        else:
            raise


def _look_read_only(box: Box) -> None:
    """We may not write here: nothing is numbered on disk, and nothing moved."""
    log.info("read-only mailbox=%r", box.name)
    box.read_only = True
    with box.reading():
        sync(box)


def _needs_sync(box: Box) -> bool:
    """Whether a listing under the lock is called for. Some 4 µs if nothing changed for a while."""
    times = box.index.times
    if not times or not box.is_settled:
        return True
    new, cur = box.directory_times()
    if new != times[0] or cur != times[2]:
        return True
    now = box.now_ns()
    if box.went_back(now):
        return True
    if times[1]:
        if not _new_is_as_known(box):
            return True
        if now >= times[1] and times is box.index.times:
            times[1] = 0 if box.is_cool(0, new, now) else box.due(0, new, now)
    if times[3] and now >= times[3]:
        if not _cur_is_as_known(box):
            return True
        if times is box.index.times:
            # It changed (by ourselves) shortly before it was verified: then it stays to be verified.
            again = box.due(1, cur, now) + box.verify_after(cur) - HOT_NS
            times[3] = 0 if box.is_cool(1, cur, now) else again
    return False


def _new_is_as_known(box: Box) -> bool:
    listed = box.offload(len(box.index.new_names) > LARGE, box.files.listdir, box.new_path)
    known = box.index.new_names
    if len(listed) == len(known) and all(map(known.__contains__, listed)):
        return True
    return known.keys() == {name for name in listed if is_message(name)}


def _cur_is_as_known(box: Box) -> bool:
    index = box.index
    # Copies: a change of our own while the pool lists only makes the two differ, which is looked into under the lock.
    uids, names, in_new = index.table.uids[:], index.names[:], frozenset(index.in_new)
    same: bool = box.offload(len(names) > LARGE, _is_listed, box.files, box.cur_path, (uids, names, in_new))
    return same


def _is_listed(files: Files, path: bytes, known: tuple["array[int]", Names, frozenset[int]]) -> bool:
    """Whether exactly the files of `cur/` that are known (UIDs, names, UIDs of those in `new/`) are there."""
    uids, names, in_new = known
    listed = set_of(list_names(files, path))
    if in_new:
        names = [name for uid, name in zip(uids, names, strict=True) if uid not in in_new]
    return len(names) == len(listed) and all(
        listed.issuperset(names[start : start + SLICE]) for start in range(0, len(names), SLICE)
    )


def sync(box: Box, full: bool = False, founds: bool = False) -> None:
    """Under the lock (or read-only): list what may have changed, number what is new, drop what is gone.

    `founds`: the uidlist has a UIDVALIDITY and is not written yet; it is, with all that is numbered, before anything
    is known to anybody.
    """
    with refusing("The mailbox cannot be read"):
        _sync(box, full, True, founds)


def freshen(box: Box) -> None:
    """`sync` before a change of our own, under the lock: what is to be verified some time is left to the next look."""
    with refusing("The mailbox cannot be read"):
        _sync(box, False, False)


def _sync(box: Box, full: bool, verify: bool, founds: bool = False) -> None:
    scan = Scan()
    if founds:
        box.uids_are_suspect = False
    else:
        _read_uidlist(box, scan)
    box.refresh_keywords()
    times = box.index.times
    before = new, cur = box.directory_times()
    if not (new and cur):
        _missing_directory(box)
    now = box.now_ns()
    full = full or bool(scan.strays) or not times or not box.is_settled or box.went_back(now)
    list_cur = full or cur != times[2] or (verify and bool(times[3]) and now >= times[3])
    list_new = list_cur or new != times[0] or (verify and bool(times[1]))
    change = Change()
    if list_new:
        is_large = box.is_large
        # Nobody else changes what these read while we have the lock, so they may run in the pool.
        with sparing_collections(is_large or not times):
            scan = box.offload(is_large, _survey, box, scan, list_cur)
            list_cur = scan.has_cur
            _confirm(box, scan)
            # Numbering ends in an fsync.
            box.offload(is_large or scan.has_unknown, describe, box, scan, change)
    if founds and box.uidlist.must_rewrite:  # there was nothing to be numbered, or no room for it: then it is refused
        box.uidlist.rewrite()
    _reinterpret(box, change)
    box.is_settled = scan.is_whole
    box.commit(change, _times(box, before, now, list_new, list_cur))


def _survey(box: Box, scan: Scan, list_cur: bool) -> Scan:
    """List, compare, and say of each file what it is."""
    is_blank = not (box.index.times or box.index.names or box.unwritten or scan.strays)
    if list_cur and is_blank and meet(box, scan):
        scan.has_cur = True
        return scan
    _compare(box, scan, list_cur)
    if scan.missing and not list_cur:
        scan, list_cur = Scan(strays=scan.strays, lost=scan.lost), True
        _compare(box, scan, True)
    scan.has_cur = list_cur
    _classify(box, scan)
    return scan


def _missing_directory(box: Box) -> None:
    """A mailbox without `cur/` is empty only if it was before: else something is wrong, and nothing is expunged."""
    box.check()
    if box.index.names:
        raise StorageError(Reason.UNAVAILABLE, "A directory of the mailbox is missing; try again later.")
    if not box.read_only:
        for path in (box.new_path, box.cur_path):
            if not is_directory(box.files, path):
                box.files.make_directory(path.rstrip(b"/"), box.ownership)
        sync_names(box.files, box.place.directory)


def _times(box: Box, before: tuple[int, int], now: int, list_new: bool, list_cur: bool) -> list[int]:
    if not box.is_settled:
        return []
    new_due, cur_due = (0, 0) if not box.index.times else (box.index.times[1], box.index.times[3])
    if list_new:
        new_due = 0 if box.is_cool(0, before[0], now) else box.due(0, before[0], now)
    if list_cur:
        cur_due = 0 if box.is_cool(1, before[1], now) else box.due(1, before[1], now)
    return [before[0], new_due, before[1], cur_due, *box.control_print()]


def _read_uidlist(box: Box, scan: Scan) -> None:
    """The uidlist is where UIDs come from: whatever differs from it in the index is a stray."""
    refreshed = box.reread_uidlist(not box.read_only)
    uidlist, index = box.uidlist, box.index
    if refreshed is Refreshed.MISSING and (uidlist.rests or not (uidlist.uidvalidity or box.read_only)):
        restore_uidlist(box)  # it went away before we ever read it, or when nobody here had it in memory
    if refreshed is Refreshed.MISSING and not box.read_only:
        _rewrite(box)
    if (uidlist.uidvalidity, uidlist.guid.decode("latin-1") or index.mailbox_id) != (
        index.uidvalidity,
        index.mailbox_id,
    ):
        box.leave()
        box.check()
    if uidlist.must_rewrite and not box.read_only:
        _rewrite(box)
    if box.uids_are_suspect:
        if not box.is_settled or index.times[4:7] != uidlist.print():  # else it is the one that the index agreed with
            box.offload(box.is_large, _find_strays, box, scan)
        box.uids_are_suspect = False
    if uidlist.next_uid > index.uidnext:
        change = Change()
        change.value("next", uidlist.next_uid)
        box.commit(change, index.times)


def _rewrite(box: Box) -> None:
    """A full disk is no reason not to read, flag and expunge: what the file should hold is known."""
    try:
        box.context.runtime.blocking(box.uidlist.rewrite)
    except StorageError as error:
        if error.reason not in (Reason.NO_SPACE, Reason.OVER_QUOTA):
            raise
        log.warning("uidlist-rewrite mailbox=%r error=%r", box.name, error.text)


def _find_strays(box: Box, scan: Scan) -> None:
    """Rows to which the uidlist gives another UID; and those of which it knows nothing.

    Clients know messages by the UIDs of the index. Where the uidlist has none for a message (an old copy of it, a
    damaged line) nor another message for the UID, the index is right, if the file is still there.
    """
    index, uids = box.index, box.uidlist.uids
    for uid, base in uids.missing(zip(index.table.uids, map(base_name, index.names), strict=True)):
        if box.uid_of(base) != uid and (where := index.where(uid)) is not None:
            scan.strays[uid] = where
    taken = set(uids.values()) if scan.strays else set()
    for uid, (name, _) in scan.strays.items():
        if uid not in taken and box.uid_of(base_name(name)) is None:
            scan.lost[base_name(name)] = uid


def _bring_back(box: Box, scan: Scan) -> None:
    """Put messages that are there back into the uidlist, which lost them, with the UIDs that they had."""
    back = {base: uid for base, uid in scan.lost.items() if uid in scan.renamed}
    if not back:
        return
    for uid in back.values():
        del scan.strays[uid]
    if box.read_only:
        box.unwritten.update(back)
        return
    log.warning("uidlist-lost-lines mailbox=%r messages=%d", box.name, len(back))
    box.uidlist.restore(back)
    _rewrite(box)


def restore_uidlist(box: Box) -> None:
    """Take for the uidlist what the index knows; written with the next rewrite."""
    index = box.index
    records = [(uid, b"", base_name(name)) for uid, name in zip(index.table.uids, index.names, strict=True)]
    box.uidlist.load(index.uidvalidity, index.uidnext, records)
    box.uidlist.guid = index.mailbox_id.encode("latin-1")


def read_records(box: Box) -> None:
    """Have in memory what the uidlist says now, so that it can be asked where nobody holds a lock."""
    with box.green:  # others of this worker may be at work on it in the pool
        for is_last in (False, True):
            refreshed = box.reread_uidlist(False)
            if not box.uidlist.rests:
                return
            if refreshed is Refreshed.MISSING:  # no look need notice that
                restore_uidlist(box)
                return
            try:
                box.offload(box.is_large, box.uidlist.wake)
                return
            except StorageError as error:
                if is_last or error.reason is not Reason.IN_USE:
                    raise


def read_fields(box: Box, *keys: bytes) -> bool:
    """Whether the uidlist may now have one of these fields for some message. If so, it is in memory: `read_records`."""
    with box.green:
        refreshed = box.reread_uidlist(False)
        rests = box.uidlist.rests and refreshed is not Refreshed.MISSING
        if rests and not box.offload(box.is_large, box.uidlist.may_have, *keys):
            return False
    read_records(box)
    return box.uidlist.may_have(*keys)


def _compare(box: Box, scan: Scan, list_cur: bool) -> None:
    """Find rows without a file and files without a row. `new/` is listed first: files move from there to `cur/`."""
    index = box.index
    listed_new = frozenset(_list(box, box.new_path))
    known_new = index.new_names
    if scan.strays:
        known_new = {name: uid for name, uid in known_new.items() if uid not in scan.strays}
    scan.extra = [(name, True) for name in listed_new.difference(known_new)]
    scan.missing = {uid: (name, True) for name, uid in known_new.items() if name not in listed_new}
    if not list_cur:
        return
    listed_cur = set_of(_list(box, box.cur_path))
    skip = index.in_new.union(scan.strays)
    for uid, name in zip(index.table.uids, index.names, strict=True):
        if name in listed_cur and uid not in skip:
            listed_cur.remove(name)
        elif uid not in skip:
            scan.missing[uid] = (name, False)
    scan.extra.extend((name, False) for name in listed_cur)


def _classify(box: Box, scan: Scan) -> None:
    """What each file without a row is: a message under another name, one numbered elsewhere, or a new one."""
    missing = {base_name(name): uid for uid, (name, _) in scan.missing.items()} | scan.lost
    for name, is_new in scan.extra:
        base = base_name(name)
        if not base:
            give_base(box, scan, name, is_new)
            continue
        uid = missing.get(base)
        if uid is not None:
            # Listed in both directories: it moved to cur/ between the two listings.
            scan.renamed[uid] = (name, is_new)
            continue
        uid = box.uid_of(base)
        twin = box.index.where(uid) if uid is not None and uid not in scan.strays else None
        if twin is not None:
            part_twins(box, scan, (name, is_new), twin)
        elif base in scan.came or base in scan.unknown:
            where = scan.came if base in scan.came else scan.unknown
            if found_at(box.files, box.path(*where[base])) is not None:
                part_twins(box, scan, (name, is_new), where[base])
            else:
                where[base] = (name, is_new)
        elif uid is not None and not box.index.history.knows_expunged(uid):
            scan.came[base] = (name, is_new)
        else:
            scan.unknown[base] = (name, is_new)
    for uid in scan.renamed:
        scan.missing.pop(uid, None)
    _bring_back(box, scan)


def _confirm(box: Box, scan: Scan) -> None:
    """Only what stays missing in listings during which nothing changed is gone: formats.md 7.3."""
    for attempt in range(_CONFIRMATIONS):
        if not scan.missing:
            break
        before = box.directory_times()
        warmth = box.warmth(before)
        if 0 < warmth <= TICK_NS:
            box.context.runtime.sleep(TICK_NS / 1e9)
            before = box.directory_times()
            warmth = box.warmth(before)
        scan.renamed.update(box.offload(box.is_large, _seek, box, scan.missing))
        for uid in scan.renamed:
            scan.missing.pop(uid, None)
        if before == box.directory_times() and warmth <= 0:
            scan.gone.update(scan.missing)
            break
        log.debug("confirm mailbox=%r attempt=%d missing=%d", box.name, attempt, len(scan.missing))
        if warmth > TICK_NS:  # nobody can be kept waiting for a clock of seconds: later looks will tell
            _suspect(box, scan)
            break
    else:
        _suspect(box, scan)
    for uid in list(box.missed):
        if uid not in scan.missing or uid in scan.gone:
            del box.missed[uid]
    scan.gone.update(scan.strays)


def _seek(box: Box, missing: dict[int, tuple[bytes, bool]]) -> dict[int, tuple[bytes, bool]]:
    """Those of `missing` that are in the directories, with the names that they have there."""
    uids = {base_name(name): uid for uid, (name, _) in missing.items()}
    return {
        uids[base]: (name, is_new)
        for path, is_new in ((box.new_path, True), (box.cur_path, False))
        for name in list_names(box.files, path)
        if (base := base_name(name)) in uids
    }


def _suspect(box: Box, scan: Scan) -> None:
    """Somebody renames without a pause: what is missed again and again over a second is gone, the rest stays."""
    now = box.context.runtime.now()
    for uid in scan.missing:
        since, times = box.missed.get(uid, (now, 0))
        box.missed[uid] = (since, times + 1)
        if times + 1 >= _SUSPECT_TIMES and now - since >= _SUSPECT_SECONDS:
            scan.gone.add(uid)
    scan.is_whole = scan.is_whole and scan.gone.issuperset(scan.missing)


def _reinterpret(box: Box, change: Change) -> None:
    """If letters that were in use mean other keywords now, or keywords without letters changed, read all flags anew."""
    index, names = box.index, box.keywords.names
    # A change that nobody could journal: the file is all that tells of it.
    is_beyond_known = index.times[7:] == box.overflow.print()
    if names == index.letters and is_beyond_known:
        return
    if not is_beyond_known or any(names.get(letter) != name for letter, name in index.letters.items()):
        box.forget_meanings()
        for row, uid in enumerate(index.table.uids):
            is_new = uid in index.in_new
            flags: Flags = box.flags_of(index.names[row], is_new)
            if flags != index.table.flags_of(row):
                change.became(uid, index.names[row], is_new, flags)
    if names != index.letters:
        change.value("letters", dict(names))
