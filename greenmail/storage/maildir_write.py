"""Changing what is in a Maildir mailbox: flags, expunges, `new/` to `cur/`. `formats.md` 1.3, 1.7, 1.9.

Everything here is a change relative to the file names found on disk at the moment of the system call: a rename or
unlink names the exact file that it decided about, ENOENT means that somebody was faster, and then the decision is made
again on the name that is found. Functions called through `offload` may run in another thread: they get and give plain
values.
"""

import errno
import logging
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenmail.errors import StorageError
from greenmail.storage.api import DELETED, FlagAction, FlagChange, Flags, Stored
from greenmail.storage.filesystem import Files, is_there, refusal
from greenmail.storage.flag_names import FlagNames
from greenmail.storage.keywords import is_keyword
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_find import Finder, Item, Outcome, item_of
from greenmail.storage.maildir_index import Change
from greenmail.storage.maildir_name import (
    FIRST_KEYWORD,
    LETTER_OF_FLAG,
    base_name,
    in_cur,
    letters_of,
    with_letters,
)
from greenmail.storage.maildir_scan import freshen, look, sync
from greenmail.storage.maildir_unlink import unlink_any, unlink_deleted

log = logging.getLogger(__name__)

BATCH = 100
_INLINE = 4  # up to this many system calls are made here, more in the pool
_RETRIES = 10
_MOVE_PASSES = 5
_JUST_NOW = 0.002  # seconds since a look: SELECT, which made it, need not make another one
_TMP_AGE = 36 * 3600.0


def batches(uids: Iterable[int]) -> list[list[int]]:
    """Ascending UIDs, at most BATCH in each."""
    ordered = sorted(set(uids))
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]


# Flags


@dataclass(frozen=True, slots=True)
class _Delta:
    """A change of letters; `replace` leaves only `add` of those that mean a flag."""

    add: frozenset[int]
    remove: frozenset[int]
    replace: bool

    def on(self, letters: bytes) -> frozenset[int]:
        return self.add if self.replace else (frozenset(letters) | self.add) - self.remove


def apply_letters(files: Files, directory: bytes, items: Sequence[Item], delta: _Delta) -> list[Outcome]:
    """Rename each file so that its letters are changed by `delta`; a file in `new/` moves to `cur/`."""
    finder = Finder(files, directory)
    infos: dict[bytes, bytes | None] = {}
    outcomes: list[Outcome] = []
    cur = directory + b"/cur/"
    for item in items:
        uid, name, is_new = item
        wanted = None if is_new else _changed(name, False, delta, infos)
        if wanted is not None and not is_there(cur + wanted):
            try:
                files.rename(cur + name, cur + wanted)
                outcomes.append(Outcome(uid, wanted, False, True))
                continue
            except FileNotFoundError:
                pass  # somebody was faster
            except OSError as error:
                outcomes.append(Outcome(uid, name, False, False, error))
                continue
        outcomes.append(_apply_one(files, directory, item, delta, finder, infos))
    return outcomes


def _changed(name: bytes, is_new: bool, delta: _Delta, infos: dict[bytes, bytes | None]) -> bytes | None:
    """The name with the changed letters, or None if nothing is to be renamed.

    It depends on what follows the base name alone, of which there are few kinds: `infos` remembers them.
    """
    end = name.find(b":")
    base, info = (name, b"") if end < 0 else (name[:end], name[end:])
    if info not in infos:
        letters = letters_of(info)
        wanted = delta.on(letters)
        infos[info] = None if wanted == frozenset(letters) else with_letters(info, wanted)
    found = infos[info]
    if found is None and is_new and letters_of(info):
        found = with_letters(info, letters_of(info))
    return None if found is None else base + found


