"""Carries out `--fix` for one account: the mending halves of the checks, under the locks that servers take.

A mailbox is locked (`greenmail.lock`, then `dovecot-uidlist.lock`) for one check at a time, and looked at again under
the lock: what the audit saw may have changed, and what one check mended changes what the next one sees.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from greenmail.doctor import checks
from greenmail.doctor.account import Account, places, root_of
from greenmail.doctor.audit import Run, circumstances, owner_of
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding
from greenmail.doctor.survey import Circumstances, Mailbox, Place, survey
from greenmail.doctor.target import Target
from greenmail.doctor.undo import Scope, UndoLog
from greenmail.errors import StorageError
from greenmail.storage.locks import MailboxLock, Waiting
from greenmail.storage.maildir_name import UniqueNames, base_name

_PORTION = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """A repair that could not be made."""

    mailbox: str
    path: bytes
    text: str


def waiting_of(run: Run, target: Target) -> Waiting:
    """How long to wait for locks."""
    return Waiting(run.sleep, run.now, target.settings.lock_timeout)


def repair(run: Run, target: Target, log: UndoLog, findings: Sequence[Finding]) -> list[Failure]:
    """Mend what `findings` have a remedy for; what could not be mended. Raises Refused if there can be no log."""
    failures: list[Failure] = []
    concerned = {finding.mailbox for finding in findings if finding.remedy}
    if not concerned:
        return failures
    scope = Scope(root_of(target.settings), target.uid, target.gid)
    bench, account = _begin(run, target, log, failures)
    if bench is None or account is None:
        return failures
    log.scope(scope)
    for check in checks.FIRST:
        _try(failures, "", scope.root, check.mend, account, bench)
    # Names may be others now, and what could not be read may be readable.
    bench, account = _begin(run, target, log, failures)
    if bench is None or account is None:
        return failures
    for place in _places(failures, account):
        kinds_of_mailbox = place.name in concerned or "" in concerned
        if kinds_of_mailbox:
            log.scope(_scope(target, place))
            _mailbox(run, target, place, bench, failures)
    for place in _places([], account):
        try:
            account.add(survey(account.around, place))
        except OSError:
            return failures  # the sums would be wrong
    log.scope(scope)
    for check in checks.LAST:
        _try(failures, "", scope.root, check.mend, account, bench)
    return failures


def _scope(target: Target, place: Place) -> Scope:
    index = os.fsencode(target.settings.index_path)
    return Scope(root_of(target.settings), target.uid, target.gid, place.directory, place.control, index)


def _begin(
    run: Run, target: Target, log: UndoLog, failures: list[Failure]
) -> tuple[Bench, Account] | tuple[None, None]:
    try:
        around, _ = circumstances(run, target)
    except (StorageError, OSError) as error:
        failures.append(Failure("", root_of(target.settings), _reason(error)))
        return None, None
    unique = UniqueNames(owner_of(target).host, run.now)
    return Bench(around, log, unique), Account(target.name, around)


def _places(failures: list[Failure], account: Account) -> Iterator[Place]:
    try:
        yield from places(account.around.files, account.around.layout, account.around.settings)
    except (StorageError, OSError) as error:
        failures.append(Failure("", account.around.root, _reason(error)))


def _mailbox(run: Run, target: Target, place: Place, bench: Bench, failures: list[Failure]) -> None:
    around = bench.around
    mailbox = _survey(failures, around, place)
    if mailbox is None:
        return
    _try(failures, place.name, place.directory, checks.LOCKS.mend, mailbox, bench)
    lock = MailboxLock(run.files, place.directory, owner_of(target), waiting_of(run, target), place.control)
    try:
        for check in checks.MAILBOX:
            for portion in _portions(check, around, place):
                with lock:
                    mailbox = _survey(failures, around, place)
                    if mailbox is not None:
                        subject = mailbox if portion is None else mailbox.only(portion)
                        _try(failures, place.name, place.directory, check.mend, subject, bench)
    except StorageError as error:
        failures.append(Failure(place.name, place.directory, error.text))
    finally:
        lock.close()


def _portions(check: checks.MailboxCheck, around: Circumstances, place: Place) -> list[set[bytes] | None]:
    """Base names to be mended under one lock each, None for all; nothing if there is nothing to mend."""
    if check.mend is None:
        return []
    try:
        found = [finding for finding in check.find(survey(around, place), around) if finding.remedy]
    except (StorageError, OSError):
        return []  # the audit says so
    if not check.is_slow:
        return [None] if found else []
    bases = [base_name(os.path.basename(item)) for finding in found for item in finding.items]
    return [set(bases[start : start + _PORTION]) for start in range(0, len(bases), _PORTION)]


def _survey(failures: list[Failure], around: Circumstances, place: Place) -> Mailbox | None:
    try:
        return survey(around, place)
    except OSError as error:
        failures.append(Failure(place.name, place.directory, _reason(error)))
        return None


def _try(failures: list[Failure], name: str, path: bytes, mend: Callable[..., None] | None, *subject: object) -> None:
    if mend is None:
        return
    try:
        mend(*subject)
    except (StorageError, OSError) as error:
        failures.append(Failure(name, path, _reason(error)))


def _reason(error: StorageError | OSError) -> str:
    return error.text if isinstance(error, StorageError) else f"{error.strerror or error}"
