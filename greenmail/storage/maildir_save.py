"""Bringing messages into a Maildir mailbox: APPEND. `formats.md` 1.6, `architecture.md`.

A message is written into the target's `tmp/` as it arrives, and synced before it gets its name. Under the lock: rename
into `new/` (no flags) or `cur/`, sync of the directories, uidlist line with fdatasync, journal. A crash before the
uidlist line leaves messages without a UID, which the next look numbers: nobody was told anything about them. COPY is in
`maildir_copy`.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

from greenmail.errors import Reason, StorageError
from greenmail.message.compressed import kind_of
from greenmail.message.to_disk import ToDisk
from greenmail.storage.api import FlagAction, FlagChange, Flags
from greenmail.storage.filesystem import Files, is_there, refusal, refusing
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_data import write_uidnext
from greenmail.storage.maildir_flags import translate
from greenmail.storage.maildir_name import Sizes, with_letters, with_sizes
from greenmail.storage.maildir_scan import freshen
from greenmail.storage.save_dates import named

log = logging.getLogger(__name__)


class MaildirUpload:
    """A file in `tmp/`, written as it arrives."""

    def __init__(self, box: Box, freed: tuple[int, int] = (0, 0), is_limited: bool = True) -> None:
        """`is_limited`: whether it has to be asked again if it fits, once its size is known."""
        self.freed = freed  # octets and messages that go in exchange: see `api.Mailbox.upload`
        self.is_limited = is_limited
        self.flags: Flags = frozenset()
        self.date: int | None = None
        self._files = box.files
        self._convert = ToDisk()
        self._rest = b""
        with refusing("The message cannot be stored"):
            self.unique, self._fd = _create(box)
        self.path = box.tmp_path + self.unique

    def write(self, data: bytes) -> None:
        """The next octets."""
        with refusing("The message cannot be stored"):
            converted = self._convert.feed(data)
            if converted:
                self._files.write_all(self._fd, converted)

    def end(self) -> Sizes:
        """There are no more octets: the sizes for the name."""
        self._rest = self._convert.end()
        return Sizes(self._convert.disk_size, self._convert.crlf_size)

    def sync(self, date: int) -> None:
        """Everything is on disk when this returns. Raises OSError. After `end`; may be called in the pool."""
        if self._rest:
            self._files.write_all(self._fd, self._rest)
        self._files.set_mtime(self._fd, date * 1_000_000_000)
        self._files.fsync(self._fd)
        self._close()

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


class Arrival(NamedTuple):
    """A complete file in `tmp/` that is to become a message."""

    path: bytes
    base: bytes
    flags: Flags
    size: int
    date: int
    fields: bytes = b""  # raw fields for the uidlist
    on_disk: int = 0  # octets of the file


class _Step(NamedTuple):
    source: bytes
    target: bytes
    name: bytes
    is_new: bool


def deliver(files: Files, steps: Sequence[_Step], directories: Sequence[bytes]) -> OSError | None:
    """Rename all or none, and make the names durable."""
    done: list[_Step] = []
    try:
        for step in steps:
            try:
                files.rename_new(step.source, step.target)
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


Dated = tuple[MaildirUpload, int]  # an upload, and its INTERNALDATE


def sync_all(uploads: Sequence[Dated]) -> OSError | None:
    """`sync` of each; in the pool."""
    try:
        for upload, date in uploads:
            upload.sync(date)
    except OSError as error:
        return error
    return None


def save(box: Box, uploads: Sequence[MaildirUpload]) -> list[int]:
    """`api.Mailbox.save`."""
    for upload in uploads:
        upload.check()
    octets = sum(upload.size - upload.freed[0] for upload in uploads)
    if any(upload.is_limited for upload in uploads):
        box.admit(octets, sum(1 - upload.freed[1] for upload in uploads))
    now = int(box.context.runtime.now())
    dated = [(upload, now if upload.date is None else upload.date) for upload in uploads]
    arrivals = []
    for (upload, date), unique in zip(dated, _names(box, uploads), strict=True):
        found = upload.end()
        disk, crlf = found.on_disk or 0, found.with_crlf or 0
        arrivals.append(Arrival(upload.path, with_sizes(unique, disk, crlf), upload.flags, crlf, date, b"", disk))
    # Before the lock: who appends again and again would else hold it nearly always, and others would hardly get it.
    failed = box.context.runtime.blocking(sync_all, dated)
    if failed is not None:
        raise refusal(failed, "The message cannot be stored") from failed
    with box.locked():
        freshen(box)
        uids = admit(box, arrivals)
    for upload in uploads:
        upload.saved()
    return uids


def _names(box: Box, uploads: Sequence[MaildirUpload]) -> list[bytes]:
    """Unique names that begin with the time at which the messages are saved, as far as seconds go: RFC 8514 3.

    Their files in `tmp/` have the time at which their first octets came, which may have been long ago.
    """
    now = int(box.context.runtime.now())
    if all(named(upload.unique) >= now for upload in uploads):
        return [upload.unique for upload in uploads]
    return [box.context.unique.next() for _ in uploads]


class Naming:
    """What flags become in the name of a message of this mailbox: worked out once a set of flags. Under the lock."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._known: dict[Flags, tuple[bytes, Flags]] = {}
        self.beyond: dict[bytes, Flags] = {}  # keywords without letters, by base name

    def info(self, base: bytes, flags: Flags) -> bytes:
        """What follows the base name; empty: the message goes to `new/`. Changes nothing once the flags are learnt."""
        info, overflow = self._known.get(flags) or self.learn(flags)
        if overflow or self._box.overflow.of(base):  # what stands there was another message's
            self.beyond[base] = overflow
        return info

    def learn(self, flags: Flags) -> tuple[bytes, Flags]:
        """What a set of flags becomes: letters, and keywords that have none. New keywords are written."""
        delta, overflow, _ = translate(self._box, FlagChange(FlagAction.REPLACE, flags))
        known = self._known[flags] = with_letters(b"", delta.add) if delta.add or overflow else b"", overflow
        return known

    def write(self) -> None:
        """Keywords without letters stand in their file before the messages are there."""
        if self.beyond:
            self._box.change_overflow(self.beyond)