def _apply_one(
    files: Files, directory: bytes, item: Item, delta: _Delta, finder: Finder, infos: dict[bytes, bytes | None]
) -> Outcome:
    name, is_new = item.name, item.is_new
    for _ in range(_RETRIES):
        wanted = _changed(name, is_new, delta, infos)
        if wanted is None:
            return Outcome(item.uid, name, is_new, False)
        target = directory + b"/cur/" + wanted
        try:
            if is_there(target):  # a second file of this base name: the next look parts them
                return Outcome(item.uid, name, is_new, False, _twin())
            files.rename(directory + (b"/new/" if is_new else b"/cur/") + name, target)
            return Outcome(item.uid, wanted, False, True)
        except FileNotFoundError:
            try:
                found = finder.find(base_name(name), (name, is_new))
            except OSError as error:
                return Outcome(item.uid, name, is_new, False, error)
            if found is None:
                return Outcome(item.uid, None, is_new, False)
            name, is_new = found
        except OSError as error:
            return Outcome(item.uid, name, is_new, False, error)
    return Outcome(item.uid, name, is_new, False, OSError(errno.EBUSY, "renamed again and again by another program"))


def _twin() -> OSError:
    return OSError(errno.EBUSY, "another file of this name is there")


def store(box: Box, uids: Sequence[int], change: FlagChange, unchanged_since: int | None) -> Stored:
    """`api.Mailbox.store`."""
    total = Stored([], [], [])
    ignored: Flags = frozenset()
    for batch in batches(uids):
        with box.locked():
            freshen(box)
            done = _store_batch(box, batch, change, unchanged_since)
        total.changed.extend(done.changed)
        total.modified.extend(done.modified)
        total.missing.extend(done.missing)
        ignored |= done.ignored
        box.context.runtime.breathe()
    return Stored(total.changed, total.modified, total.missing, ignored)


def _store_batch(box: Box, uids: list[int], change: FlagChange, unchanged_since: int | None) -> Stored:
    table = box.index.table
    done = Stored([], [], [])
    items: list[Item] = []
    names, in_new = box.index.names, box.index.in_new
    for uid in uids:
        row = table.row(uid)
        if row < 0:
            done.missing.append(uid)
        elif unchanged_since is not None and table.modseqs[row] > unchanged_since:
            done.modified.append(uid)
        else:
            items.append(Item(uid, names[row], uid in in_new))
    if not items:
        return done
    delta, beyond, ignored = translate(box, change)
    _change_overflow(box, items, change.action, beyond)
    outcomes = box.offload(len(items) > _INLINE, apply_letters, box.files, box.place.directory, items, delta)
    changed = settle(box, outcomes)
    return Stored(changed, done.modified, done.missing, ignored)


def translate(box: Box, change: FlagChange) -> tuple[_Delta, Flags, Flags]:
    """Letters of a change, its keywords that have none, and those that cannot be taken up. New keywords are written."""
    spelled, new = FlagNames(box.keyword_names()).spell(change.flags)
    ignored: set[str] = set()
    if new and change.action is not FlagAction.REMOVE:
        ignored = _add_keywords(box, new)
    beyond: set[str] = set()
    letters: set[int] = set()
    for flag in spelled - ignored:
        letter = LETTER_OF_FLAG.get(flag) or box.keywords.letter(flag)
        if letter is None:
            beyond.add(flag)
        else:
            letters.add(letter)
    if change.action is FlagAction.REMOVE:
        # Another server may have given a letter to a keyword that is in our own file too.
        keywords = frozenset(flag for flag in spelled if flag not in LETTER_OF_FLAG)
        return _Delta(frozenset(), frozenset(letters), False), keywords, frozenset()
    return (
        _Delta(frozenset(letters), frozenset(), change.action is FlagAction.REPLACE),
        frozenset(beyond),
        frozenset(ignored),
    )


def _add_keywords(box: Box, new: list[str]) -> set[str]:
    """Give letters to new keywords; those that are none. The letter is on disk before any name uses it."""
    good = [keyword for keyword in new if is_keyword(keyword)]
    if good:
        box.context.runtime.blocking(box.keywords.add, good)
    box.forget_meanings()
    return set(new).difference(good)


def _change_overflow(box: Box, items: Sequence[Item], action: FlagAction, beyond: Flags) -> None:
    """Keywords without a letter, by base name."""
    if not beyond and not box.overflow.names:
        return
    wanted: dict[bytes, Flags] = {}
    for item in items:
        base = base_name(item.name)
        old = box.overflow.of(base)
        new = {FlagAction.ADD: old | beyond, FlagAction.REMOVE: old - beyond, FlagAction.REPLACE: beyond}[action]
        if new != old:
            wanted[base] = new
    if wanted:
        box.change_overflow(wanted)


