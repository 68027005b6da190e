"""The store in memory, made to wait where a real one may: before each method and in the middle of long ones."""

from collections.abc import Sequence
from typing import Any

from harness.green import Scheduler

from greenmail.storage.api import FlagChange, Mailbox, Stored
from greenmail.storage.memory import MemoryAccount

_PLAIN = frozenset({"look", "claim_recent", "content", "fill", "octets", "upload"})
_BATCH = 2  # messages in one change of flags


class WaitingMailbox:
    """See `api.Mailbox`; what is not here goes to the mailbox in memory."""

    def __init__(self, mailbox: Any, scheduler: Scheduler) -> None:
        self._mailbox = mailbox
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._mailbox, name)
        if name not in _PLAIN:
            return value

        def waiting(*args: Any, **options: Any) -> Any:
            self._scheduler.pause()
            return value(*args, **options)

        return waiting

    def store(self, uids: Sequence[int], change: FlagChange, unchanged_since: int | None = None) -> Stored:
        done = Stored([], [], [])
        for start in range(0, len(uids), _BATCH):
            self._scheduler.pause()
            batch = self._mailbox.store(uids[start : start + _BATCH], change, unchanged_since)
            for total, part in (
                (done.changed, batch.changed),
                (done.modified, batch.modified),
                (done.missing, batch.missing),
            ):
                total.extend(part)
        self._scheduler.pause()
        return done

    def expunge(self, uids: Sequence[int] | None, flagged: bool = True) -> list[int]:
        return self._around(self._mailbox.expunge, uids, flagged)

    def save(self, uploads: Sequence[Any]) -> list[int]:
        return self._around(self._mailbox.save, uploads)

    def copy(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        return self._around(self._mailbox.copy, uids, _inner(target))

    def move(self, uids: Sequence[int], target: Mailbox) -> list[tuple[int, int]]:
        """In two steps, as on disk: for a moment the messages are in both."""
        self._scheduler.pause()
        self._mailbox._writable()
        pairs = self._mailbox.copy(uids, _inner(target))
        self._scheduler.pause()
        still = [uid for uid, _ in pairs if self._mailbox.table.row(uid) >= 0]
        self._mailbox._remove(still)
        self._scheduler.pause()
        return pairs

    def _around(self, function: Any, *args: Any) -> Any:
        self._scheduler.pause()
        result = function(*args)
        self._scheduler.pause()
        return result


def _inner(mailbox: Any) -> Any:
    return mailbox._mailbox if isinstance(mailbox, WaitingMailbox) else mailbox


class WaitingAccount:
    """See `api.Account`."""

    def __init__(self, account: MemoryAccount, scheduler: Scheduler) -> None:
        self._account = account
        self._scheduler = scheduler
        self._open: dict[int, WaitingMailbox] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._account, name)

    def open(self, name: str, looks: bool = True) -> WaitingMailbox:
        """The same object for the same mailbox, as `api.Mailbox` says."""
        mailbox = self._account.open(name)
        return self._open.setdefault(id(mailbox), WaitingMailbox(mailbox, self._scheduler))
