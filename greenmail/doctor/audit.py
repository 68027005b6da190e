"""Runs the checks of one account. Nothing is changed, and no lock is taken."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from greenmail.doctor import checks
from greenmail.doctor.account import Account, layout_of, places, root_of
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, survey
from greenmail.doctor.target import Target
from greenmail.errors import StorageError
from greenmail.pop3.uidl import Format
from greenmail.storage.filesystem import Call, Files, plain_call
from greenmail.storage.locks import Owner
from greenmail.storage.stale_lock import Onlooker


@dataclass(frozen=True, slots=True)
class Run:
    """What is the same for all accounts of one call."""

    now: Callable[[], float]
    sleep: Callable[[float], None]
    uidl: Format
    quick: bool = False
    call: Call = plain_call  # how system calls are made: `storage.filesystem`
    progress: Callable[[str, int, int], None] = lambda mailbox, messages, octets: None  # what was done meanwhile

    @property
    def files(self) -> Files:
        """For reading, and for locks."""
        return Files(self.call)


@dataclass(frozen=True, slots=True)
class Result:
    """One account's audit."""

    target: Target
    findings: tuple[Finding, ...]
    mailboxes: int
    messages: int
    octets: int


@dataclass(slots=True)
class Seen:
    """How much was looked at."""

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0


def owner_of(target: Target) -> Owner:
    """Us, as locks name us."""
    return Owner.this_process(target.settings.lock_host or os.uname().nodename)


def circumstances(run: Run, target: Target) -> tuple[Circumstances, list[Finding]]:
    """What checks need to know; and a finding if names are in two encodings. Raises StorageError, OSError."""
    settings = target.settings
    layout, is_mixed = layout_of(run.files, settings)
    owner = owner_of(target)
    inbox = os.fsencode(settings.inbox_path.rstrip("/")) or layout.root
    around = Circumstances(
        files=run.files,
        settings=settings,
        layout=layout,
        root=layout.root,
        control=os.fsencode(settings.control_path.rstrip("/")) or inbox,
        owner=target.uid,
        group=target.gid,
        onlooker=Onlooker(owner.pid, owner.host, run.now, run.sleep),
        uidl=run.uidl,
        quick=run.quick,
        progress=lambda octets: run.progress("", 0, octets),
    )
    found = []
    if is_mixed:
        text = "names of mailboxes are in UTF-8 and in modified UTF-7: GreenMail does not open this account"
        remedy, advice = "renames those in UTF-8 to modified UTF-7", "or set mailbox-names"
        if layout.is_nested:
            remedy, advice = "", "set mailbox-names, or rename the directories"
        found.append(Finding("encoding", Severity.ERROR, "", layout.root, text, remedy, advice))
    return around, found


def audit(run: Run, target: Target) -> Result:
    """Everything that is to be said of one account."""
    try:
        around, found = circumstances(run, target)
    except (StorageError, OSError) as error:
        return Result(target, (_unreadable(error, "", root_of(target.settings)),), 0, 0, 0)
    account = Account(target.name, around)
    for check in checks.FIRST:
        found += _asked("", around.root, check.find, account)
    seen = Seen()
    found += look_at_mailboxes(run, account, seen)
    for check in checks.LAST:
        found += _asked("", around.root, check.find, account)
    return Result(target, tuple(found), seen.mailboxes, seen.messages, seen.octets)


def look_at_mailboxes(run: Run, account: Account, seen: Seen) -> list[Finding]:
    """The findings of every mailbox; adds up what was seen, and what the quota counts."""
    around = account.around
    try:
        found_places = places(run.files, around.layout, around.settings)
    except (StorageError, OSError) as error:
        return [_unreadable(error, "", around.root)]
    found: list[Finding] = []
    for place in found_places:
        run.progress(place.name, 0, 0)
        try:
            mailbox = survey(around, place)
        except OSError as error:
            found.append(_unreadable(error, place.name, place.directory))
            continue
        for check in (checks.LOCKS, *checks.MAILBOX):
            found += _asked(place.name, place.directory, check.find, mailbox, around)
        account.add(mailbox)
        messages = mailbox.messages()
        seen.mailboxes += 1
        seen.messages += len(messages)
        seen.octets += sum(entry.found.st_size for entry in messages)
        run.progress(place.name, len(messages), 0)
    return found


def _asked(name: str, path: bytes, find: Callable[..., list[Finding]], *subject: object) -> list[Finding]:
    """What a check says, also if it cannot look."""
    try:
        return find(*subject)
    except (StorageError, OSError) as error:
        return [_unreadable(error, name, path)]


def _unreadable(error: StorageError | OSError, name: str, path: bytes) -> Finding:
    reason = error.text if isinstance(error, StorageError) else f"{error.strerror or error}"
    if isinstance(error, OSError) and isinstance(error.filename, bytes):
        path = error.filename
    advice = "the server cannot read it either, if it runs as this user"
    return Finding("unreadable", Severity.ERROR, name, path, f"cannot be read: {reason}", advice=advice)
