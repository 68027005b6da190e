"""The quota of an account, in `maildirsize`: shared with Dovecot, Courier, maildrop and Exim. `formats.md` 5.

    file   = head LF *(change LF)
    head   = [limit *("," limit)]       ; the limits: 10485760S,1000C
    limit  = 1*DIGIT ("S" / "C")        ; octets, messages; 0: not limited; other letters are not ours
    change = octets count               ; signed, with any white space around: "1863 3", "-943 -1"

What is used is the sum of all changes. Whoever adds or removes messages appends one line with one write and no lock; a
failure to do so never fails what was done to the mail, since the file can be made anew at any time by counting. That
is done when the file is missing, damaged, as long as 5120 octets, made for other limits, or says that there is too much
and is not fresh; under a `flock` on `greenmail-quota.lock` beside it, in the pool, and once a minute at most.

Counting and a delivery may go on at the same time. The times of all directories are looked at before and after, and
the result is written only if nothing was delivered or removed; a new file replaces the old one by rename, so that a
reader sees one of them, whole. A line that is appended to the old file behind our last look is lost, or a message is
counted that is told by a line as well: a difference of a message until the next count, which every program that keeps
such a file has.

Limits of our own are those that SETQUOTA set (`quota_set`), else those that are configured. Without any the head is
kept to the octet, and a file is neither made nor removed. If there is no file either, there is no quota root, RFC 9208
3.2.
"""

import contextlib
import fcntl
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime
from greenmail.storage.api import Quota
from greenmail.storage.filesystem import Files, Ownership, ownership
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_name import base_name, sizes_of
from greenmail.storage.presence import found_at
from greenmail.storage.quota_limits import QuotaLimits
from greenmail.storage.quota_rules import LARGEST, OVER_TEXT, Limits, OtherLimits, QuotaRules
from greenmail.storage.quota_set import SetLimits

log = logging.getLogger(__name__)

FILE = b"maildirsize"
LOCK = b"greenmail-quota.lock"

