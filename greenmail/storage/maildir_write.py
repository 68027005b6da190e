"""Changing which messages are in a Maildir mailbox: expunges, `new/` to `cur/`. `formats.md` 1.7, 1.9.

An unlink or rename names the exact file that it decided about (`maildir_unlink`, `maildir_flags`). Functions called
through `offload` may run in another thread: they get and give plain values.
"""

import logging
import stat
from collections.abc import Iterable, Sequence
from itertools import compress

from greenmail.errors import StorageError
from greenmail.storage.api import DELETED
from greenmail.storage.filesystem import Files, refusal
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_find import Item, Outcome, item_of
from greenmail.storage.maildir_flags import BATCH, INLINE, batches, settle_outcomes, twin
from greenmail.storage.maildir_name import base_name, in_cur
from greenmail.storage.maildir_scan import freshen, look, sync
from greenmail.storage.maildir_unlink import Unlinked, unlink_all

log = logging.getLogger(__name__)

_MOVE_PASSES = 5
_EXPUNGED = 2 * BATCH  # messages of one batch: an unlink takes half as long as a rename
_JUST_NOW = 0.002  # seconds since a look: SELECT, which made it, need not make another one
_TMP_AGE = 36 * 3600.0


# Expunge


def expunge(box: Box, uids: Sequence[int] | None, flagged: bool) -> list[int]:
    """`api.Mailbox.expunge`."""
    look(box)
    wanted = None if uids is None else set(uids)
    table = box.index.table
    known: Iterable[int] = table.uids
    if flagged:
        doomed = [DELETED in flags for flags in table.flag_sets]
        known = compress(table.uids, map(doomed.__getitem__, table.flags)) if any(doomed) else ()
    removed: list[int] = []
    parts = batches(known if wanted is None else filter(wanted.__contains__, known), _EXPUNGED)
    for batch in parts:
        with box.locked():
            freshen(box)
            index = box.index
            in_new = index.in_new.intersection(batch)
            rows = [row for row in table.rows(batch) if row >= 0 and not (flagged and table.uids[row] in in_new)]
            those = [table.uids[row] for row in rows], [index.names[row] for row in rows], in_new
            weighs, directory = box.weighs(), box.place.directory
            is_long = len(rows) > INLINE
            unlinked = box.offload(is_long, unlink_all, box.files, directory, *those, flagged, weighs)
            removed.extend(drop(box, unlinked, weighs, batch is parts[-1]))
        box.context.runtime.breathe()
    return removed


def touch(box: Box) -> None:
    """`api.Mailbox.touch`."""
    with box.locked():
        freshen(box)
        change = Change()
        change.touched()
        box.commit(change)


def save_facts(box: Box) -> None:
    """Keep sizes and dates that were found by reading files. May wait for the lock."""
    if box.is_gone or (box.read_only and not box.keeps_index):
        return
    try:
        with box.reading() if box.read_only else box.locked():
            box.commit(Change())
    except StorageError as error:
        log.debug("facts mailbox=%r error=%r", box.name, error.text)


def drop(box: Box, unlinked: Unlinked, weighs: bool, tidies: bool = True) -> list[int]:
    """Journal which files went; their UIDs. What was not unlinked is settled as it was found.

    `weighs`: sizes are told. `tidies`: it is the last of several batches.
    """
    gone, others = unlinked.gone(), unlinked.others
    if weighs:
        box.charge(-unlinked.octets - sum(outcome.size for outcome in others), -len(gone))
    change = Change()
    change.went(gone)
    box.commit(change)
    left = [Outcome(o.uid, o.name, o.is_new, False) for o in others if not o.done]
    if left:
        settle_outcomes(box, left)
    if tidies:
        _tidy(box)
    failed = next((outcome.error for outcome in others if outcome.error is not None), None)
    if failed is not None:
        raise refusal(failed, "A message could not be removed") from failed
    return gone


def _tidy(box: Box) -> None:
    """Drop the lines of messages that are gone once they are many. Not before a listing was sure of all others."""
    if not box.is_settled or not box.uidlist.should_rewrite(len(box.index.names)):
        return
    try:
        live = _live(box)
        if live is None:
            return
        box.context.runtime.blocking(box.uidlist.rewrite, live)
        box.context.runtime.blocking(box.overflow.change, {}, live)
    except StorageError as error:  # it only costs room: the messages are gone, and the lines are stale
        log.warning("tidy mailbox=%r error=%r", box.name, error.text)


def _live(box: Box) -> set[bytes] | None:
    """The base names of what is there, listed anew; None if nobody can be sure.

    A message that another server put into `cur/` and numbered in the tick of our own change shows in that alone.
    """
    sync(box, full=True)
    return {base_name(name) for name in box.index.names} if box.is_settled else None


# new/ to cur/


def move_to_cur(files: Files, directory: bytes, items: Sequence[Item]) -> list[Outcome]:
    """Move files of `new/` to `cur/`; what cannot be moved stays and is served from there."""
    outcomes: list[Outcome] = []
    for item in items:
        name = in_cur(item.name)
        target = directory + b"/cur/" + name
        try:
            files.rename_new(directory + b"/new/" + item.name, target)
            outcomes.append(Outcome(item.uid, name, False, True))
        except FileNotFoundError:
            outcomes.append(Outcome(item.uid, None, True, False))
        except OSError as error:
            is_twin = isinstance(error, FileExistsError)
            log.warning("new-to-cur name=%r error=%s", item.name, twin() if is_twin else error)
    return outcomes


def claim_recent(box: Box) -> int:
    """`api.Mailbox.claim_recent`."""
    if not box.was_looked_at(_JUST_NOW):
        look(box)
    index = box.index
    if box.read_only:
        first, index.first_recent = index.first_recent, index.uidnext
        return first
    if not box.tmp_is_purged:
        box.tmp_is_purged = True
        box.context.runtime.blocking(purge_tmp, box.files, box.tmp_path, box.context.runtime.now())
    if index.first_recent >= index.uidnext and not index.in_new:
        return index.first_recent
    with box.locked():
        sync(box)
        first = index.first_recent
        for _ in range(_MOVE_PASSES + 1):
            moved = _move_all(box)
            if moved <= _MOVE_PASSES:
                break
            sync(box, full=not box.is_settled)  # readdir may have skipped entries while others were moved
        change = Change()
        change.value("recent", index.uidnext)
        box.commit(change)
    return first


def _move_all(box: Box) -> int:
    items = [item for uid in sorted(box.index.in_new) if (item := item_of(box, uid)) is not None]
    moved = 0
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        outcomes = box.offload(len(part) > INLINE, move_to_cur, box.files, box.place.directory, part)
        settle_outcomes(box, outcomes)
        moved += sum(outcome.done for outcome in outcomes)
        box.lock.refresh()
    return moved


def purge_tmp(files: Files, directory: bytes, now: float) -> None:
    """Remove what programs that died left in `tmp/`: formats.md 1.6."""
    try:
        names = files.listdir(directory)
    except OSError as error:
        log.debug("purge-tmp path=%r error=%s", directory, error)
        return
    for name in names:
        try:
            found = files.lstat(directory + name)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("purge-tmp path=%r name=%r error=%s", directory, name, error)
            continue
        if stat.S_ISREG(found.st_mode) and now - max(found.st_mtime, found.st_ctime) > _TMP_AGE:
            files.unlink_quietly(directory + name)
