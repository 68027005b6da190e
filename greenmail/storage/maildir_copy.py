"""COPY and MOVE between Maildir mailboxes. `formats.md` 2.9, `architecture.md`.

COPY is a hard link (`maildir_link`). MOVE is COPY, the target's lock given back, then the source locked and unlinked: a
crash leaves a mail in both mailboxes, never in none.

MOVE unlinks from the source exactly the file (device and inode) that it copied, whatever that is called by then; a
message that it did not unlink itself, for whatever reason, is taken back from the target. So of several who move one
mail at the same time one succeeds, as only one unlink can, and a mail is nowhere only if somebody expunged it.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenmail.errors import Reason, StorageError
from greenmail.message.turn import turns
from greenmail.runtime import sparing_collections
from greenmail.storage.filesystem import refusal, refusing
from greenmail.storage.lost_answers import Identity
from greenmail.storage.maildir_box import LARGE, Box
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_find import Item
from greenmail.storage.maildir_flags import BATCH, batches
from greenmail.storage.maildir_link import (
    Linked,
    Made,
    Original,
    OtherWay,
    Wanted,
    is_possible,
    link_all,
    link_straight,
    unlink_made,
)
from greenmail.storage.maildir_name import base_name, sizes_of, with_sizes
from greenmail.storage.maildir_save import Arrival, Naming, admit, journal_arrivals
from greenmail.storage.maildir_scan import freshen, look, read_records
from greenmail.storage.maildir_unlink import unlink_same
from greenmail.storage.maildir_write import drop
from greenmail.storage.quota import disk_sizes
from greenmail.storage.save_dates import field
from greenmail.storage.uidlist_format import format_fields

log = logging.getLogger(__name__)

_PART = 1000  # messages that are taken up at a stretch: some 2 ms

Copied = tuple[int, int, Identity, Identity]  # UID, UID of the copy, the file that was copied, the copy


def copy(box: Box, uids: Sequence[int], target: Box) -> list[tuple[int, int]]:
    """`api.Mailbox.copy`."""
    copied = _copy(box, uids, target)
    box.context.runtime.breathe()
    return [(uid, new) for uid, new, _, _ in copied]


def _copy(box: Box, uids: Sequence[int], target: Box, moves: bool = False) -> list[Copied]:
    """What was copied. What only `moves` in one quota root takes up no more of it."""
    look(box)
    target.check()
    originals = _originals(box, uids)
    if not originals:
        return []
    if target.read_only:
        raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")
    stays = moves and box.context.quota is target.context.quota and box.context.quota.counts(box.name)
    with sparing_collections(len(originals) > LARGE):
        copied = None if box is target else _link_straight(box, originals, target, not stays)
    return _copy_by_tmp(box, originals, target, not stays) if copied is None else copied


def _originals(box: Box, uids: Sequence[int]) -> list[Original]:
    read_records(box)
    originals: list[Original] = []
    for batch in batches(uids):
        guids = box.uidlist.fields(batch, b"G")
        originals += [original for uid in batch if (original := _original(box, uid, guids)) is not None]
        box.context.runtime.breathe()  # each is as it was found: its file is looked for when it is linked
    return originals


def _original(box: Box, uid: int, guids: Mapping[int, bytes]) -> Original | None:
    index, table = box.index, box.index.table
    row = table.row(uid)
    if row < 0:
        return None
    name = index.names[row]
    guid = guids.get(uid) or base_name(name)
    item = Item(uid, name, uid in index.in_new)
    return Original(item, table.flags_of(row), guid, table.sizes[row], largest=box.context.max_unpacked_size)


# The straight way


@dataclass(frozen=True, slots=True)
class _Links:
    """Messages that are to be linked under names that are decided; parallel lists."""

    originals: Sequence[Original]
    names: list[bytes]
    wanted: list[Wanted]
    bases: list[bytes]
    sizes: list[int]  # with CRLF line ends, or -1


def _link_straight(box: Box, originals: Sequence[Original], target: Box, counts: bool) -> list[Copied] | None:
    """Copy messages all of which can keep their base names; None if that cannot be done to each of them."""
    if counts:
        weight = 0
        if target.context.quota.root() is not None:
            paths = [box.path(original.item.name, original.item.is_new) for original in originals]
            weight = box.offload(len(paths) > BATCH, disk_sizes, box.files, paths)
        target.admit(weight, len(originals))
    with target.locked():
        freshen(target)
        links = _named(target, originals)
        if links is None:
            return None
        made = target.context.runtime.blocking(_link_and_number, target, box.place.directory, links)
        if isinstance(made, OtherWay):
            return None
        if isinstance(made, OSError):
            raise refusal(made, "The messages cannot be copied") from made
        if isinstance(made, StorageError):
            raise made
        found, uids = made
        changes, copied, weight = target.offload(len(originals) > BATCH, _arrived, target, links, found, uids)
        if copied:
            for change in changes[:-1]:
                # Not yet with the directories' times: they would say that all that is there is known.
                target.commit(change, target.index.times)
                target.context.runtime.sleep(0.0)  # as beside work in the pool: nobody is waited for
            journal_arrivals(target, changes[-1])
            target.charge(weight, len(copied))
        return list(copied)


def _named(target: Box, originals: Sequence[Original]) -> _Links | None:
    """Names in the target; None if one of them cannot be as in the source. Keywords are on disk then."""
    if not target.is_settled:
        return None
    naming = Naming(target)
    for flags in {original.flags for original in originals}:
        naming.learn(flags)
    # With the lock held nobody else changes what this reads, so it may run in the pool.
    is_long_work = target.uidlist.rests or len(originals) > BATCH
    links: _Links | None = target.offload(is_long_work, _links, target, naming, originals)
    if links is not None:
        naming.write()
    return links


def _links(target: Box, naming: Naming, originals: Sequence[Original]) -> _Links | None:
    bases = [base_name(original.item.name) for original in originals]
    if len(set(bases)) < len(bases) or any(target.uidlist.uids_of(bases)):
        return None
    links = _Links(originals, [], [], bases, [])
    for base, original in zip(bases, turns(originals), strict=True):
        item, size, octets = original.item, original.size, -1
        if b"," in base:
            claimed = sizes_of(base)
            if claimed.with_crlf is not None:
                if not is_possible(claimed):
                    return None
                size = claimed.with_crlf
            octets = -1 if claimed.on_disk is None else claimed.on_disk
        info = naming.info(base, original.flags)
        name = base + info
        links.names.append(name)
        links.wanted.append((item, target.path(name, not info), octets))
        links.sizes.append(size)
    return links


def _link_and_number(
    target: Box, directory: bytes, links: _Links
) -> tuple[list[Made], list[int]] | OSError | StorageError:
    """As `_deliver_and_number`, in the pool. The UIDs are those of the links that were made."""
    files = target.files
    made = link_straight(files, directory, links.wanted)
    if isinstance(made, OSError):
        return made
    bases = [base for base, found in zip(links.bases, made, strict=True) if found is not None]
    if not bases:
        return made, []
    try:
        for path in sorted({path.rpartition(b"/")[0] for _, path, _ in links.wanted}):
            files.fsync_directory(path)
        now = int(target.context.runtime.now())
        fields = {
            base: raw
            for base, original in zip(links.bases, links.originals, strict=True)
            if (raw := _raw_fields(base, original, now))
        }
        uids = target.uidlist.assign(bases, fields)
    except (OSError, StorageError) as error:
        unlink_made(files, links.wanted, made)
        return error
    write_uidnext(files, target.data_path, target.uidlist.uidvalidity, target.uidlist.next_uid)
    return made, uids


def _raw_fields(base: bytes, original: Original, now: int) -> bytes:
    """What the line of a copy has: the message's GUID, and its save date, where its name is neither."""
    came = field(base, now)
    if base == original.guid:
        return came
    return b"G%b %b" % (original.guid, came) if came else b"G" + original.guid


