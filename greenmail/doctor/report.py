"""What the administrator reads: text with a table for people, JSON for programs.

Names come from disk, where anybody may have put anything: whatever could move a cursor or end a line is escaped.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greenmail.doctor.audit import Result
from greenmail.doctor.finding import TITLES, Finding, Severity
from greenmail.doctor.repair import Failure
from greenmail.terminal import INDENT, several, shown, write_labelled, write_line

SOUND, NOT_DONE, WARNINGS, ERRORS = 0, 1, 3, 4  # exit statuses

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_ORDER = [Severity.ERROR, Severity.WARNING, Severity.NOTE]
_SHOWN_ITEMS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """One account: as it was found, and after --fix as it is now."""

    before: Result
    after: Result | None = None  # None: nothing was to be mended
    failures: tuple[Failure, ...] = ()

    @property
    def left(self) -> tuple[Finding, ...]:
        """What is wrong now."""
        return (self.after or self.before).findings

    @property
    def fixed(self) -> tuple[Finding, ...]:
        """What was wrong and is not any more."""
        keys = {finding.key for finding in self.left}
        return tuple(finding for finding in self.before.findings if finding.key not in keys)


@dataclass(frozen=True, slots=True)
class Report:
    """All of a call."""

    outcomes: Sequence[Outcome]
    seconds: float
    fix: bool = False
    undo_log: str = ""  # empty: nothing was changed
    verbose: bool = False

    def count(self, severity: Severity) -> int:
        """Findings of this severity that are left."""
        return sum(1 for outcome in self.outcomes for finding in outcome.left if finding.severity is severity)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.count(Severity.ERROR):
            return ERRORS
        return WARNINGS if self.count(Severity.WARNING) else SOUND


def write_json(report: Report) -> str:
    """One document."""
    document = {
        "greenmail-doctor": 1,
        "accounts": [_account(outcome, report.fix) for outcome in report.outcomes],
        "summary": {
            "accounts": len(report.outcomes),
            "mailboxes": sum(outcome.before.mailboxes for outcome in report.outcomes),
            "messages": sum(outcome.before.messages for outcome in report.outcomes),
            "octets": sum(outcome.before.octets for outcome in report.outcomes),
            "seconds": round(report.seconds, 3),
            **{f"{severity.value}s": report.count(severity) for severity in _ORDER},
            "fixed": sum(len(outcome.fixed) for outcome in report.outcomes) if report.fix else 0,
            "status": report.status,
        },
        "undo-log": report.undo_log or None,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _account(outcome: Outcome, fix: bool) -> dict[str, object]:
    before = outcome.before
    findings = [_finding(finding) for finding in outcome.left]
    if fix:
        findings = [_finding(f) | {"fixed": True} for f in outcome.fixed] + [f | {"fixed": False} for f in findings]
    failures = [
        {"mailbox": failure.mailbox, "path": shown(failure.path), "text": shown(failure.text)}
        for failure in outcome.failures
    ]
    return {
        "account": shown(before.target.name),
        "path": shown(before.target.settings.mail_path),
        "mailboxes": before.mailboxes,
        "messages": before.messages,
        "octets": before.octets,
        "findings": findings,
        "failures": failures,
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "severity": finding.severity.value,
        "mailbox": shown(finding.mailbox) or None,
        "path": shown(finding.path),
        "text": shown(finding.text),
        "fix": finding.remedy or None,
        "advice": finding.advice or None,
        "count": finding.count,
        "items": [shown(item) for item in finding.items],
    }


def write_text(report: Report, console: Console) -> None:
    """Findings account by account, then the table, then one sentence."""
    wrong = [outcome for outcome in report.outcomes if outcome.before.findings or outcome.left or outcome.failures]
    for outcome in wrong:
        _write_account(outcome, report, console)
    if len({f.kind for o in wrong for f in (*o.before.findings, *o.left)}) > 1 or len(wrong) > 1:
        console.print(_table(report))
    _write_end(report, console)


def _write_account(outcome: Outcome, report: Report, console: Console) -> None:
    before = outcome.before
    name, path = shown(before.target.name), shown(before.target.settings.mail_path)
    size = f"{several(before.mailboxes, 'mailbox', 'mailboxes')}, {several(before.messages, 'message')}"
    write_line(console, 0, Text.assemble((name, "bold"), "" if name == path else f"  {path}", f"  ({size})"))
    fixed = {finding.key for finding in outcome.fixed}
    known = {finding.key for finding in outcome.before.findings}
    new = [finding for finding in outcome.left if finding.key not in known]
    # What is left is told as it is now.
    now = {finding.key: finding for finding in outcome.left}
    told = [(now.get(finding.key, finding), finding.key in fixed) for finding in (*before.findings, *new)]
    told.sort(key=lambda entry: _ORDER.index(entry[0].severity))
    for alike in _alike(told):
        _write_finding(_merged([finding for finding, _ in alike]), report, alike[0][1], console)
    for failure in outcome.failures:
        where = f"{shown(failure.mailbox)}: " if failure.mailbox else ""
        write_labelled(console, ("not fixed", "bold red"), f"{where}{shown(failure.path)}: {shown(failure.text)}")
    console.print()


def _alike(told: list[tuple[Finding, bool]]) -> list[list[tuple[Finding, bool]]]:
    """Those together that differ only in where they are."""
    groups: dict[tuple[str, str, bool], list[tuple[Finding, bool]]] = {}
    for finding, is_fixed in told:
        groups.setdefault((finding.kind, finding.text, is_fixed), []).append((finding, is_fixed))
    return list(groups.values())


def _merged(findings: list[Finding]) -> Finding:
    """One for the reader."""
    first = findings[0]
    if len(findings) == 1:
        return first
    items = tuple(finding.path for finding in findings)
    where = several(len({finding.mailbox for finding in findings}), "mailbox", "mailboxes") if first.mailbox else ""
    return replace(first, mailbox=where or several(len(findings), "directory", "directories"), path=b"", items=items)


def _write_finding(finding: Finding, report: Report, is_fixed: bool, console: Console) -> None:
    label = ("fixed", "green") if report.fix and is_fixed else (finding.severity.value, _STYLES[finding.severity])
    where = f"{shown(finding.mailbox)}: " if finding.mailbox else ""
    write_labelled(console, label, where + shown(finding.text))
    if finding.path:
        write_line(console, INDENT, Text(shown(finding.path), style="dim"))
    items = finding.items if report.verbose else finding.items[:_SHOWN_ITEMS]
    for item in items:
        write_line(console, INDENT + 2, Text(shown(item), style="dim"))
    if len(finding.items) > len(items):
        more = f"and {len(finding.items) - len(items):,} more (--verbose lists them)"
        write_line(console, INDENT + 2, Text(more, style="dim italic"))
    if finding.remedy and not report.fix:
        write_line(console, INDENT, Text.assemble(("--fix ", "green"), shown(finding.remedy)))
    if finding.advice and not is_fixed:
        write_line(console, INDENT, Text.assemble(("advice: ", "magenta"), shown(finding.advice)))


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("What")
    table.add_column("Accounts", justify="right")
    table.add_column("Count", justify="right")
    table.add_column("Fixed" if report.fix else "--fix", justify="right")
    rows: dict[tuple[int, int], list[tuple[str, Finding, bool]]] = {}
    kinds = list(TITLES)
    for outcome in report.outcomes:
        fixed = {finding.key for finding in outcome.fixed}
        known = {finding.key for finding in outcome.before.findings}
        new = [finding for finding in outcome.left if finding.key not in known]
        for finding in (*outcome.before.findings, *new):
            helped = finding.key in fixed if report.fix else bool(finding.remedy)
            key = (_ORDER.index(finding.severity), kinds.index(finding.kind))
            rows.setdefault(key, []).append((outcome.before.target.name, finding, helped))
    for (severity, kind), found in sorted(rows.items(), key=lambda row: row[0]):
        mended = sum(finding.count for _, finding, is_helped in found if is_helped)
        table.add_row(
            Text(_ORDER[severity].value, style=_STYLES[_ORDER[severity]]),
            TITLES[kinds[kind]],
            f"{len({name for name, _, _ in found}):,}",
            f"{sum(finding.count for _, finding, _ in found):,}",
            f"{mended:,}" if mended else "-",
        )
    return table


def _write_end(report: Report, console: Console) -> None:
    outcomes = report.outcomes
    mailboxes = several(sum(outcome.before.mailboxes for outcome in outcomes), "mailbox", "mailboxes")
    messages = several(sum(outcome.before.messages for outcome in outcomes), "message")
    looked = f"{several(len(outcomes), 'account')}, {mailboxes}, {messages} in {report.seconds:.1f} s: "
    counts = [several(report.count(severity), severity.value) for severity in _ORDER if report.count(severity)]
    verdict = ", ".join(counts) + (" left" if report.fix and counts else "") if counts else "all is well"
    style = {SOUND: "bold green", WARNINGS: "bold yellow", ERRORS: "bold red"}[report.status]
    write_line(console, 0, Text.assemble(looked, (verdict, style), "."))
    remedies = sum(1 for outcome in outcomes for finding in outcome.left if finding.remedy)
    if remedies and not report.fix:
        write_line(
            console, 0, Text(f"With --fix, {several(remedies, 'finding')} can be mended, and taken back by --undo.")
        )
    if report.undo_log:
        write_line(console, 0, Text(f"To take everything back: greenmail doctor --undo {shown(report.undo_log)}"))
        write_line(console, 0, Text("The undo log holds mail: remove it when all is well."))
