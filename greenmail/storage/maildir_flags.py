"""Flags of messages in a Maildir mailbox: STORE, and what a name that was found says. `formats.md` 1.3, 1.9.

A change is one of the letters found on disk at the moment of the system call: a rename names the exact file that it
decided about, ENOENT means that somebody was faster, and then the decision is made again on the name that is found.
What goes as it should is handled as columns, for a whole batch at once; the rest has an `Outcome` each. Functions
called through `offload` may run in another thread: they get and give plain values.
"""

import errno
import operator
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from greenmail.storage.api import FlagAction, FlagChange, Flags, Stored
from greenmail.storage.filesystem import Files, refusal
from greenmail.storage.flag_names import FlagNames
from greenmail.storage.keywords import is_keyword
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_find import Finder, Outcome
from greenmail.storage.maildir_name import FIRST_KEYWORD, LETTER_OF_FLAG, base_name, letters_of, with_letters
from greenmail.storage.maildir_scan import freshen

BATCH = 250  # messages for which the lock is held at a stretch: some 5 ms
INLINE = 4  # up to this many system calls are made here, more in the pool
_RETRIES = 10


def batches(uids: Iterable[int], size: int = BATCH) -> list[list[int]]:
    """Ascending UIDs, at most `size` in each."""
    ordered = sorted(set(uids))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


# On disk


@dataclass(frozen=True, slots=True)
class Delta:
    """A change of letters; `replace` leaves only `add` of those that mean a flag."""

    add: frozenset[int]
    remove: frozenset[int]
    replace: bool

    def on(self, letters: bytes) -> frozenset[int]:
        return self.add if self.replace else (frozenset(letters) | self.add) - self.remove


@dataclass(slots=True)
class Renamed:
    """What became of a batch: parallel columns of what went as it should, and the rest."""

    uids: list[int]
    names: list[bytes]  # in `cur/`
    infos: list[bytes]  # the end of each name, from its first ":" on
    others: list[Outcome]


class _Infos:
    """What ends of names become by a change; of those there are few kinds."""

    def __init__(self, delta: Delta) -> None:
        self._delta = delta
        self.known: dict[bytes, bytes | None] = {}  # None: nothing is to be renamed

    def wanted(self, info: bytes) -> bytes | None:
        """What `info` becomes; None if it stays."""
        if info not in self.known:
            letters = letters_of(info)
            wanted = self._delta.on(letters)
            self.known[info] = None if wanted == frozenset(letters) else with_letters(info, wanted)
        return self.known[info]

    def changed(self, name: bytes, is_new: bool) -> bytes | None:
        """The name with the changed letters, or None if nothing is to be renamed."""
        base, info = _parted(name)
        wanted = self.wanted(info)
        if wanted is None and is_new and letters_of(info):
            wanted = with_letters(info, letters_of(info))
        return None if wanted is None else base + wanted


def _parted(name: bytes) -> tuple[bytes, bytes]:
    """The base name, and the rest from its ":" on."""
    end = name.find(b":")
    return (name, b"") if end < 0 else (name[:end], name[end:])


def apply_letters(
    files: Files, directory: bytes, uids: Sequence[int], names: Sequence[bytes], in_new: Container[int], delta: Delta
) -> Renamed:
    """Rename each file so that its letters are changed by `delta`; a file in `new/` moves to `cur/`."""
    finder, infos = Finder(files, directory), _Infos(delta)
    done = Renamed([], [], [], [])
    cur = directory + b"/cur/"
    known, rename_new = infos.known, files.rename_new
    for uid, name in zip(uids, names, strict=True):
        if uid in in_new:
            done.others.append(_apply_one(files, directory, Outcome(uid, name, True, False), finder, infos))
            continue
        base, info = _parted(name)
        wanted = known[info] if info in known else infos.wanted(info)
        if wanted is not None:
            try:
                rename_new(cur + name, cur + base + wanted)
            except OSError as error:
                found = Outcome(uid, name, False, False, _refused(error))
                if isinstance(error, FileNotFoundError):  # somebody was faster
                    found = _apply_one(files, directory, Outcome(uid, name, False, False), finder, infos)
                done.others.append(found)
                continue
            name, info = base + wanted, wanted
        done.uids.append(uid)
        done.names.append(name)
        done.infos.append(info)
    return done


def _apply_one(files: Files, directory: bytes, last: Outcome, finder: Finder, infos: _Infos) -> Outcome:
    """As `apply_letters`, for a file that is or was where `last` says, by whatever name it has now."""
    uid, name, is_new = last.uid, last.name, last.is_new
    for _ in range(_RETRIES):
        assert name is not None, "a file that is not there has no letters"
        wanted = infos.changed(name, is_new)
        if wanted is None:
            return Outcome(uid, name, is_new, False)
        try:
            files.rename_new(directory + (b"/new/" if is_new else b"/cur/") + name, directory + b"/cur/" + wanted)
            return Outcome(uid, wanted, False, True)
        except FileNotFoundError:
            try:
                found = finder.find(base_name(name), (name, is_new))
            except OSError as error:
                return Outcome(uid, name, is_new, False, error)
            if found is None:
                return Outcome(uid, None, is_new, False)
            name, is_new = found
        except OSError as error:
            return Outcome(uid, name, is_new, False, _refused(error))
    return Outcome(uid, name, is_new, False, OSError(errno.EBUSY, "renamed again and again by another program"))


