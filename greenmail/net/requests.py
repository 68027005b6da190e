"""What can be asked of a running server over the control socket.

To add a request: a function in a module of its own, and a line in REQUESTS. It is given the office (what there is to
work with), what came with the request, and the reply, which it uses once, now or later. What a user of the command
line did wrong is `Refused`. Nothing here may wait: it runs in the parent's loop.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import greenmail
from greenmail.errors import Refused
from greenmail.net import overview, penalty_requests
from greenmail.net.asking import Answers
from greenmail.net.control import Reply
from greenmail.net.family import Child, Family
from greenmail.net.site import Site

TRACE_LIMIT = 10 << 20  # octets of a trace, if not said otherwise
TRACE_SECONDS = 3600.0
_MOST_TRACE = 1 << 30
_MOST_TRACES = 20
_LONGEST_TRACE = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Office:
    """What the parent has to answer with."""

    family: Family
    site: Callable[[], Site]
    run: Path  # the run directory
    since: float  # seconds since 1970
    reload: Callable[[Reply], None]
    stop: Callable[[], None]
    is_stopping: Callable[[], bool]
    traces: dict[str, "TraceFile"] = field(default_factory=dict)


Wanted = Mapping[str, Any]
Request = Callable[[Office, Wanted, Reply], None]


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A trace that was begun."""

    user: str
    path: str
    until: float
    limit: int


def handle(office: Office, name: str, wanted: Wanted, reply: Reply) -> None:
    """One request."""
    request = REQUESTS.get(name)
    if request is None:
        reply.fail("unknown", f"there is no request {name[:40]!r}; there are {', '.join(sorted(REQUESTS))}")
        return
    request(office, wanted, reply)


# --- what comes with a request ---


def text(wanted: Wanted, key: str) -> str:
    """A text that must be there. Raises Refused."""
    value = wanted.get(key)
    if not isinstance(value, str) or not value:
        raise Refused(f"{key} is a text, and must be given")
    return value


def texts(wanted: Wanted, key: str) -> list[str]:
    """A list of texts, which may be left out. Raises Refused."""
    value = wanted.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value) or len(value) > 1000:
        raise Refused(f"{key} is a list of texts")
    return value


def number(wanted: Wanted, key: str, default: float, least: float, most: float) -> float:
    """A number within bounds. Raises Refused."""
    value = wanted.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Refused(f"{key} is a number from {least:g} to {most:g}")
    return value


# --- the requests ---


def _ping(office: Office, wanted: Wanted, reply: Reply) -> None:
    reply.give({"version": greenmail.__version__, "pid": os.getpid(), "requests": sorted(REQUESTS)})


def _sessions(what: str, office: Office, wanted: Wanted, reply: Reply) -> None:
    words = texts(wanted, "words")
    if what == "kick" and not words:
        raise Refused("words: whom to disconnect must be said")
    ask(office, what, {"words": words, "by": reply.by}, lambda found: reply.give(_told("sessions", found)))


def _explain(office: Office, wanted: Wanted, reply: Reply) -> None:
    session = text(wanted, "session")

    def done(found: Answers) -> None:
        if found.items:
            reply.give(found.items[0])
        else:
            reply.fail("not-found", f"there is no session {session[:40]!r} now" + _silence(found))

    ask(office, "explain", {"session": session}, done)


def ask(
    office: Office, what: str, wanted: Wanted, done: Callable[[Answers], None], descriptors: Sequence[int] = ()
) -> None:
    """Ask every worker; `done` gets the answers."""
    workers = [(child.pid, child.control) for child in office.family.workers() if child.ready]
    office.family.asking.ask(workers, what, wanted, done, descriptors)


def _told(key: str, found: Answers) -> dict[str, Any]:
    return {key: found.items, "silent": found.silent}


def _silence(found: Answers) -> str:
    return f"; {len(found.silent)} workers did not answer" if found.silent else ""