def _arrived(
    target: Box, links: _Links, made: Sequence[Made], uids: Sequence[int]
) -> tuple[list[Change], list[Copied], int]:
    """What is to be journalled of the links, in parts; what was copied, and how many octets that are."""
    changes: list[Change] = []
    copied: list[Copied] = []
    numbers = iter(uids)
    weight = 0
    for place, found in enumerate(turns(made)):
        if found is None:
            continue
        uid, name, octets = next(numbers), links.names[place], links.wanted[place][2]
        is_new = len(name) == len(links.bases[place])
        if len(copied) % _PART == 0:
            changes.append(Change())
        changes[-1].came(uid, name, is_new, target.flags_of(name, is_new), (links.sizes[place], int(found.st_mtime)))
        identity = found.st_dev, found.st_ino
        copied.append((links.originals[place].item.uid, uid, identity, identity))
        weight += found.st_size if octets < 0 else octets  # as `quota.disk_size` will have it
    return changes, copied, weight


# By way of tmp/


def _copy_by_tmp(box: Box, originals: Sequence[Original], target: Box, counts: bool) -> list[Copied]:
    there = [original._replace(temporary=target.tmp_path + target.context.unique.next()) for original in originals]
    made = box.context.runtime.blocking(link_all, box.files, box.place.directory, there, target.ownership)
    if isinstance(made, OSError):
        raise refusal(made, "The messages cannot be copied") from made
    found = [linked for linked in made if linked.sizes is not None]
    is_done = False
    try:
        if counts:
            target.admit(sum(linked.sizes.on_disk or 0 for linked in found if linked.sizes), len(found))
        with target.locked():
            freshen(target)
            new = admit(target, _arrivals(target, found))
        is_done = True
    finally:
        if not is_done:
            for linked in found:
                target.files.unlink_quietly(linked.original.temporary)
    return [(linked.original.item.uid, uid, linked.source, linked.made) for linked, uid in zip(found, new, strict=True)]