_LONG = 5120  # octets of a file that is made anew
_OLD = 900.0  # seconds after which a sum over the limits is not believed
_PAUSE = 60.0  # seconds between two counts of one account
_PASSES = 3  # of counting, while mail comes and goes
_MOST_READ = 1 << 20
_TAIL = 256
_HEAD = re.compile(rb"[0-9]{1,20}[A-Za-z]?(?:,[0-9]{1,20}[A-Za-z]?)*")
_CHANGE = re.compile(rb"[ \t]*(-?[0-9]{1,18})[ \t]+(-?[0-9]{1,18})[ \t\r]*")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A `maildirsize` as it was read."""

    head: bytes  # without LF
    storage: int
    messages: int
    changes: int  # lines behind the head
    is_damaged: bool  # the sums mean nothing
    head_is_good: bool
    size: int = 0
    mtime: float = 0.0


def parse(data: bytes) -> Sheet:
    """Total: any octets give a sheet. What stands behind the last LF is still being written, and is ignored."""
    head, end, changes = data.partition(b"\n")
    if not end:  # not even the head is complete
        return Sheet(b"", 0, 0, 0, is_damaged=True, head_is_good=False)
    good = not head.strip() or _HEAD.fullmatch(head.strip()) is not None
    return extended(Sheet(head, 0, 0, 0, not good, good), changes)


def extended(sheet: Sheet, changes: bytes) -> Sheet:
    """The sheet with these lines more."""
    storage, messages = sheet.storage, sheet.messages
    lines = changes.split(b"\n")[:-1]
    matches = [_CHANGE.fullmatch(line) for line in lines]
    for match in matches:
        if match is not None:
            storage += int(match[1])
            messages += int(match[2])
    damaged = sheet.is_damaged or None in matches or storage < 0 or messages < 0 or storage > LARGEST
    return replace(sheet, storage=storage, messages=messages, changes=sheet.changes + len(lines), is_damaged=damaged)


def limits_of(head: bytes) -> Limits:
    """What the head of a file allows; a limit that is there twice counts as it is there last."""
    found = {b"S": 0, b"C": 0}
    for part in head.strip().split(b","):
        if part[-1:] in found and part[:-1].isdigit():
            found[part[-1:]] = min(int(part[:-1]), LARGEST)
    return Limits(found[b"S"], found[b"C"])


def head_of(limits: Limits) -> bytes:
    """The head as Dovecot writes it."""
    parts = [b"%d%b" % (limit, kind) for limit, kind in ((limits.storage, b"S"), (limits.messages, b"C")) if limit]
    return b",".join(parts) or b"0S"


# Counting, in the pool


def disk_size(files: Files, path: bytes) -> int:
    """Octets of a message file: what its name says, else what the disk says; 0 for one that is not there."""
    named = sizes_of(base_name(os.path.basename(path))).on_disk
    if named is not None:
        return named
    try:
        found = files.lstat(path)
    except OSError:
        return 0  # gone meanwhile, or it cannot be known
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def disk_sizes(files: Files, paths: Sequence[bytes]) -> int:
    """The sum of `disk_size`."""
    return sum(disk_size(files, path) for path in paths)


def count(files: Files, directories: Sequence[bytes]) -> tuple[int, int] | OSError:
    """Octets and number of the messages in these mailboxes."""
    storage = messages = 0
    for path in _parts(directories):
        try:
            names = files.listdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return error
        for name in names:
            if not name.startswith(b"."):
                storage += disk_size(files, path + name)
                messages += 1
    return storage, messages


def _parts(directories: Sequence[bytes]) -> Iterator[bytes]:
    for directory in directories:
        yield directory + b"/new/"
        yield directory + b"/cur/"


def _times(files: Files, directories: Sequence[bytes]) -> list[int]:
    times = []
    for path in _parts(directories):
        try:
            times.append(files.stat(path).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


@dataclass(frozen=True, slots=True)
class Counted:
    """What counting found; `error` says why it was not written."""

    storage: int
    messages: int
    error: OSError | None = None


def recount(files: Files, path: bytes, head: bytes, directories: Sequence[bytes], removable: bool) -> Counted | OSError:
    """Make the file at `path` anew. `removable`: a result that was overtaken may be removed, for another count."""
    written = False
    error: OSError | None = None
    found: tuple[int, int] | OSError = (0, 0)
    for _ in range(_PASSES):
        before = _times(files, directories)
        found = count(files, directories)
        if isinstance(found, OSError):
            return found
        if _times(files, directories) != before:
            continue
        try:
            owner: Ownership = ownership(files.stat(os.path.dirname(path)))
            files.replace_file(path, b"%b\n%d %d\n" % (head, *found), owner)
        except OSError as failed:
            error = failed
            break
        written = True
        if _times(files, directories) == before:
            return Counted(*found)
    assert not isinstance(found, OSError)
    if written and removable and error is None:
        files.unlink_quietly(path)
    return Counted(*found, error)


# The file of one account


def _print(found: os.stat_result) -> list[int]:
    """What changes with the file: a line makes it longer, and a new one is another file."""
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read last."""

    print: list[int]
    sheet: Sheet
    end: int  # of the last complete line
    tail: bytes  # what stands before it: where that is unchanged, lines were only appended


def _in_file(sheet: Sheet | None) -> Limits:
    return limits_of(sheet.head) if sheet is not None and sheet.head_is_good else Limits()


@dataclass(frozen=True, slots=True)
class _State:
    limits: Limits
    storage: int
    messages: int


@dataclass(frozen=True, slots=True)
class Around:
    """What a quota has to do with in its account."""

    prefix: str
    separator: str
    waiting: Waiting
    mailboxes: Callable[[], Sequence[tuple[str, bytes]]]  # names and directories, asked when counting
    set_limits: SetLimits


