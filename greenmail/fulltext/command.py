"""`greenmail index --fts`: fill the index of an account at once, without pauses. Safe beside the server."""

import logging
from collections.abc import Callable

from greenmail.errors import StorageError
from greenmail.fulltext.fill import BATCH, Fill, State
from greenmail.fulltext.service import opened
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Content, Mailbox
from greenmail.storage.text_index import indexed

log = logging.getLogger(__name__)

Progress = Callable[[str, int], None]  # of a mailbox so many messages more are done

_WHY = {
    State.BUSY: "the server is filling this index, and will go on",
    State.LOST: "the index was removed meanwhile; try again",
    State.FAILED: "the index cannot be written; the log says why",
}


def fill_account(account: MaildirAccount, progress: Progress) -> tuple[int, int, list[tuple[str, str]]]:
    """Mailboxes and messages that are indexed now, and for mailboxes that could not be filled why."""
    mailboxes = messages = 0
    failures: list[tuple[str, str]] = []
    for folder in account.folders():
        if not folder.selectable:
            continue
        try:
            mailbox = account.open(folder.name)
            try:
                state = _filled(mailbox, folder.name, progress)
                messages += len(mailbox.table)
            finally:
                mailbox.close()
        except StorageError as error:
            failures.append((folder.name, error.text))
            continue
        mailboxes += 1
        if state is not State.GOOD:
            failures.append((folder.name, _WHY[state]))
    return mailboxes, messages, failures


def _filled(mailbox: Mailbox, name: str, progress: Progress) -> State:
    key = indexed(mailbox)
    if key is None:
        return State.GOOD
    fill = Fill(key)
    try:
        state = fill.begin(mailbox.table.uids)
        if state is State.LOST:  # it was damaged, and is empty now
            fill.end()
            state = fill.begin(mailbox.table.uids)
        progress(name, len(mailbox.table) - len(fill.lacking))
        for start in range(0, len(fill.lacking), BATCH):
            if state is not State.GOOD:
                break
            uids = fill.lacking[start : start + BATCH]
            state = _added(fill, mailbox, list(uids))
            progress(name, len(uids))
        return state
    finally:
        fill.end()


def _added(fill: Fill, mailbox: Mailbox, uids: list[int]) -> State:
    batch: list[tuple[int, Content]] = []
    try:
        for uid in uids:
            content = opened(mailbox, uid)
            if content is not None:
                batch.append((uid, content))
        return fill.add(batch)
    finally:
        for _, content in batch:
            content.close()