def _trace(office: Office, wanted: Wanted, reply: Reply) -> None:
    user = text(wanted, "user")
    if wanted.get("on") is not True:
        old = office.traces.pop(user, None)
        gone = {"user": user, "path": old.path if old is not None else ""}
        ask(office, "trace", {"user": user, "on": False}, lambda found: reply.give(gone | _told("sessions", found)))
        return
    _forget_old_traces(office)
    if len(office.traces) >= _MOST_TRACES:
        raise Refused(f"there are {_MOST_TRACES} traces already: end one of them first")
    seconds = number(wanted, "seconds", TRACE_SECONDS, 1, _LONGEST_TRACE)
    limit = int(number(wanted, "limit", TRACE_LIMIT, 1024, _MOST_TRACE))
    path, descriptor = trace_file(office.run, user, time.localtime())
    try:
        trace = office.traces[user] = TraceFile(user, str(path), time.time() + seconds, limit)
        told: dict[str, Any] = {"user": user, "path": trace.path, "until": trace.until, "limit": limit}
        asked = {"user": user, "on": True, "until": trace.until, "limit": limit}
        ask(office, "trace", asked, lambda found: reply.give(told | _told("sessions", found)), [descriptor])
    finally:
        os.close(descriptor)


def trace_file(run: Path, user: str, now: time.struct_time) -> tuple[Path, int]:
    """A new file for a user's trace, and its descriptor: one of his own for each trace, however soon after another.

    Made here, where the workers' user cannot make anything; they are given the open file.
    """
    name = re.sub("[^A-Za-z0-9@._-]", "_", user)[:80]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    number = 1
    while True:
        path = run / time.strftime(f"trace-{name}-%Y%m%d-%H%M%S-{number:03d}.log", now)
        try:
            return path, os.open(path, flags, 0o600)
        except FileExistsError:
            number += 1


def _forget_old_traces(office: Office) -> None:
    for user, trace in list(office.traces.items()):
        if time.time() >= trace.until:
            del office.traces[user]


def hand_traces(office: Office, child: Child) -> None:
    """A new worker takes part in the traces that go on."""
    _forget_old_traces(office)
    for user, trace in list(office.traces.items()):
        try:
            descriptor = os.open(trace.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # somebody has removed it: he has seen enough
            continue
        asked = {"user": user, "on": True, "until": trace.until, "limit": trace.limit}
        try:
            office.family.asking.ask([(child.pid, child.control)], "trace", asked, _ignore, [descriptor])
        finally:
            os.close(descriptor)


def _ignore(found: Answers) -> None:
    return None


def _reload(office: Office, wanted: Wanted, reply: Reply) -> None:
    office.reload(reply)


def _stop(office: Office, wanted: Wanted, reply: Reply) -> None:
    office.stop()
    reply.give({"pid": os.getpid(), "grace": office.site().config.stop_grace})


def _status(office: Office, wanted: Wanted, reply: Reply) -> None:
    reply.give(status(office))


def status(office: Office) -> dict[str, Any]:
    """What the parent knows of itself and of its children; asks nobody."""
    _forget_old_traces(office)
    site, now = office.site(), time.monotonic()
    workers = [overview.worker(child, now) for child in office.family.workers()]
    total = overview.totals(workers)
    total["users"] = office.family.register.users()
    return {
        "version": greenmail.__version__,
        "pid": os.getpid(),
        "since": office.since,
        "stopping": office.is_stopping(),
        "listeners": [
            {
                "name": listener.name,
                "protocol": listener.protocol,
                "address": sock.getsockname()[0],
                "port": sock.getsockname()[1],
                "tls": "implicit" if listener.implicit_tls else "offered" if listener.cert_path else "none",
            }
            for listener, sock in site.listeners()
        ]
        if not office.is_stopping()
        else [],
        "workers": workers,
        "totals": total,
        "certificates": certificates(site),
        "troubles": list(office.family.troubles),
        "traces": [
            {"user": trace.user, "path": trace.path, "until": trace.until, "limit": trace.limit}
            for trace in office.traces.values()
        ],
    }


def certificates(site: Site) -> list[dict[str, Any]]:
    """Those in use, and when they end."""
    return [{"path": pair.cert_path, "expires": found.expires} for pair, found in site.materials.items()]


REQUESTS: dict[str, Request] = {
    "ping": _ping,
    "who": partial(_sessions, "who"),
    "kick": partial(_sessions, "kick"),
    "explain": _explain,
    "trace": _trace,
    "status": _status,
    "penalties": penalty_requests.listed,
    "penalty-clear": penalty_requests.clear,
    "reload": _reload,
    "stop": _stop,
}
