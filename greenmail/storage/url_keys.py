"""A user's secrets for URLs that authorize: RFC 4467 2.2. In a Maildir they are in a file, see `url_key_file`."""

import secrets
from collections.abc import Mapping
from typing import Protocol

OCTETS = 32  # of a key


class UrlKeys(Protocol):
    """A user's secrets for URLs that authorize, one for a mailbox, by its id: RFC 4467 2.2."""

    def stamp(self) -> object:
        """What is another one after each change."""

    def get(self, mailbox_id: str) -> bytes | None:
        """The key of a mailbox, if it has one."""

    def all(self) -> Mapping[str, bytes]:
        """Every key, by mailbox id."""

    def make(self, mailbox_id: str) -> bytes:
        """The key of a mailbox, which is made if it has none."""

    def reset(self, mailbox_id: str) -> None:
        """Another key, whether there was one or not."""

    def clear(self) -> None:
        """No mailbox has a key any more."""


class MemoryUrlKeys:
    """Keys that last as long as the process."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._changes = 0

    def stamp(self) -> int:
        """The number of changes."""
        return self._changes

    def get(self, mailbox_id: str) -> bytes | None:
        """The key, if there is one."""
        return self._keys.get(mailbox_id)

    def all(self) -> Mapping[str, bytes]:
        """All of them."""
        return dict(self._keys)

    def make(self, mailbox_id: str) -> bytes:
        """The key, made if need be."""
        if mailbox_id not in self._keys:
            self.reset(mailbox_id)
        return self._keys[mailbox_id]

    def reset(self, mailbox_id: str) -> None:
        """Another key."""
        self._keys[mailbox_id] = secrets.token_bytes(OCTETS)
        self._changes += 1

    def clear(self) -> None:
        """No keys."""
        self._keys.clear()
        self._changes += 1
