"""The parent's children: forking them, hearing from them, ending them."""

import gc
import json
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gevent._hub_local import get_hub_if_exists  # gevent has no public way to ask without making one

from greenmail import metrics
from greenmail.auth import scram_keys
from greenmail.auth.penalties import BanRule
from greenmail.net import admin, children, register, tls, verifier, worker
from greenmail.net.asking import Asking
from greenmail.net.guard import Gatekeeper
from greenmail.net.overview import SAMPLES
from greenmail.net.server import SLOTS, Board
from greenmail.net.site import Site

log = logging.getLogger(__name__)

FIRST_DELAY = 0.1  # seconds until a child that ended unasked is started again; doubles
LONGEST_DELAY = 30.0
NO_ROOM_DELAY = 2.0
IDLE_GRACE = 5.0  # seconds that a process without sessions has to end
GOOD_LIFE = 30.0  # seconds after which a child's end is not its start's fault
STUCK = 60.0  # seconds without an answer of a worker's threads after which it is not well
SILENT = 15.0  # seconds without a sign of life after which a worker does not count as healthy
_LOOK = 5.0
_TROUBLES = 50
_PART = 20_000  # characters, each of which may become several octets of JSON within JSON
_QUIET = frozenset({"login", "logout", "poll", "unpoll", "wrong", "right"})  # said for each session, and done at once
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Kind(Enum):
    """What a child does."""

    WORKER = "worker"
    ADMIN = "admin"
    VERIFIER = "verifier"
    OWNER = "owner"  # of mail of another uid


@dataclass(slots=True, eq=False)
class Child:
    """A living child."""

    kind: Kind
    slot: int
    pid: int
    control: socket.socket
    generation: int
    since: float
    heard: float
    disk: float = 0.0  # when a thread of its pool, which reads and writes mail, last answered it
    ready: bool = False
    leaving: bool = False
    retires: bool = False  # leaving, but without haste: it may still be given sessions
    kill_at: float | None = None
    identity: children.Identity | None = None  # of an OWNER
    carried: int = 0  # sessions that were passed on to an OWNER
    lacks: dict[tls.Pair, tls.Material] = field(default_factory=dict)  # renewed certificates not yet sent to it
    told: tuple[int, int] = (-1, -1)  # an admin process: the health it knows of
    samples: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=SAMPLES))  # a worker's figures

    @property
    def name(self) -> str:
        """Of its value files."""
        return f"{self.kind.value}{self.slot}"