def admit(box: Box, arrivals: Sequence[Arrival]) -> list[int]:
    """Under the lock and fresh: make files in `tmp/` messages of this mailbox, all or none; their UIDs."""
    if not arrivals:
        return []
    steps: list[_Step] = []
    naming = Naming(box)
    for arrival in arrivals:
        info = naming.info(arrival.base, arrival.flags)
        name, is_new = arrival.base + info, not info
        steps.append(_Step(arrival.path, box.path(name, is_new), name, is_new))
    naming.write()
    directories = sorted({os.path.dirname(step.target) for step in steps})
    uids: list[int] | StorageError = box.context.runtime.blocking(
        _deliver_and_number, box, arrivals, steps, directories
    )
    if isinstance(uids, StorageError):
        raise uids
    change = Change()
    for uid, arrival, step in zip(uids, arrivals, steps, strict=True):
        change.came(uid, step.name, step.is_new, box.flags_of(step.name, step.is_new), (arrival.size, arrival.date))
    journal_arrivals(box, change)
    box.charge(sum(arrival.on_disk for arrival in arrivals), len(arrivals))
    return uids


def journal_arrivals(box: Box, change: Change) -> None:
    """Messages that came, with what their coming changed."""
    change.value("next", box.uidlist.next_uid)
    if box.keywords.names != box.index.letters:
        change.value("letters", dict(box.keywords.names))
    box.commit(change)


def _deliver_and_number(
    box: Box,
    arrivals: Sequence[Arrival],
    steps: Sequence[_Step],
    directories: Sequence[bytes],
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
