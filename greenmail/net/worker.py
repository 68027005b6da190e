"""A worker process: accepts, serves, and ends when it is told to or when its parent is gone."""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import itertools
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gevent
import gevent.socket
from gevent import get_hub
from gevent.event import Event

from greenmail import log as logs
from greenmail.auth.admission import Databases, Rules
from greenmail.auth.api import Secret
from greenmail.auth.app_passwords import AppPasswords, Uses
from greenmail.auth.authenticator import PasswordAuthenticator
from greenmail.auth.cache import FailureCache, SuccessCache
from greenmail.auth.gate import Gate
from greenmail.config import Config
from greenmail.config_tables import Listener
from greenmail.fulltext.service import FullTextService, Means
from greenmail.net import (
    accounts,
    auth_socket,
    client_certificates,
    databases,
    engines,
    guard,
    hosted,
    imap_conn,
    pop3_conn,
    register,
    tls,
    tokens,
    verifier,
)
from greenmail.net.auth_socket import AuthSocket
from greenmail.net.carrier import OwnersCarrier
from greenmail.net.desk import Desk
from greenmail.net.figures import Figures
from greenmail.net.others import OtherUsers
from greenmail.net.owners import Owners
from greenmail.net.server import Acceptor, Board, Connections, Crowds, Service
from greenmail.net.shared import Shared
from greenmail.net.stream import Stream
from greenmail.net.watch import SessionWatch, Watcher
from greenmail.net.watch_places import SessionPlaces, SharedPlaces
from greenmail.net.work import Pool, Work
from greenmail.storage.maildir_store import MaildirStore
from greenmail.transcript import Traces

log = logging.getLogger(__name__)

_CONNECTIONS: Mapping[str, Any] = {"imap": imap_conn, "pop3": pop3_conn}
_green: Any = gevent.socket  # whose names are made at run time

ADDRESSES = 1000  # of clients, for which answers are kept
ALIVE_EVERY = 5.0  # seconds between signs of life for the parent
EMPTY = 0.2  # seconds between two words to the parent that nobody is here, when it has retired
PARK_EVERY = 0.5  # seconds between looks for mailboxes that can be parked
QUIET = 2.0  # seconds without anything after which a session sleeps
REPORT_EVERY = 5.0  # seconds between figures of connections that stay open
RETIRE = 2 / 3  # of `stop-grace`, which sessions have to come to an end by themselves when a new worker takes over
GIVE_UP = 2.0  # seconds behind `stop-grace` after which the kernel ends a worker that does not


@dataclass(frozen=True, slots=True)
class Plan:
    """What the parent hands to a worker at the fork."""

    config: Config
    slot: int
    control: socket.socket  # to the parent
    listeners: Sequence[tuple[Listener, socket.socket]]
    contexts: Mapping[tls.Pair, Any]
    board: Board
    secret: bytes  # for what all workers are to say of users who are not there
    database_secrets: Mapping[str, Secret] = field(default_factory=dict)  # see `databases`
    pam: socket.socket | None = None  # to the process that asks it
    auth_socket: socket.socket | None = None  # where Postfix asks about SMTP AUTH
    tolls: Sequence[Mapping[str, Any]] = ()  # see `guard`
    is_owner: bool = False  # of mail of another uid: sessions come from other workers


def run(plan: Plan) -> int:
    """Serve until the end; the exit status. After `children.settle`."""
    return _Worker(plan).serve()