def _arrivals(target: Box, found: Sequence[Linked]) -> list[Arrival]:
    """The base name stays if the target never had it and its sizes are right; else it is in the field G."""
    bases = [base_name(linked.original.item.name) for linked in found]
    uids = target.offload(target.uidlist.rests, target.uidlist.uids_of, bases)
    taken = {base for base, uid in zip(bases, uids, strict=True) if uid is not None}
    arrivals: list[Arrival] = []
    now = int(target.context.runtime.now())
    for base, linked in zip(bases, turns(found), strict=True):
        assert linked.sizes is not None
        disk, crlf = linked.sizes.on_disk or 0, linked.sizes.with_crlf or 0
        original = linked.original
        fields: dict[bytes, bytes] = {}
        if not target.is_settled or base in taken or not linked.name_is_right:
            base = with_sizes(target.context.unique.next(), disk, crlf)
        elif sizes_of(base).with_crlf is None:
            fields[b"W"] = b"%d" % crlf
        taken.add(base)
        raw = b" ".join(filter(None, (format_fields(fields), _raw_fields(base, original, now))))
        weight = linked.stored if sizes_of(base).on_disk is None else disk  # as `quota.disk_size` will have it
        arrivals.append(Arrival(original.temporary, base, original.flags, crlf, linked.date, raw, weight))
    return arrivals


def move(box: Box, uids: Sequence[int], target: Box) -> list[tuple[int, int]]:
    """`api.Mailbox.move`."""
    box.check()
    if box.read_only:
        raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")
    with _only_move(box):
        return _move(box, uids, target)


@contextlib.contextmanager
def _only_move(box: Box) -> Iterator[None]:
    """Let only one MOVE out of a mailbox run at a time, in all workers.

    If two moved one message, a third could move the second's copy on before `_undo` found it: one mail became two.
    Who waits here holds no lock of a mailbox, so nobody waits in a circle. Where directories cannot be locked (NFS)
    only this worker's sessions wait for each other.
    """
    with box.moving:
        with refusing("The messages cannot be moved"):
            descriptor = box.files.open(box.place.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            steps = box.context.waiting.steps()
            while not _claimed(box, descriptor):
                box.context.waiting.pause(steps)
            yield
        finally:
            box.files.close_quietly(descriptor)


def _claimed(box: Box, descriptor: int) -> bool:
    try:
        box.files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.debug("move-claim path=%r error=%s", box.place.directory, error)
    return True


def _move(box: Box, uids: Sequence[int], target: Box) -> list[tuple[int, int]]:
    copied = {one[0]: one for one in _copy(box, uids, target, moves=True)}
    removed: set[int] = set()
    failed: StorageError | None = None
    try:
        parts = batches(copied)
        for batch in parts:
            _remove_moved(box, {uid: copied[uid][2] for uid in batch}, removed, batch is parts[-1])
            box.context.runtime.breathe()
    except StorageError as error:
        failed = error
    _undo(target, {new: made for uid, new, _, made in copied.values() if uid not in removed}, failed)
    if failed is not None:
        raise failed
    return [(uid, copied[uid][1]) for uid in sorted(removed)]


def _remove_moved(box: Box, sources: Mapping[int, Identity], removed: set[int], tidies: bool = True) -> None:
    """Unlink these messages if they are still these files; adds to `removed` what went, also if it raises then.

    What may have gone counts as gone: its copy may be the only one.
    """
    with box.locked():
        freshen(box)
        items = [
            (Item(uid, *where), source)
            for uid, source in sources.items()
            if (where := box.index.where(uid)) is not None
        ]
        directory, is_remote = box.place.directory, box.times.is_remote
        weighs = box.weighs()
        unlinked = box.context.runtime.blocking(unlink_same, box.files, directory, items, weighs, is_remote)
        removed.update(outcome.uid for outcome in unlinked.others if outcome.done or outcome.is_unsure)
        drop(box, unlinked, weighs, tidies)


def _undo(target: Box, copies: Mapping[int, Identity], failed: StorageError | None) -> None:
    """Take back copies whose originals we did not unlink: they are still there, or somebody else took them."""
    try:
        for batch in batches(copies):
            _remove_moved(target, {uid: copies[uid] for uid in batch}, set())
    except StorageError as error:
        if failed is None:
            raise
        log.error("move-undo mailbox=%r copies=%d left error=%r", target.name, len(copies), error.text)