class Family:
    """All living children, of the present configuration and of the ones before."""

    def __init__(self, per_user: int, ban_rule: BanRule) -> None:
        self.children: dict[int, Child] = {}
        self.generation = 1
        self.carry: Callable[[Child, dict[str, Any], int], str] = _cannot_carry  # of the supervisor; why it cannot
        self.foreign: list[Any] = []  # the parent's own, to be closed in a child
        self.board = Board()
        self._secret = scram_keys.machine_secret()
        self.register = register.Register(per_user)
        self.gatekeeper = Gatekeeper(ban_rule)
        self.asking = Asking()
        self.troubles: deque[dict[str, str]] = deque(maxlen=_TROUBLES)  # last warnings and errors of all
        self.born: Callable[[Child], None] = _nothing  # told of each child that is ready
        self._previous = 0
        self._newest = 1
        self._unfolded: dict[int, str] = {}
        self._is_stirred = False
        self._came: list[int] = []  # descriptors that came with the message that is heard now
        self._delays = dict.fromkeys(Kind, FIRST_DELAY)
        self._not_before = dict.fromkeys(Kind, 0.0)

    # --- birth ---

    def missing(self, site: Site, now: float) -> list[Kind]:
        """What is to be forked now."""
        wanted = self._wanted(site)
        return [kind for kind in Kind if now >= self._not_before[kind] for _ in range(wanted[kind] - self._here(kind))]

    def fork(
        self,
        kind: Kind,
        site: Site,
        old: Site | None,
        identity: children.Identity | None = None,
        generation: int | None = None,
    ) -> Child | None:
        """A new child, of the present generation if no other is named; None if the system has no room for it now.

        `old` is what a reload is about to leave behind: its sockets are not for new children.
        """
        _assert_alone()
        slot = next((slot for slot in range(SLOTS) if slot not in self._taken()), None)
        if slot is None:
            self._no_room(kind, "too many old processes still drain")
            return None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            self._no_room(kind, error.strerror)
            return None
        now = time.monotonic()
        generation = self.generation if generation is None else generation
        unborn = Child(kind, slot, os.getpid(), ours, generation, now, now, identity=identity)
        try:
            metrics.prepare(unborn.name)
        except OSError as error:
            log.error("figures-off process=%s reason=%r", unborn.name, error.strerror)
        gc.collect()
        gc.freeze()  # the children share these pages as long as no collector writes to them
        # A signal for the child must not meet the parent's handlers, which it has until it has its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            self._no_room(kind, error.strerror)
            return None
        else:
            if pid == 0:
                self._live(unborn, theirs, site, _unwanted(kind, site, old))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
            theirs.close()
        ours.setblocking(False)
        child = self.children[pid] = Child(kind, slot, pid, ours, generation, now, now, now, identity=identity)
        log.info("fork kind=%s pid=%d%s", kind.value, pid, f" uid={identity.uid}" if identity is not None else "")
        return child

    def _taken(self) -> set[int]:
        return {child.slot for child in self.children.values()} | set(self._unfolded)

    def _no_room(self, kind: Kind, why: str | None) -> None:
        log.error("fork-failed kind=%s reason=%r", kind.value, why)
        self._not_before[kind] = time.monotonic() + NO_ROOM_DELAY

    def _live(self, child: Child, control: socket.socket, site: Site, unwanted: list[socket.socket]) -> None:
        """In the child; never comes back. `child.pid` is the parent's here."""
        status = 1
        try:
            foreign = [*self.foreign, child.control, *(other.control for other in self.children.values())]
            identity = children.present() if child.kind is Kind.VERIFIER else child.identity or site.identity
            metrics.use_slot(child.name)  # as long as this process is who made the files
            children.settle(child.name, identity, child.pid, [*foreign, *unwanted])
            for descriptor in self._came:  # of a session that is sent to this process in a moment
                os.close(descriptor)
            if child.kind is Kind.ADMIN:
                assert site.metrics_socket is not None
                status = admin.run(site.metrics_socket, control, site.status_token)
            elif child.kind is Kind.VERIFIER:
                assert site.pam is not None
                status = verifier.run(site.config, site.pam.verifier, control)
            else:
                shared = (site.listeners(), site.contexts, self.board, self._secret, site.database_secrets)
                pam = site.pam.worker if site.pam is not None else None
                known = self.gatekeeper.known()
                plan = worker.Plan(site.config, child.slot, control, *shared, pam, site.auth_socket, known)
                if child.kind is Kind.OWNER:
                    plan = worker.Plan(site.config, child.slot, control, (), {}, Board(), self._secret, is_owner=True)
                status = worker.run(plan)
        except BaseException:
            log.exception("bug in a process of kind %s", child.kind.value)
        finally:
            os._exit(status)

    # --- life ---

    def read(self, child: Child) -> bool:
        """Take what a child says, and answer; False at the end of the stream."""
        for _ in range(64):
            try:
                data, descriptors, _, _ = socket.recv_fds(child.control, register.LARGEST, 1)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            child.heard = time.monotonic()
            self._came = descriptors
            try:
                self._hear(child, register.decode(data), descriptors)
            except Exception:  # whatever a child says, the parent goes on
                log.error("bug message-from pid=%d data=%r", child.pid, data[:200])
            finally:
                self._came = []
                for descriptor in descriptors:
                    os.close(descriptor)
        return True

    def take_stir(self) -> bool:
        """Whether somebody said, since the last call, what may leave the parent something to do."""
        stirred, self._is_stirred = self._is_stirred, False
        return stirred

    def _hear(self, child: Child, message: dict[str, Any], descriptors: list[int]) -> None:
        self._is_stirred = self._is_stirred or message["op"] not in _QUIET
        match message["op"]:
            case "ready":
                child.ready = True
                self.born(child)
            case "alive":
                child.disk = child.heard - float(message.get("pool", 0.0))
                self._take_figures(child, message.get("figures"))
            case "wrong" | "right":
                for told in self.gatekeeper.hear(message):
                    self.tell_workers(told)
            case "carry":
                denied = "only workers pass sessions on"
                if child.kind is Kind.WORKER:  # not one that reads a user's mail, and may be in that user's hands
                    denied = self.carry(child, message, descriptors[0]) if descriptors else "without a socket"
                _tell(child, {"n": message["n"], **({"deny": denied} if denied else {})})
            case "nobody-here":
                if message["hosted"] == child.carried:
                    self.end([child], IDLE_GRACE)
            case "told":
                self.asking.told(child.pid, message)
            case _:
                answer = self.register.handle(child.pid, message)
                if answer is not None:
                    _tell(child, answer)

    def owner(self, identity: children.Identity, generation: int) -> Child | None:
        """The process of this generation that has the mail of a uid, if there is one that goes on."""
        for child in self.children.values():
            goes_on = child.retires or not child.leaving
            if goes_on and (child.kind, child.identity, child.generation) == (Kind.OWNER, identity, generation):
                return child
        return None

    def owners(self) -> int:
        """How many there are, those that leave included; not those whom a reload has replaced, or it would lock out."""
        return sum(child.kind is Kind.OWNER and not child.retires for child in self.children.values())

    def _take_figures(self, child: Child, figures: dict[str, Any] | None) -> None:
        if figures is None:
            return
        self.troubled(figures.pop("troubles"), child.pid)
        child.samples.append(figures)

    def troubled(self, lines: Iterable[dict[str, str]], pid: int) -> None:
        """A process has logged warnings or errors."""
        self.troubles += [{**line, "pid": str(pid)} for line in lines]

    def workers(self) -> list[Child]:
        """All workers, also those that leave."""
        return [child for child in self.children.values() if child.kind in (Kind.WORKER, Kind.OWNER)]

    def tell_workers(self, message: dict[str, Any]) -> None:
        """What all of them are to know, those that drain included."""
        for child in self.workers():
            _tell(child, message)

    def complete(self, site: Site) -> bool:
        """Whether all children of the present generation are ready."""
        ready = [child.kind for child in self._present() if child.ready]
        return all(ready.count(kind) >= number for kind, number in self._wanted(site).items())

    def tell_status(self, status: dict[str, Any]) -> None:
        """Tell the admin processes what the status page shows; in parts, since a message has a largest size."""
        text = json.dumps(status)
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        for child in self.children.values():
            if child.kind is Kind.ADMIN and child.ready and not child.leaving:
                for number, part in enumerate(parts):
                    _tell(child, {"op": "status", "part": number, "of": len(parts), "text": part})

    def tell_health(self, site: Site) -> None:
        """Tell the admin processes how many workers answer, if that has changed."""
        now = time.monotonic()
        workers = [child for child in self.children.values() if child.kind is Kind.WORKER and not child.leaving]
        healthy = sum(child.ready and now - child.heard < SILENT for child in workers)
        state = (healthy, site.config.processes)
        for child in self.children.values():
            if child.kind is Kind.ADMIN and child.ready and child.told != state:
                child.told = state
                _tell(child, {"op": "health", "ready": state[0], "wanted": state[1]})

    def is_well(self, now: float) -> bool:
        """Whether there is a worker whose event loop and threads answer, or one that was born a moment ago."""
        workers = [child for child in self.children.values() if child.kind is Kind.WORKER]
        return any(now - child.heard < SILENT and now - child.disk < STUCK for child in workers)

    def hand_out(self, material: tls.Material) -> None:
        """Send a renewed certificate with its key to every worker."""
        for child in self.children.values():
            if child.kind is Kind.WORKER:
                child.lacks[material.pair] = material
        self.hand_out_late()

    def hand_out_late(self) -> None:
        """Send what a worker could not be sent before: it would go on with a certificate that ends."""
        for child in self.children.values():
            for pair, material in list(child.lacks.items()):
                data = register.encode({"op": "certificate", "cert": pair.cert_path, "key": pair.key_path})
                try:
                    with tls.in_memory(material) as descriptors:
                        socket.send_fds(child.control, [data], descriptors)
                except OSError as error:
                    log.warning("certificate-not-sent pid=%d reason=%s", child.pid, error.strerror)
                    continue
                del child.lacks[pair]

    # --- generations ---

    def next_generation(self, per_user: int, ban_rule: BanRule) -> None:
        """From now on children of a new configuration are forked."""
        self.register.per_user = per_user
        self.gatekeeper.penalties.rule = ban_rule
        self._previous = self.generation
        self._newest += 1
        self.generation = self._newest
        self._delays = dict.fromkeys(Kind, FIRST_DELAY)
        self._not_before = dict.fromkeys(Kind, 0.0)

    def back(self) -> list[Child]:
        """Return to the generation before; the children of the one that did not work."""
        failed = self._present()
        self.generation = self._previous
        return failed

    def outdated(self) -> list[Child]:
        """Children of earlier generations that were not told to go yet."""
        return [child for child in self.children.values() if child.generation != self.generation and not child.leaving]

    # --- death ---

    def end(self, leaving: Iterable[Child], seconds: float) -> None:
        """Tell children to drain and end; after `seconds` they are killed."""
        for child in list(leaving):
            child.leaving, child.retires = True, False
            child.kill_at = time.monotonic() + seconds
            _kill(child, signal.SIGTERM)

    def retire(self, leaving: Iterable[Child], seconds: float) -> None:
        """Tell children whom others have replaced that their sessions are to end when they are quiet."""
        for child in list(leaving):
            if child.kind not in (Kind.WORKER, Kind.OWNER) or not _tell(child, {"op": "retire"}):
                self.end([child], seconds)
                continue
            child.leaving = child.retires = True
            child.kill_at = time.monotonic() + seconds

    def kill_late(self, now: float) -> None:
        """Kill who was told to go and is still there after its time."""
        for child in self.children.values():
            if child.kill_at is not None and now >= child.kill_at:
                log.warning("killed pid=%d", child.pid)
                child.kill_at = None
                _kill(child, signal.SIGKILL)

    def kill_all(self) -> None:
        """End everybody at once."""
        for child in self.children.values():
            child.leaving = True
            _kill(child, signal.SIGKILL)

    def reap(self) -> list[tuple[Child, int]]:
        """Children that have ended, with their wait status; their sessions and connections are forgotten."""
        found: list[tuple[Child, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            child = self.children.pop(pid, None)
            if child is None:
                continue
            self.register.release(pid)
            self.asking.gone(pid)
            self.board.put(child.slot, 0)
            self._unfolded[child.slot] = child.name
            if not child.leaving:
                self._postpone(child)
            found.append((child, status))

    def fold(self) -> None:
        """Keep the counters of the dead; a slot is free again when that is done."""
        for slot, name in list(self._unfolded.items()):
            if metrics.fold(name):
                del self._unfolded[slot]

    def pause(self, now: float, site: Site, stopping: bool) -> float:
        """How long there is nothing to do."""
        due = [now + _LOOK, *self.asking.due()]
        due += [child.kill_at for child in self.children.values() if child.kill_at is not None]
        if self._unfolded:
            due.append(now + 0.05)
        if not stopping:
            wanted = self._wanted(site)
            due += [self._not_before[kind] for kind in Kind if self._here(kind) < wanted[kind]]
        return max(0.0, min(due) - now)

    def _postpone(self, child: Child) -> None:
        now = time.monotonic()
        if now - child.since >= GOOD_LIFE:
            self._delays[child.kind] = FIRST_DELAY
        self._not_before[child.kind] = now + self._delays[child.kind]
        self._delays[child.kind] = min(LONGEST_DELAY, self._delays[child.kind] * 2)

    def _present(self) -> list[Child]:
        return [child for child in self.children.values() if child.generation == self.generation and not child.leaving]

    def _here(self, kind: Kind) -> int:
        return sum(child.kind is kind for child in self._present())

    @staticmethod
    def _wanted(site: Site) -> dict[Kind, int]:
        return {
            Kind.WORKER: site.config.processes,
            Kind.ADMIN: int(site.metrics_socket is not None),
            Kind.VERIFIER: int(site.pam is not None),
            Kind.OWNER: 0,  # forked when they are needed
        }


def _nothing(child: Child) -> None:
    return None


def _cannot_carry(child: Child, message: dict[str, Any], descriptor: int) -> str:
    return "no sessions are carried"


def _unwanted(kind: Kind, site: Site, old: Site | None) -> list[socket.socket]:
    """Listening sockets that a child of this kind must not have.

    A port that everybody else closes would stay open in it, with a queue of clients that nobody answers.
    """
    own: list[Any] = [*site.sockets.values(), site.auth_socket] if kind is Kind.WORKER else []
    if kind is Kind.ADMIN:
        own.append(site.metrics_socket)
    if site.pam is not None:
        own += {Kind.WORKER: [site.pam.worker], Kind.VERIFIER: [site.pam.verifier]}.get(kind, [])
    every = [*site.all_sockets(), *(old.all_sockets() if old is not None else [])]
    every += [end for one in (site, old) if one is not None and one.pam is not None for end in one.pam.ends]
    return [sock for sock in every if not any(sock is kept for kept in own)]


def _assert_alone() -> None:
    """What runs beside the main thread, or in an event loop, would be torn apart by a fork or run on in the child."""
    has_hub: Any = get_hub_if_exists  # without type hints
    if has_hub() is not None or len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("the parent process must have no event loop and no thread")


def _tell(child: Child, message: dict[str, Any]) -> bool:
    try:
        child.control.send(register.encode(message))
    except OSError as error:  # it ended, or does not read: then it will not miss the answer
        log.debug("not-told pid=%d reason=%s", child.pid, error)
        return False
    return True


def _kill(child: Child, number: signal.Signals) -> None:
    try:
        os.kill(child.pid, number)
    except ProcessLookupError:
        return  # not reaped yet, or it would not be in the list