def settle(box: Box, outcomes: Sequence[Outcome]) -> list[int]:
    """Journal what became of files; the UIDs whose flags are different now. Then it raises what the disk refused."""
    change = Change()
    changed: list[int] = []
    failed: OSError | None = None
    table, names, in_new = box.index.table, box.index.names, box.index.in_new
    infos: set[bytes] = set()
    for outcome in outcomes:
        failed = failed or outcome.error
        if outcome.name is not None and not outcome.is_new:
            infos.add(outcome.name.partition(b":")[2])
    letters = {letter for info in infos for letter in letters_of(b":" + info)}
    if any(letter >= FIRST_KEYWORD for letter in letters) and box.keywords.name_letters(letters, write=True):
        box.forget_meanings()
    for outcome in outcomes:
        uid, name, is_new = outcome.uid, outcome.name, outcome.is_new
        row = table.row(uid)
        if name is None or (outcome.error is not None and outcome.error.errno == errno.EBUSY):
            box.is_settled = False  # the next look finds out
        elif row >= 0:
            flags = box.flags_of(name, is_new)
            differs = flags != table.flag_sets[table.flags[row]]
            if differs:
                change.became(uid, name, is_new, flags)
                changed.append(uid)
            elif names[row] != name or (uid in in_new) != is_new:
                change.became(uid, name, is_new, None)
    if box.keywords.names != box.index.letters:
        change.value("letters", dict(box.keywords.names))
    box.commit(change)
    if failed is not None:
        raise refusal(failed, "The flags could not be stored") from failed
    return changed


# Expunge


def expunge(box: Box, uids: Sequence[int] | None, flagged: bool) -> list[int]:
    """`api.Mailbox.expunge`."""
    look(box)
    wanted = None if uids is None else set(uids)
    table = box.index.table
    doomed = [not flagged or DELETED in flags for flags in table.flag_sets]
    known = [
        uid
        for uid, flags in zip(table.uids, table.flags, strict=True)
        if doomed[flags] and (wanted is None or uid in wanted)
    ]
    removed: list[int] = []
    unlink = unlink_deleted if flagged else unlink_any
    parts = batches(known)
    for batch in parts:
        with box.locked():
            freshen(box)
            items = [item for uid in batch if (item := item_of(box, uid)) is not None and not (flagged and item.is_new)]
            weighs = box.weighs()
            outcomes = box.offload(len(items) > _INLINE, unlink, box.files, box.place.directory, items, weighs)
            removed.extend(drop(box, outcomes, weighs, batch is parts[-1]))
        box.context.runtime.breathe()
    return removed


def touch(box: Box) -> None:
    """`api.Mailbox.touch`."""
    with box.locked():
        freshen(box)
        change = Change()
        change.touched()
        box.commit(change)


def drop(box: Box, outcomes: Sequence[Outcome], weighs: bool = True, tidies: bool = True) -> list[int]:
    """Journal which files went; their UIDs. What was not unlinked is settled as it was found.

    `weighs`: the outcomes tell sizes. `tidies`: it is the last of several batches.
    """
    gone = [outcome.uid for outcome in outcomes if outcome.done]
    if weighs:
        box.charge(-sum(outcome.size for outcome in outcomes), -len(gone))
    change = Change()
    change.went(sorted(gone))
    box.commit(change)
    failed = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    left = [Outcome(o.uid, o.name, o.is_new, False) for o in outcomes if not o.done]
    if left:
        settle(box, left)
    if tidies:
        _tidy(box)
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
            if is_there(target):
                raise _twin()
            files.rename(directory + b"/new/" + item.name, target)
            outcomes.append(Outcome(item.uid, name, False, True))
        except FileNotFoundError:
            outcomes.append(Outcome(item.uid, None, True, False))
        except OSError as error:
            log.warning("new-to-cur name=%r error=%s", item.name, error)
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
        outcomes = box.offload(len(part) > _INLINE, move_to_cur, box.files, box.place.directory, part)
        settle(box, outcomes)
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
