"""One Maildir mailbox as all its operations see it: where it is, what is known of it, and its locks.

`Box` is bound to the directory that it was opened on: device and inode (held open, so that the kernel does not give
the number to another directory) and the GUID of the uidlist. When the path leads to something else the box is gone for
good.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.message.unpacked import LARGEST, Kept, Unpacking
from greenmail.runtime import Runtime
from greenmail.storage.api import Flags
from greenmail.storage.directory_lock import DirectoryLock
from greenmail.storage.filesystem import Files, Ownership, is_stale, ownership, refusal, refusing
from greenmail.storage.index_files import IndexFiles
from greenmail.storage.keywords import OVERFLOW_LIMIT, Keywords, OverflowKeywords
from greenmail.storage.lock_rules import LockRules
from greenmail.storage.locks import MailboxLock, Owner, Waiting
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index
from greenmail.storage.maildir_name import FLAG_OF_LETTER, UniqueNames, letters_of
from greenmail.storage.mounts import COARSE_NS, DirectoryTimes, mount_of, step
from greenmail.storage.quota import Maildirsize
from greenmail.storage.subscribers import Subscribers
from greenmail.storage.text_place import TextPlace
from greenmail.storage.uidlist import Uidlist
from greenmail.storage.uidlist_file import Refreshed

log = logging.getLogger(__name__)

HOT_NS = COARSE_NS  # a directory's time says nothing about changes that near to it: formats.md 1.8
VERIFY_NS = 1_000_000  # after own changes a large `cur/` is verified later, in proportion to its size ...
_VERIFY_COARSE_NS = 20_000  # ... but soon where times are so coarse that others easily hide behind us
LARGE = 2000  # messages from which what is done for each of them goes to the pool
RESTLESS = 2.0  # seconds to the next look, where the last one could not take up everything
_KINDS = 10_000  # different ends of names that are remembered
LARGE_FILE = 1 << 17  # octets of a directory, or of a control file, that has as many entries

GONE_TEXT = "The mailbox was deleted, renamed or replaced by another program; select it again."


@dataclass(frozen=True, slots=True)
class Context:
    """What all mailboxes of an account share."""

    files: Files
    runtime: Runtime
    rules: LockRules | None  # asserted if there are any
    owner: Owner
    waiting: Waiting
    unique: UniqueNames
    tracks_modseq: bool
    new_uidvalidity: Callable[[], int]
    quota: Maildirsize
    unpacked: Kept = field(default_factory=Kept)
    max_unpacked_size: int = LARGEST
    max_keywords: int = OVERFLOW_LIMIT
    text: TextPlace | None = None  # the full-text index, if there is to be one

    def unpacking(self, name: bytes) -> Unpacking:
        """For the message of this file name."""
        return Unpacking(self.runtime.blocking, self.unpacked, name, self.max_unpacked_size)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mailbox is."""

    directory: bytes
    control: bytes
    index_root: bytes  # `index-path`, or empty: in the mailbox directory
    is_inbox: bool
    data: bytes = b""  # `greenmail-data`, if that is not in the control directory


