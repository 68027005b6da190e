"""The status page at `/` of `metrics-bind`: HTML made here, without scripts and without anything from elsewhere.

It shows what the parent tells the admin process every few seconds (`requests.status`), and an hour of it in charts. It
changes nothing. Everything in it that somebody else has chosen (users, paths, lines of the log) is escaped.
"""

import base64
import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from greenmail.net.written import clock, quick, rate, size, span

HOUR = 720  # moments of five seconds
_WIDTH, _HEIGHT = 300, 60
_SILENT = 15.0  # seconds after which a worker hangs
_SOON = 14 * 86400.0  # before its end a certificate is worth a colour

STYLE = """
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1b1f24;--dim:#5b6572;--line:#d9dee5;--mark:#1f7a4d;
--fill:#1f7a4d22;--warn:#9a5b00;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--back:#12151a;--card:#1b2027;--text:#e6e9ee;--dim:#9aa5b3;--line:#303843;
--mark:#4cc38a;--fill:#4cc38a22;--warn:#f0b35a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;padding:1rem;background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto}
h1{font-size:1.3rem;margin:.2rem 0}
h2{font-size:1rem;margin:1.6rem 0 .5rem}
p{margin:.2rem 0;color:var(--dim)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.8rem;margin-top:.8rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
.card h3{margin:0;font-size:.8rem;font-weight:600;color:var(--dim)}
.card b{font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums}
.card svg{display:block;width:100%;height:60px;margin-top:.3rem}
.card small,.dim{color:var(--dim)}
.area{fill:var(--fill);stroke:none}
.curve{fill:none;stroke:var(--mark);stroke-width:1.5;vector-effect:non-scaling-stroke}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
@media (min-width:64rem){.charts{grid-template-columns:repeat(5,1fr)}.figures{grid-template-columns:repeat(4,1fr)}}
@media (max-width:34rem){.cards{grid-template-columns:1fr 1fr}.card b{font-size:1.2rem}
.charts>:first-child{grid-column:1/-1}}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .7rem;text-align:left;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;font-size:.8rem;color:var(--dim);font-weight:600}
td.n,th.n{text-align:right}
td.t{white-space:normal;overflow-wrap:anywhere;min-width:11rem}
@media (max-width:34rem){.log thead{display:none}.log tr{display:block;padding:.4rem .7rem;border-top:1px solid
var(--line)}.log tr:first-child{border-top:0}.log td{display:inline;padding:0 .7rem 0 0;border:0;color:var(--dim)}
.log td.warn{color:var(--warn)}.log td.bad{color:var(--bad)}.log td.t{display:block;padding:0;color:var(--text)}}
.good{color:var(--mark)}.warn{color:var(--warn)}.bad{color:var(--bad);font-weight:600}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = (
    ("Content-Security-Policy", f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
     "frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """What the charts show, at one time."""

    at: float  # seconds since 1970
    connections: float
    commands: float  # a second
    p99: float | None  # seconds; None: there were no commands
    received: float  # octets a second
    sent: float


_NOTHING = "The server has not told anything yet."


class Story:
    """The last hour."""

    def __init__(self) -> None:
        self.status: Mapping[str, Any] | None = None
        self.moments: deque[Moment] = deque(maxlen=HOUR)

    def tell(self, status: Mapping[str, Any], now: float) -> None:
        """What the parent says now."""
        total, latest = status["totals"], status["totals"]["latest"]
        self.status = status
        self.moments.append(
            Moment(now, total["connections"], latest["commands"], latest["p99"], latest["received"], latest["sent"])
        )


def page(story: Story, now: float) -> bytes:
    """The whole document, UTF-8."""
    status = story.status
    inside = _body(story, status, now) if status is not None else f"<h1>GreenMail</h1><p>{_NOTHING}</p>"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>GreenMail</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="refresh" content="10">'
        f"<style>{STYLE}</style></head><body><main>{inside}</main></body></html>"
    ).encode()


def _body(story: Story, status: Mapping[str, Any], now: float) -> str:
    total = status["totals"]
    words = "stopping" if status["stopping"] else f"up {span(now - status['since'])}"
    sessions = total["sessions"]
    parts = [
        f"<h1>GreenMail {_text(status['version'])}</h1>",
        f"<p>pid {_text(status['pid'])}, {words}; {clock(now)}, anew every 10 seconds</p>",
        '<div class="cards charts">',
        _chart("Commands a second", story, lambda one: one.commands, rate),
        _chart("99 % of answers within", story, lambda one: one.p99, quick),
        _chart("Connections", story, lambda one: one.connections, lambda value: f"{value:.0f}"),
        _chart("Sent a second", story, lambda one: one.sent, size),
        _chart("Received a second", story, lambda one: one.received, size),
        '</div><div class="cards figures">',
        _card("Sessions", f"{sessions['imap'] + sessions['pop3']}",
              f"{sessions['imap']} IMAP, {total['idle']} of them in IDLE; {sessions['pop3']} POP3;"
              f" {total['users']} users"),
        _card("Logins a minute", f"{60 * total['minute']['logins']:.0f}",
              f"{60 * total['minute']['failed_logins']:.0f} failed"),
        _card("Memory", size(total["memory"]), f"caches {size(total['cache']['octets'])} of"
              f" {size(total['cache']['limit'])}; {total['cache']['used']} mailboxes in use,"
              f" {total['cache']['warm']} kept"),
        _card("Watches", f"{total['watches']:.0f}", f"{total['polled']:.0f} mailboxes are looked at by time"),
        "</div>",
        _workers(status["workers"]),
        _busiest(total["busiest"]),
        _certificates(status["certificates"], now),
        _troubles(status["troubles"]),
    ]  # fmt: skip
    return "".join(parts)


def _text(value: object) -> str:
    """Anything, harmless in HTML."""
    return escape(str(value), quote=True)


# --- cards ---


def _card(title: str, value: str, more: str) -> str:
    return (
        f'<section class="card"><h3>{_text(title)}</h3><b>{_text(value)}</b><br><small>{_text(more)}</small></section>'
    )


def _chart(title: str, story: Story, of: Callable[[Moment], float | None], written: Callable[[float], str]) -> str:
    values = [of(one) for one in story.moments]
    known = [value for value in values if value is not None]
    present = written(known[-1]) if known else "-"
    top = max(known, default=0.0)
    since = span(story.moments[-1].at - story.moments[0].at) if story.moments else "0s"
    label = f"{title}: {present} now, at most {written(top)} in the last {since}"
    drawn = "".join(_drawn(stretch, len(values), top) for stretch in _stretches(values))
    return (
        f'<section class="card"><h3>{_text(title)}</h3><b>{_text(present)}</b>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{_text(label)}">'
        f"{drawn}</svg><small>at most {_text(written(top))} in {_text(since)}</small></section>"
    )


def _stretches(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Values with their places, cut where there are none: nothing is drawn of what is not known."""
    found: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is not None:
            found[-1].append((place, value))
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def _drawn(stretch: Sequence[tuple[int, float]], number: int, top: float) -> str:
    """A curve with the area below it; time goes to the right."""
    across = _WIDTH / max(number - 1, 1)
    up = (_HEIGHT - 4) / top if top > 0 else 0.0
    places = [(place * across, _HEIGHT - 2 - value * up) for place, value in stretch]
    if len(places) == 1:  # a value alone is a short line
        places = [(places[0][0] - across / 3, places[0][1]), (places[0][0] + across / 3, places[0][1])]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{_HEIGHT} {points} {places[-1][0]:.1f},{_HEIGHT}"
    return f'<polygon class="area" points="{area}"/><polyline class="curve" points="{points}"/>'


