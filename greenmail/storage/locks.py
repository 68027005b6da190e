"""Locks of a mailbox and of single files. `design.md` 3a, `formats.md` 2.7. (Signatures; the bodies follow.)"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from greenmail.storage.filesystem import Files, Ownership


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a lock is waited for: never blocks a thread except in `sleep`."""

    sleep: Callable[[float], None]
    now: Callable[[], float]
    timeout: float = 30.0  # seconds, `lock-timeout`


@dataclass(frozen=True, slots=True)
class Owner:
    """Who takes locks: this process. Make it after fork."""

    pid: int
    host: str  # only equal to another server's host name if both share the pid namespace
    boot: str
    started: int

    @classmethod
    def this_process(cls, host: str) -> "Owner":
        raise NotImplementedError


class MailboxLock:
    """flock on `greenmail.lock`, then the dotlock `dovecot-uidlist.lock`; not reentrant: one green thread at a time.

    `with lock:` takes and gives back both. Raises IN_USE after `waiting.timeout`; READ_ONLY, NO_PERMISSION when the
    mailbox cannot be written; GONE when its directory is not there.
    """

    held: bool

    def __init__(self, files: Files, directory: bytes, owner: Owner, waiting: Waiting, control: bytes = b"") -> None:
        """`directory` of the mailbox; `control`: where `dovecot-uidlist` is, if elsewhere."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def refresh(self) -> None:
        """In long work, between batches: touches the dotlock every 10 s. Raises IN_USE if somebody broke it."""

    def close(self) -> None:
        """Remove the standing file in `tmp/`; the lock can be used again afterwards."""

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None: ...


class FileLock:
    """`<path>.lock` that is itself the new file: `subscriptions.lock`, `dovecot-acl.lock`. Use with `with`."""

    def __init__(self, files: Files, path: bytes, waiting: Waiting, stale: float) -> None: ...

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        """Remove the lock if it was not committed."""

    def commit(self, data: bytes, owner: Ownership) -> None:
        """Write `data`, fsync, rename over the path, fsync the directory: gives back the lock."""


class SessionLock:
    """`dovecot-pop3-session.lock`: one POP3 session, RFC 1939 3; has `release`, so it is a `storage.api.Held`."""

    def release(self) -> None: ...


def lock_session(files: Files, control: bytes, owner: Owner, waiting: Waiting) -> SessionLock:
    """Take the POP3 lock in the control directory of INBOX; raises IN_USE after `waiting.timeout` (0: at once)."""
    raise NotImplementedError
