"""What all workers together do, by the figures that each of them told last: `greenmail status` and the status page."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from greenmail.metrics import LATENCIES
from greenmail.net import rates

SAMPLES = 13  # kept of each worker: one every 5 s, so a minute lies between the first and the last


class Seen(Protocol):
    """A worker as the parent, or the admin process, knows it."""

    pid: int
    slot: int
    generation: int
    since: float  # by the monotonic clock
    heard: float
    ready: bool
    leaving: bool
    samples: Any  # a deque of `figures.Figures.sample`


def worker(child: Seen, now: float) -> dict[str, Any]:
    """One worker, by what it said last."""
    found: dict[str, Any] = {
        "pid": child.pid,
        "slot": child.slot,
        "generation": child.generation,
        "age": now - child.since,
        "silent": now - child.heard,
        "ready": child.ready,
        "leaving": child.leaving,
    }
    if child.samples:
        last = child.samples[-1]
        minute = rates.between(child.samples[0], last)
        found["minute"] = {**minute, **rates.latencies(LATENCIES, minute["buckets"])}
        latest = rates.between(child.samples[-2], last) if len(child.samples) > 1 else minute
        found["latest"] = {**latest, **rates.latencies(LATENCIES, latest["buckets"])}
        found["now"] = {key: value for key, value in last.items() if key not in ("at", "buckets", "troubles")}
    return found


def totals(workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all workers that have said something."""
    spoken = [worker for worker in workers if "now" in worker]
    found: dict[str, Any] = {
        name: sum(worker["now"][name] for worker in spoken)
        for name in ("connections", "idle", "memory", "watches", "polled")
    }
    found["sessions"] = {
        protocol: sum(worker["now"]["sessions"].get(protocol, 0) for worker in spoken) for protocol in ("imap", "pop3")
    }
    found["cache"] = {
        name: sum(worker["now"]["cache"][name] for worker in spoken) for name in ("octets", "limit", "used", "warm")
    }
    for span in ("minute", "latest"):
        together = rates.together([worker[span] for worker in spoken])
        found[span] = {**together, **rates.latencies(LATENCIES, together["buckets"])}
    users: dict[str, list[float]] = {}
    for worker in spoken:
        for user, commands, seconds, computed, slowest in worker["now"]["users"]:
            values = users.setdefault(user, [0, 0.0, 0.0, 0.0])
            values[:] = values[0] + commands, values[1] + seconds, values[2] + computed, max(values[3], slowest)
    found["busiest"] = [
        {"user": user, "commands": values[0], "seconds": values[1], "computed": values[2], "slowest": values[3]}
        for user, values in sorted(users.items(), key=lambda item: -item[1][2])[:20]
    ]
    return found
