"""The lock of a maildrop, `api.Held`, and `greenmail.pop3` beside the index files: a note for the next POP3 session.

Only who holds the lock writes the file. It may be deleted at any time.
"""

import logging
import os

from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.locks import SessionLock

log = logging.getLogger(__name__)

NAME = b"/greenmail.pop3"
_LARGEST = 65536  # octets that are read: more is not ours


class MaildropLock:
    """A lock, and a note in `directory` (empty: none is kept)."""

    def __init__(self, files: Files, lock: SessionLock, directory: bytes) -> None:
        self._files = files
        self._lock = lock
        self._path = directory + NAME if directory else b""

    def release(self) -> None:
        """Let the next session in."""
        self._lock.release()

    def recall(self) -> bytes:
        """What was noted last."""
        if not self._path:
            return b""
        try:
            descriptor = self._files.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                return self._files.pread(descriptor, _LARGEST, 0)
            finally:
                self._files.close(descriptor)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("note path=%r not read error=%s", self._path, error)
            return b""

    def note(self, data: bytes) -> None:
        """Keep `data` for the next session; without it mail is served all the same."""
        if not self._path:
            return
        try:
            owner = ownership(self._files.stat(os.path.dirname(self._path)))
            self._files.replace_file(self._path, data, owner)
        except OSError as error:
            log.warning("note path=%r not written error=%s", self._path, error)


class Unlocked:
    """The session lock of a maildrop that needs none, since nothing can be removed."""

    def release(self) -> None:
        """Nothing is held."""

    def recall(self) -> bytes:
        """Nothing is kept."""
        return b""

    def note(self, data: bytes) -> None:
        """Nothing is kept."""
