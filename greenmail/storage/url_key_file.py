"""`greenmail-data/url-keys` of an account: the user's secrets for URLs that authorize, RFC 4467 2.2, one for a mailbox.

    file = "1" LF *(mailbox-id SP key LF)
    key  = 64LOWHEX                            ; 256 random bits

Mailboxes stand there by their id: one that is made anew under the name of one that was deleted has another id, and the
URLs of the old one are worth nothing. Others' mailboxes stand there, too, for the table is the user's.

Nobody but the owner of the file may read it (mode 0600), whatever the directory allows. A change (`data_file`) is
durable when the method returns: a key that was given up never comes back. Without the file all URLs that were given out
are worth nothing. One that cannot be understood is not used, and only `clear` replaces it.
"""

import logging
import re
import secrets
from collections.abc import Callable

from greenmail.errors import Reason, StorageError
from greenmail.storage.data_file import DataFile, Stamp
from greenmail.storage.filesystem import Files, Ownership
from greenmail.storage.locks import Waiting
from greenmail.storage.url_keys import OCTETS

log = logging.getLogger(__name__)

FILE = b"url-keys"
MOST = 1000  # keys of one user: a token is compared with what each of them gives

_VERSION = b"1\n"
_LINE = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]{64})")
_PRIVATE = Ownership(0o600, 0o700, None)

Keys = dict[str, bytes]  # by mailbox id


class UrlKeyFile:
    """`url_keys.UrlKeys`. Methods raise StorageError."""

    __slots__ = ("_file",)

    def __init__(self, files: Files, data: bytes, waiting: Waiting) -> None:
        """`data`: the account's `greenmail-data`, made when needed."""
        self._file = DataFile(files, data, FILE, waiting, "The keys for URLs", _PRIVATE)

    def stamp(self) -> Stamp:
        """What is another one after each change."""
        return self._file.stamp()

    def get(self, mailbox_id: str) -> bytes | None:
        """The key of a mailbox, if it has one."""
        return self.all().get(mailbox_id)

    def all(self) -> Keys:
        """Every key, by mailbox id."""
        octets = self._file.read()
        found = {} if octets is None else parse(octets)
        if found is None:
            log.error("url-keys path=%r cannot be understood", self._file.path)
            raise StorageError(Reason.CORRUPT, "The file with the keys for URLs is damaged; RESETKEY makes it anew.")
        return found

    def make(self, mailbox_id: str) -> bytes:
        """The key of a mailbox, which is made if it has none."""
        found = self.get(mailbox_id)
        return found or self._change(lambda keys: keys.setdefault(mailbox_id, _new()))[mailbox_id]

    def reset(self, mailbox_id: str) -> None:
        """Another key."""
        self._change(lambda keys: keys.update({mailbox_id: _new()}))

    def clear(self) -> None:
        """No mailbox has a key any more."""
        if self._file.read() is not None:
            with self._file.locked() as lock:
                lock.commit(_VERSION)

    def _change(self, how: Callable[[Keys], object]) -> Keys:
        with self._file.locked() as lock:
            keys = self.all()
            before = dict(keys)
            how(keys)
            if len(keys) > max(MOST, len(before)):
                raise StorageError(Reason.LIMIT, f"No more than {MOST} mailboxes can have a key; use RESETKEY alone.")
            if keys != before:
                lock.commit(render(keys))
        return keys


def _new() -> bytes:
    return secrets.token_bytes(OCTETS)


def parse(octets: bytes) -> Keys | None:
    """What a file says; None if it is no such file."""
    if not octets.startswith(_VERSION) or not octets.endswith(b"\n"):
        return None
    lines = list(map(_LINE.fullmatch, octets[len(_VERSION) :].split(b"\n")[:-1]))
    if not all(lines):
        return None
    return {line[1].decode("ascii"): bytes.fromhex(line[2].decode("ascii")) for line in lines if line is not None}


def render(keys: Keys) -> bytes:
    """The file for these keys."""
    return _VERSION + "".join(f"{mailbox_id} {keys[mailbox_id].hex()}\n" for mailbox_id in sorted(keys)).encode("ascii")
