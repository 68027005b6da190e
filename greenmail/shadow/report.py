"""What the administrator reads: text with a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greenmail.shadow.account import NotCompared, Outcome
from greenmail.shadow.kinds import KINDS, ONE_SIDED, THERE, Difference
from greenmail.terminal import INDENT, several, shown, write_labelled, write_line

SAME, DIFFERENT, NOT_COMPARED = 0, 1, 2  # exit statuses

_SHOWN = 5  # of one kind in one mailbox
_LONGEST = 160  # characters of a value that people are shown
_CAPABILITIES = ("capability", "pop3-capability")


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
    """Differences account by account, then what is only told, the table, and one sentence."""
    wrong = [outcome for outcome in report.outcomes if outcome.tally.differs or outcome.not_compared]
    for outcome in wrong:
        _write_account(outcome, report, console)
    _write_told(report, console)
    if len(wrong) > 1 or len({kind for outcome in wrong for kind, _ in outcome.tally.counts}) > 1:
        console.print(_table(report))
    _write_end(report, console)


def _write_told(report: Report, console: Console) -> None:
    """For all accounts together: most of it is the same for each."""
    found: dict[str, dict[str, int]] = {}
    for outcome in report.outcomes:
        for one in outcome.tally.kept:
            if one.told_only:
                texts = found.setdefault(one.kind, {})
                texts[_told(one)] = texts.get(_told(one), 0) + 1
    if not found:
        return
    write_line(console, 0, Text("Not noticed by clients", style="bold"))
    for kind, texts in found.items():
        listed = [text if len(report.outcomes) == 1 else f"{text} ({count:,})" for text, count in texts.items()]
        if kind in _CAPABILITIES:
            most = max(texts.values())
            names = [
                text if count == most else f"{text} ({several(count, 'account')})" for text, count in texts.items()
            ]
            write_labelled(console, ("told", "cyan"), f"{KINDS[kind].title}: {', '.join(names)}")
            continue
        write_labelled(console, ("told", "cyan"), KINDS[kind].title)
        for text in listed if report.verbose else listed[:_SHOWN]:
            write_line(console, INDENT + 2, Text(text))
        _write_more(len(listed), report, console)
    console.print()


def _told(one: Difference) -> str:
    if one.kind in _CAPABILITIES:
        return shown(one.theirs)
    return f"{shown(one.mailbox)}{': ' if one.mailbox else ''}{_line(one)}"


def _write_more(count: int, report: Report, console: Console, kept: int = -1) -> None:
    listed = (count if kept < 0 else kept) if report.verbose else _SHOWN
    if count > listed:
        more = f"and {count - listed:,} more" + ("" if report.verbose else " (--verbose lists them)")
        write_line(console, INDENT + 2, Text(more, style="dim italic"))


def _write_account(outcome: Outcome, report: Report, console: Console) -> None:
    groups: dict[tuple[str, str], list[Difference]] = {}
    for one in outcome.tally.kept:
        if not one.told_only:
            groups.setdefault((one.mailbox, one.kind), []).append(one)
    size = f"{several(outcome.mailboxes, 'mailbox', 'mailboxes')}, {several(outcome.messages, 'message')}"
    write_line(console, 0, Text.assemble((shown(outcome.user), "bold"), f"  ({size})"))
    for failure in outcome.not_compared:
        write_labelled(console, ("failed", "bold red"), _failure(failure))
    for (mailbox, kind), group in groups.items():
        _write_group(outcome.tally.counts[kind, mailbox], group, report, console)
    console.print()


def _failure(failure: NotCompared) -> str:
    where = f"{shown(failure.mailbox)} could not be compared: " if failure.mailbox else "not compared: "
    return where + shown(failure.text)


def _write_group(count: int, group: list[Difference], report: Report, console: Console) -> None:
    first, label = group[0], ("differs", "bold yellow")
    where = f"{shown(first.mailbox)}: " if first.mailbox else ""
    title = where + KINDS[first.kind].title
    if count == 1 and not first.uid:
        line = _line(first)
        write_labelled(console, label, f"{title}: {line}" if line else title)
        return
    write_labelled(console, label, title)
    for one in group if report.verbose else group[:_SHOWN]:
        write_line(console, INDENT + 2, Text(_line(one)))
    _write_more(count, report, console, len(group))


def _line(one: Difference) -> str:
    """What is where; nothing if that is said by the title already."""
    word = "message" if one.kind.startswith("pop3-") else "UID"
    what = f"{word} {one.uid}" if one.uid else ""
    if one.kind in ONE_SIDED:
        known = one.theirs or one.ours
        values = "" if known == THERE else _short(known)
    else:
        values = f"theirs {_short(one.theirs)}, ours {_short(one.ours)}"
    return f"{what}: {values}" if what and values else what or values


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
