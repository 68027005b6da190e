"""`greenmail resync` and `greenmail index`: our own index files, made anew or completed. Safe on a live account.

`resync` removes `greenmail.index`, `.log` and `.cache` under the mailbox's locks and builds them from the Maildir and
the UID list; `index` keeps them and works out what they lack (sizes and dates, which cost a look into each message).
UIDs, flags and keywords are the same afterwards: they are not kept there. Servers that have the mailbox open notice,
and go on with the new files. What is lost by `resync` is the history of changes, so clients that resynchronise by
CONDSTORE or QRESYNC fetch the flags once more.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from greenmail.doctor.account import layout_of, places
from greenmail.doctor.audit import Run, owner_of
from greenmail.doctor.repair import Failure, waiting_of
from greenmail.doctor.survey import Place
from greenmail.doctor.target import Target
from greenmail.errors import Reason, StorageError
from greenmail.fulltext.command import fill_account
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import refusing
from greenmail.storage.folder_names import Layout
from greenmail.storage.locks import MailboxLock
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.uidlist import Uidlist

log = logging.getLogger(__name__)

_FILES = (b"greenmail.index", b"greenmail.log", b"greenmail.cache")
_CHUNK = 500
Progress = Callable[[str, int], None]


def rebuild(run: Run, target: Target, anew: bool, progress: Progress) -> tuple[int, int, list[Failure]]:
    """Mailboxes and messages that were indexed, and what could not be. `anew`: as `resync`."""

    def work(serving: Serving, place: Place) -> int:
        if anew:
            with refusing("the index cannot be removed"):
                _drop(run, target, place)
        return _index(serving.account, place, progress)

    return on_each_mailbox(run, target, work)


@dataclass(frozen=True, slots=True)
class Serving:
    """An account as the server opens it."""

    account: MaildirAccount
    layout: Layout
    places: list[Place]


@contextlib.contextmanager
def serving(run: Run, target: Target) -> Iterator[Serving]:
    """Raises StorageError or OSError if the account cannot be opened, or should not."""
    layout, is_mixed = layout_of(run.files, target.settings)
    if is_mixed:
        raise StorageError(Reason.CANNOT, "mailbox names are in two encodings: see greenmail doctor")
    store = MaildirStore(direct(), files=run.files)
    account = store.open_account(target.name, target.settings)
    try:
        yield Serving(account, layout, places(run.files, layout, target.settings))
    finally:
        account.close()
        store.mailboxes.close()


def on_each_mailbox(
    run: Run,
    target: Target,
    work: Callable[[Serving, Place], int],
    first: Callable[[Serving], None] = lambda serving: None,
) -> tuple[int, int, list[Failure]]:
    """Do `first`, then `work`, which gives a number of messages; mailboxes and messages in all, and what went wrong."""
    failures: list[Failure] = []
    mailboxes = messages = 0
    try:
        with serving(run, target) as opened:
            first(opened)
            for place in opened.places:
                try:
                    messages += work(opened, place)
                    mailboxes += 1
                except (StorageError, OSError) as error:
                    failures.append(Failure(place.name, place.directory, reason(error)))
    except (StorageError, OSError) as error:
        failures.append(Failure("", os.fsencode(target.settings.mail_path), reason(error)))
    return mailboxes, messages, failures


def index_texts(run: Run, target: Target, progress: Progress) -> tuple[int, int, list[Failure]]:
    """Have the full-text index complete: mailboxes and messages in it, and what could not be done."""
    path = os.fsencode(target.settings.mail_path)
    if not target.settings.full_text_search:
        return 0, 0, [Failure("", path, "full-text-search is off for this account")]
    try:
        with serving(run, target) as opened:
            mailboxes, messages, failures = fill_account(opened.account, progress)
    except (StorageError, OSError) as error:
        return 0, 0, [Failure("", path, reason(error))]
    return mailboxes, messages, [Failure(name, path, text) for name, text in failures]


def _drop(run: Run, target: Target, place: Place) -> None:
    """Remove our index files while nobody of ours is about to write to them."""
    lock = MailboxLock(run.files, place.directory, owner_of(target), waiting_of(run, target), place.control)
    try:
        with lock:
            directory = place.directory
            if target.settings.index_path:
                uidlist = Uidlist(run.files, place.control + b"/dovecot-uidlist")
                uidlist.refresh(locked=True)
                directory = os.fsencode(target.settings.index_path.rstrip("/")) + b"/" + uidlist.guid
            for name in _FILES:
                try:
                    run.files.unlink(directory + b"/" + name)
                except FileNotFoundError:
                    log.debug("no-index path=%r name=%r", directory, name)
    finally:
        lock.close()


def _index(account: MaildirAccount, place: Place, progress: Progress) -> int:
    """Open the mailbox, and have everything known and written; the number of messages."""
    mailbox = account.open(place.name)
    assert isinstance(mailbox, MaildirMailbox), "an account of another store"
    try:
        uids = list(mailbox.table.uids)
        for start in range(0, len(uids), _CHUNK):
            part = uids[start : start + _CHUNK]
            mailbox.fill(part, sizes=True, dates=True)
            progress(place.name, len(part))
        box = mailbox.box
        with box.locked():
            box.commit(Change())
            if box.index_files is not None:
                box.index_files.fold(box.index)
        return len(uids)
    finally:
        mailbox.close()


def reason(error: StorageError | OSError) -> str:
    """What is told of it."""
    return error.text if isinstance(error, StorageError) else f"{error.strerror or error}"
