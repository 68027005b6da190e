"""What the administrator reads: text with a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greenmail.shadow.account import NotCompared, Outcome
from greenmail.shadow.kinds import KINDS, Difference
from greenmail.terminal import INDENT, several, shown, write_labelled, write_line

SAME, DIFFERENT, NOT_COMPARED = 0, 1, 2  # exit statuses

_SHOWN = 5  # of one kind in one mailbox
_LONGEST = 160  # characters of a value that people are shown
_WHERE_POP3 = "POP3"


@dataclass(frozen=True, slots=True)
class Report:
    """All of a call."""

    theirs: str
    ours: str
    outcomes: Sequence[Outcome]
    seconds: float
    verbose: bool = False

    def users_that_differ(self) -> int:
        """Whose clients would notice."""
        return sum(outcome.tally.differs for outcome in self.outcomes)

    def count(self, told_only: bool) -> int:
        """Differences, or what is only told."""
        return sum(
            number
            for outcome in self.outcomes
            for (kind, _), number in outcome.tally.counts.items()
            if KINDS[kind].told_only is told_only
        )

    def failed(self) -> int:
        """Users of whom something could not be compared."""
        return sum(bool(outcome.not_compared) for outcome in self.outcomes)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.failed() or not self.outcomes:
            return NOT_COMPARED
        return DIFFERENT if self.users_that_differ() else SAME


def write_json(report: Report) -> str:
    """One document."""
    document = {
        "greenmail-shadow": 1,
        "theirs": report.theirs,
        "ours": report.ours,
        "accounts": [_account(outcome) for outcome in report.outcomes],
        "summary": {
            "accounts": len(report.outcomes),
            "mailboxes": sum(outcome.mailboxes for outcome in report.outcomes),
            "messages": sum(outcome.messages for outcome in report.outcomes),
            "bodies": sum(outcome.bodies for outcome in report.outcomes),
            "seconds": round(report.seconds, 3),
            "accounts-that-differ": report.users_that_differ(),
            "differences": report.count(told_only=False),
            "information": report.count(told_only=True),
            "accounts-not-compared": report.failed(),
            "status": report.status,
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _account(outcome: Outcome) -> dict[str, object]:
    kept = outcome.tally.kept
    return {
        "account": shown(outcome.user),
        "mailboxes": outcome.mailboxes,
        "messages": outcome.messages,
        "bodies": outcome.bodies,
        "differences": [_difference(one) for one in kept if not one.told_only],
        "information": [_difference(one) for one in kept if one.told_only],
        "counts": [
            {"kind": kind, "mailbox": shown(mailbox) or None, "count": count}
            for (kind, mailbox), count in outcome.tally.counts.items()
        ],
        "not-compared": [
            {"mailbox": shown(failure.mailbox) or None, "text": shown(failure.text)} for failure in outcome.not_compared
        ],
    }


def _difference(one: Difference) -> dict[str, object]:
    number = "number" if one.kind.startswith("pop3-") else "uid"
    return {
        "kind": one.kind,
        "mailbox": shown(one.mailbox) or None,
        number: one.uid or None,
        "theirs": shown(one.theirs),
        "ours": shown(one.ours),
    }


def write_text(report: Report, console: Console) -> None:
    """Differences account by account, then the table, then one sentence."""
    told = [outcome for outcome in report.outcomes if outcome.tally.counts or outcome.not_compared]
    common = _told_of_all(report)
    for outcome in told:
        _write_account(outcome, report, common, console)
    if common:
        write_line(console, 0, Text("Capabilities, which clients use where they find them", style="bold"))
        for kind in dict.fromkeys(one.kind for one in common):
            of_kind = {shown(one.theirs): users for one, users in common.items() if one.kind == kind}
            most = max(of_kind.values())
            listed = [
                name if users == most else f"{name} ({several(users, 'account')})" for name, users in of_kind.items()
            ]
            write_labelled(console, ("told", "cyan"), f"{KINDS[kind].title}: {', '.join(listed)}")
        console.print()
    if len(told) > 1 or len({kind for outcome in told for kind, _ in outcome.tally.counts}) > 1:
        console.print(_table(report))
    _write_end(report, console)


def _told_of_all(report: Report) -> dict[Difference, int]:
    """Capabilities that are told once, and not for each account."""
    found: dict[Difference, int] = {}
    for outcome in report.outcomes:
        for one in outcome.tally.kept:
            if one.kind in ("capability", "pop3-capability"):
                found[one] = found.get(one, 0) + 1
    return found


def _write_account(outcome: Outcome, report: Report, common: dict[Difference, int], console: Console) -> None:
    groups: dict[tuple[bool, str, str], list[Difference]] = {}
    for one in outcome.tally.kept:
        if one not in common:
            groups.setdefault((one.told_only, one.mailbox, one.kind), []).append(one)
    if not groups and not outcome.not_compared:
        return
    size = f"{several(outcome.mailboxes, 'mailbox', 'mailboxes')}, {several(outcome.messages, 'message')}"
    write_line(console, 0, Text.assemble((shown(outcome.user), "bold"), f"  ({size})"))
    for failure in outcome.not_compared:
        write_labelled(console, ("failed", "bold red"), _failure(failure))
    for key in sorted(groups, key=lambda key: key[0]):
        told_only, mailbox, kind = key
        _write_group(outcome.tally.counts[kind, mailbox], groups[key], report, told_only, console)
    console.print()


def _failure(failure: NotCompared) -> str:
    where = f"{shown(failure.mailbox)} could not be compared: " if failure.mailbox else "not compared: "
    return where + shown(failure.text)


def _write_group(count: int, group: list[Difference], report: Report, told_only: bool, console: Console) -> None:
    first = group[0]
    label = ("told", "cyan") if told_only else ("differs", "bold yellow")
    title = KINDS[first.kind].title
    where = f"{shown(first.mailbox)}: " if first.mailbox else ""
    if count == 1 and not first.uid:
        write_labelled(console, label, f"{where}{title}: {_values(first)}")
        return
    write_labelled(console, label, where + title)
    listed = group if report.verbose else group[:_SHOWN]
    for one in listed:
        word = "message" if one.kind.startswith("pop3-") else "UID"
        what = f"{word} {one.uid}: " if one.uid else ""
        write_line(console, INDENT + 2, Text(what + _values(one)))
    if count > len(listed):
        more = f"and {count - len(listed):,} more" + ("" if report.verbose else " (--verbose lists them)")
        write_line(console, INDENT + 2, Text(more, style="dim italic"))


def _values(one: Difference) -> str:
    return f"theirs {_short(one.theirs)}, ours {_short(one.ours)}"


def _short(value: str) -> str:
    text = shown(value)
    return "nothing" if not text else text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("What")
    table.add_column("Accounts", justify="right")
    table.add_column("Mailboxes", justify="right")
    table.add_column("Count", justify="right")
    for name, kind in KINDS.items():
        rows = [
            (number, mailbox, count)
            for number, outcome in enumerate(report.outcomes)
            for (found, mailbox), count in outcome.tally.counts.items()
            if found == name
        ]
        if not rows:
            continue
        boxes = len({(number, mailbox) for number, mailbox, _ in rows if mailbox})
        table.add_row(
            Text("told", style="cyan") if kind.told_only else Text("differs", style="bold yellow"),
            kind.title,
            f"{len({number for number, _, _ in rows}):,}",
            f"{boxes:,}" if boxes else "-",
            f"{sum(count for _, _, count in rows):,}",
        )
    if report.failed():
        table.add_row(Text("failed", style="bold red"), "Not compared", f"{report.failed():,}", "-", "-")
    return table


def _write_end(report: Report, console: Console) -> None:
    outcomes = report.outcomes
    counted = ", ".join(
        [
            several(len(outcomes), "account"),
            several(sum(outcome.mailboxes for outcome in outcomes), "mailbox", "mailboxes"),
            several(sum(outcome.messages for outcome in outcomes), "message"),
            f"{sum(outcome.bodies for outcome in outcomes):,} of them octet by octet",
        ]
    )
    differences, users = report.count(told_only=False), report.users_that_differ()
    verdict = "no client would notice the switch"
    if differences:
        verdict = f"{several(differences, 'difference')} in {several(users, 'account')}"
    if report.failed():
        verdict = f"{several(report.failed(), 'account')} not wholly compared" + (
            f"; {verdict}" if differences else "; the rest is the same"
        )
    style = {SAME: "bold green", DIFFERENT: "bold yellow", NOT_COMPARED: "bold red"}[report.status]
    write_line(console, 0, Text(f"theirs: {shown(report.theirs)}, ours: {shown(report.ours)}"))
    write_line(console, 0, Text.assemble(f"{counted} in {report.seconds:.1f} s: ", (verdict, style), "."))
