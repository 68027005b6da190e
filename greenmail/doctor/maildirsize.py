"""`maildirsize`: the sum of what changed, against what is there. `formats.md` 5; `storage.quota` has the file.

Dovecot and maildrop count every message of the mailboxes that no rule leaves out; Courier leaves out the Trash and what
is marked as deleted. Either sum is right; a wrong one is made anew in the first way, as the server does it.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from greenmail.doctor.account import Account, places
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.storage.filesystem import Files, ownership, refusal
from greenmail.storage.locks import Waiting
from greenmail.storage.quota import FILE, LOCK, Sheet, head_of, parse, recount
from greenmail.terminal import several


def _read(account: Account) -> Sheet | None:
    try:
        return parse(account.around.files.read_file(account.around.control + b"/" + FILE))
    except FileNotFoundError:
        return None


def find(account: Account) -> list[Finding]:
    """Whether the sum is that of the messages."""
    sums, sheet = account.sums, _read(account)
    if sheet is None:
        return []
    right = {(sums.octets, sums.messages), (sums.kept_octets, sums.kept_messages)}
    if not sheet.is_damaged and (sheet.storage, sheet.messages) in right:
        return []
    said = f"{sheet.storage:,} octets in {several(sheet.messages, 'message')}"
    text = f"maildirsize says {said}; there are {sums.octets:,} in {sums.messages:,}"
    if sheet.is_damaged:
        text = "maildirsize cannot be read"
    path = account.around.control + b"/" + FILE
    return [Finding("maildirsize", Severity.WARNING, "", path, text, "counts anew; the limits stay")]


def mend(account: Account, bench: Bench) -> None:
    """Count anew; if mail comes and goes all the time, servers do it at their next look."""
    around, sheet = account.around, _read(account)
    if sheet is None or not find(account):
        return
    rules = around.settings.quota
    directories = [
        place.directory for place in places(around.files, around.layout, around.settings) if account.counts(place.name)
    ]
    path = around.control + b"/" + FILE
    head = sheet.head if sheet.head_is_good else head_of(rules.limits)
    with _locked(account), bench.log.replacing(path):
        found = recount(bench.files, path, head, directories, removable=False)
    error = found if isinstance(found, OSError) else found.error
    if error is not None:
        raise refusal(error, "maildirsize cannot be written") from error


@contextlib.contextmanager
def _locked(account: Account) -> Iterator[None]:
    """As the server, which lets nobody of ours count at the same time."""
    around = account.around
    files: Files = around.files
    path = around.control + b"/" + LOCK
    try:
        descriptor = files.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = files.create_exclusive(path, ownership(files.stat(around.control)))
    waiting = Waiting(around.onlooker.sleep, around.onlooker.now, around.settings.lock_timeout)
    steps = waiting.steps()
    try:
        while True:
            try:
                files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting.pause(steps)
        yield
    finally:
        files.close(descriptor)
