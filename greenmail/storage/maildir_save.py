"""Bringing messages into a Maildir mailbox: APPEND, COPY, MOVE. `formats.md` 1.6, 2.9, `architecture.md`.

A message lies complete in the target's `tmp/` before the target is locked. Under the lock: rename into `new/` (no
flags) or `cur/`, sync of the directories, uidlist line with fdatasync, journal. A crash before the uidlist line leaves
messages without a UID, which the next look numbers: nobody was told anything about them. COPY is a hard link. MOVE is
COPY, the target's lock given back, then the source locked and unlinked: a crash leaves a mail in both mailboxes, never
in none.

MOVE unlinks from the source exactly the file (device and inode) that it copied, whatever that is called by then; a
message that it did not unlink itself, for whatever reason, is taken back from the target. So of several who move one
mail at the same time one succeeds, as only one unlink can, and a mail is nowhere only if somebody expunged it.
"""

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenmail.errors import Reason, StorageError
from greenmail.message.compressed import kind_of
from greenmail.message.content import ToDisk
from greenmail.storage.api import FlagAction, FlagChange, Flags
from greenmail.storage.filesystem import Files, is_there, refusal, refusing
from greenmail.storage.lost_answers import Identity
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_find import Item
from greenmail.storage.maildir_index import Change
from greenmail.storage.maildir_link import Linked, Original, link_all
from greenmail.storage.maildir_name import Sizes, base_name, sizes_of, with_letters, with_sizes
from greenmail.storage.maildir_scan import freshen, look
from greenmail.storage.maildir_write import batches, drop, translate, unlink_same
from greenmail.storage.uidlist_format import format_fields

log = logging.getLogger(__name__)


class MaildirUpload:
    """A file in `tmp/`, written as it arrives."""

    def __init__(self, box: Box) -> None:
        self.flags: Flags = frozenset()
        self.date: int | None = None
        self._files = box.files
        self._convert = ToDisk()
        with refusing("The message cannot be stored"):
            self.unique, self._fd = _create(box)
        self.path = box.tmp_path + self.unique

    def write(self, data: bytes) -> None:
        """The next octets."""
        with refusing("The message cannot be stored"):
            converted = self._convert.feed(data)
            if converted:
                self._files.write_all(self._fd, converted)

    def finish(self, date: int) -> Sizes:
        """Everything is on disk when this returns; the sizes for the name. May be called in the pool."""
        self._files.write_all(self._fd, self._convert.end())
        self._files.set_mtime(self._fd, date * 1_000_000_000)
        self._files.fsync(self._fd)
        self._close()
        return Sizes(self._convert.disk_size, self._convert.crlf_size)

    @property
    def size(self) -> int:
        """Octets that it has on disk so far."""
        return self._convert.disk_size

    def check(self) -> None:
        """Raises CANNOT for what would be taken for a compressed file: something else than this would come back."""
        if kind_of(self._convert.head) is not None:
            raise StorageError(Reason.CANNOT, "A message has to be sent as it is, not compressed.")

    def saved(self) -> None:
        """The file is a message now: there is nothing to abort any more."""
        self.path = b""

    def _close(self) -> None:
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            self._files.close(descriptor)

    def abort(self) -> None:
        """Remove the file if it is still an upload."""
        self._close()
        if self.path:
            self._files.unlink_quietly(self.path)
            self.path = b""