# --- tables ---


def _table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], nothing: str, look: str = "wide"
) -> str:
    """`rows` of cells, each a text and its class."""
    if not rows:
        return f"<h2>{_text(title)}</h2><p>{_text(nothing)}</p>"
    classes = [kind if kind == "n" else "" for _, kind in rows[0]]
    heads = "".join(f'<th class="{kind}">{_text(name)}</th>' for name, kind in zip(head, classes, strict=True))
    lines = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{_text(text)}</td>' for text, kind in row) + "</tr>" for row in rows
    )
    return (
        f'<h2>{_text(title)}</h2><div class="{look}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _workers(workers: Sequence[Mapping[str, Any]]) -> str:
    head = ("pid", "state", "up", "CPU", "memory", "connections", "commands/s", "half within", "99 % within", "watches")
    rows = []
    for worker in workers:
        row = [(str(worker["pid"]), ""), _state(worker), (span(worker["age"]), "n")]
        now, minute = worker.get("now"), worker.get("minute")
        if now is None or minute is None:
            row += [("-", "n")] * 7
        else:
            row += [
                (f"{100 * minute['cpu']:.0f} %", "n"),
                (size(now["memory"]), "n"),
                (str(now["connections"]), "n"),
                (rate(minute["commands"]), "n"),
                (quick(minute["p50"]), "n"),
                (quick(minute["p99"]), "n"),
                (f"{now['watches']:.0f}", "n"),
            ]
        rows.append(row)
    return _table("Workers, last minute", head, rows, "No worker runs.")


def _state(worker: Mapping[str, Any]) -> tuple[str, str]:
    if worker["leaving"]:
        return "drains", "warn"
    if not worker["ready"]:
        return "starts", "warn"
    if worker["silent"] > _SILENT:
        return f"silent for {span(worker['silent'])}", "bad"
    return "good", "good"


def _busiest(users: Sequence[Mapping[str, Any]]) -> str:
    head = ("user", "commands", "computed", "took", "slowest")
    rows = [
        [(user["user"], ""), (f"{user['commands']:.0f}", "n")]
        + [(quick(user[key]), "n") for key in ("computed", "seconds", "slowest")]
        for user in users
    ]
    return _table("Busiest users, last 5 seconds", head, rows, "Nobody asked for anything.")


def _certificates(certificates: Sequence[Mapping[str, Any]], now: float) -> str:
    rows = []
    for one in certificates:
        left = one["expires"] - now
        kind = "bad" if left < _SOON / 7 else "warn" if left < _SOON else "good"
        ends = time.strftime("%Y-%m-%d", time.gmtime(one["expires"]))
        rows.append([(one["path"], "t"), (ends, ""), (span(left) if left > 0 else "ended", kind)])
    return _table("Certificates", ("path", "ends", "in"), rows, "There is no certificate, so no TLS.")


def _troubles(lines: Sequence[Mapping[str, str]]) -> str:
    rows = [
        [(line["time"][:19].replace("T", " "), ""), (line["level"], "bad" if line["level"] == "error" else "warn"),
         (line["pid"], ""), (line["text"], "t")]
        for line in reversed(lines)
    ]  # fmt: skip
    return _table("Last warnings and errors", ("time (UTC)", "level", "pid", "text"), rows, "None.", "wide log")