class Maildirsize:
    """One for all sessions of a worker on one file. Nothing here raises but OVER_QUOTA."""

    def __init__(self, files: Files, runtime: Runtime, control: bytes) -> None:
        """`control`: the account's control directory, which holds the file."""
        self.rules = QuotaRules()
        self._files = files
        self._runtime = runtime
        self._path = control + b"/" + FILE
        self._lock_path = control + b"/" + LOCK
        waiting = Waiting(runtime.sleep, runtime.now)
        self._around = Around("", "", waiting, tuple, SetLimits(files, control + b"/greenmail-data", waiting))
        self._counted_at = float("-inf")
        self._last: tuple[int, int] | None = None  # what was counted, and our own changes since
        self._is_suspect = False  # a change of ours did not get into the file
        self._known: _Known | None = None
        self._complaints: set[int | None] = set()  # errno of what the log has been told

    def configure(self, rules: QuotaRules, around: Around) -> None:
        """As the newest session's user database says."""
        self.rules, self._around = rules, around

    def counts(self, name: str) -> bool:
        """Whether the mailbox belongs to the quota root, should there be one."""
        if not self.rules.ignored:
            return True
        short = name.removeprefix(self._around.prefix)
        return not any(self.rules.ignores(one, self._around.separator) for one in {name, short})

    def root(self) -> str | None:
        """The name of the quota root, if there is one."""
        is_limited = self.rules.limits or self.rules.others or self._around.set_limits.read() is not None
        return self.rules.root if is_limited or self._read() is not None else None

    def quota(self) -> Quota | None:
        """What is used and allowed now."""
        state = self._state(self._own_limits, 0, 0)
        if state is None and self.root() is None:
            return None
        state = state or _State(Limits(), 0, 0)
        return self.rules.quota(state.limits, state.storage, state.messages)

    def others(self) -> OtherLimits:
        """The limits of what is not in the file."""
        found = self._around.set_limits.read()
        return self.rules.others if found is None else OtherLimits(found.mailboxes or 0, found.annotations or 0)

    def limit(self, limits: QuotaLimits) -> None:
        """SETQUOTA: from now on these count, and the head says so. Raises StorageError."""
        self._around.set_limits.write(limits)
        self._counted_at = float("-inf")
        self._state(self._own_limits, 0, 0)

    def admit(self, name: str, storage: int, messages: int) -> bool:
        """Raises OVER_QUOTA if so much more is too much for the mailbox `name`; False if nothing is."""
        if not self.rules.enforced or not self.counts(name) or (storage <= 0 and messages <= 0):
            return self.rules.enforced and self.counts(name)
        short, rules = name.removeprefix(self._around.prefix), self.rules
        state = self._state(
            lambda sheet: rules.limits_in(short, self._around.separator, self._own_limits(sheet)), storage, messages
        )
        if state is not None and state.limits.exceeded_by(state.storage + storage, state.messages + messages):
            raise StorageError(Reason.OVER_QUOTA, OVER_TEXT)
        return state is not None

    def charge(self, name: str, storage: int, messages: int) -> None:
        """Messages came into a mailbox, or went (then both are negative)."""
        if not messages or not self.counts(name):
            return
        if self._last is not None:
            self._last = self._last[0] + storage, self._last[1] + messages
        line = b"%d %d\n" % (storage, messages)
        try:
            descriptor = self._files.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
            try:
                self._is_suspect |= self._files.write(descriptor, line) != len(line)
            finally:
                self._files.close(descriptor)
        except FileNotFoundError:
            return  # it is made when somebody asks
        except OSError as error:
            self._is_suspect = True
            self._complain(error)

    def weighs(self, name: str) -> bool:
        """Whether anybody wants to know how many octets go from the mailbox `name`."""
        with contextlib.suppress(OSError):
            return self.counts(name) and (self._last is not None or found_at(self._files, self._path) is not None)
        return True

    def weigh(self, directory: bytes) -> tuple[int, int]:
        """Octets and messages of a mailbox that is to be deleted or renamed; nothing if nobody wants to know."""
        found: tuple[int, int] | OSError
        try:
            if found_at(self._files, self._path) is None:
                return 0, 0
            found = self._runtime.blocking(count, self._files, [directory])
        except OSError as error:
            found = error
        if isinstance(found, OSError):
            self._is_suspect = True
            self._complain(found)
            return 0, 0
        return found

    # The file

    def _read(self) -> Sheet | None:
        """The file, or None if there is none that can be read."""
        try:
            if self._known is not None and _print(self._files.stat(self._path)) == self._known.print:
                return self._known.sheet
            descriptor = self._files.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        try:
            found = self._files.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None
            known = self._read_on(descriptor, found)
        except OSError as error:
            self._complain(error)
            return None
        finally:
            self._close(descriptor)
        self._known = known
        return known.sheet

    def _read_on(self, descriptor: int, found: os.stat_result) -> _Known:
        """Read what was appended since the last time, or all of it if that is not how the file was changed."""
        known = self._known
        sheet, end, data = None, 0, b""
        if known is not None and known.print[0] == found.st_ino and not known.sheet.is_damaged:
            data = self._files.pread(descriptor, _MOST_READ, known.end - len(known.tail))
            if found.st_size > known.end and data.startswith(known.tail):
                sheet, end = extended(known.sheet, data[len(known.tail) :]), known.end - len(known.tail)
        if sheet is None:
            data = self._files.pread(descriptor, _MOST_READ, 0)
            sheet, end = parse(data), 0
        complete = data[: data.rfind(b"\n") + 1]
        sheet = replace(sheet, size=found.st_size, mtime=found.st_mtime)
        return _Known(_print(found), sheet, end + len(complete), complete[-_TAIL:])

    def _complain(self, error: OSError) -> None:
        """Once for each kind: the same will be so at every command."""
        level = logging.DEBUG if error.errno in self._complaints else logging.WARNING
        self._complaints.add(error.errno)
        log.log(level, "maildirsize path=%r error=%s", self._path, error)

    def _close(self, descriptor: int) -> None:
        try:
            self._files.close(descriptor)
        except OSError as error:
            self._complain(error)

    def _own_limits(self, sheet: Sheet | None) -> Limits:
        """Whose limits count: ours, or those in the file."""
        decided = self._decided(sheet)
        return _in_file(sheet) if decided is None else decided

    def _decided(self, sheet: Sheet | None) -> Limits | None:
        """The limits that were set, or are configured; None: those in the file count."""
        found = self._around.set_limits.read()
        if found is not None:
            return Limits(found.storage or 0, found.messages or 0)
        is_configured = self.rules.limits and not (self.rules.file_first and _in_file(sheet))
        return self.rules.limits if is_configured else None

    def _state(self, limits: Callable[[Sheet | None], Limits], storage: int, messages: int) -> _State | None:
        """Limits and use, counted anew if that must be to say whether so much more fits. None: no quota root."""
        sheet = self._read()
        most = limits(sheet)
        if self._must_count(sheet, most, storage, messages) and self._may_count():
            sheet = self._recount(limits, storage, messages)
            most = limits(sheet)
        if sheet is not None and not sheet.is_damaged and not self._is_suspect:
            return _State(most, sheet.storage, sheet.messages)
        if sheet is None and not most:
            return None
        known = self._last or ((sheet.storage, sheet.messages) if sheet is not None else (0, 0))
        return _State(most, max(0, known[0]), max(0, known[1]))

    def _must_count(self, sheet: Sheet | None, limits: Limits, storage: int, messages: int) -> bool:
        if sheet is None:
            return bool(limits)
        if self._decided(sheet) is None and not sheet.head_is_good:
            return False  # nobody knows what would have to stand in the head
        if sheet.is_damaged or self._is_suspect or sheet.size >= _LONG:
            return True
        if self._own_limits(sheet) != limits_of(sheet.head):
            return True
        is_stale = sheet.changes > 1 or abs(self._runtime.now() - sheet.mtime) > _OLD
        return is_stale and limits.exceeded_by(sheet.storage + storage, sheet.messages + messages)

    def _may_count(self) -> bool:
        return not 0 <= self._runtime.now() - self._counted_at < _PAUSE

    def _recount(self, limits: Callable[[Sheet | None], Limits], storage: int, messages: int) -> Sheet | None:
        with self._locked():
            sheet = self._read()  # another one who waited, or held the lock, may have counted meanwhile
            if not self._may_count() or not self._must_count(sheet, limits(sheet), storage, messages):
                return sheet
            self._is_suspect = False  # from here on: what fails now is not in the count
            self._count(sheet)
            self._counted_at = self._runtime.now()
            return self._read()

    def count_anew(self) -> None:
        """Whatever the file says, count now; the limits in its head stay."""
        with self._locked():
            self._count(self._read())

    def _count(self, sheet: Sheet | None) -> None:
        own = self._own_limits(sheet)
        keeps_head = sheet is not None and sheet.head_is_good and limits_of(sheet.head) == own
        head = sheet.head if sheet is not None and keeps_head else head_of(own)
        try:
            directories = sorted({directory for name, directory in self._around.mailboxes() if self.counts(name)})
        except StorageError as error:  # they cannot be listed now
            log.warning("maildirsize path=%r error=%r", self._path, error.text)
            return
        removable = self._decided(sheet) is not None
        found = self._runtime.blocking(recount, self._files, self._path, head, directories, removable)
        if isinstance(found, OSError):
            self._complain(found)
            return
        assert isinstance(found, Counted)
        self._last = found.storage, found.messages
        if found.error is not None:
            self._is_suspect = True
            self._complain(found.error)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody of ours counts at the same time. If that cannot be made sure of, it is only wasteful."""
        descriptor = -1
        try:
            descriptor = self._files.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            self._wait_for(descriptor)
        except OSError as error:
            log.debug("maildirsize path=%r lock=%s", self._path, error)
        try:
            yield
        finally:
            if descriptor >= 0:
                self._close(descriptor)  # which gives the lock back

    def _wait_for(self, descriptor: int) -> None:
        steps = self._around.waiting.steps()
        while True:
            try:
                self._files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                step = next(steps, None)
                if step is None:
                    log.warning("maildirsize path=%r error=%r", self._path, "locked for long")
                    return
                self._around.waiting.sleep(step)