def _create(box: Box) -> tuple[bytes, int]:
    """A new file in `tmp/`: its name and a descriptor."""
    files = box.files
    while True:
        unique = box.context.unique.next()
        try:
            return unique, files.create_exclusive(box.tmp_path + unique, box.ownership)
        except FileExistsError:
            log.warning("unique-name name=%r exists: another server runs with our host name and pid", unique)
        except FileNotFoundError:
            box.check()
            with contextlib.suppress(FileExistsError):
                files.make_directory(box.tmp_path.rstrip(b"/"), box.ownership)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complete file in `tmp/` that is to become a message."""

    path: bytes
    base: bytes
    flags: Flags
    size: int
    date: int
    fields: bytes = b""  # raw fields for the uidlist
    on_disk: int = 0  # octets of the file


@dataclass(frozen=True, slots=True)
class _Step:
    source: bytes
    target: bytes
    name: bytes
    is_new: bool


def deliver(files: Files, steps: Sequence[_Step], directories: Sequence[bytes]) -> OSError | None:
    """Rename all or none, and make the names durable."""
    done: list[_Step] = []
    try:
        for step in steps:
            if is_there(step.target):  # a rename would lose the message that is there
                raise FileExistsError(errno.EEXIST, "a message of this name is there")
            try:
                files.rename(step.source, step.target)
            except FileNotFoundError:
                if not is_there(step.target):  # else it is ours: NFS asked again after a lost answer
                    raise
            done.append(step)
        for directory in directories:
            files.fsync_directory(directory)
    except OSError as error:
        take_back(files, done)
        return error
    return None


def take_back(files: Files, steps: Sequence[_Step]) -> None:
    """Remove messages that were delivered and not yet numbered."""
    for step in steps:
        files.unlink_quietly(step.target)


def finish_all(uploads: Sequence[tuple[MaildirUpload, int]]) -> list[Sizes] | OSError:
    """Sync the files of uploads, given with their dates; in the pool."""
    try:
        return [upload.finish(date) for upload, date in uploads]
    except OSError as error:
        return error


def save(box: Box, uploads: Sequence[MaildirUpload]) -> list[int]:
    """`api.Mailbox.save`."""
    box.check()
    for upload in uploads:
        upload.check()
    box.admit(sum(upload.size for upload in uploads), len(uploads))
    now = int(box.context.runtime.now())
    dated = [(upload, now if upload.date is None else upload.date) for upload in uploads]
    finished = box.context.runtime.blocking(finish_all, dated)
    if isinstance(finished, OSError):
        raise refusal(finished, "The message cannot be stored") from finished
    arrivals = []
    for (upload, date), found in zip(dated, finished, strict=True):
        disk, crlf = found.on_disk or 0, found.with_crlf or 0
        arrivals.append(
            Arrival(upload.path, with_sizes(upload.unique, disk, crlf), upload.flags, crlf, date, b"", disk)
        )
    with box.locked():
        freshen(box)
        uids = admit(box, arrivals)
    for upload in uploads:
        upload.saved()
    return uids


def admit(box: Box, arrivals: Sequence[Arrival]) -> list[int]:
    """Under the lock and fresh: make files in `tmp/` messages of this mailbox, all or none; their UIDs."""
    if not arrivals:
        return []
    steps: list[_Step] = []
    beyond: dict[bytes, Flags] = {}
    for arrival in arrivals:
        delta, overflow, _ = translate(box, FlagChange(FlagAction.REPLACE, arrival.flags))
        if overflow or box.overflow.of(arrival.base):  # what stands there was another message's
            beyond[arrival.base] = overflow
        is_new = not delta.add and not overflow
        name = arrival.base if is_new else with_letters(arrival.base, delta.add)
        steps.append(_Step(arrival.path, box.path(name, is_new), name, is_new))
    if beyond:
        box.change_overflow(beyond)
    directories = sorted({os.path.dirname(step.target) for step in steps})
    uids: list[int] | StorageError = box.context.runtime.blocking(
        _deliver_and_number, box, arrivals, steps, directories
    )
    if isinstance(uids, StorageError):
        raise uids
    change = Change()
    for uid, arrival, step in zip(uids, arrivals, steps, strict=True):
        change.came(uid, step.name, step.is_new, box.flags_of(step.name, step.is_new), (arrival.size, arrival.date))
    change.value("next", box.uidlist.next_uid)
    if box.keywords.names != box.index.letters:
        change.value("letters", dict(box.keywords.names))
    box.commit(change)
    box.charge(sum(arrival.on_disk for arrival in arrivals), len(arrivals))
    return uids


def _deliver_and_number(
    box: Box, arrivals: Sequence[Arrival], steps: Sequence[_Step], directories: Sequence[bytes]
) -> list[int] | StorageError:
    """Everything that is synced under the lock, in one piece of work for the pool."""
    error = deliver(box.files, steps, directories)
    if error is not None:
        return refusal(error, "The message cannot be stored")
    try:
        uids = box.uidlist.assign(
            [arrival.base for arrival in arrivals],
            {arrival.base: arrival.fields for arrival in arrivals if arrival.fields},
        )
    except StorageError as refused:
        take_back(box.files, steps)
        return refused
    write_uidnext(box.files, box.data_path, box.uidlist.uidvalidity, box.uidlist.next_uid)
    return uids


# COPY and MOVE


def copy(box: Box, uids: Sequence[int], target: Box) -> list[tuple[int, int]]:
    """`api.Mailbox.copy`."""
    return [(linked.original.item.uid, uid) for linked, uid in _copy(box, uids, target)]


def _copy(box: Box, uids: Sequence[int], target: Box, moves: bool = False) -> list[tuple[Linked, int]]:
    """What was copied, each with its UID in the target. What only `moves` in one quota root takes up no more of it."""
    look(box)
    target.check()
    originals = _originals(box, uids, target)
    if not originals:
        return []
    if target.read_only:
        raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")
    made = box.context.runtime.blocking(link_all, box.files, box.place.directory, originals, target.ownership)
    if isinstance(made, OSError):
        raise refusal(made, "The messages cannot be copied") from made
    found = [linked for linked in made if linked.sizes is not None]
    is_done = False
    try:
        stays = moves and box.context.quota is target.context.quota and box.context.quota.counts(box.name)
        if not stays:
            target.admit(sum(linked.sizes.on_disk or 0 for linked in found if linked.sizes), len(found))
        with target.locked():
            freshen(target)
            new = admit(target, _arrivals(target, found))
        is_done = True
    finally:
        if not is_done:
            for linked in found:
                target.files.unlink_quietly(linked.original.temporary)
    return list(zip(found, new, strict=True))


def _originals(box: Box, uids: Sequence[int], target: Box) -> list[Original]:
    with box.green:  # others of this worker may be at work on it in the pool
        box.offload(box.is_large, box.refresh_uidlist, False)
    originals: list[Original] = []
    for uid in sorted(set(uids)):
        where = box.index.where(uid)
        if where is not None:
            row = box.index.table.row(uid)
            flags = box.index.table.flags_of(row)
            guid = box.uidlist.field(uid, b"G") or base_name(where[0])
            temporary = target.tmp_path + target.context.unique.next()
            originals.append(Original(Item(uid, *where), flags, guid, temporary, box.index.table.sizes[row]))
    return originals


def _arrivals(target: Box, found: Sequence[Linked]) -> list[Arrival]:
    """The base name stays if the target never had it and its sizes are right; else it is in the field G."""
    taken: set[bytes] = set()
    arrivals: list[Arrival] = []
    for linked in found:
        assert linked.sizes is not None
        disk, crlf = linked.sizes.on_disk or 0, linked.sizes.with_crlf or 0
        base, original = base_name(linked.original.item.name), linked.original
        fields: dict[bytes, bytes] = {}
        if not target.is_settled or base in target.uidlist.uids or base in taken or not linked.name_is_right:
            base = with_sizes(target.context.unique.next(), disk, crlf)
        elif sizes_of(base).with_crlf is None:
            fields[b"W"] = b"%d" % crlf
        if base != original.guid:
            fields[b"G"] = original.guid
        taken.add(base)
        raw = format_fields(fields) if fields else b""
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
    copied = {linked.original.item.uid: (linked, uid) for linked, uid in _copy(box, uids, target, moves=True)}
    removed: set[int] = set()
    failed: StorageError | None = None
    try:
        for batch in batches(copied):
            _remove_moved(box, {uid: copied[uid][0].source for uid in batch}, removed)
            box.context.runtime.breathe()
    except StorageError as error:
        failed = error
    _undo(target, {new: linked.made for uid, (linked, new) in copied.items() if uid not in removed}, failed)
    if failed is not None:
        raise failed
    return [(uid, copied[uid][1]) for uid in sorted(removed)]


def _remove_moved(box: Box, sources: Mapping[int, Identity], removed: set[int]) -> None:
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
        outcomes = box.context.runtime.blocking(unlink_same, box.files, directory, items, is_remote)
        removed.update(outcome.uid for outcome in outcomes if outcome.done or outcome.is_unsure)
        drop(box, outcomes)


def _undo(target: Box, copies: Mapping[int, Identity], failed: StorageError | None) -> None:
    """Take back copies whose originals we did not unlink: they are still there, or somebody else took them."""
    try:
        for batch in batches(copies):
            _remove_moved(target, {uid: copies[uid] for uid in batch}, set())
    except StorageError as error:
        if failed is None:
            raise
        log.error("move-undo mailbox=%r copies=%d left error=%r", target.name, len(copies), error.text)
