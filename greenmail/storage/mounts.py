"""What kind of file system mail lies on, and what that means for looking at it. `formats.md` 1.8, 7.4.

Where other machines may write (NFS and its kind) three things are different. No event tells of their changes. Times of
files come from the server's clock, which may be any time before or behind ours. And a file that is replaced while it
is open does not lose its name for those who have it open: the client renames it (`.nfs...`), so that `st_nlink` stays.
What is not known to be a local disk counts as such a file system: that only costs a second listing after a change.

Some file systems, local ones too, keep times in whole seconds or two (ext3, ext4 with small inodes, FAT, HFS+, old NFS
servers). There an equal time proves nothing for as long. Whether a time is such a one can be told from the time alone:
it has no nanoseconds. One in some hundred times of a finer clock looks so, too, and is then waited for in vain.
"""

import logging
import os
from dataclasses import dataclass

from greenmail import metrics

log = logging.getLogger(__name__)

TICK_NS = 12_000_000  # the kernel's clock moves in steps of up to 10 ms
COARSE_NS = 2_000_000_000 + TICK_NS  # the largest step of times without nanoseconds, FAT's
_SECOND = 1_000_000_000
_SAMPLES = 3  # different times without nanoseconds that are no accident
WHOLE_SECONDS = "whole-second-times"
NO_EVENTS = "no-events"

# Only this kernel writes here, by its own clock, and its inotify tells all.
_LOCAL = frozenset((
    "bcachefs", "btrfs", "ecryptfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fat", "hfs", "hfsplus",
    "iso9660", "jffs2", "jfs", "minix", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs",
    "squashfs", "tmpfs", "ubifs", "udf", "vfat", "xfs", "zfs",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    kind: str  # as /proc/self/mountinfo has it; empty if that cannot be read
    path: str  # where it is mounted

    @property
    def is_remote(self) -> bool:
        """Whether others than this kernel may change it, by a clock that is not ours."""
        return self.kind not in _LOCAL


def mount_of(descriptor: int) -> Mount:
    """The mount that an open file or directory (O_PATH is enough) is on."""
    # By the number of the mount: device numbers of btrfs and overlay in stat are not those of mountinfo.
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            number = next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                fields = before.split(" ")
                if fields[0] == number:
                    return Mount(after.split(" ")[0], fields[4])
    except OSError as error:
        log.debug("mountinfo error=%s", error)
    return Mount("", "")


def mount_at(path: bytes | str) -> Mount:
    """`mount_of` a directory. Raises OSError if it is not there."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return mount_of(descriptor)
    finally:
        os.close(descriptor)


def step(mtime: int) -> int:
    """Nanoseconds in which a further change may get the same time as this one."""
    return TICK_NS if mtime % _SECOND else COARSE_NS


class Samples:
    """Times that the file systems of a worker gave to changes just made; tells of those that keep whole seconds."""

    __slots__ = ("_devices", "_fine")

    def __init__(self) -> None:
        self._devices: dict[int, set[int]] = {}
        self._fine: set[int] = set()

    def add(self, device: int, mtime: int, path: bytes) -> None:
        """A directory on `device` has been changed at `mtime`. Logs once for each file system."""
        if device in self._fine:
            return
        seen = self._devices.setdefault(device, set())
        if mtime % _SECOND:
            self._fine.add(device)
            if len(seen) < _SAMPLES:  # else it was told already, and a finer clock is no harm
                del self._devices[device]
        elif len(seen) < _SAMPLES:
            seen.add(mtime)
            if len(seen) == _SAMPLES:
                self._tell(path)

    def _tell(self, path: bytes) -> None:
        metrics.degraded(WHOLE_SECONDS, sum(len(seen) >= _SAMPLES for seen in self._devices.values()))
        log.warning(
            "degraded what=%s path=%r text=%r",
            WHOLE_SECONDS,
            path,
            "this file system keeps times in whole seconds: changes within 2 seconds of another are found by listing "
            "again, and removed messages are reported up to 2 seconds later",
        )


class DirectoryTimes:
    """When `new/` and `cur/` of one mailbox were changed last, and how long ago that is at least."""

    __slots__ = ("_seen", "_since", "is_remote")

    def __init__(self, is_remote: bool) -> None:
        self.is_remote = is_remote
        self._seen: tuple[int, int] = (0, 0)
        self._since: list[int] = [0, 0]  # our clock when these times were first seen

    def saw(self, times: tuple[int, int], now: int) -> None:
        """The directories had `times` at `now`, the time of our clock in ns."""
        for which in (0, 1):
            if times[which] != self._seen[which]:
                self._since[which] = now
        self._seen = times

    def age(self, which: int, mtime: int, now: int) -> int:
        """Nanoseconds since the change that gave `mtime` to `new/` (0) or `cur/` (1), or fewer.

        On a local disk that is a difference of our own clock. Elsewhere the time is compared with nothing: what was
        seen so long ago was made before that, whatever clock it was made by.
        """
        if not self.is_remote:
            return now - mtime
        return now - self._since[which] if mtime == self._seen[which] else 0