class _Worker:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        config = plan.config
        self._stop: Any = Event()
        self._stop_by = math.inf  # when it is over, if this worker has retired
        # Before the handler: a signal amid the making of the event loop would make a second one, and be lost in it.
        self._loop = get_hub().loop
        signal.signal(signal.SIGTERM, self._terminate)
        self._control = _green.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=os.dup(plan.control.fileno()))
        plan.control.close()
        self._register = register.RegisterClient(self._control)
        self._guard = guard.Guard(
            self._register.say,
            _kept(config.pays_no_penalty),
            plan.secret,
            plan.tolls,
            config.turns(),
        )
        self._work = Work(config.worker_pool_size)
        self._watcher = Watcher(config.poll_interval)
        self._places = SharedPlaces(self._watcher)
        self._compressed: set[Stream] = set()
        crowds = Crowds(config.max_connections_per_address, _kept(config.is_exempt))
        self._connections = Connections(plan.board, plan.slot, config.max_connections, crowds)
        self._pool_answered = time.monotonic()
        self._hosted = 0  # sessions that came from other workers
        self._traces = Traces()
        self._numbers = itertools.count(1)
        self._prefix = f"{plan.slot:x}{int(time.time() * 1000) & 0xFFFFFFF:07x}"
        self._identities = client_certificates.Identities(config, self._work.runtime.blocking)
        self._engines = self._make_engines()
        self._figures = Figures(self._connections, self._store, self._work.clock, logs.keep_recent())
        self._connections.closed = self._figures.closed
        self._desk = Desk(self._connections, self._traces, self._work.clock, self._register.say)
        self._acceptors: list[Acceptor | AuthSocket] = [
            Acceptor(sock, self._service(listener), self._connections) for listener, sock in plan.listeners
        ]
        if plan.auth_socket is not None:
            most = config.max_auth_socket_connections
            self._acceptors.append(AuthSocket(plan.auth_socket, self._engines["smtp"], plan.slot, most))

    def serve(self) -> int:
        """Accept and wait for the end."""
        gevent.spawn(self._listen_to_parent)
        for acceptor in self._acceptors:
            acceptor.start()
        self._register.say({"op": "ready"})
        gevent.spawn(self._ask_pool)
        gevent.spawn(self._show_life)
        gevent.spawn(self._park)
        if self._plan.is_owner:
            gevent.spawn(self._end_when_idle)
        self._stop.wait()
        self._close()
        gevent.sleep(0.01)  # what was accepted a moment ago begins, so that it is told to go, too
        self._connections.drain()
        left = max(0.0, min(self._plan.config.stop_grace, self._stop_by - time.monotonic()))
        if not self._connections.none_left.wait(left):
            log.warning("stop-grace-over sessions=%d", len(self._connections))
        self._connections.report(self._work.clock)
        # No stop of threads and green threads: one that holds a lock must not be killed halfway, and the end of the
        # process is as safe as a crash.
        return 0

    def _close(self) -> None:
        """Accept nobody any more."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors = []

    def _retire(self) -> None:
        """Others have taken over: end without haste, and an owner's process when the parent has no more for it."""
        grace = self._plan.config.stop_grace
        now = time.monotonic()
        self._stop_by, end = now + grace, now + grace * RETIRE
        signal.setitimer(signal.ITIMER_REAL, grace + GIVE_UP)
        self._close()
        gevent.sleep(0.01)  # as above
        self._connections.retire(end - time.monotonic())
        while self._plan.is_owner and not len(self._connections) and time.monotonic() < end:
            self._register.say({"op": "nobody-here", "hosted": self._hosted})
            gevent.sleep(EMPTY)
            self._connections.retire(end - time.monotonic())
        self._stop.set()

    def _make_engines(self) -> dict[str, Any]:
        config, runtime = self._plan.config, self._work.runtime
        opened = Databases() if self._plan.is_owner else databases.open_all(config, self._database_means())
        for path in () if self._plan.is_owner else databases.unreadable(config):
            log.error("passwd-file path=%r cannot be read by uid=%d: nobody can log in", path, os.getuid())
        rules = Rules(
            config.username_format,
            config.default_domain,
            config.allow_weak_schemes,
            master_separator=config.master_separator,
            lowest_uid=config.owner_lowest_uid if config.owner_processes else None,
            secret=self._plan.secret,
            anonymous_user="" if self._plan.is_owner else config.anonymous_user,
        )
        gate = Gate(config.max_waiting_logins, config.max_waiting_logins_per_address)
        verify = tokens.verifier(config, self._work.clock)
        size = config.auth_cache_size
        authenticator = PasswordAuthenticator(
            opened,
            rules,
            self._work.passwords.run,
            SuccessCache(config.auth_cache_ttl, size),
            gate,
            tokens=verify,
            app_passwords=self._app_passwords(config),
            failures=FailureCache(config.auth_cache_negative_ttl, size),
        )
        store = self._store = MaildirStore(runtime, config.cache_memory)
        owners = Owners(opened.users, self._work.passwords.run, runtime.blocking, opened.places)
        full_text = FullTextService(Means(runtime, Pool("text", 1, self._work.clock).run, gevent.spawn))
        open_account = accounts.opener(config, store, owners)
        others = OtherUsers(config, opened, self._work.passwords.run, open_account)
        means = engines.Means(
            config=config,
            runtime=runtime,
            authenticator=authenticator,
            open_account=open_account,
            register=self._register,
            guard=self._guard,
            carrier=self._carrier(config),
            traces=self._traces,
            new_sid=self._new_sid,
        )
        return {
            "imap": imap_conn.handler(means, full_text, others),
            "pop3": pop3_conn.handler(means),
            "smtp": auth_socket.services(means),
        }

    def _carrier(self, config: Config) -> OwnersCarrier | None:
        if not config.owner_processes or self._plan.is_owner:
            return None
        return OwnersCarrier(self._register, Pool("owners", 2, self._work.clock).run_within)

    def _database_means(self) -> databases.Means:
        """A pool for questions to others: whoever does not answer keeps no thread from comparing passwords."""
        plan = self._plan
        run = Pool("database", plan.config.auth_threads, self._work.clock).run_within
        if plan.pam is None:
            return databases.Means(run, secrets=plan.database_secrets)
        return databases.Means(run, verifier.asker(plan.pam), plan.database_secrets)

    def _app_passwords(self, config: Config) -> AppPasswords | None:
        path = config.app_passwords_file
        return AppPasswords(path, Uses(config.app_password_uses), self._work.passwords.run, time.time) if path else None

    def _service(self, listener: Listener) -> Service:
        context = self._plan.contexts.get(tls.Pair(listener.cert_path, listener.key_path))
        shared = self._shared(listener.protocol, context)
        engine, full = self._engines[listener.protocol], _CONNECTIONS[listener.protocol].BYE_FULL
        return Service(listener.name, listener.implicit_tls, listener.is_proxied, shared, engine, full)

    def _shared(self, protocol: str, context: Any) -> Shared:
        config = self._plan.config
        return Shared(
            protocol=protocol,
            clock=self._work.clock,
            timeout_write=config.timeout_write,
            timeout_handshake=config.timeout_handshake,
            context=lambda: context,
            trusts=_kept(config.counts_as_secure),
            is_proxy=_kept(config.is_proxy),
            is_banned=self._guard.is_banned,
            watch=self._watch,
            places=lambda: SessionPlaces(self._places),
            farewell=_CONNECTIONS[protocol].BYE_END,
            compressed=self._compressed,
            max_compressed=config.max_compressed,
            quiet=QUIET,
            users=self._identities.users,
        )

    def _watch(self, stream: Stream, mailbox: Any, places: Any) -> SessionWatch:
        return SessionWatch(stream, self._watcher, mailbox, places)

    def _new_sid(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"

    def _terminate(self, number: int, frame: object) -> None:
        """SIGTERM. If the event loop does not come to drain and end, the kernel ends this process."""
        signal.setitimer(signal.ITIMER_REAL, self._plan.config.stop_grace + GIVE_UP)
        self._loop.run_callback_threadsafe(self._stop.set)

    def _listen_to_parent(self) -> None:
        """Answers of the register, renewed certificates; the end of the stream is the end of the parent."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, register.LARGEST, 2)
            except OSError:
                data, descriptors = b"", []
            if not data:
                log.warning("parent-gone")
                self._terminate(signal.SIGTERM, None)
                return
            try:
                message = register.decode(data)
                if message.get("op") == "certificate":
                    self._renew(tls.Pair(message["cert"], message["key"]), *descriptors)
                elif message.get("op") == "toll":
                    self._guard.told(message)
                elif message.get("op") == "host":
                    self._host(message, descriptors)
                elif message.get("op") == "retire":
                    gevent.spawn(self._retire)
                elif message.get("op") == "ask":
                    self._desk.asked(message, descriptors)
                else:
                    self._register.answered(message)
            except Exception:  # a lack of descriptors, say: who does not listen any more would not even end
                log.exception("bug in a message of the parent")
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _host(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """A session that another worker has logged in."""
        self._hosted += 1
        passage, ends = hosted.decoded(message)
        shared = self._shared(passage.protocol, None)
        stream = hosted.Hosted(socket.socket(fileno=os.dup(descriptors[0])), ends, shared)
        engine = self._engines[passage.protocol]
        gevent.spawn(self._connections.host, stream, lambda stream: engine(stream, passage))

    def _end_when_idle(self) -> None:
        """Tell the parent when nobody is here; it knows whether somebody is on the way."""
        last = time.monotonic()
        while True:
            gevent.sleep(min(ALIVE_EVERY, self._plan.config.owner_idle))
            if len(self._connections):
                last = time.monotonic()
            elif time.monotonic() - last >= self._plan.config.owner_idle:
                self._register.say({"op": "nobody-here", "hosted": self._hosted})

    def _renew(self, pair: tls.Pair, certificates: int, key: int) -> None:
        context = self._plan.contexts.get(pair)
        if context is not None:
            try:
                tls.load(context, certificates, key)
            except OSError as error:
                log.error("certificate-not-reloaded path=%s reason=%r", pair.cert_path, str(error))

    def _park(self) -> None:
        """Mailboxes whose sessions all wait for news are given up, until something happens there."""
        after, mailboxes = self._plan.config.park_after, self._store.mailboxes
        rests: Any = Event()
        mailboxes.begins_to_rest = rests.set
        while after:
            rests.wait()
            gevent.sleep(PARK_EVERY)
            mailboxes.park(after, self._work.clock.breathe)
            if not mailboxes.is_any_resting:
                rests.clear()

    def _ask_pool(self) -> None:
        while True:
            self._work.runtime.blocking(_nothing)
            self._pool_answered = time.monotonic()
            gevent.sleep(ALIVE_EVERY)

    def _show_life(self) -> None:
        while True:
            self._connections.report(self._work.clock)
            silent = time.monotonic() - self._pool_answered
            self._register.say({"op": "alive", "pool": silent, "figures": self._figures.sample()})
            gevent.sleep(min(ALIVE_EVERY, REPORT_EVERY))


def _kept(question: Callable[[str], bool]) -> Callable[[str], bool]:
    """A question about an address, whose answers are kept: the settings do not change while a worker lives."""
    return lru_cache(maxsize=ADDRESSES)(question)


def _nothing() -> None:
    """What the pool is asked to do, to see that it answers."""
