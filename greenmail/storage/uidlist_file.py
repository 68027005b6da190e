"""The file `dovecot-uidlist` as it is on disk: what tells that it is another one, and names searched in its text.

A long list is not taken apart for a few names: `uidlist_format.find` finds them in its octets.
"""

import os
from dataclasses import dataclass

from greenmail.storage.filesystem import Files


@dataclass(frozen=True, slots=True)
class Seen:
    """The file as it was when it was last read or written."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Seen":
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def same_file(self, other: "Seen") -> bool:
        return (self.device, self.inode) == (other.device, other.inode)

    def read(self, files: Files, path: bytes, size: int, last_line: bytes) -> bytes | None:
        """The first `size` octets, which end with `last_line`; None if this file is not there any more."""
        try:
            descriptor = files.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            found = Seen.of(files.fstat(descriptor))
            if not self.same_file(found) or found.size < size:
                return None
            data = files.read_from(descriptor, 0)[:size]
        finally:
            files.close_quietly(descriptor)
        return data if data.endswith(last_line) else None