class Box:
    """See the module's text. Only the modules `maildir_*` use it."""

    def __init__(self, context: Context, place: Place, name: str) -> None:
        self.context = context
        self.files = context.files
        self.place = place
        self.name = name
        with refusing("the mailbox cannot be opened"):
            self._held, found = _hold(self.files, place.directory)
        self.identity = (found.st_dev, found.st_ino)
        self.times = DirectoryTimes(mount_of(self._held).is_remote)
        self.ownership: Ownership = ownership(found)
        self.new_path = place.directory + b"/new/"
        self.cur_path = place.directory + b"/cur/"
        self.tmp_path = place.directory + b"/tmp/"
        self.index = Index()
        self.index_files: IndexFiles | None = None
        self.uidlist = Uidlist(self.files, place.control + b"/dovecot-uidlist")
        self.data_path = place.data or place.control + b"/greenmail-data"
        self.keywords = Keywords(self.files, place.control + b"/dovecot-keywords")
        self.overflow = OverflowKeywords(self.files, self.data_path, context.max_keywords)
        # Knows of root and of read-only file systems; what it does not know shows when the lock is taken.
        self.read_only = any(map(_is_sealed, (place.directory, self.new_path, self.cur_path)))
        self.keeps_index = False  # although it is read-only: the index files are elsewhere
        self.is_gone = False
        self.looked = -1e9  # when the last whole look began, by the monotonic clock
        self.is_settled = False  # everything that the last listing showed has been taken up
        self.unwritten: dict[bytes, int] = {}  # read-only: UIDs given to names that the uidlist does not have
        self.missed: dict[int, tuple[float, int]] = {}  # UIDs that listings missed: since when, how often
        self.tmp_is_purged = False
        self.facts: list[tuple[int, int, int]] = []  # worked out, not yet journalled
        self.green = context.runtime.lock()
        self.moving = context.runtime.lock()  # of those who move messages away, taken before `green`
        self.lock = MailboxLock(self.files, place.directory, context.owner, context.waiting, place.control)
        self.uids_are_suspect = True  # the uidlist was read anew: rows may have other UIDs there
        self._keyword_names: tuple[str, ...] | None = None
        self._by_letters: dict[bytes, Flags] = {}
        self._by_info: dict[bytes, Flags] = {}  # what follows a base name -> its flags
        self._subscribers = Subscribers()

    # Identity

    def check(self) -> None:
        """Make sure that the path still leads to this mailbox. Raises GONE."""
        if not self.is_gone:
            try:
                found = self.files.glance(self.place.directory, self.times.is_remote)
            except (FileNotFoundError, NotADirectoryError):
                self.leave()
            except OSError:
                with refusing("the mailbox cannot be read"):
                    raise
            else:
                if (found.st_dev, found.st_ino) != self.identity:
                    self.leave()
        if self.is_gone:
            raise StorageError(Reason.GONE, GONE_TEXT)

    def was_looked_at(self, age: float) -> bool:
        """Whether a look began in the last `age` seconds, so that another one need not be made now."""
        return time.monotonic() - self.looked < age and not self.is_gone

    def leave(self) -> None:
        """The name leads elsewhere: no session may touch anything through this object any more."""
        if not self.is_gone:
            self.is_gone = True
            self.notify()

    def as_seen(self) -> os.stat_result | None:
        """The mailbox directory, if nothing changed: asks what `maildir_scan.look` asks, which has the rest, in fewer
        steps."""
        times, files = self.index.times, self.files
        journal = self.index_files.journal if self.index_files is not None else None
        if not times or times[1] or not self.is_settled or self.is_gone or self.times.is_remote or journal is None:
            return None
        try:
            found = files.glance(self.place.directory, False)
            if (found.st_dev, found.st_ino) != self.identity or not journal.is_as_read():
                return None
            new, cur = files.glance(self.new_path, False), files.glance(self.cur_path, False)
        except OSError:
            return None
        now = self.now_ns() if times[3] else 0
        is_due = times[3] and (now >= times[3] or self.went_back(now))
        return found if (new.st_mtime_ns, cur.st_mtime_ns) == (times[0], times[2]) and not is_due else None

    def went_back(self, now: int) -> bool:
        """Whether a verification is due later than it was ever set: else it would have to wait for the clock."""
        latest = now + HOT_NS + 2 * self.longest_verify
        return bool(self.index.times) and max(self.index.times[1], self.index.times[3]) > latest

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the mailbox's locks, having made sure that it is ours and taken up what others journalled."""
        if self.is_gone:
            self.check()
        if self.read_only:
            raise StorageError(Reason.READ_ONLY, "The mailbox cannot be written.")
        with self._rules() as took, self.green, self.lock:
            took()
            self.check()
            try:
                self.follow()
            except OSError as fault:
                raise refusal(fault, "The mailbox cannot be read") from fault
            try:
                yield
            except StorageError as error:
                if error.reason is Reason.NOT_FOUND:
                    self.check()  # GONE, if the mailbox went in the midst of the change
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What a read-only mailbox is brought into line under: its green lock, and the lock of an index elsewhere."""
        with self.green, contextlib.ExitStack() as held:
            if self.keeps_index and self.index_files is not None:
                try:
                    directory = self.index_files.directory
                    held.enter_context(DirectoryLock(self.files, directory, directory, self.context.waiting))
                except StorageError as error:
                    self.keeps_index = False
                    log.warning("index mailbox=%r not kept error=%r", self.name, error.text)
                else:
                    self.follow()
            yield

    def _rules(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        rules = self.context.rules
        if rules is None:
            return contextlib.nullcontext(_nothing)
        return rules.holding(self.place.directory, self.place.control)

    def close(self) -> None:
        """Give back every descriptor; the object cannot be used any more."""
        self.lock.close()
        if self.index_files is not None:
            self.index_files.close()
        if self._held >= 0:
            self.files.close_quietly(self._held)
            self._held = -1

    # What is known

    def follow(self) -> None:
        """Take up what other processes journalled. Raises GONE."""
        try:
            is_news = self.index_files is not None and self.index_files.follow(self.index) > 0
        except StorageError:
            self.leave()
            raise
        if is_news:
            self.refresh_keywords()
            self.notify()

    def refresh_keywords(self) -> None:
        """Read both files of keywords if they changed."""
        changed = self.keywords.refresh()
        if self.overflow.refresh() or changed:
            self.forget_meanings()

    def forget_meanings(self) -> None:
        """Keywords came, or letters may mean something else now."""
        self._by_letters.clear()
        self._by_info.clear()
        self._keyword_names = None

    def refresh_uidlist(self, locked: bool) -> Refreshed:
        """Read what is new in the uidlist, and remember if that may be more than new lines."""
        index = self.index
        if self.is_settled and index.times:
            self.uidlist.trust(index.times[4:7], index.uidvalidity, index.mailbox_id.encode("latin-1"))
        refreshed = self.uidlist.refresh(locked)
        if refreshed in (Refreshed.REREAD, Refreshed.MISSING):
            self.uids_are_suspect = True
        return refreshed

    def reread_uidlist(self, locked: bool) -> Refreshed:
        """`refresh_uidlist`, in the pool where there is much to read; under the green lock."""
        if not self.is_large:
            return self.refresh_uidlist(locked)
        if self.uidlist.is_unchanged(locked):
            return Refreshed.UNCHANGED
        refreshed: Refreshed = self.context.runtime.blocking(self.refresh_uidlist, locked)
        return refreshed

    def change_overflow(self, messages: dict[bytes, Flags]) -> None:
        """Under the lock: keywords without letters of these base names."""
        is_done = False
        try:
            self.context.runtime.blocking(self.overflow.change, messages)
            is_done = True
        finally:
            self.forget_meanings()
            # If its last sync failed the new file stands: the next look reads it.
            self.is_settled = self.is_settled and is_done

    def path(self, name: bytes, is_new: bool) -> bytes:
        return (self.new_path if is_new else self.cur_path) + name

    def uid_of(self, base: bytes) -> int | None:
        """The UID of a base name."""
        uid = self.uidlist.uid_of(base)
        return self.unwritten.get(base) if uid is None else uid

    def flags_of(self, name: bytes, is_new: bool) -> Flags:
        """What a file's name says; a file in `new/` has no flags of that kind, formats.md 1.3."""
        base, colon, info = name.partition(b":")
        overflow = self.overflow.of(base)
        if is_new:
            return overflow
        info = colon + info
        flags = self._by_info.get(info)
        if flags is None:
            if len(self._by_info) >= _KINDS:
                self._by_info.clear()
                self._by_letters.clear()
            flags = self._by_info[info] = self._flags_of_letters(letters_of(info))
        return flags | overflow if overflow else flags

    def flags_of_all(self, files: Sequence[tuple[bytes, bool]]) -> list[Flags]:
        """`flags_of` each of many."""
        if self.overflow.names:
            return [self.flags_of(name, is_new) for name, is_new in files]
        kinds = [b"" if is_new else name.partition(b":")[2] for name, is_new in files]
        known = {kind: self.flags_of(b":" + kind, False) for kind in set(kinds)}
        return list(map(known.__getitem__, kinds))

    def _flags_of_letters(self, letters: bytes) -> Flags:
        """Flags for letters as `letters_of` gives them: one object, whatever else the names have."""
        flags = self._by_letters.get(letters)
        if flags is None:
            names = self.keywords.names
            flags = frozenset(
                FLAG_OF_LETTER.get(letter) or names.get(letter, f"unknown-{letter - 97}") for letter in letters
            )
            self._by_letters[letters] = flags
        return flags

    def keyword_names(self) -> tuple[str, ...]:
        """Every keyword, those with letters first."""
        if self._keyword_names is None:
            lettered = [self.keywords.names[letter] for letter in sorted(self.keywords.names)]
            self._keyword_names = (*lettered, *self.overflow.names)
        return self._keyword_names

    # Changing

    def admit(self, storage: int, messages: int) -> bool:
        """Raises OVER_QUOTA if so many octets and messages do not fit; False if any would."""
        return self.context.quota.admit(self.name, storage, messages)

    def charge(self, storage: int, messages: int) -> None:
        """So much came, or went."""
        self.context.quota.charge(self.name, storage, messages)

    def weighs(self) -> bool:
        """Whether the octets of what goes are to be told to `charge`."""
        return self.context.quota.weighs(self.name)

    def now_ns(self) -> int:
        return int(self.context.runtime.now() * 1_000_000_000)

    def next_modseq(self) -> int:
        """Unique without any sync: architecture.md, "Locks"."""
        return max(self.index.modseq + 1, int(self.context.runtime.now() * 1_000_000))

    def directory_times(self) -> tuple[int, int]:
        """mtime of `new/` and `cur/` in ns; 0 for one that is not there."""
        found = self._mtime(self.new_path), self._mtime(self.cur_path)
        self.times.saw(found, self.now_ns())
        return found

    def _mtime(self, path: bytes) -> int:
        try:
            return self.files.glance(path, self.times.is_remote).st_mtime_ns
        except FileNotFoundError:
            return 0
        except OSError as error:
            if is_stale(error):
                raise
            log.warning("directory path=%r error=%s", path, error)
            return 0

    def is_cool(self, which: int, mtime: int, now: int) -> bool:
        """Whether every change that follows gives `new/` (0) or `cur/` (1) another time than `mtime`."""
        return self.times.age(which, mtime, now) >= HOT_NS

    def due(self, which: int, mtime: int, now: int) -> int:
        """The moment from which `is_cool` is true."""
        return now + HOT_NS - max(0, self.times.age(which, mtime, now))

    def warmth(self, times: tuple[int, int]) -> int:
        """Nanoseconds until equal `times` prove that nothing changed since; 0 or less if they do so now."""
        now = self.now_ns()
        return max(step(times[which]) - self.times.age(which, times[which], now) for which in (0, 1))

    def verify_after(self, mtime: int) -> int:
        """Nanoseconds after a change of our own, which left `mtime`, until `cur/` is verified."""
        each = VERIFY_NS if step(mtime) < COARSE_NS else _VERIFY_COARSE_NS
        return max(HOT_NS, each * len(self.index.names))

    @property
    def longest_verify(self) -> int:
        """The longest time for which a verification is put off."""
        return max(HOT_NS, VERIFY_NS * len(self.index.names))

    def unsure(self) -> float:
        """Seconds until a look may find what no event tells of; infinity if there is nothing of that kind."""
        times = self.index.times
        if not self.is_settled or not times:
            return max(RESTLESS, self.longest_verify / 1e10)
        due = min((moment for moment in (times[1], times[3]) if moment), default=0)
        return max(0.0, (due - self.now_ns()) / 1e9) if due else float("inf")

    def uidlist_print(self) -> list[int]:
        """What changes when the uidlist does."""
        try:
            found = self.files.stat(self.place.control + b"/dovecot-uidlist")
        except OSError:
            return [0, 0, 0]
        return [found.st_ino, found.st_size, found.st_mtime_ns]

    def control_print(self) -> list[int]:
        """What changes when the uidlist or the keywords without letters do, as far as they are known here."""
        if self.uidlist.must_rewrite:  # who opens it next must not trust it
            return [0, 0, 0, *self.overflow.print()]
        return [*(self.uidlist.print() or self.uidlist_print()), *self.overflow.print()]

    def own_times(self) -> list[int]:
        """Directory times after a change of our own, made under the lock right after everything was looked at.

        A program without the lock might have slipped in: `new/` is listed at each look while it is hot, `cur/` once
        more later.
        """
        if not self.is_settled or not self.index.times:
            return []
        new, cur = self.directory_times()
        old_new, new_due, old_cur, cur_due = self.index.times[:4]
        now = self.now_ns()
        if new != old_new:
            self.files.samples.add(self.identity[0], new, self.new_path)
            new_due = new_due or self.due(0, new, now)
        if cur != old_cur:
            self.files.samples.add(self.identity[0], cur, self.cur_path)
            cur_due = cur_due or now + self.verify_after(cur)
        return [new, new_due, cur, cur_due, *self.control_print()]

    def commit(self, change: Change, times: list[int] | None = None) -> None:
        """What was done on disk becomes known: journal third, views fourth. `times` None: it was our own change."""
        keeps = self.keeps_index or not self.read_only
        if self.facts and keeps:
            change.facts(self.facts)
            self.facts = []
        times = self.own_times() if times is None else times
        if times != self.index.times:
            change.value("times", times)
        if change.is_empty:
            return
        if self.index_files is None or not keeps:
            self.index.apply(change.batch(self.next_modseq()), change.arrived)
        else:
            self.index_files.record(self.index, change, self.next_modseq())
        if change.seen:
            self.notify()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have `notify` called at changes; gives the canceller."""
        return self._subscribers.add(notify)

    def notify(self) -> None:
        """Tell whoever subscribed."""
        self._subscribers.notify()

    @property
    def is_large(self) -> bool:
        """Whether what costs something for each message is long work; a guess where nothing is known yet."""
        if self.index.times:
            return len(self.index.names) > LARGE
        return len(self.index.names) > LARGE or any(
            _size(self.files, path) > LARGE_FILE
            for path in (self.cur_path, self.new_path, self.place.control + b"/dovecot-uidlist")
        )

    def offload(self, large: bool, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function` in the pool if it is long work, else here: a hop costs more than a few system calls."""
        return self.context.runtime.blocking(function, *args) if large else function(*args)


def _hold(files: Files, directory: bytes) -> tuple[int, os.stat_result]:
    """An open directory, and what it is. Raises OSError."""
    for is_last in (False, True):
        # O_PATH needs no permission, and holds the inode number.
        descriptor = files.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            return descriptor, files.fstat(descriptor)
        except OSError as error:
            files.close_quietly(descriptor)
            if is_last or not is_stale(error):
                raise
    raise AssertionError("unreachable")


def _is_sealed(path: bytes) -> bool:
    """It is there, and this process may not make or remove anything in it."""
    return not os.access(path, os.W_OK, effective_ids=True) and os.path.exists(path)


def _size(files: Files, path: bytes) -> int:
    try:
        return files.stat(path).st_size
    except OSError:
        return 0


def _nothing() -> None:
    return None
