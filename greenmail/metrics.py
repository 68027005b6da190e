"""What the server counts, for Prometheus. The only importer of prometheus_client.

Any layer may call the functions under "Counting"; they cost about a microsecond, never wait and never raise. Before
`start`, so in tests and on the command line, they do nothing.

Several processes count together through one directory of value files (prometheus_client's multiprocess mode). That
mode is fixed when prometheus_client is *imported*: too late means empty output without an error. Therefore the import
stands in `start`, behind the directory, and `start` refuses if someone was faster.

Value files are named by slot ("parent", "admin", "w0", "w1" ...), not by pid. When the process of a slot has ended the
parent calls `fold`: its counters are added to those of slot "dead", its gauges go away. Both ends of that take the
flock on `lock` in the directory, so no scrape sees a process twice or not at all, and no counter ever falls.
"""

import contextlib
import fcntl
import importlib
import itertools
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from greenmail import __version__
from greenmail.metrics_labels import KNOWN, LOGIN_RESULTS, TABLE
from greenmail.metrics_tally import Number, Tally, present

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_DEAD = "dead"
LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SIZES = {"counter": 1 << 18, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_livemax": 1 << 16}
_MAX_NAMES = 150  # distinct command names; the engines know fewer, so this is a net under their mistakes


def _client(part: str = "") -> Any:
    """prometheus_client or a module of it; imported when `start` has set the directory, see the module's docstring."""
    return importlib.import_module(f"prometheus_client.{part}" if part else "prometheus_client")


def _allocate(directory: Path, kind: str, slot: str) -> None:
    """Make a value file with all its blocks, for us alone to open for writing, and for the directory's group to read.

    The files are mapped; writing to a hole of a full file system would end the process with SIGBUS.
    """
    path = directory / f"{kind}_{slot}.db"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        os.fchmod(descriptor, 0o640)  # whatever the umask is: the admin process reads it as another user
        if os.geteuid() == 0:
            os.fchown(descriptor, -1, directory.stat().st_gid)  # no setgid directory: that takes CAP_FSETID
        if os.fstat(descriptor).st_size == 0:
            os.posix_fallocate(descriptor, 0, _SIZES[kind])
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


class _Board:
    """The metric objects of a started process, and their children by label values."""

    def __init__(self, directory: str, slot: str) -> None:
        client = _client()
        values = _client("values")
        self.directory = directory
        self.slot = slot
        values.ValueClass = values.MultiProcessValue(lambda: self.slot)
        self.objects: dict[str, Any] = {}
        self.children: dict[tuple[str, ...], Any] = {}
        self.tallies: dict[tuple[str, str, str], Tally | None] = {}  # protocol, command, result
        self.numbers: dict[tuple[str, ...], Number] = {}  # the children that only the event loop changes
        self.names: set[str] = set()
        for kind, attribute, name, text, labels in TABLE:
            match kind:
                case "counter":
                    made: Any = client.Counter(name, text, labels, registry=None)
                case "gauge":
                    made = client.Gauge(name, text, labels, registry=None, multiprocess_mode="livesum")
                case "setting":
                    made = client.Gauge(name, text, labels, registry=None, multiprocess_mode="livemax")
                case _:
                    buckets = _LAGS if kind == "lag" else LATENCIES
                    made = client.Histogram(name, text, labels, registry=None, buckets=buckets)
            self.objects[attribute] = made

    def child(self, attribute: str, *labels: str) -> Any:
        """The child of a metric object; made at its first use."""
        key = (attribute, *labels)
        child = self.children.get(key)
        if child is None:
            parent = self.objects[attribute]
            child = self.children[key] = parent.labels(*labels) if labels else parent
        return child

    def number(self, *key: str) -> Number:
        """The child with this key, for who changes it on the event loop alone; nobody else changes it."""
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = Number(self.child(*key))
        return number

    def name(self, name: str) -> str:
        """A label value for a command name: bounded, whatever a caller hands in."""
        if name in self.names:
            return name
        if not name or len(name) > 32 or not name.isascii() or len(self.names) >= _MAX_NAMES:
            return "other"
        self.names.add(name)
        return name


_board: _Board | None = None


# --- Processes: called by greenmail.net ------------------------------------------------------------------------------


def start(directory: str, slot: str = "parent") -> None:
    """Begin to count, into value files in `directory`, which must exist, be empty and be ours.

    Raises RuntimeError if prometheus_client was imported before.
    """
    global _board  # the one module global of conventions 2
    if _board is not None:
        raise RuntimeError("metrics were started before")
    if "prometheus_client" in sys.modules:
        raise RuntimeError(f"prometheus_client was imported before {_VARIABLE} was set: only greenmail.metrics may")
    os.environ[_VARIABLE] = directory
    for kind in _SIZES:
        _allocate(Path(directory), kind, slot)
    board = _board = _Board(directory, slot)
    lock = os.open(Path(directory, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    os.fchmod(lock, 0o644)  # flock(2) wants it open for reading only
    os.close(lock)
    for part in ("multiprocess", "exposition"):
        _client(part)  # before the fork, once for all
    for attribute, values in KNOWN:
        for labels in itertools.product(*values):
            board.child(attribute, *labels)
    board.child("memory", slot)
    board.child("started").set(time.time())
    board.child("build", __version__, platform.python_version()).set(1)


def expect(protocol: str, names: Iterable[str], results: tuple[str, ...]) -> None:
    """In the parent: the commands of a protocol, and how they may be answered; so they are on the page as 0, too."""
    if _board is not None:
        for name, result in itertools.product(names, results):
            _board.child("commands", protocol, _board.name(name), result)


def started() -> bool:
    """Whether this process counts."""
    return _board is not None


def prepare(slot: str) -> None:
    """In the parent before a fork: make the files of `slot`. Raises OSError if it cannot."""
    if _board is not None:
        for kind in _SIZES:
            _allocate(Path(_board.directory), kind, slot)


def use_slot(slot: str) -> None:
    """In a child right after the fork: count into the files of `slot`, or nothing at all if they were not made.

    Before it becomes another user: it keeps them open, and that user, who may have a shell here, cannot open them. The
    parent reads them, and could be made to read without end.
    """
    global _board  # as above
    if _board is None:
        return
    if not all(os.access(Path(_board.directory, f"{kind}_{slot}.db"), os.R_OK | os.W_OK) for kind in _SIZES):
        _board = None
        return
    _board.slot = slot
    _board.tallies.clear()
    _board.numbers.clear()
    # Opens all files of the new slot now.
    _board.child("restarts", "worker").inc(0)


@contextlib.contextmanager
def _locked(directory: str, wait: float) -> Iterator[bool]:
    """The flock between `fold` and `render`; False if it could not be had in `wait` seconds."""
    descriptor = os.open(Path(directory, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    yield False
                    return
                time.sleep(0.002)  # the holder only reads or writes a few small files
        yield True
    finally:
        os.close(descriptor)


def fold(slot: str) -> bool:
    """Add the counters of a slot whose process has ended to those of the dead, and remove its files.

    False if a scrape holds the directory: call again. A damaged file (its writer was killed) is left out. If somebody
    tidied up the directory the figures are lost, and nothing else.
    """
    if _board is None:
        return True
    directory = Path(_board.directory)
    try:
        with _locked(_board.directory, 0.0) as held:
            if not held:
                return False
            for kind in ("counter", "histogram"):
                _add_to_dead(directory, kind, slot)
            for source in directory.glob(f"gauge_*_{slot}.db"):
                source.unlink()
    except OSError:
        return True
    return True


def _add_to_dead(directory: Path, kind: str, slot: str) -> None:
    source = directory / f"{kind}_{slot}.db"
    if not source.exists():
        return
    maps = _client("mmap_dict").MmapedDict
    rows: dict[str, float] = {}
    try:
        for key, value, _, _ in maps.read_all_values_from_file(str(source)):
            if len(json.loads(key)) == 4:  # metric, sample, labels, help
                rows[key] = value
    except (RuntimeError, ValueError, TypeError, struct.error):
        pass  # its writer was killed in the middle of a record: what stands before it is good
    try:
        _allocate(directory, kind, _DEAD)
    except OSError:
        return  # no space: the file stays, and the next process of this slot goes on with its counters
    sums = maps(str(directory / f"{kind}_{_DEAD}.db"))
    for key, value in rows.items():
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()
    source.unlink()


def render(accept: str = "") -> tuple[bytes, str]:
    """The page of /metrics and its content type. In the admin process."""
    if _board is None:
        return b"", "text/plain"
    registry = _client().CollectorRegistry()
    _client("multiprocess").MultiProcessCollector(registry, _board.directory)
    encoder, content_type = _client("exposition").choose_encoder(accept)
    with _locked(_board.directory, 2.0):
        return encoder(registry), content_type


def resident_memory(octets: int) -> None:
    """What this process takes."""
    if _board is not None:
        _board.child("memory", _board.slot).set(octets)


def summary() -> dict[str, Any]:
    """What this process has counted since its start, for `greenmail status`: see `net.rates`."""
    board = _board
    if board is None:
        nothing = dict.fromkeys(("commands", "logins", "failed_logins", "received", "sent", "watches", "polled"), 0.0)
        return {**nothing, "buckets": []}
    sums = dict.fromkeys(("commands", "received", "sent", "watches", "polled"), 0.0)
    logins = {"ok": 0.0, "failed": 0.0}
    buckets = [0.0] * (len(LATENCIES) + 1)
    for (attribute, *labels), child in list(board.children.items()):
        if attribute in sums:
            sums[attribute] += present(child._value)
        elif attribute == "logins" and labels[1] in logins:
            logins[labels[1]] += present(child._value)
        elif attribute == "seconds" and labels[1] != "IDLE":
            for place, bucket in enumerate(child._buckets):
                buckets[place] += present(bucket)
    return {**sums, "logins": logins["ok"], "failed_logins": logins["failed"], "buckets": buckets}


# --- Counting: called by anyone --------------------------------------------------------------------------------------


def connection_opened(protocol: str, tls: bool) -> None:
    """A client was accepted; `tls` says whether the port is for implicit TLS."""
    if _board is not None:
        _board.number("connections", protocol, "yes" if tls else "no").add(1)
        _board.number("open", protocol).add(1)


def connection_closed(protocol: str, received: int, sent: int) -> None:
    """A client went away; `received` and `sent` are what was not reported yet, see `octets`."""
    if _board is not None:
        _board.number("open", protocol).add(-1)
        octets(protocol, received, sent)


def octets(protocol: str, received: int, sent: int) -> None:
    """Octets since the last report of the same connection."""
    if _board is not None:
        if received:
            _board.number("received", protocol).add(received)
        if sent:
            _board.number("sent", protocol).add(sent)


def ban() -> None:
    """An address was banned."""
    if _board is not None:
        _board.child("bans").inc()


def refused(protocol: str, limit: str) -> None:
    """A limit turned a client away: one of LIMITS in `metrics_labels`, or "login-delay"."""
    if _board is not None:
        _board.child("refused", protocol, limit).inc()


def uidl_changed() -> None:
    """Messages have other unique ids in POP3 than they had before."""
    if _board is not None:
        _board.child("uidl_changes").inc()


def handshake(protocol: str, result: str) -> None:
    """A TLS handshake ended: "ok", "timeout", "failed" or "closed"."""
    if _board is not None:
        _board.child("handshakes", protocol, result).inc()


def login(protocol: str, result: str) -> None:
    """An attempt to log in ended, with one of LOGIN_RESULTS."""
    if _board is not None:
        _board.number("logins", protocol, result if result in LOGIN_RESULTS else "failed").add(1)


def command(protocol: str, name: str, result: str, seconds: float) -> None:
    """A command was answered. `name` is a known command in upper case, or "" for one that is not;

    `result` is "ok", "no" or "bad" (IMAP), "ok" or "err" (POP3).
    """
    if _board is None:
        return
    key = (protocol, _board.name(name), result)
    tally = _board.tallies.get(key)
    if tally is None:
        counter, histogram = _board.child("commands", *key), _board.child("seconds", *key[:2])
        if key not in _board.tallies:
            tally = _board.tallies[key] = Tally.of(counter, histogram)
        if tally is None:
            counter.inc()
            histogram.observe(seconds)
            return
    tally.add(seconds)


def idle(change: int) -> None:
    """A session began (+1) or ended (-1) to wait for news."""
    if _board is not None:
        _board.child("idle").inc(change)


def watches(number: int) -> None:
    """How many paths this worker watches."""
    if _board is not None:
        _board.child("watches").set(number)


def polled(number: int) -> None:
    """How many mailboxes this worker looks at by time."""
    if _board is not None:
        _board.child("polled").set(number)


def watch_fallback(reason: str) -> None:
    """A watch could not be had or was lost: "limit", "unsupported", "error", "overflow"."""
    if _board is not None:
        _board.child("fallbacks", reason).inc()


def degraded(what: str, file_systems: int) -> None:
    """So many file systems are known to lack something: "no-events", "whole-second-times"."""
    if _board is not None:
        _board.child("degraded", what).set(file_systems)


def pool_tasks(pool: str, waiting: int, busy: int) -> None:
    """How many tasks of this worker wait for a thread of `pool`, and how many threads are at work."""
    if _board is not None:
        _board.number("queue", pool).put(waiting)
        _board.number("busy", pool).put(busy)


def pool_wait(pool: str, seconds: float) -> None:
    """How long a task waited for a thread of `pool`."""
    if _board is not None:
        _board.child("wait", pool).observe(seconds)


def pool_size(number: int) -> None:
    """`worker-pool-size`, as it is."""
    if _board is not None:
        _board.child("pool_size").set(number)


def hub_lag(seconds: float) -> None:
    """How late a timer of this worker's event loop ran."""
    if _board is not None:
        _board.child("lag").observe(seconds)


def index_rebuild(reason: str) -> None:
    """A mailbox index was made anew: "missing", "damaged", "foreign"; one of few words."""
    if _board is not None:
        _board.child("rebuilds", reason).inc()


def opened(messages: int) -> None:
    """So many messages are opened for BODY and TEXT."""
    if _board is not None:
        _board.child("opened").inc(messages)


def text_search(has_index: bool) -> None:
    """A command looks for BODY or TEXT in more than a few messages."""
    if _board is not None:
        _board.child("text_searches", "yes" if has_index else "no").inc()


def full_text(size: int, lag: int, queue: int) -> None:
    """What is filled here: octets on disk, messages still to come of one mailbox, and mailboxes that wait."""
    if _board is not None:
        _board.child("text_octets").set(size)
        _board.child("text_lag").set(lag)
        _board.child("text_queue").set(queue)


def process_restart(process: str) -> None:
    """A "worker" or "admin" process ended unasked."""
    if _board is not None:
        _board.child("restarts", process).inc()


def register_timeout() -> None:
    """The register did not answer; the login went on."""
    if _board is not None:
        _board.child("unregistered").inc()


def certificate_expiry(path: str, timestamp: float) -> None:
    """When the certificate at `path` ends, in seconds since 1970; infinity if it is not in use any more."""
    if _board is not None:
        _board.child("expiry", path).set(timestamp)
