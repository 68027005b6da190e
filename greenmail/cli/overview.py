"""What `status` and `top` show, as tables of rich."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from greenmail.cli.shown import moment
from greenmail.net.written import quick, size, span
from greenmail.terminal import several, shown

_SOON = 14 * 86400  # seconds before its end from which on a certificate is worth a colour
_SILENT = 15.0  # seconds after which a worker hangs
_MOST_TROUBLES = 8


def everything(status: Mapping[str, Any], when: str = "minute", now: float | None = None) -> RenderableType:
    """All tables, one below the other; rates are those of the last `minute` or of the `latest` 5 seconds."""
    parts: list[RenderableType] = [headline(status, now), workers(status["workers"], when)]
    busiest = status["totals"]["busiest"]
    if busiest:
        parts.append(users(busiest))
    parts.append(certificates(status["certificates"], time.time() if now is None else now))
    if status["traces"]:
        parts.append(_traces(status["traces"]))
    if status["troubles"]:
        parts.append(troubles(status["troubles"][-_MOST_TROUBLES:]))
    return Group(*parts)


def headline(status: Mapping[str, Any], now: float | None = None) -> RenderableType:
    """One paragraph about the whole server."""
    total, minute = status["totals"], status["totals"]["minute"]
    up = span((time.time() if now is None else now) - status["since"])
    cache = total["cache"]
    lines = [
        f"GreenMail {status['version']}, pid {status['pid']}, up {up}" + (", stopping" if status["stopping"] else ""),
        f"{several(total['connections'], 'connection')}, {several(total['users'], 'user')}:"
        f" {several(total['sessions']['imap'], 'IMAP session')}"
        f" ({total['idle']} in IDLE), {total['sessions']['pop3']} POP3",
        f"last minute: {minute['commands']:.1f} commands/s, {minute['logins']:.1f} logins/s"
        f" ({minute['failed_logins']:.1f} failed), in {size(minute['received'])}/s, out {size(minute['sent'])}/s",
        f"answers: half in {quick(minute['p50'])}, 95% in {quick(minute['p95'])}, 99% in {quick(minute['p99'])}",
        f"memory {size(total['memory'])}; caches {size(cache['octets'])} of {size(cache['limit'])},"
        f" {cache['used']} mailboxes in use, {cache['warm']} kept",
        f"watches {total['watches']:.0f}; {total['polled']:.0f} mailboxes are looked at by time",
    ]
    return Text("\n".join(lines))


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", header_style="dim", no_wrap=True)
    return table


def workers(found: Sequence[Mapping[str, Any]], when: str) -> Table:
    """A line for each worker."""
    head = ("pid", "state", "up", "CPU", "memory", "conns", "IMAP", "POP3", "cmd/s", "p50", "p95", "p99", "watches")
    table = _table("\nWorkers", *head, right=head[2:])
    for worker in found:
        state, style = _state(worker)
        cells = [str(worker["pid"]), "", span(worker["age"])]
        if "now" in worker:
            now, rate = worker["now"], worker[when]
            cells += [
                f"{100 * rate['cpu']:.0f}%", size(now["memory"]), str(now["connections"]), str(now["sessions"]["imap"]),
                str(now["sessions"]["pop3"]), f"{rate['commands']:.1f}", quick(rate["p50"]), quick(rate["p95"]),
                quick(rate["p99"]), f"{now['watches']:.0f}",
            ]  # fmt: skip
        row: list[RenderableType] = [Text(cell) for cell in cells]
        row[1] = Text(state, style=style)
        table.add_row(*row)
    return table


def _state(worker: Mapping[str, Any]) -> tuple[str, str]:
    if worker["leaving"]:
        return "drains", "yellow"
    if not worker["ready"]:
        return "starts", "yellow"
    if worker["silent"] > _SILENT:
        return f"silent for {span(worker['silent'])}", "bold red"
    return "good", "green"


def users(found: Sequence[Mapping[str, Any]]) -> Table:
    """Who kept the server busy in the last seconds."""
    head = ("user", "commands", "computed", "took", "slowest")
    table = _table("\nBusiest users, last 5 s", *head, right=head[1:])
    for user in found:
        cells = [str(int(user["commands"])), *(quick(user[key]) for key in ("computed", "seconds", "slowest"))]
        table.add_row(Text(shown(user["user"])), *map(Text, cells))
    return table


def certificates(found: Sequence[Mapping[str, Any]], now: float) -> RenderableType:
    """When each certificate ends."""
    if not found:
        return Text("\nno certificate: no TLS")
    table = _table("\nCertificates", "path", "ends", "in", right=("in",))
    for certificate in found:
        left = certificate["expires"] - now
        style = "bold red" if left < _SOON / 7 else "yellow" if left < _SOON else ""
        ends = time.strftime("%Y-%m-%d", time.gmtime(certificate["expires"]))
        row = (shown(certificate["path"]), ends, span(left) if left > 0 else "ended")
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def _traces(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("\nTraces", "user", "until", "file")
    for trace in found:
        table.add_row(*(Text(shown(cell)) for cell in (trace["user"], moment(trace["until"]), trace["path"])))
    return table


def troubles(found: Sequence[Mapping[str, str]]) -> Table:
    """The last warnings and errors of the log."""
    table = _table("\nLast warnings and errors", "time", "level", "pid", "text")
    for line in found:
        style = "red" if line["level"].lower() == "error" else ""
        cells = (line["time"][11:19], line["level"], line["pid"], shown(line["text"]))
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table