def _refused(error: OSError) -> OSError:
    """Why a file could not be renamed."""
    return twin() if isinstance(error, FileExistsError) else error


def twin() -> OSError:
    """A second file of a base name: the next look parts them."""
    return OSError(errno.EBUSY, "another file of this name is there")


# STORE


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
    rows = table.rows(uids)
    if unchanged_since is not None or -1 in rows:
        done.missing.extend(uid for uid, row in zip(uids, rows, strict=True) if row < 0)
        since = unchanged_since
        if since is not None:
            pairs = zip(uids, rows, strict=True)
            done.modified.extend(uid for uid, row in pairs if row >= 0 and table.modseqs[row] > since)
        left = set(done.missing).union(done.modified)
        uids = [uid for uid in uids if uid not in left]
        rows = table.rows(uids)
    if not uids:
        return done
    delta, beyond, ignored = translate(box, change)
    names = [box.index.names[row] for row in rows]
    _change_overflow(box, names, change.action, beyond)
    in_new = box.index.in_new.intersection(uids) if box.index.in_new else frozenset()
    is_long = len(uids) > INLINE
    renamed = box.offload(is_long, apply_letters, box.files, box.place.directory, uids, names, in_new, delta)
    changed = settle(box, renamed)
    return Stored(changed, done.modified, done.missing, ignored)


def translate(box: Box, change: FlagChange) -> tuple[Delta, Flags, Flags]:
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
        return Delta(frozenset(), frozenset(letters), False), keywords, frozenset()
    return (
        Delta(frozenset(letters), frozenset(), change.action is FlagAction.REPLACE),
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


def _change_overflow(box: Box, names: Sequence[bytes], action: FlagAction, beyond: Flags) -> None:
    """Keywords without a letter, by base name."""
    if not beyond and not box.overflow.names:
        return
    wanted: dict[bytes, Flags] = {}
    for name in names:
        base = base_name(name)
        old = box.overflow.of(base)
        new = {FlagAction.ADD: old | beyond, FlagAction.REMOVE: old - beyond, FlagAction.REPLACE: beyond}[action]
        if new != old:
            wanted[base] = new
    if wanted:
        box.change_overflow(wanted)


# What is found becomes known


def settle(box: Box, renamed: Renamed) -> list[int]:
    """Journal what became of files; the UIDs whose flags are different now. Then it raises what the disk refused."""
    others = renamed.others
    _name_letters(box, renamed)
    change = Change()
    changed = _settle_columns(box, renamed, change)
    if others:
        changed = sorted([*changed, *_settle_others(box, others, change)])
    if box.keywords.names != box.index.letters:
        change.value("letters", dict(box.keywords.names))
    box.commit(change)
    failed = next((outcome.error for outcome in others if outcome.error is not None), None)
    if failed is not None:
        raise refusal(failed, "The flags could not be stored") from failed
    return changed


def settle_outcomes(box: Box, outcomes: Sequence[Outcome]) -> list[int]:
    """`settle` of single files."""
    return settle(box, Renamed([], [], [], list(outcomes)))


def _name_letters(box: Box, renamed: Renamed) -> None:
    """Keyword letters that other programs gave without a name get one."""
    infos = set(renamed.infos)
    infos.update(_parted(found.name)[1] for found in renamed.others if found.name is not None and not found.is_new)
    letters = {letter for info in infos for letter in letters_of(info)}
    if any(letter >= FIRST_KEYWORD for letter in letters) and box.keywords.name_letters(letters, write=True):
        box.forget_meanings()


def _settle_columns(box: Box, renamed: Renamed, change: Change) -> list[int]:
    """What went as it should; the UIDs whose flags are different now."""
    uids, names = renamed.uids, renamed.names
    if not uids:
        return []
    table = box.index.table
    rows = table.rows(uids)
    sets = table.flag_sets
    before = [sets[table.flags[row]] if row >= 0 else None for row in rows]
    if box.overflow.names:
        after = [box.flags_of(name, False) for name in names]
    else:
        meanings = {info: box.flags_of(info, False) for info in set(renamed.infos)}
        after = list(map(meanings.__getitem__, renamed.infos))
    if len(uids) > INLINE and None not in before and not any(map(operator.eq, before, after)):
        change.became_all(uids, names, after)
        return uids
    changed: list[int] = []
    for uid, name, row, old, new in zip(uids, names, rows, before, after, strict=True):
        if row < 0:
            continue
        if old != new:
            change.became(uid, name, False, new)
            changed.append(uid)
        elif box.index.names[row] != name or uid in box.index.in_new:
            change.became(uid, name, False, None)
    return changed


def _settle_others(box: Box, outcomes: Sequence[Outcome], change: Change) -> list[int]:
    """As `_settle_columns`; and what is not there, or twice there, leaves the mailbox to the next look."""
    table, names, in_new = box.index.table, box.index.names, box.index.in_new
    changed: list[int] = []
    for outcome in outcomes:
        uid, name, is_new = outcome.uid, outcome.name, outcome.is_new
        row = table.row(uid)
        if name is None or (outcome.error is not None and outcome.error.errno == errno.EBUSY):
            box.is_settled = False  # the next look finds out
        elif row >= 0:
            flags = box.flags_of(name, is_new)
            if flags != table.flag_sets[table.flags[row]]:
                change.became(uid, name, is_new, flags)
                changed.append(uid)
            elif names[row] != name or (uid in in_new) != is_new:
                change.became(uid, name, is_new, None)
    return changed
