"""What changed in a worker from one sample of its figures to a later one: rates, and how long commands took."""

from collections.abc import Mapping, Sequence
from typing import Any

RATES = ("commands", "logins", "failed_logins", "received", "sent")
PARTS = (50, 95, 99)


def between(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """Of one worker: each of RATES by the second, the part of a core it used, and counts of commands by bucket."""
    seconds = last["at"] - first["at"]
    if seconds <= 0:
        return {**dict.fromkeys(RATES, 0.0), "cpu": 0.0, "buckets": []}
    found: dict[str, Any] = {name: max(0.0, (last[name] - first[name]) / seconds) for name in RATES}
    found["cpu"] = max(0.0, (last["cpu"] - first["cpu"]) / seconds)
    before = first["buckets"] or [0.0] * len(last["buckets"])
    found["buckets"] = [max(0.0, late - early) for late, early in zip(last["buckets"], before, strict=False)]
    return found


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of what `between` gave for several workers."""
    found: dict[str, Any] = {name: sum(part[name] for part in parts) for name in (*RATES, "cpu")}
    lists = [part["buckets"] for part in parts if part["buckets"]]
    found["buckets"] = [sum(column) for column in zip(*lists, strict=False)]
    return found


def latencies(bounds: Sequence[float], buckets: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99 in seconds, by counts of commands below each of `bounds` and above the last; None: no commands.

    Within a bucket commands are taken to be spread evenly; above the last bound it is that bound.
    """
    total = sum(buckets)
    found: dict[str, float | None] = {}
    for part in PARTS:
        found[f"p{part}"] = _quantile(bounds, buckets, total * part / 100) if total else None
    return found


def _quantile(bounds: Sequence[float], buckets: Sequence[float], wanted: float) -> float:
    seen, low = 0.0, 0.0
    for bound, count in zip(bounds, buckets, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * (wanted - seen) / count
        seen += count
        low = bound
    return low
