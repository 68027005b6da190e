"""What the verbs `doctor`, `resync`, `index` and `to-courier` do; `command` has their options."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from greenmail.config import Config
from greenmail.doctor import target as targets
from greenmail.doctor import undo
from greenmail.doctor.audit import Run, audit
from greenmail.doctor.identity import acting_as
from greenmail.doctor.repair import Failure, repair
from greenmail.doctor.report import NOT_DONE, SOUND, Outcome, Report, write_json, write_text
from greenmail.doctor.restore import Means, restore
from greenmail.doctor.resync import Progress, index_texts, rebuild
from greenmail.doctor.target import Site, Target
from greenmail.doctor.to_courier import hand_back
from greenmail.errors import Refused
from greenmail.pop3.uidl import Format
from greenmail.preload import preload
from greenmail.storage.locks import Waiting
from greenmail.terminal import Bar, plain_console, say, several, shown

Done = tuple[int, int, list[Failure]]  # mailboxes, messages, and what could not be done


def _targets(config: Config, parsed: argparse.Namespace, site: Site) -> list[Target]:
    found = targets.by_path(config, site.settings_for, parsed.path) if parsed.path else []
    if parsed.user or not parsed.path:
        found += targets.by_user(config, site, parsed.user)
    return found


def _prepare() -> None:
    # The storage logs what it repairs; here the report says it. And an account is worked on with its owner's ids,
    # which may not be allowed to read Python's library.
    preload("")
    logging.getLogger("greenmail").addHandler(logging.NullHandler())


def _run_of(config: Config, quick: bool = False) -> Run:
    return Run(time.time, time.sleep, Format(config.pop3_uidl_format), quick)


def doctor(site: Site, config: Config, parsed: argparse.Namespace) -> int:
    """Audit, --fix and --undo; the exit status."""
    _prepare()
    if parsed.undo:
        return _undo(config, parsed)
    found = _targets(config, parsed, site)
    started = time.monotonic()
    log = undo.UndoLog(parsed.undo_log or _log_name())
    outcomes: list[Outcome] = []
    bar = Bar(len(found))
    try:
        with bar:
            for target in found:
                outcomes.append(_one(config, parsed, target, log, bar))
                bar.tell(target.name, "", 0, 1)
    finally:
        log.close()
        if log.changes and len(outcomes) < len(found):
            say(f"greenmail: not finished; to take back what was done: greenmail doctor --undo {shown(log.path)}")
    report = Report(
        outcomes,
        time.monotonic() - started,
        parsed.fix,
        os.path.abspath(log.path) if log.changes else "",
        parsed.verbose,
    )
    if parsed.json:
        sys.stdout.write(write_json(report) + "\n")
    else:
        write_text(report, plain_console())
    return report.status


def _log_name() -> str:
    return os.path.abspath(time.strftime("greenmail-doctor-%Y%m%d-%H%M%S.undo"))


def _one(
    config: Config,
    parsed: argparse.Namespace,
    target: Target,
    log: undo.UndoLog,
    bar: Bar,
) -> Outcome:
    """Audit, and with --fix mend and audit again."""

    def progress(mailbox: str, messages: int, octets: int) -> None:
        if mailbox:
            bar.tell(target.name, mailbox, messages)

    run = Run(time.time, time.sleep, Format(config.pop3_uidl_format), parsed.quick, progress=progress)
    with acting_as(target.uid, target.gid):
        before = audit(run, target)
        if not parsed.fix or not any(finding.remedy for finding in before.findings):
            return Outcome(before)
        failures = repair(run, target, log, before.findings)
        return Outcome(before, audit(run, target), tuple(failures))


def _undo(config: Config, parsed: argparse.Namespace) -> int:
    if parsed.fix or parsed.json or parsed.user or parsed.path:
        raise Refused("--undo takes the undo log alone, which says whose mail it is about")
    descriptor, records = undo.read(parsed.undo)
    waiting = Waiting(time.sleep, time.time, config.lock_timeout)
    host = config.lock_host or os.uname().nodename
    try:
        result = restore(Means(_run_of(config), waiting, host, descriptor), records)
    finally:
        os.close(descriptor)
    for left in result.left:
        say(f"left alone: {shown(left)}")
    say(f"{several(result.done, 'change')} taken back" + (f", {result.idle} were back already" if result.idle else ""))
    return NOT_DONE if result.left else SOUND


def resync(site: Site, anew: bool, config: Config, parsed: argparse.Namespace) -> int:
    """Make the index files anew, or complete them; the exit status."""

    def work(run: Run, target: Target, progress: Progress) -> Done:
        done = rebuild(run, target, anew, progress)
        if not getattr(parsed, "fts", False):
            return done
        texts = index_texts(run, target, progress)
        return max(done[0], texts[0]), max(done[1], texts[1]), [*done[2], *texts[2]]

    return _on_each(work, site, config, parsed, f"the index of %s is {'made anew' if anew else 'complete'}")


def to_courier(site: Site, config: Config, parsed: argparse.Namespace) -> int:
    """Write Courier's files; the exit status."""
    return _on_each(hand_back, site, config, parsed, "Courier's files tell of %s")


def _on_each(
    work: Callable[[Run, Target, Progress], Done],
    site: Site,
    config: Config,
    parsed: argparse.Namespace,
    told: str,
) -> int:
    """Do it for every account that was asked for, as its owner. `told`: what is said then of all mailboxes."""
    _prepare()
    found = _targets(config, parsed, site)
    run = _run_of(config)
    bar = Bar(len(found))
    mailboxes = messages = 0
    failed: list[dict[str, str]] = []
    with bar:
        for target in found:
            with acting_as(target.uid, target.gid):
                done = work(run, target, partial(bar.tell, target.name))
            bar.tell(target.name, "", 0, 1)
            mailboxes += done[0]
            messages += done[1]
            failed += [
                {"account": target.name, "where": failure.mailbox or os.fsdecode(failure.path), "text": failure.text}
                for failure in done[2]
            ]
    if parsed.json:
        counts = {"accounts": len(found), "mailboxes": mailboxes, "messages": messages}
        sys.stdout.write(json.dumps({**counts, "failures": failed}, indent=2) + "\n")
        return NOT_DONE if failed else SOUND
    _tell_failures("{account}: {where!r}: {text}".format(**one) for one in failed)
    counted = f"{several(mailboxes, 'mailbox', 'mailboxes')} with {several(messages, 'message')}"
    say(f"{several(len(found), 'account')}: {told % counted}")
    return NOT_DONE if failed else SOUND


def _tell_failures(lines: Iterable[str]) -> None:
    for line in lines:
        say(f"greenmail: not done: {shown(line)}", error=True)
