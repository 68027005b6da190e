"""`greenmail-data/quota` of the account: the limits that SETQUOTA set. RFC 9208 4.1.3.

    file = "1" LF *(name SP 1*DIGIT LF)
    name = "storage" / "messages" / "mailboxes" / "annotations"
                 ; the first and the last in octets; what has no line is not limited

    1
    storage 524288
    messages 1000

As long as it is there it stands in the place of all limits that are configured, and of those in `maildirsize`, whose
first line follows it for the sake of other programs. Who removes it is back at what is configured. One that cannot be
understood counts as missing, and the log says so. How it is replaced: `data_file`.
"""

import logging

from greenmail.storage.data_file import DataFile
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting
from greenmail.storage.quota_limits import QuotaLimits

log = logging.getLogger(__name__)

FILE = b"quota"

_VERSION = "1"
_NAMES = ("storage", "messages", "mailboxes", "annotations")
_MOST_DIGITS = 19


class SetLimits:
    """The file of one account, read anew when it has changed."""

    __slots__ = ("_complaints", "_file", "_files", "_known", "_print")

    def __init__(self, files: Files, data: bytes, waiting: Waiting) -> None:
        """`data`: the account's `greenmail-data`, made when needed."""
        self._files = files
        self._file = DataFile(files, data, FILE, waiting, "The limits")
        self._print: tuple[int, ...] = ()
        self._known: QuotaLimits | None = None
        self._complaints: set[int | None] = set()  # errno of what the log has been told

    def read(self) -> QuotaLimits | None:
        """What was set; None: nothing was, or it cannot be known. Raises nothing."""
        try:
            found = self._files.stat(self._file.path)
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen != self._print:
                self._known = parse(self._files.read_file(self._file.path))
                self._print = seen
                if self._known is None:
                    log.error("quota path=%r cannot be understood: what is configured counts", self._file.path)
        except FileNotFoundError:
            self._print, self._known = (), None
        except OSError as error:
            level = logging.DEBUG if error.errno in self._complaints else logging.WARNING
            self._complaints.add(error.errno)
            log.log(level, "quota path=%r error=%s", self._file.path, error)  # what was read last counts
        return self._known

    def write(self, limits: QuotaLimits) -> None:
        """On disk when it returns. Raises StorageError."""
        with self._file.locked() as lock:
            lock.commit(render(limits))


def parse(octets: bytes) -> QuotaLimits | None:
    """What a file says; None if it is no such file."""
    version, *lines = octets.decode("ascii", "replace").split("\n")
    found: dict[str, int] = {}
    for line in lines[:-1]:
        name, _, number = line.partition(" ")
        if name not in _NAMES or name in found or not number.isdigit() or len(number) > _MOST_DIGITS:
            return None
        found[name] = int(number)
    if version != _VERSION or lines[-1:] != [""]:
        return None
    return QuotaLimits(**found)


def render(limits: QuotaLimits) -> bytes:
    """The file for these limits."""
    numbers = {name: number for name in _NAMES if (number := getattr(limits, name)) is not None}
    return "".join([f"{_VERSION}\n", *(f"{name} {number}\n" for name, number in numbers.items())]).encode("ascii")
